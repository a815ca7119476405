//! What runs on the loop without a connection: at its start, as tasks, in the order of a turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Deferred, Task};
use ropewalk_reactor::Handle;

use crate::body::topic;
use crate::case::{Case, MOMENT, ms};
use crate::log::Log;
use crate::script::{Script, boom};

topic! { calls:
    what_is_called_when_running_is_called_in_order,
    what_is_called_when_running_comes_before_timers,
    call_when_running_does_not_call_at_once,
    in_the_run_call_when_running_comes_in_the_next_turn,
    a_chain_of_call_when_running_leaves_turns_for_others,
    a_start_up_call_that_panics_leaves_the_others,
    a_start_up_call_may_listen_and_connect,
    a_task_is_run,
    tasks_run_in_the_order_of_their_making,
    a_task_is_not_polled_within_spawn,
    a_task_that_was_spawned_before_the_run_waits_for_it,
    a_task_waits_for_a_deferred,
    a_task_may_spawn_another,
    a_task_that_yields_leaves_turns_for_others,
    a_cancelled_task_is_dropped_and_polled_no_more,
    a_task_that_panics_leaves_the_others,
    a_dropped_handle_leaves_its_task,
    a_task_that_wakes_itself_goes_on,
    a_turn_is_timers_then_tasks,
    what_a_task_writes_is_sent_in_its_turn,
    a_reactor_with_nothing_to_do_does_not_turn,
    a_reactor_that_waits_for_bytes_does_not_turn,
}

fn what_is_called_when_running_is_called_in_order(case: &Case<'_>) {
    let log = case.log();
    for word in ["one", "two", "three"] {
        case.reactor().call_when_running(log.noting(word));
    }
    log.assert(&[]);
    case.until_noted(&log, "three");
    log.assert(&["one", "two", "three"]);
}

fn what_is_called_when_running_comes_before_timers(case: &Case<'_>) {
    let log = case.log();
    case.reactor()
        .call_later(Duration::ZERO, log.noting("timer"));
    case.reactor().call_when_running(log.noting("start"));
    case.until_noted(&log, "timer");
    log.assert(&["start", "timer"]);
}

fn call_when_running_does_not_call_at_once(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_later(ms(1), move || {
        reactor.call_when_running(noted.noting("called"));
        noted.note("asked");
    });
    case.until_noted(&log, "called");
    log.assert(&["asked", "called"]);
}

fn in_the_run_call_when_running_comes_in_the_next_turn(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_later(ms(1), move || {
        // It does not wait for anything else to happen.
        reactor.call_later(Duration::from_secs(3600), noted.noting("an hour later"));
        reactor.call_when_running(noted.noting("called"));
    });
    case.until_noted(&log, "called");
    log.assert(&["called"]);
}

fn a_chain_of_call_when_running_leaves_turns_for_others(case: &Case<'_>) {
    fn endless(reactor: &Handle) {
        let again = reactor.clone();
        reactor.call_when_running(move || endless(&again));
    }
    let client = case.log();
    endless(&case.reactor());
    case.join(Script::echo(), Script::noting(&client).saying("x"));
    case.until_noted(&client, "data x");
}

fn a_start_up_call_that_panics_leaves_the_others(case: &Case<'_>) {
    let log = case.log();
    case.reactor().call_when_running(|| boom());
    case.reactor().call_when_running(log.noting("next"));
    case.until_noted(&log, "next");
}

fn a_start_up_call_may_listen_and_connect(case: &Case<'_>) {
    use crate::case::{connect, loopback, socket_addr, to};
    use crate::script::once;
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_when_running(move || {
        let factory = once(Script::noting(&noted));
        let port = reactor
            .listen(&loopback().into(), factory)
            .expect("listens");
        let client = once(Script::silent().saying("hello"));
        drop(connect(&reactor, &to(socket_addr(&port)), client, &noted));
    });
    case.until_noted(&log, "data hello");
}

fn spawn(case: &Case<'_>, log: &Log, word: &'static str) -> Task {
    let log = log.clone();
    case.reactor().spawn(async move { log.note(word) })
}

fn a_task_is_run(case: &Case<'_>) {
    let log = case.log();
    let task = spawn(case, &log, "ran");
    assert!(!task.is_finished());
    case.until_noted(&log, "ran");
    assert!(task.is_finished());
}

fn tasks_run_in_the_order_of_their_making(case: &Case<'_>) {
    let log = case.log();
    for word in ["a", "b", "c", "d"] {
        spawn(case, &log, word);
    }
    case.until_noted(&log, "d");
    log.assert(&["a", "b", "c", "d"]);
}

fn a_task_is_not_polled_within_spawn(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().call_later(ms(1), move || {
        let polled = noted.clone();
        reactor.spawn(async move { polled.note("polled") });
        noted.note("spawned");
    });
    case.until_noted(&log, "polled");
    log.assert(&["spawned", "polled"]);
}

fn a_task_that_was_spawned_before_the_run_waits_for_it(case: &Case<'_>) {
    let log = case.log();
    spawn(case, &log, "ran");
    log.assert(&[]);
    case.until_noted(&log, "ran");
}

fn a_task_waits_for_a_deferred(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let (resolver, deferred) = Deferred::pair();
    case.reactor().spawn(async move {
        noted.note("waits");
        let value: Result<u32, _> = deferred.await;
        noted.note(format!("has {:?}", value.ok()));
    });
    case.reactor()
        .call_later(MOMENT, move || resolver.callback(7));
    case.until_noted(&log, "has Some(7)");
    log.assert(&["waits", "has Some(7)"]);
}

fn a_task_may_spawn_another(case: &Case<'_>) {
    let log = case.log();
    let (reactor, noted) = (case.reactor(), log.clone());
    case.reactor().spawn(async move {
        let inner = noted.clone();
        reactor.spawn(async move { inner.note("inner") });
        noted.note("outer");
    });
    case.until_noted(&log, "inner");
    log.assert(&["outer", "inner"]);
}

/// Wakes itself once, and lets others have their turn.
async fn yielding() {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

fn a_task_that_yields_leaves_turns_for_others(case: &Case<'_>) {
    let client = case.log();
    case.reactor().spawn(async {
        loop {
            yielding().await;
        }
    });
    case.join(Script::echo(), Script::noting(&client).saying("x"));
    case.until_noted(&client, "data x");
}

fn a_cancelled_task_is_dropped_and_polled_no_more(case: &Case<'_>) {
    let log = case.log();
    let held = Rc::new(());
    let (holds, noted) = (Rc::clone(&held), log.clone());
    let task = case.reactor().spawn(async move {
        let _holds = holds;
        loop {
            noted.note("polled");
            yielding().await;
        }
    });
    let (polled, later, reactor) = (log.clone(), log.clone(), case.reactor());
    case.when(
        move || polled.len() >= 3,
        move || {
            assert!(task.cancel());
            later.note("cancelled");
            reactor.call_later(ms(5), later.noting("later"));
        },
    );
    case.until_noted(&log, "later");
    assert_eq!(Rc::strong_count(&held), 1);
    let events = log.events();
    assert_eq!(events[events.len() - 2..], ["cancelled", "later"]);
}

fn a_task_that_panics_leaves_the_others(case: &Case<'_>) {
    let log = case.log();
    spawn(case, &log, "before");
    let panics = case.reactor().spawn(async { boom() });
    spawn(case, &log, "after");
    case.until_noted(&log, "after");
    log.assert(&["before", "after"]);
    assert!(panics.is_finished());
}

fn a_dropped_handle_leaves_its_task(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    drop(case.reactor().spawn(async move {
        yielding().await;
        yielding().await;
        noted.note("to its end");
    }));
    case.until_noted(&log, "to its end");
}

fn a_task_that_wakes_itself_goes_on(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.reactor().spawn(async move {
        for _ in 0..1000 {
            yielding().await;
        }
        noted.note("a thousand times");
    });
    case.until_noted(&log, "a thousand times");
}

fn a_turn_is_timers_then_tasks(case: &Case<'_>) {
    let log = case.log();
    spawn(case, &log, "task");
    case.reactor()
        .call_later(Duration::ZERO, log.noting("timer"));
    case.until_noted(&log, "task");
    log.assert(&["timer", "task"]);
}

fn what_a_task_writes_is_sent_in_its_turn(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server),
        Script::silent().made(move |transport| {
            let handle = transport.connection();
            drop(reactor.spawn(async move {
                yielding().await;
                handle.write(b"by a task");
            }));
        }),
    );
    case.until_noted(&server, "data by a task");
}

/// How often the loop turns between two moments in which nothing happens.
fn turns_of_nothing(case: &Case<'_>) -> usize {
    let log = case.log();
    let polls = Rc::new(RefCell::new(Vec::new()));
    let count: Rc<Cell<usize>> = Rc::default();
    // Each turn looks at this condition once.
    let counted = Rc::clone(&count);
    case.when(
        move || {
            counted.set(counted.get() + 1);
            false
        },
        || (),
    );
    for delay in [30, 60] {
        let (polls, count) = (Rc::clone(&polls), Rc::clone(&count));
        case.reactor()
            .call_later(ms(delay), move || polls.borrow_mut().push(count.get()));
    }
    case.reactor().call_later(ms(61), log.noting("later"));
    case.until_noted(&log, "later");
    let polls = polls.borrow();
    polls[1] - polls[0]
}

fn a_reactor_with_nothing_to_do_does_not_turn(case: &Case<'_>) {
    let turns = turns_of_nothing(case);
    // One for the timer; one more, where a clock is coarser than the timers.
    assert!(turns <= 3, "{turns} turns");
}

fn a_reactor_that_waits_for_bytes_does_not_turn(case: &Case<'_>) {
    case.join(
        Script::silent().saying("x"),
        Script::silent().made(|transport| {
            transport.pause_producing();
            transport.write(&vec![0; 12_000_000]);
        }),
    );
    // A network may take a little more now and then; a loop that does not wait turns by thousands.
    let turns = turns_of_nothing(case);
    assert!(turns <= 500, "{turns} turns");
}
