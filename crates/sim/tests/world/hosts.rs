//! What befalls hosts.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{ReactorTime, defer_later};
use ropewalk_reactor::{Handle, Phase};
use ropewalk_sim::{Fault, World};
use ropewalk_sim::{Schedule, explore};

use crate::rig::{Log, ask, echo_at, pattern};

const SECOND: Duration = Duration::from_secs(1);

/// When things happened, in milliseconds of the world.
type Times = Rc<RefCell<Vec<u128>>>;

#[test]
fn a_pause_holds_the_program_up_and_its_kernel_answers_meanwhile() {
    let world = World::new(1);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    world.run_for(SECOND);
    server.pause(30 * SECOND);
    let log = Log::default();
    let noted = Rc::clone(&log);
    client.start(move |reactor| ask(reactor, "tcp:server:7", pattern(10), &noted));
    world.run_for(29 * SECOND);
    assert_eq!(*log.borrow(), ["made"], "the kernel has accepted");
    world.run_for(2 * SECOND);
    assert_eq!(log.borrow()[1], "answered");
}

#[test]
fn a_frozen_host_knows_of_nothing_until_it_goes_on() {
    let world = World::new(1);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    world.run_for(SECOND);
    let freeze = Fault::Freeze("server".into());
    world.begin(&freeze);
    let log = Log::default();
    let noted = Rc::clone(&log);
    client.start(move |reactor| ask(reactor, "tcp:server:7:timeout=1h", pattern(10), &noted));
    world.run_for(29 * SECOND);
    assert!(log.borrow().is_empty(), "{:?}", log.borrow());
    world.end(&freeze);
    world.run_for(5 * SECOND);
    assert_eq!(log.borrow()[..2], ["made", "answered"]);
}

#[test]
fn a_clock_that_is_fast_makes_timers_early() {
    let world = World::new(1);
    let host = world.host("host");
    let times = Times::default();
    let (noted, now) = (Rc::clone(&times), world.clone());
    host.start(move |reactor| {
        for seconds in [10, 20] {
            let (noted, now) = (Rc::clone(&noted), now.clone());
            let note = move || noted.borrow_mut().push(now.now().as_millis());
            drop(reactor.call_later(seconds * SECOND, note));
        }
    });
    world.run_for(5 * SECOND);
    host.set_drift(1_000_000);
    world.run_for(3 * SECOND);
    host.set_drift(-500_000);
    world.run_for(100 * SECOND);
    // After 5 s it has 5 s to go, and takes half of that; 1 s more is left of its 0.5 s twice as
    // fast, so it stands at 11 s when it slows down, and has 9 s to go at half its pace.
    assert_eq!(*times.borrow(), [7_500, 26_000]);
}

#[test]
fn the_time_of_day_jumps_and_timers_do_not_mind() {
    let world = World::new(1);
    let host = world.host("host");
    let times = Times::default();
    let (noted, now) = (Rc::clone(&times), world.clone());
    host.start(move |reactor| {
        let (noted, now) = (Rc::clone(&noted), now.clone());
        drop(reactor.call_later(10 * SECOND, move || {
            noted.borrow_mut().push(now.now().as_millis());
        }));
    });
    world.run_for(SECOND);
    let before = host.handle().unwrap().wall_clock();
    host.jump_clock_back(3600 * SECOND);
    let after = host.handle().unwrap().wall_clock();
    assert_eq!(before.duration_since(after).unwrap(), 3600 * SECOND);
    world.run_for(20 * SECOND);
    assert_eq!(*times.borrow(), [10_000]);
}

#[test]
fn a_program_ends_by_its_own_shutdown_and_is_started_again() {
    let world = World::new(1);
    let host = world.host("host");
    let starts = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&starts);
    host.start(move |reactor| {
        *counted.borrow_mut() += 1;
        echo_at(reactor, "tcp:7");
    });
    world.run_for(SECOND);
    assert_eq!((host.descriptors(), *starts.borrow()), (1, 1));
    host.stop();
    world.run_for(SECOND);
    assert!(!host.is_running());
    assert_eq!(host.descriptors(), 0);
    host.restart();
    host.restart();
    world.run_for(SECOND);
    assert!(host.is_running());
    assert_eq!(*starts.borrow(), 2);
}

#[test]
fn a_program_may_end_its_own_host() {
    let world = World::new(1);
    let (host, other) = (world.host("host"), world.host("other"));
    for end in ["kill", "crash"] {
        let own = host.clone();
        let end = move || match end {
            "kill" => own.kill(),
            _ => own.crash(),
        };
        let end = Rc::new(end);
        host.start(move |reactor| {
            let end = Rc::clone(&end);
            echo_at(reactor, "tcp:7");
            drop(reactor.call_later(SECOND, move || end()));
        });
        other.start(|_| ());
        world.run_for(10 * SECOND);
        assert!(!host.is_running());
        assert_eq!(host.descriptors(), 0);
        other.stop();
        world.run_for(SECOND);
    }
}

#[test]
fn a_reactor_that_runs_by_itself_moves_the_whole_world() {
    let world = World::new(1);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| echo_at(reactor, "tcp:7"));
    let reactor = client.reactor();
    let log = Log::default();
    let (noted, begin) = (Rc::clone(&log), reactor.handle());
    reactor.call_when_running(move || ask(&begin, "tcp:server:7", pattern(1 << 18), &noted));
    let stop = reactor.handle();
    drop(reactor.call_later(3600 * SECOND, move || stop.stop()));
    reactor.run().unwrap();
    assert_eq!(log.borrow()[..2], ["made", "answered"]);
    assert!(world.now() >= 3600 * SECOND);
}

#[test]
fn what_the_world_asks_of_a_host_that_sleeps_is_done_in_time() {
    let world = World::new(1);
    let host = world.host("host");
    host.start(|_| ());
    let times = Times::default();
    let (noted, now) = (Rc::clone(&times), world.clone());
    world.call_later(SECOND, move || {
        let note = move || noted.borrow_mut().push(now.now().as_millis());
        drop(host.handle().unwrap().call_later(SECOND, note));
    });
    world.run_for(10 * SECOND);
    assert_eq!(*times.borrow(), [2_000]);
}

#[test]
fn a_timer_for_the_end_of_time_is_no_trouble_to_a_clock_that_drifts() {
    let world = World::new(1);
    let host = world.host("host");
    host.start(|reactor| drop(reactor.call_later(Duration::MAX, || ())));
    world.run_for(SECOND);
    for drift in [-500_000, 0, 9_000_000, 1] {
        host.set_drift(drift);
        world.run_for(SECOND);
    }
    assert!(host.is_running());
}

#[test]
fn a_world_that_its_own_programs_know_ends_with_its_exploration() {
    let kept = Rc::new(());
    let scenario = |world: &World, _: &Schedule| {
        let (known, kept) = (world.clone(), Rc::clone(&kept));
        let main = move |_: &Handle| known.say(&format!("{kept:?}"));
        world.host("host").start(main);
        world.run_for(SECOND);
        Ok(())
    };
    explore(1, |_| Schedule::default(), scenario).unwrap();
    assert_eq!(Rc::strong_count(&kept), 1);
}

#[test]
fn a_host_that_has_slept_for_an_hour_has_all_its_time_to_shut_down() {
    let world = World::new(1);
    let host = world.host("host");
    let ended = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&ended);
    host.start(move |reactor| {
        let (again, noted) = (reactor.clone(), Rc::clone(&noted));
        let ends = move || {
            defer_later::<(), _>(&again, SECOND, move || noted.borrow_mut().push("in time"))
        };
        reactor.add_system_event_trigger(Phase::Before, ends);
    });
    world.run_for(3600 * SECOND);
    host.stop();
    world.run_for(10 * SECOND);
    assert_eq!(*ended.borrow(), ["in time"]);
    assert!(!host.is_running());
}

#[test]
fn a_reactor_that_waits_while_its_clock_changes_wakes_by_the_new_one() {
    let world = World::new(1);
    let host = world.host("host");
    let reactor = host.reactor();
    let stop = reactor.handle();
    drop(reactor.call_later(10 * SECOND, move || stop.stop()));
    world.call_later(2 * SECOND, move || host.set_drift(1_000_000));
    reactor.run().unwrap();
    assert_eq!(world.now().as_secs(), 6);
}

#[test]
fn a_world_that_ran_until_the_end_of_time_goes_on() {
    let world = World::new(1);
    let (server, client) = (world.host("server"), world.host("client"));
    server.start(|reactor| {
        echo_at(reactor, "tcp:7");
        drop(reactor.call_later(Duration::MAX, || ()));
    });
    assert!(!world.run_until(Duration::MAX, || false));
    let reactor = client.reactor();
    let log = Log::default();
    let (noted, begin) = (Rc::clone(&log), reactor.handle());
    reactor.call_when_running(move || ask(&begin, "tcp:server:7", pattern(10), &noted));
    let stop = reactor.handle();
    drop(reactor.call_later(100 * SECOND, move || stop.stop()));
    reactor.run().unwrap();
    assert_eq!(log.borrow()[..2], ["made", "answered"]);
}
