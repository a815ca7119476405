//! Protocols that write down what they are told and then do what the test says, at the server's
//! end of a pair whose client sends bytes.

use std::cell::RefCell;
use std::rc::Rc;

use ropewalk_core::framing::{
    Codec, FrameTransport, LineCodec, LineProtocol, LineReceiver, LineTransport, StringProtocol,
    StringReceiver,
};
use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{Connection, Failure, Protocol, Transport};

/// What a protocol was told, in order.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

type LineHook = Box<dyn FnMut(&mut LineTransport<'_>, &str)>;
type StringHook = Box<dyn FnMut(&mut FrameTransport<'_>, &str)>;

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sees lines and raw data. The hook runs for both, with "line …", "raw …", "long …" or the name
/// of a callback.
pub(crate) struct Lines {
    log: Log,
    hook: LineHook,
}

impl Lines {
    pub(crate) fn new(
        log: &Log,
        hook: impl FnMut(&mut LineTransport<'_>, &str) + 'static,
    ) -> LineReceiver<Self> {
        let codec = LineCodec::default().with_max_length(8);
        LineReceiver::with_codec(codec, Self::protocol(log, hook))
    }

    pub(crate) fn protocol(
        log: &Log,
        hook: impl FnMut(&mut LineTransport<'_>, &str) + 'static,
    ) -> Self {
        Self {
            log: Rc::clone(log),
            hook: Box::new(hook),
        }
    }

    fn told(&mut self, transport: &mut LineTransport<'_>, what: &str) {
        self.log.borrow_mut().push(what.to_owned());
        (self.hook)(transport, what);
    }
}

impl LineProtocol for Lines {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        self.told(transport, &format!("line {}", text(line)));
    }

    fn raw_data_received(&mut self, transport: &mut LineTransport<'_>, data: &[u8]) {
        // Its end is what a test that goes back to lines hands over.
        let what = format!("raw {}", text(data));
        self.log.borrow_mut().push(what.clone());
        if let Some(at) = data.iter().position(|byte| *byte == b'.') {
            transport.set_line_mode(&data[at + 1..]);
        }
        (self.hook)(transport, &what);
    }

    fn line_length_exceeded(&mut self, transport: &mut LineTransport<'_>, start: &[u8]) {
        self.told(transport, &format!("long {}", text(start)));
    }

    fn line_unfinished(&mut self, rest: &[u8]) {
        self.log
            .borrow_mut()
            .push(format!("unfinished {}", text(rest)));
    }

    fn read_closed(&mut self, transport: &mut LineTransport<'_>) {
        self.told(transport, "read_closed");
        transport.lose_connection();
    }

    fn timeout_connection(&mut self, transport: &mut LineTransport<'_>) {
        self.told(transport, "timeout");
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.borrow_mut().push(format!("lost: {reason}"));
    }
}

/// Sees strings. Its hook is that of [`Lines`].
pub(crate) struct Strings {
    log: Log,
    hook: StringHook,
    /// Whether it takes what is too long upon itself.
    pub(crate) takes_long: bool,
}

impl Strings {
    pub(crate) fn new<C: Codec>(
        codec: C,
        log: &Log,
        hook: impl FnMut(&mut FrameTransport<'_>, &str) + 'static,
    ) -> StringReceiver<C, Self> {
        let protocol = Self {
            log: Rc::clone(log),
            hook: Box::new(hook),
            takes_long: false,
        };
        StringReceiver::with_codec(codec, protocol)
    }

    fn told(&mut self, transport: &mut FrameTransport<'_>, what: &str) {
        self.log.borrow_mut().push(what.to_owned());
        (self.hook)(transport, what);
    }
}

/// One that takes no part in what is too long: for what happens unless told otherwise.
struct Plain;
impl StringProtocol for Plain {
    fn string_received(&mut self, _: &mut FrameTransport<'_>, _: &[u8]) {}
}

impl StringProtocol for Strings {
    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        self.told(transport, &format!("string {}", text(string)));
    }

    fn length_limit_exceeded(&mut self, transport: &mut FrameTransport<'_>, length: Option<u64>) {
        self.told(transport, &format!("long {length:?}"));
        if !self.takes_long {
            Plain.length_limit_exceeded(transport, length);
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.log.borrow_mut().push(format!("lost: {reason}"));
    }
}

/// Writes down what it gets.
pub(crate) struct Bytes(pub(crate) Log);

impl Protocol for Bytes {
    fn connection_made(&mut self, _: &mut Transport) {
        self.0.borrow_mut().push("made".to_owned());
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().push(format!("data {}", text(data)));
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.0.borrow_mut().push("read_closed".to_owned());
        transport.lose_connection();
    }
}

/// A server, and a client that sends it bytes and keeps what it answers.
pub(crate) struct Rig {
    pub(crate) pair: Pair,
    pub(crate) log: Log,
    answers: Log,
}

impl Rig {
    pub(crate) fn new(log: &Log, server: impl Protocol) -> Self {
        Self::split(usize::MAX, log, server)
    }

    /// At most `split` bytes come at once.
    pub(crate) fn split(split: usize, log: &Log, server: impl Protocol) -> Self {
        let reactor = MemoryReactor::new();
        reactor.set_split(split);
        let answers = Log::default();
        let client = Box::new(Bytes(Rc::clone(&answers)));
        Self {
            pair: Pair::on(reactor, client, Box::new(server)),
            log: Rc::clone(log),
            answers,
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.pair.client().write(bytes);
        self.pair.run();
    }

    pub(crate) fn server(&self) -> &Connection {
        self.pair.server()
    }

    /// What the server was told since this was asked last.
    pub(crate) fn told(&self) -> Vec<String> {
        self.log.take()
    }

    /// What the client got.
    pub(crate) fn answers(&self) -> String {
        let answers = self.answers.borrow();
        let data = answers.iter().filter_map(|told| told.strip_prefix("data "));
        data.collect()
    }
}
