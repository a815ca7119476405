//! A protocol made of closures, which notes what it is told.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::{Address, ConnectionLimits, Factory, Failure, Policy, Protocol, Transport};

use crate::log::Log;
use crate::names::name_of;

type OnTransport = Box<dyn FnMut(&mut Transport)>;
type OnData = Box<dyn FnMut(&mut Transport, &[u8])>;

/// Does what it was given for each event; without that, what [`Protocol`] does unless told otherwise.
#[derive(Default)]
pub(crate) struct Script {
    log: Option<Log>,
    made: Option<OnTransport>,
    data: Option<OnData>,
    read_closed: Option<OnTransport>,
    paused: Option<OnTransport>,
    resumed: Option<OnTransport>,
    timeout: Option<OnTransport>,
    drain: Option<OnTransport>,
    lost: Option<Box<dyn FnOnce(Failure)>>,
}

impl Script {
    /// Notes nothing.
    pub(crate) fn silent() -> Self {
        Self::default()
    }

    /// Notes each event in `log`, before it does anything.
    pub(crate) fn noting(log: &Log) -> Self {
        Self {
            log: Some(log.clone()),
            ..Self::default()
        }
    }

    /// Sends back what comes.
    pub(crate) fn echo() -> Self {
        Self::silent().data(|transport, data| transport.write(data))
    }

    pub(crate) fn made(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.made = Some(Box::new(call));
        self
    }

    pub(crate) fn data(mut self, call: impl FnMut(&mut Transport, &[u8]) + 'static) -> Self {
        self.data = Some(Box::new(call));
        self
    }

    pub(crate) fn read_closed(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.read_closed = Some(Box::new(call));
        self
    }

    pub(crate) fn paused(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.paused = Some(Box::new(call));
        self
    }

    pub(crate) fn resumed(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.resumed = Some(Box::new(call));
        self
    }

    pub(crate) fn timeout(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.timeout = Some(Box::new(call));
        self
    }

    pub(crate) fn drain(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.drain = Some(Box::new(call));
        self
    }

    pub(crate) fn lost(mut self, call: impl FnOnce(Failure) + 'static) -> Self {
        self.lost = Some(Box::new(call));
        self
    }

    /// Writes `text` when the connection is up.
    pub(crate) fn saying(self, text: &'static str) -> Self {
        self.made(move |transport| transport.write(text.as_bytes()))
    }

    /// Keeps what comes.
    pub(crate) fn gathering(self, into: &Gathered) -> Self {
        let into = Rc::clone(into);
        self.data(move |_, data| into.borrow_mut().extend_from_slice(data))
    }

    /// Goes on when the peer has closed its side.
    pub(crate) fn staying(self) -> Self {
        self.read_closed(|_| ())
    }

    fn note(&self, event: &str) {
        if let Some(log) = &self.log {
            log.note(event);
        }
    }
}

impl Protocol for Script {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.note("made");
        if let Some(call) = &mut self.made {
            call(transport);
        }
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        if let Some(log) = &self.log {
            log.note_data(data);
        }
        if let Some(call) = &mut self.data {
            call(transport, data);
        }
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.note("read closed");
        match &mut self.read_closed {
            Some(call) => call(transport),
            None => transport.lose_connection(),
        }
    }

    fn write_paused(&mut self, transport: &mut Transport) {
        self.note("paused");
        if let Some(call) = &mut self.paused {
            call(transport);
        }
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        self.note("resumed");
        if let Some(call) = &mut self.resumed {
            call(transport);
        }
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        self.note("timeout");
        match &mut self.timeout {
            Some(call) => call(transport),
            None => transport.abort_with(ropewalk_core::TimedOut.into()),
        }
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.note("drain");
        match &mut self.drain {
            Some(call) => call(transport),
            None => transport.lose_connection(),
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.note(&format!("lost: {}", name_of(&reason)));
        if let Some(call) = self.lost.take() {
            call(reason);
        }
    }
}

/// Bytes that have come.
pub(crate) type Gathered = Rc<RefCell<Vec<u8>>>;

/// A factory that builds what `build` returns, each time.
pub(crate) fn each(build: impl Fn() -> Script + 'static) -> Rc<dyn Factory> {
    Rc::new(move |_: &Address| build())
}

/// A factory for one connection; others get a protocol that does nothing.
pub(crate) fn once(script: Script) -> Rc<dyn Factory> {
    let script = RefCell::new(Some(script));
    Rc::new(move |_: &Address| script.take().unwrap_or_default())
}

/// A factory that builds nothing.
pub(crate) struct Refusing;

impl Factory for Refusing {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        None
    }
}

/// A factory with bounds of its own.
pub(crate) struct Limited {
    pub(crate) inner: Rc<dyn Factory>,
    pub(crate) limits: ConnectionLimits,
}

impl Factory for Limited {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.inner.build_protocol(peer)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        self.inner.build_policies(peer)
    }

    fn limits(&self) -> ConnectionLimits {
        self.limits.clone()
    }
}

/// `inner` within `limits`.
pub(crate) fn within(limits: ConnectionLimits, inner: Rc<dyn Factory>) -> Rc<dyn Factory> {
    Rc::new(Limited { inner, limits })
}

/// Bytes that show when one is missing, doubled or out of order.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at % 251) as u8).collect()
}

/// Panics as a user's code may, without a word on standard error.
pub(crate) fn boom() -> ! {
    std::panic::resume_unwind(Box::new("boom"))
}
