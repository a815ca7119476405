//! Errors that system calls are made to return, by `strace -e inject`: what was asked for comes
//! about all the same or is told, nothing leaks, nothing spins, and each connection that was made
//! is lost once.
//!
//! Where `strace` is not on this machine a test says so in one line; with `CI=true` it fails.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ropewalk_core::endpoint::{ClientEndpoint, DatagramEndpoint, UdpListen, UnixListen};
use ropewalk_core::{
    Address, Connection, DatagramError, DatagramProtocol, DatagramTransport, Failure, FileRegion,
    Transport,
};
use ropewalk_reactor::Reactor;

use crate::signals::{AS_PROGRAM, is_program};
use crate::support::{On, factory, once, pattern, serve};

const TEST: &str = "faults::no_error_of_a_system_call_leaks_spins_or_is_kept_from_the_protocol";

/// The path of its Unix socket, for the program.
const PATH: &str = "ROPEWALK_TEST_PATH";

#[derive(Clone, Default)]
struct Counts {
    made: Rc<Cell<u32>>,
    lost: Rc<Cell<u32>>,
    failed: Rc<Cell<u32>>,
}

fn up(count: &Cell<u32>) {
    count.set(count.get() + 1);
}

struct DatagramEcho(Counts);

impl DatagramProtocol for DatagramEcho {
    fn datagram_received(
        &mut self,
        transport: &mut DatagramTransport,
        data: &[u8],
        from: &Address,
    ) {
        transport.write_to(data, from);
    }

    fn datagram_failed(&mut self, _: &mut DatagramTransport, _: &DatagramError) {
        up(&self.0.failed);
    }
}

impl Counts {
    /// A protocol whose life is counted.
    fn counting(&self, protocol: On, begin: impl Fn(&mut Transport) + 'static) -> On {
        let (made, lost) = (Rc::clone(&self.made), Rc::clone(&self.lost));
        protocol
            .made(move |transport| {
                up(&made);
                begin(transport);
            })
            .lost(move |_: Failure| up(&lost))
    }
}

/// What the second listener sends: bytes, more that are not copied, and a file.
const PARTS: [usize; 3] = [1000, 100_000, 300_000];

fn everything() -> Vec<u8> {
    pattern(0, PARTS.iter().sum())
}

/// Sends all of it to each, from memory and from a file.
fn serve_everything(reactor: &Reactor, counts: &Counts) -> SocketAddr {
    let all = Bytes::from(everything());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&all).unwrap();
    let (file, counts) = (Arc::new(file), counts.clone());
    let build = move || {
        let (all, file) = (all.clone(), Arc::clone(&file));
        counts.counting(On::nothing(), move |transport| {
            let [head, body, tail] = PARTS;
            transport.write(&all[..head]);
            transport.write_bytes(all.slice(head..head + body));
            transport.write_file(FileRegion {
                file: Arc::clone(&file),
                offset: (head + body) as u64,
                len: tail as u64,
            });
            transport.lose_connection();
        })
    };
    serve(reactor, factory(build))
}

/// Asks the echo at `to` for each, and says what came of it.
fn serve_asking(reactor: &Reactor, counts: &Counts, to: SocketAddr) -> SocketAddr {
    let endpoint: ClientEndpoint = format!("tcp:{to}").parse().unwrap();
    let (handle, counts) = (reactor.handle(), counts.clone());
    let build = move || {
        let (handle, endpoint, asking) = (handle.clone(), endpoint.clone(), counts.clone());
        counts.counting(On::nothing(), move |transport| {
            let client = transport.connection();
            let answered = client.clone();
            let asks = On::nothing().data(move |transport, data| {
                answered.write(data);
                answered.lose_connection();
                transport.lose_connection();
            });
            let asks = asking.counting(asks, |transport| transport.write(b"x"));
            let connected = handle.connect(&endpoint, once(asks));
            drop(
                connected.add_both(move |result: Result<Connection, Failure>| {
                    if result.is_err() {
                        client.write(b"failed");
                        client.lose_connection();
                    }
                }),
            );
        })
    };
    serve(reactor, factory(build))
}

fn open_here() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Serves an echo over TCP, Unix and UDP until its input ends; then says what was.
fn program() {
    let reactor = Reactor::new().unwrap();
    let counts = Counts::default();
    let of = counts.clone();
    let echo = factory(move || of.counting(On::echo(), |_| ()));
    let tcp = serve(&reactor, Rc::clone(&echo));
    let all = serve_everything(&reactor, &counts);
    let asking = serve_asking(&reactor, &counts, tcp);
    let path = PathBuf::from(std::env::var_os(PATH).unwrap());
    reactor.listen(&UnixListen::new(path).into(), echo).unwrap();
    let udp: DatagramEndpoint = UdpListen::new(0).interface([127, 0, 0, 1]).into();
    let udp = reactor
        .listen_datagram(&udp, DatagramEcho(counts.clone()))
        .unwrap();
    let ready = open_here();
    let udp_address = udp.address().unwrap();
    println!("\nlistening on {tcp} {udp_address} {all} {asking}");
    let at_end = Rc::new(Cell::new(0));
    let (seen, port) = (Rc::clone(&at_end), udp);
    reactor.add_system_event_trigger(ropewalk_reactor::Phase::During, move || {
        // The listeners and their reserves are gone, and the connections too.
        seen.set(open_here());
        assert!(port.is_open());
    });
    // Until its input ends: a signal's handler writes to a socket, which may be what fails here.
    let remote = reactor.remote();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        remote.call_from_thread(|reactor| reactor.stop());
    });
    reactor.run().unwrap();
    println!(
        "\nended {} {} {} {ready} {}",
        counts.made.get(),
        counts.lost.get(),
        counts.failed.get(),
        at_end.get()
    );
}

/// The program, with errors injected.
struct Faulty {
    strace: Child,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
    tcp: SocketAddr,
    udp: SocketAddr,
    all: SocketAddr,
    asking: SocketAddr,
}

/// What the program said at its end.
struct End {
    made: u32,
    lost: u32,
    failed: u32,
    ready: usize,
    at_end: usize,
    calls: usize,
    injected: usize,
}

impl Faulty {
    fn start(inject: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut strace = Command::new("strace")
            .args(["-f", "-qq", "-o"])
            .arg(folder.path().join("calls"))
            .args([
                "-e",
                "trace=%network,?epoll_wait,?epoll_pwait,?epoll_pwait2,epoll_ctl,sendfile",
            ])
            .args(["-e", &format!("inject={inject}")])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", TEST])
            .env(AS_PROGRAM, "1")
            .env(PATH, folder.path().join("socket"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(strace.stdout.take().unwrap());
        let said = hear(&mut output, "listening on ");
        let mut addresses = said.split_whitespace().map(|word| word.parse().unwrap());
        Self {
            strace,
            output,
            folder,
            tcp: addresses.next().unwrap(),
            udp: addresses.next().unwrap(),
            all: addresses.next().unwrap(),
            asking: addresses.next().unwrap(),
        }
    }

    /// Sends over many connections; how many were cut.
    fn exchange_streams(&self) -> u32 {
        let mut cut = 0;
        for round in 0..10 {
            let tcp = TcpStream::connect(self.tcp).unwrap();
            cut += u32::from(!echoes(tcp, round));
            let unix = UnixStream::connect(self.folder.path().join("socket")).unwrap();
            cut += u32::from(!echoes(unix, round));
        }
        cut
    }

    /// Receives from many connections; how many were cut.
    fn receive_everything(&self) -> u32 {
        let expected = everything();
        let cut = (0..10).filter(|_| {
            let received = read_all(self.all);
            assert!(expected.starts_with(&received));
            received.len() < expected.len()
        });
        cut.count() as u32
    }

    /// Lets the program connect to itself; how often it could not, or did not.
    fn let_it_ask(&self) -> u32 {
        let failed = (0..10).filter(|_| {
            let answer = read_all(self.asking);
            assert!(
                matches!(&answer[..], b"x" | b"failed" | b""),
                "{:?}",
                String::from_utf8_lossy(&answer)
            );
            answer != b"x"
        });
        failed.count() as u32
    }

    /// Sends so many datagrams, four at a time, and takes as many back but `lost`.
    fn exchange_datagrams(&self, lost: usize) {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.connect(self.udp).unwrap();
        let (mut sent, mut back) = (0, 0);
        while sent < 40 {
            for _ in 0..4 {
                peer.send(&[sent as u8]).unwrap();
                sent += 1;
            }
            while back + lost < sent {
                peer.recv(&mut [0; 10]).unwrap();
                back += 1;
            }
        }
    }

    fn end(mut self) -> End {
        drop(self.strace.stdin.take());
        let said = hear(&mut self.output, "ended ");
        assert!(self.strace.wait().unwrap().success());
        let calls = std::fs::read_to_string(self.folder.path().join("calls")).unwrap();
        let numbers: Vec<usize> = said
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect();
        End {
            made: numbers[0] as u32,
            lost: numbers[1] as u32,
            failed: numbers[2] as u32,
            ready: numbers[3],
            at_end: numbers[4],
            calls: calls.lines().count(),
            injected: calls.matches("(INJECTED)").count(),
        }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // It has ended, unless a test has failed.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn hear(output: &mut impl BufRead, word: &str) -> String {
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        if let Some((_, rest)) = line.split_once(word) {
            return rest.trim().to_owned();
        }
        line.clear();
    }
    panic!("the program ended without saying `{word}`");
}

/// All that comes, up to an end or a reset.
fn read_all(from: SocketAddr) -> Vec<u8> {
    let mut received = Vec::new();
    let mut peer = TcpStream::connect(from).unwrap();
    // What has come before an error is kept.
    let _ = peer.read_to_end(&mut received);
    received
}

/// Whether a connection lives through five messages and its end.
fn echoes(mut peer: impl Read + Write, round: u8) -> bool {
    (0..5).all(|number| {
        let message = [round, number, 3, 4];
        let mut back = [0; 4];
        let is_up = peer.write_all(&message).is_ok() && peer.read_exact(&mut back).is_ok();
        assert!(!is_up || back == message);
        is_up
    })
}

fn is_missing() -> bool {
    let found = Command::new("strace").arg("--version").output().is_ok();
    if !found {
        let message = "strace is missing: what errors of system calls do is not tested";
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{message}"
        );
        eprintln!("{message}");
    }
    !found
}

#[test]
fn no_error_of_a_system_call_leaks_spins_or_is_kept_from_the_protocol() {
    if is_program() {
        return program();
    }
    if is_missing() {
        return;
    }
    let epoll = "?epoll_wait,?epoll_pwait,?epoll_pwait2";
    // What is injected; how many of 40 connections are cut; how many of 40 datagrams are lost;
    // and how many errors the datagram protocol is told of.
    let cases = [
        (format!("{epoll}:error=EINTR:when=2+2"), 0, 0, 0..=0),
        ("accept4:error=EINTR:when=1+2".to_owned(), 0, 0, 0..=0),
        (
            "accept4:error=ECONNABORTED:when=1+2".to_owned(),
            0,
            0,
            0..=0,
        ),
        // Who waits is turned away, and the next one after a rest is served.
        ("accept4:error=EMFILE:when=3".to_owned(), 1, 0, 0..=0),
        ("accept4:error=ENFILE:when=3".to_owned(), 1, 0, 0..=0),
        ("accept4:error=ENOBUFS:when=3".to_owned(), 0, 0, 0..=0),
        ("epoll_ctl:error=ENOSPC:when=12".to_owned(), 1, 0, 0..=0),
        ("recvfrom:error=EINTR:when=1+2".to_owned(), 0, 0, 0..=0),
        ("recvfrom:error=ECONNRESET:when=7".to_owned(), 1, 0, 0..=0),
        ("sendto:error=EINTR:when=1+2".to_owned(), 0, 0, 0..=0),
        // Once: whoever meant it would say later that there is room.
        ("sendto:error=EAGAIN:when=1".to_owned(), 0, 0, 0..=0),
        ("sendto:error=ENOBUFS:when=7".to_owned(), 1, 0, 0..=0),
        ("sendto:error=EPIPE:when=7".to_owned(), 1, 0, 0..=0),
        ("sendmsg:error=EINTR:when=1+2".to_owned(), 0, 0, 0..=0),
        ("sendmsg:error=EAGAIN:when=1".to_owned(), 0, 0, 0..=0),
        ("sendmsg:error=ENOBUFS:when=3".to_owned(), 1, 0, 0..=0),
        ("sendmsg:error=ECONNRESET:when=3".to_owned(), 1, 0, 0..=0),
        ("sendfile:error=EINTR:when=1+2".to_owned(), 0, 0, 0..=0),
        ("sendfile:error=EAGAIN:when=1".to_owned(), 0, 0, 0..=0),
        ("sendfile:error=EIO:when=3".to_owned(), 1, 0, 0..=0),
        ("sendfile:error=ENOMEM:when=3".to_owned(), 1, 0, 0..=0),
        // Its own five sockets come first.
        ("socket:error=EMFILE:when=9".to_owned(), 1, 0, 0..=0),
        ("connect:error=ECONNREFUSED:when=3".to_owned(), 1, 0, 0..=0),
        ("connect:error=ENOBUFS:when=3".to_owned(), 1, 0, 0..=0),
        ("connect:error=EADDRNOTAVAIL:when=3".to_owned(), 1, 0, 0..=0),
        ("recvmmsg:error=EINTR:when=1+2".to_owned(), 0, 0, 0..=0),
        ("recvmmsg:error=ENOMEM:when=1+2".to_owned(), 0, 0, 1..=100),
        ("recvmmsg:error=ENOBUFS:when=1+3".to_owned(), 0, 0, 1..=100),
        ("recvmmsg:error=EMFILE:when=2+3".to_owned(), 0, 0, 1..=100),
        (
            "recvmmsg:error=ECONNREFUSED:when=2+3".to_owned(),
            0,
            0,
            1..=100,
        ),
        ("sendmmsg:error=EINTR:when=1+2".to_owned(), 0, 0, 0..=0),
        ("sendmmsg:error=EAGAIN:when=1+2".to_owned(), 0, 0, 0..=0),
        ("sendmmsg:error=ENOBUFS:when=1+2".to_owned(), 0, 0, 0..=0),
        (
            "sendmmsg:error=ECONNREFUSED:when=1+2".to_owned(),
            0,
            0,
            0..=0,
        ),
    ];
    for (inject, cut, lost, told) in cases {
        let program = Faulty::start(&inject);
        let mut was_cut = program.exchange_streams();
        was_cut += program.receive_everything();
        was_cut += program.let_it_ask();
        assert_eq!(was_cut, cut, "{inject}");
        program.exchange_datagrams(lost);
        let end = program.end();
        assert!(end.injected > 0, "{inject}");
        assert_eq!(end.made, end.lost, "{inject}");
        // 40 of clients, and for 10 of them one at both its ends; one that fails takes two along.
        assert!(end.made + 3 * cut >= 60, "{inject}: {} made", end.made);
        assert!(told.contains(&end.failed), "{inject}: {} told", end.failed);
        assert!(
            end.at_end <= end.ready + 4,
            "{inject}: {} of {}",
            end.at_end,
            end.ready
        );
        // 20 connections with 5 messages, 10 with a file, 10 that ask, and 40 datagrams.
        assert!(end.calls < 1800, "{inject}: {} calls", end.calls);
    }
}
