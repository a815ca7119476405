//! What stands between the wire and a protocol: TLS, a PROXY header, throttling, a traffic log.
//!
//! A [`Layer`] sees the bytes both ways and may hold, change or add to them. It does no I/O and
//! reads no clock. Layers stand in a stack; bytes from the wire go up through it, and what the
//! protocol wrote in a callback goes down through it once, when the callback has returned.

use std::borrow::Cow;
use std::time::Instant;

use crate::Failure;
use crate::output::OutputQueue;

/// One layer of a connection. An error from any of these ends the connection with it.
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
///         let plain = output.to_vec()?;
///         output.clear();
///         io.down().write_with(|wire| wire.extend(plain.iter().map(|byte| !byte)));
///         Ok(())
///     }
/// }
/// ```
pub trait Layer: 'static {
    /// The layer is in its place, and what is below it is ready. What is above it starts when it
    /// says [`LayerIo::ready`], as it does at once unless told otherwise; a layer with a
    /// handshake says it later.
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
    /// unsent; it is offered again, with what was added, after every event of the connection.
    ///
    /// # Errors
    /// What ends the connection.
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

    /// Nothing more will be written: the chance for last words, a TLS `close_notify` say.
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

    /// The deadline has passed.
    ///
    /// # Errors
    /// What ends the connection.
    fn deadline_passed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let _ = io;
        Ok(())
    }

    /// Whether the layer wants bytes from below: a throttle says no for a while.
    fn wants_read(&self) -> bool {
        true
    }
}

/// A layer's surroundings, for the length of a call.
pub struct LayerIo<'a> {
    up: &'a mut Vec<u8>,
    down: &'a mut OutputQueue,
    ready: &'a mut bool,
    read_closed: &'a mut bool,
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

    /// What is above may start.
    pub fn ready(&mut self) {
        *self.ready = true;
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
}

impl Slot {
    fn call(
        &mut self,
        now: Instant,
        up: &mut Vec<u8>,
        call: impl FnOnce(&mut dyn Layer, &mut LayerIo<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut io = LayerIo {
            up,
            down: &mut self.down,
            ready: &mut self.ready,
            read_closed: &mut self.read_closed,
            now,
        };
        call(&mut *self.layer, &mut io)
    }
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
        });
    }

    /// Whether the protocol may start.
    pub(crate) fn is_ready(&self) -> bool {
        self.slots.iter().all(|slot| slot.ready)
    }

    /// Takes what came from the wire up through the layers, and starts those whose turn it is.
    pub(crate) fn rise(
        &mut self,
        data: &[u8],
        closed: bool,
        now: Instant,
    ) -> Result<Risen, Failure> {
        self.rise_from(0, Cow::Borrowed(data), closed, now)
    }

    fn rise_from(
        &mut self,
        first: usize,
        mut data: Cow<'_, [u8]>,
        mut closed: bool,
        now: Instant,
    ) -> Result<Risen, Failure> {
        let mut below_ready = self.slots[..first].iter().all(|slot| slot.ready);
        for slot in &mut self.slots[first..] {
            let mut up = Vec::new();
            if below_ready && !slot.started {
                slot.started = true;
                slot.call(now, &mut up, |layer, io| layer.start(io))?;
            }
            if !data.is_empty() {
                slot.call(now, &mut up, |layer, io| layer.received(&data, io))?;
            }
            if closed && !slot.told_read_closed {
                slot.told_read_closed = true;
                slot.call(now, &mut up, |layer, io| layer.read_closed(io))?;
            }
            data = Cow::Owned(up);
            closed = slot.read_closed;
            below_ready &= slot.ready;
        }
        Ok(Risen {
            data: data.into_owned(),
            read_closed: closed,
        })
    }

    /// Takes what the protocol wrote down as far as the layers let it.
    pub(crate) fn sink(&mut self, output: &mut OutputQueue, now: Instant) -> Result<(), Failure> {
        for at in (0..self.slots.len()).rev() {
            let (below, above) = self.slots.split_at_mut(at + 1);
            let from = match above.first_mut() {
                Some(slot) => &mut slot.down,
                None => &mut *output,
            };
            let slot = &mut below[at];
            if slot.started && !from.is_empty() {
                let mut up = Vec::new();
                slot.call(now, &mut up, |layer, io| layer.send(from, io))?;
                debug_assert!(up.is_empty(), "sending raises nothing");
            }
        }
        Ok(())
    }

    /// Lets each layer say its last words, from the top down.
    pub(crate) fn finish(&mut self, now: Instant) -> Result<(), Failure> {
        for at in (0..self.slots.len()).rev() {
            let slot = &mut self.slots[at];
            if slot.started {
                slot.call(now, &mut Vec::new(), |layer, io| layer.finish(io))?;
            }
            self.sink(&mut OutputQueue::default(), now)?;
        }
        Ok(())
    }

    /// The earliest time at which a layer wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.slots
            .iter()
            .filter_map(|slot| slot.layer.deadline())
            .min()
    }

    /// Calls the layers whose deadline has passed.
    pub(crate) fn deadline_passed(&mut self, now: Instant) -> Result<Risen, Failure> {
        let mut risen = Risen::default();
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if slot.layer.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let mut up = Vec::new();
            slot.call(now, &mut up, |layer, io| layer.deadline_passed(io))?;
            let closed = slot.read_closed;
            let more = self.rise_from(at + 1, Cow::Owned(up), closed, now)?;
            risen.data.extend(more.data);
            risen.read_closed |= more.read_closed;
        }
        Ok(risen)
    }

    pub(crate) fn wants_read(&self) -> bool {
        self.slots.iter().all(|slot| slot.layer.wants_read())
    }

    /// What goes to the wire.
    pub(crate) fn wire(&mut self) -> Option<&mut OutputQueue> {
        self.slots.first_mut().map(|slot| &mut slot.down)
    }

    /// Unsent bytes in the layers, those for the wire included.
    pub(crate) fn unsent(&self) -> u64 {
        self.slots.iter().map(|slot| slot.down.len()).sum()
    }

    /// Unsent bytes that the layers hold in memory.
    pub(crate) fn memory(&self) -> usize {
        self.slots.iter().map(|slot| slot.down.memory()).sum()
    }
}
