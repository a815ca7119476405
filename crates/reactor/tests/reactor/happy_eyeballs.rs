//! Which addresses of a host are tried, and when: on a driver whose network and time are a script;
//! and on loopback.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::{ClientEndpoint, ServerEndpoint, TcpConnect};
use ropewalk_core::{
    Address, Cancelled, ConnectError, Connection, ConnectionId, Deferred, Failure, FixedNames,
    NameResolver, OutputQueue, SendStatus, SocketOption,
};
use ropewalk_reactor::Reactor;
use ropewalk_reactor::driver::{Completions, Driver, ListenerId, QueryId, Target, Wake};

use crate::support::{On, factory, serve};
use Fate::{Answers, Never, NoRoute, Refuses};

/// What becomes of connecting to an address.
#[derive(Clone, Copy)]
enum Fate {
    Answers(u64),
    Refuses(u64),
    Never,
    /// It cannot even be begun.
    NoRoute,
}

/// A network by a script: time goes on when there is nothing to do.
struct Script {
    start: Instant,
    now: Cell<Duration>,
    fates: BTreeMap<IpAddr, Fate>,
    /// Each of which is told at its time; `None` is a look-up.
    under_way: RefCell<Vec<(Duration, Event)>>,
    log: Rc<RefCell<Vec<String>>>,
}

#[derive(Clone)]
enum Event {
    Connect(ConnectionId, SocketAddr, bool),
    Found(QueryId, String),
}

struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

impl Script {
    fn new(fates: &[(&str, Fate)]) -> Rc<Self> {
        let fates = fates.iter().map(|(ip, fate)| (ip.parse().unwrap(), *fate));
        Rc::new(Self {
            start: Instant::now(),
            now: Cell::default(),
            fates: fates.collect(),
            under_way: RefCell::default(),
            log: Rc::default(),
        })
    }

    fn note(&self, what: &str) {
        let at = self.now.get().as_millis();
        self.log.borrow_mut().push(format!("{at} {what}"));
    }

    fn later(&self, millis: u64, event: Event) {
        let at = self.now.get() + Duration::from_millis(millis);
        self.under_way.borrow_mut().push((at, event));
    }

    fn forget(&self, id: ConnectionId) {
        let mut under_way = self.under_way.borrow_mut();
        under_way.retain(|(_, event)| match event {
            Event::Connect(one, address, _) if *one == id => {
                self.note(&format!("give up {}", address.ip()));
                false
            }
            _ => true,
        });
    }
}

impl Driver for Script {
    fn now(&self) -> Instant {
        self.start + self.now.get()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn listen(&self, _: ListenerId, _: &ServerEndpoint) -> io::Result<Address> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn resume_accepting(&self, _: ListenerId) {}

    fn close_listener(&self, _: ListenerId) {}

    fn resolve(&self, query: QueryId, host: &str, _: u16) {
        self.note(&format!("look up {host}"));
        self.later(10, Event::Found(query, host.to_owned()));
    }

    fn cancel_resolve(&self, query: QueryId) {
        let mut under_way = self.under_way.borrow_mut();
        under_way.retain(|(_, event)| match event {
            Event::Found(one, host) if *one == query => {
                self.note(&format!("forget {host}"));
                false
            }
            _ => true,
        });
    }

    fn connect(&self, id: ConnectionId, target: Target<'_>) -> io::Result<()> {
        let Target::Tcp(address, _) = target else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.note(&format!("try {}", address.ip()));
        match self.fates[&address.ip()] {
            Answers(millis) => self.later(millis, Event::Connect(id, address, true)),
            Refuses(millis) => self.later(millis, Event::Connect(id, address, false)),
            Never => self.later(1_000_000_000, Event::Connect(id, address, false)),
            NoRoute => return Err(io::ErrorKind::NetworkUnreachable.into()),
        }
        Ok(())
    }

    fn send(&self, _: ConnectionId, output: &mut OutputQueue) -> io::Result<SendStatus> {
        output.clear();
        Ok(SendStatus::Ready)
    }

    fn set_reading(&self, _: ConnectionId, _: bool) {}

    fn shutdown_write(&self, _: ConnectionId) -> io::Result<()> {
        Ok(())
    }

    fn set_option(&self, _: ConnectionId, _: SocketOption) -> io::Result<()> {
        Ok(())
    }

    fn close(&self, id: ConnectionId) {
        self.forget(id);
    }

    fn abort(&self, id: ConnectionId) {
        self.forget(id);
    }

    fn poll(&self, timeout: Option<Duration>, completions: &mut dyn Completions) -> io::Result<()> {
        let until = timeout.map(|timeout| self.now.get() + timeout);
        let next = self.under_way.borrow().iter().map(|(at, _)| *at).min();
        let now = match (next, until) {
            (Some(next), Some(until)) => next.min(until),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => return Err(io::Error::other("nothing will ever happen")),
        };
        self.now.set(now.max(self.now.get()));
        completions.waited();
        let mut due = VecDeque::new();
        self.under_way.borrow_mut().retain(|(at, event)| {
            let is_due = *at <= now;
            if is_due {
                due.push_back(event.clone());
            }
            !is_due
        });
        for event in due {
            match event {
                Event::Connect(id, address, true) => {
                    self.note(&format!("connected {}", address.ip()));
                    completions.opened(id, &Rc::new(Address::Tcp(address)));
                }
                Event::Connect(id, _, false) => {
                    completions.connect_failed(id, io::ErrorKind::ConnectionRefused.into());
                }
                Event::Found(query, host) => {
                    let found = match host.as_str() {
                        "nowhere.example.com" => Err(io::Error::other("no such name")),
                        _ => Ok(vec!["192.0.2.1:0".parse().unwrap()]),
                    };
                    completions.resolved(query, found);
                }
            }
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::new(NoWake)
    }
}

fn endpoint() -> TcpConnect {
    TcpConnect::new("host.example.com", 80)
}

/// Connects to a host with these addresses; what came of it, and what was done at which time.
fn connect(
    endpoint: TcpConnect,
    fates: &[(&str, Fate)],
) -> (Result<Connection, Failure>, Vec<String>) {
    let script = Script::new(fates);
    let reactor = Reactor::with_driver(Rc::clone(&script) as Rc<dyn Driver>);
    let addresses = fates.iter().map(|(ip, _)| ip.parse().unwrap());
    let names = FixedNames::new().with("host.example.com", addresses);
    reactor.install_name_resolver(Rc::new(names));
    let result = outcome(&reactor, &endpoint.into());
    (result, script.log.take())
}

fn outcome(reactor: &Reactor, endpoint: &ClientEndpoint) -> Result<Connection, Failure> {
    let outcome = Rc::new(RefCell::new(None));
    let (kept, stop) = (Rc::clone(&outcome), reactor.handle());
    let connecting = reactor.connect(endpoint, factory(On::nothing));
    let _done: Deferred<()> = connecting.add_both(move |result| {
        *kept.borrow_mut() = Some(result);
        stop.stop_now();
    });
    let _ended_at_once = reactor.run();
    assert_eq!(reactor.connections(), 0);
    outcome.take().expect("the Deferred has not fired")
}

#[test]
fn the_first_address_that_answers_soon_is_the_only_one_tried() {
    let (result, log) = connect(
        endpoint(),
        &[("2001:db8::1", Answers(249)), ("192.0.2.1", Answers(0))],
    );
    assert!(result.is_ok());
    assert_eq!(log, ["0 try 2001:db8::1", "249 connected 2001:db8::1"]);
}

#[test]
fn a_silent_address_has_the_next_one_beside_it_after_250_ms_and_the_winner_ends_the_others() {
    let fates = [
        ("2001:db8::1", Never),
        ("2001:db8::2", Never),
        ("192.0.2.1", Never),
        ("192.0.2.2", Answers(30)),
        ("192.0.2.3", Answers(0)),
    ];
    let (result, log) = connect(endpoint(), &fates);
    assert!(result.is_ok());
    assert_eq!(
        log,
        [
            "0 try 2001:db8::1",
            "250 try 192.0.2.1",
            "500 try 2001:db8::2",
            "750 try 192.0.2.2",
            "780 connected 192.0.2.2",
            "780 give up 2001:db8::1",
            "780 give up 192.0.2.1",
            "780 give up 2001:db8::2",
        ]
    );
}

#[test]
fn a_slow_first_address_may_still_win() {
    let (result, log) = connect(
        endpoint(),
        &[("2001:db8::1", Answers(400)), ("192.0.2.1", Answers(300))],
    );
    assert!(result.is_ok());
    assert_eq!(
        log[2..],
        ["400 connected 2001:db8::1", "400 give up 192.0.2.1"]
    );
}

#[test]
fn after_a_failure_the_next_one_is_tried_at_once() {
    let fates = [
        ("2001:db8::1", Refuses(5)),
        ("192.0.2.1", NoRoute),
        ("2001:db8::2", Refuses(7)),
        ("192.0.2.2", Answers(1)),
    ];
    let (result, log) = connect(endpoint(), &fates);
    assert!(result.is_ok());
    assert_eq!(
        log,
        [
            "0 try 2001:db8::1",
            "5 try 192.0.2.1",
            "5 try 2001:db8::2",
            "12 try 192.0.2.2",
            "13 connected 192.0.2.2",
        ]
    );
}

#[test]
fn a_failure_starts_the_delay_anew() {
    let fates = [
        ("192.0.2.1", Refuses(100)),
        ("192.0.2.2", Never),
        ("192.0.2.3", Answers(1)),
    ];
    let (_, log) = connect(endpoint(), &fates);
    assert_eq!(
        log[..3],
        ["0 try 192.0.2.1", "100 try 192.0.2.2", "350 try 192.0.2.3"]
    );
}

#[test]
fn when_all_fail_the_error_tells_of_each_address() {
    let (result, _) = connect(
        endpoint(),
        &[("2001:db8::1", NoRoute), ("192.0.2.1", Refuses(3))],
    );
    let failure = result.unwrap_err();
    assert!(
        matches!(failure.check(), Some(ConnectError::AllFailed { attempts, .. }) if attempts.len() == 2)
    );
    assert_eq!(
        failure.to_string(),
        "cannot connect to tcp:host.example.com:80: none of its addresses can be reached: \
         [2001:db8::1]:80: network unreachable; 192.0.2.1:80: connection refused"
    );
    let many: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}")).collect();
    let fates: Vec<_> = many.iter().map(|ip| (ip.as_str(), Refuses(1))).collect();
    let text = connect(endpoint(), &fates).0.unwrap_err().to_string();
    assert!(
        text.ends_with("192.0.2.7:80: connection refused; and 24 others"),
        "{text}"
    );
}

#[test]
fn one_address_fails_as_itself() {
    let failure = connect(endpoint(), &[("192.0.2.1", Refuses(1))])
        .0
        .unwrap_err();
    assert!(
        matches!(failure.check(), Some(ConnectError::Refused { .. })),
        "{failure}"
    );
}

#[test]
fn all_of_it_has_the_time_of_the_endpoint() {
    let endpoint = endpoint().timeout(Duration::from_millis(300));
    let (result, log) = connect(
        endpoint,
        &[
            ("2001:db8::1", Never),
            ("192.0.2.1", Never),
            ("192.0.2.2", Never),
        ],
    );
    let failure = result.unwrap_err();
    assert!(
        matches!(failure.check(), Some(ConnectError::TimedOut { .. })),
        "{failure}"
    );
    assert_eq!(
        log[2..],
        ["300 give up 2001:db8::1", "300 give up 192.0.2.1"]
    );
}

#[test]
fn cancelling_gives_up_all_that_are_tried() {
    let script = Script::new(&[("192.0.2.1", Never), ("192.0.2.2", Never)]);
    let reactor = Reactor::with_driver(Rc::clone(&script) as Rc<dyn Driver>);
    let addresses = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
    reactor.install_name_resolver(Rc::new(
        FixedNames::new().with("host.example.com", addresses),
    ));
    let connecting = reactor.connect(&endpoint().into(), factory(On::nothing));
    let (stop, log) = (reactor.handle(), Rc::clone(&script.log));
    let failed = connecting.add_errback(|failure| {
        assert!(failure.check::<Cancelled>().is_some());
        Connection::default()
    });
    let cancelled = Rc::new(failed);
    let cancel = Rc::clone(&cancelled);
    reactor.call_later(Duration::from_millis(260), move || {
        cancel.cancel();
        assert_eq!(
            log.borrow()[2..],
            ["260 give up 192.0.2.1", "260 give up 192.0.2.2"]
        );
        stop.stop();
    });
    reactor.run().unwrap();
    assert!(cancelled.is_fired());
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn equal_names_are_looked_up_once_and_each_gets_its_port() {
    let script = Script::new(&[("192.0.2.1", Answers(0))]);
    let reactor = Reactor::with_driver(Rc::clone(&script) as Rc<dyn Driver>);
    let names = reactor.name_resolver();
    let ports: Rc<RefCell<Vec<u16>>> = Rc::default();
    let found: Vec<_> = (1..=3)
        .map(|port| {
            let ports = Rc::clone(&ports);
            let found = names.resolve_host_name("host.example.com", port);
            found.add_callback(move |found: Vec<SocketAddr>| {
                ports.borrow_mut().push(found[0].port());
            })
        })
        .collect();
    let other = names.resolve_host_name("nowhere.example.com", 80);
    let failed = other.add_errback(|failure| {
        assert_eq!(failure.to_string(), "no such name");
        Vec::new()
    });
    let stop = reactor.handle();
    reactor.call_later(Duration::from_millis(20), move || stop.stop());
    reactor.run().unwrap();
    assert!(found.iter().all(Deferred::is_fired) && failed.is_fired());
    assert_eq!(ports.take(), [1, 2, 3]);
    assert_eq!(
        script.log.take(),
        [
            "0 look up host.example.com",
            "0 look up nowhere.example.com"
        ]
    );
}

#[test]
fn a_look_up_is_given_up_when_the_last_who_waits_cancels() {
    let script = Script::new(&[]);
    let reactor = Reactor::with_driver(Rc::clone(&script) as Rc<dyn Driver>);
    let names = reactor.name_resolver();
    let ignore = |found: Deferred<Vec<SocketAddr>>| found.add_errback(|_| Vec::new());
    let first = ignore(names.resolve_host_name("host.example.com", 1));
    let second = ignore(names.resolve_host_name("host.example.com", 2));
    first.cancel();
    assert_eq!(script.log.borrow().len(), 1);
    second.cancel();
    assert_eq!(
        script.log.take(),
        ["0 look up host.example.com", "0 forget host.example.com"]
    );
    // It is looked up anew.
    let third = ignore(names.resolve_host_name("host.example.com", 3));
    assert_eq!(script.log.take(), ["0 look up host.example.com"]);
    drop(reactor);
    assert!(third.is_fired());
}

#[test]
fn no_more_names_than_may_be_are_looked_up() {
    let script = Script::new(&[]);
    let reactor = Reactor::with_driver(Rc::clone(&script) as Rc<dyn Driver>);
    let names = reactor.name_resolver();
    let text = Rc::new(RefCell::new(String::new()));
    let all: Vec<_> = (0..1025)
        .map(|n| {
            let kept = Rc::clone(&text);
            let found = names.resolve_host_name(&format!("{n}.example.com"), 80);
            found.add_errback(move |failure| {
                *kept.borrow_mut() = failure.to_string();
                Vec::new()
            })
        })
        .collect();
    assert_eq!(script.log.borrow().len(), 1024);
    assert!(all[1024].is_fired());
    assert_eq!(
        *text.borrow(),
        "1024 other names are being looked up; try again later"
    );
}

#[test]
fn an_address_needs_no_look_up() {
    let script = Script::new(&[]);
    let reactor = Reactor::with_driver(Rc::clone(&script) as Rc<dyn Driver>);
    assert!(
        reactor
            .name_resolver()
            .resolve_host_name("::1", 80)
            .is_fired()
    );
    assert!(script.log.borrow().is_empty());
}

/// A port where the system does not answer: its backlog holds one, and has it.
fn black_hole(ip: &str) -> (socket2::Socket, TcpStream, u16) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let address: SocketAddr = format!("{ip}:0").parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let waits = TcpStream::connect(address).unwrap();
    (socket, waits, address.port())
}

#[test]
fn on_loopback_a_black_hole_and_a_refusal_cost_one_delay() {
    let (hole, _waits, port) = black_hole("127.0.0.2");
    // Another test may have taken the same port there, if it can be taken at all.
    let Ok(answers) = TcpListener::bind(("127.0.0.4", port)) else {
        return;
    };
    let reactor = Reactor::new().unwrap();
    reactor
        .adopt_stream_port(answers.into(), factory(On::echo))
        .unwrap();
    let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"].map(|ip| ip.parse().unwrap());
    reactor.install_name_resolver(Rc::new(
        FixedNames::new().with("host.example.com", addresses),
    ));
    let before = Instant::now();
    let endpoint = TcpConnect::new("host.example.com", port);
    let connection = outcome(&reactor, &endpoint.into());
    assert!(connection.is_ok(), "{:?}", connection.err());
    assert!(before.elapsed() >= Duration::from_millis(250));
    drop(hole);
}

#[test]
fn a_resolver_that_never_answers_does_not_outlive_the_time_of_the_endpoint() {
    struct Silent(RefCell<Vec<ropewalk_core::Resolver<Vec<SocketAddr>>>>);
    impl NameResolver for Silent {
        fn resolve_host_name(&self, _: &str, _: u16) -> Deferred<Vec<SocketAddr>> {
            let (resolver, found) = Deferred::pair();
            self.0.borrow_mut().push(resolver);
            found
        }
    }
    let reactor = Reactor::new().unwrap();
    serve(&reactor, factory(On::echo));
    let silent = Rc::new(Silent(RefCell::default()));
    reactor.install_name_resolver(Rc::clone(&silent) as Rc<dyn NameResolver>);
    let endpoint = endpoint().timeout(Duration::from_millis(20));
    let failure = outcome(&reactor, &endpoint.into()).unwrap_err();
    assert!(
        matches!(failure.check(), Some(ConnectError::TimedOut { .. })),
        "{failure}"
    );
    assert!(silent.0.borrow()[0].is_cancelled());
}
