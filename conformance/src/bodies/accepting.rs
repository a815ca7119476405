//! Connections that come: many at once, refused, and while something else goes on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::endpoint::ClientEndpoint;
use ropewalk_core::{Address, Factory, Port, Protocol, Transport};
use ropewalk_reactor::Handle;

use crate::body::topic;
use crate::case::{Case, MOMENT, connect, ms};
use crate::log::Log;
use crate::script::{Refusing, Script, boom, each, once};

topic! { accepting:
    three_hundred_that_wait_before_the_first_turn_are_all_accepted,
    three_hundred_that_come_in_the_run_are_all_accepted,
    three_hundred_are_all_accepted_over_unix [Unix],
    each_of_a_storm_is_answered,
    a_storm_on_one_port_leaves_another,
    a_storm_leaves_turns_for_timers,
    a_storm_that_closes_at_once_leaves_nothing,
    a_storm_may_be_stopped_in_its_midst,
    who_is_refused_sees_an_end,
    who_is_refused_does_not_hold_up_those_behind,
    a_factory_that_panics_refuses_and_the_port_goes_on,
    a_protocol_that_was_refused_is_never_made,
    connections_that_come_and_go_leave_none_behind,
    a_thousand_in_a_row_are_all_served,
}

const STORM: usize = 300;

fn counting(count: &Rc<Cell<usize>>) -> Rc<dyn Factory> {
    let count = Rc::clone(count);
    each(move || {
        let count = Rc::clone(&count);
        Script::silent().made(move |_| count.set(count.get() + 1))
    })
}

fn three_hundred_that_wait_before_the_first_turn_are_all_accepted(case: &Case<'_>) {
    let count = Rc::default();
    let (_port, endpoint) = case.serve(counting(&count));
    for _ in 0..STORM {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let seen = Rc::clone(&count);
    case.until("all are accepted", move || seen.get() == STORM);
}

fn three_hundred_that_come_in_the_run_are_all_accepted(case: &Case<'_>) {
    let count = Rc::default();
    let (_port, endpoint) = case.serve(counting(&count));
    let (reactor, log) = (case.reactor(), case.log());
    drop(case.reactor().call_later(MOMENT, move || {
        for _ in 0..STORM {
            drop(connect(&reactor, &endpoint, once(Script::silent()), &log));
        }
    }));
    let seen = Rc::clone(&count);
    case.until("all are accepted", move || seen.get() == STORM);
}

fn three_hundred_are_all_accepted_over_unix(case: &Case<'_>) {
    let count = Rc::default();
    let (_port, endpoint) = case.serve_unix(counting(&count));
    for _ in 0..STORM {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let seen = Rc::clone(&count);
    case.until("all are accepted", move || seen.get() == STORM);
}

fn each_of_a_storm_is_answered(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::echo));
    for number in 0..STORM {
        let noted = log.clone();
        let text = number.to_string();
        let own = text.clone();
        let mut got = String::new();
        let client = Script::silent()
            .made(move |transport| transport.write(text.as_bytes()))
            .data(move |transport, data| {
                got.push_str(&String::from_utf8_lossy(data));
                if got == own {
                    noted.note("answered");
                    transport.lose_connection();
                }
            });
        drop(case.connect(&endpoint, once(client), &case.log()));
    }
    let seen = log;
    case.until("each has its own answer", move || seen.len() == STORM);
}

fn a_storm_on_one_port_leaves_another(case: &Case<'_>) {
    let client = case.log();
    let (_loud, storm) = case.serve(each(Script::silent));
    let (_quiet, endpoint) = case.serve(each(Script::echo));
    for _ in 0..STORM {
        drop(case.connect(&storm, once(Script::silent()), &case.log()));
    }
    let asks = once(Script::noting(&client).saying("x"));
    drop(case.connect(&endpoint, asks, &case.log()));
    case.until_noted(&client, "data x");
}

fn a_storm_leaves_turns_for_timers(case: &Case<'_>) {
    let count = Rc::default();
    let (_port, endpoint) = case.serve(counting(&count));
    for _ in 0..STORM {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    // It fires in the first turn that has time for it, which is not the last of the storm.
    let at_timer = Rc::new(Cell::new(usize::MAX));
    let (before, seen) = (Rc::clone(&count), Rc::clone(&at_timer));
    drop(
        case.reactor()
            .call_later(ms(0), move || seen.set(before.get())),
    );
    let all = Rc::clone(&count);
    case.until("all are accepted", move || all.get() == STORM);
    assert!(at_timer.get() < STORM, "{}", at_timer.get());
}

fn a_storm_that_closes_at_once_leaves_nothing(case: &Case<'_>) {
    let ended = Rc::new(Cell::new(0));
    let counted = Rc::clone(&ended);
    let (_port, endpoint) = case.serve(each(move || {
        let counted = Rc::clone(&counted);
        Script::silent().lost(move |_| counted.set(counted.get() + 1))
    }));
    for _ in 0..STORM {
        let closes = Script::silent().made(Transport::lose_connection);
        drop(case.connect(&endpoint, once(closes), &case.log()));
    }
    let reactor = case.reactor();
    case.until("all have gone", move || {
        ended.get() == STORM && reactor.connections() == 0
    });
}

fn a_storm_may_be_stopped_in_its_midst(case: &Case<'_>) {
    let count = Rc::new(Cell::new(0));
    let log = case.log();
    let stop = Rc::new(RefCell::new(None::<Port>));
    let (counted, stops) = (Rc::clone(&count), Rc::clone(&stop));
    let (port, endpoint) = case.serve(each(move || {
        counted.set(counted.get() + 1);
        if counted.get() == 10 {
            stops.borrow().iter().for_each(Port::stop_listening);
        }
        Script::silent()
    }));
    stop.replace(Some(port));
    for _ in 0..STORM {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    drop(case.reactor().call_later(MOMENT * 3, log.noting("later")));
    let (later, seen) = (log, Rc::clone(&count));
    case.until("a while has passed", move || {
        later.has("later") && seen.get() >= 10
    });
    assert_eq!(count.get(), 10);
}

fn who_is_refused_sees_an_end(case: &Case<'_>) {
    let client = case.log();
    let (_port, endpoint) = case.serve(Rc::new(Refusing));
    drop(case.connect(&endpoint, once(Script::noting(&client)), &case.log()));
    case.until_over(&[&client]);
    client.assert(&["made", "read closed", "lost: done"]);
}

/// Refuses every second one.
struct Picky(Rc<Cell<usize>>);

impl Factory for Picky {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        self.0.set(self.0.get() + 1);
        self.0
            .get()
            .is_multiple_of(2)
            .then(|| Box::new(Script::echo()) as Box<dyn Protocol>)
    }
}

fn who_is_refused_does_not_hold_up_those_behind(case: &Case<'_>) {
    let (answered, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (_port, endpoint) = case.serve(Rc::new(Picky(Rc::default())));
    for _ in 0..100 {
        let (heard, gone) = (Rc::clone(&answered), Rc::clone(&ended));
        let asks = Script::silent()
            .made(|transport| transport.write(b"x"))
            .data(move |_, _| heard.set(heard.get() + 1))
            .lost(move |_| gone.set(gone.get() + 1));
        drop(case.connect(&endpoint, once(asks), &case.log()));
    }
    case.until("half have an answer, and half an end", move || {
        answered.get() == 50 && ended.get() == 50
    });
}

fn a_factory_that_panics_refuses_and_the_port_goes_on(case: &Case<'_>) {
    let (first, second) = (case.log(), case.log());
    let panics = Cell::new(true);
    let (_port, endpoint) = case.serve(each(move || {
        if panics.replace(false) {
            boom();
        }
        Script::echo()
    }));
    let (reactor, log, again) = (case.reactor(), second.clone(), endpoint.clone());
    let refused = Script::noting(&first).lost(move |_| {
        let asks = once(Script::noting(&log).saying("x"));
        drop(connect(&reactor, &again, asks, &log));
    });
    drop(case.connect(&endpoint, once(refused), &case.log()));
    case.until_noted(&second, "data x");
    first.assert(&["made", "read closed", "lost: done"]);
}

fn a_protocol_that_was_refused_is_never_made(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let built = server.clone();
    let factory = move |_: &Address| -> Script {
        built.note("built");
        boom()
    };
    let (_port, endpoint) = case.serve(Rc::new(factory));
    drop(case.connect(&endpoint, once(Script::noting(&client)), &case.log()));
    case.until_over(&[&client]);
    server.assert(&["built"]);
}

fn connections_that_come_and_go_leave_none_behind(case: &Case<'_>) {
    let log = case.log();
    let (_port, endpoint) = case.serve(each(Script::echo));
    // One after the other, so that places are used again.
    fn next(reactor: &Handle, to: &ClientEndpoint, left: usize, log: &Log) {
        if left == 0 {
            return log.note("all");
        }
        let (again, to_again, noted) = (reactor.clone(), to.clone(), log.clone());
        let client = Script::silent()
            .saying("x")
            .data(|transport, _| match transport.id().index() % 3 {
                0 => transport.abort_connection(),
                _ => transport.lose_connection(),
            })
            .lost(move |_| next(&again, &to_again, left - 1, &noted));
        drop(reactor.connect(to, once(client)));
    }
    next(&case.reactor(), &endpoint, 100, &log);
    let (seen, reactor) = (log, case.reactor());
    case.until("all have come and gone", move || {
        seen.has("all") && reactor.connections() == 0
    });
}

fn a_thousand_in_a_row_are_all_served(case: &Case<'_>) {
    let served = Rc::new(Cell::new(0));
    let (_port, endpoint) = case.serve(each(Script::echo));
    // Fifty at a time, so that no descriptor is wanting.
    fn next(reactor: &Handle, to: &ClientEndpoint, served: &Rc<Cell<usize>>) {
        let (again, endpoint, served) = (reactor.clone(), to.clone(), Rc::clone(served));
        let client = Script::silent()
            .saying("x")
            .data(|transport, _| transport.lose_connection())
            .lost(move |_| {
                served.set(served.get() + 1);
                if served.get() <= 950 {
                    next(&again, &endpoint, &served);
                }
            });
        drop(reactor.connect(to, once(client)));
    }
    for _ in 0..50 {
        next(&case.reactor(), &endpoint, &served);
    }
    case.until("all were served", move || served.get() == 1000);
}
