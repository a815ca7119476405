//! Tests in a simulated world.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::{
    Address, Backoff, ClientService, ConnectError, ConnectionStream, DatagramProtocol,
    DatagramTransport, Deferred, Failure, ReactorCore, defer_later,
};
use ropewalk_reactor::{Live, LiveKind};
use ropewalk_trial::{Problem, Test, TestFailed, Trial};

use crate::echo;

const HOUR: Duration = Duration::from_secs(3600);

fn simulated<F>(body: impl Fn(Test) -> F + 'static) -> Result<(), Box<TestFailed>>
where
    F: Future<Output = Result<(), Failure>> + 'static,
{
    Trial::new("kit::simulated").run_with([7], body)
}

fn left<F>(body: impl Fn(Test) -> F + 'static) -> Vec<Live>
where
    F: Future<Output = Result<(), Failure>> + 'static,
{
    let mut failed = simulated(body).expect_err("the test is to leave something");
    match failed.problems.pop() {
        Some(Problem::Left(left)) if failed.problems.is_empty() => left,
        _ => panic!("{failed}"),
    }
}

/// Says `hello` to the host `server`, and returns what comes back.
async fn greet(test: &Test) -> Result<Vec<u8>, Failure> {
    let endpoint = "tcp:server:7".parse()?;
    let mut stream = ConnectionStream::connect(test.reactor(), &endpoint).await?;
    stream.write_all(b"hello").await?;
    let mut answer = vec![0; 5];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn start_server(test: &Test) {
    let server = test.world().unwrap().host("server");
    server.start(|reactor| {
        let listening = reactor.listen(&"tcp:7".parse().unwrap(), Rc::new(echo));
        listening.unwrap();
    });
}

#[test]
fn servers_on_other_hosts_are_no_leaks_and_a_client_that_ends_leaves_none() {
    let passed = simulated(|test| async move {
        start_server(&test);
        assert_eq!(greet(&test).await?, b"hello");
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_day_takes_no_time() {
    let began = Instant::now();
    let trial = Trial::new("kit::a_day").timeout(48 * HOUR);
    let passed = trial.run_with([1], |test| async move {
        defer_later::<(), _>(test.reactor(), 24 * HOUR, || ()).await
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(began.elapsed() < HOUR);
}

#[test]
fn a_test_that_waits_for_what_never_comes_ends_at_its_timeout() {
    let failed = simulated(|test| async move {
        start_server(&test);
        let answer = greet(&test).await;
        test.world().unwrap().say("now it waits");
        drop(answer);
        pending().await
    });
    let failed = failed.unwrap_err();
    assert!(
        matches!(&failed.problems[..], [Problem::TimedOut { .. }]),
        "{failed}"
    );
    assert!(failed.trace.contains("now it waits"), "{failed}");
    let text = failed.to_string();
    assert!(text.contains("now it waits"), "{text}");
    assert!(
        text.ends_with("ROPEWALK_SEED=7 cargo test simulated -- --exact"),
        "{text}"
    );
}

struct Deaf;

impl DatagramProtocol for Deaf {
    fn datagram_received(&mut self, _: &mut DatagramTransport, _: &[u8], _: &Address) {}
}

#[test]
fn each_kind_that_is_left_is_named_as_on_real_sockets() {
    let line = line!();
    let left = left(|test| async move {
        start_server(&test);
        let reactor = test.reactor();
        reactor.call_later(HOUR, || ());
        reactor.spawn(pending());
        reactor.listen(&"tcp:80".parse()?, Rc::new(echo))?;
        reactor.listen_datagram(&"udp:53".parse()?, Deaf)?;
        reactor
            .connect(&"tcp:server:7".parse()?, Rc::new(echo))
            .await?;
        std::mem::forget(reactor.connect(&"tcp:192.0.2.1:7".parse()?, Rc::new(echo)));
        Ok(())
    });
    let seen: Vec<_> = left
        .iter()
        .map(|one| {
            let (_, place) = one.made_at.split_once("simulated.rs:").unwrap_or_default();
            let (number, _) = place.split_once(' ').unwrap_or_default();
            (one.kind, number.parse().unwrap_or(0) - line)
        })
        .collect();
    let expected = [
        (LiveKind::Timer, 4),
        (LiveKind::Task, 5),
        (LiveKind::Port, 6),
        (LiveKind::DatagramPort, 7),
        (LiveKind::Connection, 9),
        (LiveKind::Attempt, 11),
    ];
    assert_eq!(seen, expected, "{left:#?}");
}

#[test]
fn what_the_engine_has_begun_by_itself_is_named_by_what_began_it() {
    let left = left(|test| async move {
        let reactor: Rc<dyn ReactorCore> = Rc::new(test.reactor().clone());
        // Nobody listens there, so it waits before it tries again: for longer than the test does.
        let endpoint = "tcp:127.0.0.1:7".parse()?;
        let patience = Backoff {
            initial: HOUR,
            maximum: HOUR,
            ..Backoff::new()
        };
        let service = ClientService::builder(reactor, endpoint, Rc::new(echo)).backoff(patience);
        service.build().start();
        defer_later::<(), _>(test.reactor(), Duration::from_millis(100), || ()).await
    });
    assert_eq!(left.len(), 1, "{left:#?}");
    assert_eq!(left[0].kind, LiveKind::Timer);
    let place = &left[0].made_at;
    assert!(
        place.starts_with("crates/core/src/client_service/"),
        "{place}"
    );
    assert!(place.contains("(ropewalk_core::client_service"), "{place}");
}

#[test]
fn a_job_ends_in_the_time_of_the_world() {
    let passed = simulated(|test| async move {
        let sum: Deferred<u32> = test.reactor().defer_to_thread(|| (1..=10).sum::<u32>());
        assert_eq!(sum.await?, 55);
        // Nobody waits for this one, and it has a second after the end.
        test.reactor().call_in_thread(|| ())?;
        Ok(())
    });
    passed.unwrap_or_else(|failed| panic!("{failed}"));
}

#[test]
fn a_host_that_is_not_there_is_a_failure_of_the_test() {
    let failed = simulated(|test| async move { greet(&test).await.map(drop) });
    let failed = failed.unwrap_err();
    let [Problem::Failed(failure)] = &failed.problems[..] else {
        panic!("{failed}");
    };
    assert!(failure.check::<ConnectError>().is_some(), "{failed}");
}

#[test]
fn the_same_seed_is_the_same_run_and_others_are_others() {
    let run = |seed| {
        let hash = Rc::new(RefCell::new(0));
        let noted = Rc::clone(&hash);
        let passed = Trial::new("kit::again").run_with([seed], move |test| {
            let noted = Rc::clone(&noted);
            async move {
                start_server(&test);
                greet(&test).await?;
                *noted.borrow_mut() = test.world().unwrap().hash();
                Ok(())
            }
        });
        passed.unwrap_or_else(|failed| panic!("{failed}"));
        hash.take()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
