//! Processes, on the reactor in memory: what is told, in which order, and what can be asked.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::testing::{MemoryChild, MemoryReactor};
use ropewalk_core::{
    Cancelled, ChildDescriptor, ConnectionLimits, Deferred, ExitStatus, Failure, Output,
    OutputTooLong, Process, ProcessProtocol, ProcessTransport, Signal, SignalError, Spawn,
    SpawnError, WindowSize, process_output, process_value,
};

type Log = Rc<RefCell<Vec<String>>>;

type On = Box<dyn FnMut(&str, &mut ProcessTransport)>;

/// Notes all that it is told; `on` is called after each note.
struct Noting {
    log: Log,
    on: On,
}

impl Noting {
    fn boxed(log: &Log, on: impl FnMut(&str, &mut ProcessTransport) + 'static) -> Box<Self> {
        let log = Rc::clone(log);
        Box::new(Self {
            log,
            on: Box::new(on),
        })
    }

    fn note(&mut self, transport: &mut ProcessTransport, event: &str) {
        self.log.borrow_mut().push(event.to_owned());
        (self.on)(event, transport);
    }
}

impl ProcessProtocol for Noting {
    fn connection_made(&mut self, transport: &mut ProcessTransport) {
        self.note(transport, "made");
    }

    fn child_data_received(&mut self, transport: &mut ProcessTransport, from: u32, data: &[u8]) {
        let data = String::from_utf8_lossy(data);
        self.note(transport, &format!("{from}: {data}"));
    }

    fn write_paused(&mut self, transport: &mut ProcessTransport, to: u32) {
        self.note(transport, &format!("paused {to}"));
    }

    fn write_resumed(&mut self, transport: &mut ProcessTransport, to: u32) {
        self.note(transport, &format!("resumed {to}"));
    }

    fn child_connection_lost(&mut self, transport: &mut ProcessTransport, at: u32, _: Failure) {
        self.note(transport, &format!("lost {at}"));
    }

    fn process_exited(&mut self, transport: &mut ProcessTransport, status: ExitStatus) {
        self.note(transport, &format!("exited: {status}"));
    }

    fn process_ended(&mut self, status: ExitStatus) {
        self.log.borrow_mut().push(format!("ended: {status}"));
    }
}

const DONE: ExitStatus = ExitStatus::Exited(0);

fn start(
    reactor: &MemoryReactor,
    spawn: &Spawn,
    on: impl FnMut(&str, &mut ProcessTransport) + 'static,
) -> (Log, Process, MemoryChild) {
    let log = Log::default();
    let process = reactor
        .spawn_process(spawn, Noting::boxed(&log, on))
        .unwrap();
    (log, process, reactor.take_children().remove(0))
}

fn cat() -> Spawn {
    Spawn::new("cat")
}

#[test]
fn what_is_told_comes_in_the_promised_order() {
    let reactor = MemoryReactor::new();
    let (log, process, child) = start(&reactor, &cat(), |_, _| ());
    assert!(
        log.borrow().is_empty(),
        "not before the caller has returned"
    );
    reactor.run();
    child.send(1, b"out");
    child.send(2, b"err");
    reactor.run();
    child.exit(DONE);
    assert_eq!(process.pid(), None);
    reactor.run();
    assert_eq!(
        *log.borrow(),
        [
            "made",
            "1: out",
            "2: err",
            "exited: exited with code 0",
            "lost 0",
            "lost 1",
            "lost 2",
            "ended: exited with code 0"
        ]
    );
}

#[test]
fn connection_made_is_first_even_when_data_is_there_before_the_next_turn() {
    let reactor = MemoryReactor::new();
    let (log, _, child) = start(&reactor, &cat(), |_, _| ());
    child.send(1, b"early");
    child.exit(DONE);
    reactor.run();
    let log = log.borrow();
    assert_eq!(log[0], "made");
    assert_eq!(log.iter().filter(|event| *event == "made").count(), 1);
    assert_eq!(log.last().unwrap(), "ended: exited with code 0");
}

#[test]
fn the_end_waits_for_pipes_that_others_hold() {
    let reactor = MemoryReactor::new();
    let (log, process, child) = start(&reactor, &cat(), |_, _| ());
    reactor.run();
    child.close(0);
    child.exit_leaving_pipes(DONE);
    reactor.run();
    assert_eq!(log.borrow().last().unwrap(), "lost 0");
    child.send(1, b"from a grandchild");
    reactor.run();
    assert_eq!(log.borrow().last().unwrap(), "1: from a grandchild");
    child.close(1);
    reactor.run();
    assert!(process.act(|_| ()).is_some());
    child.close(2);
    reactor.run();
    assert_eq!(log.borrow().last().unwrap(), "ended: exited with code 0");
    assert!(process.act(|_| ()).is_none());
}

#[test]
fn a_protocol_need_not_wait_for_pipes_that_others_hold() {
    let reactor = MemoryReactor::new();
    let (log, _, child) = start(&reactor, &cat(), |event, transport| {
        if event.starts_with("exited") {
            transport.lose_connection();
        }
    });
    reactor.run();
    child.exit_leaving_pipes(DONE);
    reactor.run();
    assert_eq!(log.borrow().last().unwrap(), "ended: exited with code 0");
    assert!(child.is_closed(1));
}

#[test]
fn one_that_closes_its_output_lives_on() {
    let reactor = MemoryReactor::new();
    let (log, process, child) = start(&reactor, &cat(), |_, _| ());
    reactor.run();
    for descriptor in [1, 2] {
        child.close(descriptor);
    }
    reactor.run();
    assert_eq!(*log.borrow(), ["made", "lost 1", "lost 2"]);
    assert_eq!(process.pid(), Some(1));
    process.act(|transport| assert!(transport.write(b"still here")));
    reactor.run();
    assert_eq!(child.received(0), b"still here");
}

#[test]
fn what_was_written_is_sent_before_stdin_is_closed() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10);
    let (_, process, child) = start(&reactor, &cat(), |event, transport| {
        if event == "made" {
            assert!(transport.write(&[b'x'; 1000]));
            assert!(transport.close_stdin());
            assert!(!transport.write(b"more"), "it is closing");
        }
    });
    reactor.run();
    assert_eq!(child.received(0).len(), 1000);
    assert!(child.is_closed(0));
    assert!(!process.act(|transport| transport.write(b"more")).unwrap());
}

#[test]
fn a_program_that_does_not_read_holds_its_writer_back() {
    let reactor = MemoryReactor::new();
    reactor.set_window(1);
    let (log, process, child) = start(&reactor, &cat(), |_, _| ());
    reactor.run();
    let far = child.spawn().limits.high_water + 2;
    process.act(|transport| transport.write(&vec![0; far]));
    assert!(log.borrow().len() == 1);
    reactor.set_window(far);
    process.act(|transport| assert!(transport.unsent(0) > 0));
    reactor.run();
    assert_eq!(child.received(0).len(), far);
}

#[test]
fn what_is_unsent_is_bounded() {
    let reactor = MemoryReactor::new();
    let limits = ConnectionLimits {
        write_limit: 100,
        ..ConnectionLimits::default()
    };
    let (log, process, _) = start(&reactor, &cat().limits(limits), |_, _| ());
    reactor.run();
    process.act(|transport| transport.write(&[0; 101]));
    reactor.run();
    assert_eq!(*log.borrow(), ["made", "lost 0"]);
}

#[test]
fn what_goes_the_wrong_way_or_nowhere_is_not_written() {
    let reactor = MemoryReactor::new();
    let spawn = cat()
        .descriptor(2, ChildDescriptor::Null)
        .descriptor(3, ChildDescriptor::PipeIn)
        .descriptor(4, ChildDescriptor::PipeOut);
    let (log, process, child) = start(&reactor, &spawn, |_, _| ());
    reactor.run();
    let written = process.act(|transport| {
        [0, 1, 2, 3, 4, 5].map(|descriptor| transport.write_to_child(descriptor, b"x"))
    });
    assert_eq!(written, Some([true, false, false, true, false, false]));
    child.send(4, b"status");
    reactor.run();
    assert_eq!(child.received(3), b"x");
    assert_eq!(*log.borrow(), ["made", "4: status"]);
}

#[test]
fn terminate_is_sigterm_and_after_the_grace_sigkill() {
    let reactor = MemoryReactor::new();
    let spawn = cat().grace(Duration::from_secs(3));
    let (_, process, child) = start(&reactor, &spawn, |_, _| ());
    reactor.run();
    assert!(process.terminate());
    assert!(process.terminate(), "a second one changes nothing");
    reactor.advance(Duration::from_millis(2999));
    assert_eq!(child.signals(), [Signal::Term]);
    reactor.advance(Duration::from_millis(1));
    assert_eq!(child.signals(), [Signal::Term, Signal::Kill]);
}

#[test]
fn one_that_ends_in_time_is_not_killed() {
    let reactor = MemoryReactor::new();
    let (_, process, child) = start(&reactor, &cat(), |_, _| ());
    process.terminate();
    child.exit(DONE);
    reactor.advance(Duration::from_secs(60));
    assert_eq!(child.signals(), [Signal::Term]);
    let late = process.signal(Signal::Hup).unwrap_err();
    assert!(matches!(late, SignalError::ProcessExitedAlready { .. }));
}

#[test]
fn a_panic_in_a_callback_ends_the_process_and_its_end_is_still_told() {
    let reactor = MemoryReactor::new();
    let (log, _, child) = start(&reactor, &cat(), |event, _| {
        assert!(event != "1: boom", "as planned");
    });
    reactor.run();
    child.send(1, b"boom");
    reactor.run();
    assert_eq!(child.signals(), [Signal::Term]);
    assert!(child.is_closed(0) && child.is_closed(2));
    child.exit(DONE);
    reactor.run();
    assert_eq!(log.borrow().last().unwrap(), "ended: exited with code 0");
}

#[test]
fn a_callback_may_do_all_that_a_handle_may_do() {
    let reactor = MemoryReactor::new();
    let own = Rc::new(RefCell::new(Process::default()));
    let inner = Rc::clone(&own);
    let (log, process, child) = start(&reactor, &cat(), move |event, transport| {
        inner.replace(transport.process());
        if event == "1: go" {
            // Through the handle, while the protocol runs.
            let own = inner.borrow().clone();
            own.act(|transport| {
                transport.write(b"gone");
                transport.close_child_descriptor(1);
            });
            own.signal(Signal::Usr1).unwrap();
        }
    });
    reactor.run();
    child.send(1, b"go");
    reactor.run();
    assert_eq!(child.received(0), b"gone");
    assert_eq!(child.signals(), [Signal::Usr1]);
    assert_eq!(*log.borrow(), ["made", "1: go", "lost 1"]);
    assert_eq!(process.pid(), own.borrow().pid());
}

#[test]
fn a_protocol_that_pauses_gets_nothing_until_it_resumes() {
    let reactor = MemoryReactor::new();
    let (log, process, child) = start(&reactor, &cat(), |event, transport| {
        if event == "made" {
            transport.pause_producing(1);
        }
    });
    reactor.run();
    child.send(1, b"wait");
    child.send(2, b"now");
    reactor.run();
    assert_eq!(*log.borrow(), ["made", "2: now"]);
    process.act(|transport| transport.resume_producing(1));
    reactor.run();
    assert_eq!(log.borrow().last().unwrap(), "1: wait");
}

#[test]
fn what_is_paused_at_the_start_gets_not_even_what_was_there_before() {
    let reactor = MemoryReactor::new();
    let (log, process, child) = start(&reactor, &cat(), |event, transport| {
        if event == "made" {
            transport.pause_producing(1);
        }
    });
    child.send(1, b"early");
    reactor.run();
    assert_eq!(*log.borrow(), ["made"]);
    process.act(|transport| transport.resume_producing(1));
    reactor.run();
    assert_eq!(*log.borrow(), ["made", "1: early"]);
}

#[test]
fn a_terminal_is_one_connection_both_ways() {
    let reactor = MemoryReactor::new();
    let size = WindowSize {
        rows: 25,
        columns: 132,
    };
    let (log, process, child) = start(&reactor, &cat().terminal(size), |_, _| ());
    reactor.run();
    process.act(|transport| {
        assert!(transport.write(b"line\n"));
        assert!(transport.close_stdin());
        assert!(transport.set_window_size(WindowSize { rows: 50, ..size }));
    });
    child.send(1, b"prompt");
    reactor.run();
    assert_eq!(child.received(1), b"line\n\x04");
    assert_eq!(child.window_size().unwrap().rows, 50);
    child.exit(DONE);
    reactor.run();
    assert_eq!(
        *log.borrow(),
        [
            "made",
            "1: prompt",
            "exited: exited with code 0",
            "lost 1",
            "ended: exited with code 0"
        ]
    );
}

#[test]
fn one_without_pipes_ends_when_it_exits() {
    let reactor = MemoryReactor::new();
    let mut spawn = cat();
    spawn.descriptors.clear();
    let (log, process, child) = start(&reactor, &spawn, |_, _| ());
    child.exit(ExitStatus::Exited(7));
    assert_eq!(
        *log.borrow(),
        [
            "made",
            "exited: exited with code 7",
            "ended: exited with code 7"
        ]
    );
    child.exit(DONE);
    reactor.run();
    assert_eq!(log.borrow().len(), 3);
    assert!(process.act(|_| ()).is_none());
}

fn outcome<T: 'static>(deferred: Deferred<T>) -> Rc<RefCell<Option<Result<T, Failure>>>> {
    let outcome = Rc::new(RefCell::new(None));
    let (ok, error) = (Rc::clone(&outcome), Rc::clone(&outcome));
    let told: Deferred<()> = deferred.add_callbacks(
        move |value| drop(ok.replace(Some(Ok(value)))),
        move |failure: Failure| drop(error.replace(Some(Err(failure)))),
    );
    drop(told);
    outcome
}

#[test]
fn the_output_of_a_program_is_one_result() {
    let reactor = MemoryReactor::new();
    let output = outcome(process_output(&*reactor, &cat()));
    reactor.run();
    let child = reactor.take_children().remove(0);
    assert!(child.is_closed(0), "nothing is sent to it");
    child.send(1, b"some ");
    child.send(2, b"oops");
    child.send(1, b"lines");
    child.exit(ExitStatus::Exited(2));
    assert!(output.borrow().is_none());
    reactor.run();
    let output = output.take().unwrap().unwrap();
    let expected = Output {
        status: ExitStatus::Exited(2),
        stdout: b"some lines".to_vec(),
        stderr: b"oops".to_vec(),
    };
    assert_eq!(output, expected);
}

#[test]
fn output_without_end_is_an_error_and_the_program_is_ended() {
    let reactor = MemoryReactor::new();
    let output = outcome(process_output(&*reactor, &cat().output_limit(10)));
    reactor.run();
    let yes = reactor.take_children().remove(0);
    yes.send(1, &[b'y'; 10]);
    reactor.run();
    assert!(output.borrow().is_none());
    yes.send(1, b"y");
    reactor.run();
    let failure = output.take().unwrap().unwrap_err();
    assert!(failure.check::<OutputTooLong>().is_some(), "{failure}");
    assert_eq!(yes.signals(), [Signal::Term]);
    assert!(yes.is_closed(1));
    yes.exit(DONE);
    reactor.run();
}

#[test]
fn cancelling_ends_the_program() {
    let reactor = MemoryReactor::new();
    let running = process_output(&*reactor, &cat());
    reactor.run();
    let child = reactor.take_children().remove(0);
    running.cancel();
    let failure = outcome(running).take().unwrap().unwrap_err();
    assert!(failure.check::<Cancelled>().is_some());
    assert_eq!(child.signals(), [Signal::Term]);
    child.exit(DONE);
    reactor.run();
}

#[test]
fn a_program_that_cannot_be_started_fails_the_result() {
    let reactor = MemoryReactor::new();
    reactor.refuse_to_spawn(SpawnError::ReactorStopped);
    let failure = outcome(process_value(&*reactor, &cat())).take().unwrap();
    assert!(failure.unwrap_err().check::<SpawnError>().is_some());
}

#[test]
fn the_value_of_a_program_needs_no_pipes() {
    let reactor = MemoryReactor::new();
    let value = outcome(process_value(&*reactor, &cat()));
    reactor.run();
    let child = reactor.take_children().remove(0);
    let descriptors = &child.spawn().descriptors;
    assert!(
        descriptors
            .values()
            .all(|descriptor| matches!(descriptor, ChildDescriptor::Null))
    );
    child.exit(ExitStatus::Exited(1));
    reactor.run();
    assert_eq!(value.take().unwrap().unwrap(), ExitStatus::Exited(1));
}

#[test]
fn the_value_of_a_program_on_a_terminal_does_not_depend_on_what_it_writes() {
    let reactor = MemoryReactor::new();
    let spawn = cat().terminal(WindowSize::default());
    let value = outcome(process_value(&*reactor, &spawn));
    reactor.run();
    let child = reactor.take_children().remove(0);
    child.send(1, b"much to say");
    reactor.run();
    child.exit(DONE);
    reactor.run();
    assert_eq!(value.take().unwrap().unwrap(), DONE);
}
