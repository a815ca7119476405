//! What a person gets who asks for help, or needs it.

use std::net::TcpListener;

use crate::running::{complaint, inside, ropewalk, site};

#[test]
fn help_and_version_are_on_standard_output_with_0() {
    for (args, expected) in [
        (&["--help"][..], "Examples:"),
        (&["web", "--help"], "--access-log <FILE|-|off>"),
        (&["web", "-h"], "tcp:PORT[:interface=ADDRESS]"),
        (&["web", "--help"], "nothing outside the folder"),
        (
            &["forward", "--help"],
            "Whichever end is slow holds the other back",
        ),
        (&["wire", "--help"], "None of them asks who it talks to"),
        (&["wire", "--help"], "RFC 862: send back what comes"),
        (&["wire", "-h"], "tcp:PORT[:interface=ADDRESS]"),
        (&["forward", "--help"], "tcp:HOST:PORT[:timeout=30s]"),
        (&["completions", "--help"], "ropewalk completions fish"),
        (
            &["--version"],
            concat!("ropewalk ", env!("CARGO_PKG_VERSION"), "\n"),
        ),
    ] {
        let output = ropewalk(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected), "{args:?}: {text}");
    }
}

#[test]
fn no_arguments_are_answered_with_the_help_and_2() {
    let output = ropewalk([""; 0]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("Examples:"), "{text}");
}

#[test]
fn arguments_that_make_no_sense_are_2_with_one_line() {
    for (args, expected) in [
        (&["web"][..], "--path <DIR>"),
        (&["serve"], "unrecognized subcommand 'serve'"),
        (
            &["web", "--path", ".", "--lisen", "tcp:80"],
            "a similar argument exists: '--listen'",
        ),
        (
            &["web", "--path", ".", "--listen", "tcp:80:backlgo=5"],
            "column 8: `backlgo` is not an option of `tcp`; did you mean `backlog`?",
        ),
        (
            &["web", "--path", ".", "--workers", "0"],
            "from 1 to 1024, or `auto`",
        ),
        (
            &["web", "--path", ".", "--log-level", "inof"],
            "error, warn, info, debug, trace",
        ),
        (
            &["web", "--path", ".", "--index", "a/b"],
            "the name of a file",
        ),
        (&["wire", "--protocol", "echo"], "--listen <ENDPOINT>"),
        (
            &["wire", "--listen", "tcp:0", "--protocol", "ehco"],
            "possible values: echo, discard, chargen, qotd, daytime, time",
        ),
        (&["forward", "--listen", "tcp:0"], "--to <ENDPOINT>"),
        (
            &["forward", "--listen", "tcp:0", "--to", "tcp:example.com"],
            "column 16: the port is missing",
        ),
        (
            &[
                "forward",
                "--listen",
                "tcp:0",
                "--to",
                "tcp:a:1",
                "--idle-timeout",
                "5",
            ],
            "`500ms`, `30s` or `5m`",
        ),
        (&["completions", "dos"], "[possible values: bash"),
    ] {
        let output = ropewalk(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let line = complaint(&output);
        assert!(line.contains(expected), "{args:?}: {line}");
    }
}

#[test]
fn a_missing_folder_is_1_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = inside(&folder, "missing");
    let output = ropewalk(["web", "--path", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        complaint(&output),
        format!(
            "ropewalk: cannot serve {path}: there is no such folder; give another with --path\n"
        )
    );
}

#[test]
fn a_file_is_not_a_folder() {
    let site = site();
    let path = inside(&site, "page.txt");
    let output = ropewalk(["web", "--path", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("it is not a folder"));
}

#[test]
fn a_port_in_use_is_1_with_the_endpoint_and_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let endpoint = format!("tcp:{port}:interface=127.0.0.1");
    let site = site();
    let folder = site.path().to_str().unwrap();
    for workers in ["1", "2"] {
        let listen = ["--listen", &endpoint, "--workers", workers];
        let output = ropewalk([&["web", "--path", folder], &listen[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            complaint(&output),
            format!(
                "ropewalk: cannot listen on {endpoint}: it is in use; choose another with \
                 --listen, or stop the program that has it\n"
            )
        );
    }
}

#[test]
fn each_shell_gets_completions_that_know_the_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = ropewalk(["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["access-log", "protocol", "idle-timeout"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
