//! One event for each request, through `tracing`.
//!
//! The target is `ropewalk::access`, the level INFO. The fields are those of the combined log
//! format, and the message is the line in that format, so that a subscriber can write either. When
//! nobody listens to the target nothing is gathered.

use std::fmt::Write;
use std::rc::{Rc, Weak};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{Extensions, Method, Response, Version, header};
use ropewalk_core::{Address, ReactorCore, Transport};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::h1::RequestHead;

/// What middleware knows of a request beside its bytes, for its entry in the access log: it goes in
/// the [extensions](Response::extensions) of the answer.
///
/// ```
/// use http::Response;
/// use ropewalk_web::{AccessLogFields, Body};
///
/// let mut answer = Response::new(Body::from("hello"));
/// AccessLogFields::of(&mut answer).user = Some("alice".to_owned());
/// assert_eq!(answer.extensions().get::<AccessLogFields>().unwrap().request_id, None);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AccessLogFields {
    /// The client, where that is not the peer of the connection but somebody behind it.
    pub client: Option<Address>,
    /// Who the client has proved to be.
    pub user: Option<String>,
    /// The name of the request.
    pub request_id: Option<String>,
}

impl AccessLogFields {
    /// Those of `answer`, which are empty at first.
    pub fn of<B>(answer: &mut Response<B>) -> &mut Self {
        answer.extensions_mut().get_or_insert_default()
    }
}

/// What is known of a request before it is answered.
pub(crate) struct Entry {
    peer: Address,
    /// For the time at the end, when there may be no transport any more.
    reactor: Weak<dyn ReactorCore>,
    /// `None` when what came was no request.
    asked: Option<Asked>,
    referer: Option<Bytes>,
    user_agent: Option<Bytes>,
    fields: AccessLogFields,
    started: Instant,
}

struct Asked {
    method: Method,
    target: Bytes,
    version: Version,
}

/// The status that is logged when the peer went away before it was answered (as nginx does).
pub(crate) const CLIENT_CLOSED: u16 = 499;

impl Entry {
    /// A request with this head. `None` when nobody listens.
    pub(crate) fn new(transport: &Transport, head: &RequestHead) -> Option<Box<Self>> {
        Self::of_request(transport, &head.parts, || head.target.clone())
    }

    /// A request of any version. `None` when nobody listens.
    pub(crate) fn of_request(
        transport: &Transport,
        parts: &Parts,
        target: impl FnOnce() -> Bytes,
    ) -> Option<Box<Self>> {
        let mut entry = Self::of_no_request(transport)?;
        let field = |name| {
            let value = parts.headers.get(name).map(http::HeaderValue::as_bytes);
            value.map(Bytes::copy_from_slice)
        };
        entry.asked = Some(Asked {
            method: parts.method.clone(),
            target: target(),
            version: parts.version,
        });
        entry.referer = field(header::REFERER);
        entry.user_agent = field(header::USER_AGENT);
        Some(entry)
    }

    /// Bytes that are refused before they are a request. `None` when nobody listens.
    pub(crate) fn of_no_request(transport: &Transport) -> Option<Box<Self>> {
        if !tracing::enabled!(target: "ropewalk::access", tracing::Level::INFO) {
            return None;
        }
        Some(Box::new(Self {
            peer: transport.peer(),
            reactor: Rc::downgrade(&transport.reactor()),
            asked: None,
            referer: None,
            user_agent: None,
            fields: AccessLogFields::default(),
            started: transport.now(),
        }))
    }

    /// An answer with these extensions was given.
    pub(crate) fn answered(&mut self, extensions: &Extensions) {
        if let Some(fields) = extensions.get::<AccessLogFields>() {
            self.fields.clone_from(fields);
        }
    }

    /// The request was answered with `status` and `bytes` of content.
    pub(crate) fn finish(&self, status: u16, bytes: u64) {
        let Some(reactor) = self.reactor.upgrade() else {
            return;
        };
        let line = self.combined(status, bytes, reactor.wall_clock());
        let asked = self.asked.as_ref();
        let took = reactor.now().saturating_duration_since(self.started);
        tracing::info!(
            target: "ropewalk::access",
            peer = %self.peer,
            client = self.fields.client.as_ref().map(tracing::field::display),
            user = self.fields.user.as_deref().map(escape_text),
            request_id = self.fields.request_id.as_deref().map(escape_text),
            method = asked.map(|asked| asked.method.as_str()),
            target_uri = asked.map(|asked| escape(&asked.target)),
            version = asked.map(|asked| tracing::field::debug(asked.version)),
            status,
            bytes,
            referer = self.referer.as_deref().map(escape),
            user_agent = self.user_agent.as_deref().map(escape),
            micros = took.as_micros() as u64,
            "{line}"
        );
    }

    /// `host - user [time] "request" status bytes "referer" "agent"`.
    fn combined(&self, status: u16, bytes: u64, at: SystemTime) -> String {
        let client = self.fields.client.as_ref().unwrap_or(&self.peer);
        let host = match client.socket_addr() {
            Some(address) => address.ip().to_string(),
            None => "unix".to_owned(),
        };
        let format =
            format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
        let date = OffsetDateTime::from(at).format(format).unwrap_or_default();
        let quoted = |field: &Option<Bytes>| field.as_deref().map_or("-".to_owned(), escape);
        let request = match &self.asked {
            Some(asked) => {
                let target = escape(&asked.target);
                format!("{} {target} {:?}", asked.method, asked.version)
            }
            None => "-".to_owned(),
        };
        let user = match self.fields.user.as_deref() {
            None | Some("") => "-".to_owned(),
            // A blank would end the field.
            Some(user) => escape_text(user).replace(' ', "\\x20"),
        };
        format!(
            "{host} - {user} [{date}] \"{request}\" {status} {bytes} \"{}\" \"{}\"",
            quoted(&self.referer),
            quoted(&self.user_agent),
        )
    }
}

fn escape_text(text: &str) -> String {
    escape(text.as_bytes())
}

/// A peer's bytes so that they can end neither a field nor a line: all but printable ASCII, and
/// quotes and backslashes, as `\xHH`.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                let _ = write!(text, "\\x{byte:02X}");
            }
            _ => text.push(char::from(*byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_the_combined_format_and_a_peer_cannot_break_it() {
        let transport = ropewalk_core::testing::StringTransport::new();
        let mut entry = Entry {
            peer: Address::Tcp("192.0.2.7:4711".parse().unwrap()),
            reactor: Rc::downgrade(&transport.reactor()),
            asked: Some(Asked {
                method: Method::GET,
                target: Bytes::from_static(b"/a\"b\n"),
                version: Version::HTTP_11,
            }),
            referer: None,
            user_agent: Some(Bytes::from_static(b"x\\y\xff")),
            fields: AccessLogFields::default(),
            started: Instant::now(),
        };
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(971_211_336);
        assert_eq!(
            entry.combined(200, 2326, at),
            "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET /a\\x22b\\x0A HTTP/1.1\" 200 2326 \
             \"-\" \"x\\x5Cy\\xFF\""
        );
        entry.fields.client = Some(Address::Tcp("[2001:db8::1]:0".parse().unwrap()));
        entry.fields.user = Some("A. \"B\"".to_owned());
        let line = entry.combined(200, 2326, at);
        let begin = r"2001:db8::1 - A.\x20\x22B\x22 [10/Oct/2000:";
        assert!(line.starts_with(begin), "{line}");
        entry.asked = None;
        let line = entry.combined(400, 20, at);
        assert!(line.contains("] \"-\" 400 20 \""), "{line}");
    }
}
