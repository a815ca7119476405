//! One request and its answer: a task for each stream that is not answered at once.
//!
//! The task ends when the answer is sent and the request's body is read, or when the stream or the
//! connection ends before; then the handler is dropped with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use ropewalk_core::{
    Connection, ConnectionLimits, Failure, Panicked, Protocol, ReactorCore, Transport,
};
use tower_service::Service;

use super::alarm::Alarm;
use super::answer::{Begun, To, Tunnel, Unsent, begin, refuse};
use super::governed::Watch;
use super::inflow::Inflow;
use super::interim::{self, Interims};
use super::outflow::{Broken, Outflow};
use super::stream::H2Stream;
use super::tunnels::Tunnels;
use crate::access_log::{CLIENT_CLOSED, Entry};
use crate::body::{Body, BodyError, BodySender, BoxError};
use crate::h1::{BodyPace, RequestError, Shared};
use crate::handler::{Answering, Called, call};

/// A request that is being answered.
pub(super) struct Exchange<S, B>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    site: Rc<Shared<S>>,
    around: Around,
    method: Method,
    respond: SendResponse<Bytes>,
    /// What a CONNECT asks for, and what the peer sends on it.
    tunnel: Option<(Tunnel, RecvStream)>,
    interims: Interims,
    /// The request's body, if it has one.
    inflow: Option<Inflow>,
    pace: BodyPace,
    expects_continue: bool,
    phase: Phase<B, S::Error>,
    /// What was answered, for the log.
    status: StatusCode,
    sent: u64,
    log: Option<Box<Entry>>,
    alarm: Alarm,
    awaited: Awaited,
}

enum Phase<B, E> {
    /// The handler has not answered.
    Handler(Answering<B, E>),
    /// Its answer is being sent.
    Sending(Outflow<B>),
    /// All is sent. The rest of the request may still be read.
    Sent,
}

/// What the peer is to do within a time; and how far it had come when that began.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Nothing,
    Body(u64),
    Window(u64),
}

/// What the streams of a connection have in common.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) reactor: Weak<dyn ReactorCore>,
    pub(super) connection: Connection,
    pub(super) tunnels: Rc<Tunnels>,
    pub(super) watch: Rc<Watch>,
}

/// What a request brings along, beside its fields.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) tunnel: Option<(Tunnel, RecvStream)>,
    pub(super) body: Option<(RecvStream, BodySender)>,
    pub(super) expects_continue: bool,
    pub(super) log: Option<Box<Entry>>,
}

impl<S, B> Exchange<S, B>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(site: Rc<Shared<S>>, around: Around, asked: Asked) -> Self {
        Self {
            site,
            method: asked.method,
            respond: asked.respond,
            tunnel: asked.tunnel,
            interims: Interims::default(),
            inflow: asked
                .body
                .map(|(stream, sender)| Inflow::new(stream, sender)),
            pace: BodyPace::default(),
            expects_continue: asked.expects_continue,
            phase: Phase::Sent,
            status: StatusCode::OK,
            sent: 0,
            log: asked.log,
            alarm: Alarm::new(around.reactor.clone()),
            awaited: Awaited::Nothing,
            around,
        }
    }

    /// Gives the request to the service.
    pub(super) fn call(&mut self, request: Request<Body>) {
        let current = self.interims.current(&self.around.connection);
        let service = &self.site.service;
        let called = AssertUnwindSafe(|| {
            let _scope = current.enter();
            call(service, request)
        });
        match catch_unwind(called) {
            Ok(Called::Answered(result)) => self.answered(result),
            Ok(Called::Answering(handler)) => {
                self.send_interims();
                self.phase = Phase::Handler(handler);
            }
            Err(payload) => self.panicked(&*payload),
        }
    }

    /// The handler has answered, or failed.
    fn answered(&mut self, result: Result<Response<B>, S::Error>) {
        match result {
            Ok(response) => self.respond(response),
            Err(error) => self.failed(error),
        }
    }

    /// The handler has panicked.
    fn panicked(&mut self, payload: &(dyn std::any::Any + Send)) {
        let panicked = Panicked::new("a handler", payload);
        tracing::error!(panic = panicked.as_error(), "a handler panicked");
        self.refuse(HANDLER_FAILED);
    }

    /// Answers with an error.
    pub(super) fn refuse(&mut self, error: RequestError) {
        tracing::debug!(%error, "a request was refused");
        let Some(date) = self.site.date(&self.around.reactor) else {
            return;
        };
        self.interims.close();
        self.status = error.status();
        let begun = refuse(&mut self.respond, &self.method, date, error);
        self.begun(begun);
    }

    /// The answer is sent, and nothing more of the request is to be read.
    pub(super) fn is_over(&self) -> bool {
        let body = self.inflow.as_ref();
        matches!(self.phase, Phase::Sent)
            && body.is_none_or(|body| body.is_over() || body.is_given_up())
    }

    fn respond(&mut self, response: Response<B>) {
        let Some(date) = self.site.date(&self.around.reactor) else {
            return;
        };
        self.send_interims();
        self.interims.close();
        self.status = response.status();
        let to = To {
            method: &self.method,
            tunnel: self.tunnel.as_ref().map(|(tunnel, _)| *tunnel),
        };
        let begun = begin(&mut self.respond, &to, date, response);
        self.begun(begun);
    }

    fn begun(&mut self, begun: Result<Begun<B>, Unsent>) {
        self.phase = Phase::Sent;
        match begun {
            Ok(Begun::Complete(sent)) => {
                self.sent = sent;
                self.log();
            }
            Ok(Begun::Sending(outflow)) => self.phase = Phase::Sending(outflow),
            Ok(Begun::Handed(stream, protocol)) => {
                self.log();
                self.hand_over(stream, protocol);
            }
            Err(Unsent::Refused(error)) => self.refuse(error),
            Err(Unsent::Gone) => self.gone(),
        }
    }

    /// The stream is another protocol's from here on.
    fn hand_over(&mut self, send: SendStream<Bytes>, protocol: Box<dyn Protocol>) {
        let Some(((_, recv), reactor)) = self.tunnel.take().zip(self.around.reactor.upgrade())
        else {
            return;
        };
        let addresses = |transport: &mut Transport| (transport.peer(), transport.host().clone());
        let Some(addresses) = self.around.connection.act(addresses) else {
            return;
        };
        let limits = ConnectionLimits {
            write_stall: self.site.limits.write_stall,
            ..ConnectionLimits::default()
        };
        let stream = H2Stream::new(send, recv);
        let tunnels = &self.around.tunnels;
        tunnels.open(&reactor, stream, protocol, limits, addresses);
    }

    fn send_interims(&mut self) {
        if self.interims.send(&mut self.respond) {
            self.expects_continue = false;
        }
    }

    fn failed(&mut self, error: S::Error) {
        let failure = Failure::new(error);
        match failure.check::<BodyError>() {
            Some(BodyError::TooLarge { .. }) => self.refuse(TOO_LARGE),
            // A stream that was reset is gone, and is seen to be.
            Some(BodyError::Disconnected) => self.refuse(BODY_LOST),
            Some(BodyError::Malformed(error)) => self.refuse(*error),
            _ => {
                tracing::error!(failure = &*failure.to_error(), "a handler failed");
                self.refuse(HANDLER_FAILED);
            }
        }
    }

    /// Goes on. Ready when it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_reset(cx) {
            self.gone();
            return Poll::Ready(());
        }
        if let Phase::Handler(handler) = &mut self.phase {
            let current = self.interims.current(&self.around.connection);
            let poll = AssertUnwindSafe(|| {
                let _scope = current.enter();
                handler.as_mut().poll(cx)
            });
            match catch_unwind(poll) {
                Ok(Poll::Pending) => self.send_interims(),
                Ok(Poll::Ready(result)) => self.answered(result),
                Err(payload) => self.panicked(&*payload),
            }
        }
        if let Phase::Sending(outflow) = &mut self.phase {
            let polled = outflow.poll(cx);
            self.sent = outflow.sent();
            match polled {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    self.phase = Phase::Sent;
                    self.log();
                }
                Poll::Ready(Err(Broken::Gone)) => {
                    self.gone();
                    return Poll::Ready(());
                }
                Poll::Ready(Err(Broken::Body)) => return self.reset(Reason::INTERNAL_ERROR),
            }
        }
        self.read_body(cx);
        if self.is_over() {
            return Poll::Ready(());
        }
        if matches!(self.phase, Phase::Sent) {
            let (overruns, stream) = (self.around.watch.overruns(), self.respond.stream_id());
            if overruns.has_befallen(stream.into(), cx.waker()) {
                return self.reset(Reason::FLOW_CONTROL_ERROR);
            }
        }
        self.keep_time(cx)
    }

    /// Whether the peer has taken the request back, or the connection has ended.
    fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.phase {
            Phase::Sending(outflow) => outflow.stream().poll_reset(cx).is_ready(),
            Phase::Handler(_) | Phase::Sent => self.respond.poll_reset(cx).is_ready(),
        }
    }

    fn read_body(&mut self, cx: &mut Context<'_>) {
        let Some(inflow) = &mut self.inflow else {
            return;
        };
        let before = inflow.taken();
        inflow.poll(cx);
        self.pace.received(inflow.taken() - before);
        if self.expects_continue && inflow.is_wanted() && matches!(self.phase, Phase::Handler(_)) {
            self.expects_continue = false;
            let nothing = HeaderMap::new();
            interim::send(&mut self.respond, StatusCode::CONTINUE, nothing);
        }
    }

    /// Waits no longer for the peer than it may take.
    fn keep_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let awaited = self.awaits();
        if awaited != self.awaited {
            self.awaited = awaited;
            match self.time_for(awaited) {
                Some(time) => self.alarm.set(time),
                None => self.alarm.clear(),
            }
        }
        while self.alarm.poll(cx).is_ready() {
            let Some(more) = self.more_time() else {
                return self.timed_out(cx);
            };
            self.alarm.set(more);
        }
        Poll::Pending
    }

    /// How much longer is waited for room than it was to be: as long as the peer takes what it gets,
    /// other streams have what room there is.
    fn more_time(&self) -> Option<Duration> {
        let Awaited::Window(_) = self.awaited else {
            return None;
        };
        let now = self.around.reactor.upgrade()?.now();
        let silence = now.saturating_duration_since(self.around.watch.data_sent_at());
        let left = self.site.limits.write_stall.saturating_sub(silence);
        (!left.is_zero()).then_some(left)
    }

    fn timed_out(&mut self, cx: &Context<'_>) -> Poll<()> {
        match (self.awaited, &self.phase) {
            (Awaited::Body(_), Phase::Handler(_)) => {
                self.fail_body();
                self.refuse(BODY_TOO_SLOW);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            _ => self.reset(Reason::CANCEL),
        }
    }

    fn awaits(&self) -> Awaited {
        if let Phase::Sending(outflow) = &self.phase
            && outflow.is_stalled()
        {
            return Awaited::Window(outflow.sent());
        }
        match &self.inflow {
            Some(inflow) if inflow.is_awaited() && !self.expects_continue => {
                Awaited::Body(inflow.taken())
            }
            _ => Awaited::Nothing,
        }
    }

    fn time_for(&mut self, awaited: Awaited) -> Option<Duration> {
        let limits = &self.site.limits;
        let now = self.around.reactor.upgrade()?.now();
        self.pace.pause(now);
        match awaited {
            Awaited::Nothing => None,
            Awaited::Body(_) => Some(self.pace.wait(now, limits)),
            Awaited::Window(_) => Some(limits.write_stall),
        }
    }

    /// The stream or the connection has ended before the answer was sent.
    fn gone(&mut self) {
        self.fail_body();
        if matches!(self.phase, Phase::Handler(_)) {
            self.status = closed_status();
        }
        self.phase = Phase::Sent;
        self.log();
    }

    fn reset(&mut self, reason: Reason) -> Poll<()> {
        self.respond.send_reset(reason);
        self.gone();
        Poll::Ready(())
    }

    fn fail_body(&mut self) {
        if let Some(inflow) = &mut self.inflow
            && !inflow.is_over()
        {
            inflow.fail(BodyError::Disconnected);
        }
    }

    fn log(&mut self) {
        if let Some(log) = self.log.take() {
            log.finish(self.status.as_u16(), self.sent);
        }
    }
}

impl<S, B> Drop for Exchange<S, B>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    fn drop(&mut self) {
        let stream = self.respond.stream_id();
        self.around.watch.overruns().forget(stream.into());
    }
}

/// As a status, what is logged of a request that the peer has left.
fn closed_status() -> StatusCode {
    StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::BAD_REQUEST)
}

const TOO_LARGE: RequestError = RequestError::new(
    StatusCode::PAYLOAD_TOO_LARGE,
    "the request body is longer than this server allows",
);
const HANDLER_FAILED: RequestError = RequestError::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "the server failed to answer; its log says why",
);
const BODY_TOO_SLOW: RequestError = RequestError::new(
    StatusCode::REQUEST_TIMEOUT,
    "the request body took too long",
);
const BODY_LOST: RequestError = RequestError::new(
    StatusCode::BAD_REQUEST,
    "the request body ended before it was complete",
);
