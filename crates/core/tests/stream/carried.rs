//! A protocol over a stream that is no socket: what holds on sockets holds there.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{
    Address, CarriedConnection, ConnectionLimits, Failure, Protocol, TimedOut, Transport,
    WriteStalled,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Writes down what it is told, and echoes.
#[derive(Clone, Default)]
struct Recorder {
    said: Rc<RefCell<Vec<String>>>,
    quiet: bool,
    lost: Rc<Cell<Option<Failure>>>,
}

impl Recorder {
    fn note(&self, what: impl Into<String>) {
        self.said.borrow_mut().push(what.into());
    }

    fn said(&self) -> Vec<String> {
        self.said.borrow().clone()
    }
}

impl Protocol for Recorder {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.note(format!("made by {}", transport.peer()));
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.note(String::from_utf8_lossy(data));
        if !self.quiet {
            transport.write(data);
        }
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.note("read closed");
        transport.write(b"bye");
        transport.lose_connection();
    }

    fn write_paused(&mut self, _: &mut Transport) {
        self.note("paused");
    }

    fn write_resumed(&mut self, _: &mut Transport) {
        self.note("resumed");
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.note("drain");
        transport.lose_connection();
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.note("lost");
        self.lost.set(Some(reason));
    }
}

struct Rig {
    reactor: MemoryReactor,
    recorder: Recorder,
    carried: CarriedConnection,
    near: DuplexStream,
}

fn rig(recorder: Recorder, room: usize, limits: ConnectionLimits) -> Rig {
    let reactor = MemoryReactor::new();
    let (near, far) = duplex(room);
    let peer = Address::Tcp(([192, 0, 2, 7], 1024).into());
    let carried = CarriedConnection::start(
        &reactor.handle(),
        far,
        Box::new(recorder.clone()),
        limits,
        (peer, Address::Unix(None)),
    );
    Rig {
        reactor,
        recorder,
        carried,
        near,
    }
}

/// Runs `future` to its end on the reactor, and returns what it gave.
fn run<T: 'static>(reactor: &MemoryReactor, future: impl Future<Output = T> + 'static) -> T {
    let result = Rc::new(Cell::new(None));
    let out = Rc::clone(&result);
    reactor.spawn(Box::pin(async move { out.set(Some(future.await)) }));
    reactor.run();
    result.take().expect("it came to its end")
}

#[test]
fn callbacks_come_in_order_and_half_a_close_leaves_the_other_half() {
    let rig = rig(Recorder::default(), 64, ConnectionLimits::default());
    let mut near = rig.near;
    let answer = run(&rig.reactor, async move {
        near.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        near.read_exact(&mut echo).await.unwrap();
        near.shutdown().await.unwrap();
        let mut rest = String::new();
        near.read_to_string(&mut rest).await.unwrap();
        rest
    });
    assert_eq!(answer, "bye");
    let expected = ["made by 192.0.2.7:1024", "hello", "read closed", "lost"];
    assert_eq!(rig.recorder.said(), expected);
    assert!(rig.carried.is_over());
    assert!(!rig.carried.connection().is_connected());
}

#[test]
fn a_reader_that_is_slow_pauses_the_writer_and_loses_nothing() {
    let rig = rig(Recorder::default(), 100, ConnectionLimits::default());
    rig.reactor.run();
    let sent: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    assert!(rig.carried.connection().write(&sent));
    rig.reactor.run();
    assert_eq!(rig.recorder.said()[1..], ["paused"]);
    let mut near = rig.near;
    let got = run(&rig.reactor, async move {
        let mut got = vec![0; 300_000];
        near.read_exact(&mut got).await.unwrap();
        (got, near)
    });
    assert!(got.0 == sent);
    assert_eq!(rig.recorder.said()[1..], ["paused", "resumed"]);
    assert_eq!(rig.carried.connection().unsent(), Some(0));
}

#[test]
fn a_peer_that_takes_nothing_ends_the_connection_in_the_time_of_a_stalled_write() {
    let rig = rig(Recorder::default(), 10, ConnectionLimits::default());
    rig.reactor.run();
    // What a handle does after a while begins then, not when the task was last at work.
    rig.reactor.advance(Duration::from_secs(1000));
    rig.carried.connection().write(&[0; 100]);
    rig.reactor.run();
    let stall = ConnectionLimits::default().write_stall;
    rig.reactor.advance(stall - Duration::from_millis(1));
    assert!(!rig.carried.is_over());
    rig.reactor.advance(Duration::from_millis(1));
    assert!(rig.carried.is_over());
    let reason = rig.recorder.lost.take().expect("it was told");
    assert!(reason.check::<WriteStalled>().is_some());
}

#[test]
fn a_timeout_counts_from_when_it_was_set() {
    let rig = rig(Recorder::default(), 10, ConnectionLimits::default());
    rig.reactor.run();
    rig.reactor.advance(Duration::from_secs(1000));
    let set = |transport: &mut Transport| transport.set_timeout(Some(Duration::from_secs(5)));
    rig.carried.connection().act(set);
    rig.reactor.run();
    rig.reactor.advance(Duration::from_millis(4999));
    assert!(!rig.carried.is_over());
    rig.reactor.advance(Duration::from_millis(1));
    let reason = rig.recorder.lost.take().expect("it was told");
    assert!(reason.check::<TimedOut>().is_some());
}

#[test]
fn what_is_paused_is_not_read() {
    let rig = rig(Recorder::default(), 10, ConnectionLimits::default());
    rig.reactor.run();
    rig.carried.connection().pause_producing();
    let mut near = rig.near;
    let writing = rig.reactor.spawn(Box::pin(async move {
        near.write_all(&[b'x'; 11]).await.unwrap();
        near.read_exact(&mut [0; 11]).await.unwrap();
    }));
    rig.reactor.run();
    assert_eq!(rig.recorder.said().len(), 1);
    rig.carried.connection().resume_producing();
    rig.reactor.run();
    assert!(writing.is_finished());
}

#[test]
fn an_aborted_connection_drops_the_stream_with_what_was_unsent() {
    let rig = rig(Recorder::default(), 10, ConnectionLimits::default());
    rig.reactor.run();
    rig.carried.connection().write(&[0; 100]);
    rig.carried.connection().abort_connection();
    rig.reactor.run();
    assert!(rig.carried.is_over());
    assert_eq!(rig.recorder.said().last().unwrap(), "lost");
    let mut near = rig.near;
    let got = run(&rig.reactor, async move {
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        got.len()
    });
    assert!(got <= 10);
}

#[test]
fn it_drains_when_it_is_told_to() {
    let rig = rig(Recorder::default(), 10, ConnectionLimits::default());
    rig.reactor.run();
    rig.carried.drain();
    rig.reactor.run();
    assert_eq!(rig.recorder.said()[1..], ["drain", "lost"]);
}

#[test]
fn a_loop_that_ends_tells_the_protocol() {
    let rig = rig(Recorder::default(), 10, ConnectionLimits::default());
    rig.reactor.run();
    drop(rig.reactor);
    assert_eq!(rig.recorder.said()[1..], ["lost"]);
}

#[test]
fn a_stream_that_never_rests_leaves_others_their_turn() {
    let recorder = Recorder {
        quiet: true,
        ..Recorder::default()
    };
    let rig = rig(recorder, 64 * 1024 * 1024, ConnectionLimits::default());
    let mut near = rig.near;
    let said = Rc::clone(&rig.recorder.said);
    let seen = run(&rig.reactor, async move {
        near.write_all(&vec![b'x'; 32 * 1024 * 1024]).await.unwrap();
        let mut turns = 0;
        poll_fn(|cx| {
            turns += 1;
            cx.waker().wake_by_ref();
            match turns {
                1..=4 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        said.borrow().len()
    });
    assert!((16..100).contains(&seen), "{seen}");
}
