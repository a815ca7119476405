//! What comes out of a log: lines in files, with the spans of connections.
//!
//! Each test has a log of its own, for its own thread. Nothing sleeps.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ropewalk_core::{Address, Deferred, Failure, Protocol, Transport, defer_to_thread};
use ropewalk_reactor::Reactor;
use ropewalk_service::logging::{Log, LogFormat, Logging, LoggingError, Rotation};
use serde_json::Value;
use tempfile::TempDir;
use tracing::Dispatch;
use tracing::dispatcher::with_default;

const LONG: Duration = Duration::from_secs(60);

fn folder() -> (TempDir, PathBuf) {
    // An event that another test meets first, with nobody listening, would be taken for one that
    // nobody ever wants; and what threads of a pool log goes to the log of the process.
    static LISTEN: std::sync::Once = std::sync::Once::new();
    LISTEN.call_once(|| drop(PROCESS.text()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    (folder, path)
}

/// The one log of this process, which has the `log` crate and all threads.
struct Process {
    path: PathBuf,
    log: Log,
    _folder: TempDir,
}

static PROCESS: std::sync::LazyLock<Process> = std::sync::LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("process.log");
    let logging = Logging::new()
        .filter("warn,noisy=off,chatty=debug")
        .unwrap();
    let log = logging.file(&path, Rotation::never()).start().unwrap();
    Process {
        path,
        log,
        _folder: folder,
    }
});

impl Process {
    fn text(&self) -> String {
        assert!(self.log.flush(LONG));
        fs::read_to_string(&self.path).unwrap()
    }
}

fn build(logging: Logging, path: &Path, rotation: Rotation) -> (Dispatch, Log) {
    logging.file(path, rotation).build().unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn rotation_under_concurrent_writers_loses_no_line_and_keeps_each_ones_order() {
    let (_folder, path) = folder();
    let rotation = Rotation::by_size(20_000).keep(1000);
    let (dispatch, log) = build(Logging::new(), &path, rotation);
    thread::scope(|scope| {
        for writer in 0..8 {
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                with_default(&dispatch, || {
                    for number in 0..1000 {
                        tracing::info!(writer, number, "a line");
                    }
                });
            });
        }
    });
    drop(log);
    let numbered = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    let files = (1..)
        .take_while(|number| numbered(*number).exists())
        .count();
    assert!(files > 20, "{files} old files");
    let mut next = [0; 8];
    let old = (1..=files).rev().map(numbered);
    for file in old.chain([path.clone()]) {
        assert!(fs::metadata(&file).unwrap().len() <= 20_000);
        for line in lines(&file) {
            let field = |name: &str| -> usize {
                let value = line.split(name).nth(1).expect(&line);
                value.split(' ').next().unwrap().parse().unwrap()
            };
            let writer = field("writer=");
            assert_eq!(field("number="), next[writer], "{line}");
            next[writer] += 1;
        }
    }
    assert_eq!(next, [1000; 8]);
}

#[test]
fn a_file_that_was_put_aside_by_others_is_opened_again_on_demand() {
    let (folder, path) = folder();
    let (dispatch, log) = build(Logging::new(), &path, Rotation::never());
    let aside = folder.path().join("aside");
    with_default(&dispatch, || {
        tracing::info!("one");
        assert!(log.flush(LONG));
        fs::rename(&path, &aside).unwrap();
        tracing::info!("two");
        log.reopen();
        tracing::info!("three");
    });
    drop(log);
    let old = lines(&aside);
    assert!(old.len() == 2 && old[1].ends_with("two"), "{old:?}");
    let new = lines(&path);
    assert!(new.len() == 1 && new[0].ends_with("three"), "{new:?}");
}

#[test]
fn levels_are_for_parts_of_the_program() {
    let (_folder, path) = folder();
    let logging = Logging::new().filter("warn,part=debug").unwrap();
    let (dispatch, log) = build(
        logging.without_target("elsewhere"),
        &path,
        Rotation::never(),
    );
    with_default(&dispatch, || {
        tracing::info!("too low");
        tracing::warn!("high enough");
        tracing::debug!(target: "part", "wanted");
        tracing::trace!(target: "part", "too low");
        tracing::error!(target: "elsewhere", "for others");
        tracing::error!(target: "elsewhere::else", "not for others");
    });
    drop(log);
    let lines = lines(&path);
    let ends = ["high enough", "wanted", "not for others"];
    assert_eq!(lines.len(), ends.len(), "{lines:?}");
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn records_of_the_log_crate_are_lines_with_their_own_targets_and_levels() {
    let (_folder, _) = folder();
    log::error!(target: "foreign", "from afar");
    log::error!(target: "noisy", "never wanted");
    log::debug!(target: "chatty", "in detail");
    log::debug!(target: "foreign", "too low");
    let text = PROCESS.text();
    assert!(text.contains("ERROR foreign: from afar"), "{text}");
    assert!(text.contains("DEBUG chatty: in detail"), "{text}");
    assert!(
        !text.contains("never wanted") && !text.contains("too low"),
        "{text}"
    );
}

#[test]
fn a_process_has_one_log() {
    let (_folder, path) = folder();
    let again = Logging::new().file(&path, Rotation::never()).start();
    assert!(matches!(again, Err(LoggingError::Started)), "{again:?}");
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_with_its_name() {
    let (folder, _) = folder();
    let path = folder.path().join("no/such/folder/log");
    let error = Logging::new()
        .file(&path, Rotation::never())
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("no/such/folder/log"), "{error}");
}

#[test]
fn a_disk_that_is_full_loses_lines_and_counts_them() {
    let (_folder, _) = folder();
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let (dispatch, log) = build(Logging::new(), full, Rotation::by_size(1));
    with_default(&dispatch, || {
        for _ in 0..10 {
            tracing::info!("lost");
            assert!(log.flush(LONG));
        }
    });
    assert_eq!(log.lost(), 10);
    drop(log);
}

#[test]
fn a_failure_that_nobody_handled_is_logged_once_with_where_it_was_made() {
    let (_folder, path) = folder();
    let (dispatch, log) = build(Logging::new(), &path, Rotation::never());
    let line = line!() + 2;
    with_default(&dispatch, || {
        let failed = Deferred::<()>::fail(Failure::msg("no rope left"));
        let passed_on: Deferred<u8> = failed.add_callback(|()| 1_u8);
        drop(passed_on);
    });
    drop(log);
    // A backtrace follows, where the environment asks for one.
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text.matches("ERROR ropewalk::unhandled").count(),
        1,
        "{text}"
    );
    assert!(text.contains("failure=no rope left"), "{text}");
    let place = format!("failed_at={}:{line}:", file!());
    assert!(text.contains(&place), "no {place} in {text}");
    assert!(text.contains("made_at="), "{text}");
}

/// Logs in a callback, in a timer, and when a job in a thread has come back; and then closes.
struct Logger;

impl Protocol for Logger {
    fn data_received(&mut self, transport: &mut Transport, _: &[u8]) {
        tracing::warn!("in a callback");
        let (connection, reactor) = (transport.connection(), transport.reactor());
        let later = move || {
            tracing::warn!("in a timer");
            let job: Deferred<()> =
                defer_to_thread(&*reactor, || tracing::warn!("in a thread job"));
            drop(job.add_both(move |_| {
                connection.lose_connection();
            }));
        };
        transport
            .reactor()
            .call_later(Duration::ZERO, Box::new(later));
    }

    fn connection_lost(&mut self, _: Failure) {
        tracing::warn!("at the end");
    }
}

/// Serves one connection, whose address is returned.
fn serve_one() -> Address {
    let reactor = Reactor::new().unwrap();
    let endpoint = "tcp:0:interface=127.0.0.1".parse().unwrap();
    let port = reactor
        .listen(&endpoint, Rc::new(|_: &Address| Logger))
        .unwrap();
    let address = port.address().socket_addr().unwrap();
    let remote = reactor.remote();
    let peer = thread::spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"x").unwrap();
        peer.read_to_end(&mut Vec::new()).unwrap();
        remote.call_from_thread(|reactor| reactor.stop());
        peer.local_addr().unwrap()
    });
    reactor.run().unwrap();
    peer.join().unwrap().into()
}

#[test]
fn the_connection_is_in_each_line_of_its_callbacks_timers_and_thread_jobs() {
    let (_folder, path) = folder();
    let (dispatch, log) = build(Logging::new(), &path, Rotation::never());
    let peer = with_default(&dispatch, serve_one);
    drop(log);
    let text = lines(&path).join("\n");
    for what in ["in a callback", "in a timer", "at the end"] {
        let line = text.lines().find(|line| line.ends_with(what)).expect(&text);
        let span = format!("connection{{id=0.0 peer={peer} protocol=\"logging::Logger\"}}:");
        assert!(line.contains(&span), "no {span} in {line}");
    }
}

#[test]
fn the_connection_is_in_each_object_of_a_json_log_and_all_of_them_parse() {
    let (_folder, path) = folder();
    let logging = Logging::new().format(LogFormat::Json);
    let (dispatch, log) = build(logging, &path, Rotation::never());
    let peer = with_default(&dispatch, || {
        tracing::info!(text = "a \"quote\"\nand a line", "outside");
        serve_one()
    });
    drop(log);
    let objects: Vec<Value> = lines(&path)
        .iter()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(objects[0]["text"], "a \"quote\"\nand a line");
    assert_eq!(objects[0]["level"], "INFO");
    for what in ["in a callback", "in a timer", "at the end"] {
        let mut found = objects.iter().filter(|object| object["message"] == what);
        let span = &found.next().expect(what)["span"];
        assert_eq!(span["name"], "connection");
        assert_eq!(span["id"], "0.0");
        assert_eq!(span["peer"], peer.to_string());
        assert_eq!(span["protocol"], "logging::Logger");
    }
}

#[test]
fn a_thread_job_logs_within_the_span_of_its_connection() {
    // A thread's events go to the log of the process; so the span is made there.
    let (_folder, _) = folder();
    let peer = serve_one();
    let text = PROCESS.text();
    let span = format!("connection{{id=0.0 peer={peer} protocol=\"logging::Logger\"}}:");
    let is_it = |line: &&str| line.contains(&span) && line.ends_with("in a thread job");
    assert!(text.lines().any(|line| is_it(&line)), "no {span} in {text}");
}

#[test]
fn a_span_made_once_is_entered_for_each_callback() {
    /// Keeps the number of the span of each callback.
    struct Keeps(Rc<RefCell<Vec<Option<tracing::Id>>>>);
    struct Silent;
    impl Protocol for Silent {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    }
    impl Protocol for Keeps {
        fn data_received(&mut self, transport: &mut Transport, _: &[u8]) {
            self.0.borrow_mut().push(tracing::Span::current().id());
            transport.write(b".");
        }
    }
    let (_folder, path) = folder();
    let (dispatch, _log) = build(Logging::new(), &path, Rotation::never());
    with_default(&dispatch, || {
        let seen: Rc<RefCell<Vec<_>>> = Rc::default();
        let reactor = ropewalk_core::testing::MemoryReactor::new();
        let (client, _server) = reactor.join(Box::new(Silent), Box::new(Keeps(Rc::clone(&seen))));
        for _ in 0..3 {
            client.write(b"x");
            reactor.run();
        }
        assert!(tracing::Span::current().is_none(), "none is left entered");
        let seen = seen.borrow();
        assert!(seen.len() >= 3 && seen[0].is_some(), "{seen:?}");
        assert!(seen.iter().all(|id| *id == seen[0]), "{seen:?}");
    });
}
