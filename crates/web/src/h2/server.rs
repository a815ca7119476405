//! One HTTP/2 connection of a [`Site`](crate::Site): what drives it, as one task.
//!
//! The task reads frames, begins with each request, and sends what its streams have to send. A
//! request that is answered at once costs nothing more; each other one is a task of its own
//! ([`Exchange`]). When this task ends, the connection does, and with it all of them.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{PingPong, Reason, RecvStream};
use http::{Method, Request, Response, header};
use ropewalk_core::{Secured, Transport};
use tower_service::Service;

use super::alarm::Alarm;
use super::answer::Tunnel;
use super::exchange::{Around, Asked, Exchange};
use super::governed::{Governed, LINGER, Watch};
use super::governor::Governor;
use super::keep_alive::{KeepAlive, Pings};
use super::limits::Limits;
use super::request::{Flaw, accept, target};
use crate::access_log::Entry;
use crate::body::{Body, BoxError, incoming};
use crate::h1::Shared;

/// Speaks HTTP/2 on the connection of `transport`, from the preface on, which `unread` begins with
/// or which is to come. The protocol that runs is exchanged.
pub(crate) fn serve<S, B>(
    site: Rc<Shared<S>>,
    limits: &Limits,
    transport: &mut Transport,
    unread: &[u8],
) where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let reactor = transport.reactor();
    let mut io = transport.exchange_for_stream(unread);
    io.read_while_draining(true);
    let governor = Governor::for_server(limits, transport.now());
    let watch = Rc::new(Watch::new(governor, &reactor));
    let handshake = builder(limits).handshake(Governed::new(io, Rc::clone(&watch)));
    let around = Around {
        reactor: watch.reactor(),
        connection: transport.connection(),
        tunnels: Rc::default(),
        watch: Rc::clone(&watch),
    };
    let keep_alive = KeepAlive::new(limits.keep_alive, &watch);
    let mut server = Server {
        site,
        around,
        limits: limits.clone(),
        state: State::Handshake(handshake),
        alarm: Alarm::new(watch.reactor()),
        awaited: Awaited::Nothing,
        keep_alive,
        requests: 0,
        idle: (Awaited::Request(0), transport.now()),
        malformed: 0,
        drained_at: None,
        told_to_go: false,
        watch,
    };
    reactor.spawn(Box::pin(std::future::poll_fn(move |cx| server.poll(cx))));
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.concurrent_streams)
        .max_header_list_size(limits.header_list)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_send_buffer_size(limits.send_buffer)
        .max_pending_accept_reset_streams(limits.pending_accept_resets)
        .max_local_error_reset_streams(Some(limits.error_resets))
        // What is still sent on a stream that was reset is ignored. The crate would do so for a
        // time, by a clock of its own; so it does for as many as the connection may have.
        .reset_stream_duration(Duration::MAX)
        .max_concurrent_reset_streams(limits.resets.saturating_add(limits.error_resets))
        .enable_connect_protocol();
    builder
}

struct Server<S> {
    site: Rc<Shared<S>>,
    around: Around,
    limits: Limits,
    state: State,
    watch: Rc<Watch>,
    alarm: Alarm,
    awaited: Awaited,
    keep_alive: KeepAlive,
    requests: u64,
    /// The request or the end that was waited for last, and since when.
    idle: (Awaited, Instant),
    /// Requests that were reset because they are none.
    malformed: usize,
    /// How many requests there had been when the peer was told that no more are welcome.
    drained_at: Option<u64>,
    /// A GOAWAY has said why; all that is left is to send it.
    told_to_go: bool,
}

enum State {
    Handshake(Handshake<Governed>),
    Open(h2::server::Connection<Governed, Bytes>),
}

/// What the peer is to do within a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Nothing,
    Preface,
    /// The acknowledgement of our settings.
    Settings,
    /// The rest of a field section: of the one with this number.
    Head(u64),
    /// The one after so many.
    Request(u64),
    /// The end, as it has been told to go: after so many requests.
    Leaving(u64),
}

impl Pings for State {
    fn ping_pong(&mut self) -> Option<PingPong> {
        match self {
            Self::Handshake(_) => None,
            Self::Open(connection) => connection.ping_pong(),
        }
    }
}

impl<S, B> Server<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    /// Goes on. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.advance(cx).is_ready() {
                return Poll::Ready(());
            }
            if !self.attend() {
                break;
            }
        }
        self.keep_time(cx)
    }

    /// Reads, begins with requests and sends, as far as possible.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Handshake(handshake) = &mut self.state {
            match Pin::new(handshake).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return self.over(&error),
                Poll::Ready(Ok(connection)) => {
                    self.state = State::Open(connection);
                }
            }
        }
        for _ in 0..self.site.limits.pipelined.max(1) {
            let accepted = match &mut self.state {
                State::Handshake(_) => return Poll::Pending,
                State::Open(connection) => connection.poll_accept(cx),
            };
            match accepted {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(Err(error))) => return self.over(&error),
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
            }
        }
        // Others want their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn over(&self, error: &h2::Error) -> Poll<()> {
        tracing::debug!(%error, connection = ?self.around.connection, "an HTTP/2 connection ended");
        Poll::Ready(())
    }

    /// Does what has come up meanwhile. Whether there is something to send now.
    fn attend(&mut self) -> bool {
        if self.told_to_go {
            return false;
        }
        if let Some(excess) = self.watch.excess() {
            tracing::warn!(connection = ?self.around.connection, "an HTTP/2 connection is ended: {excess}");
            return self.go_away(excess.reason());
        }
        let too_many = self.requests >= self.limits.requests_per_connection
            || self.watch.governor(Governor::resets_sent) >= self.limits.resets;
        if self.malformed > self.limits.error_resets {
            return self.go_away(Reason::ENHANCE_YOUR_CALM);
        }
        if let Some(before) = self.drained_at {
            // It was told to go, and could have known.
            let since = self.requests - before;
            let deaf = since > self.limits.concurrent_streams.into();
            return deaf && self.go_away(Reason::NO_ERROR);
        }
        (self.watch.is_draining() || too_many) && self.drain()
    }

    /// Tells the peer to go when its requests are answered.
    fn drain(&mut self) -> bool {
        self.drained_at = Some(self.requests);
        self.around.tunnels.drain();
        match &mut self.state {
            State::Open(connection) => {
                connection.graceful_shutdown();
                true
            }
            State::Handshake(_) => {
                self.around.connection.lose_connection();
                false
            }
        }
    }

    /// Tells the peer to go now.
    fn go_away(&mut self, reason: Reason) -> bool {
        // (There is no connection that the handshake could be exchanged for before it is over, and
        // nothing is in excess before.)
        let State::Open(connection) = &mut self.state else {
            return false;
        };
        self.told_to_go = true;
        connection.abrupt_shutdown(reason);
        true
    }

    /// Waits no longer for the peer than it may take.
    fn keep_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.keep_alive.poll(cx, &mut self.state).is_ready() {
            tracing::debug!(connection = ?self.around.connection, "an HTTP/2 peer answers no more");
            self.around.connection.abort_connection();
            return Poll::Ready(());
        }
        let awaited = self.awaits();
        if awaited != self.awaited {
            self.awaited = awaited;
            match self.time_for(awaited) {
                Some(time) => self.alarm.set(time),
                None => self.alarm.clear(),
            }
        }
        if self.alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let goes_on = match awaited {
            Awaited::Nothing => true,
            Awaited::Preface => false,
            Awaited::Settings => self.go_away(Reason::SETTINGS_TIMEOUT),
            Awaited::Head(_) => self.go_away(Reason::ENHANCE_YOUR_CALM),
            Awaited::Request(_) => self.drain(),
            Awaited::Leaving(_) => self.go_away(Reason::NO_ERROR),
        };
        if !goes_on {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn awaits(&self) -> Awaited {
        let connection = match &self.state {
            State::Handshake(_) => return Awaited::Preface,
            State::Open(connection) => connection,
        };
        let (acknowledged, head) = self.watch.governor(|governor| {
            (
                governor.settings_are_acknowledged(),
                governor.head_under_way(),
            )
        });
        match head {
            _ if self.told_to_go => Awaited::Nothing,
            _ if !acknowledged => Awaited::Settings,
            Some(number) => Awaited::Head(number),
            None if connection.has_streams() => Awaited::Nothing,
            None if self.drained_at.is_some() => Awaited::Leaving(self.requests),
            None => Awaited::Request(self.requests),
        }
    }

    fn time_for(&mut self, awaited: Awaited) -> Option<Duration> {
        let limits = &self.site.limits;
        let (header_timeout, idle_timeout) = (limits.header_timeout, limits.idle_timeout);
        match awaited {
            Awaited::Nothing => None,
            Awaited::Preface | Awaited::Settings | Awaited::Head(_) => Some(header_timeout),
            Awaited::Request(_) => Some(self.left_of(idle_timeout, awaited)),
            Awaited::Leaving(_) => Some(self.left_of(LINGER, awaited)),
        }
    }

    /// What is left of the time in which a request or the end is to come. What else comes meanwhile does
    /// not begin it anew.
    fn left_of(&mut self, time: Duration, awaited: Awaited) -> Duration {
        let Some(reactor) = self.watch.reactor().upgrade() else {
            return time;
        };
        let now = reactor.now();
        if self.idle.0 != awaited {
            self.idle = (awaited, now);
        }
        time.saturating_sub(now.saturating_duration_since(self.idle.1))
    }

    /// A request has come: gives it to the service.
    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.requests += 1;
        let (mut parts, stream) = request.into_parts();
        let flaw = accept(&mut parts).err();
        if let Some(Flaw::Malformed(reason)) = flaw {
            tracing::debug!(connection = ?self.around.connection, "a request is malformed: {reason}");
            self.malformed += 1;
            return respond.send_reset(Reason::PROTOCOL_ERROR);
        }
        let known = self.around.connection.act(|transport| {
            let log = Entry::of_request(transport, &parts, || target(&parts).into());
            let secured = transport.fact::<Secured>().is_some();
            (log, self.site.request_info(transport, secured, &parts.uri))
        });
        let Some((log, (info, allowed))) = known else {
            return;
        };
        let refusal = match flaw {
            Some(Flaw::Refused(error)) => Some(error),
            _ => allowed.err(),
        };
        let declared = match parts.headers.get(header::CONTENT_LENGTH) {
            Some(length) => length.to_str().ok().and_then(|text| text.parse().ok()),
            None => None,
        };
        let (mut tunnel, mut body, mut received) = (None, None, None);
        if parts.method == Method::CONNECT {
            let extended = parts.extensions.get::<h2::ext::Protocol>().is_some();
            let kind = if extended {
                Tunnel::Extended
            } else {
                Tunnel::Plain
            };
            tunnel = Some((kind, stream));
        } else if !stream.is_end_stream() {
            let (sender, reader) = incoming(declared, self.site.limits.body);
            body = Some((stream, sender));
            received = Some(reader);
        }
        let expects = parts.headers.get(header::EXPECT);
        let expects_continue = body.is_some()
            && expects.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let asked = Asked {
            method: parts.method.clone(),
            respond,
            tunnel,
            body,
            expects_continue,
            log,
        };
        let mut exchange = Exchange::new(Rc::clone(&self.site), self.around.clone(), asked);
        match refusal {
            Some(error) => exchange.refuse(error),
            None => exchange.call(Request::from_parts(parts, Body::received(info, received))),
        }
        if exchange.is_over() {
            // Nearly all of them: nothing of it need be kept.
            return;
        }
        if let Some(reactor) = self.watch.reactor().upgrade() {
            let task = std::future::poll_fn(move |cx| exchange.poll(cx));
            reactor.spawn(Box::pin(task));
        }
    }
}
