//! All that happens to one connection, as one state machine with no I/O in it.
//!
//! A loop tells a [`Channel`] what happened on the wire, and then asks [`Channel::next_step`] what to
//! do until it says [`Step::Wait`]. Whichever driver moves the bytes, the channel keeps the
//! promises: the order of the callbacks, one flush when a callback has returned, back-pressure,
//! half-close, limits, and that a panic ends this connection alone. It leaves the socket and the
//! clock to the loop.
//!
//! ```text
//!   connected, received, read_closed, failed,      ┌─────────┐   next_step() → Send, ShutdownWrite,
//!   writable, deadline_passed, drain, end     ───▶ │ Channel │ ───▶       SetOption, Close, Abort, Wait
//!                                                  └─────────┘   wants_read(), deadline()
//!                                        protocol ◀─┘     └─▶ layers
//! ```

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::context::{ConnectionId, LoopContext};
use crate::layer::{Layer, Risen, Stack};
use crate::output::OutputQueue;
use crate::transport::{
    BLOCKED, CLOSING, ENDED, FINISHED, HELD, MADE, READ_CLOSED, READ_PAUSED, RESET, Request,
    Shared, TOUCHED, WRITE_CLOSED, WRITE_CLOSING, WRITE_PAUSED,
};
use crate::{
    Address, Connection, ConnectionDone, ConnectionLimits, ConnectionLost, Failure, Panicked,
    Protocol, SocketOption, Transport, WriteBufferFull, WriteStalled,
};

/// What the loop is to do next with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Let the driver send, through [`Channel::send`].
    Send,
    /// Tell the peer that nothing more will come.
    ShutdownWrite,
    /// Set an option of the socket.
    SetOption(SocketOption),
    /// Close the socket, and call [`Channel::lost`].
    Close,
    /// Reset the connection, and call [`Channel::lost`].
    Abort,
    /// Nothing, until something happens.
    Wait,
}

/// What a driver says of having been asked to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStatus {
    /// It would take more at once. (It need not have taken all.)
    Ready,
    /// It takes no more until it says so, by [`Channel::writable`].
    Blocked,
}

/// One connection: its protocol, its layers, its output and its deadlines.
pub struct Channel {
    transport: Transport,
    protocol: Box<dyn Protocol>,
    stack: Option<Box<Stack>>,
}

impl Channel {
    /// A connection from `peer` to `host`, not yet told to its protocol. `layers` stand between
    /// the wire and the protocol, the one nearest to the wire first.
    #[must_use]
    pub fn new(
        context: Rc<LoopContext>,
        id: ConnectionId,
        protocol: Box<dyn Protocol>,
        layers: Vec<Box<dyn Layer>>,
        limits: Rc<ConnectionLimits>,
        peer: Address,
        host: Rc<Address>,
    ) -> Self {
        let stack = (!layers.is_empty()).then(|| {
            let mut stack = Box::new(Stack::default());
            for layer in layers {
                stack.push(layer, None);
            }
            stack
        });
        Self {
            transport: Transport {
                shared: Rc::new(Shared::new(context, id, limits, peer, host)),
            },
            protocol,
            stack,
        }
    }

    /// Its name within the loop.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.shared().id
    }

    /// A handle to it.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.transport.connection()
    }

    /// Its protocol, for those who look at it between callbacks.
    pub fn protocol(&mut self) -> &mut dyn Protocol {
        &mut *self.protocol
    }

    /// Whether its protocol has had `connection_made`.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.shared().is(MADE)
    }

    /// The connection is up.
    pub fn connected(&mut self) {
        self.hold();
        self.rise(&[], false);
        self.start_protocol();
    }

    /// The peer has sent `data`.
    pub fn received(&mut self, data: &[u8]) {
        self.hold();
        if self.shared().is(CLOSING | ENDED) {
            return;
        }
        if self.stack.is_some() {
            self.rise(data, false);
        } else {
            self.call("data_received", |protocol, transport| {
                protocol.data_received(transport, data);
            });
        }
    }

    /// The peer will send no more.
    pub fn read_closed(&mut self) {
        self.hold();
        if self.stack.is_some() {
            self.rise(&[], true);
        } else {
            self.tell_read_closed();
        }
    }

    /// The connection broke.
    pub fn failed(&mut self, error: io::Error) {
        self.hold();
        self.shared().end(ConnectionLost(error).into(), true);
    }

    /// The program is shutting down. See [`Protocol::drain`].
    pub fn drain(&mut self) {
        self.hold();
        if self.is_made() {
            self.call("drain", |protocol, transport| protocol.drain(transport));
        } else {
            self.shared().set(CLOSING);
        }
    }

    /// The time of the last turn has passed [`deadline`](Self::deadline).
    pub fn deadline_passed(&mut self) {
        self.hold();
        let now = self.shared().context.now_nanos();
        if self.stall_deadline().is_some_and(|stall| stall <= now) {
            let after = self.shared().limits.write_stall;
            return self.shared().end(WriteStalled { after }.into(), true);
        }
        if let Some(stack) = &mut self.stack {
            let risen = stack.deadline_passed(self.transport.now());
            self.risen(risen);
            self.start_protocol();
        }
        let deadline = self.shared().deadline.get();
        if deadline != 0 && deadline <= now {
            self.shared().deadline.set(0);
            self.call("timeout_connection", |protocol, transport| {
                protocol.timeout_connection(transport);
            });
        }
    }

    /// What to do next. The loop asks after each event, and for each connection that the context
    /// says was touched, until the answer is [`Step::Wait`], or [`Step::Close`] or
    /// [`Step::Abort`], after which only [`lost`](Self::lost) is left.
    pub fn next_step(&mut self) -> Step {
        self.hold();
        loop {
            while !self.shared().is(ENDED)
                && let Some(request) = self.shared().next_request()
            {
                if let Request::Option(option) = request {
                    return Step::SetOption(option);
                }
                self.serve(request);
            }
            self.sink();
            if self.shared().is(ENDED) {
                return if self.shared().is(RESET) {
                    Step::Abort
                } else {
                    Step::Close
                };
            }
            if !self.shared().is(BLOCKED) && self.wire_len() > 0 {
                return Step::Send;
            }
            let unsent = self.shared().unsent();
            if unsent > self.shared().limits.high_water as u64
                && !self.shared().is(WRITE_PAUSED | CLOSING)
            {
                self.shared().set(WRITE_PAUSED);
                self.call("write_paused", |protocol, transport| {
                    protocol.write_paused(transport);
                });
                continue;
            }
            if unsent <= self.shared().limits.low_water as u64 && self.shared().is(WRITE_PAUSED) {
                self.shared().clear(WRITE_PAUSED);
                if !self.shared().is(CLOSING | WRITE_CLOSING) {
                    self.call("write_resumed", |protocol, transport| {
                        protocol.write_resumed(transport);
                    });
                }
                continue;
            }
            if unsent == 0 && self.shared().is(CLOSING | WRITE_CLOSING) {
                if let Some(step) = self.close_step() {
                    return step;
                }
                continue;
            }
            self.shared().clear(HELD | TOUCHED);
            return Step::Wait;
        }
    }

    /// Lends what is to be sent to `driver`, which consumes what it takes and says whether it
    /// will take more at present. An error ends the connection with it.
    pub fn send(&mut self, driver: impl FnOnce(&mut OutputQueue) -> io::Result<SendStatus>) {
        let shared = &self.transport.shared;
        let mut top = None;
        let queue = match self.stack.as_mut().and_then(|stack| stack.wire()) {
            Some(wire) => wire,
            None => &mut **top.insert(shared.take_output().unwrap_or_default()),
        };
        let before = queue.len();
        let result = driver(queue);
        if queue.len() < before {
            shared.progress.set(shared.context.now_nanos());
        }
        if let Some(top) = top {
            shared.put_output(top);
        }
        match result {
            Ok(SendStatus::Ready) => {}
            Ok(SendStatus::Blocked) => shared.set(BLOCKED),
            Err(error) => shared.end(ConnectionLost(error).into(), true),
        }
        self.note_below();
    }

    /// The driver will take bytes again.
    pub fn writable(&mut self) {
        self.hold();
        self.shared().clear(BLOCKED);
    }

    /// Whether the loop is to read from the connection.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        !self
            .shared()
            .is(READ_PAUSED | READ_CLOSED | CLOSING | ENDED)
            && self.stack.as_ref().is_none_or(|stack| stack.wants_read())
    }

    /// When [`deadline_passed`](Self::deadline_passed) must be called, in nanoseconds since the
    /// epoch of the context.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let own = Some(self.shared().deadline.get()).filter(|deadline| *deadline != 0);
        let layers = self.stack.as_ref().and_then(|stack| stack.deadline());
        let layers = layers.map(|instant| self.shared().context.nanos(instant));
        [own, layers, self.stall_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The socket is closed: tells the protocol why, and returns that. Nothing follows.
    pub fn lost(self) -> Failure {
        let Self {
            transport,
            mut protocol,
            stack,
        } = self;
        transport.shared.set(ENDED);
        let reason = transport.shared.take_end();
        let made = transport.shared.is(MADE);
        let told = reason.clone();
        let lost = catch_unwind(AssertUnwindSafe(move || {
            if made {
                protocol.connection_lost(told);
            } else {
                tracing::debug!(reason = %told, "a connection ended before it was ready");
            }
            drop(protocol);
            drop(stack);
        }));
        if let Err(payload) = lost {
            log_panic(&transport, &Panicked::new("connection_lost", &*payload));
        }
        reason
    }

    /// Ends the connection from the loop's side, when the reactor stops for instance.
    pub fn end(&mut self, reason: Failure) {
        self.hold();
        self.shared().end(reason, true);
    }

    fn shared(&self) -> &Shared {
        &self.transport.shared
    }

    /// From here to `Step::Wait` the loop works on this connection, and needs no reminder.
    fn hold(&self) {
        self.shared().set(HELD);
    }

    fn start_protocol(&mut self) {
        let ready = self.stack.as_ref().is_none_or(|stack| stack.is_ready());
        if ready && !self.shared().is(MADE | ENDED | CLOSING) {
            self.shared().set(MADE);
            self.call("connection_made", |protocol, transport| {
                protocol.connection_made(transport);
            });
        }
    }

    fn rise(&mut self, data: &[u8], closed: bool) {
        if let Some(stack) = &mut self.stack {
            let risen = stack.rise(data, closed, self.transport.now());
            self.risen(risen);
        }
    }

    /// What came out at the top of the layers, to the protocol.
    fn risen(&mut self, risen: Result<Risen, Failure>) {
        let risen = match risen {
            Ok(risen) => risen,
            Err(failure) => return self.shared().end(failure, false),
        };
        self.start_protocol();
        if !risen.data.is_empty() && !self.shared().is(CLOSING | ENDED) {
            self.call("data_received", |protocol, transport| {
                protocol.data_received(transport, &risen.data);
            });
        }
        if risen.read_closed {
            self.tell_read_closed();
        }
    }

    fn tell_read_closed(&mut self) {
        if self.shared().is(READ_CLOSED | ENDED) {
            return;
        }
        self.shared().set(READ_CLOSED);
        if !self.is_made() {
            self.shared().set(CLOSING);
        } else if !self.shared().is(CLOSING) {
            self.call("read_closed", |protocol, transport| {
                protocol.read_closed(transport);
            });
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Call(call) => self.call("a call through Connection::with", call),
            Request::Exchange(protocol, unread) => self.exchange(protocol, &unread),
            Request::PushLayer(layer, before) => {
                let stack = self.stack.get_or_insert_default();
                stack.push(layer, before);
                self.note_below();
                self.rise(&[], false);
            }
            Request::Option(_) => {}
        }
    }

    fn exchange(&mut self, protocol: Box<dyn Protocol>, unread: &[u8]) {
        let old = std::mem::replace(&mut self.protocol, protocol);
        self.call("dropping an exchanged protocol", move |_, _| drop(old));
        self.call("connection_made", |protocol, transport| {
            protocol.connection_made(transport);
        });
        if !unread.is_empty() && !self.shared().is(CLOSING | ENDED) {
            self.call("data_received", |protocol, transport| {
                protocol.data_received(transport, unread);
            });
        }
        if self.shared().is(READ_CLOSED) && !self.shared().is(CLOSING | ENDED) {
            self.call("read_closed", |protocol, transport| {
                protocol.read_closed(transport);
            });
        }
    }

    /// Takes what was written down to the wire.
    fn sink(&mut self) {
        let Some(stack) = &mut self.stack else {
            return;
        };
        let shared = &self.transport.shared;
        let mut output = shared.take_output();
        let mut none = OutputQueue::default();
        let result = stack.sink(
            output.as_deref_mut().unwrap_or(&mut none),
            self.transport.now(),
        );
        if let Some(output) = output {
            shared.put_output(output);
        }
        if let Err(failure) = result {
            shared.end(failure, true);
        }
        let limit = shared.limits.write_limit;
        if stack.memory() > limit {
            shared.end(WriteBufferFull { limit }.into(), true);
        }
        self.note_below();
    }

    fn note_below(&self) {
        if let Some(stack) = &self.stack {
            self.shared().below.set(stack.unsent());
        }
    }

    fn wire_len(&mut self) -> u64 {
        match &mut self.stack {
            Some(stack) => stack.wire().map_or(0, |wire| wire.len()),
            None => self.shared().unsent(),
        }
    }

    /// All is sent and the writing side is to be closed: what remains to be done, or `None` if
    /// the layers have just added something to send.
    fn close_step(&mut self) -> Option<Step> {
        if let Some(stack) = &mut self.stack
            && !self.transport.shared.is(FINISHED)
        {
            self.transport.shared.set(FINISHED);
            if let Err(failure) = stack.finish(self.transport.now()) {
                self.shared().end(failure, false);
            }
            self.note_below();
            return None;
        }
        if self.shared().is(CLOSING) {
            self.shared().end(ConnectionDone.into(), false);
            return None;
        }
        if !self.shared().is(WRITE_CLOSED) {
            self.shared().set(WRITE_CLOSED);
            return Some(Step::ShutdownWrite);
        }
        if self.shared().is(READ_CLOSED) {
            self.shared().end(ConnectionDone.into(), false);
            return None;
        }
        self.shared().clear(HELD | TOUCHED);
        Some(Step::Wait)
    }

    fn stall_deadline(&self) -> Option<u64> {
        let shared = self.shared();
        (shared.unsent() > 0).then(|| {
            let stall = u64::try_from(shared.limits.write_stall.as_nanos()).unwrap_or(u64::MAX);
            shared.progress.get().saturating_add(stall)
        })
    }

    /// Runs a callback. A panic in it ends the connection.
    fn call(
        &mut self,
        name: &'static str,
        callback: impl FnOnce(&mut dyn Protocol, &mut Transport),
    ) {
        let protocol = &mut *self.protocol;
        let transport = &mut self.transport;
        let result = catch_unwind(AssertUnwindSafe(|| callback(protocol, transport)));
        if let Err(payload) = result {
            let panicked = Panicked::new(name, &*payload);
            log_panic(&self.transport, &panicked);
            self.shared().end(panicked.into(), true);
        }
    }
}

fn log_panic(transport: &Transport, panicked: &Panicked) {
    tracing::error!(peer = %transport.peer(), "{panicked}; its connection ends");
}
