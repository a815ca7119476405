//! What stands between the wire and a protocol: TLS, a PROXY header, a traffic log.
//!
//! A [`Layer`] sees the bytes both ways and may hold, change or add to them. It does no I/O and
//! reads no clock. Layers stand in a stack; bytes from the wire go up through it, and what the
//! protocol wrote in a callback goes down through it once, when the callback has returned.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use crate::output::OutputQueue;
use crate::{Failure, Panicked};

/// A layer that has sent down so many bytes is to wait until some are gone.
const FULL: u64 = 64 * 1024;

/// One layer of a connection.
///
/// An error from any of these ends the connection with it, and so does a panic. What the layer
/// has raised before an error still reaches the protocol, unless that has paused, so that it does
/// not matter how the network splits the bytes; what it has sent down before an error in `received`, `start` or
/// `read_closed` is sent if the driver takes it at once (a TLS alert, say).
///
/// ```
/// use ropewalk_core::{Failure, Layer, LayerIo, OutputQueue};
///
/// /// Turns every bit around, both ways.
/// struct Invert;
///
/// impl Layer for Invert {
///     fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
///         io.up().extend(data.iter().map(|byte| !byte));
///         Ok(())
///     }
///     fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
///         while !output.is_empty() && !io.is_full() {
///             let plain = output.front()?;
///             let taken = plain.len() as u64;
///             io.down().write_with(|wire| wire.extend(plain.iter().map(|byte| !byte)));
///             output.consume(taken);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Layer: 'static {
    /// The layer is about to be put on a live connection, and `unread` has come before it that
    /// no protocol was told: what a peer sent in plain text right behind its STARTTLS, say. Unless
    /// told otherwise, it is what the layer receives first.
    ///
    /// # Errors
    /// What ends the connection, where nothing may have come yet.
    fn pushed(&mut self, unread: &[u8]) -> Result<(), Failure> {
        let _ = unread;
        Ok(())
    }

    /// The layer is in its place, and what is below it is ready. What is above it starts when it
    /// says [`LayerIo::ready`], as it does at once unless told otherwise; a layer with a
    /// handshake says it later, and raises nothing before.
    ///
    /// # Errors
    /// What ends the connection.
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.ready();
        Ok(())
    }

    /// Bytes have come from below. What is to go up is appended to [`LayerIo::up`].
    ///
    /// # Errors
    /// What ends the connection.
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure>;

    /// `output` was written above, and is to go to [`LayerIo::down`]. What is left in it counts as
    /// unsent; it is offered again, with what was added, after every event of the connection. A
    /// layer takes no more while [`LayerIo::is_full`], since `output` may hold files of any size.
    /// Nothing can be raised here.
    ///
    /// # Errors
    /// What ends the connection, with a reset: the peer must not take what it got for all.
    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure>;

    /// The peer will send no more. Passed on, unless told otherwise; a layer that can tell a
    /// clean end from a truncation returns an error for the latter.
    ///
    /// # Errors
    /// What ends the connection.
    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.close_read();
        Ok(())
    }

    /// Nothing more will be written, and all that was has been taken: the chance for last words,
    /// a TLS `close_notify` say. Nothing can be raised here.
    ///
    /// # Errors
    /// What ends the connection.
    fn finish(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let _ = io;
        Ok(())
    }

    /// When [`deadline_passed`](Self::deadline_passed) wants to be called.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has passed. It must be later now, or gone.
    ///
    /// # Errors
    /// What ends the connection.
    fn deadline_passed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let _ = io;
        Ok(())
    }

    /// Whether the layer wants bytes from below.
    fn wants_read(&self) -> bool {
        true
    }

    /// Whether the peer may yet send what nobody has asked it for: the tickets of TLS 1.3, say. The
    /// kernel resets a connection that is closed before such bytes have come, and what was sent
    /// last is lost. So a connection that is to be closed is then shut down, and what comes is
    /// dropped, until the peer closes it too; for 5 s at most.
    fn lingers(&self) -> bool {
        false
    }
}

/// A layer's surroundings, for the length of a call.
pub struct LayerIo<'a> {
    up: &'a mut Vec<u8>,
    down: &'a mut OutputQueue,
    ready: &'a mut bool,
    read_closed: &'a mut bool,
    facts: &'a mut Vec<Rc<dyn Any>>,
    now: Instant,
}

impl LayerIo<'_> {
    /// Where bytes for what is above are appended.
    pub fn up(&mut self) -> &mut Vec<u8> {
        self.up
    }

    /// Where bytes for what is below are appended.
    pub fn down(&mut self) -> &mut OutputQueue {
        self.down
    }

    /// Whether so much waits below that no more is to be sent down for now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.down.len() >= FULL
    }

    /// What is above may start.
    pub fn ready(&mut self) {
        *self.ready = true;
    }

    /// Lets the protocol find out what the layer knows of the connection: the names in a
    /// certificate, say. From the next callback on, `fact` is what
    /// [`Transport::fact`](crate::Transport::fact) returns for its type, in the place of one of
    /// that type that was there.
    ///
    /// ```
    /// use ropewalk_core::testing::Pair;
    /// use ropewalk_core::{Failure, Layer, LayerIo, OutputQueue, Protocol, Transport};
    ///
    /// struct Counted(u64);
    /// struct Count(u64);
    /// impl Layer for Count {
    ///     fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
    ///         self.0 += data.len() as u64;
    ///         io.offer(Counted(self.0));
    ///         io.up().extend_from_slice(data);
    ///         Ok(())
    ///     }
    ///     fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
    ///         io.down().append(output);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// #[derive(Default)]
    /// struct Server(u64);
    /// impl Protocol for Server {
    ///     fn connection_made(&mut self, transport: &mut Transport) {
    ///         transport.push_layer(Box::new(Count(0)));
    ///     }
    ///     fn data_received(&mut self, transport: &mut Transport, _: &[u8]) {
    ///         self.0 = transport.fact::<Counted>().map_or(0, |counted| counted.0);
    ///     }
    /// }
    /// # struct Client;
    /// # impl Protocol for Client { fn data_received(&mut self, _: &mut Transport, _: &[u8]) {} }
    ///
    /// let pair = Pair::new(Client, Server::default());
    /// pair.client().write(b"four");
    /// pair.run();
    /// assert_eq!(pair.with_server(|server: &mut Server| server.0), Some(4));
    /// ```
    pub fn offer(&mut self, fact: impl Any) {
        self.facts.push(Rc::new(fact));
    }

    /// Nothing more will come up, after what is in [`up`](Self::up).
    pub fn close_read(&mut self) {
        *self.read_closed = true;
    }

    /// The time of this turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }
}

/// What came out at the top of the stack.
#[derive(Default)]
pub(crate) struct Risen {
    pub(crate) data: Vec<u8>,
    pub(crate) read_closed: bool,
    /// A layer failed. What it had raised before is in `data`.
    pub(crate) failure: Option<Failure>,
}

/// The layers of one connection, the lowest first.
#[derive(Default)]
pub(crate) struct Stack {
    slots: Vec<Slot>,
}

struct Slot {
    layer: Box<dyn Layer>,
    /// What the layer has sent down: for the lowest, what goes to the wire.
    down: OutputQueue,
    started: bool,
    ready: bool,
    /// The layer was told that nothing more comes from below.
    told_read_closed: bool,
    /// The layer has said that nothing more goes up.
    read_closed: bool,
    /// The layer has said its last words.
    finished: bool,
    /// The layer returned an error. It is not called again.
    failed: bool,
    /// What the layer has offered, and nobody has taken yet.
    facts: Vec<Rc<dyn Any>>,
}

impl Stack {
    /// Puts `layer` on top. `before` was written before it, and goes past it.
    pub(crate) fn push(&mut self, layer: Box<dyn Layer>, before: Option<Box<OutputQueue>>) {
        self.slots.push(Slot {
            layer,
            down: before.map(|queue| *queue).unwrap_or_default(),
            started: false,
            ready: false,
            told_read_closed: false,
            read_closed: false,
            finished: false,
            failed: false,
            facts: Vec::new(),
        });
    }

    /// Tells the topmost layer what came before it.
    pub(crate) fn tell_pushed(&mut self, unread: &[u8]) -> Result<(), Failure> {
        let Some(slot) = self.slots.last_mut() else {
            return Ok(());
        };
        let layer = &mut *slot.layer;
        let result = match catch_unwind(AssertUnwindSafe(|| layer.pushed(unread))) {
            Ok(result) => result,
            Err(payload) => Err(Panicked::new("Layer::pushed", &*payload).into()),
        };
        slot.failed |= result.is_err();
        result
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What layers have offered since the last call.
    pub(crate) fn take_facts(&mut self) -> impl Iterator<Item = Rc<dyn Any>> {
        let slots = self.slots.iter_mut();
        slots.flat_map(|slot| std::mem::take(&mut slot.facts))
    }

    /// Whether the protocol may start.
    pub(crate) fn is_ready(&self) -> bool {
        self.slots.iter().all(|slot| slot.ready)
    }

    /// Takes what came from the wire up through the layers, and starts those whose turn it is.
    pub(crate) fn rise(&mut self, data: &[u8], closed: bool, now: Instant) -> Risen {
        self.rise_from(0, Cow::Borrowed(data), closed, now)
    }

    /// As [`rise`](Self::rise), for what the layers below the topmost have let through already.
    pub(crate) fn rise_to_top(&mut self, data: &[u8], closed: bool, now: Instant) -> Risen {
        let top = self.slots.len() - 1;
        self.rise_above(top, data, closed, now)
    }

    /// As [`rise`](Self::rise), for what the layers below `first` have let through already.
    pub(crate) fn rise_above(
        &mut self,
        first: usize,
        data: &[u8],
        closed: bool,
        now: Instant,
    ) -> Risen {
        self.rise_from(first, Cow::Borrowed(data), closed, now)
    }

    fn rise_from(
        &mut self,
        first: usize,
        mut data: Cow<'_, [u8]>,
        mut closed: bool,
        now: Instant,
    ) -> Risen {
        let mut failure = None;
        let mut below_ready = self.slots[..first].iter().all(|slot| slot.ready);
        for slot in &mut self.slots[first..] {
            let mut up = Vec::new();
            let result = slot.rise(&data, closed, below_ready, &mut up, now);
            // A failure further up is of earlier bytes: had they come alone, it were the first.
            failure = result.err().or(failure);
            data = Cow::Owned(up);
            closed = slot.read_closed && failure.is_none();
            below_ready &= slot.ready;
        }
        Risen {
            data: data.into_owned(),
            read_closed: closed,
            failure,
        }
    }

    /// Takes what the protocol wrote down as far as the layers let it. Above a layer that has
    /// failed, nothing moves.
    pub(crate) fn sink(&mut self, output: &mut OutputQueue, now: Instant) -> Result<(), Failure> {
        let failed = self.slots.iter().position(|slot| slot.failed);
        let top = failed.unwrap_or(self.slots.len());
        for at in (0..top).rev() {
            let (below, above) = self.slots.split_at_mut(at + 1);
            let from = match above.first_mut() {
                Some(slot) => &mut slot.down,
                None => &mut *output,
            };
            let slot = &mut below[at];
            if slot.started && !from.is_empty() {
                slot.call_down("Layer::send", now, |layer, io| layer.send(from, io))?;
            }
        }
        Ok(())
    }

    /// Lets each layer say its last words, from the top down, once all from above it has gone
    /// into it. Returns whether all have.
    pub(crate) fn finish(&mut self, now: Instant) -> Result<bool, Failure> {
        for at in (0..self.slots.len()).rev() {
            let slot = &mut self.slots[at];
            if slot.started && !slot.finished {
                slot.finished = true;
                slot.call_down("Layer::finish", now, |layer, io| layer.finish(io))?;
                self.sink(&mut OutputQueue::default(), now)?;
            }
            if at > 0 && !self.slots[at].down.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The earliest time at which a layer wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.slots
            .iter()
            .filter_map(|slot| slot.layer.deadline())
            .min()
    }

    /// Calls the layers whose deadline has passed.
    pub(crate) fn deadline_passed(&mut self, now: Instant) -> Risen {
        let mut risen = Risen::default();
        for at in 0..self.slots.len() {
            let mut up = Vec::new();
            let slot = &mut self.slots[at];
            let result = slot.deadline_passed(&mut up, now);
            let closed = slot.read_closed && result.is_ok();
            let more = self.rise_from(at + 1, Cow::Owned(up), closed, now);
            risen.data.extend(more.data);
            risen.read_closed |= more.read_closed;
            risen.failure = more.failure.or(result.err());
            if risen.failure.is_some() {
                break;
            }
        }
        risen
    }

    pub(crate) fn wants_read(&self) -> bool {
        self.slots.iter().all(|slot| slot.layer.wants_read())
    }

    pub(crate) fn lingers(&self) -> bool {
        self.slots.iter().any(|slot| slot.layer.lingers())
    }

    /// What goes to the wire.
    pub(crate) fn wire(&mut self) -> Option<&mut OutputQueue> {
        self.slots.first_mut().map(|slot| &mut slot.down)
    }

    /// Unsent bytes in the layers, those for the wire included.
    pub(crate) fn unsent(&self) -> u64 {
        self.slots.iter().map(|slot| slot.down.len()).sum()
    }

    /// Whether a layer has yet to take what another one has sent down.
    pub(crate) fn holds_back(&self) -> bool {
        self.slots.iter().skip(1).any(|slot| !slot.down.is_empty())
    }

    /// Unsent bytes that the layers hold in memory.
    pub(crate) fn memory(&self) -> usize {
        self.slots.iter().map(|slot| slot.down.memory()).sum()
    }
}

impl Slot {
    /// Tells the layer what came from below.
    fn rise(
        &mut self,
        data: &[u8],
        closed: bool,
        below_ready: bool,
        up: &mut Vec<u8>,
        now: Instant,
    ) -> Result<(), Failure> {
        if self.failed {
            return Ok(());
        }
        if below_ready && !self.started {
            self.started = true;
            self.call("Layer::start", now, up, |layer, io| layer.start(io))?;
        }
        if !data.is_empty() {
            self.call("Layer::received", now, up, |layer, io| {
                layer.received(data, io)
            })?;
        }
        if closed && !self.told_read_closed {
            self.told_read_closed = true;
            self.call("Layer::read_closed", now, up, |layer, io| {
                layer.read_closed(io)
            })?;
        }
        Ok(())
    }

    fn deadline_passed(&mut self, up: &mut Vec<u8>, now: Instant) -> Result<(), Failure> {
        if self.failed {
            return Ok(());
        }
        self.call("Layer::deadline_passed", now, up, |layer, io| {
            if layer.deadline().is_none_or(|due| due > now) {
                return Ok(());
            }
            layer.deadline_passed(io)?;
            if layer.deadline().is_some_and(|due| due <= now) {
                // It would be called for ever.
                return Err(Failure::msg(
                    "a layer left its deadline where it had passed",
                ));
            }
            Ok(())
        })
    }

    /// A call that can raise nothing.
    fn call_down(
        &mut self,
        name: &'static str,
        now: Instant,
        call: impl FnOnce(&mut dyn Layer, &mut LayerIo<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.call(name, now, &mut Vec::new(), |layer, io| {
            call(layer, io)?;
            if io.up.is_empty() {
                return Ok(());
            }
            Err(Failure::msg("a layer raised bytes while it was to send"))
        })
    }

    fn call(
        &mut self,
        name: &'static str,
        now: Instant,
        up: &mut Vec<u8>,
        call: impl FnOnce(&mut dyn Layer, &mut LayerIo<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut io = LayerIo {
            up,
            down: &mut self.down,
            ready: &mut self.ready,
            read_closed: &mut self.read_closed,
            facts: &mut self.facts,
            now,
        };
        let layer = &mut *self.layer;
        let result = match catch_unwind(AssertUnwindSafe(|| call(layer, &mut io))) {
            Ok(result) => result,
            Err(payload) => Err(Panicked::new(name, &*payload).into()),
        };
        self.failed |= result.is_err();
        result
    }
}
