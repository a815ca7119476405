//! A port forwarder: each connection is joined to one that is made to another place.
//!
//! Bytes go through user space, in the loop's own read buffer and the output of the other end.
//! Whichever end is slow holds the other one back, a side that is closed is closed on the other
//! end when all before it is sent, and an end that breaks breaks the other.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_core::{
    Address, Cancelled, Connection, ConnectionDone, ConnectionLimits, Deferred, Factory, Failure,
    Protocol, Transport,
};

/// With so many bytes unsent at one end, the other one is not read.
const HIGH: u64 = 64 * 1024;

/// In a shutdown, a connection that moves nothing for so long is closed.
const QUIET: Duration = Duration::from_secs(1);

/// How long an end may take nothing of what is there for it: people who stop a pager come back.
const STALL: Duration = Duration::from_secs(600);

/// When a connection has come back here, for so long no other one is forwarded: those that it has
/// made by then are not to make others.
const LOOP_REST: Duration = Duration::from_secs(1);

/// Joins each connection to one of its own to `to`.
///
/// Nothing is read before that one is up; when it cannot be made, within the time that the endpoint
/// gives it, the connection is closed, and a warning logged; so it is when the other place is the
/// one that it came to. In a shutdown, connections that move
/// bytes go on; one that has been quiet for a second is closed.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Address, ConnectionStream};
/// use ropewalk_wire::{Echo, Forward};
/// use std::rc::Rc;
///
/// let reactor = MemoryReactor::new();
/// reactor.listen(&"tcp:7".parse().unwrap(), Rc::new(|_: &Address| Echo)).unwrap();
/// let forward = Forward::new("tcp:example.com:7".parse().unwrap());
/// reactor.listen(&"tcp:8007".parse().unwrap(), Rc::new(forward)).unwrap();
///
/// let connecting = ConnectionStream::connect(&*reactor, &"tcp:example.com:8007".parse().unwrap());
/// let task = reactor.spawn(Box::pin(async move {
///     let mut stream = connecting.await.unwrap();
///     stream.write_all(b"hello").await.unwrap();
///     let mut answer = [0; 5];
///     stream.read_exact(&mut answer).await.unwrap();
///     assert_eq!(&answer, b"hello");
/// }));
/// reactor.run();
/// assert!(task.is_finished());
/// ```
#[derive(Clone, Debug)]
pub struct Forward {
    to: ClientEndpoint,
    idle: Option<Duration>,
    limits: ConnectionLimits,
    on_failure: Option<OnFailure>,
    /// When a connection was last found to come back here.
    came_back: Rc<Cell<Option<Instant>>>,
}

#[derive(Clone)]
struct OnFailure(Rc<dyn Fn(&Failure)>);

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFailure")
    }
}

impl Forward {
    /// Joins to `to`.
    #[must_use]
    pub fn new(to: ClientEndpoint) -> Self {
        Self {
            to,
            idle: None,
            limits: ConnectionLimits {
                write_stall: STALL,
                ..ConnectionLimits::default()
            },
            on_failure: None,
            came_back: Rc::default(),
        }
    }

    /// Closes both ends when nothing was moved in either direction for `after`. Never, unless
    /// this is asked for.
    #[must_use]
    pub fn idle(mut self, after: Duration) -> Self {
        self.idle = Some(after);
        self
    }

    /// Sets the bounds of both ends: those of [`ConnectionLimits::default`], with ten minutes for
    /// [`write_stall`](ConnectionLimits::write_stall).
    #[must_use]
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Calls `call` for each connection that could not be made, with why: for those who have to do
    /// more about it than the log says.
    #[must_use]
    pub fn on_failure(mut self, call: impl Fn(&Failure) + 'static) -> Self {
        self.on_failure = Some(OnFailure(Rc::new(call)));
        self
    }

    /// Whether a connection has come back here a short while ago.
    fn rests(&self, now: Instant) -> bool {
        let came_back = self.came_back.get();
        came_back.is_some_and(|then| now < then + LOOP_REST)
    }
}

impl Factory for Forward {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        let link = Link {
            forward: self.clone(),
            accepted: RefCell::default(),
            made: RefCell::default(),
        };
        Some(Box::new(End::new(Side::Accepted, Rc::new(link))))
    }

    fn limits(&self) -> ConnectionLimits {
        self.limits.clone()
    }
}

/// What the two ends share. A handle is dead until its end is made.
struct Link {
    forward: Forward,
    accepted: RefCell<Connection>,
    made: RefCell<Connection>,
}

/// Builds the end that is made for an accepted one.
struct Made(Rc<Link>);

impl Factory for Made {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(End::new(Side::Made, Rc::clone(&self.0))))
    }

    fn limits(&self) -> ConnectionLimits {
        self.0.forward.limits.clone()
    }
}

#[derive(Clone, Copy)]
enum Side {
    Accepted,
    Made,
}

/// One of two connections that are joined.
struct End {
    side: Side,
    link: Rc<Link>,
    /// The attempt to make the other one.
    connecting: Option<Deferred<()>>,
}

impl End {
    fn new(side: Side, link: Rc<Link>) -> Self {
        Self {
            side,
            link,
            connecting: None,
        }
    }

    fn other(&self) -> Connection {
        let other = match self.side {
            Side::Accepted => &self.link.made,
            Side::Made => &self.link.accepted,
        };
        other.borrow().clone()
    }

    fn connect(&mut self, transport: &mut Transport) {
        if self.link.forward.rests(transport.now()) {
            return transport.lose_connection();
        }
        // What the peer sends meanwhile waits in the network.
        transport.pause_producing();
        let accepted = transport.connection();
        self.link.accepted.replace(accepted.clone());
        let peer = transport.peer();
        let on_failure = self.link.forward.on_failure.clone();
        let connecting = transport
            .reactor()
            .connect(&self.link.forward.to, Rc::new(Made(Rc::clone(&self.link))));
        let joined = connecting.add_callbacks(
            |_| (),
            move |failure: Failure| {
                if failure.check::<Cancelled>().is_none() {
                    tracing::warn!(%peer, %failure, "a connection was not forwarded");
                    if let Some(OnFailure(call)) = on_failure {
                        call(&failure);
                    }
                }
                accepted.lose_connection();
            },
        );
        self.connecting = Some(joined);
    }

    fn join(&self, transport: &mut Transport) {
        let accepted = self.other();
        let comes_back = |accepted: &mut Transport| is_same(accepted.host(), &transport.peer());
        if accepted.act(comes_back) == Some(true) {
            // Each connection would make another one, until no descriptor is left.
            let to = &self.link.forward.to;
            if !self.link.forward.rests(transport.now()) {
                tracing::warn!(%to, "a connection was not forwarded: it would come back here");
            }
            self.link.forward.came_back.set(Some(transport.now()));
            accepted.lose_connection();
            return transport.lose_connection();
        }
        self.link.made.replace(transport.connection());
        let joined = accepted.act(|accepted| {
            accepted.set_timeout(self.link.forward.idle);
            accepted.resume_producing();
        });
        if joined.is_none() {
            // It ended in this turn, before it could know of this one.
            transport.abort_connection();
        }
    }
}

impl Protocol for End {
    fn connection_made(&mut self, transport: &mut Transport) {
        match self.side {
            Side::Accepted => self.connect(transport),
            Side::Made => self.join(transport),
        }
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        // Either end may have the timer.
        transport.reset_timeout();
        let full = self.other().act(|other| {
            other.reset_timeout();
            other.write(data);
            let full = other.unsent() >= HIGH;
            if full {
                other.await_drain();
            }
            full
        });
        if full == Some(true) {
            transport.pause_producing();
        }
    }

    fn read_closed(&mut self, _: &mut Transport) {
        self.other().act(Transport::lose_write_connection);
    }

    fn write_paused(&mut self, _: &mut Transport) {
        self.other().pause_producing();
    }

    fn write_resumed(&mut self, _: &mut Transport) {
        self.other().resume_producing();
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        let other = self.other();
        if transport.unsent() > 0 || other.unsent().is_some_and(|unsent| unsent > 0) {
            // A slow peer is not a quiet one.
            return transport.reset_timeout();
        }
        transport.lose_connection();
        other.lose_connection();
    }

    fn drain(&mut self, transport: &mut Transport) {
        let is_joined = self.other().unsent().is_some();
        match is_joined {
            true => transport.set_timeout(Some(QUIET)),
            false => transport.lose_connection(),
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        if let Some(connecting) = self.connecting.take() {
            connecting.cancel();
        }
        let other = self.other();
        if reason.check::<ConnectionDone>().is_some() {
            other.lose_connection();
        } else {
            // What broke is not to look whole at the other end.
            other.abort_connection();
        }
    }
}

/// Whether these name one place: an IPv4 address has a name in IPv6 too, and whoever connects to
/// the unspecified address gets to this machine.
fn is_same(host: &Address, peer: &Address) -> bool {
    let (Some(host_at), Some(peer_at)) = (host.socket_addr(), peer.socket_addr()) else {
        // Sockets without a name are all alike.
        return host == peer && *peer != Address::Unix(None);
    };
    let peer_ip = match peer_at.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (host_at.ip().to_canonical(), host_at.port()) == (peer_ip, peer_at.port())
}
