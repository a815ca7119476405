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
use http::{Extensions, Method, Version, header};
use ropewalk_core::{Address, ReactorCore, Transport};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::auth::Authenticated;
use crate::h1::RequestHead;

/// What is known of a request before it is answered.
pub(crate) struct Entry {
    peer: Address,
    /// For the time at the end, when there may be no transport any more.
    reactor: Weak<dyn ReactorCore>,
    /// `None` when what came was no request.
    asked: Option<Asked>,
    referer: Option<Bytes>,
    user_agent: Option<Bytes>,
    /// Who was authenticated, as the answer's extensions tell.
    user: Option<Authenticated>,
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
            user: None,
            started: transport.now(),
        }))
    }

    /// The request is answered, and who was authenticated for it stands in `extensions`.
    pub(crate) fn answering(&mut self, extensions: &Extensions) {
        self.user = extensions.get().cloned();
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
            user = self.user.as_ref().map(Authenticated::user),
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
        let host = match self.peer.socket_addr() {
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
        let user = self
            .user
            .as_ref()
            .map_or("-".to_owned(), |user| escape_user(user.user()));
        format!(
            "{host} - {user} [{date}] \"{request}\" {status} {bytes} \"{}\" \"{}\"",
            quoted(&self.referer),
            quoted(&self.user_agent),
        )
    }
}

/// A user's name is between spaces, and not within quotes.
fn escape_user(name: &str) -> String {
    match name {
        "" | "-" => format!("\"{name}\""),
        name => escape(name.as_bytes()).replace(' ', "\\x20"),
    }
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
            user: None,
            started: Instant::now(),
        };
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(971_211_336);
        assert_eq!(
            entry.combined(200, 2326, at),
            "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET /a\\x22b\\x0A HTTP/1.1\" 200 2326 \
             \"-\" \"x\\x5Cy\\xFF\""
        );
        for (name, shown) in [
            ("ada", "ada"),
            ("a b\n", "a\\x20b\\x0A"),
            ("-", "\"-\""),
            ("", "\"\""),
        ] {
            entry.user = Some(Authenticated::new(name, "Basic"));
            let line = entry.combined(200, 1, at);
            assert!(
                line.starts_with(&format!("192.0.2.7 - {shown} [10/")),
                "{line}"
            );
        }
        entry.asked = None;
        let line = entry.combined(400, 20, at);
        assert!(line.contains("] \"-\" 400 20 \""), "{line}");
    }
}
