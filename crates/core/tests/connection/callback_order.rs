//! `connection_made` comes first and once, `connection_lost` last and once, whatever happens.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use ropewalk_core::{
    ConnectionAborted, ConnectionLimits, Failure, Layer, LayerIo, OutputQueue, Protocol, Transport,
};

use crate::layer_kit::{Faulty, How};
use crate::rig::{End, Rig, Script, describe};

const MINUTE: Duration = Duration::from_secs(60);

/// How a connection that is up can end, and the reason that its protocol is told.
type Ending = (&'static str, fn() -> Rig, &'static str, End);

fn up(script: Script) -> Rig {
    Rig::connected(script)
}

#[rustfmt::skip]
const ENDINGS: &[Ending] = &[
    ("local close", || {
        let mut rig = up(Script::new().on("data", |transport, _| transport.lose_connection()));
        rig.receive(b"x");
        rig
    }, "done", End::Close),
    ("peer's close", || {
        let mut rig = up(Script::new());
        rig.close_read();
        rig
    }, "done", End::Close),
    ("half-close by this side, then by the peer", || {
        let mut rig = up(Script::new().on("made", |transport, _| transport.lose_write_connection()));
        rig.close_read();
        rig
    }, "done", End::Close),
    ("half-close by the peer, then by this side", || {
        let mut rig = up(Script::new().on("read_closed", |_, _| ()));
        rig.close_read();
        rig.handle().act(|transport| transport.lose_write_connection());
        rig.end_turn();
        rig
    }, "done", End::Close),
    ("reset by the peer", || {
        let mut rig = up(Script::new());
        rig.fail(io::ErrorKind::ConnectionReset);
        rig
    }, "ConnectionReset", End::Abort),
    ("an error of sending", || {
        let mut rig = up(Script::new());
        rig.event(|channel| {
            channel.connection().write(b"x");
            channel.next_step();
            channel.send(|_| Err(io::ErrorKind::BrokenPipe.into()));
        });
        rig
    }, "BrokenPipe", End::Abort),
    ("abort", || {
        let mut rig = up(Script::new().on("data", |transport, _| transport.abort_connection()));
        rig.receive(b"x");
        rig
    }, "aborted", End::Abort),
    ("a timeout", || {
        let mut rig = up(Script::new().on("made", |transport, _| transport.set_timeout(Some(MINUTE))));
        rig.advance(MINUTE);
        rig
    }, "timed out", End::Abort),
    ("a write stall", || {
        let mut rig = up(Script::new().on("data", |transport, _| transport.write(b"yy")));
        rig.room = 1;
        rig.receive(b"x");
        rig.advance(Duration::from_secs(30));
        rig
    }, "stalled", End::Abort),
    ("a full buffer", || {
        let limits = ConnectionLimits { write_limit: 10, ..Default::default() };
        let mut rig = Rig::limited(Script::new().on("data", |transport, _| transport.write(&[0; 11])), limits);
        rig.connect();
        rig.receive(b"x");
        rig
    }, "full", End::Abort),
    ("a layer's error", || {
        let layer = Faulty { at: "received", how: How::Error };
        let mut rig = Rig::layered(Script::new(), vec![Box::new(layer)]);
        rig.connect();
        rig.receive(b"x");
        rig
    }, "a faulty layer", End::Close),
    ("the end of the reactor", || {
        let mut rig = up(Script::new());
        rig.event(|channel| channel.end(ConnectionAborted.into()));
        rig
    }, "aborted", End::Abort),
    ("a drain", || {
        let mut rig = up(Script::new());
        rig.event(|channel| channel.drain());
        rig
    }, "done", End::Close),
];

#[test]
fn connection_lost_comes_last_and_once_however_it_ends() {
    for (name, ending, reason, end) in ENDINGS {
        let rig = ending();
        let told = rig.told();
        assert_eq!(told.first().map(String::as_str), Some("made"), "{name}");
        assert_eq!(told.last(), Some(&format!("lost {reason}")), "{name}");
        let lost = told.iter().filter(|what| what.starts_with("lost"));
        assert_eq!(lost.count(), 1, "{name}");
        assert_eq!(rig.end, Some(*end), "{name}");
    }
}

#[test]
fn a_connection_that_ends_before_it_is_up_tells_its_protocol_nothing() {
    let ends: [fn(&mut Rig); 5] = [
        |rig| rig.fail(io::ErrorKind::ConnectionReset),
        |rig| rig.event(|channel| channel.end(ConnectionAborted.into())),
        |rig| rig.event(|channel| channel.drain()),
        |rig| {
            rig.handle().abort_connection();
            rig.connect();
        },
        |rig| {
            rig.handle().lose_connection();
            rig.connect();
        },
    ];
    for end in ends {
        let mut rig = Rig::new(Script::new());
        end(&mut rig);
        assert!(rig.end.is_some());
        assert!(rig.told().is_empty());
    }
}

#[test]
fn nothing_comes_before_connection_made_even_for_those_with_a_handle() {
    let limits = ConnectionLimits {
        high_water: 1,
        ..Default::default()
    };
    let mut rig = Rig::limited(Script::new(), limits);
    let handle = rig.handle();
    rig.room = 0;
    handle.write(b"early");
    handle.with(|_: &mut Script, transport| transport.write(b" bird"));
    handle.act(|transport| transport.set_timeout(Some(MINUTE)));
    rig.end_turn();
    assert!(rig.told().is_empty());
    rig.connect();
    rig.make_room(100);
    assert_eq!(rig.told()[0], "made");
    assert_eq!(rig.sent, b"early bird");
}

/// What a callback of the random protocol does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Write(u8),
    Lose,
    LoseWrite,
    Abort,
    Pause,
    Resume,
    Timeout(u8),
    Panic,
    Exchange,
    PushLayer,
    With,
    Option,
}

/// What happens to the connection, in random order.
#[derive(Clone, Debug)]
enum Event {
    Connect,
    Receive(u8),
    CloseRead,
    Fail,
    Room(u8),
    Advance(u8),
    Drain,
    End,
    Turn,
    Handle(Act),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Nothing),
        6 => any::<u8>().prop_map(Act::Write),
        1 => Just(Act::Lose),
        1 => Just(Act::LoseWrite),
        1 => Just(Act::Abort),
        3 => Just(Act::Pause),
        4 => Just(Act::Resume),
        2 => any::<u8>().prop_map(Act::Timeout),
        1 => Just(Act::Panic),
        3 => Just(Act::Exchange),
        3 => Just(Act::PushLayer),
        3 => Just(Act::With),
        1 => Just(Act::Option),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Connect),
        8 => any::<u8>().prop_map(Event::Receive),
        2 => Just(Event::CloseRead),
        1 => Just(Event::Fail),
        4 => any::<u8>().prop_map(Event::Room),
        2 => any::<u8>().prop_map(Event::Advance),
        1 => Just(Event::Drain),
        1 => Just(Event::End),
        4 => Just(Event::Turn),
        6 => act().prop_map(Event::Handle),
    ]
}

/// What is known of the connection, and each promise that was broken.
#[derive(Default)]
struct Model {
    acts: Vec<Act>,
    next_protocol: u32,
    current: Option<u32>,
    lost: Option<String>,
    running: bool,
    reading_paused: bool,
    closing: bool,
    read_closed: bool,
    write_paused: bool,
    received: Vec<u8>,
    written: Vec<u8>,
    broken: Vec<String>,
}

type Shared = Rc<RefCell<Model>>;

/// Takes one act for each callback, and checks what it is told.
struct Random {
    model: Shared,
    number: u32,
    made: bool,
}

impl Random {
    fn new(model: &Shared) -> Self {
        let number = model.borrow().next_protocol;
        model.borrow_mut().next_protocol += 1;
        let model = Rc::clone(model);
        Self {
            model,
            number,
            made: false,
        }
    }

    fn enter(&mut self, callback: &str) {
        let model = &mut *self.model.borrow_mut();
        let first = callback == "connection_made";
        if first {
            model.current = Some(self.number);
        }
        let checks = [
            (first == self.made, "connection_made is first and once"),
            (
                model.current != Some(self.number),
                "an exchanged protocol is called",
            ),
            (model.lost.is_some(), "something after connection_lost"),
            (model.running, "a callback within a callback"),
        ];
        self.made = true;
        let broken = checks.iter().filter(|(is_broken, _)| *is_broken);
        model
            .broken
            .extend(broken.map(|(_, what)| format!("{what}: {callback}")));
        model.running = true;
    }

    fn act(&mut self, transport: &mut Transport) {
        let act = self.model.borrow_mut().acts.pop().unwrap_or(Act::Nothing);
        if matches!(act, Act::Panic) {
            self.model.borrow_mut().running = false;
            panic!("on purpose");
        }
        perform(act, &self.model, transport);
        self.model.borrow_mut().running = false;
    }

    fn check(&self, is_broken: bool, what: &str) {
        if is_broken {
            self.model.borrow_mut().broken.push(what.to_owned());
        }
    }
}

fn perform(act: Act, model: &Shared, transport: &mut Transport) {
    match act {
        Act::Nothing | Act::Panic => {}
        Act::Write(byte) => {
            let bytes = [byte; 40];
            let is_open = transport
                .write_with(|buffer| buffer.extend(bytes))
                .is_some();
            if is_open {
                model.borrow_mut().written.extend(bytes);
            }
        }
        Act::Lose => {
            transport.lose_connection();
            model.borrow_mut().closing = true;
        }
        Act::LoseWrite => transport.lose_write_connection(),
        Act::Abort => transport.abort_connection(),
        Act::Pause => {
            transport.pause_producing();
            model.borrow_mut().reading_paused = true;
        }
        Act::Resume => {
            transport.resume_producing();
            model.borrow_mut().reading_paused = false;
        }
        Act::Timeout(millis) => {
            transport.set_timeout(Some(Duration::from_millis(u64::from(millis))));
        }
        Act::Exchange => transport.exchange_protocol(Box::new(Random::new(model)), b""),
        Act::PushLayer => transport.push_layer(Box::new(Hiccup::default())),
        Act::With => {
            transport
                .connection()
                .with(|random: &mut Random, transport| {
                    random.enter("with");
                    random.act(transport);
                });
        }
        Act::Option => transport.set_no_delay(true),
    }
}

impl Protocol for Random {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.enter("connection_made");
        {
            // A new protocol starts afresh.
            let mut model = self.model.borrow_mut();
            model.reading_paused = false;
            model.read_closed = false;
            model.write_paused = false;
        }
        self.act(transport);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.enter("data_received");
        self.check(self.model.borrow().reading_paused, "data while paused");
        self.check(self.model.borrow().closing, "data after lose_connection");
        self.check(self.model.borrow().read_closed, "data after read_closed");
        self.check(data.is_empty(), "no data");
        self.model.borrow_mut().received.extend_from_slice(data);
        self.act(transport);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.enter("read_closed");
        self.check(
            self.model.borrow().reading_paused,
            "read_closed while paused",
        );
        self.check(self.model.borrow().read_closed, "read_closed twice");
        self.model.borrow_mut().read_closed = true;
        self.act(transport);
    }

    fn write_paused(&mut self, transport: &mut Transport) {
        self.enter("write_paused");
        self.check(self.model.borrow().write_paused, "paused twice");
        self.model.borrow_mut().write_paused = true;
        self.act(transport);
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        self.enter("write_resumed");
        self.check(!self.model.borrow().write_paused, "resumed, and not paused");
        self.model.borrow_mut().write_paused = false;
        self.act(transport);
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        self.enter("timeout_connection");
        self.act(transport);
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.enter("drain");
        self.act(transport);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.enter("connection_lost");
        let model = &mut *self.model.borrow_mut();
        model.lost = Some(describe(&reason));
        model.running = false;
    }
}

/// Passes all on, a little at a time, and keeps some back now and then.
#[derive(Default)]
struct Hiccup {
    kept: Vec<u8>,
    calls: u32,
}

impl Layer for Hiccup {
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.kept.extend_from_slice(data);
        self.calls += 1;
        if !self.calls.is_multiple_of(3) {
            io.up().append(&mut self.kept);
        }
        Ok(())
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().append(&mut self.kept);
        io.close_read();
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let front = output.front()?;
        let count = front.len().min(64);
        io.down().write(&front[..count]);
        output.consume(count as u64);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn every_promise_holds_in_any_order_of_events(
        acts in proptest::collection::vec(act(), 0..30),
        events in proptest::collection::vec(event(), 0..40),
        connect_first in any::<bool>(),
        layers in 0..3_usize,
    ) {
        quiet_panics();
        let model = Shared::default();
        model.borrow_mut().acts = acts;
        let limits = ConnectionLimits { high_water: 100, low_water: 30, ..Default::default() };
        let stack = (0..layers).map(|_| Box::new(Hiccup::default()) as Box<dyn Layer>);
        let mut rig = Rig::of(Box::new(Random::new(&model)), stack.collect(), limits);
        rig.room = 50;
        let (mut connected, mut given, mut fin) = (false, Vec::new(), false);
        if connect_first {
            rig.connect();
            connected = true;
        }
        for event in events {
            match event {
                Event::Connect if !connected => {
                    connected = true;
                    rig.connect();
                }
                // What was under way comes even when reading is paused.
                Event::Receive(byte) if connected && !fin && rig.end.is_none() => {
                    given.extend([byte; 3]);
                    rig.receive(&[byte; 3]);
                }
                Event::CloseRead if connected && !fin => {
                    fin = true;
                    rig.close_read();
                }
                Event::Fail => rig.fail(io::ErrorKind::ConnectionReset),
                Event::Room(room) => rig.make_room(usize::from(room)),
                Event::Advance(by) => rig.advance(Duration::from_millis(u64::from(by))),
                Event::Drain => rig.event(|channel| channel.drain()),
                Event::End => rig.event(|channel| channel.end(ConnectionAborted.into())),
                Event::Turn => { rig.end_turn(); }
                Event::Handle(act) => {
                    if let Some(channel) = &rig.channel {
                        channel.connection().act(|transport| perform(act, &model, transport));
                    }
                }
                Event::Connect | Event::Receive(_) | Event::CloseRead => {}
            }
            prop_assert_eq!(&model.borrow().broken, &Vec::<String>::new());
        }
        while rig.end_turn() {}
        rig.event(|channel| channel.end(ConnectionAborted.into()));
        let model = model.borrow();
        prop_assert_eq!(&model.broken, &Vec::<String>::new());
        prop_assert!(rig.end.is_some());
        prop_assert_eq!(model.lost.is_some(), model.current.is_some());
        prop_assert!(given.starts_with(&model.received), "bytes come in order");
        prop_assert!(model.written.starts_with(&rig.sent), "bytes go in order");
        if model.lost.as_deref() == Some("done") {
            prop_assert_eq!(&model.written, &rig.sent, "all is sent before a clean end");
        }
    }
}

/// The panics are on purpose here; they need not fill the screen.
fn quiet_panics() {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if text != Some(&"on purpose") {
                hook(info);
            }
        }));
    });
}
