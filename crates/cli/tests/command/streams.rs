//! `ropewalk forward` over its standard streams, and to programs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::foreign::tool;
use crate::running::{Running, command};

fn over_stdio(to: &str) -> Command {
    let mut command = command(["forward", "--listen", "stdio", "--to", to]);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped());
    command
}

/// Sends `input`, closes, and waits for the end.
fn talk(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

#[test]
fn the_standard_streams_are_joined_to_a_server_as_netcat_does() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp:127.0.0.1:{}", server.local_addr().unwrap().port());
    let served = thread::spawn(move || {
        let (mut peer, _) = server.accept().unwrap();
        let mut question = String::new();
        // The end of its input is the end of what the peer sends; the answer comes after that.
        peer.read_to_string(&mut question).unwrap();
        peer.write_all(question.to_uppercase().as_bytes()).unwrap();
    });
    let output = talk(over_stdio(&to), b"question\n");
    served.join().unwrap();
    assert_eq!(output.stdout, b"QUESTION\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn much_goes_through_pipes_whole() {
    let input: Vec<u8> = (0..20_000_000_u32)
        .map(|number| (number / 7) as u8)
        .collect();
    let output = talk(over_stdio("exec:cat"), &input);
    assert!(
        output.stdout == input,
        "{} of {}",
        output.stdout.len(),
        input.len()
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn files_are_read_and_written() {
    let mut input = tempfile::tempfile().unwrap();
    for line in 0..100_000 {
        writeln!(input, "{line}").unwrap();
    }
    input.seek(SeekFrom::Start(0)).unwrap();
    let mut output = tempfile::tempfile().unwrap();
    let mut command = over_stdio("exec:tac");
    command.stdin(input).stdout(output.try_clone().unwrap());
    assert!(command.status().unwrap().success());
    output.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("99999\n99998\n") && text.ends_with("\n0\n"));
    assert_eq!(text.lines().count(), 100_000);
}

#[test]
fn a_socket_as_both_streams_is_served_as_it_is() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = over_stdio("exec:cat");
    let theirs: std::os::fd::OwnedFd = theirs.into();
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut ours = ours;
    ours.write_all(b"through a socket").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    ours.read_to_string(&mut back).unwrap();
    assert_eq!(back, "through a socket");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_flags_of_a_shared_stream_are_as_they_were() {
    use rustix::fs::{OFlags, fcntl_getfl};
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs: std::os::fd::OwnedFd = theirs.into();
    let mut command = over_stdio("exec:cat");
    command
        .stdin(theirs.try_clone().unwrap())
        .stdout(writer.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    drop(command);
    (&ours).write_all(b"x").unwrap();
    reader.read_exact(&mut [0]).unwrap();
    // The pipe was opened anew; the socket is set back in the end.
    assert!(!fcntl_getfl(&writer).unwrap().contains(OFlags::NONBLOCK));
    ours.shutdown(Shutdown::Write).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!fcntl_getfl(&theirs).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn one_who_reads_no_further_ends_it() {
    let mut command = over_stdio("exec:yes");
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut start = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    child.wait().unwrap();
}

#[test]
fn a_terminal_is_left_as_it_was() {
    let Some(script) = tool("script") else { return };
    let ropewalk = env!("CARGO_BIN_EXE_ropewalk");
    let shell =
        format!("stty -a; echo hi | {ropewalk} forward --listen stdio --to exec:cat; stty -a");
    let output = Command::new(script)
        .args(["-qc", &shell, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (before, after) = text.split_once("hi\r\n").expect(&text);
    assert_eq!(before, after);
}

#[test]
fn each_connection_gets_a_program_as_from_inetd() {
    let args = ["forward", "--listen", "tcp:0:interface=127.0.0.1", "--to"];
    let program = ["exec:sh:-c:read line; echo \"$line to $$\""];
    let running = Running::start(command([&args[..], &program].concat()), 1);
    let ask = |word: &str| {
        let mut peer: TcpStream = running.connect();
        writeln!(peer, "{word}").unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        answer
    };
    let (one, other) = (ask("one"), ask("other"));
    assert!(
        one.starts_with("one to ") && other.starts_with("other to "),
        "{one}{other}"
    );
    assert_ne!(one.rsplit(' ').next(), other.rsplit(' ').next());
    assert_eq!(running.stop(), "");
}

#[test]
fn a_program_that_is_not_there_is_named_and_the_connection_closed() {
    let output = talk(over_stdio("exec:no-such-strand"), b"");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains("cannot connect to exec:no-such-strand: cannot run no-such-strand"),
        "{log}"
    );
    let last = log.lines().last().unwrap();
    assert!(
        last.starts_with("ropewalk: cannot connect to exec:"),
        "{log}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
}

#[test]
fn what_a_program_says_about_itself_goes_to_the_log() {
    let program = "exec:sh:-c:echo \"$0 is sorry\" >&2; exit 3:strand:stderr=log";
    let output = talk(over_stdio(program), b"");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("strand is sorry"), "{log}");
    assert!(log.contains("exited with code 3"), "{log}");
}

#[test]
fn several_workers_cannot_share_one_input() {
    let args = [
        "forward",
        "--listen",
        "stdio",
        "--to",
        "exec:cat",
        "--workers",
        "2",
    ];
    let output = command(args)
        .stdin(File::open("/dev/null").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("one worker alone"), "{complaint}");
}

#[test]
fn it_ends_with_its_one_connection_whatever_stands_on_it() {
    for listen in ["throttle:write=1m:stdio", "limit:connections=1:stdio"] {
        let mut command = command(["forward", "--listen", listen, "--to", "exec:cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let output = talk(command, b"once\n");
        assert_eq!(output.stdout, b"once\n", "{listen}");
        assert!(output.status.success(), "{listen}");
    }
}

#[test]
fn nothing_but_what_is_forwarded_comes_to_the_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.sock");
    let listen = format!("unix:{}", path.display());
    let mut command = command(["forward", "--listen", &listen, "--to", "stdio"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut peer = loop {
        match UnixStream::connect(&path) {
            Ok(peer) => break peer,
            Err(_) => thread::yield_now(),
        }
    };
    peer.write_all(b"this alone").unwrap();
    drop(peer);
    let mut output = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    assert_eq!(output, "this alone");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}
