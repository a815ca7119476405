//! What a channel tells its policies, and what it lets them decide.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_core::{
    ConnectionLimits, Deadline, DeadlinePassed, Failure, FileRegion, Layer, Policy,
};

use crate::layer_kit::{Invert, Secure, inverted};
use crate::rig::{End, Log, Rig, Script};

const SECOND: Duration = Duration::from_secs(1);

/// Writes down what it is told, in the protocol's log.
struct Watch {
    log: Log,
    fails_at: Option<Instant>,
    after: Option<Duration>,
}

impl Watch {
    fn new(log: &Log) -> Self {
        Self {
            log: Rc::clone(log),
            fails_at: None,
            after: None,
        }
    }

    fn failing(log: &Log, after: Duration) -> Self {
        let mut watch = Self::new(log);
        watch.after = Some(after);
        watch
    }

    fn told(&self, what: impl Into<String>) {
        self.log.borrow_mut().push(what.into());
    }
}

impl Policy for Watch {
    fn connected(&mut self, now: Instant) {
        self.told("policy: connected");
        self.fails_at = self.after.map(|after| now + after);
    }
    fn ready(&mut self, _: Instant) {
        self.told("policy: ready");
    }
    fn received(&mut self, count: u64, _: Instant) {
        self.told(format!("policy: received {count}"));
    }
    fn sent(&mut self, count: u64, _: Instant) {
        self.told(format!("policy: sent {count}"));
    }
    fn deadline(&self) -> Option<Instant> {
        self.fails_at
    }
    fn deadline_passed(&mut self, _: Instant) -> Result<(), Failure> {
        self.told("policy: deadline");
        Err(Failure::msg("over"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.told("policy: dropped");
    }
}

/// Lets so many bytes go each second, and reads only in the first one.
struct Drip {
    each: u64,
    left: u64,
    next: Option<Instant>,
}

impl Drip {
    fn new(each: u64) -> Self {
        let (left, next) = (each, None);
        Self { each, left, next }
    }
}

impl Policy for Drip {
    fn connected(&mut self, now: Instant) {
        self.next = Some(now + SECOND);
    }
    fn sent(&mut self, count: u64, _: Instant) {
        assert!(count <= self.left, "{count} of {}", self.left);
        self.left -= count;
    }
    fn deadline(&self) -> Option<Instant> {
        self.next
    }
    fn deadline_passed(&mut self, now: Instant) -> Result<(), Failure> {
        self.left = self.each;
        self.next = Some(now + SECOND);
        Ok(())
    }
    fn may_send(&mut self, wanted: u64, _: Instant) -> u64 {
        wanted.min(self.left)
    }
}

fn with(
    script: Script,
    layers: Vec<Box<dyn Layer>>,
    limits: ConnectionLimits,
    policies: Vec<Box<dyn Policy>>,
) -> Rig {
    let mut rig = Rig::with(script, layers, limits);
    let channel = rig.channel.take().unwrap();
    rig.channel = Some(channel.with_policies(policies));
    rig
}

fn held_to(script: Script, policy: impl Policy) -> Rig {
    let limits = ConnectionLimits::default();
    with(script, Vec::new(), limits, vec![Box::new(policy)])
}

#[test]
fn a_policy_sees_events_and_amounts_and_goes_last() {
    let log = Log::default();
    let script = Script::named("", &log).on("data", |transport, data| transport.write(data));
    let mut rig = held_to(script, Watch::new(&log));
    rig.connect();
    rig.receive(b"four");
    rig.close_read();
    assert_eq!(
        log.take(),
        [
            "policy: connected",
            "policy: ready",
            "made",
            "policy: received 4",
            "data four",
            "policy: sent 4",
            "read_closed",
            "lost done",
            "policy: dropped",
        ]
    );
}

#[test]
fn a_policy_outlives_the_protocol_that_is_exchanged() {
    let log = Log::default();
    let second = Rc::new(RefCell::new(Some(Script::named("2 ", &log))));
    let script = Script::named("1 ", &log).on("data", move |transport, _| {
        let second = second.take().unwrap();
        transport.exchange_protocol(Box::new(second), b"");
    });
    let mut rig = held_to(script, Watch::new(&log));
    rig.connect();
    rig.receive(b"go");
    rig.receive(b"on");
    rig.handle().abort_connection();
    rig.end_turn();
    assert_eq!(
        log.take(),
        [
            "policy: connected",
            "policy: ready",
            "1 made",
            "policy: received 2",
            "1 data go",
            "2 made",
            "policy: received 2",
            "2 data on",
            "2 lost aborted",
            "policy: dropped",
        ]
    );
}

#[test]
fn a_policy_counts_on_the_wire_and_is_told_when_the_layers_are_ready() {
    let log = Log::default();
    let script = Script::named("", &log);
    let limits = ConnectionLimits::default();
    let layers: Vec<Box<dyn Layer>> = vec![Box::new(Secure::default())];
    let mut rig = with(script, layers, limits, vec![Box::new(Watch::new(&log))]);
    rig.connect();
    let before = log.take();
    assert_eq!(before[0], "policy: connected");
    assert!(!before.iter().any(|told| told == "policy: ready"));
    rig.receive(b"OK");
    let told = log.take();
    assert_eq!(told[..3], ["policy: received 2", "policy: ready", "made"]);
}

#[test]
fn a_policys_failure_closes_or_resets_if_something_is_unsent() {
    for (room, end) in [(usize::MAX, End::Close), (1, End::Abort)] {
        let log = Log::default();
        let script = Script::named("", &log).on("made", |transport, _| transport.write(b"hi"));
        let mut rig = held_to(script, Watch::failing(&log, 5 * SECOND));
        rig.room = room;
        rig.connect();
        rig.advance(5 * SECOND - Duration::from_nanos(1));
        assert_eq!(rig.end, None);
        rig.advance(Duration::from_nanos(1));
        assert_eq!(rig.end, Some(end));
        let told = log.take();
        assert_eq!(
            told[told.len() - 3..],
            ["policy: deadline", "lost over", "policy: dropped"]
        );
    }
}

#[test]
fn the_driver_gets_no_more_than_the_policies_let_go_and_in_order() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"0123456789").unwrap();
    let region = FileRegion {
        file: Arc::new(file),
        offset: 0,
        len: 10,
    };
    let script = Script::new().on("made", move |transport, _| {
        transport.write(b"head ");
        transport.write_file(region.clone());
        transport.write_bytes(vec![b'b'; 2000].into());
        transport.write(b" tail");
        transport.lose_connection();
    });
    let mut rig = held_to(script, Drip::new(7));
    rig.connect();
    let whole = [
        b"head 0123456789".to_vec(),
        vec![b'b'; 2000],
        b" tail".to_vec(),
    ]
    .concat();
    for second in 1..=whole.len() / 7 {
        assert_eq!(rig.sent, whole[..7 * second]);
        assert_eq!(rig.end, None);
        rig.advance(SECOND);
    }
    assert_eq!(rig.sent, whole);
    assert_eq!(rig.end, Some(End::Close));
    assert_eq!(rig.told(), ["made", "lost done"]);
}

#[test]
fn a_driver_that_takes_less_than_is_let_go_loses_nothing() {
    let script = Script::new().on("made", |transport, _| transport.write(&[b'x'; 100]));
    let mut rig = held_to(script, Drip::new(10));
    rig.room = 3;
    rig.connect();
    assert_eq!(rig.sent.len(), 3);
    rig.make_room(100);
    assert_eq!(rig.sent.len(), 10);
    rig.advance(SECOND);
    assert_eq!(rig.sent.len(), 20);
}

#[test]
fn what_goes_through_layers_is_held_back_below_them() {
    let script = Script::new().on("made", |transport, _| transport.write(b"0123456789"));
    let limits = ConnectionLimits::default();
    let layers: Vec<Box<dyn Layer>> = vec![Box::new(Invert)];
    let mut rig = with(script, layers, limits, vec![Box::new(Drip::new(4))]);
    rig.connect();
    assert_eq!(rig.sent, inverted(b"0123"));
    rig.advance(SECOND);
    rig.advance(SECOND);
    assert_eq!(rig.sent, inverted(b"0123456789"));
}

#[test]
fn the_narrowest_policy_decides() {
    let script = Script::new().on("made", |transport, _| transport.write(&[b'x'; 100]));
    let limits = ConnectionLimits::default();
    let policies: Vec<Box<dyn Policy>> = vec![Box::new(Drip::new(9)), Box::new(Drip::new(4))];
    let mut rig = with(script, Vec::new(), limits, policies);
    rig.connect();
    assert_eq!(rig.sent.len(), 4);
    rig.advance(SECOND);
    assert_eq!(rig.sent.len(), 8);
}

#[test]
fn a_throttle_is_no_stall_and_the_peers_time_begins_when_it_is_over() {
    let script = Script::new().on("made", |transport, _| transport.write(&[b'x'; 30]));
    let limits = ConnectionLimits {
        write_stall: SECOND / 2,
        ..Default::default()
    };
    let mut rig = with(script, Vec::new(), limits, vec![Box::new(Drip::new(10))]);
    rig.connect();
    rig.advance(SECOND * 9 / 10);
    assert_eq!(rig.end, None, "the throttle holds it");
    rig.room = 0;
    rig.advance(SECOND / 10);
    assert_eq!(rig.end, None, "it was offered just now");
    assert_eq!(rig.deadline(), Some(SECOND * 3 / 2));
    rig.advance(SECOND / 2);
    assert_eq!(rig.told(), ["made", "lost stalled"]);
}

/// Wants no bytes for a second.
struct Deaf(Option<Instant>);

impl Policy for Deaf {
    fn connected(&mut self, now: Instant) {
        self.0 = Some(now + SECOND);
    }
    fn deadline(&self) -> Option<Instant> {
        self.0
    }
    fn deadline_passed(&mut self, _: Instant) -> Result<(), Failure> {
        self.0 = None;
        Ok(())
    }
    fn may_receive(&self) -> bool {
        self.0.is_none()
    }
}

#[test]
fn a_policy_keeps_the_loop_from_reading_and_lets_it_again() {
    for layers in [Vec::new(), vec![Box::new(Invert) as Box<dyn Layer>]] {
        let limits = ConnectionLimits::default();
        let policies: Vec<Box<dyn Policy>> = vec![Box::new(Deaf(None))];
        let mut rig = with(Script::new(), layers, limits, policies);
        rig.connect();
        assert!(!rig.wants_read());
        rig.advance(SECOND);
        assert!(rig.wants_read());
        rig.handle().pause_producing();
        assert!(!rig.wants_read(), "the protocol decides too");
    }
}

/// Panics in one of its methods.
struct Faulty(&'static str);

impl Faulty {
    fn at(&self, method: &str) {
        assert!(self.0 != method, "on purpose");
    }
}

impl Policy for Faulty {
    fn connected(&mut self, _: Instant) {
        self.at("connected");
    }
    fn ready(&mut self, _: Instant) {
        self.at("ready");
    }
    fn received(&mut self, _: u64, _: Instant) {
        self.at("received");
    }
    fn sent(&mut self, _: u64, _: Instant) {
        self.at("sent");
    }
    fn deadline(&self) -> Option<Instant> {
        self.at("deadline");
        None
    }
    fn may_receive(&self) -> bool {
        self.at("may_receive");
        true
    }
    fn may_send(&mut self, wanted: u64, _: Instant) -> u64 {
        self.at("may_send");
        wanted
    }
}

#[test]
fn a_panic_in_a_policy_ends_its_connection_and_is_named() {
    for method in [
        "connected",
        "ready",
        "received",
        "sent",
        "deadline",
        "may_receive",
        "may_send",
    ] {
        let script = Script::new().on("data", |transport, data| transport.write(data));
        let mut rig = held_to(script, Faulty(method));
        rig.connect();
        rig.receive(b"x");
        let _ = (rig.wants_read(), rig.deadline());
        rig.end_turn();
        assert_eq!(rig.end, Some(End::Abort), "{method}");
        if let Some(last) = rig.told().last() {
            assert_eq!(*last, format!("lost panic in Policy::{method}"));
        }
    }
}

/// Leaves its deadline where it was.
struct Stuck(Option<Instant>);

impl Policy for Stuck {
    fn connected(&mut self, now: Instant) {
        self.0 = Some(now + SECOND);
    }
    fn deadline(&self) -> Option<Instant> {
        self.0
    }
}

#[test]
fn a_policy_that_breaks_its_contract_ends_its_connection_and_not_the_loop() {
    let mut rig = held_to(Script::new(), Stuck(None));
    rig.connect();
    rig.advance(SECOND);
    assert!(rig.told()[1].contains("left its deadline"));
}

fn ended_by_handshake(told: &[String]) -> bool {
    let passed = DeadlinePassed {
        deadline: Deadline::Handshake,
        after: 10 * SECOND,
    };
    told.last() == Some(&format!("lost {passed}"))
}

#[test]
fn layers_that_are_not_ready_in_ten_seconds_end_the_connection() {
    let mut rig = Rig::layered(Script::new(), vec![Box::new(Secure::default())]);
    rig.connect();
    assert_eq!(rig.deadline(), Some(10 * SECOND));
    rig.advance(5 * SECOND);
    rig.receive(b"O");
    rig.advance(5 * SECOND - Duration::from_nanos(1));
    assert_eq!(rig.end, None, "bytes alone are no handshake");
    rig.advance(Duration::from_nanos(1));
    assert_eq!(rig.end, Some(End::Close));
    assert!(rig.told().is_empty(), "the protocol was never made");
}

#[test]
fn layers_that_are_ready_in_time_have_no_deadline_any_more() {
    let mut rig = Rig::layered(Script::new(), vec![Box::new(Secure::default())]);
    rig.connect();
    rig.advance(9 * SECOND);
    rig.receive(b"OK");
    assert_eq!(rig.deadline(), None);
    rig.advance(100 * SECOND);
    assert_eq!(rig.told(), ["made"]);
    let rig = Rig::connected(Script::new());
    assert_eq!(rig.deadline(), None, "no layers, no handshake");
}

#[test]
fn a_layer_that_is_pushed_has_ten_seconds_of_its_own() {
    let mut rig = Rig::connected(Script::new());
    rig.advance(100 * SECOND);
    rig.handle()
        .act(|transport| transport.push_layer(Box::new(Secure::default())));
    rig.end_turn();
    assert_eq!(rig.deadline(), Some(110 * SECOND));
    rig.advance(10 * SECOND);
    assert!(ended_by_handshake(&rig.told()));
}
