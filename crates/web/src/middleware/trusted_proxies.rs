//! Who asks, and for what, when proxies stand between.
//!
//! What a request says about its way is worth as much as who says it. So it is read from the right,
//! where the last proxy wrote, for as long as the writer is one of the proxies that are listed;
//! what stands further left may have been made up by the client.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Request, Response, Uri};
use ipnet::IpNet;
use ropewalk_core::Address;
use tower_layer::Layer;
use tower_service::Service;

use super::answering::{Answering, Finish};
use super::forwarded::{ForwardedElement, loose_address, members};
use crate::{AccessLogFields, Body, BoxError, RequestInfo};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Takes the client's address, and the scheme and host that it asked for, from what proxies say.
///
/// The services within see a [`RequestInfo`] with the client as its peer, and the host in the
/// request's `Host`; the access log names the client; and [`ThroughProxy`] is in the request's
/// extensions. Only proxies whose addresses are listed are believed. A hop that hides itself
/// (`for=unknown`) ends the way: the proxy that says so then is the peer.
///
/// A proxy must be one that sets the field, or adds to it, for each request; which one yours sets,
/// you have to say. Fields of the other kind, and those of peers that are not trusted, are taken
/// out of the request, so that nobody behind believes them by accident.
///
/// A proxy that writes a PROXY header before the bytes of the connection is another matter, and
/// `proxy:trusted=[192.0.2.0/24]:tcp:80` as the endpoint is all that it takes: then the
/// connection's own peer is the client. Where both are used, as by a load balancer for TCP before
/// proxies for HTTP, this layer starts from the address that the PROXY header told.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::middleware::TrustedProxiesLayer;
/// use ropewalk_web::{Body, RequestInfo, handler_fn};
/// use tower_layer::Layer;
///
/// let handler = handler_fn(|request: Request<Body>| {
///     let client = RequestInfo::of(&request).map(|info| info.peer.clone());
///     Response::new(Body::from(format!("You are {client:?}")))
/// });
/// let layer = TrustedProxiesLayer::x_forwarded(["10.0.0.0/8".parse()?, "::1/128".parse()?]);
/// let service = layer.layer(handler);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TrustedProxiesLayer {
    trusted: Rc<[IpNet]>,
    unix: bool,
    fields: Fields,
}

/// The fields that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fields {
    Forwarded,
    XForwarded,
}

impl TrustedProxiesLayer {
    /// Believes what the proxies in these networks say in `Forwarded` (RFC 7239).
    #[must_use]
    pub fn forwarded(proxies: impl IntoIterator<Item = IpNet>) -> Self {
        Self::new(proxies, Fields::Forwarded)
    }

    /// Believes what the proxies in these networks say in `X-Forwarded-For`, `X-Forwarded-Proto`
    /// and `X-Forwarded-Host`.
    #[must_use]
    pub fn x_forwarded(proxies: impl IntoIterator<Item = IpNet>) -> Self {
        Self::new(proxies, Fields::XForwarded)
    }

    fn new(proxies: impl IntoIterator<Item = IpNet>, fields: Fields) -> Self {
        Self {
            trusted: proxies.into_iter().collect(),
            unix: false,
            fields,
        }
    }

    /// Believes peers of Unix sockets too, which have no address.
    #[must_use]
    pub fn trust_unix(mut self) -> Self {
        self.unix = true;
        self
    }

    fn trusts(&self, peer: &Address) -> bool {
        match peer {
            Address::Unix(_) => self.unix,
            peer => peer
                .socket_addr()
                .is_some_and(|address| self.trusts_ip(address.ip())),
        }
    }

    fn trusts_ip(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted
            .iter()
            .any(|network| network.contains(&address))
    }

    /// What the trusted proxies say about a request of theirs.
    fn way(&self, headers: &HeaderMap) -> Way {
        match self.fields {
            Fields::Forwarded => {
                let lines = headers.get_all(FORWARDED).iter();
                let joined: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
                let elements = ForwardedElement::parse(&joined.join(&b','));
                self.walk(elements.unwrap_or_default())
            }
            Fields::XForwarded => {
                let hops = members(headers, &X_FORWARDED_FOR).into_iter();
                let hops: Vec<_> = hops
                    .map(|client| ForwardedElement {
                        client: loose_address(client),
                        ..ForwardedElement::default()
                    })
                    .collect();
                let mut way = self.walk(hops);
                let said = |name: &HeaderName| {
                    from_right(&members(headers, name), way.hops).map(str::to_owned)
                };
                let proto = said(&X_FORWARDED_PROTO);
                let host = said(&X_FORWARDED_HOST);
                way.proto = proto.map(|proto| proto.to_ascii_lowercase());
                way.host = host;
                way
            }
        }
    }

    /// Goes back from proxy to proxy, as long as they are trusted.
    fn walk(&self, elements: Vec<ForwardedElement>) -> Way {
        let mut way = Way::default();
        for element in elements.into_iter().rev() {
            way.hops += 1;
            way.proto = element.proto.or(way.proto);
            way.host = element.host.or(way.host);
            let Some(client) = element.client else { break };
            way.client = Some(Address::Tcp(client));
            if !self.trusts_ip(client.ip()) {
                break;
            }
        }
        way
    }
}

/// The member that so many proxies back wrote, where each added one; or the first, where not all
/// did.
fn from_right<'a>(members: &[&'a str], hops: usize) -> Option<&'a str> {
    let at = members.len().saturating_sub(hops.max(1));
    members.get(at).copied()
}

/// What is believed about the way of a request.
#[derive(Debug, Default)]
struct Way {
    /// How many proxies were believed.
    hops: usize,
    client: Option<Address>,
    proto: Option<String>,
    host: Option<String>,
}

impl<S> Layer<S> for TrustedProxiesLayer {
    type Service = TrustedProxies<S>;

    fn layer(&self, inner: S) -> TrustedProxies<S> {
        TrustedProxies {
            inner,
            layer: self.clone(),
        }
    }
}

impl fmt::Debug for TrustedProxiesLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedProxiesLayer")
            .field("trusted", &self.trusted)
            .field("unix", &self.unix)
            .field("fields", &self.fields)
            .finish()
    }
}

/// In the extensions of a request that came through a proxy that is trusted: the address of the
/// proxy. See [`TrustedProxiesLayer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThroughProxy(pub Address);

/// See [`TrustedProxiesLayer`].
#[derive(Clone, Debug)]
pub struct TrustedProxies<S> {
    inner: S,
    layer: TrustedProxiesLayer,
}

impl<S, B> Service<Request<Body>> for TrustedProxies<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Future, NameClient>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let client = self.layer.reveal(&mut request);
        Answering::within(self.inner.call(request), NameClient { client })
    }
}

impl TrustedProxiesLayer {
    /// Puts what is known of the way into `request`. Returns the client, if that is not the peer.
    fn reveal(&self, request: &mut Request<Body>) -> Option<Address> {
        let info = RequestInfo::of(request)
            .filter(|info| self.trusts(&info.peer))
            .cloned();
        let Some(mut info) = info else {
            forget(request.headers_mut(), &ALL);
            return None;
        };
        let way = self.way(request.headers());
        let unread = match self.fields {
            Fields::Forwarded => &ALL[1..],
            Fields::XForwarded => &ALL[..1],
        };
        forget(request.headers_mut(), unread);
        let through = ThroughProxy(info.peer.clone());
        request.extensions_mut().insert(through);
        match way.proto.as_deref() {
            Some("https") => info.secure = true,
            Some("http") => info.secure = false,
            _ => {}
        }
        if let Some(host) = way.host {
            set_host(request, &host);
        }
        if let Some(client) = &way.client {
            info.peer = client.clone();
        }
        request.extensions_mut().insert(info);
        way.client
    }
}

const ALL: [HeaderName; 4] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

fn forget(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

/// Makes `request` one for `host`, if that is a host and perhaps a port.
fn set_host(request: &mut Request<Body>, host: &str) {
    let authority = Authority::try_from(host).ok();
    let authority = authority.filter(|authority| !authority.as_str().contains('@'));
    let value = HeaderValue::try_from(host).ok();
    let (Some(authority), Some(value)) = (authority, value) else {
        return;
    };
    if request.uri().authority().is_some() {
        let mut parts = request.uri().clone().into_parts();
        parts.authority = Some(authority);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request.headers_mut().insert(HOST, value);
}

/// Tells the access log who asked.
#[derive(Debug)]
pub struct NameClient {
    client: Option<Address>,
}

impl Finish for NameClient {
    fn finish(self, mut answer: Response<Body>) -> Response<Body> {
        if self.client.is_some() {
            AccessLogFields::of(&mut answer).client = self.client;
        }
        answer
    }
}
