//! Processes with a terminal.

use ropewalk_core::{ChildDescriptor, Spawn, WindowSize};

use crate::rig::{alone, run};

const SIZE: WindowSize = WindowSize {
    rows: 33,
    columns: 111,
};

fn on_terminal(command: &str) -> Spawn {
    Spawn::shell(command).terminal(SIZE)
}

#[test]
fn a_program_sees_a_terminal_of_the_size_that_was_asked_for() {
    let _alone = alone();
    let said = run(
        &on_terminal("stty size; tty; test -t 2 && echo yes"),
        |_, _| (),
    );
    let text = said.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "33 111");
    assert!(lines[1].starts_with("/dev/pts/"), "{text}");
    assert_eq!(lines[2], "yes");
    assert_eq!(said.status(), "exited with code 0");
    let log = said.log();
    assert_eq!(
        log.iter().filter(|event| *event == "closed 1").count(),
        1,
        "{log:?}"
    );
}

#[test]
fn it_is_the_terminal_of_a_session_of_its_own() {
    let _alone = alone();
    let said = run(
        &on_terminal("echo $$ $(ps -o sid=,tty= -p $$); echo hi > /dev/tty"),
        |_, _| (),
    );
    let text = said.text();
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words[0], words[1], "{text}");
    assert!(words[2].starts_with("pts/"), "{text}");
    assert_eq!(words[3], "hi");
}

#[test]
fn a_program_hears_of_another_size() {
    let _alone = alone();
    let command = "trap 'stty size; exit 0' WINCH; echo ready; while :; do read x; done";
    let mut resized = false;
    let said = run(&on_terminal(command), move |event, transport| {
        if event == "data 1" && !resized {
            resized = true;
            assert!(transport.set_window_size(WindowSize { rows: 50, ..SIZE }));
        }
    });
    assert!(said.text().ends_with("50 111\r\n"), "{:?}", said.text());
}

#[test]
fn lines_are_edited_and_echoed_and_ctrl_d_is_the_end() {
    let _alone = alone();
    let said = run(&Spawn::new("cat").terminal(SIZE), |event, transport| {
        if event == "made" {
            assert!(transport.write(b"lime\x7f\x7fne\n"));
            assert!(transport.close_stdin());
        }
    });
    assert!(said.text().ends_with("line\r\n"), "{:?}", said.text());
    assert_eq!(said.status(), "exited with code 0");
}

#[test]
fn ctrl_c_is_a_signal() {
    let _alone = alone();
    let said = run(
        &on_terminal("echo ready; exec sleep 1000"),
        |event, transport| {
            if event == "data 1" {
                transport.write(b"\x03");
            }
        },
    );
    assert_eq!(said.status(), "was killed by SIGINT");
}

#[test]
fn closing_the_connection_hangs_up() {
    let _alone = alone();
    let said = run(
        &on_terminal("echo ready; exec sleep 1000"),
        |event, transport| {
            if event == "data 1" {
                transport.lose_connection();
            }
        },
    );
    assert_eq!(said.status(), "was killed by SIGHUP");
}

#[test]
fn one_that_closes_its_side_and_goes_on_is_not_hung_up_on() {
    let _alone = alone();
    // It ends only when it has been told that its terminal is closed.
    let command = "trap 'exit 9' HUP; exec <&- >&- 2>&-; read line <&5; exit 5";
    let spawn = on_terminal(command).descriptor(5, ChildDescriptor::PipeIn);
    let said = run(&spawn, |event, transport| {
        if event == "closed 1" {
            transport.write_to_child(5, b"go\n");
        }
    });
    assert_eq!(said.log()[..2], ["made", "closed 1"]);
    assert_eq!(said.status(), "exited with code 5");
}

#[test]
fn much_comes_through_a_terminal_whole() {
    let _alone = alone();
    let said = run(&on_terminal("stty -opost; seq 1 100000"), |_, _| ());
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(said.text(), expected);
}

#[test]
fn what_was_written_last_comes_even_when_not_all_was_read() {
    let _alone = alone();
    let mut asked = false;
    let said = run(
        &on_terminal("stty -echo; echo on; read line; echo result"),
        move |event, transport| match event {
            "data 1" if !asked => {
                asked = true;
                transport.write(b"go\n");
                transport.write(&b"more\n".repeat(20_000));
            }
            // What the terminal takes was sent.
            "paused 1" => until_zombie(transport.pid()),
            _ => {}
        },
    );
    assert!(said.text().ends_with("result\r\n"), "{:?}", said.text());
    assert_eq!(said.status(), "exited with code 0");
}

/// Waits until a process has ended, and leaves it to be reaped.
fn until_zombie(pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
}
