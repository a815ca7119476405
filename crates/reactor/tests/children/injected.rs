//! What the system refuses, by `strace -e inject`: this program again, for one test, under it.

use std::process::Command;

use ropewalk_core::{ProcessProtocol, Spawn, WindowSize, process_output};
use ropewalk_reactor::Reactor;

use crate::rig::{alone, children, finish, open_descriptors, opened_since};

/// Set in the environment of a process that was started for one test, to be its program.
const AS_PROGRAM: &str = "ROPEWALK_TEST_AS_PROGRAM";

struct Silent;
impl ProcessProtocol for Silent {}

/// Starts a process until one is refused, then others until one is not; says how it was refused.
fn program() {
    let reactor = Reactor::new().unwrap();
    let plain = Spawn::new("true");
    let spawn = match std::env::var(AS_PROGRAM).unwrap().as_str() {
        "terminal" => plain.terminal(WindowSize::default()),
        _ => plain,
    };
    let before = open_descriptors();
    let refused = match reactor.spawn_process(&spawn, Silent) {
        Err(error) => error.to_string(),
        Ok(_) => "not at all".to_owned(),
    };
    println!("\nrefused: {refused}");
    if refused == "not at all" {
        reactor.stop();
        reactor.run().unwrap();
    }
    while !children().is_empty() {
        std::thread::yield_now();
    }
    println!("\nleft: {}", opened_since(&before).len());
    println!("\nconnections: {}", reactor.connections());
    match finish(&reactor, |reactor| process_output(reactor, &spawn)) {
        Ok(output) => println!("\nthen: {}", output.status),
        Err(failure) => println!("\nthen: {failure}"),
    }
}

/// What the program says with `inject` in force, or `None` where there is no strace.
fn injected(inject: &str, what: &str) -> Option<String> {
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", inject])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "injected::what_the_system_refuses_is_told_and_nothing_is_left",
        ])
        .env(AS_PROGRAM, what)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            let message = format!("strace is missing ({error}): what it would test is not tested");
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "{message}"
            );
            eprintln!("{message}");
            return None;
        }
    };
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(said)
}

#[test]
fn what_the_system_refuses_is_told_and_nothing_is_left() {
    if std::env::var_os(AS_PROGRAM).is_some() {
        return program();
    }
    let _alone = alone();
    for (inject, what, expected) in [
        (
            "inject=pipe2:error=EMFILE:when=1",
            "",
            "close some files, or raise the limit (ulimit -n)",
        ),
        ("inject=pipe2:error=EMFILE:when=2", "", "close some files"),
        ("inject=pipe2:error=ENFILE:when=3", "", "close some files"),
        // The one by which a failed exec is reported.
        (
            "inject=socketpair:error=EMFILE:when=1",
            "",
            "close some files",
        ),
        (
            "inject=clone,fork,vfork:error=EAGAIN:when=1",
            "",
            "run fewer processes at a time",
        ),
        (
            "inject=execve:error=ENOMEM:when=2+",
            "",
            "run fewer processes at a time",
        ),
        (
            "inject=execve:error=EACCES:when=2+",
            "",
            "make it executable",
        ),
        ("inject=close_range:error=ENOSYS", "", "not at all"),
        ("inject=pidfd_open:error=ENOSYS:when=1", "", "not at all"),
        ("inject=pidfd_open:error=EMFILE:when=1", "", "not at all"),
        ("inject=waitid:error=EINTR:when=1", "", "not at all"),
        (
            "inject=setsid:error=EPERM",
            "terminal",
            "may become the user",
        ),
    ] {
        let Some(said) = injected(inject, what) else {
            return;
        };
        let line = |word: &str| {
            let mut lines = said.lines();
            let line = lines.find_map(|line| line.strip_prefix(word)).expect(&said);
            line.to_owned()
        };
        assert!(line("refused: ").contains(expected), "{inject}: {said}");
        assert_eq!(line("left: "), "0", "{inject}");
        assert_eq!(line("connections: "), "0", "{inject}");
        if !inject.ends_with("when=2+") && what.is_empty() {
            assert_eq!(line("then: "), "exited with code 0", "{inject}");
        }
    }
}
