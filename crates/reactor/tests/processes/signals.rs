//! Signals, in processes of their own: this program again, for one test, which is a program then.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use ropewalk_core::Deferred;
use ropewalk_reactor::{Reactor, RunError, Workers, react, stop_on_signals};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{On, factory, loopback, serve, socket_addr};

/// Set in the environment of a process that was started for one test, to be its program.
pub(crate) const AS_PROGRAM: &str = "ROPEWALK_TEST_AS_PROGRAM";

/// Whether this process was started by a test, to be its program.
pub(crate) fn is_program() -> bool {
    std::env::var_os(AS_PROGRAM).is_some()
}

/// A test of this program, run by itself as the program that it tests.
pub(crate) struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    pub(crate) fn start(test: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "--nocapture", test])
            .env(AS_PROGRAM, "1");
        Self::from(&mut command)
    }

    pub(crate) fn from(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// The next line of its output that begins with `word`, and what follows it there.
    pub(crate) fn hear(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.trim().split_once(word) {
                return rest.1.trim().to_owned();
            }
            line.clear();
        }
        panic!("the program ended without saying `{word}`");
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(id, signal).unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, unless a test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program_that_drains() {
    let reactor = Reactor::new().unwrap();
    let address = serve(
        &reactor,
        factory(|| {
            On::echo()
                .made(|transport| transport.write(b"!"))
                .drain(|transport| transport.write(b"draining"))
        }),
    );
    println!("\nlistening on {address}");
    match reactor.run_until_signalled() {
        Ok(()) => println!("\nran well"),
        Err(RunError::EndedAtOnce { connections }) => println!("\ncut {connections}"),
        Err(error) => panic!("{error}"),
    }
    println!("\nunguarded");
    loop {
        std::thread::park();
    }
}

fn start_and_connect(test: &str) -> (Program, TcpStream) {
    let mut program = Program::start(test);
    let address: SocketAddr = program.hear("listening on").parse().unwrap();
    let mut peer = TcpStream::connect(address).unwrap();
    peer.read_exact(&mut [0]).unwrap();
    (program, peer)
}

#[test]
fn the_first_signal_drains_and_later_the_signal_is_the_systems_again() {
    if is_program() {
        return program_that_drains();
    }
    for signal in [Signal::TERM, Signal::INT] {
        let (mut program, mut peer) = start_and_connect(
            "signals::the_first_signal_drains_and_later_the_signal_is_the_systems_again",
        );
        program.signal(signal);
        let mut said = [0; 8];
        peer.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"draining");
        peer.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        drop(peer);
        program.hear("ran well");
        program.hear("unguarded");
        program.signal(signal);
        assert_eq!(program.end().signal(), Some(signal.as_raw()));
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    if is_program() {
        return program_that_drains();
    }
    let (mut program, mut peer) = start_and_connect("signals::the_second_signal_ends_at_once");
    program.signal(Signal::TERM);
    peer.read_exact(&mut [0; 8]).unwrap();
    program.signal(Signal::INT);
    assert_eq!(program.hear("cut"), "1");
    program.hear("unguarded");
    program.signal(Signal::KILL);
    program.end();
}

fn program_that_hangs() {
    let reactor = Reactor::new().unwrap();
    let _guard = stop_on_signals([reactor.remote()]).unwrap();
    reactor.call_when_running(|| {
        println!("\nhanging");
        loop {
            std::thread::park();
        }
    });
    reactor.run().unwrap();
}

#[test]
fn the_third_signal_ends_a_program_that_hangs() {
    if is_program() {
        return program_that_hangs();
    }
    let mut program = Program::start("signals::the_third_signal_ends_a_program_that_hangs");
    program.hear("hanging");
    // Signals that come faster than they are looked at count as one: as many as it takes.
    while program.child.try_wait().unwrap().is_none() {
        program.signal(Signal::TERM);
        std::thread::yield_now();
    }
    assert_eq!(program.end().signal(), Some(Signal::TERM.as_raw()));
}

fn program_with_workers() {
    let workers = Workers::new(NonZeroUsize::new(2).unwrap()).stop_on_signals(true);
    let result = workers.run(|worker| {
        let greet = factory(|| On::nothing().made(|transport| transport.write(b"!")));
        let port = worker.listen(&loopback(), greet)?;
        let index = worker.index();
        let address = socket_addr(&port);
        worker.reactor().call_when_running(move || {
            if index == 1 {
                println!("\nlistening on {address}");
            }
        });
        Ok(())
    });
    println!("\nworkers ended {}", result.is_ok());
}

#[test]
fn a_signal_drains_all_workers() {
    if is_program() {
        return program_with_workers();
    }
    let (mut program, mut peer) = start_and_connect("signals::a_signal_drains_all_workers");
    program.signal(Signal::TERM);
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(program.hear("workers ended"), "true");
    assert!(program.end().success());
}

fn program_that_reacts() {
    let code = react(|_| {
        let (resolver, forever) = Deferred::<()>::with_canceller(|| println!("\ncancelled"));
        std::mem::forget(resolver);
        println!("\nreacting");
        forever
    });
    let success = format!("{:?}", std::process::ExitCode::SUCCESS);
    println!("\ncode 0: {}", format!("{code:?}") == success);
}

#[test]
fn a_signal_cancels_the_main_of_react() {
    if is_program() {
        return program_that_reacts();
    }
    let mut program = Program::start("signals::a_signal_cancels_the_main_of_react");
    program.hear("reacting");
    program.signal(Signal::INT);
    program.hear("cancelled");
    assert_eq!(program.hear("code 0:"), "true");
    assert!(program.end().success());
}
