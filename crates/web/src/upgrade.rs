//! From HTTP to another protocol, on the same connection (RFC 9110, sections 7.8 and 9.3.6).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use ropewalk_core::Protocol;
use send_wrapper::SendWrapper;

use crate::body::Body;
use crate::h1::list_elements;

/// What an answer carries that ends HTTP on its connection: the protocol that follows.
///
/// It travels in the extensions of a response, past all middleware, and the server hands the
/// connection over when the head of that response is written: the protocol gets `connection_made`,
/// then the bytes that came after the request. On HTTP/1.1 that is the connection itself; on HTTP/2 it
/// is one stream of it, which to the protocol is a connection like any other. It stays on the thread
/// of the loop: such a response must neither be used nor dropped by another thread.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_core::{Address, Factory, Protocol, Transport};
/// use ropewalk_web::{Body, Site, Upgrade, handler_fn};
///
/// struct Echo;
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let site = Site::new(handler_fn(|request: Request<Body>| {
///     if !Upgrade::is_asked_for(&request, "echo") {
///         return Upgrade::required("echo");
///     }
///     Upgrade::to("echo", Echo)
/// }));
/// let mut connection = site.build_protocol(&Address::Unix(None)).unwrap();
/// let mut transport = StringTransport::new();
/// connection.data_received(
///     &mut transport,
///     b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello",
/// );
/// assert!(transport.value().starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
/// ```
#[derive(Clone)]
pub struct Upgrade {
    protocol: Arc<Mutex<Option<Next>>>,
}

/// Responses are to be `Send`; their extensions, too.
type Next = SendWrapper<Box<dyn Protocol>>;

impl Upgrade {
    /// Whether `request` asks for `protocol`: by an `Upgrade` field that `Connection` names, in
    /// HTTP/1.1, or by an extended CONNECT, in HTTP/2 (RFC 8441). (HTTP/1.0 has neither.)
    #[must_use]
    pub fn is_asked_for<B>(request: &Request<B>, protocol: &str) -> bool {
        let named = |name, value: &str| {
            let values = request.headers().get_all(name).iter();
            let mut elements = values.flat_map(|value| list_elements(value.as_bytes()));
            elements.any(|element| element.eq_ignore_ascii_case(value.as_bytes()))
        };
        let extended = request.extensions().get::<h2::ext::Protocol>();
        match request.version() {
            Version::HTTP_11 => named(CONNECTION, "upgrade") && named(UPGRADE, protocol),
            _ => extended.is_some_and(|asked| asked.as_str().eq_ignore_ascii_case(protocol)),
        }
    }

    /// What a request of HTTP/1.1 says in `Upgrade`, if `Connection` names that.
    pub(crate) fn offers(request: &Parts) -> Option<Box<[HeaderValue]>> {
        let fields = &request.headers;
        if request.version != Version::HTTP_11 || !fields.contains_key(UPGRADE) {
            return None;
        }
        let mut options = fields
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| list_elements(value.as_bytes()));
        options
            .any(|option| option.eq_ignore_ascii_case(b"upgrade"))
            .then(|| fields.get_all(UPGRADE).iter().cloned().collect())
    }

    /// The answer 101 to a request that [asks for](Self::is_asked_for) `name`, after which `protocol`
    /// has the connection. The body of the request must have come to its end, or the request is
    /// answered with 500. One that does not ask for `name` is answered with 426 (RFC 9110, sections 7.8
    /// and 15.5.22). More fields may be added to the answer. On HTTP/2 the answer is 200, and the
    /// protocol has the stream.
    ///
    /// # Panics
    /// If `name` is no token.
    #[must_use]
    pub fn to(name: &'static str, protocol: impl Protocol) -> Response<Body> {
        let mut response = Self::answer(StatusCode::SWITCHING_PROTOCOLS, protocol);
        name_protocol(response.headers_mut(), name);
        response
    }

    /// The answer 200 to a CONNECT, after which `protocol` has the connection.
    #[must_use]
    pub fn tunnel(protocol: impl Protocol) -> Response<Body> {
        Self::answer(StatusCode::OK, protocol)
    }

    /// The answer 426 to a request that does not ask for `name`.
    ///
    /// # Panics
    /// If `name` is no token.
    #[must_use]
    pub fn required(name: &'static str) -> Response<Body> {
        let text = format!("this resource speaks {name} alone: ask for an upgrade to it\n");
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        let fields = response.headers_mut();
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        name_protocol(fields, name);
        response
    }

    fn answer(status: StatusCode, protocol: impl Protocol) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.extensions_mut().insert(Self {
            protocol: Arc::new(Mutex::new(Some(SendWrapper::new(Box::new(protocol))))),
        });
        response
    }

    /// The protocol that an answer with these extensions hands over to, once.
    pub(crate) fn take(extensions: &mut http::Extensions) -> Option<Box<dyn Protocol>> {
        let upgrade = extensions.remove::<Self>()?;
        let protocol = upgrade.protocol.lock();
        let taken = protocol.unwrap_or_else(PoisonError::into_inner).take();
        taken.map(SendWrapper::take)
    }
}

fn name_protocol(fields: &mut HeaderMap, name: &'static str) {
    fields.insert(UPGRADE, HeaderValue::from_static(name));
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}
