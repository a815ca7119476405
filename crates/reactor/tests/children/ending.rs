//! How processes end: by themselves, by signals, and with the reactor.

use std::time::Duration;

use ropewalk_core::{
    Cancelled, Failure, OutputTooLong, Signal, SignalError, Spawn, TimedOut, process_output,
    process_value,
};
use ropewalk_reactor::{Phase, Reactor, RunError};

use crate::rig::{Said, alone, children, finish, nothing_to_say, output, run};

#[test]
fn true_and_false_say_so() {
    let _alone = alone();
    for (program, code) in [("true", 0), ("false", 1)] {
        let reactor = Reactor::new().unwrap();
        let spawn = Spawn::new(program);
        let status = finish(&reactor, |reactor| process_value(reactor, &spawn)).unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn the_signal_that_has_ended_it_is_named() {
    let _alone = alone();
    for signal in ["KILL", "HUP", "USR1", "SEGV"] {
        let said = run(&Spawn::shell(format!("kill -{signal} $$")), |_, _| ());
        assert!(
            said.status()
                .starts_with(&format!("was killed by SIG{signal}")),
            "{}",
            said.status()
        );
    }
}

#[test]
fn signals_are_sent_by_name_and_by_number() {
    let _alone = alone();
    let spawn =
        Spawn::shell("trap 'echo usr1' USR1; trap 'exit 9' HUP; echo on; while :; do read x; done");
    let mut heard = 0;
    let said = run(&spawn, move |event, transport| {
        if event == "data 1" {
            heard += 1;
            match heard {
                1 => transport.signal("usr1".parse().unwrap()).unwrap(),
                _ => transport.signal(Signal::Number(1)).unwrap(),
            }
            transport.write(b"\n");
        }
        if event.starts_with("exited") {
            let late = transport.signal(Signal::Term).unwrap_err();
            assert!(matches!(late, SignalError::ProcessExitedAlready { .. }));
        }
    });
    assert_eq!(said.text(), "on\nusr1\n");
    assert_eq!(said.status(), "exited with code 9");
}

#[test]
fn a_signal_without_a_name_is_sent_by_its_number() {
    let _alone = alone();
    let said = run(
        &Spawn::shell("echo on; exec sleep 1000"),
        |event, transport| {
            if event == "data 1" {
                transport.signal("34".parse().unwrap()).unwrap();
            }
        },
    );
    assert_eq!(said.status(), "was killed by signal 34");
}

#[test]
fn a_signal_that_does_not_exist_is_an_error() {
    let _alone = alone();
    run(&Spawn::new("cat"), |event, transport| {
        if event == "made" {
            let none = transport.signal(Signal::Number(4711)).unwrap_err();
            assert!(matches!(none, SignalError::NoSuchSignal { .. }));
            transport.close_stdin();
        }
    });
}

#[test]
fn one_that_ignores_sigterm_is_killed_after_its_grace() {
    let _alone = alone();
    let spawn = Spawn::shell("trap '' TERM; echo on; while :; do sleep 0.01; done")
        .grace(Duration::from_millis(50));
    let said = run(&spawn, |event, transport| {
        if event == "data 1" {
            transport.terminate();
        }
    });
    assert_eq!(said.status(), "was killed by SIGKILL");
}

#[test]
fn a_group_is_ended_with_its_leader() {
    let _alone = alone();
    let spawn = Spawn::shell("sleep 1000 & echo on; wait").grouping(ropewalk_core::Grouping::Group);
    // The end comes only when the grandchild has closed the pipe, too.
    let said = run(&spawn, |event, transport| {
        if event == "data 1" {
            transport.terminate();
        }
    });
    assert_eq!(said.status(), "was killed by SIGTERM");
}

#[test]
fn a_time_limit_ends_the_program() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let spawn = Spawn::new("sleep").arg("1000");
    let result = finish(&reactor, |reactor| {
        process_output(reactor, &spawn).add_timeout(Duration::from_millis(20), reactor)
    });
    assert!(result.unwrap_err().check::<TimedOut>().is_some());
    assert_eq!(children(), Vec::<String>::new());
}

#[test]
fn cancelling_ends_the_program() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let spawn = Spawn::new("sleep").arg("1000");
    let result: Result<_, Failure> = finish(&reactor, |reactor| {
        let running = process_output(reactor, &spawn);
        running.cancel();
        running
    });
    assert!(result.unwrap_err().check::<Cancelled>().is_some());
    assert_eq!(children(), Vec::<String>::new());
}

#[test]
fn output_without_end_is_an_error() {
    let _alone = alone();
    let failure = output(&Spawn::new("yes").output_limit(100_000)).unwrap_err();
    assert!(failure.check::<OutputTooLong>().is_some(), "{failure}");
    assert_eq!(children(), Vec::<String>::new());
}

#[test]
fn a_shutdown_ends_processes_and_waits_for_them() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let stop = reactor.handle();
    let spawn = Spawn::shell("trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.01; done");
    let protocol = said.protocol(
        move |event, _| {
            if event == "data 1" {
                stop.stop();
            }
        },
        || (),
    );
    reactor.spawn_process(&spawn, protocol).unwrap();
    let seen = said.clone();
    reactor.add_system_event_trigger(Phase::After, move || {
        assert_eq!(seen.status(), "exited with code 0");
    });
    reactor.run().unwrap();
    assert_eq!(said.text(), "on\nbye\n");
}

#[test]
fn a_shutdown_does_not_wait_for_grandchildren() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let stop = reactor.handle();
    let protocol = said.protocol(
        move |event, _| {
            if event == "data 1" {
                stop.stop();
            }
        },
        || (),
    );
    let spawn = Spawn::shell("sleep 1000 & echo $!; wait");
    reactor.spawn_process(&spawn, protocol).unwrap();
    reactor.run().unwrap();
    assert_eq!(said.status(), "was killed by SIGTERM");
    let grandchild = rustix::process::Pid::from_raw(said.text().trim().parse().unwrap());
    rustix::process::kill_process(grandchild.unwrap(), rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_shutdown_does_not_wait_for_the_grandchildren_of_one_that_has_ended_before_it() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let stop = reactor.handle();
    let protocol = said.protocol(
        move |event, _| {
            if event.starts_with("exited") {
                stop.stop();
            }
        },
        || (),
    );
    let spawn = Spawn::shell("sleep 1000 & echo $!");
    reactor.spawn_process(&spawn, protocol).unwrap();
    let ended = reactor.run();
    let grandchild = rustix::process::Pid::from_raw(said.text().trim().parse().unwrap());
    rustix::process::kill_process(grandchild.unwrap(), rustix::process::Signal::KILL).unwrap();
    ended.unwrap();
    assert_eq!(said.status(), "exited with code 0");
}

#[test]
fn a_shutdown_does_not_wait_for_grandchildren_to_read() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let stop = reactor.handle();
    let protocol = said.protocol(
        move |event, transport| match event {
            // More than the pipe holds.
            "made" => drop(transport.write(&[0; 512 * 1024])),
            "data 1" => stop.stop(),
            _ => {}
        },
        || (),
    );
    let spawn = Spawn::shell("exec 3<&0; sleep 1000 <&3 >&- 2>&- & echo $!; wait");
    reactor.spawn_process(&spawn, protocol).unwrap();
    let ended = reactor.run();
    let grandchild = rustix::process::Pid::from_raw(said.text().trim().parse().unwrap());
    rustix::process::kill_process(grandchild.unwrap(), rustix::process::Signal::KILL).unwrap();
    ended.unwrap();
    assert_eq!(said.status(), "was killed by SIGTERM");
}

#[test]
fn what_is_detached_survives_the_reactor_and_is_reaped_when_it_ends() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let stop = reactor.handle();
    let protocol = said.protocol(
        move |event, _| {
            if event == "data 1" {
                stop.stop();
            }
        },
        || (),
    );
    let spawn = Spawn::shell("mkfifo \"$1\"; echo on; echo lived > \"$1\"")
        .arg(&done)
        .detached(true);
    reactor.spawn_process(&spawn, protocol).unwrap();
    reactor.run().unwrap();
    assert!(said.status().contains("nobody knows"), "{}", said.status());
    drop(reactor);
    // It waits until somebody reads.
    assert_eq!(std::fs::read_to_string(&done).unwrap(), "lived\n");
    until_no_children();
}

#[test]
fn a_run_that_is_cut_short_kills_what_is_left() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let stop = reactor.handle();
    let spawn = Spawn::shell("trap '' TERM HUP; echo on; while :; do sleep 0.01; done");
    let protocol = said.protocol(
        move |event, _| {
            if event == "data 1" {
                stop.stop_now();
            }
        },
        || (),
    );
    reactor.spawn_process(&spawn, protocol).unwrap();
    let cut = reactor.run().unwrap_err();
    assert!(matches!(cut, RunError::EndedAtOnce { .. }));
    let log = said.log();
    assert_eq!(
        log.iter()
            .filter(|event| event.starts_with("ended"))
            .count(),
        1,
        "{log:?}"
    );
    assert!(log.last().unwrap().starts_with("ended"), "{log:?}");
    until_no_children();
}

#[test]
fn a_reactor_that_never_runs_kills_what_it_has_started() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let protocol = said.protocol(nothing_to_say, || ());
    let process = reactor
        .spawn_process(&Spawn::new("sleep").arg("1000"), protocol)
        .unwrap();
    drop(reactor);
    assert!(process.act(|_| ()).is_none());
    assert!(said.log().last().unwrap().starts_with("ended"));
    until_no_children();
}

#[test]
fn others_children_are_left_to_them() {
    let _alone = alone();
    let mut other = std::process::Command::new("true").spawn().unwrap();
    // It has ended for certain when one that was started later has.
    for _ in 0..3 {
        assert!(output(&Spawn::new("true")).unwrap().status.success());
    }
    assert!(other.wait().unwrap().success());
}

#[test]
fn a_status_that_someone_else_has_taken_is_unknown() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let said = Said::default();
    let stop = reactor.handle();
    let protocol = said.protocol(nothing_to_say, move || stop.stop());
    let process = reactor
        .spawn_process(&Spawn::new("true"), protocol)
        .unwrap();
    let pid = rustix::process::Pid::from_raw(process.pid().unwrap() as i32);
    rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
    reactor.run().unwrap();
    assert!(said.status().contains("nobody knows"), "{}", said.status());
}

/// Waits until a thread has reaped what is left.
fn until_no_children() {
    while !children().is_empty() {
        std::thread::yield_now();
    }
}
