//! The client's side of the opening handshake: RFC 6455, section 4.1. Bytes in, an answer out.

use std::error::Error;
use std::fmt;
use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Uri};

use super::deflate_offer::Agreed;
use super::extension::extensions;
use super::key::accept;
use super::{Deflate, Options};
use crate::h1::{is_token_byte, list_elements};

/// The head of an answer, with the interim ones before it, is no longer than this, and has no more
/// fields.
const LONGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 100;

/// What is asked, and what has come of the answer.
pub(crate) struct Handshake {
    request: Vec<u8>,
    key: String,
    subprotocols: Vec<String>,
    deflate: Option<Deflate>,
    answer: Vec<u8>,
    /// Bytes of interim answers, which are forgotten.
    forgotten: usize,
}

/// The head of an answer.
struct Head {
    status: StatusCode,
    is_http_11: bool,
    fields: HeaderMap,
    length: usize,
}

/// What both sides have agreed on.
pub(crate) struct Answer {
    pub(crate) subprotocol: Option<Rc<str>>,
    pub(crate) agreed: Option<Agreed>,
    /// The bytes that came after it.
    pub(crate) rest: Vec<u8>,
}

/// Why there is no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The URL is none of the form `ws://host/path` or `wss://host/path`.
    Url,
    /// This field of [`Options::headers`] is one that the handshake sets, or a subprotocol is no
    /// token.
    Options(String),
    /// The server answered with another status than 101, and perhaps says where it is to be had.
    Status(StatusCode, Option<String>),
    /// What came is no answer of HTTP/1.1, or a longer one than is read.
    Malformed,
    /// This field of the answer is missing, or is not what it must be.
    Field(&'static str),
    /// The connection ended before the answer.
    Incomplete,
}

impl Handshake {
    pub(crate) fn new(uri: &Uri, options: &Options, key: String) -> Result<Self, HandshakeError> {
        let host = uri.authority().ok_or(HandshakeError::Url)?;
        let default_port = match uri.scheme_str() {
            Some("wss" | "https") => 443,
            _ => 80,
        };
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}",
            uri.path_and_query().map_or("/", |path| path.as_str()),
            host.host(),
        );
        if let Some(port) = host.port_u16().filter(|port| *port != default_port) {
            request += &format!(":{port}");
        }
        request += "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
        request += &format!("\r\nSec-WebSocket-Key: {key}\r\n");
        let no_token = |name: &&String| name.is_empty() || !name.bytes().all(is_token_byte);
        if let Some(name) = options.subprotocols.iter().find(no_token) {
            return Err(HandshakeError::Options(name.clone()));
        }
        if !options.subprotocols.is_empty() {
            let all = options.subprotocols.join(", ");
            request += &format!("Sec-WebSocket-Protocol: {all}\r\n");
        }
        if let Some(deflate) = &options.deflate {
            let offer = Agreed::offer(deflate);
            request += &format!("Sec-WebSocket-Extensions: {offer}\r\n");
        }
        let mut request = request.into_bytes();
        for (name, value) in &options.headers {
            if is_set_by_handshake(name) {
                return Err(HandshakeError::Options(name.to_string()));
            }
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                request.extend_from_slice(part);
            }
        }
        request.extend_from_slice(b"\r\n");
        Ok(Self {
            request,
            key,
            subprotocols: options.subprotocols.clone(),
            deflate: options.deflate.clone(),
            answer: Vec::new(),
            forgotten: 0,
        })
    }

    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// More of the answer has come. `None` while it is not complete.
    pub(crate) fn received(&mut self, data: &[u8]) -> Result<Option<Answer>, HandshakeError> {
        self.answer.extend_from_slice(data);
        let head = loop {
            let Some(head) = self.head()? else {
                return Ok(None);
            };
            let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
            if switches || !head.status.is_informational() {
                break head;
            }
            // More than one may come before the final one (RFC 9110, section 15.2).
            self.answer.drain(..head.length);
            self.forgotten += head.length;
        };
        if head.status != StatusCode::SWITCHING_PROTOCOLS || !head.is_http_11 {
            let location = head.fields.get(header::LOCATION);
            let location = location.and_then(|location| location.to_str().ok());
            let location = location.map(str::to_owned);
            return Err(HandshakeError::Status(head.status, location));
        }
        let (subprotocol, agreed) = self.check(&head.fields)?;
        Ok(Some(Answer {
            subprotocol,
            agreed,
            rest: self.answer.split_off(head.length),
        }))
    }

    /// The head with which what has come begins. `None` while it is not complete.
    fn head(&self) -> Result<Option<Head>, HandshakeError> {
        let longest = LONGEST_HEAD.saturating_sub(self.forgotten);
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(&self.answer) {
            Ok(httparse::Status::Complete(length)) if length <= longest => length,
            Ok(httparse::Status::Partial) if self.answer.len() <= longest => return Ok(None),
            _ => return Err(HandshakeError::Malformed),
        };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(HandshakeError::Malformed)?;
        let mut headers = HeaderMap::new();
        for field in head.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            match (name, value) {
                (Ok(name), Ok(value)) => headers.append(name, value),
                _ => return Err(HandshakeError::Malformed),
            };
        }
        Ok(Some(Head {
            status,
            is_http_11: head.version == Some(1),
            fields: headers,
            length,
        }))
    }

    /// Whether an answer is one to what was asked (section 4.1, the last list).
    fn check(
        &self,
        headers: &HeaderMap,
    ) -> Result<(Option<Rc<str>>, Option<Agreed>), HandshakeError> {
        let field = HandshakeError::Field;
        let names = |name, wanted: &str| {
            let values = headers.get_all(name).iter();
            let mut elements = values.flat_map(|value| list_elements(value.as_bytes()));
            elements.any(|element| element.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        if !names(header::UPGRADE, "websocket") {
            return Err(field("Upgrade"));
        }
        if !names(header::CONNECTION, "upgrade") {
            return Err(field("Connection"));
        }
        let expected = accept(self.key.as_bytes());
        if headers
            .get(header::SEC_WEBSOCKET_ACCEPT)
            .map(HeaderValue::as_bytes)
            != Some(expected.as_bytes())
        {
            return Err(field("Sec-WebSocket-Accept"));
        }
        let answer = extensions(headers).ok();
        let agreed = answer.and_then(|answer| Agreed::conclude(self.deflate.as_ref(), &answer));
        let agreed = agreed.ok_or(field("Sec-WebSocket-Extensions"))?;
        let mut chosen = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let subprotocol = match (chosen.next(), chosen.next()) {
            (None, _) => None,
            (Some(chosen), None) => {
                let asked = self.subprotocols.iter().find(|asked| *chosen == ***asked);
                Some(asked.ok_or(field("Sec-WebSocket-Protocol"))?)
            }
            _ => return Err(field("Sec-WebSocket-Protocol")),
        };
        Ok((subprotocol.map(|name| Rc::from(name.as_str())), agreed))
    }
}

fn is_set_by_handshake(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::UPGRADE,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::SEC_WEBSOCKET_KEY,
        header::SEC_WEBSOCKET_VERSION,
        header::SEC_WEBSOCKET_EXTENSIONS,
        header::SEC_WEBSOCKET_PROTOCOL,
    ]
    .contains(name)
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot open the WebSocket: ")?;
        match self {
            Self::Url => {
                f.write_str("its URL is not of the form ws://host/path or wss://host/path")
            }
            Self::Options(name) => write!(f, "`{name}` cannot be asked for by the options"),
            Self::Status(status, None) => write!(f, "the server answered {status}"),
            Self::Status(status, Some(location)) => {
                write!(f, "the server answered {status}, and refers to {location}")
            }
            Self::Malformed => f.write_str("what the server answered is no HTTP/1.1"),
            Self::Field(name) => write!(f, "the server's {name} is missing or wrong"),
            Self::Incomplete => f.write_str("the connection ended before the server answered"),
        }
    }
}

impl Error for HandshakeError {}
