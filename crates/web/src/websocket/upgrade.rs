//! The server's side of the opening handshake: RFC 6455, section 4.2, and RFC 8441 for HTTP/2.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::deflate_offer::Agreed;
use super::extension::extensions;
use super::key::{accept, is_key};
use super::stream::StreamProtocol;
use super::{Options, Role, Session, WebSocketProtocol, WebSocketStream};
use crate::h1::is_token_byte;
use crate::{Body, Upgrade};

const NAME: &str = "websocket";
const VERSION: &str = "13";

/// Answers a request for a WebSocket, with `protocol` on it; or says why not, by 400, 403, 405 or 426.
///
/// It answers GET with an upgrade in HTTP/1.1, and an extended CONNECT in HTTP/2 (RFC 8441).
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, StatusCode};
/// use ropewalk_web::websocket::{self, Options, WebSocket, WebSocketProtocol};
/// use ropewalk_web::{Body, Site, handler_fn};
///
/// struct Echo;
/// impl WebSocketProtocol for Echo {
///     fn text_message_received(&mut self, socket: &WebSocket, text: String) {
///         socket.send(text);
///     }
///     fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
///         socket.send(data);
///     }
/// }
///
/// let options = Options::default();
/// let echo = move |request: Request<Body>| websocket::upgrade(&request, &options, Echo);
///
/// let asked = Request::get("/")
///     .header("host", "example.com")
///     .header("connection", "upgrade")
///     .header("upgrade", "websocket")
///     .header("sec-websocket-version", "13")
///     .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
/// let answer = echo(asked.body(Body::empty()).unwrap());
/// assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
/// assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// let _site = Site::new(handler_fn(echo));
/// ```
#[must_use]
pub fn upgrade<B>(
    request: &Request<B>,
    options: &Options,
    protocol: impl WebSocketProtocol,
) -> Response<Body> {
    match Negotiation::of(request, options) {
        Ok(negotiation) => negotiation.upgrade(protocol),
        Err(error) => error.into_response(),
    }
}

/// As [`upgrade`], with a task that has the WebSocket as a stream. When it returns, the
/// WebSocket is closed.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_web::Body;
/// use ropewalk_web::websocket::{self, Options, WebSocketStream};
///
/// fn echo(request: Request<Body>) -> Response<Body> {
///     websocket::upgrade_stream(&request, &Options::default(), |mut socket| async move {
///         while let Some(Ok(message)) = socket.recv().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
/// }
/// # let _ = echo;
/// ```
#[must_use]
pub fn upgrade_stream<B, F, T>(request: &Request<B>, options: &Options, serve: F) -> Response<Body>
where
    F: FnOnce(WebSocketStream) -> T + 'static,
    T: Future<Output = ()> + 'static,
{
    upgrade(request, options, StreamProtocol::serving(serve))
}

/// What a client asks for and a server has agreed to: for those who look at it before they answer.
///
/// ```
/// use http::Request;
/// use ropewalk_web::websocket::{Negotiation, Options, UpgradeError};
///
/// let request = Request::get("/").body(()).unwrap();
/// let refused = Negotiation::of(&request, &Options::default()).unwrap_err();
/// assert_eq!(refused, UpgradeError::NotAsked);
/// assert_eq!(refused.into_response().status(), 426);
/// ```
#[derive(Debug)]
pub struct Negotiation<'a> {
    options: &'a Options,
    /// What the answer carries, but for a stream of HTTP/2.
    accept: Option<String>,
    subprotocol: Option<Rc<str>>,
    extension: Option<(Agreed, String)>,
}

impl<'a> Negotiation<'a> {
    /// Looks at a request.
    ///
    /// # Errors
    /// It asks for no WebSocket, or for one that it cannot have.
    pub fn of<B>(request: &Request<B>, options: &'a Options) -> Result<Self, UpgradeError> {
        let headers = request.headers();
        let is_connect = request.method() == Method::CONNECT;
        let in_stream = request.extensions().get::<h2::ext::Protocol>();
        let is_tunnel = is_connect && in_stream.is_some_and(|name| name.as_str() == NAME);
        if !is_tunnel && !Upgrade::is_asked_for(request, NAME) {
            return Err(UpgradeError::NotAsked);
        }
        if !is_tunnel && request.method() != Method::GET {
            return Err(UpgradeError::Method);
        }
        let version = one(headers, &header::SEC_WEBSOCKET_VERSION);
        match version.map(|version| version == VERSION) {
            Ok(true) => {}
            Err(Count::None) => return Err(UpgradeError::Malformed("Sec-WebSocket-Version")),
            _ => return Err(UpgradeError::Version),
        }
        let mut accepted = None;
        if !is_tunnel {
            let key = one(headers, &header::SEC_WEBSOCKET_KEY).ok();
            let key = key.filter(|key| is_key(key.as_bytes()));
            let key = key.ok_or(UpgradeError::Malformed("Sec-WebSocket-Key"))?;
            accepted = Some(accept(key.as_bytes()));
        }
        let offers = extensions(headers);
        let offers = offers.map_err(|_| UpgradeError::Malformed("Sec-WebSocket-Extensions"))?;
        let subprotocols = subprotocols(headers)?;
        if !options.origins.allows(request.uri(), headers) {
            return Err(UpgradeError::Origin);
        }
        let ours = options.subprotocols.iter();
        let chosen = ours
            .map(String::as_str)
            .find(|ours| subprotocols.contains(ours));
        let deflate = options.deflate.as_ref();
        Ok(Self {
            options,
            accept: accepted,
            subprotocol: chosen.map(Rc::from),
            extension: deflate.and_then(|deflate| Agreed::accept(deflate, &offers)),
        })
    }

    /// The subprotocol that was agreed on.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The answer, after which `protocol` has the WebSocket.
    #[must_use]
    pub fn upgrade(self, protocol: impl WebSocketProtocol) -> Response<Body> {
        let agreed = self.extension.as_ref().map(|(agreed, _)| *agreed);
        let subprotocol = self.subprotocol.clone();
        let (role, options) = (Role::Server, self.options);
        let session = Session::new(role, options, subprotocol, agreed, protocol);
        let mut response = match &self.accept {
            Some(_) => Upgrade::to(NAME, session),
            None => Upgrade::tunnel(session),
        };
        let fields = [
            (header::SEC_WEBSOCKET_ACCEPT, self.accept.as_deref()),
            (header::SEC_WEBSOCKET_PROTOCOL, self.subprotocol.as_deref()),
            (
                header::SEC_WEBSOCKET_EXTENSIONS,
                self.extension.as_ref().map(|(_, answer)| &answer[..]),
            ),
        ];
        for (name, value) in fields {
            // They are of tokens.
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// It asks for none. 426.
    NotAsked,
    /// It is no GET. 405.
    Method,
    /// It is for another version of the protocol than 13. 426.
    Version,
    /// This field is missing, is there twice, or malformed. 400.
    Malformed(&'static str),
    /// It comes from a page that [may not](super::OriginPolicy) connect. 403.
    Origin,
}

impl UpgradeError {
    /// The answer that says so.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let mut response = match self {
            Self::NotAsked | Self::Version => Upgrade::required(NAME),
            _ => Response::new(Body::empty()),
        };
        let status = match self {
            Self::NotAsked | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
        };
        *response.status_mut() = status;
        *response.body_mut() = Body::from(format!("{self}\n"));
        let fields = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        fields.insert(header::CONTENT_TYPE, plain);
        match self {
            Self::Method => {
                fields.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Self::NotAsked | Self::Version => {
                let version = HeaderValue::from_static(VERSION);
                fields.insert(header::SEC_WEBSOCKET_VERSION, version);
            }
            _ => {}
        }
        response
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("here is a WebSocket: ask for an upgrade to it"),
            Self::Method => f.write_str("a WebSocket is asked for by GET"),
            Self::Version => f.write_str("WebSockets are spoken in version 13 here"),
            Self::Malformed(field) => write!(f, "{field} is missing or malformed"),
            Self::Origin => f.write_str("pages of this origin may not connect"),
        }
    }
}

impl Error for UpgradeError {}

/// How often a field is there, if not once.
enum Count {
    None,
    Several,
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a HeaderValue, Count> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().ok_or(Count::None)?;
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Count::Several),
    }
}

/// Those that the client speaks.
fn subprotocols(headers: &HeaderMap) -> Result<Vec<&str>, UpgradeError> {
    let malformed = UpgradeError::Malformed("Sec-WebSocket-Protocol");
    let mut all = Vec::new();
    for value in headers.get_all(header::SEC_WEBSOCKET_PROTOCOL) {
        let value = value.to_str().map_err(|_| malformed)?;
        for name in value.split(',').map(|name| name.trim_matches([' ', '\t'])) {
            if !name.bytes().all(is_token_byte) {
                return Err(malformed);
            }
            all.push(name);
        }
    }
    Ok(all)
}
