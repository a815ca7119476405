//! A channel, a driver that does what the test says, and a protocol that writes down what it is
//! told.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::testing::no_reactor;
use ropewalk_core::{
    Address, Channel, Connection, ConnectionAborted, ConnectionDone, ConnectionId,
    ConnectionLimits, ConnectionLost, Failure, Layer, LoopContext, OutputQueue, Panicked, Protocol,
    SendStatus, SocketOption, Step, TimedOut, Transport, WriteBufferFull, WriteStalled,
};

/// What a protocol was told, in order.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

type Hook = Box<dyn FnMut(&mut Transport, &[u8])>;

/// Writes down each callback, then does what the test says, or else the default.
#[derive(Default)]
pub(crate) struct Script {
    log: Log,
    name: &'static str,
    hooks: Vec<(&'static str, Hook)>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// With `name` before each of its entries, in a log shared with others.
    pub(crate) fn named(name: &'static str, log: &Log) -> Self {
        let log = Rc::clone(log);
        Self {
            log,
            name,
            hooks: Vec::new(),
        }
    }

    /// Does this on `event`: "made", "data", "read_closed", "paused", "resumed", "timeout",
    /// or "drain". With "lost" it panics in `connection_lost`.
    pub(crate) fn on(
        mut self,
        event: &'static str,
        hook: impl FnMut(&mut Transport, &[u8]) + 'static,
    ) -> Self {
        self.hooks.push((event, Box::new(hook)));
        self
    }

    pub(crate) fn log(&self) -> Log {
        Rc::clone(&self.log)
    }

    fn told(&self, what: &str) {
        self.log.borrow_mut().push(format!("{}{what}", self.name));
    }

    fn run(&mut self, event: &str, transport: &mut Transport, data: &[u8]) -> bool {
        let hook = self.hooks.iter_mut().find(|(name, _)| *name == event);
        let found = hook.is_some();
        if let Some((_, hook)) = hook {
            hook(transport, data);
        }
        found
    }
}

impl Protocol for Script {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.told("made");
        self.run("made", transport, b"");
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.told(&format!("data {}", String::from_utf8_lossy(data)));
        self.run("data", transport, data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.told("read_closed");
        if !self.run("read_closed", transport, b"") {
            transport.lose_connection();
        }
    }

    fn write_paused(&mut self, transport: &mut Transport) {
        self.told("paused");
        self.run("paused", transport, b"");
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        self.told("resumed");
        self.run("resumed", transport, b"");
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        self.told("timeout");
        if !self.run("timeout", transport, b"") {
            transport.abort_with(TimedOut.into());
        }
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.told("drain");
        if !self.run("drain", transport, b"") {
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.told(&format!("lost {}", describe(&reason)));
        if self.hooks.iter().any(|(name, _)| *name == "lost") {
            panic!("on purpose");
        }
    }
}

/// A reason in a word or two.
pub(crate) fn describe(reason: &Failure) -> String {
    if reason.check::<ConnectionDone>().is_some() {
        "done".to_owned()
    } else if let Some(lost) = reason.check::<ConnectionLost>() {
        format!("{:?}", lost.0.kind())
    } else if reason.check::<ConnectionAborted>().is_some() {
        "aborted".to_owned()
    } else if reason.check::<TimedOut>().is_some() {
        "timed out".to_owned()
    } else if reason.check::<WriteBufferFull>().is_some() {
        "full".to_owned()
    } else if reason.check::<WriteStalled>().is_some() {
        "stalled".to_owned()
    } else if let Some(panicked) = reason.check::<Panicked>() {
        format!("panic in {}", panicked.callback)
    } else {
        reason.to_string()
    }
}

/// How a socket was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    Abort,
}

/// One channel, and a driver by hand. After each event it does what the channel asks for.
pub(crate) struct Rig {
    pub(crate) channel: Option<Channel>,
    pub(crate) context: Rc<LoopContext>,
    log: Log,
    /// What the driver has taken.
    pub(crate) sent: Vec<u8>,
    /// How often it took something.
    pub(crate) sends: usize,
    /// How many bytes it will still take; it says `Blocked` when there are none.
    pub(crate) room: usize,
    pub(crate) options: Vec<SocketOption>,
    pub(crate) write_shut: bool,
    pub(crate) end: Option<End>,
}

impl Rig {
    pub(crate) fn new(script: Script) -> Self {
        Self::with(script, Vec::new(), ConnectionLimits::default())
    }

    pub(crate) fn layered(script: Script, layers: Vec<Box<dyn Layer>>) -> Self {
        Self::with(script, layers, ConnectionLimits::default())
    }

    pub(crate) fn limited(script: Script, limits: ConnectionLimits) -> Self {
        Self::with(script, Vec::new(), limits)
    }

    pub(crate) fn with(
        script: Script,
        layers: Vec<Box<dyn Layer>>,
        limits: ConnectionLimits,
    ) -> Self {
        let log = script.log();
        let rig = Self::of(Box::new(script), layers, limits);
        Self { log, ..rig }
    }

    pub(crate) fn of(
        protocol: Box<dyn Protocol>,
        layers: Vec<Box<dyn Layer>>,
        limits: ConnectionLimits,
    ) -> Self {
        let context = Rc::new(LoopContext::new(Instant::now(), no_reactor()));
        let channel = Channel::new(
            Rc::clone(&context),
            ConnectionId::new(7, 0),
            protocol,
            layers,
            Rc::new(limits),
            Address::Tcp(([192, 0, 2, 2], 1024).into()),
            Rc::new(Address::Tcp(([192, 0, 2, 1], 80).into())),
        );
        Self {
            channel: Some(channel),
            context,
            log: Log::default(),
            sent: Vec::new(),
            sends: 0,
            room: usize::MAX,
            options: Vec::new(),
            write_shut: false,
            end: None,
        }
    }

    /// As [`new`](Self::new), and it is connected.
    pub(crate) fn connected(script: Script) -> Self {
        let mut rig = Self::new(script);
        rig.connect();
        rig
    }

    pub(crate) fn connect(&mut self) {
        self.event(Channel::connected);
    }

    pub(crate) fn receive(&mut self, data: &[u8]) {
        self.event(|channel| channel.received(data));
    }

    pub(crate) fn close_read(&mut self) {
        self.event(Channel::read_closed);
    }

    pub(crate) fn fail(&mut self, kind: io::ErrorKind) {
        self.event(|channel| channel.failed(kind.into()));
    }

    /// The wire has room for so many bytes more.
    pub(crate) fn make_room(&mut self, room: usize) {
        self.room = self.room.saturating_add(room);
        self.event(Channel::writable);
    }

    /// Time passes; deadlines are told as a loop tells them.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.context.set_now(self.context.now() + by);
        let now = self.context.nanos(self.context.now());
        self.event(|channel| {
            if channel.deadline().is_some_and(|deadline| deadline <= now) {
                channel.deadline_passed();
            }
        });
    }

    /// The end of a turn: gives the channel its turn if it was touched. Returns whether it was.
    pub(crate) fn end_turn(&mut self) -> bool {
        let mut touched = Vec::new();
        self.context.take_touched(&mut touched);
        if !touched.is_empty() {
            self.event(|_| ());
        }
        !touched.is_empty()
    }

    pub(crate) fn event(&mut self, event: impl FnOnce(&mut Channel)) {
        if let Some(channel) = &mut self.channel {
            event(channel);
            self.settle();
        }
    }

    pub(crate) fn handle(&self) -> Connection {
        self.channel.as_ref().expect("it is open").connection()
    }

    pub(crate) fn wants_read(&self) -> bool {
        self.channel.as_ref().is_some_and(Channel::wants_read)
    }

    /// When the channel wants to be called for a deadline, after the epoch.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.channel.as_ref()?.deadline().map(Duration::from_nanos)
    }

    /// What the protocol was told since this was asked last.
    pub(crate) fn told(&self) -> Vec<String> {
        self.log.take()
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            let Some(channel) = &mut self.channel else {
                return;
            };
            match channel.next_step() {
                Step::Send => {
                    let Self {
                        room, sent, sends, ..
                    } = self;
                    *sends += 1;
                    channel.send(|queue| take(queue, room, sent));
                }
                Step::ShutdownWrite => {
                    assert!(!self.write_shut, "told once");
                    self.write_shut = true;
                }
                Step::SetOption(option) => self.options.push(option),
                Step::Close => return self.finish(End::Close),
                Step::Abort => return self.finish(End::Abort),
                Step::Wait => return,
            }
        }
        panic!("the channel never waits");
    }

    fn finish(&mut self, end: End) {
        self.end = Some(end);
        if let Some(channel) = self.channel.take() {
            channel.lost();
        }
    }
}

fn take(queue: &mut OutputQueue, room: &mut usize, sent: &mut Vec<u8>) -> io::Result<SendStatus> {
    while !queue.is_empty() {
        queue.load_file()?;
        let mut slices = [IoSlice::new(&[])];
        assert_eq!(queue.slices(&mut slices), 1);
        let count = slices[0].len().min(*room);
        sent.extend_from_slice(&slices[0][..count]);
        *room -= count;
        queue.consume(count as u64);
        if *room == 0 {
            return Ok(SendStatus::Blocked);
        }
    }
    Ok(SendStatus::Ready)
}
