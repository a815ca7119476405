//! The sending side of a WebSocket: what its session and all handles to it share.
//!
//! Frames go straight into the output of the connection while little is unsent there. What
//! is more waits here, as it was given, and follows when the peer has read: so a long message is
//! neither copied nor counted against the connection's own bound, and what is unsent has one bound,
//! [`Limits::unsent`](super::Limits::unsent). No borrow is held while a user's code runs.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ropewalk_core::{Connection, Failure, Transport, WriteBufferFull};

use super::close::CloseFrame;
use super::encoder::{Encoder, Frame, header};
use super::frame_header::{LONGEST_CONTROL, Opcode};
use super::masking::{Masks, apply_mask};
use super::prepared::PreparedMessage;
use super::{CloseCode, Message, Role};

/// With so much unsent in the connection, what follows waits.
const AHEAD: u64 = 256 * 1024;

/// With so much unsent, a task that sends waits.
const HIGH_WATER: u64 = 64 * 1024;

/// Long messages go to the connection in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Messages up to this length are put behind their heads by copying them.
const SHORT: usize = 4096;

/// There is no randomness.
struct MaskMissing;

pub(crate) struct Sender {
    connection: OnceCell<Connection>,
    subprotocol: Option<Rc<str>>,
    /// Those of a client.
    masks: Option<Masks>,
    encoder: RefCell<Encoder>,
    /// What waits until the connection has room.
    queue: RefCell<VecDeque<Bytes>>,
    queued: Cell<usize>,
    limit: usize,
    /// How long the peer has to answer a Close.
    patience: Duration,
    /// The answer to the last ping, while there is no room for it.
    pong: Cell<Option<Bytes>>,
    close_sent: Cell<bool>,
    read_paused: Cell<bool>,
    /// What comes until the peer's Close is nobody's any more.
    pub(crate) discards: Cell<bool>,
    /// Calls the session when its connection is free.
    settle: fn(&Connection),
    /// It is going to be called.
    pub(crate) settling: Cell<bool>,
}

impl Sender {
    pub(crate) fn new(
        subprotocol: Option<Rc<str>>,
        masks: Option<Masks>,
        encoder: Encoder,
        limit: usize,
        patience: Duration,
        settle: fn(&Connection),
    ) -> Self {
        Self {
            connection: OnceCell::new(),
            subprotocol,
            masks,
            encoder: RefCell::new(encoder),
            queue: RefCell::default(),
            queued: Cell::new(0),
            limit,
            patience,
            pong: Cell::default(),
            close_sent: Cell::new(false),
            read_paused: Cell::new(false),
            discards: Cell::new(false),
            settle,
            settling: Cell::new(false),
        }
    }

    pub(crate) fn connected(&self, connection: Connection) {
        // A protocol is connected once.
        let _ = self.connection.set(connection);
    }

    pub(crate) fn act<R>(&self, action: impl FnOnce(&mut Transport) -> R) -> Option<R> {
        self.connection.get()?.act(action)
    }

    pub(crate) fn role(&self) -> Role {
        match self.masks {
            None => Role::Server,
            Some(_) => Role::Client,
        }
    }

    pub(crate) fn subprotocol(&self) -> Option<&Rc<str>> {
        self.subprotocol.as_ref()
    }

    /// Sends a message that the caller keeps. `false` if it is not sent.
    pub(crate) fn send_slice(&self, opcode: Opcode, message: &[u8]) -> bool {
        let send = |transport: &mut Transport| {
            if !self.may_send(transport) {
                return false;
            }
            let Ok(mask) = self.mask(transport) else {
                return false;
            };
            let compressed = self.encoder.borrow_mut().compress(message);
            let has_room = self.queued.get() == 0 && transport.unsent() <= AHEAD;
            match compressed {
                Some(payload) => self.push(transport, &Frame::new(opcode, true, payload, mask)),
                None if has_room && message.len() <= SHORT => {
                    let header = header(opcode, false, message.len(), mask);
                    transport.write_with(|out| {
                        out.extend_from_slice(header.as_bytes());
                        let at = out.len();
                        out.extend_from_slice(message);
                        if let Some(key) = mask {
                            apply_mask(&mut out[at..], key, 0);
                        }
                    });
                }
                None => {
                    let payload = Bytes::copy_from_slice(message);
                    self.push(transport, &Frame::new(opcode, false, payload, mask));
                }
            }
            true
        };
        self.act(send) == Some(true)
    }

    /// Sends a message without copying it, if it is long.
    pub(crate) fn send(&self, message: Message) -> bool {
        let (opcode, payload) = message.into_parts();
        if payload.len() <= SHORT {
            return self.send_slice(opcode, &payload);
        }
        let send = |transport: &mut Transport| {
            if !self.may_send(transport) {
                return false;
            }
            let Ok(mask) = self.mask(transport) else {
                return false;
            };
            let compressed = self.encoder.borrow_mut().compress(&payload);
            let frame = match compressed {
                Some(compressed) => Frame::new(opcode, true, compressed, mask),
                None => Frame::new(opcode, false, payload, mask),
            };
            self.push(transport, &frame);
            true
        };
        self.act(send) == Some(true)
    }

    /// Sends what was encoded for many.
    pub(crate) fn send_prepared(&self, message: &PreparedMessage) -> bool {
        if self.masks.is_some() {
            return self.send(message.message().clone());
        }
        let send = |transport: &mut Transport| {
            if !self.may_send(transport) {
                return false;
            }
            let encoded = {
                let mut encoder = self.encoder.borrow_mut();
                message.encoded(&mut encoder)
            };
            self.push_bytes(transport, &[], encoded);
            true
        };
        self.act(send) == Some(true)
    }

    /// `false` if it is not sent, because it is too long or the connection has ended.
    pub(crate) fn ping(&self, payload: &[u8]) -> bool {
        payload.len() <= LONGEST_CONTROL && self.send_control(Opcode::Ping, payload)
    }

    /// Answers a ping. Of several that come while there is no room, the last one is answered
    /// (RFC 6455, section 5.5.3): so a peer that pings and does not read costs no memory.
    pub(crate) fn pong(&self, payload: Bytes) {
        if self.is_full() {
            self.pong.set(Some(payload));
            self.await_room();
        } else {
            self.send_control(Opcode::Pong, &payload);
        }
    }

    /// Says that nothing more will be said. `false` if that was said, or the connection has ended.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) -> bool {
        if self.close_sent.get() {
            return false;
        }
        let payload = CloseFrame::encode(code, reason);
        if !self.send_control(Opcode::Close, &payload) {
            return false;
        }
        self.close_sent.set(true);
        self.act(|transport| transport.set_timeout(Some(self.patience)));
        if self.read_paused.get() {
            // The answer must get through.
            self.discards.set(true);
            self.resume_reading();
        }
        true
    }

    /// Gives back the compressor of a connection that says little: what comes next is compressed
    /// without what was said before.
    pub(crate) fn rest(&self) {
        if let Some(deflater) = self.encoder.borrow_mut().deflater() {
            deflater.forget();
        }
    }

    fn send_control(&self, opcode: Opcode, payload: &[u8]) -> bool {
        if self.close_sent.get() {
            return false;
        }
        let send = |transport: &mut Transport| {
            let Ok(mask) = self.mask(transport) else {
                return false;
            };
            let payload = Bytes::copy_from_slice(payload);
            self.push(transport, &Frame::new(opcode, false, payload, mask));
            true
        };
        self.act(send) == Some(true)
    }

    pub(crate) fn is_close_sent(&self) -> bool {
        self.close_sent.get()
    }

    /// Unsent bytes, or `None` if the connection has ended.
    pub(crate) fn unsent(&self) -> Option<u64> {
        self.act(|transport| transport.unsent() + self.queued.get() as u64)
    }

    /// Whether whoever can wait should.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent().is_some_and(|unsent| unsent > HIGH_WATER)
    }

    /// Whether all that was sent is with the connection.
    pub(crate) fn is_queue_empty(&self) -> bool {
        self.queued.get() == 0
    }

    /// Asks for a `write_resumed`.
    pub(crate) fn await_room(&self) -> bool {
        self.act(Transport::await_drain).is_some()
    }

    pub(crate) fn is_reading_paused(&self) -> bool {
        self.read_paused.get()
    }

    pub(crate) fn pause_reading(&self) -> bool {
        if self.close_sent.get() {
            // The peer's Close is waited for.
            self.discards.set(true);
            return false;
        }
        self.read_paused.set(true);
        self.act(Transport::pause_producing).is_some()
    }

    pub(crate) fn resume_reading(&self) -> bool {
        if self.read_paused.replace(false) {
            self.nudge();
        }
        self.act(Transport::resume_producing).is_some()
    }

    /// Whether a message may be sent now. Who has let too much gather is cut off.
    fn may_send(&self, transport: &mut Transport) -> bool {
        if self.close_sent.get() || transport.is_closing() {
            return false;
        }
        let limit = self.limit;
        if transport.unsent() + self.queued.get() as u64 > limit as u64 {
            transport.abort_with(WriteBufferFull { limit }.into());
            return false;
        }
        true
    }

    /// A client's mask for one more frame. Without one there is no frame, and the connection ends.
    fn mask(&self, transport: &mut Transport) -> Result<Option<[u8; 4]>, MaskMissing> {
        let mask = self.masks.as_ref().map(Masks::next).transpose();
        mask.map_err(|error| {
            transport.abort_with(Failure::from(error).context("masking a frame of a WebSocket"));
            MaskMissing
        })
    }

    fn push(&self, transport: &mut Transport, frame: &Frame) {
        self.push_bytes(transport, frame.header.as_bytes(), frame.payload.clone());
    }

    fn push_bytes(&self, transport: &mut Transport, head: &[u8], mut payload: Bytes) {
        let waits = self.queued.get() > 0 || transport.unsent() > AHEAD;
        if !waits {
            transport.write(head);
            if payload.len() <= PIECE {
                return transport.write_bytes(payload);
            }
            transport.write_bytes(payload.split_to(PIECE));
        }
        let mut queue = self.queue.borrow_mut();
        let mut queued = self.queued.get() + payload.len();
        if waits && !head.is_empty() {
            queued += head.len();
            queue.push_back(Bytes::copy_from_slice(head));
        }
        if !payload.is_empty() {
            queue.push_back(payload);
        }
        drop(queue);
        self.queued.set(queued);
        self.feed(transport);
    }

    /// Gives the connection what it has room for. The session is called when there is more.
    pub(crate) fn feed(&self, transport: &mut Transport) {
        let mut queue = self.queue.borrow_mut();
        while transport.unsent() <= AHEAD
            && let Some(mut piece) = queue.pop_front()
        {
            if piece.len() > PIECE {
                queue.push_front(piece.split_off(PIECE));
            }
            self.queued.set(self.queued.get() - piece.len());
            transport.write_bytes(piece);
        }
        let is_empty = queue.is_empty();
        if is_empty {
            *queue = VecDeque::new();
        }
        drop(queue);
        if !is_empty {
            transport.await_drain();
            self.nudge();
        } else if let Some(payload) = self.pong.take() {
            self.send_control(Opcode::Pong, &payload);
        }
    }

    /// Calls the session, when no callback of the connection is running.
    fn nudge(&self) {
        if let Some(connection) = self.connection.get()
            && !self.settling.replace(true)
        {
            (self.settle)(connection);
        }
    }
}
