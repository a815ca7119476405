//! One protocol after another on the same connection.

use std::rc::Rc;
use std::time::Duration;

use crate::layer_kit::{Header, Throttle};
use crate::rig::{Log, Rig, Script};

/// Upgrades to `next` at "up:", and hands over what came after it.
fn upgrading(log: &Log, next: impl FnOnce() -> Script + 'static) -> Script {
    let mut next = Some(next);
    Script::named("old ", log).on("data", move |transport, data| {
        if let Some(unread) = data.strip_prefix(b"up:")
            && let Some(next) = next.take()
        {
            transport.exchange_protocol(Box::new(next()), unread);
        }
    })
}

fn rig(log: &Log, next: impl FnOnce() -> Script + 'static) -> Rig {
    Rig::connected(upgrading(log, next))
}

#[test]
fn the_new_one_is_made_and_gets_the_unread_bytes_and_the_old_one_hears_no_more() {
    let log = Log::default();
    let new = Script::named("new ", &log);
    let mut rig = rig(&log, || new);
    rig.receive(b"up:rest");
    rig.receive(b"more");
    rig.close_read();
    assert_eq!(
        rig.told(),
        [
            "old made",
            "old data up:rest",
            "new made",
            "new data rest",
            "new data more",
            "new read_closed",
            "new lost done",
        ]
    );
}

#[test]
fn without_unread_bytes_no_data_comes() {
    let log = Log::default();
    let new = Script::named("new ", &log);
    let mut rig = rig(&log, || new);
    rig.receive(b"up:");
    assert_eq!(rig.told(), ["old made", "old data up:", "new made"]);
}

#[test]
fn the_old_one_is_dropped_at_once() {
    let held = Rc::new(());
    let kept = Rc::clone(&held);
    let log = Log::default();
    let new = Script::named("new ", &log);
    let old = upgrading(&log, || new).on("drain", move |_, _| {
        let _ = &kept;
    });
    let mut rig = Rig::connected(old);
    assert_eq!(Rc::strong_count(&held), 2);
    rig.receive(b"up:");
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn a_call_for_the_old_one_does_not_reach_a_new_one_of_another_type() {
    use ropewalk_core::{Protocol, Transport};
    struct Silent;
    impl Protocol for Silent {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    }
    let mut rig = Rig::connected(Script::new());
    let handle = rig.handle();
    handle.act(|transport| transport.exchange_protocol(Box::new(Silent), b""));
    handle.with(|_: &mut Script, _| panic!("it is gone"));
    handle.with(|_: &mut Silent, transport| transport.write(b"silent"));
    rig.end_turn();
    assert_eq!(rig.sent, b"silent");
}

#[test]
fn the_peers_half_close_is_told_to_the_new_one_after_its_bytes() {
    let log = Log::default();
    let new = Script::named("new ", &log);
    let mut new = Some(new);
    let old = Script::named("old ", &log).on("read_closed", move |transport, _| {
        let new = new.take().unwrap();
        transport.exchange_protocol(Box::new(new), b"unread");
    });
    let mut rig = Rig::connected(old);
    rig.close_read();
    assert_eq!(
        rig.told(),
        [
            "old made",
            "old read_closed",
            "new made",
            "new data unread",
            "new read_closed",
            "new lost done",
        ]
    );
}

#[test]
fn data_and_its_end_that_rise_together_do_not_close_before_the_exchange() {
    let log = Log::default();
    let new = Script::named("new ", &log);
    let old = upgrading(&log, || new);
    let mut rig = Rig::layered(old, vec![Box::new(Throttle::default())]);
    rig.connect();
    rig.handle().pause_producing();
    rig.end_turn();
    // Held: the data and its end come together when reading goes on.
    rig.receive(b"up:");
    rig.close_read();
    for _ in 0..3 {
        rig.advance(Duration::from_secs(1));
    }
    assert_eq!(rig.told(), ["old made"]);
    rig.handle().resume_producing();
    rig.end_turn();
    assert_eq!(
        rig.told(),
        [
            "old data up:",
            "new made",
            "new read_closed",
            "new lost done"
        ]
    );
}

#[test]
fn an_exchange_in_connection_made_gives_the_first_bytes_to_the_new_one() {
    let log = Log::default();
    let mut new = Some(Script::named("new ", &log));
    let old = Script::named("old ", &log).on("made", move |transport, _| {
        transport.exchange_protocol(Box::new(new.take().unwrap()), b"un");
    });
    let mut rig = Rig::layered(old, vec![Box::new(Header::default())]);
    rig.connect();
    rig.receive(b"header\nread");
    assert_eq!(rig.told(), ["old made", "new made", "new data unread"]);
}

#[test]
fn a_new_one_that_pauses_gets_the_unread_bytes_when_it_resumes() {
    let log = Log::default();
    let new = Script::named("new ", &log).on("made", |transport, _| transport.pause_producing());
    let mut rig = rig(&log, || new);
    rig.receive(b"up:rest");
    rig.receive(b" and more");
    assert_eq!(rig.told(), ["old made", "old data up:rest", "new made"]);
    rig.handle().resume_producing();
    rig.end_turn();
    assert_eq!(rig.told(), ["new data rest and more"]);
}

#[test]
fn the_new_one_starts_afresh() {
    let log = Log::default();
    let new = Script::named("new ", &log);
    let mut rig = rig(&log, || new);
    rig.handle().act(|transport| {
        transport.set_timeout(Some(Duration::from_secs(1)));
    });
    rig.receive(b"up:");
    assert!(rig.wants_read());
    assert_eq!(rig.deadline(), None);
    let handle = rig.handle();
    handle.pause_producing();
    let another = Script::named("third ", &log);
    handle.act(|transport| transport.exchange_protocol(Box::new(another), b""));
    rig.end_turn();
    assert!(rig.wants_read());
}

#[test]
fn what_the_old_one_wrote_goes_out_before_what_the_new_one_writes() {
    let log = Log::default();
    let new = || Script::new().on("made", |transport, _| transport.write(b" new"));
    let old = upgrading(&log, new);
    let mut rig = Rig::connected(old);
    rig.room = 0;
    rig.handle().write(b"old");
    rig.receive(b"up:");
    rig.make_room(10);
    assert_eq!(rig.sent, b"old new");
}

#[test]
fn and_back_again() {
    let log = Log::default();
    let inner = Rc::clone(&log);
    let new = move || {
        let mut first = Some(Script::named("back ", &inner));
        Script::named("new ", &inner).on("data", move |transport, data| {
            if let Some(first) = first.take() {
                transport.exchange_protocol(Box::new(first), &data[1..]);
            }
        })
    };
    let mut rig = rig(&log, new);
    rig.receive(b"up:xyz");
    assert_eq!(
        rig.told(),
        [
            "old made",
            "old data up:xyz",
            "new made",
            "new data xyz",
            "back made",
            "back data yz",
        ]
    );
}
