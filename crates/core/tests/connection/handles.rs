//! Acting on a connection from outside its callbacks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use ropewalk_core::testing::{MemoryReactor, Pair};
use ropewalk_core::{Connection, Protocol, SocketOption, Transport};

use crate::rig::{End, Rig, Script};

#[test]
fn a_write_from_outside_is_flushed_when_the_turn_ends() {
    let mut rig = Rig::connected(Script::new());
    let handle = rig.handle();
    assert!(handle.write(b"a"));
    assert!(handle.write_bytes(Bytes::from_static(b"b")));
    assert_eq!(rig.sends, 0);
    let mut touched = Vec::new();
    rig.context.take_touched(&mut touched);
    assert_eq!(touched, [rig.channel.as_ref().unwrap().id()], "named once");
    rig.event(|_| ());
    assert_eq!((rig.sends, rig.sent.as_slice()), (1, b"ab".as_slice()));
    handle.write(b"c");
    assert!(rig.end_turn(), "named anew after it was served");
}

#[test]
fn a_write_by_a_handle_while_the_protocol_runs_needs_no_extra_turn() {
    let script = Script::new().on("data", |transport, _| {
        transport.write(b"1");
        transport.connection().write(b"2");
        transport.write(b"3");
    });
    let mut rig = Rig::connected(script);
    rig.receive(b"x");
    assert_eq!((rig.sends, rig.sent.as_slice()), (1, b"123".as_slice()));
    assert!(!rig.context.has_touched());
}

#[test]
fn a_handle_says_when_what_was_written_is_dropped() {
    let mut rig = Rig::connected(Script::new());
    let handle = rig.handle();
    assert!(handle.is_connected());
    rig.room = 0;
    assert!(handle.write(b"x"));
    handle.lose_connection();
    assert!(!handle.write(b"y"), "it closes");
    assert!(!handle.is_connected());
    assert_eq!(handle.unsent(), Some(1));
    assert_eq!(format!("{handle:?}"), "Connection(192.0.2.2:1024)");
    rig.make_room(1);
    assert_eq!(rig.end, Some(End::Close));

    assert!(!handle.write(b"z"));
    assert!(!handle.write_bytes(Bytes::new()));
    assert!(!handle.lose_connection());
    assert!(!handle.abort_connection());
    assert!(!handle.pause_producing());
    assert!(!handle.resume_producing());
    assert!(!handle.with(|_: &mut Script, _| ()));
    assert_eq!(handle.unsent(), None);
    assert_eq!(handle.act(|_| ()), None);
    assert_eq!(format!("{handle:?}"), "Connection(ended)");
    assert!(!Connection::default().write(b"to nobody"));
}

#[test]
fn a_write_that_goes_over_the_limit_says_that_it_is_dropped() {
    let mut rig = Rig::connected(Script::new());
    assert!(!rig.handle().write(&vec![0; 16 * 1024 * 1024 + 1]));
    rig.end_turn();
    assert_eq!(rig.told(), ["made", "lost full"]);
}

#[test]
fn write_with_a_closed_writing_side_is_dropped_and_says_so() {
    let mut rig = Rig::connected(Script::new());
    rig.handle()
        .act(|transport| transport.lose_write_connection());
    assert!(!rig.handle().write(b"x"));
    assert!(rig.handle().is_connected(), "it still receives");
    rig.end_turn();
    assert!(rig.write_shut);
}

#[test]
fn a_handle_keeps_nothing_alive() {
    let alive = Rc::new(());
    let held = Rc::clone(&alive);
    let script = Script::new().on("data", move |_, _| {
        let _ = &held;
    });
    let mut rig = Rig::connected(script);
    let handle = rig.handle();
    assert_eq!(Rc::strong_count(&alive), 2);
    rig.handle().abort_connection();
    rig.end_turn();
    assert_eq!(Rc::strong_count(&alive), 1);
    assert!(!handle.is_connected());
}

#[test]
fn pause_and_resume_by_a_handle_reach_the_loop() {
    let mut rig = Rig::connected(Script::new());
    rig.handle().pause_producing();
    assert!(rig.end_turn() && !rig.wants_read());
    rig.handle().resume_producing();
    assert!(rig.end_turn() && rig.wants_read());
}

#[test]
fn options_reach_the_driver_in_order() {
    let script = Script::new().on("made", |transport, _| {
        transport.set_no_delay(false);
        transport.set_keep_alive(None);
        transport.write(b"x");
    });
    let rig = Rig::connected(script);
    assert_eq!(
        rig.options,
        [SocketOption::NoDelay(false), SocketOption::KeepAlive(None)]
    );
    assert_eq!(rig.sent, b"x");
}

/// Keeps a list of what was done to it.
#[derive(Default)]
struct List(Vec<&'static str>);

impl Protocol for List {
    fn data_received(&mut self, transport: &mut Transport, _: &[u8]) {
        let handle = transport.connection();
        let again = handle.clone();
        assert!(handle.with(move |list: &mut Self, _| {
            list.0.push("first");
            again.with(|list: &mut Self, _| list.0.push("third"));
        }));
        assert!(handle.with(|list: &mut Self, transport| {
            list.0.push("second");
            transport.write(b"done");
        }));
        self.0.push("callback");
    }
}

#[test]
fn calls_run_in_order_after_the_callback_in_the_same_turn() {
    let mut rig = Rig::of(Box::new(List::default()), Vec::new(), Default::default());
    rig.connect();
    rig.receive(b"x");
    assert_eq!(rig.sent, b"done");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let copy = Rc::clone(&seen);
    rig.handle()
        .with(move |list: &mut List, _| copy.borrow_mut().clone_from(&list.0));
    assert!(seen.borrow().is_empty(), "not at once");
    rig.end_turn();
    assert_eq!(*seen.borrow(), ["callback", "first", "second", "third"]);
}

#[test]
fn a_call_is_dropped_when_the_connection_ends_first_or_has_another_protocol() {
    let mut rig = Rig::connected(Script::new());
    let ran = Rc::new(Cell::new(false));
    let (wrong, late) = (Rc::clone(&ran), Rc::clone(&ran));
    assert!(rig.handle().with(move |_: &mut List, _| wrong.set(true)));
    rig.end_turn();
    assert!(rig.handle().with(move |_: &mut Script, _| late.set(true)));
    rig.handle().abort_connection();
    rig.end_turn();
    assert!(!ran.get());
    assert_eq!(Rc::strong_count(&ran), 1, "what they held is free");
    assert_eq!(rig.told(), ["made", "lost aborted"]);
}

#[test]
fn a_call_that_calls_itself_lets_others_have_their_turn() {
    fn again(count: &Rc<Cell<u32>>, handle: &Connection) {
        let (count, next) = (Rc::clone(count), handle.clone());
        handle.with(move |_: &mut Script, _| {
            count.set(count.get() + 1);
            again(&count, &next);
        });
    }
    let mut rig = Rig::connected(Script::new());
    let count = Rc::new(Cell::new(0));
    again(&count, &rig.handle());
    rig.end_turn();
    let first = count.get();
    assert!(first > 1);
    assert!(rig.end_turn());
    assert!(count.get() > first);
}

/// Passes what it gets on to another connection.
struct Relay(Rc<RefCell<Connection>>);

impl Protocol for Relay {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow().write(data);
    }
}

#[test]
fn connections_that_write_to_one_another_are_all_served_by_one_run() {
    let reactor = MemoryReactor::new();
    let to = [Rc::default(), Rc::default()];
    let end = Script::new();
    let told = end.log();
    let first = Pair::on(
        reactor.clone(),
        Box::new(Script::new()),
        Box::new(Relay(Rc::clone(&to[0]))),
    );
    let second = Pair::on(
        reactor.clone(),
        Box::new(Relay(Rc::clone(&to[1]))),
        Box::new(Relay(Rc::clone(&to[1]))),
    );
    let third = Pair::on(reactor.clone(), Box::new(Script::new()), Box::new(end));
    *to[0].borrow_mut() = second.client().clone();
    *to[1].borrow_mut() = third.client().clone();
    first.client().write(b"round");
    reactor.run();
    assert_eq!(told.take(), ["made", "data round"]);
}
