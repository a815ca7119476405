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
use http::{Request, Response, StatusCode, Uri};
use ipnet::IpNet;
use ropewalk_core::Address;
use tower_layer::Layer;
use tower_service::Service;

use super::answering::{Answering, Finish, refusal};
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
/// A proxy must be one that sets the field, or adds to it, for each request; which ones yours sets,
/// you have to say. The others, and those of peers that are not trusted, are taken
/// out of the request, so that nobody behind believes them by accident. A `Forwarded` of a trusted
/// proxy that is malformed is answered with 400: the client may have begun it so that what the proxy
/// has added cannot be told from the rest.
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
/// let layer = TrustedProxiesLayer::x_forwarded(["10.0.0.0/8".parse()?, "::1/128".parse()?])
///     .with_proto();
/// let service = layer.layer(handler);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TrustedProxiesLayer {
    trusted: Rc<[IpNet]>,
    unix: bool,
    fields: Fields,
    /// Whether `X-Forwarded-Proto` is read, and `X-Forwarded-Host`.
    proto: bool,
    host: bool,
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

    /// Believes what the proxies in these networks say in `X-Forwarded-For`; in `X-Forwarded-Proto` and
    /// `X-Forwarded-Host` only if [told](Self::with_proto) [so](Self::with_host).
    #[must_use]
    pub fn x_forwarded(proxies: impl IntoIterator<Item = IpNet>) -> Self {
        Self::new(proxies, Fields::XForwarded)
    }

    fn new(proxies: impl IntoIterator<Item = IpNet>, fields: Fields) -> Self {
        Self {
            trusted: proxies.into_iter().collect(),
            unix: false,
            fields,
            proto: false,
            host: false,
        }
    }

    /// Believes `X-Forwarded-Proto`, too: say so if your proxy sets it for each request. (`Forwarded` has
    /// the scheme in what each proxy adds.)
    #[must_use]
    pub fn with_proto(mut self) -> Self {
        self.proto = true;
        self
    }

    /// Believes `X-Forwarded-Host`, too: say so if your proxy sets it for each request. Most do not, and
    /// pass on what the client has made up. (`Forwarded` has the host in what each proxy adds.)
    #[must_use]
    pub fn with_host(mut self) -> Self {
        self.host = true;
        self
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

    /// What the trusted proxies say about a request of theirs. `None` if that cannot be read.
    fn way(&self, headers: &HeaderMap) -> Option<Way> {
        Some(match self.fields {
            Fields::Forwarded => {
                let lines = headers.get_all(FORWARDED).iter();
                let joined: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
                self.walk(ForwardedElement::parse(&joined.join(&b','))?)
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
                let proto = self.proto.then(|| said(&X_FORWARDED_PROTO)).flatten();
                let host = self.host.then(|| said(&X_FORWARDED_HOST)).flatten();
                way.proto = proto.map(|proto| proto.to_ascii_lowercase());
                way.host = host;
                way
            }
        })
    }

    fn reads(&self, name: &HeaderName) -> bool {
        match self.fields {
            Fields::Forwarded => name == FORWARDED,
            Fields::XForwarded => {
                name == X_FORWARDED_FOR
                    || (name == X_FORWARDED_PROTO && self.proto)
                    || (name == X_FORWARDED_HOST && self.host)
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
            .field("proto", &self.proto)
            .field("host", &self.host)
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
        match self.layer.reveal(&mut request) {
            Ok(client) => Answering::within(self.inner.call(request), NameClient { client }),
            Err(Malformed) => Answering::own(refusal(
                StatusCode::BAD_REQUEST,
                "the field Forwarded is malformed, so that nobody can tell who asks",
            )),
        }
    }
}

/// What a trusted proxy says cannot be read.
struct Malformed;

impl TrustedProxiesLayer {
    /// Puts what is known of the way into `request`. Returns the client, if that is not the peer.
    fn reveal(&self, request: &mut Request<Body>) -> Result<Option<Address>, Malformed> {
        let info = RequestInfo::of(request)
            .filter(|info| self.trusts(&info.peer))
            .cloned();
        let Some(mut info) = info else {
            forget(request.headers_mut(), |_| true);
            return Ok(None);
        };
        let way = self.way(request.headers()).ok_or(Malformed)?;
        forget(request.headers_mut(), |name| !self.reads(name));
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
        Ok(way.client)
    }
}

const ALL: [HeaderName; 4] = [
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

fn forget(headers: &mut HeaderMap, which: impl Fn(&HeaderName) -> bool) {
    for name in ALL.iter().filter(|name| which(name)) {
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
