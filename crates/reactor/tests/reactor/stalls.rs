//! What holds up the loop is reported while it does.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, Once};
use std::time::Duration;

use ropewalk_core::{Connection, Deferred, ExitStatus, Failure, ProcessProtocol, Spawn};
use ropewalk_reactor::{Handle, Reactor};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::support::{On, nobody, once, run_with, serve};

/// Sends the fields of each report of this level or above.
struct Reports(Level, Mutex<Sender<String>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl<S: Subscriber> Layer<S> for Reports {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let is_report =
            event.metadata().target() == "ropewalk::stall" && *event.metadata().level() <= self.0;
        if is_report {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            // The test may be over.
            let _ = self.1.lock().unwrap().send(fields.0);
        }
    }
}

/// Runs `test` with a receiver of reports of stalls.
fn with_reports<R>(test: impl FnOnce(Receiver<String>) -> R) -> R {
    with_reports_of(Level::WARN, test)
}

fn with_reports_of<R>(level: Level, test: impl FnOnce(Receiver<String>) -> R) -> R {
    // An event that another test meets first, with nobody listening, would be taken for one that
    // nobody ever wants.
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
    });
    let (tell, told) = mpsc::channel();
    let subscriber = tracing_subscriber::registry().with(Reports(level, Mutex::new(tell)));
    tracing::subscriber::with_default(subscriber, || test(told))
}

#[test]
fn a_callback_that_stalls_is_reported_while_it_runs_with_its_connection() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(10)));
        let report = Rc::new(RefCell::new(None));
        let kept = Rc::clone(&report);
        // It returns when it was reported, and not before.
        let stalls = On::nothing().data(move |transport, _| {
            *kept.borrow_mut() = Some(reports.recv().unwrap());
            transport.write(b"at last");
            transport.lose_connection();
        });
        let address = serve(&reactor, once(stalls));
        let peer = run_with(&reactor, move || {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(b"x").unwrap();
            let mut answer = String::new();
            peer.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "at last");
            peer.local_addr().unwrap()
        });
        let report: String = report.take().unwrap();
        for field in [
            "callback=\"data_received\"",
            "connection=0.0 ",
            &format!("peer={peer} "),
            "protocol=\"reactor::support::On\"",
        ] {
            assert!(report.contains(field), "no {field} in {report}");
        }
        #[cfg(target_os = "linux")]
        {
            assert!(report.contains("state=\"S (sleeping)\""), "{report}");
            // The test itself, and what it waits in.
            let callers = report.split("callers=").nth(1).expect(&report);
            assert!(callers.contains("stalls.rs:"), "{report}");
            assert!(callers.contains("recv"), "{report}");
        }
        assert_eq!(reactor.stalls(), 1);
    });
}

#[test]
fn a_callback_that_computes_is_reported_while_it_does() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(10)));
        let (stop, report) = (reactor.handle(), Rc::new(RefCell::new(None)));
        let kept = Rc::clone(&report);
        reactor.call_when_running(move || {
            while kept.borrow().is_none() {
                *kept.borrow_mut() = reports.try_recv().ok();
            }
            stop.stop();
        });
        reactor.run().unwrap();
        let report: String = report.take().unwrap();
        #[cfg(target_os = "linux")]
        assert!(report.contains("state=\"R (running)\""), "{report}");
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        {
            let callers = report.split("callers=").nth(1).expect(&report);
            assert!(callers.contains("a_callback_that_computes"), "{report}");
            assert!(callers.contains("stalls.rs:"), "{report}");
        }
    });
}

/// Returns when the watchdog has looked at all loops for a while, which it shows by a report of
/// another one.
fn until_the_watchdog_has_looked() {
    let other = std::thread::spawn(|| {
        with_reports(|reports| {
            let reactor = Reactor::new().unwrap();
            reactor.set_stall_threshold(Some(Duration::from_millis(20)));
            let stop = reactor.handle();
            reactor.call_when_running(move || {
                reports.recv().unwrap();
                stop.stop();
            });
            reactor.run().unwrap();
        });
    });
    other.join().unwrap();
}

#[test]
fn a_stall_is_reported_once_however_long_it_is() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(5)));
        let (stop, seen) = (reactor.handle(), Rc::new(RefCell::new(Vec::new())));
        let kept = Rc::clone(&seen);
        reactor.call_later(Duration::ZERO, move || {
            kept.borrow_mut().push(reports.recv().unwrap());
            until_the_watchdog_has_looked();
            kept.borrow_mut().extend(reports.try_iter());
            stop.stop();
        });
        reactor.run().unwrap();
        let seen = seen.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].contains("callback=\"a call_later\""), "{seen:?}");
        assert!(!seen[0].contains("connection="), "{seen:?}");
        assert_eq!(reactor.stalls(), 1);
    });
}

#[test]
fn every_kind_of_callback_is_watched() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(5)));
        let (reports, seen) = (Rc::new(reports), Rc::new(RefCell::new(Vec::new())));
        let wait = || {
            let (reports, seen) = (Rc::clone(&reports), Rc::clone(&seen));
            move || seen.borrow_mut().push(reports.recv().unwrap())
        };
        reactor.call_when_running(wait());
        reactor.call_later(Duration::ZERO, wait());
        let poll = wait();
        let stop = reactor.handle();
        reactor.spawn(async move {
            poll();
            stop.stop();
        });
        reactor.run().unwrap();
        let seen = seen.take();
        for (report, kind) in seen
            .iter()
            .zip(["a call_when_running", "a call_later", "a task"])
        {
            assert!(report.contains(&format!("callback=\"{kind}\"")), "{report}");
        }
        assert_eq!(reactor.stalls(), 3);
    });
}

#[test]
fn what_learns_that_there_is_no_connection_is_watched_too() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(10)));
        let (_held, address) = nobody();
        let endpoint = format!("tcp:{address}").parse().unwrap();
        let connected = reactor.connect(&endpoint, once(On::nothing()));
        let (stop, seen) = (reactor.handle(), Rc::new(RefCell::new(None)));
        let kept = Rc::clone(&seen);
        let over = connected.add_both(move |result: Result<Connection, Failure>| {
            assert!(result.is_err());
            *kept.borrow_mut() = Some(reports.recv().unwrap());
            stop.stop();
        });
        reactor.run().unwrap();
        drop::<Deferred<()>>(over);
        let report: String = seen.take().unwrap();
        assert!(
            report.contains("callback=\"the end of a connect\""),
            "{report}"
        );
    });
}

#[test]
fn a_shorter_threshold_holds_at_once() {
    with_reports_of(Level::INFO, |reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(20)));
        let remote = reactor.remote();
        let (taken, was_taken) = mpsc::channel();
        reactor.call_when_running(move || {
            reports.recv().unwrap();
            taken.send(reports).unwrap();
        });
        run_with(&reactor, move || {
            let reports = was_taken.recv().unwrap();
            // Each time the watchdog looks, and then would again in a quarter of an hour.
            let long = |reactor: &Handle| {
                reactor.set_stall_threshold(Some(Duration::from_secs(3600)));
            };
            let report = loop {
                let told: Result<(), Failure> = remote.blocking_call_from_thread(long);
                told.unwrap();
                if let Ok(report) = reports.try_recv() {
                    break report;
                }
            };
            assert!(report.contains("the loop goes on"), "{report}");
            let told: Result<(), Failure> = remote.blocking_call_from_thread(move |reactor| {
                reactor.set_stall_threshold(Some(Duration::from_millis(10)));
                let report = reports.recv().unwrap();
                assert!(report.contains("a call_from_thread"), "{report}");
            });
            told.unwrap();
        });
    });
}

#[test]
fn a_loop_that_waits_is_no_stall() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(5)));
        run_with(&reactor, until_the_watchdog_has_looked);
        assert_eq!(reactor.stalls(), 0);
        assert_eq!(reports.try_iter().count(), 0);
    });
}

#[test]
fn stalls_are_not_reported_where_that_is_turned_off() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(None);
        let stop = reactor.handle();
        reactor.call_when_running(move || {
            until_the_watchdog_has_looked();
            stop.stop();
        });
        reactor.run().unwrap();
        assert_eq!(reactor.stalls(), 0);
        assert_eq!(reports.try_iter().count(), 0);
    });
}

#[test]
fn the_watchdog_waits_while_all_loops_wait_and_wakes_with_them() {
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(1)));
        let remote = reactor.remote();
        let reports = Mutex::new(reports);
        run_with(&reactor, move || {
            // Long enough for it to look in vain, and to wait.
            until_the_watchdog_has_looked();
            remote.call_from_thread(move |_| drop(reports.lock().unwrap().recv().unwrap()));
        });
        assert_eq!(reactor.stalls(), 1);
    });
}

#[test]
fn a_callback_of_a_process_that_stalls_is_reported() {
    struct Stalls(Option<Receiver<String>>, Rc<RefCell<String>>, Handle);
    impl ProcessProtocol for Stalls {
        fn process_ended(&mut self, _: ExitStatus) {
            // It returns when it was reported, and not before.
            *self.1.borrow_mut() = self.0.take().unwrap().recv().unwrap();
            self.2.stop();
        }
    }
    with_reports(|reports| {
        let reactor = Reactor::new().unwrap();
        reactor.set_stall_threshold(Some(Duration::from_millis(10)));
        let report = Rc::default();
        let stalls = Stalls(Some(reports), Rc::clone(&report), reactor.handle());
        // With no pipes, nothing else happens at its end.
        let mut spawn = Spawn::new("true");
        spawn.descriptors.clear();
        reactor.spawn_process(&spawn, stalls).unwrap();
        reactor.run().unwrap();
        let report = report.borrow();
        assert!(
            report.contains("callback=\"a callback of a process\""),
            "{report}"
        );
    });
}
