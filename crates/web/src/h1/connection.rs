//! One HTTP/1.1 connection of a [`Site`](crate::Site): the protocol over the codec.
//!
//! Requests are served one after the other, in the order in which they came, and what one read
//! brought is answered by one flush. A handler starts when the head is complete; the body streams
//! to it, and its answer from it, both with back-pressure. An answer that is there at once costs
//! no task. When the peer goes away, its handler is dropped.

use std::any::Any;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use ropewalk_core::{Failure, Protocol, Secured, Task, Transport};
use tower_service::Service;

use super::exchange::{Exchange, Feed, Source};
use super::request_head::CONNECT_NEEDS_AUTHORITY;
use super::shared::Shared;
use super::stream::{Gate, QUEUE_AHEAD, write_stream};
use super::{
    BodyLength, HeadScan, RequestError, RequestHead, ResponseFields, ResponseFraming, ResponseHead,
};
use crate::access_log::Entry;
use crate::body::{BODY_BUFFER, Body, BodyError, BoxError, Segments, incoming};
use crate::current::{Current, Interim};
use crate::h2::{self, PREFACE};
use crate::handler::{Answering, Called, call};
use crate::request_info::RequestInfo;
use crate::upgrade::Upgrade;

/// How long a peer that was refused may go on sending before the connection is closed. (Closing at
/// once would reset the connection, and might take the answer away from the peer: RFC 9112, 9.6.)
const LINGER: Duration = Duration::from_secs(2);

/// A request body that nobody read is skipped, to keep the connection, if no more is left of it.
const SKIP_AT_MOST: u64 = 64 * 1024;

/// An answer that is no longer than this is copied behind its head.
const SHORT: usize = 1024;

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
                        exchange.pace.received(consumed);
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

    /// A request has come: gives it to the service.
    fn begin(&mut self, transport: &mut Transport, head: RequestHead) {
        self.requests += 1;
        let last = self.requests >= self.site.limits.requests_per_connection;
        let log = Entry::new(transport, &head);
        let (sender, received) = match head.body {
            BodyLength::None | BodyLength::Length(0) => (None, None),
            length => {
                let declared = match length {
                    BodyLength::Length(length) => Some(length),
                    _ => None,
                };
                let (sender, received) = incoming(declared, self.site.limits.body);
                (Some(sender), Some(received))
            }
        };
        let mut exchange = Exchange::new(&head, sender, log);
        exchange.keep_alive &= !self.draining && !last;
        let (peer, host) = (transport.peer(), transport.host().clone());
        let mut info = RequestInfo::new(peer, host, transport.now());
        info.secure = self.secure;
        if !info.secure && head.parts.uri.scheme() == Some(&Scheme::HTTPS) {
            if !self.site.trusts_gateway(&info.peer) {
                self.state = State::Exchange(Box::new(exchange));
                return self.refuse(transport, NOT_SECURE);
            }
            info.secure = true;
        }
        let body = Body::received(info, received);
        let scope = self.current(transport).enter();
        let called = call(&self.site.service, Request::from_parts(head.parts, body));
        drop(scope);
        match called {
            Called::Answered(Ok(response)) => {
                let responded = self.respond(transport, &mut exchange, response);
                if responded.is_ok() && exchange.is_over() {
                    // Nearly all of them: nothing of it need be kept.
                    return exchange.log_answered();
                }
                self.state = State::Exchange(Box::new(exchange));
                self.responded(transport, responded);
            }
            Called::Answered(Err(error)) => {
                self.state = State::Exchange(Box::new(exchange));
                self.failed(transport, error);
            }
            Called::Answering(future) => {
                exchange.task = Some(self.spawn_handler(transport, &mut exchange, future));
                self.state = State::Exchange(Box::new(exchange));
            }
        }
    }

    /// The request that was begun last, for the code that answers it.
    fn current(&self, transport: &Transport) -> Current {
        Current {
            connection: transport.connection(),
            interim: Interim::OfConnection(Self::send_interim, self.requests),
        }
    }

    /// Sends an interim response, if the request with this number waits for its answer.
    fn send_interim(
        connection: &ropewalk_core::Connection,
        number: u64,
        status: StatusCode,
        fields: HeaderMap,
    ) -> bool {
        connection.with(move |http: &mut Self, transport| {
            let current = http.requests == number;
            if let State::Exchange(exchange) = &mut http.state
                && current
                && exchange.may_send_interim(status)
            {
                let head = ResponseHead {
                    status,
                    version: Version::HTTP_11,
                    fields: ResponseFields::new(&fields),
                    framing: ResponseFraming::NoBody(None),
                    keep_alive: true,
                    date: "",
                };
                http.site.write_head(transport, head, b"");
            }
        })
    }

    /// Runs a handler that could not answer at once. Its answer comes back as a call.
    fn spawn_handler(
        &self,
        transport: &Transport,
        exchange: &mut Exchange,
        mut future: Answering<B, S::Error>,
    ) -> Task {
        let connection = transport.connection();
        let body = exchange.watch_body();
        let current = self.current(transport);
        let unanswered = AbortUnlessDone::new(connection.clone());
        transport.reactor().spawn(Box::pin(async move {
            let result = poll_fn(|cx| {
                let scope = current.clone().enter();
                let result = future.as_mut().poll(cx);
                drop(scope);
                if result.is_pending() {
                    attend_body::<S, B>(&connection, body.as_ref(), cx);
                }
                result
            })
            .await;
            // What it drops may panic, too.
            drop(future);
            unanswered.done();
            connection.with(move |http: &mut Self, transport| {
                http.answered(transport, result);
                http.advance(transport, &[]);
            });
        }))
    }

    /// The handler has answered, or failed, after a while.
    fn answered(&mut self, transport: &mut Transport, result: Result<Response<B>, S::Error>) {
        let mut exchange = match std::mem::replace(&mut self.state, State::Head) {
            State::Exchange(exchange) => exchange,
            // The request was refused meanwhile.
            other => return self.state = other,
        };
        match result {
            Ok(response) => {
                let responded = self.respond(transport, &mut exchange, response);
                self.state = State::Exchange(exchange);
                self.responded(transport, responded);
            }
            Err(error) => {
                self.state = State::Exchange(exchange);
                self.failed(transport, error);
            }
        }
    }

    /// An answer was begun, or cannot be sent.
    fn responded(&mut self, transport: &mut Transport, result: Result<(), RequestError>) {
        match result {
            Ok(()) => self.attend_reader(transport),
            Err(error) => self.refuse(transport, error),
        }
    }

    /// The handler has failed.
    fn failed(&mut self, transport: &mut Transport, error: S::Error) {
        let failure = Failure::new(error);
        match failure.check::<BodyError>() {
            Some(BodyError::TooLarge { .. }) => self.refuse(transport, TOO_LARGE),
            Some(BodyError::Malformed(error)) => self.refuse(transport, *error),
            Some(BodyError::Disconnected) if self.lacks_body() => transport.lose_connection(),
            _ => {
                tracing::error!(failure = &*failure.to_error(), "a handler failed");
                self.refuse(transport, HANDLER_FAILED);
            }
        }
    }

    /// Whether some of the request's body has not come.
    fn lacks_body(&self) -> bool {
        matches!(&self.state, State::Exchange(exchange) if !exchange.body_is_complete())
    }

    /// Writes the head of an answer, and begins with its content.
    #[inline]
    fn respond(
        &self,
        transport: &mut Transport,
        exchange: &mut Exchange,
        response: Response<B>,
    ) -> Result<(), RequestError> {
        let (mut parts, mut body) = response.into_parts();
        if exchange.connects_nowhere {
            exchange.keep_alive = false;
            if parts.status.is_success() {
                return Err(CONNECT_NEEDS_AUTHORITY);
            }
        }
        if exchange.may_end_http(parts.status)
            && let Some(protocol) = Upgrade::take(&mut parts.extensions)
        {
            let is_asked_for = parts.status != StatusCode::SWITCHING_PROTOCOLS
                || exchange.has_asked_for(&parts.headers);
            if is_asked_for {
                self.respond_and_end_http(transport, exchange, &parts, protocol);
                return Ok(());
            }
            tracing::debug!(peer = %transport.peer(), "an upgrade that was not asked for is 426");
            // Its fields say to what.
            parts.status = StatusCode::UPGRADE_REQUIRED;
        }
        if parts.status.is_informational() {
            tracing::error!(status = %parts.status, "a handler's answer is no final one");
            return Err(HANDLER_FAILED);
        }
        let fields = ResponseFields::new(&parts.headers);
        let content = Content::of(&mut body);
        let length = match &content {
            Content::Short(bytes) => Some(bytes.len() as u64),
            Content::Segments(segments) => Some(segments.len()),
            Content::Stream => body.size_hint().exact(),
        };
        let framing = ResponseFraming::choose(
            &exchange.method,
            exchange.version,
            parts.status,
            &fields,
            length,
        );
        let framing = match framing {
            Ok(framing) => framing,
            Err(error) => {
                tracing::error!(%error, "a handler's answer cannot be sent");
                return Err(HANDLER_FAILED);
            }
        };
        exchange.status = parts.status;
        exchange.note(&parts.extensions);
        // What follows belongs to a tunnel that there is not (RFC 9110, section 9.3.6).
        let is_tunnel = exchange.method == Method::CONNECT && parts.status.is_success();
        exchange.keep_alive &= !self.draining
            && framing != ResponseFraming::UntilClose
            && !is_tunnel
            && !fields.ask_to_close()
            && exchange.may_skip_body(SKIP_AT_MOST);
        let head = ResponseHead {
            status: parts.status,
            version: exchange.version,
            fields,
            framing,
            keep_alive: exchange.keep_alive,
            date: "",
        };
        let short = match &content {
            Content::Short(bytes) if framing.sends_body() => &bytes[..],
            _ => &[],
        };
        exchange.sent = short.len() as u64;
        self.site.write_head(transport, head, short);
        exchange.give_up_body();
        exchange.source = match content {
            Content::Segments(segments) if framing.sends_body() => Source::Segments(segments),
            Content::Stream if framing.sends_body() => {
                exchange.task = Some(Self::spawn_stream(transport, exchange, body, framing));
                Source::Stream
            }
            _ => Source::Done,
        };
        exchange.fill(transport);
        self.site.give_back(parts.headers);
        Ok(())
    }

    /// Writes the head of an answer after which `protocol` has the connection.
    #[cold]
    fn respond_and_end_http(
        &self,
        transport: &mut Transport,
        exchange: &mut Exchange,
        parts: &http::response::Parts,
        protocol: Box<dyn Protocol>,
    ) {
        exchange.status = parts.status;
        let head = ResponseHead {
            status: parts.status,
            version: exchange.version,
            fields: ResponseFields::new(&parts.headers),
            framing: ResponseFraming::NoBody(None),
            keep_alive: true,
            date: "",
        };
        self.site.write_head(transport, head, b"");
        exchange.source = Source::Upgrade(protocol);
    }

    /// Writes an answer that comes piece by piece. Its end comes back as a call.
    fn spawn_stream(
        transport: &Transport,
        exchange: &mut Exchange,
        body: B,
        framing: ResponseFraming,
    ) -> Task {
        let connection = transport.connection();
        let watched = exchange.watch_body();
        let gate = Rc::new(Gate::default());
        exchange.gate = Some(Rc::clone(&gate));
        let unfinished = AbortUnlessDone::new(connection.clone());
        transport.reactor().spawn(Box::pin(async move {
            let waits = |cx: &Context<'_>| attend_body::<S, B>(&connection, watched.as_ref(), cx);
            let (sent, complete) = write_stream(&connection, body, framing, &gate, waits).await;
            unfinished.done();
            connection.with(move |http: &mut Self, transport| {
                http.streamed(transport, sent, complete);
            });
        }))
    }

    /// Attends to a body that is read by somebody else than the handler and its answer, once the
    /// tasks of these have ended.
    fn attend_reader(&mut self, transport: &Transport) {
        let State::Exchange(exchange) = &mut self.state else {
            return;
        };
        if matches!(exchange.source, Source::Stream) || !exchange.may_have_reader() {
            return;
        }
        let connection = transport.connection();
        let body = exchange.watch_body();
        let attend = poll_fn(move |cx| {
            attend_body::<S, B>(&connection, body.as_ref(), cx);
            Poll::Pending
        });
        exchange.task = Some(transport.reactor().spawn(Box::pin(attend)));
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
            self.close(transport, heard_all);
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

    /// Nothing more will be answered. If the peer may still be sending, it is heard out.
    fn close(&mut self, transport: &mut Transport, heard_all: bool) {
        if heard_all {
            return transport.lose_connection();
        }
        self.state = State::Lingering;
        self.waiting = None;
        transport.lose_write_connection();
        transport.resume_producing();
        transport.set_timeout(Some(LINGER));
    }

    /// Answers with an error, and closes.
    fn refuse(&mut self, transport: &mut Transport, error: RequestError) {
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
    fn refuse_head(&mut self, transport: &mut Transport, error: RequestError, head: &[u8]) {
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

/// Tells the connection when the body that a task reads is asked for, there is room in it, or it was
/// dropped.
fn attend_body<S, B>(
    connection: &ropewalk_core::Connection,
    body: Option<&crate::body::BodySender>,
    cx: &Context<'_>,
) where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    if let Some(body) = body {
        body.watch(cx.waker());
        if body.calls_for_more() {
            connection.with(|http: &mut Connection<S>, transport| http.body_wanted(transport));
        }
    }
}

/// What an answer carries, by the way in which it is sent.
enum Content {
    /// No more than a copy is cheap for.
    Short(Bytes),
    /// Pieces that are all there.
    Segments(Segments),
    /// It comes from the body, in its time.
    Stream,
}

impl Content {
    /// Takes what is there of a body, if it is one of ours.
    #[inline]
    fn of<B: 'static>(body: &mut B) -> Self {
        let any: &mut dyn Any = body;
        let Some(body) = any.downcast_mut::<Body>() else {
            return Self::Stream;
        };
        match body.take_short(SHORT) {
            Some(bytes) => Self::Short(bytes),
            None => body.take_segments().map_or(Self::Stream, Self::Segments),
        }
    }
}

/// Aborts the connection when a task ends, by a panic, before it has done its work.
struct AbortUnlessDone(Option<ropewalk_core::Connection>);

impl AbortUnlessDone {
    fn new(connection: ropewalk_core::Connection) -> Self {
        Self(Some(connection))
    }

    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortUnlessDone {
    fn drop(&mut self) {
        if let Some(connection) = &self.0
            && std::thread::panicking()
        {
            connection.abort_connection();
        }
    }
}

/// Whether it begins with three words of letters, where a request has a target and a version.
fn is_bare_words(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let is_bare = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_alphabetic);
    words.clone().count() == 3 && words.all(is_bare)
}

const TOO_LARGE: RequestError = RequestError::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "the request body is longer than this server allows",
);
const HANDLER_FAILED: RequestError = RequestError::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "the server failed to answer; its log says why",
);
/// (RFC 9110, section 7.4.)
const NOT_SECURE: RequestError = RequestError::new(
    StatusCode::MISDIRECTED_REQUEST,
    "the request is for an https URL, but this connection is not secured",
);
const HEAD_TOO_SLOW: RequestError = RequestError::new(
    StatusCode::REQUEST_TIMEOUT,
    "the request head took too long",
);
const BODY_TOO_SLOW: RequestError = RequestError::new(
    StatusCode::REQUEST_TIMEOUT,
    "the request body took too long",
);

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
