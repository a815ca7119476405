//! What the hot path allocates: a fixed bound for each kind of work, on real sockets.
//!
//! Each count is the difference between a long run and a short one, so that what is made once, for
//! the reactor and for the connection, is left out. Allocations are counted on the thread of the
//! reactor alone.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use ropewalk::framing::{
    FrameTransport, Int32StringReceiver, LineProtocol, LineReceiver, LineTransport,
    NetstringReceiver, StringProtocol,
};
use ropewalk::web::{Body, Site, handler_fn};
use ropewalk::{Address, Deferred, Factory, Protocol, Reactor, Transport};

const SHORT: usize = 200;
const LONG: usize = 5200;

/// One measures at a time: whether anybody is subscribed to what is traced is seen by all threads.
static ALONE: Mutex<()> = Mutex::new(());

/// Allocations for each of the rounds that `work` is told to do, and counts. How the rounds fall
/// into turns may cost a few in all, which are rounded away.
fn per_round(work: impl Fn(usize) -> u64) -> f64 {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What a process makes once, for the watchdog say, is left out.
    work(1);
    let (short, long) = (work(SHORT), work(LONG));
    let each = (long as f64 - short as f64) / (LONG - SHORT) as f64;
    (each * 100.0).round() / 100.0
}

/// What the reactor allocates while a peer sends `message`, and takes `answer` bytes, `rounds`
/// times.
fn exchanges(
    factory: Rc<dyn Factory>,
    message: &'static [u8],
    answer: usize,
    rounds: usize,
) -> u64 {
    let reactor = Reactor::new().unwrap();
    let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
    let port = reactor.listen(&endpoint, factory).unwrap();
    let address = port.address().socket_addr().unwrap();
    let remote = reactor.remote();
    let peer = std::thread::spawn(move || {
        let result = std::panic::catch_unwind(|| exchange(address, message, answer, rounds));
        remote.call_from_thread(|reactor| reactor.stop());
        result.unwrap();
    });
    let allocations = allocation_counter::measure(|| reactor.run().unwrap());
    peer.join().unwrap();
    allocations.count_total
}

fn exchange(address: SocketAddr, message: &[u8], answer: usize, rounds: usize) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_nodelay(true).unwrap();
    let mut buffer = vec![0; answer];
    for _ in 0..rounds {
        peer.write_all(message).unwrap();
        peer.read_exact(&mut buffer).unwrap();
    }
}

/// The length of what is answered to `request`.
fn answer_length(factory: &dyn Factory, request: &[u8]) -> usize {
    let mut protocol = factory.build_protocol(&Address::Unix(None)).unwrap();
    let mut transport = ropewalk::testing::StringTransport::new();
    protocol.connection_made(&mut transport);
    protocol.data_received(&mut transport, request);
    transport.value().len()
}

struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.set_timeout(Some(Duration::from_secs(60)));
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.reset_timeout();
        transport.write(data);
    }
}

#[test]
fn an_echo_with_its_timeout_reset_allocates_nothing() {
    let work = |rounds| exchanges(Rc::new(|_: &Address| Echo), &[7; 64], 64, rounds);
    assert_eq!(per_round(work), 0.0);
}

struct Frames;

impl LineProtocol for Frames {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        transport.send_line(line);
    }
}

impl StringProtocol for Frames {
    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        transport.send_string(string);
    }
}

#[test]
fn a_frame_that_comes_whole_and_is_answered_allocates_nothing() {
    let line: Rc<dyn Factory> = Rc::new(|_: &Address| LineReceiver::new(Frames));
    let netstring: Rc<dyn Factory> = Rc::new(|_: &Address| NetstringReceiver::new(Frames));
    let int32: Rc<dyn Factory> = Rc::new(|_: &Address| Int32StringReceiver::new(Frames));
    let kinds: [(Rc<dyn Factory>, &[u8]); 4] = [
        (Rc::clone(&line), b"hello\r\n"),
        // Several at once.
        (line, b"one\r\ntwo\r\nthree\r\n"),
        (netstring, b"5:hello,"),
        (int32, b"\0\0\0\x05hello"),
    ];
    for (factory, message) in kinds {
        let work = |rounds| exchanges(Rc::clone(&factory), message, message.len(), rounds);
        assert_eq!(per_round(work), 0.0, "{}", message.escape_ascii());
    }
}

#[test]
fn an_echo_that_is_traced_allocates_nothing_either() {
    let work = |rounds| {
        let subscriber = tracing_subscriber::fmt()
            .with_writer(std::io::sink)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            exchanges(Rc::new(|_: &Address| Echo), &[7; 64], 64, rounds)
        })
    };
    // The registry of spans has its own, a few for each run, and not the same for each.
    assert!(per_round(work) <= 0.02);
}

#[test]
fn a_timer_that_is_reset_allocates_nothing() {
    let resets = |rounds: usize| {
        let reactor = Reactor::new().unwrap();
        let timer = reactor.call_later(Duration::from_secs(3600), || {});
        let count = allocation_counter::measure(|| {
            for after in 0..rounds as u64 {
                assert!(timer.reset(Duration::from_secs(after)));
            }
        });
        count.count_total
    };
    assert_eq!(per_round(resets), 0.0);
}

/// A request with so many fields.
fn request(fields: usize) -> &'static [u8] {
    let mut text = "GET /page HTTP/1.1\r\nHost: example.com\r\n".to_owned();
    let names = [
        "User-Agent",
        "Accept",
        "Accept-Language",
        "Accept-Encoding",
        "Cookie",
    ];
    let more = ["DNT", "Referer", "Origin", "Cache-Control", "Pragma", "TE"];
    for name in names.iter().chain(&more).take(fields - 1) {
        text += &format!("{name}: value\r\n");
    }
    text += "\r\n";
    text.leak().as_bytes()
}

#[test]
fn a_request_answered_at_once_allocates_for_the_fields_of_its_answer_and_for_many_of_its_own() {
    let plain = HeaderValue::from_static("text/plain");
    // The answer's map has room for six fields when it is the next request's.
    for (fields, bound) in [(1, 2.0), (6, 2.0), (12, 4.0)] {
        let seen = Rc::new(Cell::new(0));
        let site = || {
            let (seen, plain) = (Rc::clone(&seen), plain.clone());
            Site::new(handler_fn(move |request: Request<Body>| {
                seen.set(seen.get() + request.headers().len());
                let response = Response::builder().header("content-type", plain.clone());
                response.body(Body::from("Hello, World!")).unwrap()
            }))
        };
        let message = request(fields);
        let length = answer_length(&site(), message);
        let allocations = per_round(|rounds| exchanges(Rc::new(site()), message, length, rounds));
        assert!(allocations <= bound, "{fields} fields: {allocations}");
        // One by hand, and one to begin with.
        assert_eq!(seen.get(), fields * (2 + SHORT + LONG));
    }
}

#[test]
fn a_link_of_a_chain_allocates_no_more_than_twice() {
    let chain = |links: usize| {
        let count = allocation_counter::measure(|| {
            let (resolver, mut deferred) = Deferred::<u64>::pair();
            for _ in 0..links {
                deferred = deferred.add_callback(|value: u64| value + 1);
            }
            resolver.callback(0);
            assert!(deferred.is_fired());
        });
        count.count_total
    };
    assert!(per_round(chain) <= 2.0);
}
