//! What is answered for a request that cannot be served.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use ropewalk_core::Transport;
use tower_service::Service;

use super::{Connection, State};
use crate::access_log::Entry;
use crate::body::{Body, BoxError};
use crate::h1::shared::Shared;
use crate::h1::{RequestError, ResponseFields, ResponseFraming, ResponseHead};

impl<S, B> Connection<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    /// Answers with an error, and closes.
    pub(super) fn refuse(&mut self, transport: &mut Transport, error: RequestError) {
        tracing::debug!(peer = %transport.peer(), %error, "a request was refused");
        match &mut self.state {
            State::Exchange(exchange) if exchange.is_answered() => {
                // The answer was given, without the body.
                exchange.keep_alive = false;
                return self.exchange_done(transport, false);
            }
            State::Exchange(exchange) if exchange.is_begun() => {
                // Half an answer cannot be taken back.
                return transport.abort_connection();
            }
            State::Exchange(exchange) => {
                let (method, version) = (exchange.method.clone(), exchange.version);
                exchange.sent = Self::write_error(&self.site, transport, error, &method, version);
            }
            State::HandedOver => return,
            State::Head | State::Lingering => return self.refuse_head(transport, error, b""),
        }
        if let State::Exchange(mut exchange) = std::mem::replace(&mut self.state, State::Head) {
            exchange.cancel();
            exchange.log(error.status().as_u16());
        }
        self.close(transport, false);
    }

    /// Answers a request that has no meaning, but that came with these bytes, and closes.
    pub(super) fn refuse_head(
        &mut self,
        transport: &mut Transport,
        error: RequestError,
        head: &[u8],
    ) {
        tracing::debug!(peer = %transport.peer(), %error, "a request head was refused");
        if self.requests == 0 && self.site.http2.borrow().is_some() && is_bare_words(head) {
            // It may be a preface that is wrong, and is no request of HTTP/1 (RFC 9113, section 3.4).
            return self.close(transport, false);
        }
        let log = Entry::of_no_request(transport);
        // That much is known of it, and it decides whether content may follow.
        let method = match head.trim_ascii_start().starts_with(b"HEAD ") {
            true => Method::HEAD,
            false => Method::GET,
        };
        let sent = Self::write_error(&self.site, transport, error, &method, Version::HTTP_11);
        if let Some(log) = log {
            log.finish(error.status().as_u16(), sent);
        }
        self.close(transport, false);
    }

    /// Answers with an error, in words. Returns the length of its content.
    fn write_error(
        site: &Shared<S>,
        transport: &mut Transport,
        error: RequestError,
        method: &Method,
        version: Version,
    ) -> u64 {
        let text = format!("{error}\n");
        let length = text.len() as u64;
        let (framing, content) = match *method {
            Method::HEAD => (ResponseFraming::NoBody(Some(length)), ""),
            _ => (ResponseFraming::Length(length), &text[..]),
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        let head = ResponseHead {
            status: error.status(),
            version,
            fields: ResponseFields::new(&headers),
            framing,
            keep_alive: false,
            date: "",
        };
        site.write_head(transport, head, content.as_bytes());
        content.len() as u64
    }
}

/// Whether it begins with three words of letters, where a request has a target and a version.
fn is_bare_words(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let is_bare = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_alphabetic);
    words.clone().count() == 3 && words.all(is_bare)
}
