//! One HTTP/1.1 connection of a [`Site`](crate::Site): the protocol over the codec.
//!
//! Requests are served one after the other, in the order in which they came, and what one read
//! brought is answered by one flush. A handler starts when the head is complete; the body streams
//! to it, and its answer from it, both with back-pressure. An answer that is there at once costs
//! no task. When the peer goes away, its handler is dropped.

mod answering;
mod handling;
mod refusal;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use ropewalk_core::{Failure, Protocol, Secured, Transport};
use tower_service::Service;

use crate::body::{BODY_BUFFER, Body, BoxError};
use crate::h1::exchange::{Exchange, Feed, Source};
use crate::h1::shared::Shared;
use crate::h1::stream::QUEUE_AHEAD;
use crate::h1::{HeadScan, RequestError};
use crate::h2::{self, PREFACE};

/// How long a peer that was refused may go on sending before the connection is closed. (Closing at
/// once would reset the connection, and might take the answer away from the peer: RFC 9112, 9.6.)
const LINGER: Duration = Duration::from_secs(2);

/// A request body that nobody read is skipped, to keep the connection, if no more is left of it.
const SKIP_AT_MOST: u64 = 64 * 1024;

const HEAD_TOO_SLOW: RequestError = RequestError::new(
    StatusCode::REQUEST_TIMEOUT,
    "the request head took too long",
);
const BODY_TOO_SLOW: RequestError = RequestError::new(
    StatusCode::REQUEST_TIMEOUT,
    "the request body took too long",
);

/// One connection of a site.
pub(crate) struct Connection<S> {
    site: Rc<Shared<S>>,
    state: State,
    /// Bytes that wait for the rest of their head, or for the answers before them.
    waiting: Option<Box<Waiting>>,
    awaited: Awaited,
    requests: u64,
    draining: bool,
    /// Nobody else can read along.
    secure: bool,
    /// The peer will send no more. What it has sent is served.
    read_closed: bool,
    /// What has come so far may be the beginning of HTTP/2.
    may_be_http2: bool,
}

/// What the peer is to send within a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Nothing,
    Request,
    /// The rest of a head that has begun.
    Head,
    Body,
}

enum State {
    /// Between requests, or in a head.
    Head,
    /// A request is being served.
    Exchange(Box<Exchange>),
    /// The last answer was given: what still comes is thrown away.
    Lingering,
    /// Another protocol is to have the connection when this callback returns.
    HandedOver,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    scan: HeadScan,
}

impl<S, B> Connection<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(site: Rc<Shared<S>>) -> Self {
        let may_be_http2 = site.http2.borrow().is_some();
        Self {
            site,
            state: State::Head,
            waiting: None,
            awaited: Awaited::Request,
            requests: 0,
            draining: false,
            secure: false,
            read_closed: false,
            may_be_http2,
        }
    }

    /// Whether the connection turns out to be one of HTTP/2, or may still.
    fn is_http2(&mut self, transport: &mut Transport, data: &[u8]) -> bool {
        let held = self.waiting.as_ref().map_or(0, |held| held.bytes.len());
        let expected = &PREFACE[held..];
        let common = expected.len().min(data.len());
        self.may_be_http2 = data[..common] == expected[..common];
        if !self.may_be_http2 {
            return false;
        }
        let waiting = self.waiting.get_or_insert_default();
        waiting.bytes.extend_from_slice(data);
        if common < expected.len() {
            self.set_pace(transport, held == 0);
        } else {
            let begun = std::mem::take(&mut waiting.bytes);
            self.speak_http2(transport, &begun);
        }
        true
    }

    /// Gives the connection to HTTP/2, with what has come.
    fn speak_http2(&mut self, transport: &mut Transport, begun: &[u8]) {
        let limits = self.site.http2.borrow().clone();
        if let Some(limits) = limits {
            h2::serve(Rc::clone(&self.site), &limits, transport, begun);
        }
    }

    /// Works on what waits and on `data`, which follows it, as far as possible.
    fn advance(&mut self, transport: &mut Transport, data: &[u8]) {
        let mut waiting = self.waiting.take();
        let mut scan = HeadScan::default();
        let mut held = match &mut waiting {
            Some(waiting) => {
                waiting.bytes.extend_from_slice(data);
                scan = std::mem::take(&mut waiting.scan);
                std::mem::take(&mut waiting.bytes)
            }
            None => Vec::new(),
        };
        let fresh = waiting.is_none();
        let input = if fresh { data } else { &held[..] };
        let consumed = self.consume(transport, input, &mut scan);
        if consumed < input.len() && !matches!(self.state, State::Lingering | State::HandedOver) {
            let bytes = if fresh {
                data[consumed..].to_vec()
            } else {
                held.drain(..consumed);
                held
            };
            self.waiting = Some(Box::new(Waiting { bytes, scan }));
        }
        self.set_pace(transport, consumed > 0 || fresh && !data.is_empty());
        let served = matches!(self.state, State::Head) && !transport.is_write_paused();
        if self.read_closed && served {
            transport.lose_connection();
        }
    }

    /// How much of `input` could be worked on.
    fn consume(&mut self, transport: &mut Transport, input: &[u8], scan: &mut HeadScan) -> usize {
        let mut at = 0;
        let mut begun = 0;
        loop {
            if transport.is_closing() {
                return input.len();
            }
            match &mut self.state {
                State::Lingering | State::HandedOver => return input.len(),
                // Nobody reads what is left of the body, and nothing follows it.
                State::Exchange(exchange) if exchange.is_given_up(SKIP_AT_MOST) => {
                    exchange.keep_alive = false;
                    self.exchange_done(transport, false);
                }
                State::Exchange(exchange) => match exchange.feed(&input[at..]) {
                    Feed::More(consumed) => {
                        exchange.pace.received(consumed as u64);
                        at += consumed;
                        return at;
                    }
                    Feed::Done(consumed) => {
                        at += consumed;
                        if let Some(protocol) = exchange.take_upgrade() {
                            self.hand_over(transport, protocol, &input[at..]);
                            return input.len();
                        }
                        if !exchange.is_answered() {
                            return at;
                        }
                        self.exchange_done(transport, at == input.len());
                    }
                    Feed::Refused(error) => {
                        self.refuse(transport, error);
                        return input.len();
                    }
                },
                State::Head => {
                    let rest = &input[at..];
                    if rest.is_empty() {
                        return at;
                    }
                    if begun == self.site.limits.pipelined.max(1)
                        || transport.unsent() > QUEUE_AHEAD
                    {
                        // Others want their turn, or the peer is to read first.
                        transport.await_drain();
                        return at;
                    }
                    match self.site.parse_head(rest, scan) {
                        Ok(None) => return at,
                        Ok(Some((head, consumed))) => {
                            at += consumed;
                            begun += 1;
                            self.begin(transport, head);
                        }
                        Err(error) => {
                            self.refuse_head(transport, error, rest);
                            return input.len();
                        }
                    }
                }
            }
        }
    }

    /// The answer is complete, and so is the request, or nobody will read the rest of it.
    /// `heard_all` says whether nothing more has come.
    fn exchange_done(&mut self, transport: &mut Transport, heard_all: bool) {
        let State::Exchange(mut exchange) = std::mem::replace(&mut self.state, State::Head) else {
            return;
        };
        exchange.end_task();
        exchange.log_answered();
        if !exchange.keep_alive {
            self.close(transport, heard_all && exchange.is_the_last);
        }
    }

    /// HTTP has ended here: what follows is for `protocol`.
    fn hand_over(&mut self, transport: &mut Transport, protocol: Box<dyn Protocol>, unread: &[u8]) {
        if let State::Exchange(mut exchange) = std::mem::replace(&mut self.state, State::HandedOver)
        {
            exchange.end_task();
            exchange.log_answered();
        }
        transport.exchange_protocol(protocol, unread);
    }

    /// Nothing more will be answered. If the peer may still be sending, as it may who did not ask for the
    /// end, it is heard out.
    fn close(&mut self, transport: &mut Transport, is_silent: bool) {
        if is_silent {
            return transport.lose_connection();
        }
        self.state = State::Lingering;
        self.waiting = None;
        transport.lose_write_connection();
        transport.resume_producing();
        transport.set_timeout(Some(LINGER));
    }

    fn head_has_begun(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.scan.has_begun(waiting.bytes.len()))
    }

    /// What is waited for now decides how long, and whether more is read.
    fn set_pace(&mut self, transport: &mut Transport, moved: bool) {
        if transport.is_closing() {
            return;
        }
        let waiting = self
            .waiting
            .as_ref()
            .map_or(0, |waiting| waiting.bytes.len());
        let (awaited, full) = match &self.state {
            State::Head if !self.head_has_begun() => (Awaited::Request, false),
            State::Head if transport.is_write_paused() => (Awaited::Nothing, true),
            State::Head => (Awaited::Head, false),
            State::Exchange(exchange) => {
                let full = exchange.body_is_full() || waiting >= BODY_BUFFER;
                match exchange.is_reading_body() && !full {
                    true => (Awaited::Body, full),
                    false => (Awaited::Nothing, full),
                }
            }
            State::Lingering | State::HandedOver => return,
        };
        if full {
            transport.pause_producing();
        } else {
            transport.resume_producing();
        }
        // The time of a head begins with its first byte, however slowly the others come; that of the
        // next request anew when the peer has taken an answer.
        if moved || awaited != self.awaited || awaited == Awaited::Request {
            let limits = &self.site.limits;
            self.awaited = awaited;
            let now = transport.now();
            let mut pace = match &mut self.state {
                State::Exchange(exchange) => Some(&mut exchange.pace),
                _ => None,
            };
            transport.set_timeout(match (awaited, &mut pace) {
                (Awaited::Body, Some(pace)) => Some(pace.wait(now, limits)),
                (Awaited::Nothing, pace) => {
                    if let Some(pace) = pace {
                        pace.pause(now);
                    }
                    None
                }
                (Awaited::Head, _) => Some(limits.header_timeout),
                (Awaited::Request | Awaited::Body, _) => Some(limits.idle_timeout),
            });
        }
    }

    /// The reader of the body has asked for more of it, or has dropped it.
    fn body_wanted(&mut self, transport: &mut Transport) {
        if let State::Exchange(exchange) = &mut self.state {
            if exchange.take_continue() {
                transport.write_with(super::encode_continue);
            }
            self.advance(transport, &[]);
        }
    }

    /// The last piece of a streamed answer was written; or it could not be completed.
    fn streamed(&mut self, transport: &mut Transport, sent: u64, complete: bool) {
        if let State::Exchange(exchange) = &mut self.state {
            exchange.sent = sent;
            if complete {
                exchange.source = Source::Done;
            }
        }
        if !complete {
            return transport.abort_connection();
        }
        self.attend_reader(transport);
        self.advance(transport, &[]);
    }
}

impl<S, B> Protocol for Connection<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    fn connection_made(&mut self, transport: &mut Transport) {
        let secured = transport.fact::<Secured>();
        self.secure = secured.is_some();
        transport.set_timeout(Some(self.site.limits.idle_timeout));
        let agreed = secured.and_then(|secured| secured.application_protocol.clone());
        if self.may_be_http2 && agreed.as_deref() == Some(b"h2") {
            self.speak_http2(transport, &[]);
        }
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        if self.may_be_http2 && self.is_http2(transport, data) {
            return;
        }
        self.advance(transport, data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.read_closed = true;
        let State::Exchange(exchange) = &mut self.state else {
            // Nothing whole waits: who does not answer for the moment does not read either.
            return transport.lose_connection();
        };
        if exchange.is_sending_segments() && exchange.body_is_complete() {
            // It waits for the rest of an answer that needs no handler any more.
            return;
        }
        if !exchange.is_answered() {
            exchange.cancel();
            if exchange.is_begun() {
                // What is missing must be seen to be missing.
                transport.abort_connection();
            }
            if let State::Exchange(exchange) = std::mem::replace(&mut self.state, State::Head) {
                exchange.log_cut();
            }
        }
        transport.lose_connection();
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        if let State::Exchange(exchange) = &mut self.state {
            exchange.open_gate();
            exchange.fill(transport);
        }
        self.advance(transport, &[]);
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        match &self.state {
            State::Head if self.head_has_begun() => {
                let begun = self.waiting.take().unwrap_or_default();
                self.refuse_head(transport, HEAD_TOO_SLOW, &begun.bytes);
            }
            // Nobody can be idle who still takes an answer.
            State::Head if transport.unsent() > 0 => {
                transport.set_timeout(Some(self.site.limits.idle_timeout));
            }
            State::Head => transport.lose_connection(),
            // It still takes the last answer. (If it takes nothing, the write stalls.)
            State::Lingering if transport.unsent() > 0 => transport.set_timeout(Some(LINGER)),
            // To reset it could take an answer away that the system is still sending.
            State::Lingering | State::HandedOver => transport.lose_connection(),
            State::Exchange(exchange) if exchange.is_begun() => transport.abort_connection(),
            State::Exchange(_) => self.refuse(transport, BODY_TOO_SLOW),
        }
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.draining = true;
        let head_has_begun = self.head_has_begun();
        match &mut self.state {
            State::Head if !head_has_begun => transport.lose_connection(),
            State::Exchange(exchange) => exchange.keep_alive = false,
            // A request whose head is under way is answered; then the connection closes.
            State::Head | State::Lingering | State::HandedOver => {}
        }
    }

    /// Without the type of the service: a stack of middleware has a name of many lines.
    fn type_name(&self) -> &'static str {
        "ropewalk_web::h1::Connection"
    }

    fn connection_lost(&mut self, _reason: Failure) {
        if let State::Exchange(exchange) = &mut self.state {
            exchange.cancel();
            exchange.log_cut();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::Limits;
    use crate::handler_fn;
    use ropewalk_core::testing::StringTransport;
    use std::cell::Cell;

    #[test]
    fn an_answer_to_a_request_that_was_refused_meanwhile_lets_no_other_in() {
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        let service = handler_fn(move |_: Request<Body>| {
            count.set(count.get() + 1);
            Response::new(Body::empty())
        });
        let site = Rc::new(Shared::new(service, Limits::default()));
        let (mut http, mut transport) = (Connection::new(site), StringTransport::new());
        http.data_received(&mut transport, b"no request\r\n\r\n");
        http.answered(&mut transport, Ok(Response::new(Body::empty())));
        let request = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
        http.data_received(&mut transport, request);
        assert_eq!(asked.get(), 0);
    }
}
