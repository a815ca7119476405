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
//!                                        protocol ◀─┘     └─▶ layers, policies
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::level_filters::LevelFilter;

use crate::activity::Doing;
use crate::context::{ConnectionId, LoopContext};
use crate::layer::{Layer, Risen, Stack};
use crate::output::OutputQueue;
use crate::policy::{Policies, Policy};
use crate::transport::{
    BLOCKED, CLOSING, CONNECTED, ENDED, End, FINISHED, FLUSH_AWAITED, HELD, HOLDING, HandTo, MADE,
    READ_CLOSED, READ_PAUSED, RESET, Request, Shared, TOUCHED, WRITE_CLOSED, WRITE_CLOSING,
    WRITE_PAUSED,
};
use crate::{
    Address, Connection, ConnectionDone, ConnectionLimits, ConnectionLost, Deadline,
    DeadlinePassed, Failure, Panicked, Protocol, SocketOption, TimedOut, Transport,
    WriteBufferFull, WriteStalled,
};

/// So many calls and resumptions are served before other connections get their turn.
const CALLS_IN_A_ROW: u32 = 64;

/// How long the peer's end of a connection that is closed is awaited, where that is needed.
const LINGER: Duration = Duration::from_secs(5);

const DRAINED: &str = "a callback of Connection::drained";
const READY: &str = "a callback of Connection::layers_ready";
const DRAINING: &str = "a callback of Connection::draining";

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
    around: Option<Box<Around>>,
}

/// What stands around a protocol, on connections that have any of it.
#[derive(Default)]
struct Around {
    /// Has no slots where there are only policies.
    stack: Stack,
    policies: Policies,
    /// By when the layers must be ready, in nanoseconds of the context. `None` when they are.
    handshake: Option<u64>,
    /// All is sent, and until when the peer's end is awaited: see [`Layer::lingers`].
    linger: Option<u64>,
    /// The policies let nothing go at present.
    throttled: bool,
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
        let around = (!layers.is_empty()).then(|| {
            let mut around = Box::new(Around::default());
            for layer in layers {
                around.stack.push(layer, None);
            }
            around
        });
        let shared = Shared::new(context, id, limits, peer, host);
        shared.set_protocol(&*protocol);
        Self {
            transport: Transport {
                shared: Rc::new(shared),
            },
            protocol,
            around,
        }
    }

    /// Holds it to `policies`, for its whole life.
    #[must_use]
    pub fn with_policies(mut self, policies: Vec<Box<dyn Policy>>) -> Self {
        if !policies.is_empty() {
            self.around.get_or_insert_default().policies = Policies::new(policies);
        }
        self
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

    /// The name of its protocol's type.
    #[must_use]
    pub fn protocol_name(&self) -> &'static str {
        self.protocol.type_name()
    }

    /// Whether its protocol has had `connection_made`.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.shared().is(MADE)
    }

    /// The connection is up.
    pub fn connected(&mut self) {
        self.hold();
        self.shared().set(CONNECTED);
        self.tell_policies("Policy::connected", |policy, now| policy.connected(now));
        self.rise(&[], false);
        self.start_protocol();
    }

    /// The peer has sent `data`.
    pub fn received(&mut self, data: &[u8]) {
        self.hold();
        if self.around.is_some() {
            let count = data.len() as u64;
            self.tell_policies("Policy::received", |policy, now| {
                policy.received(count, now);
            });
        }
        if !self.has_layers() {
            self.give(data);
        } else if !self.shared().is(CLOSING) || self.layers_hold() {
            self.rise(data, false);
        }
    }

    /// The peer has sent `descriptors`, with what is received next.
    pub fn descriptors_received(&mut self, descriptors: impl IntoIterator<Item = OwnedFd>) {
        self.hold();
        if self.has_layers() {
            return self.refuse_descriptors();
        }
        for descriptor in descriptors {
            self.give_descriptor(descriptor);
        }
    }

    /// The peer will send no more.
    pub fn read_closed(&mut self) {
        self.hold();
        if self.has_layers() {
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
        if !self.is_made() {
            self.shared().set(CLOSING);
        } else {
            self.shared().set_draining();
            self.tell_drain();
            for resolver in self.shared().take_awaiting_draining() {
                let told = guard(&self.transport, DRAINING, || resolver.callback(()));
                if let Some(panicked) = told {
                    self.shared().end(panicked.into(), true);
                }
            }
        }
    }

    /// The time of the last turn has passed [`deadline`](Self::deadline).
    pub fn deadline_passed(&mut self) {
        self.hold();
        if self.shared().is(ENDED) {
            return;
        }
        let now = self.shared().context.now_nanos();
        if self.stall_deadline().is_some_and(|stall| stall <= now) {
            let after = self.shared().limits.write_stall;
            return self.shared().end(WriteStalled { after }.into(), true);
        }
        if let Err(failure) = self.deadlines_around(now) {
            let reset = self.shared().unsent() > 0;
            return self.shared().end(failure, reset);
        }
        if let Some(stack) = layers_mut(&mut self.around) {
            let risen = stack.deadline_passed(self.transport.now());
            self.risen(risen);
        }
        let deadline = self.shared().deadline.get();
        if deadline != 0 && deadline <= now {
            self.shared().deadline.set(0);
            if !self.is_made() {
                return self.shared().end(TimedOut.into(), true);
            }
            self.call(Doing::TimeoutConnection, |protocol, transport| {
                protocol.timeout_connection(transport);
            });
        }
    }

    /// What to do next. The loop asks after each event, and for each connection that the context
    /// says was touched, until the answer is [`Step::Wait`], or [`Step::Close`] or
    /// [`Step::Abort`], after which only [`lost`](Self::lost) is left.
    pub fn next_step(&mut self) -> Step {
        self.hold();
        if !self.shared().is(CONNECTED) {
            return self.step_before_connected();
        }
        let mut served = 0;
        let mut last = None;
        loop {
            while !self.shared().is(ENDED)
                && let Some(request) = self.shared().next_request(served < CALLS_IN_A_ROW)
            {
                if let Request::Option(option) = request {
                    return Step::SetOption(option);
                }
                served += 1;
                self.serve(request);
            }
            if !self.shared().is(ENDED) && self.give_held() {
                continue;
            }
            self.sink();
            let closing = self.shared().is(CLOSING | WRITE_CLOSING);
            if closing {
                self.finish_layers();
            }
            if self.shared().is(ENDED) {
                return self.last_step();
            }
            if self.may_send() {
                return Step::Send;
            }
            let unsent = self.shared().unsent();
            let most = match closing {
                // All who wait now are told before it closes; one who then waits again and again
                // does not keep it open.
                true => {
                    *last.get_or_insert_with(|| served + self.shared().drains() + CALLS_IN_A_ROW)
                }
                false => CALLS_IN_A_ROW,
            };
            if served < most && (self.tell_ready() || self.tell_drained(unsent)) {
                served += 1;
                continue;
            }
            if !closing && self.is_made() && self.watch_marks(unsent, &mut served) {
                continue;
            }
            if unsent == 0
                && closing
                && let Some(step) = self.close_step()
            {
                return step;
            }
            if self.shared().is(ENDED) {
                continue;
            }
            self.shared().clear(HELD | TOUCHED);
            if served >= CALLS_IN_A_ROW {
                // There may be more to serve, after the others have had their turn.
                self.shared().touch();
            }
            return Step::Wait;
        }
    }

    /// Lends what is to be sent to `driver`, which consumes what it takes and says whether it
    /// will take more at present. An error ends the connection with it.
    pub fn send(&mut self, driver: impl FnOnce(&mut OutputQueue) -> io::Result<SendStatus>) {
        let allowed = self.allowance();
        let shared = &self.transport.shared;
        let mut top = None;
        let queue = match layers_mut(&mut self.around).and_then(Stack::wire) {
            Some(wire) => wire,
            None => &mut **top.insert(shared.take_output().unwrap_or_default()),
        };
        let before = queue.len();
        let result = if before <= allowed {
            driver(queue)
        } else {
            let mut rest = queue.split_off(allowed);
            let result = driver(queue);
            queue.append(&mut rest);
            result
        };
        let sent = before.saturating_sub(queue.len());
        if sent > 0 {
            shared.progress.set(shared.context.now_nanos());
        }
        match top {
            Some(top) => shared.put_output(top),
            None => release_wire(&mut self.around),
        }
        match result {
            Ok(SendStatus::Ready) => {}
            Ok(SendStatus::Blocked) => shared.set(BLOCKED),
            Err(error) => {
                shared.set(BLOCKED);
                shared.end(ConnectionLost(error).into(), true);
            }
        }
        self.note_below();
        if self.around.is_some() && sent > 0 {
            self.tell_policies("Policy::sent", |policy, now| policy.sent(sent, now));
        }
    }

    /// The driver will take bytes again.
    pub fn writable(&mut self) {
        self.hold();
        self.shared().clear(BLOCKED);
    }

    /// Whether the loop is to read from the connection.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        let shared = self.shared();
        if shared.is(READ_CLOSED | HOLDING | ENDED) {
            return false;
        }
        let Some(around) = &self.around else {
            return !shared.is(READ_PAUSED | CLOSING);
        };
        // Layers may have to read before they can send, in a handshake for instance.
        let wanted = match layers(&self.around) {
            None => !shared.is(READ_PAUSED | CLOSING),
            Some(_) if shared.is(CLOSING) => self.layers_hold() || around.linger.is_some(),
            Some(stack) => !shared.is(READ_PAUSED) || !stack.is_ready(),
        };
        wanted
            && self.ask_layers("Layer::wants_read", Stack::wants_read) != Some(false)
            && self.or_end(around.policies.may_receive()) == Some(true)
    }

    /// When [`deadline_passed`](Self::deadline_passed) must be called, in nanoseconds since the
    /// epoch of the context.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let own = Some(self.shared().deadline.get()).filter(|deadline| *deadline != 0);
        let layers = self.ask_layers("Layer::deadline", Stack::deadline);
        let layers = layers.flatten();
        let layers = layers.map(|instant| self.shared().context.nanos(instant));
        let (handshake, linger, policies) = match &self.around {
            None => (None, None, None),
            Some(around) => (
                around.handshake,
                around.linger,
                self.or_end(around.policies.deadline()).flatten(),
            ),
        };
        let policies = policies.map(|instant| self.shared().context.nanos(instant));
        [
            own,
            layers,
            self.stall_deadline(),
            handshake,
            linger,
            policies,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The socket is closed: tells the protocol why, and returns that. Nothing follows.
    pub fn lost(self) -> Failure {
        let Self {
            transport,
            mut protocol,
            around,
        } = self;
        transport.shared.set(ENDED);
        transport.shared.note(Doing::ConnectionLost);
        let span = is_traced()
            .then(|| transport.shared.span(&*protocol))
            .flatten();
        let _entered = span.as_deref().map(Span::enter);
        let End {
            reason,
            requests,
            drains,
            awaiting_layers,
            awaiting_draining,
            facts,
        } = transport.shared.take_end();
        if transport.shared.is(MADE) {
            let told = reason.clone();
            guard(&transport, "connection_lost", || {
                protocol.connection_lost(told);
            });
        } else {
            tracing::debug!(%reason, "a connection ended before it was ready");
        }
        guard(&transport, "dropping a protocol", || drop(protocol));
        guard(&transport, "dropping layers and policies", || drop(around));
        guard(&transport, "dropping what layers offered", || drop(facts));
        guard(&transport, "dropping calls", || drop(requests));
        for drain in drains {
            let told = reason.clone();
            guard(&transport, DRAINED, || drain.resolver.errback(told));
        }
        for resolver in awaiting_layers {
            let told = reason.clone();
            guard(&transport, READY, || resolver.errback(told));
        }
        for resolver in awaiting_draining {
            let told = reason.clone();
            guard(&transport, DRAINING, || resolver.errback(told));
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
        let ready = layers(&self.around).is_none_or(Stack::is_ready);
        if ready && !self.shared().is(MADE | ENDED | CLOSING) {
            self.shared().set(MADE);
            self.tell_policies_ready();
            self.call(Doing::ConnectionMade, |protocol, transport| {
                protocol.connection_made(transport);
            });
        }
    }

    fn rise(&mut self, data: &[u8], closed: bool) {
        if self.shared().is(ENDED) {
            return;
        }
        if let Some(stack) = layers_mut(&mut self.around) {
            self.transport.shared.note(Doing::Layers);
            let risen = stack.rise(data, closed, self.transport.now());
            self.risen(risen);
        }
    }

    /// What came out at the top of the layers, to the protocol.
    fn risen(&mut self, risen: Risen) {
        self.watch_handshake();
        if let Some(stack) = layers_mut(&mut self.around) {
            let shared = &self.transport.shared;
            stack.take_facts().for_each(|fact| shared.add_fact(fact));
        }
        self.start_protocol();
        // Before the first data that has come through them.
        for _ in 0..self.shared().awaiting_layers() {
            self.tell_ready();
        }
        self.give(&risen.data);
        if let Some(failure) = risen.failure {
            return self.shared().end(failure, false);
        }
        if risen.read_closed {
            self.tell_read_closed();
        }
    }

    /// Gives data to the protocol, now or when it may have it.
    fn give(&mut self, data: &[u8]) {
        if data.is_empty() || self.shared().is(CLOSING | READ_CLOSED | ENDED) {
            return;
        }
        if self.must_hold() {
            self.shared().hold(|held| held.data.extend_from_slice(data));
        } else {
            self.call(Doing::DataReceived, |protocol, transport| {
                protocol.data_received(transport, data);
            });
        }
    }

    fn refuse_descriptors(&mut self) {
        let refused = Failure::msg("a descriptor came to a connection with layers");
        self.shared().end(refused, true);
    }

    /// Gives a descriptor to the protocol, now or when it may have it.
    fn give_descriptor(&mut self, descriptor: OwnedFd) {
        if self.shared().is(CLOSING | READ_CLOSED | ENDED) {
            return;
        }
        if self.must_hold() {
            self.shared()
                .hold(|held| held.descriptors.push_back(descriptor));
        } else {
            self.call(Doing::DescriptorReceived, |protocol, transport| {
                protocol.descriptor_received(transport, descriptor);
            });
        }
    }

    fn tell_read_closed(&mut self) {
        if self.shared().is(READ_CLOSED | ENDED) {
            return;
        }
        if !self.is_made() {
            self.shared().set(READ_CLOSED | CLOSING);
        } else if self.shared().is(CLOSING) {
            self.shared().set(READ_CLOSED);
        } else if self.must_hold() {
            self.shared().hold(|held| held.read_closed = true);
        } else {
            self.shared().set(READ_CLOSED);
            self.call(Doing::ReadClosed, |protocol, transport| {
                protocol.read_closed(transport);
            });
        }
    }

    fn tell_drain(&mut self) {
        if !self.shared().is(CLOSING) {
            self.call(Doing::Drain, |protocol, transport| {
                protocol.drain(transport);
            });
        }
    }

    /// Whether what has come must wait: the protocol wants nothing (a driver may report what was
    /// under way when it was told), or has just asked for another protocol or layer to have it.
    fn must_hold(&self) -> bool {
        self.shared().is(HOLDING) || !self.may_give()
    }

    fn may_give(&self) -> bool {
        self.is_made() && !self.shared().is(READ_PAUSED) && !self.shared().has_requests()
    }

    /// Gives the protocol what was held for it. Returns whether that was done.
    fn give_held(&mut self) -> bool {
        let closing = self.shared().is(CLOSING);
        if !self.shared().is(HOLDING) || !closing && !self.may_give() {
            return false;
        }
        let held = self.shared().take_held();
        for descriptor in held.descriptors {
            self.give_descriptor(descriptor);
        }
        self.give(&held.data);
        if held.read_closed {
            self.tell_read_closed();
        }
        true
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Call(call) => self.call(Doing::With, call),
            Request::Exchange(protocol, unread) => self.exchange(protocol, unread),
            Request::PushLayer(layer, before) => self.push_layer(layer, before),
            Request::HandTo(to) => self.hand_to(*to),
            Request::Option(_) => {}
        }
    }

    fn push_layer(&mut self, layer: Box<dyn Layer>, before: Option<Box<OutputQueue>>) {
        let around = self.around.get_or_insert_default();
        around.stack.push(layer, before);
        self.note_below();
        // What the protocol has not seen yet was received from now on.
        let held = self.shared().take_held();
        if !held.descriptors.is_empty() {
            return self.refuse_descriptors();
        }
        let closed = held.read_closed || self.shared().is(READ_CLOSED);
        if let Some(stack) = layers_mut(&mut self.around) {
            if let Err(failure) = stack.tell_pushed(&held.data) {
                return self.shared().end(failure, false);
            }
            let risen = stack.rise_to_top(&held.data, closed, self.transport.now());
            self.risen(risen);
        }
    }

    fn exchange(&mut self, protocol: Box<dyn Protocol>, mut unread: Vec<u8>) {
        let shared = &self.transport.shared;
        shared.clear(READ_PAUSED | WRITE_PAUSED | FLUSH_AWAITED);
        shared.set_timeout(None);
        let closed = shared.is(READ_CLOSED);
        shared.clear(READ_CLOSED);
        if !unread.is_empty() || closed {
            shared.hold(|held| {
                unread.append(&mut held.data);
                held.data = unread;
                held.read_closed |= closed;
            });
        }
        let old = std::mem::replace(&mut self.protocol, protocol);
        self.transport.shared.set_protocol(&*self.protocol);
        self.call(Doing::ConnectionMade, |protocol, transport| {
            protocol.connection_made(transport);
        });
        if self.shared().is_draining() {
            self.tell_drain();
        }
        if let Some(panicked) = guard(&self.transport, "dropping an exchanged protocol", || {
            drop(old);
        }) {
            self.shared().end(panicked.into(), true);
        }
    }

    /// Gives the connection to what another factory builds.
    fn hand_to(&mut self, to: HandTo) {
        if self.shared().is(CLOSING) {
            return;
        }
        let HandTo {
            factory,
            peer,
            host,
            unread,
        } = to;
        self.shared().note(Doing::BuildProtocol);
        let build = || {
            let protocol = factory.build_protocol(&peer)?;
            let layers = factory.build_layers(&peer);
            let policies = factory.build_policies(&peer);
            Some((protocol, layers, policies, factory.limits()))
        };
        let built = catch_unwind(AssertUnwindSafe(build))
            .map_err(|payload| Panicked::new(Doing::BuildProtocol.name(), &*payload));
        if let Err(panicked) = &built {
            log_panic(&self.transport, panicked);
        }
        let Some(built) = self.or_end(built) else {
            return;
        };
        let Some((protocol, layers, policies, limits)) = built else {
            let refused = Failure::msg("the factory built no protocol for this peer");
            return self.shared().end(refused, false);
        };
        let old_protocol = std::mem::replace(&mut self.protocol, protocol);
        let next = Rc::new(self.shared().successor(Rc::new(limits), peer, host));
        let old = std::mem::replace(&mut self.transport.shared, next);
        self.shared().set_protocol(&*self.protocol);
        let closed = old.is(READ_CLOSED);
        let draining = old.is_draining();
        let mut held = old.take_held();
        let mut data = unread;
        data.append(&mut held.data);
        let written = old.take_output();
        let gone = guard(&self.transport, "dropping what a connection was", || {
            drop((old_protocol, old));
        });
        if let Some(panicked) = gone {
            self.shared().end(panicked.into(), true);
        }
        if !held.descriptors.is_empty() {
            if !layers.is_empty() {
                return self.refuse_descriptors();
            }
            let descriptors = held.descriptors;
            self.shared().hold(|held| held.descriptors = descriptors);
        }
        self.start_over(layers, policies, written, &data, closed || held.read_closed);
        if draining {
            self.drain();
        }
    }

    /// Puts around the protocol what belongs to it, and gives it what has come already.
    fn start_over(
        &mut self,
        layers: Vec<Box<dyn Layer>>,
        policies: Vec<Box<dyn Policy>>,
        mut written: Option<Box<OutputQueue>>,
        data: &[u8],
        closed: bool,
    ) {
        let now = self.transport.now();
        if !policies.is_empty() {
            let around = self.around.get_or_insert_default();
            let told = around.policies.add(policies, data.len() as u64, now);
            self.or_end(told);
        }
        if layers.is_empty() {
            if let Some(written) = written {
                self.shared().put_output(written);
            }
            self.start_protocol();
            self.give(data);
            if closed {
                self.tell_read_closed();
            }
            return;
        }
        let stack = &mut self.around.get_or_insert_default().stack;
        let first = stack.len();
        for layer in layers {
            stack.push(layer, written.take());
        }
        let risen = stack.rise_above(first, data, closed, now);
        self.note_below();
        self.risen(risen);
    }

    /// Takes what was written down to the wire.
    fn sink(&mut self) {
        let Some(stack) = layers_mut(&mut self.around) else {
            return;
        };
        let shared = &self.transport.shared;
        if shared.is(RESET) {
            return;
        }
        shared.note(Doing::Layers);
        let mut output = shared.take_output();
        if output
            .as_ref()
            .is_some_and(|output| output.descriptors() > 0)
        {
            let refused = "a descriptor was sent over a connection with layers, which carry none";
            shared.end(Failure::msg(refused), true);
        }
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
        if stack.memory() + shared.waiting().1 > limit {
            shared.end(WriteBufferFull { limit }.into(), true);
        }
        self.note_below();
    }

    /// Tells the protocol when what is unsent passes a mark. Returns whether it was told.
    fn watch_marks(&mut self, unsent: u64, served: &mut u32) -> bool {
        let high = self.shared().limits.high_water;
        let low = match self.shared().is(FLUSH_AWAITED) {
            true => 0,
            false => self.shared().limits.low_water.min(high),
        };
        let paused = self.shared().is(WRITE_PAUSED);
        if !paused && unsent > high as u64 {
            self.shared().set(WRITE_PAUSED);
            self.call(Doing::WritePaused, |protocol, transport| {
                protocol.write_paused(transport);
            });
            return true;
        }
        if paused && unsent <= low as u64 && *served < CALLS_IN_A_ROW {
            *served += 1;
            self.shared().clear(WRITE_PAUSED | FLUSH_AWAITED);
            self.call(Doing::WriteResumed, |protocol, transport| {
                protocol.write_resumed(transport);
            });
            return true;
        }
        false
    }

    /// Tells one who waited for this little to be unsent. Returns whether there was one.
    #[inline]
    fn tell_drained(&mut self, unsent: u64) -> bool {
        let Some(drain) = self.shared().next_drained(unsent) else {
            return false;
        };
        let told = guard(&self.transport, DRAINED, || drain.resolver.callback(()));
        if let Some(panicked) = told {
            self.shared().end(panicked.into(), true);
        }
        true
    }

    /// Tells one who waited for the layers. Returns whether there was one.
    #[inline]
    fn tell_ready(&mut self) -> bool {
        let ready = |around: &_| layers(around).is_none_or(Stack::is_ready);
        if !self.is_made() || !ready(&self.around) {
            return false;
        }
        let Some(resolver) = self.shared().next_awaiting_layers() else {
            return false;
        };
        let told = guard(&self.transport, READY, || resolver.callback(()));
        if let Some(panicked) = told {
            self.shared().end(panicked.into(), true);
        }
        true
    }

    fn note_below(&self) {
        let Some(stack) = layers(&self.around) else {
            return;
        };
        let shared = self.shared();
        let idle = shared.unsent() == 0;
        shared.below.set(stack.unsent());
        if idle && shared.unsent() > 0 {
            // A layer has something to send of its own accord.
            shared.progress.set(shared.context.now_nanos());
        }
    }

    /// Whether anything that was written has yet to come down to the wire.
    fn layers_hold(&self) -> bool {
        let stack = layers(&self.around);
        stack.is_some_and(|stack| stack.holds_back() || self.shared().waiting().0 > 0)
    }

    fn has_layers(&self) -> bool {
        layers(&self.around).is_some()
    }

    /// Asks the layers something. A panic in one ends the connection.
    fn ask_layers<R>(&self, name: &'static str, ask: impl FnOnce(&Stack) -> R) -> Option<R> {
        let stack = layers(&self.around)?;
        let answer = catch_unwind(AssertUnwindSafe(|| ask(stack)));
        self.or_end(answer.map_err(|payload| Panicked::new(name, &*payload)))
    }

    /// What was answered, unless a panic ends the connection.
    fn or_end<R>(&self, answer: Result<R, Panicked>) -> Option<R> {
        match answer {
            Ok(answer) => Some(answer),
            Err(panicked) => {
                self.shared().end(panicked.into(), true);
                None
            }
        }
    }

    fn tell_policies(
        &mut self,
        name: &'static str,
        mut tell: impl FnMut(&mut dyn Policy, Instant),
    ) {
        let Some(around) = &mut self.around else {
            return;
        };
        if around.policies.is_empty() {
            return;
        }
        let now = self.transport.now();
        let told = around.policies.tell(name, |policy| tell(policy, now));
        self.or_end(told);
    }

    fn tell_policies_ready(&mut self) {
        let now = self.transport.now();
        if let Some(around) = &mut self.around {
            let told = around.policies.tell_ready(now);
            self.or_end(told);
        }
    }

    /// Starts or ends the time that layers have to become ready.
    fn watch_handshake(&mut self) {
        let Some(around) = &mut self.around else {
            return;
        };
        let shared = &self.transport.shared;
        if around.stack.is_ready() {
            around.handshake = None;
        } else if around.handshake.is_none() {
            let limit = u64::try_from(shared.limits.handshake.as_nanos()).ok();
            around.handshake =
                limit.and_then(|limit| shared.context.now_nanos().checked_add(limit));
        }
    }

    /// Whether a deadline of the handshake or of a policy ends the connection.
    fn deadlines_around(&mut self, now: u64) -> Result<(), Failure> {
        let Some(around) = &mut self.around else {
            return Ok(());
        };
        if around.handshake.is_some_and(|deadline| deadline <= now) {
            return Err(DeadlinePassed {
                deadline: Deadline::Handshake,
                after: self.transport.shared.limits.handshake,
            }
            .into());
        }
        if around.linger.is_some_and(|deadline| deadline <= now) {
            return Err(ConnectionDone.into());
        }
        around.policies.deadline_passed(self.transport.now())
    }

    /// Whether there is something to send, and the driver and the policies would have it go.
    fn may_send(&mut self) -> bool {
        if self.shared().is(BLOCKED) || self.wire_len() == 0 {
            return false;
        }
        let allowed = self.allowance() > 0;
        if let Some(around) = &mut self.around
            && std::mem::replace(&mut around.throttled, !allowed)
            && allowed
        {
            // The peer could not take anything meanwhile.
            let shared = self.shared();
            shared.progress.set(shared.context.now_nanos());
        }
        allowed
    }

    /// How much of what waits for the wire the policies let go now.
    #[inline]
    fn allowance(&mut self) -> u64 {
        match self.around {
            None => u64::MAX,
            Some(_) => self.ask_policies(),
        }
    }

    #[cold]
    fn ask_policies(&mut self) -> u64 {
        let wanted = self.wire_len();
        let now = self.transport.now();
        let Some(around) = &mut self.around else {
            return u64::MAX;
        };
        let allowed = around.policies.may_send(wanted, now);
        self.or_end(allowed).unwrap_or(0)
    }

    fn wire_len(&mut self) -> u64 {
        match layers_mut(&mut self.around) {
            Some(stack) => stack.wire().map_or(0, |wire| wire.len()),
            None => self.shared().unsent(),
        }
    }

    /// The writing side is to be closed: lets the layers say their last words, as soon as they
    /// have taken all that was written.
    fn finish_layers(&mut self) {
        if self.shared().is(FINISHED | ENDED) || self.shared().waiting().0 > 0 {
            return;
        }
        let Some(stack) = layers_mut(&mut self.around) else {
            return;
        };
        if !stack.is_ready() && !self.transport.shared.is(CLOSING) {
            // A handshake has to be written, too, for anything to be received.
            return;
        }
        match stack.finish(self.transport.now()) {
            Ok(true) => self.shared().set(FINISHED),
            Ok(false) => {}
            Err(failure) => self.shared().end(failure, false),
        }
        self.note_below();
    }

    /// All is sent and the writing side is to be closed: what remains to be done.
    fn close_step(&mut self) -> Option<Step> {
        if self.shared().is(CLOSING) && self.must_linger() {
            return self.linger();
        }
        if self.shared().is(CLOSING)
            || self.shared().is(WRITE_CLOSED) && self.shared().is(READ_CLOSED)
        {
            self.shared().end(ConnectionDone.into(), false);
            return None;
        }
        if self.shared().is(WRITE_CLOSED) || self.has_layers() && !self.shared().is(FINISHED) {
            return None;
        }
        self.shared().set(WRITE_CLOSED);
        Some(Step::ShutdownWrite)
    }

    fn must_linger(&self) -> bool {
        !self.shared().is(READ_CLOSED)
            && match self.shared().is(WRITE_CLOSED) {
                true => self.is_lingering(),
                false => self.ask_layers("Layer::lingers", Stack::lingers) == Some(true),
            }
    }

    fn is_lingering(&self) -> bool {
        let around = self.around.as_ref();
        around.is_some_and(|around| around.linger.is_some())
    }

    /// Closes the writing side, once, and then waits for the peer.
    fn linger(&mut self) -> Option<Step> {
        let shared = &self.transport.shared;
        if shared.is(WRITE_CLOSED) {
            return None;
        }
        // Whatever the peer does now, all that was to be said is said.
        shared.settle_on(ConnectionDone.into());
        shared.set(WRITE_CLOSED);
        let around = self.around.get_or_insert_default();
        around.linger = Some(shared.context.now_nanos() + LINGER.as_nanos() as u64);
        Some(Step::ShutdownWrite)
    }

    /// Nothing is sent yet, and nobody is told anything.
    fn step_before_connected(&mut self) -> Step {
        if self.shared().is(CLOSING) {
            self.shared().end(ConnectionDone.into(), false);
        }
        if self.shared().is(ENDED) {
            return self.last_step();
        }
        self.shared().clear(HELD | TOUCHED);
        Step::Wait
    }

    /// The connection has ended. What a layer sent down before it failed is sent if it can be
    /// sent at once.
    fn last_step(&mut self) -> Step {
        if self.shared().is(RESET) {
            return Step::Abort;
        }
        if self.has_layers() && self.may_send() {
            return Step::Send;
        }
        Step::Close
    }

    fn stall_deadline(&self) -> Option<u64> {
        let shared = self.shared();
        if shared.unsent() == 0 || self.around.as_ref().is_some_and(|around| around.throttled) {
            return None;
        }
        let stall = u64::try_from(shared.limits.write_stall.as_nanos()).ok()?;
        shared.progress.get().checked_add(stall)
    }

    /// Runs a callback in the span of the connection. Out of the way of those that nobody traces.
    #[cold]
    #[inline(never)]
    fn call_in_span(
        &mut self,
        callback: impl FnOnce(&mut dyn Protocol, &mut Transport),
    ) -> thread::Result<()> {
        let span = self.shared().span(&*self.protocol);
        let _entered = span.as_deref().map(Span::enter);
        let (protocol, transport) = (&mut *self.protocol, &mut self.transport);
        catch_unwind(AssertUnwindSafe(|| callback(protocol, transport)))
    }

    /// Runs a callback, unless the connection has ended. A panic in it ends the connection.
    fn call(&mut self, doing: Doing, callback: impl FnOnce(&mut dyn Protocol, &mut Transport)) {
        if self.shared().is(ENDED) {
            return;
        }
        self.shared().note(doing);
        let result = if is_traced() {
            self.call_in_span(callback)
        } else {
            let (protocol, transport) = (&mut *self.protocol, &mut self.transport);
            catch_unwind(AssertUnwindSafe(|| callback(protocol, transport)))
        };
        if let Err(payload) = result {
            let panicked = Panicked::new(doing.name(), &*payload);
            log_panic(&self.transport, &panicked);
            self.shared().end(panicked.into(), true);
        }
    }
}

/// The layers, where there are any.
fn layers(around: &Option<Box<Around>>) -> Option<&Stack> {
    let around = around.as_ref()?;
    (!around.stack.is_empty()).then_some(&around.stack)
}

fn layers_mut(around: &mut Option<Box<Around>>) -> Option<&mut Stack> {
    let around = around.as_mut()?;
    (!around.stack.is_empty()).then_some(&mut around.stack)
}

/// An idle connection holds no buffer, that of its lowest layer neither.
fn release_wire(around: &mut Option<Box<Around>>) {
    if let Some(wire) = layers_mut(around).and_then(Stack::wire)
        && wire.is_empty()
    {
        *wire = OutputQueue::default();
    }
}

/// Whether anybody subscribes to what is traced: a look at one static.
#[inline]
fn is_traced() -> bool {
    LevelFilter::current() != LevelFilter::OFF
}

/// Runs what may panic and must not take the loop with it.
fn guard(transport: &Transport, name: &'static str, action: impl FnOnce()) -> Option<Panicked> {
    let payload = catch_unwind(AssertUnwindSafe(action)).err()?;
    let panicked = Panicked::new(name, &*payload);
    log_panic(transport, &panicked);
    Some(panicked)
}

fn log_panic(transport: &Transport, panicked: &Panicked) {
    let panic = panicked.as_error();
    tracing::error!(peer = %transport.peer(), panic, "a callback panicked; its connection ends");
}
