//! Reading is paused and resumed: nothing is told meanwhile, and nothing is lost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::{Connection, Transport};

use crate::body::topic;
use crate::case::{Case, MOMENT, Over};
use crate::script::{Gathered, Script, each, once, pattern};

topic! { reading:
    nothing_is_told_while_reading_is_paused,
    nothing_is_told_while_reading_is_paused_over_unix [Unix],
    after_a_pause_all_comes_in_order,
    a_pause_in_the_middle_of_what_comes_holds_at_once,
    a_pause_and_a_resumption_in_one_callback_lose_nothing,
    pausing_twice_needs_one_resumption,
    resuming_what_is_not_paused_changes_nothing,
    a_paused_reader_holds_its_writer_back,
    a_paused_reader_writes,
    a_paused_reader_does_not_learn_of_the_end,
    a_reader_that_resumes_again_and_again_gets_everything,
    a_resumption_while_closing_brings_no_data,
    a_resumption_after_the_end_does_nothing,
    a_handle_pauses_from_outside,
    one_paused_reader_leaves_the_others,
    a_pause_lasts_over_many_turns,
    what_is_paused_before_the_first_byte_waits_for_it,
    a_paused_reader_can_close,
}

/// Pauses when it is up, and puts its handle where it is found.
fn paused(script: Script, handles: &Rc<RefCell<Option<Connection>>>) -> Script {
    let handles = Rc::clone(handles);
    script.made(move |transport| {
        transport.pause_producing();
        handles.replace(Some(transport.connection()));
    })
}

fn nothing_is_told(case: &Case<'_>, over: Over) {
    let server = case.log();
    let reactor = case.reactor();
    let later = server.clone();
    case.join_over(
        over,
        paused(Script::noting(&server), &Rc::default()),
        Script::silent().made(move |transport| {
            transport.write(b"unheard");
            drop(reactor.call_later(MOMENT * 2, later.noting("later")));
        }),
    );
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn nothing_is_told_while_reading_is_paused(case: &Case<'_>) {
    nothing_is_told(case, Over::Tcp);
}

fn nothing_is_told_while_reading_is_paused_over_unix(case: &Case<'_>) {
    nothing_is_told(case, Over::Unix);
}

fn after_a_pause_all_comes_in_order(case: &Case<'_>) {
    let got = Gathered::default();
    let handle = Rc::default();
    case.join(
        paused(Script::silent().gathering(&got), &handle),
        Script::silent().made(|transport| transport.write(&pattern(0, 3_000_000))),
    );
    drop(case.reactor().call_later(MOMENT * 2, move || {
        let handle: Option<Connection> = handle.take();
        handle.expect("it is up").resume_producing();
    }));
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 3_000_000);
    assert!(*got.borrow() == pattern(0, 3_000_000));
}

fn a_pause_in_the_middle_of_what_comes_holds_at_once(case: &Case<'_>) {
    let calls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&calls);
    let log = case.log();
    let (reactor, later) = (case.reactor(), log.clone());
    case.join(
        Script::silent().data(move |transport, _| {
            counted.set(counted.get() + 1);
            transport.pause_producing();
            drop(reactor.call_later(MOMENT, later.noting("later")));
        }),
        Script::silent().made(|transport| transport.write(&vec![0; 2_000_000])),
    );
    case.until_noted(&log, "later");
    assert_eq!(calls.get(), 1);
}

fn a_pause_and_a_resumption_in_one_callback_lose_nothing(case: &Case<'_>) {
    let got = Gathered::default();
    let taken = Rc::clone(&got);
    case.join(
        Script::silent().data(move |transport, data| {
            transport.pause_producing();
            taken.borrow_mut().extend_from_slice(data);
            transport.resume_producing();
        }),
        Script::silent().made(|transport| transport.write(&pattern(0, 2_000_000))),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 2_000_000);
    assert!(*got.borrow() == pattern(0, 2_000_000));
}

fn pausing_twice_needs_one_resumption(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.pause_producing();
            transport.pause_producing();
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.pause_producing();
                handle.resume_producing();
            }));
        }),
        Script::silent().saying("heard"),
    );
    case.until_noted(&server, "data heard");
}

fn resuming_what_is_not_paused_changes_nothing(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(Transport::resume_producing)
            .data(|transport, _| transport.resume_producing()),
        Script::silent().made(|transport| {
            transport.write(b"once");
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "data once", "read closed", "lost: done"]);
}

fn a_paused_reader_holds_its_writer_back(case: &Case<'_>) {
    let client = case.log();
    let (reactor, later) = (case.reactor(), client.clone());
    case.join(
        paused(Script::silent(), &Rc::default()),
        Script::noting(&client).made(move |transport| {
            transport.write(&vec![0; 12_000_000]);
            drop(reactor.call_later(MOMENT * 3, later.noting("later")));
        }),
    );
    case.until_noted(&client, "later");
    client.assert(&["made", "paused", "later"]);
}

fn a_paused_reader_writes(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().made(|transport| {
            transport.pause_producing();
            transport.write(b"I talk");
        }),
        Script::noting(&client).saying("and do not listen"),
    );
    case.until_noted(&client, "data I talk");
}

fn a_paused_reader_does_not_learn_of_the_end(case: &Case<'_>) {
    let server = case.log();
    let (reactor, later) = (case.reactor(), server.clone());
    case.join(
        paused(Script::noting(&server), &Rc::default()),
        Script::silent().made(move |transport| {
            transport.lose_write_connection();
            drop(reactor.call_later(MOMENT * 2, later.noting("later")));
        }),
    );
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn a_reader_that_resumes_again_and_again_gets_everything(case: &Case<'_>) {
    let got = Gathered::default();
    let (taken, reactor) = (Rc::clone(&got), case.reactor());
    case.join(
        Script::silent().data(move |transport, data| {
            taken.borrow_mut().extend_from_slice(data);
            transport.pause_producing();
            let handle = transport.connection();
            reactor.call_when_running(move || {
                handle.resume_producing();
            });
        }),
        Script::silent().made(|transport| transport.write(&pattern(0, 2_000_000))),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 2_000_000);
    assert!(*got.borrow() == pattern(0, 2_000_000));
}

fn a_resumption_while_closing_brings_no_data(case: &Case<'_>) {
    let server = case.log();
    let (reactor, later) = (case.reactor(), server.clone());
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.pause_producing();
            transport.write(&vec![0; 12_000_000]);
            transport.lose_connection();
            transport.resume_producing();
            drop(reactor.call_later(MOMENT * 2, later.noting("later")));
        }),
        Script::silent().made(|transport| {
            transport.write(b"unheard");
            transport.pause_producing();
        }),
    );
    case.until_noted(&server, "later");
    assert_eq!(server.count("data"), 0, "{:?}", server.events());
}

fn a_resumption_after_the_end_does_nothing(case: &Case<'_>) {
    let server = case.log();
    let noted = server.clone();
    let handle = Rc::default();
    let keeps = Rc::clone(&handle);
    let reactor = case.reactor();
    case.join(
        paused(Script::noting(&server), &handle).lost(move |_| {
            drop(reactor.call_later(MOMENT, move || {
                let handle: Option<Connection> = keeps.take();
                let resumed = handle.expect("it was up").resume_producing();
                noted.note(format!("resumed: {resumed}"));
            }));
        }),
        Script::silent().saying("x"),
    );
    let ends = Rc::clone(&handle);
    drop(case.reactor().call_later(MOMENT, move || {
        let handle = ends.borrow().clone().expect("it is up");
        handle.abort_connection();
    }));
    case.until_noted(&server, "resumed: false");
    server.assert(&["made", "lost: aborted", "resumed: false"]);
}

fn a_handle_pauses_from_outside(case: &Case<'_>) {
    let server = case.log();
    let handle: Rc<RefCell<Option<Connection>>> = Rc::default();
    let keeps = Rc::clone(&handle);
    let (reactor, later) = (case.reactor(), server.clone());
    case.join(
        Script::noting(&server).made(move |transport| {
            keeps.replace(Some(transport.connection()));
        }),
        Script::silent().made(move |transport| {
            let (writes, paused) = (transport.connection(), Rc::clone(&handle));
            let later = later.clone();
            let next = reactor.clone();
            drop(reactor.call_later(MOMENT, move || {
                let server = paused.borrow().clone().expect("it is up");
                assert!(server.pause_producing());
                writes.write(b"unheard");
                drop(next.call_later(MOMENT, later.noting("later")));
            }));
        }),
    );
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn one_paused_reader_leaves_the_others(case: &Case<'_>) {
    let client = case.log();
    let first = Cell::new(true);
    let (_port, endpoint) = case.serve(each(move || match first.replace(false) {
        true => Script::silent().made(Transport::pause_producing),
        false => Script::echo(),
    }));
    let floods = Script::silent().made(|transport| transport.write(&vec![0; 8_000_000]));
    drop(case.connect(&endpoint, once(floods), &case.log()));
    let (reactor, log) = (case.reactor(), client.clone());
    drop(case.reactor().call_later(MOMENT, move || {
        let asks = Script::noting(&log).saying("x");
        drop(crate::case::connect(&reactor, &endpoint, once(asks), &log));
    }));
    case.until_noted(&client, "data x");
}

fn a_pause_lasts_over_many_turns(case: &Case<'_>) {
    let server = case.log();
    let (reactor, later) = (case.reactor(), server.clone());
    fn turns(reactor: &ropewalk_reactor::Handle, left: usize, then: impl FnOnce() + 'static) {
        let again = reactor.clone();
        reactor.call_when_running(move || match left {
            0 => then(),
            _ => turns(&again, left - 1, then),
        });
    }
    case.join(
        paused(Script::noting(&server), &Rc::default()),
        Script::silent().made(move |transport| {
            transport.write(b"unheard");
            let (reactor, later) = (reactor.clone(), later.clone());
            let after = reactor.clone();
            drop(reactor.call_later(MOMENT, move || {
                turns(&after, 200, later.noting("later"));
            }));
        }),
    );
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn what_is_paused_before_the_first_byte_waits_for_it(case: &Case<'_>) {
    let server = case.log();
    let handle = Rc::default();
    let resumes = Rc::clone(&handle);
    let reactor = case.reactor();
    case.join(
        paused(Script::noting(&server), &handle),
        Script::silent().made(move |transport| {
            let (writes, resumes) = (transport.connection(), Rc::clone(&resumes));
            drop(reactor.call_later(MOMENT, move || {
                let server: Option<Connection> = resumes.take();
                assert!(server.expect("it is up").resume_producing());
                writes.write(b"first");
            }));
        }),
    );
    case.until_noted(&server, "data first");
    server.assert(&["made", "data first"]);
}

fn a_paused_reader_can_close(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.pause_producing();
            transport.write(b"bye");
            transport.lose_connection();
        }),
        Script::silent().saying("unheard"),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "lost: done"]);
}
