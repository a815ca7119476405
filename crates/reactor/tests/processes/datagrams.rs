//! Datagrams and other people's software: `socat`, over UDP and Unix sockets; and multicast between
//! two network namespaces, which the kernel must let this process make.
//!
//! Where a tool is missing, or not permitted, a test says so in one line; with `CI=true` a missing
//! one is a failure.

use std::cell::RefCell;
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::rc::Rc;

use ropewalk_core::endpoint::DatagramClientEndpoint;
use ropewalk_core::{Address, DatagramProtocol, DatagramTransport};
use ropewalk_reactor::{Handle, Reactor};

use crate::signals::{AS_PROGRAM, Program, is_program};
use crate::support::run_with;

struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        transport: &mut DatagramTransport,
        data: &[u8],
        from: &Address,
    ) {
        transport.write_to(&data.to_ascii_uppercase(), from);
    }
}

/// Sends a word when it starts, and keeps the answer.
struct Ask {
    heard: Rc<RefCell<String>>,
    stop: Handle,
}

impl DatagramProtocol for Ask {
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        transport.write(b"hello");
    }

    fn datagram_received(&mut self, _: &mut DatagramTransport, data: &[u8], _: &Address) {
        *self.heard.borrow_mut() = String::from_utf8_lossy(data).into_owned();
        self.stop.stop();
    }
}

fn is_missing(tool: &str) -> bool {
    let found = Command::new(tool).arg("-V").output().is_ok();
    if !found {
        let message = format!("{tool} is missing: what it would test is not tested");
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{message}"
        );
        eprintln!("{message}");
    }
    !found
}

/// What socat prints that is given `word`, and waits for an answer.
fn socat(address: &str, word: &'static str) -> Output {
    let mut child = Command::new("socat")
        // Once a datagram has come back, and no more of it is to come.
        .args(["-t2", "-", address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(word.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn socat_is_answered_over_udp_and_unix() {
    if is_missing("socat") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let reactor = Reactor::new().unwrap();
    let udp = "udp:0:interface=127.0.0.1".parse().unwrap();
    let udp = reactor
        .listen_datagram(&udp, Echo)
        .unwrap()
        .address()
        .unwrap();
    let path = folder.path().join("server");
    let unix = format!("unix-datagram:{}", path.display()).parse().unwrap();
    reactor.listen_datagram(&unix, Echo).unwrap();
    let own = folder.path().join("client");
    run_with(&reactor, move || {
        let answer = socat(&format!("UDP4:{udp}"), "hello");
        assert_eq!(answer.stdout, b"HELLO");
        let unix = format!("UNIX-SENDTO:{},bind={}", path.display(), own.display());
        assert_eq!(socat(&unix, "hello").stdout, b"HELLO");
    });
}

#[test]
fn socat_answers_what_is_connected_to_it() {
    if is_missing("socat") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let free = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let path = folder.path().join("server");
    let own = folder.path().join("client");
    let cases = [
        (
            format!("UDP4-RECVFROM:{},bind=127.0.0.1", free.port()),
            format!("udp:127.0.0.1:{}", free.port()),
        ),
        (
            format!("UNIX-RECVFROM:{}", path.display()),
            format!("unix-datagram:{}:bind={}", path.display(), own.display()),
        ),
    ];
    for (server, endpoint) in cases {
        let mut server = Command::new("socat")
            .args(["-d", "-d", &server, "SYSTEM:tr a-z A-Z"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says so when it is there.
        let mut said = std::io::BufReader::new(server.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("receiving on") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0);
        }
        let reactor = Reactor::new().unwrap();
        let heard = Rc::new(RefCell::new(String::new()));
        let ask = Ask {
            heard: Rc::clone(&heard),
            stop: reactor.handle(),
        };
        let endpoint: DatagramClientEndpoint = endpoint.parse().unwrap();
        let connected = reactor.connect_datagram(&endpoint, ask);
        assert!(connected.is_fired());
        reactor.run().unwrap();
        assert_eq!(heard.take(), "HELLO");
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

const GROUP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(239, 255, 77, 2));

/// Joins a group, says so, and answers what comes to it.
fn program_that_joins() {
    let reactor = Reactor::new().unwrap();
    let endpoint = format!("udp:0:group={GROUP}%ropewalk-b").parse().unwrap();
    let port = reactor.listen_datagram(&endpoint, Echo).unwrap();
    println!("\nlistening on {}", port.address().unwrap());
    reactor.run_until_signalled().unwrap();
}

/// Asks the group, and says who answered.
fn program_that_asks(number: u16) {
    let reactor = Reactor::new().unwrap();
    let heard = Rc::new(RefCell::new(String::new()));
    let ask = Ask {
        heard: Rc::clone(&heard),
        stop: reactor.handle(),
    };
    let port = reactor
        .listen_datagram(&"udp:0:interface=192.0.2.1".parse().unwrap(), ask)
        .unwrap();
    let group = Address::Udp((GROUP, number).into());
    port.act(|transport| {
        let own = "192.0.2.1".into();
        transport.set_outgoing_interface(GROUP, &own).unwrap();
        transport.set_multicast_ttl(2).unwrap();
    });
    assert!(port.write_to(b"anybody", &group));
    reactor.run().unwrap();
    println!("\nheard {}", heard.take());
}

/// Two namespaces with a cable between them, gone when this is dropped.
struct Namespaces;

impl Namespaces {
    fn new() -> Option<Self> {
        let made = Self;
        for command in [
            "netns add ropewalk-a",
            "netns add ropewalk-b",
            "link add ropewalk-a netns ropewalk-a type veth peer name ropewalk-b netns ropewalk-b",
            "-n ropewalk-a address add 192.0.2.1/24 dev ropewalk-a",
            "-n ropewalk-b address add 192.0.2.2/24 dev ropewalk-b",
            "-n ropewalk-a link set ropewalk-a up",
            "-n ropewalk-b link set ropewalk-b up",
        ] {
            let output = Command::new("ip")
                .args(command.split(' '))
                .output()
                .unwrap();
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr);
                eprintln!("multicast between namespaces is not tested: ip {command}: {error}");
                return None;
            }
        }
        Some(made)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in ["ropewalk-a", "ropewalk-b"] {
            // It may not have been made.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn multicast_goes_from_one_network_namespace_to_another() {
    const TEST: &str = "datagrams::multicast_goes_from_one_network_namespace_to_another";
    const ASKS: &str = "ROPEWALK_TEST_ASKS";
    if is_program() {
        return match std::env::var(ASKS) {
            Ok(number) => program_that_asks(number.parse().unwrap()),
            Err(_) => program_that_joins(),
        };
    }
    if is_missing("ip") {
        return;
    }
    let Some(_namespaces) = Namespaces::new() else {
        return;
    };
    let inside = |name: &str| {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", name])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", TEST])
            .env(AS_PROGRAM, "1");
        command
    };
    let mut joins = Program::from(&mut inside("ropewalk-b"));
    let address = joins.hear("listening on");
    let number = address.rsplit(':').next().unwrap().to_owned();
    let mut asks = Program::from(inside("ropewalk-a").env(ASKS, number));
    assert_eq!(asks.hear("heard"), "ANYBODY");
    joins.terminate();
    assert!(joins.end().success());
}
