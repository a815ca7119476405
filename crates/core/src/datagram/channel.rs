//! All that happens to one datagram port, as a state machine with no I/O in it but what its
//! [`DatagramSocket`] does when asked.
//!
//! A loop tells a [`DatagramChannel`] what came, and asks [`DatagramChannel::settle`] after each
//! event, and for each port that was touched, until the turn ends.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use tracing::Span;
use tracing::level_filters::LevelFilter;

use super::error::DatagramError;
use super::limits::DatagramLimits;
use super::port::DatagramPort;
use super::protocol::DatagramProtocol;
use super::socket::{DatagramSendStatus, DatagramSocket};
use super::transport::{DatagramTransport, Shared};
use crate::activity::Doing;
use crate::context::LoopContext;
use crate::{Address, Panicked};

/// So many calls and reports are served before others get their turn.
const CALLS_IN_A_ROW: usize = 64;

/// How often the datagram at the front is tried again, before it is given up.
const TRIES: u32 = 20;

/// A datagram that came.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// Its bytes, or as many of them as there was room for.
    pub data: &'a [u8],
    /// Who sent it.
    pub from: Address,
    /// It was larger than there was room for.
    pub truncated: bool,
}

/// What the loop is to do next with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramStep {
    /// Nothing, until something happens.
    Wait,
    /// Ask again in the next turn: there is more to serve.
    Again,
    /// Call [`DatagramChannel::try_again`] in some milliseconds.
    TryLater,
    /// Close the socket, and call [`DatagramChannel::stopped`].
    Close,
}

/// One datagram port: its protocol and its output.
pub struct DatagramChannel {
    transport: DatagramTransport,
    protocol: Box<dyn DatagramProtocol>,
    /// What came while the protocol wanted nothing: the rest of a batch.
    held: VecDeque<(Vec<u8>, Address)>,
    reading: bool,
    tries: u32,
    span: Option<Span>,
}

impl DatagramChannel {
    /// A port at `host`, not yet told to its protocol. `touch` must make the loop call
    /// [`settle`](Self::settle) before its turn ends, and do nothing else.
    #[must_use]
    pub fn new(
        context: Rc<LoopContext>,
        protocol: Box<dyn DatagramProtocol>,
        socket: Rc<dyn DatagramSocket>,
        limits: DatagramLimits,
        host: Address,
        peer: Option<Address>,
        touch: Box<dyn Fn()>,
    ) -> Self {
        let shared = Shared::new(context, socket, limits, host, peer, touch);
        Self {
            transport: DatagramTransport {
                shared: Rc::new(shared),
            },
            protocol,
            held: VecDeque::new(),
            reading: true,
            tries: 0,
            span: None,
        }
    }

    /// A handle to it.
    #[must_use]
    pub fn port(&self) -> DatagramPort {
        self.transport.port()
    }

    /// The port is open.
    pub fn start(&mut self) {
        self.call("start_protocol", |protocol, transport| {
            protocol.start_protocol(transport);
        });
    }

    /// Datagrams have come together.
    pub fn received(&mut self, batch: &mut dyn Iterator<Item = Incoming<'_>>) {
        for Incoming {
            data,
            from,
            truncated,
        } in batch
        {
            if self.shared().stopping.get() {
                return;
            }
            if truncated {
                self.shared().count(|counts| counts.truncated += 1);
                let max_size = data.len();
                let error = DatagramError::Truncated { from, max_size };
                self.shared().report(error);
            } else if self.shared().paused.get() || !self.held.is_empty() {
                self.held.push_back((data.to_vec(), from));
            } else {
                self.give(data, &from);
            }
        }
    }

    /// Something went wrong.
    pub fn failed(&mut self, error: DatagramError) {
        self.shared().report(error);
    }

    /// The driver takes datagrams again.
    pub fn writable(&mut self) {
        self.shared().blocked.set(None);
    }

    /// The time of [`DatagramStep::TryLater`] has passed.
    pub fn try_again(&mut self) {
        if self.shared().blocked.get() == Some(DatagramSendStatus::TryAgain) {
            self.shared().blocked.set(None);
            self.tries += 1;
            if self.tries > TRIES {
                self.tries = 0;
                let error = io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "it was tried again and again, and there was no room for it",
                );
                self.shared().give_up_front(error);
            }
        }
    }

    /// Serves what is to be served, and sends what is to be sent. Returns what is next.
    pub fn settle(&mut self) -> DatagramStep {
        let mut served = 0;
        loop {
            if self.shared().stopping.get() {
                self.flush();
                return DatagramStep::Close;
            }
            if served >= CALLS_IN_A_ROW {
                self.tell_reading();
                return DatagramStep::Again;
            }
            served += 1;
            if !self.serve_call() && !self.give_held() && !self.tell_report() {
                self.flush();
                if self.shared().reports.borrow().is_empty() {
                    break;
                }
            }
        }
        self.shared().touched.set(false);
        self.tell_reading();
        match self.shared().blocked.get() {
            Some(DatagramSendStatus::TryAgain) => DatagramStep::TryLater,
            _ => DatagramStep::Wait,
        }
    }

    /// Closes it from the loop's side: when the reactor stops for instance.
    pub fn stop(&mut self) {
        self.shared().stopping.set(true);
    }

    /// The socket is to be closed: tells the protocol. Nothing follows.
    pub fn stopped(mut self) {
        let socket = self.shared().socket.borrow_mut().take();
        drop(socket);
        self.call_anyway("stop_protocol", |protocol, _| protocol.stop_protocol());
        let calls = self.shared().calls.take();
        let Self { protocol, .. } = self;
        guard("dropping calls", || drop(calls));
        guard("dropping a datagram protocol", || drop(protocol));
    }

    fn tell_reading(&mut self) {
        let reading = !self.shared().paused.get();
        if mem::replace(&mut self.reading, reading) != reading
            && let Some(socket) = &*self.shared().socket.borrow()
        {
            socket.set_reading(reading);
        }
    }

    fn shared(&self) -> &Shared {
        &self.transport.shared
    }

    fn flush(&mut self) {
        let sent = self.shared().counts.get().sent;
        self.shared().flush();
        if self.shared().counts.get().sent != sent {
            self.tries = 0;
        }
    }

    fn give(&mut self, data: &[u8], from: &Address) {
        self.shared().count(|counts| counts.received += 1);
        self.call("datagram_received", |protocol, transport| {
            protocol.datagram_received(transport, data, from);
        });
    }

    fn give_held(&mut self) -> bool {
        if self.shared().paused.get() {
            return false;
        }
        let Some((data, from)) = self.held.pop_front() else {
            return false;
        };
        self.give(&data, &from);
        true
    }

    fn serve_call(&mut self) -> bool {
        let call = self.shared().calls.borrow_mut().pop_front();
        let Some(call) = call else { return false };
        self.call("a call through DatagramPort::with", call);
        true
    }

    fn tell_report(&mut self) -> bool {
        let report = self.shared().reports.borrow_mut().pop_front();
        let Some(error) = report else { return false };
        let is_refusal = matches!(
            &error,
            DatagramError::Undelivered { source, .. } | DatagramError::Unsent { source, .. }
                if source.kind() == io::ErrorKind::ConnectionRefused
        );
        if is_refusal && self.shared().is_connected() {
            self.call("connection_refused", |protocol, transport| {
                protocol.connection_refused(transport);
            });
        } else {
            self.call("datagram_failed", |protocol, transport| {
                protocol.datagram_failed(transport, &error);
            });
        }
        true
    }

    /// Runs a callback, unless the port is being closed.
    fn call(
        &mut self,
        name: &'static str,
        callback: impl FnOnce(&mut dyn DatagramProtocol, &mut DatagramTransport),
    ) {
        if !self.shared().stopping.get() {
            self.call_anyway(name, callback);
        }
    }

    fn call_anyway(
        &mut self,
        name: &'static str,
        callback: impl FnOnce(&mut dyn DatagramProtocol, &mut DatagramTransport),
    ) {
        self.shared().context.activity().begin(Doing::Datagram);
        let traced = LevelFilter::current() != LevelFilter::OFF;
        let span = traced.then(|| self.span().clone());
        let _entered = span.as_ref().map(Span::enter);
        let (protocol, transport) = (&mut *self.protocol, &mut self.transport);
        guard(name, || callback(protocol, transport));
    }

    /// The span of this port's callbacks, of the level of an error, to be there whenever anything
    /// is logged.
    #[cold]
    fn span(&mut self) -> &Span {
        let (protocol, transport) = (&*self.protocol, &self.transport);
        self.span.get_or_insert_with(|| {
            tracing::error_span!(
                target: "ropewalk::datagram",
                parent: None,
                "datagrams",
                port = %transport.host(),
                protocol = protocol.type_name(),
            )
        })
    }
}

/// Runs what may panic and must not take the loop with it.
fn guard(name: &'static str, action: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(action)) {
        let panicked = Panicked::new(name, &*payload);
        let panic = panicked.as_error();
        tracing::error!(panic, "a callback panicked; the port goes on");
    }
}
