//! What goes between a program and its process.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ropewalk_core::{ExitStatus, Process, Spawn};
use ropewalk_reactor::Reactor;

use crate::rig::{Said, alone, nothing_to_say, output, run, run_on};

#[test]
fn cat_gives_back_what_it_is_sent_and_ends_when_its_input_is_closed() {
    let _alone = alone();
    let said = run(&Spawn::new("cat"), |event, transport| {
        if event == "made" {
            assert!(transport.write(b"one\n"));
            assert!(transport.write(b"two\n"));
            assert!(transport.close_stdin());
        }
    });
    assert_eq!(said.text(), "one\ntwo\n");
    let log = said.log();
    assert_eq!(log[0], "made");
    assert_eq!(log.last().unwrap(), "ended: exited with code 0");
    for event in [
        "closed 0",
        "closed 1",
        "closed 2",
        "exited: exited with code 0",
    ] {
        assert_eq!(
            log.iter().filter(|noted| *noted == event).count(),
            1,
            "{log:?}"
        );
    }
}

#[test]
fn standard_output_and_error_are_told_apart() {
    let _alone = alone();
    let output = output(&Spawn::shell("echo out; echo err >&2; exit 7")).unwrap();
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");
    assert_eq!(output.status, ExitStatus::Exited(7));
}

#[test]
fn a_hundred_megabytes_come_through_whole() {
    let _alone = alone();
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    struct Count(Rc<Cell<usize>>, ropewalk_reactor::Handle);
    impl ropewalk_core::ProcessProtocol for Count {
        fn out_received(&mut self, _: &mut ropewalk_core::ProcessTransport, data: &[u8]) {
            assert!(data.iter().all(|byte| *byte == 0));
            self.0.set(self.0.get() + data.len());
        }
        fn process_ended(&mut self, status: ExitStatus) {
            assert!(status.success());
            self.1.stop();
        }
    }
    let reactor = Reactor::new().unwrap();
    let spawn = Spawn::new("head").args(["-c", "100000000", "/dev/zero"]);
    let protocol = Count(counted, reactor.handle());
    reactor.spawn_process(&spawn, protocol).unwrap();
    reactor.run().unwrap();
    assert_eq!(count.get(), 100_000_000);
}

#[test]
fn back_pressure_goes_both_ways() {
    let _alone = alone();
    // What is written to `cat` comes back, one megabyte at a time, and never piles up.
    let written = Rc::new(Cell::new(0_usize));
    let most = Rc::new(Cell::new(0_u64));
    let (w, m) = (Rc::clone(&written), Rc::clone(&most));
    let fill = move |transport: &mut ropewalk_core::ProcessTransport| {
        while w.get() < 8 << 20 && transport.unsent(0) < 64 * 1024 {
            transport.write(&[b'x'; 16 * 1024]);
            w.set(w.get() + 16 * 1024);
        }
        m.set(m.get().max(transport.unsent(0)));
        match w.get() < 8 << 20 {
            true => transport.await_drain(0),
            false => transport.close_stdin(),
        };
    };
    let said = run(&Spawn::new("cat"), move |event, transport| match event {
        "made" | "resumed 0" => fill(transport),
        _ => {}
    });
    assert_eq!(said.out.borrow().len(), 8 << 20);
    assert_eq!(written.get(), 8 << 20);
    assert!(most.get() <= 80 * 1024, "{}", most.get());
}

#[test]
fn a_program_that_never_reads_pauses_its_writer_and_is_bounded() {
    let _alone = alone();
    let limits = ropewalk_core::ConnectionLimits {
        write_limit: 1 << 20,
        ..Default::default()
    };
    let said = run(&Spawn::new("sleep").arg("1000").limits(limits), {
        move |event, transport| match event {
            "made" => {
                // More than the pipe holds.
                transport.write(&[0; 512 * 1024]);
            }
            "paused 0" => {
                transport.write(&[0; 1 << 20]);
            }
            "lost 0" => transport.terminate(),
            _ => {}
        }
    });
    let log = said.log();
    assert_eq!(log[..3], ["made", "paused 0", "lost 0"]);
    assert_eq!(said.status(), "was killed by SIGTERM");
}

#[test]
fn one_that_closes_its_input_is_noticed_at_once() {
    let _alone = alone();
    let spawn = Spawn::shell("exec <&-; read x; exec sleep 1000");
    let said = run(&spawn, |event, transport| {
        if event == "lost 0" {
            transport.terminate();
        }
    });
    assert_eq!(said.log()[..2], ["made", "lost 0"]);
}

#[test]
fn one_that_closes_its_output_lives_on() {
    let _alone = alone();
    // It ends when it has read a line, which it gets only when its output is closed.
    let spawn = Spawn::shell("exec >&- 2>&-; read line; exit ${#line}");
    let closed = Cell::new(0);
    let said = run(&spawn, move |event, transport| {
        if event == "closed 1" || event == "closed 2" {
            closed.set(closed.get() + 1);
            if closed.get() == 2 {
                transport.write(b"12345\n");
            }
        }
    });
    assert_eq!(said.status(), "exited with code 5");
}

#[test]
fn the_end_waits_for_a_grandchild_that_holds_the_pipe() {
    let _alone = alone();
    let fifo = tempfile::tempdir().unwrap();
    let path = fifo.path().join("go");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    let spawn = Spawn::shell("(read x < \"$1\"; echo late) & exit 0").arg(&path);
    let said = run(&spawn, move |event, _| {
        if event.starts_with("exited") {
            // Only now may the grandchild go on.
            let path = path.clone();
            std::thread::spawn(move || std::fs::write(path, "go\n").unwrap());
        }
    });
    assert_eq!(said.text(), "late\n");
    let log = said.log();
    let at = |event: &str| log.iter().position(|noted| noted == event).unwrap();
    assert!(at("exited: exited with code 0") < at("closed 1"), "{log:?}");
    assert_eq!(log.last().unwrap(), "ended: exited with code 0");
}

#[test]
fn whoever_closes_the_pipes_does_not_wait_for_a_grandchild() {
    let _alone = alone();
    let spawn = Spawn::shell("sleep 1000 & echo $!");
    let (mut has_said, mut has_exited) = (false, false);
    let said = run(&spawn, move |event, transport| {
        has_said |= event == "data 1";
        has_exited |= event.starts_with("exited");
        if has_said && has_exited {
            transport.lose_connection();
        }
    });
    assert_eq!(said.status(), "exited with code 0");
    let grandchild: i32 = said.text().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(grandchild).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_paused_pipe_is_not_read() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let kept: Rc<RefCell<Process>> = Rc::default();
    let keep = Rc::clone(&kept);
    let said = Said::default();
    let (stop, seen) = (reactor.handle(), said.clone());
    let resume = reactor.handle();
    // It says on its error that it has filled the pipe of its output as far as it goes.
    let spawn = Spawn::shell("head -c 65536 /dev/zero; echo full >&2; head -c 65536 /dev/zero");
    let protocol = said.protocol(
        move |event, transport| match event {
            "made" => {
                keep.replace(transport.process());
                transport.pause_producing(1);
            }
            "data 2" => {
                assert_eq!(seen.out.borrow()[..], b"full\n"[..]);
                let process = keep.borrow().clone();
                resume.call_when_running(move || {
                    process.act(|transport| assert!(transport.resume_producing(1)));
                });
            }
            _ => {}
        },
        move || stop.stop(),
    );
    reactor.spawn_process(&spawn, protocol).unwrap();
    reactor.run().unwrap();
    assert_eq!(said.out.borrow().len(), 5 + 131_072);
}

#[test]
fn two_hundred_at_once_are_all_served_and_reaped() {
    let _alone = alone();
    let reactor = Reactor::new().unwrap();
    let left = Rc::new(Cell::new(200));
    for number in 0..200 {
        let said = Said::default();
        let (left, stop, seen) = (Rc::clone(&left), reactor.handle(), said.clone());
        let spawn = Spawn::shell("read x; echo $x; exit $x").env("LC_ALL", "C");
        let protocol = said.protocol(
            move |event, transport| {
                if event == "made" {
                    transport.write(format!("{number}\n").as_bytes());
                }
            },
            move || {
                assert_eq!(seen.text(), format!("{number}\n"));
                assert_eq!(seen.status(), format!("exited with code {number}"));
                left.set(left.get() - 1);
                if left.get() == 0 {
                    stop.stop();
                }
            },
        );
        reactor.spawn_process(&spawn, protocol).unwrap();
    }
    reactor.run().unwrap();
    assert_eq!(left.get(), 0);
    assert_eq!(crate::rig::children(), Vec::<String>::new());
}

#[test]
fn where_nothing_is_watched_a_thread_waits() {
    let _alone = alone();
    let reactor = crate::rig::WatchingNothing::reactor();
    let said = run_on(
        &reactor,
        &Spawn::shell("echo hello; exit 3"),
        nothing_to_say,
    );
    assert_eq!(said.text(), "hello\n");
    assert_eq!(said.status(), "exited with code 3");
    assert_eq!(crate::rig::children(), Vec::<String>::new());
}
