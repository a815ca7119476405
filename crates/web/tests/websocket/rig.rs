//! One end of a WebSocket, and a peer that says what a test has it say, byte by byte.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Connection, Failure, Protocol, Transport};
use ropewalk_web::Randomness;
use ropewalk_web::websocket::{Closed, Options, Role, Session, WebSocket, WebSocketProtocol};

/// What one end was told, in words.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub(crate) fn text(&self) -> String {
        self.lines().join(", ")
    }
}

/// Writes down what it is told, and keeps the handle.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    pub(crate) log: Log,
    pub(crate) socket: Rc<RefCell<WebSocket>>,
    pub(crate) closed: Rc<RefCell<Option<Closed>>>,
    /// It sends back what comes.
    pub(crate) echoes: bool,
}

impl Recorder {
    pub(crate) fn echo() -> Self {
        Self {
            echoes: true,
            ..Self::default()
        }
    }

    pub(crate) fn socket(&self) -> WebSocket {
        self.socket.borrow().clone()
    }
}

impl WebSocketProtocol for Recorder {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        self.log.add("open");
        self.socket.replace(socket.clone());
    }

    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        self.log.add(match text.len() {
            0..=40 => format!("text {text}"),
            length => format!("text of {length}"),
        });
        if self.echoes {
            socket.send(text);
        }
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
        self.log.add(match data.len() {
            0..=40 => format!("binary {data:?}"),
            length => format!("binary of {length}"),
        });
        if self.echoes {
            socket.send(data);
        }
    }

    fn ping_received(&mut self, _: &WebSocket, payload: Bytes) {
        self.log.add(format!("ping {payload:?}"));
    }

    fn pong_received(&mut self, _: &WebSocket, payload: Bytes) {
        self.log.add(format!("pong {payload:?}"));
    }

    fn write_paused(&mut self, socket: &WebSocket) {
        self.log.add("write paused");
        if socket.role() == Some(Role::Server) {
            socket.pause_producing();
        }
    }

    fn write_resumed(&mut self, socket: &WebSocket) {
        self.log.add("write resumed");
        socket.resume_producing();
    }

    fn connection_lost(&mut self, closed: Closed) {
        let clean = if closed.was_clean { "clean" } else { "unclean" };
        self.log.add(format!("lost {} {clean}", closed.code.0));
        self.closed.replace(Some(closed));
    }
}

/// What the other end of the connection has seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) bytes: Vec<u8>,
    /// It reads no more after each piece.
    pub(crate) halts: bool,
    pub(crate) read_closed: bool,
    pub(crate) lost: Option<Failure>,
}

struct RawPeer(Rc<RefCell<Seen>>);

impl Protocol for RawPeer {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        let mut seen = self.0.borrow_mut();
        seen.bytes.extend_from_slice(data);
        if seen.halts {
            transport.pause_producing();
        }
    }

    fn read_closed(&mut self, _: &mut Transport) {
        self.0.borrow_mut().read_closed = true;
    }

    /// It is the WebSocket that drains.
    fn drain(&mut self, _: &mut Transport) {}

    fn connection_lost(&mut self, reason: Failure) {
        self.0.borrow_mut().lost = Some(reason);
    }
}

/// A WebSocket in memory, and its peer.
pub(crate) struct Rig {
    pub(crate) reactor: MemoryReactor,
    pub(crate) end: Recorder,
    pub(crate) peer: Connection,
    seen: Rc<RefCell<Seen>>,
    role: Role,
}

/// The mask that tests use, for the frames of a client.
pub(crate) const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

fn fixed_randomness() -> Randomness {
    Randomness::new(|bytes| {
        for (byte, key) in bytes.iter_mut().zip(KEY.iter().cycle()) {
            *byte = *key;
        }
    })
}

/// These options, with masks that are always the same.
pub(crate) fn fixed(options: Options) -> Options {
    Options {
        randomness: fixed_randomness(),
        ..options
    }
}

impl Rig {
    pub(crate) fn new(role: Role, options: &Options) -> Self {
        Self::with(role, options, Recorder::default())
    }

    pub(crate) fn with(role: Role, options: &Options, end: Recorder) -> Self {
        let reactor = MemoryReactor::new();
        let seen: Rc<RefCell<Seen>> = Rc::default();
        let peer = Box::new(RawPeer(Rc::clone(&seen)));
        let options = fixed(options.clone());
        let session = Box::new(Session::compressed(role, &options, end.clone()));
        let peer = match role {
            Role::Server => reactor.join(peer, session).0,
            Role::Client => reactor.join(session, peer).1,
        };
        reactor.run();
        Self {
            reactor,
            end,
            peer,
            seen,
            role,
        }
    }

    /// Has the peer say something.
    pub(crate) fn say(&self, bytes: impl AsRef<[u8]>) -> &Self {
        self.peer.write(bytes.as_ref());
        self.reactor.run();
        self
    }

    /// Has the peer send a frame, masked if it is a client.
    pub(crate) fn frame(&self, first: u8, payload: impl AsRef<[u8]>) -> &Self {
        self.say(frame(self.role == Role::Server, first, payload.as_ref()))
    }

    /// Has the peer read no more than a piece of so many bytes now, and one at each
    /// [`read_on`](Self::read_on).
    pub(crate) fn read_pieces(&self, bytes: usize) {
        self.seen.borrow_mut().halts = true;
        self.reactor.set_window(bytes);
        self.reactor.set_split(bytes);
    }

    pub(crate) fn read_on(&self) {
        self.peer.resume_producing();
        self.reactor.run();
    }

    /// The frames that the peer has got since the last time, unmasked: first bytes and payloads.
    pub(crate) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let bytes = std::mem::take(&mut self.seen.borrow_mut().bytes);
        parse_frames(&bytes, self.role == Role::Client)
    }

    /// The code of the only frame that the peer has got, a Close.
    pub(crate) fn close_code(&self) -> u16 {
        let frames = self.frames();
        let [(0x88, payload)] = &frames[..] else {
            panic!("{frames:x?} is not one Close");
        };
        payload
            .first_chunk()
            .map_or(1005, |code| u16::from_be_bytes(*code))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.reactor.connections() == 0
    }

    pub(crate) fn seen<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.seen.borrow())
    }

    pub(crate) fn log(&self) -> String {
        self.end.log.text()
    }
}

/// A frame as a peer that does it right would write it.
pub(crate) fn frame(masked: bool, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let bit = u8::from(masked) << 7;
    match payload.len() {
        length @ 0..126 => bytes.push(bit | length as u8),
        length @ 126..65_536 => {
            bytes.push(bit | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(bit | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend_from_slice(&KEY);
        let keys = KEY.iter().cycle();
        bytes.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
    } else {
        bytes.extend_from_slice(payload);
    }
    bytes
}

/// Reads frames by the letter of section 5.2, as nobody else here does.
pub(crate) fn parse_frames(mut bytes: &[u8], masked: bool) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(second >> 7 == 1, masked);
        let (length, rest) = match second & 127 {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>().unwrap();
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk::<8>().unwrap();
                (u64::from_be_bytes(*length) as usize, rest)
            }
            length => (usize::from(length), rest),
        };
        let (key, rest) = match masked {
            true => rest
                .split_first_chunk::<4>()
                .map(|(key, rest)| (*key, rest))
                .unwrap(),
            false => ([0; 4], rest),
        };
        let (payload, rest) = rest.split_at(length);
        let keys = key.iter().cycle();
        let payload = payload.iter().zip(keys).map(|(byte, key)| byte ^ key);
        frames.push((*first, payload.collect()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "{bytes:x?} is no frame");
    frames
}
