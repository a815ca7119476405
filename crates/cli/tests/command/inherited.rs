//! Listening sockets that the command is given by whoever starts it: `fd:` and `systemd:`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use super::foreign::tool;
use super::running::{Running, command, complaint, inside};

/// The command with `socket` as its descriptor 3, and nothing on its standard input.
fn inheriting(socket: OwnedFd, args: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$@\" 3<&0 0</dev/null", "sh"])
        .arg(env!("CARGO_BIN_EXE_ropewalk"))
        .args(args)
        .stdin(socket);
    shell
}

fn duplicate(socket: &TcpListener) -> OwnedFd {
    socket.try_clone().unwrap().into()
}

const ECHO: [&str; 4] = ["wire", "--protocol", "echo", "--listen"];

fn echo(socket: OwnedFd, endpoint: &str, more: &[&str]) -> Running {
    let args = [&ECHO[..], &[endpoint], more].concat();
    Running::start_with_stdin(inheriting(socket, &args), 1)
}

/// Says something, and hears all of it.
fn echoes(mut stream: impl Read + Write) {
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn a_child_that_inherits_a_listener_loses_no_connection_made_before_between_or_after() {
    for workers in ["1", "2"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || TcpStream::connect(address).unwrap();
        let before: Vec<_> = (0..20).map(|_| connect()).collect();
        let first = echo(duplicate(&listener), "fd:3", &["--workers", workers]);
        before.into_iter().for_each(echoes);
        for _ in 0..20 {
            echoes(connect());
        }
        first.stop();
        // Nobody accepts, and the socket still listens.
        let between: Vec<_> = (0..20).map(|_| connect()).collect();
        let second = echo(duplicate(&listener), "fd:3", &["--workers", workers]);
        between.into_iter().for_each(echoes);
        echoes(connect());
        second.stop();
    }
}

#[test]
fn an_inherited_unix_socket_stays_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = inside(&folder, "app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let running = echo(listener.into(), "limit:connections=5:fd:3", &[]);
    echoes(UnixStream::connect(&path).unwrap());
    assert_eq!(running.listening(), [format!("unix:{path}")]);
    running.stop();
    assert!(std::fs::exists(&path).unwrap());
}

#[test]
fn standard_input_may_be_the_listener() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = command([&ECHO[..], &["fd:0"]].concat());
    command.stdin(duplicate(&listener));
    let running = Running::start_with_stdin(command, 1);
    echoes(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    running.stop();
}

#[test]
fn what_is_no_listener_is_an_error_that_says_why() {
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let fails = |socket: OwnedFd, endpoints: &[&str]| {
        let mut args = ECHO[..3].to_vec();
        for endpoint in endpoints {
            args.extend(["--listen", endpoint]);
        }
        let output = inheriting(socket, &args).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        complaint(&output)
    };
    let connected = {
        let listener = listener();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap()
    };
    for (socket, endpoints, expected) in [
        (
            listener().into(),
            &["fd:99"][..],
            "the descriptor 99 is not open",
        ),
        (
            listener().into(),
            &["fd:3", "fd:3"],
            "the descriptor 3 was taken before",
        ),
        (listener().into(), &["fd:4"], "the descriptor 4 "),
        (connected.into(), &["fd:3"], "the socket does not listen"),
        (
            std::fs::File::open("/dev/null").unwrap().into(),
            &["fd:3"],
            "cannot listen on fd:3: ",
        ),
        (
            listener().into(),
            &["systemd:index=0"],
            "systemd has passed no sockets: LISTEN_PID and LISTEN_FDS are not set",
        ),
    ] {
        let complaint = fails(socket, endpoints);
        assert!(complaint.contains(expected), "{complaint}");
    }
}

/// Something else that the test has started, killed when it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn systemd_socket_activate_starts_it_with_its_sockets_by_name_and_by_index() {
    let Some(activate) = tool("systemd-socket-activate") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one.sock", "two.sock"].map(|name| inside(&folder, name));
    let mut command = Command::new(activate);
    command
        .args(["-l", &one, "-l", &two, "--fdname=web:admin"])
        .arg(env!("CARGO_BIN_EXE_ropewalk"))
        .args(&ECHO[..3])
        .args([
            "--listen",
            "systemd:name=admin",
            "--listen",
            "systemd:index=0",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut activated = Killed(command.spawn().unwrap());
    for path in [&one, &two, &one] {
        // It listens when it has come so far.
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) => {
                    let ended = activated.0.try_wait().unwrap();
                    assert!(ended.is_none(), "it ended: {ended:?}");
                    std::thread::yield_now();
                }
            }
        };
        echoes(stream);
    }
}
