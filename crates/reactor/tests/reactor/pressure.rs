//! Back-pressure, and turns for all.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::mpsc;

use ropewalk_core::{Connection, Transport};
use ropewalk_reactor::Reactor;

use crate::support::{
    Counting, On, factory, narrow_client, once, pattern, reset, run_with, serve, socket_addr,
};

const STREAM: usize = 6_000_000;
/// More than the kernel holds for a connection at both its ends, with the buffers set below.
const PIECE: usize = 1_000_000;

/// Writes the next piece of the pattern.
fn produce(transport: &mut Transport, written: &Cell<usize>) {
    transport.write(&pattern(written.get(), PIECE));
    written.set(written.get() + PIECE);
    if written.get() == STREAM {
        transport.lose_connection();
    }
}

#[test]
fn a_slow_reader_pauses_the_writer_and_gets_everything() {
    let reactor = Reactor::new().unwrap();
    let written = Rc::new(Cell::new(0));
    let at_pause = Rc::new(Cell::new(0));
    let (paused, is_paused) = mpsc::channel();
    let (first, again) = (Rc::clone(&written), Rc::clone(&written));
    let (seen, total) = (Rc::clone(&at_pause), Rc::clone(&written));
    let protocol = On::nothing()
        .made(move |transport| produce(transport, &first))
        .resumed(move |transport| produce(transport, &again))
        .paused(move |transport| {
            assert!(transport.unsent() > 64 * 1024);
            seen.set(total.get());
            let _ = paused.send(());
        });
    let endpoint = "tcp:0:interface=127.0.0.1:send_buffer=64k";
    let port = reactor.listen(&endpoint.parse().unwrap(), once(protocol));
    let address = socket_addr(&port.unwrap());
    run_with(&reactor, move || {
        let mut peer = narrow_client(address);
        is_paused.recv().unwrap();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(received == pattern(0, STREAM), "{} bytes", received.len());
    });
    assert!(at_pause.get() < STREAM, "the writer was never held back");
}

#[test]
fn a_paused_reader_gets_nothing_holds_the_writer_back_and_then_gets_everything() {
    let reactor = Reactor::new().unwrap();
    let received = Rc::new(RefCell::new(Vec::new()));
    let reader = Rc::new(RefCell::new(Connection::default()));
    let (kept, me) = (Rc::clone(&received), Rc::clone(&reader));
    let (paused, is_paused) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let protocol = On::nothing()
        .made(move |transport| *me.borrow_mut() = transport.connection())
        .data(move |transport, data| {
            let mut received = kept.borrow_mut();
            if received.is_empty() {
                transport.pause_producing();
                paused.send(()).unwrap();
            }
            received.extend_from_slice(data);
        })
        .lost(move |_| done.send(()).unwrap());
    let address = serve(&reactor, once(protocol));
    // For the test's own thread to tell the connection, which is not its.
    let resume = reader;
    let before = Rc::clone(&received);
    let at_resume = Rc::new(Cell::new(0));
    let seen = Rc::clone(&at_resume);
    let (blocked, is_blocked) = mpsc::channel();
    let handle = reactor.handle();
    crate::support::when(
        &handle,
        move || is_blocked.try_recv().is_ok(),
        move || {
            seen.set(before.borrow().len());
            resume.borrow().resume_producing();
        },
    );
    let (sent, first) = run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(&pattern(0, 1000)).unwrap();
        is_paused.recv().unwrap();
        let first = 1000;
        // Writes until the kernel's buffers on both sides are full.
        peer.set_nonblocking(true).unwrap();
        let mut sent = first;
        loop {
            match peer.write(&pattern(sent, 100_000)) {
                Ok(taken) => sent += taken,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        blocked.send(()).unwrap();
        peer.set_nonblocking(false).unwrap();
        peer.write_all(&pattern(sent, 3_000_000)).unwrap();
        drop(peer);
        is_done.recv().unwrap();
        (sent + 3_000_000, first)
    });
    assert_eq!(at_resume.get(), first, "a paused connection was read");
    assert!(*received.borrow() == pattern(0, sent));
}

#[test]
fn a_quiet_peer_is_answered_while_a_loud_one_streams_both_ways() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::held_back_echo));
    run_with(&reactor, move || {
        let loud = TcpStream::connect(address).unwrap();
        let mut drain = loud.try_clone().unwrap();
        let mut flood = loud.try_clone().unwrap();
        let (streaming, is_streaming) = mpsc::channel();
        let reading = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut total = 0;
            while let Ok(read @ 1..) = drain.read(&mut buffer) {
                total += read;
                if total > 1 << 20 {
                    let _ = streaming.send(());
                }
            }
        });
        let writing = std::thread::spawn(move || {
            let piece = vec![7; 1 << 16];
            while flood.write_all(&piece).is_ok() {}
        });
        let mut quiet = TcpStream::connect(address).unwrap();
        for _ in 0..20 {
            // The loud one is at it before and after each.
            is_streaming.recv().unwrap();
            quiet.write_all(b"?").unwrap();
            quiet.read_exact(&mut [0]).unwrap();
            is_streaming.recv().unwrap();
        }
        loud.shutdown(std::net::Shutdown::Both).unwrap();
        reading.join().unwrap();
        writing.join().unwrap();
        // A mere close leaves the system waiting for a window that nobody will open any more, and
        // the connection to its stall limit.
        reset(loud);
    });
}

#[test]
fn a_turn_gives_a_loud_peer_no_more_than_its_share_and_a_quiet_one_is_heard() {
    const SHARE: usize = 4 * 64 * 1024;
    let driver = Counting::new();
    let reactor = Reactor::with_driver(Rc::clone(&driver) as _);
    // Of the loud one: the turn, and the bytes in it.
    let heard = Rc::new(Cell::new((0, 0)));
    let most = Rc::new(Cell::new(0));
    let (kept, handle) = (Rc::clone(&most), reactor.handle());
    let build = move || {
        let (heard, most) = (Rc::clone(&heard), Rc::clone(&kept));
        let (driver, handle) = (Rc::clone(&driver), handle.clone());
        On::nothing().data(move |_, data| {
            if data == b"?" {
                return handle.stop();
            }
            let turn = driver.polls.get();
            let before = match heard.get() {
                (last, bytes) if last == turn => bytes,
                _ => 0,
            };
            heard.set((turn, before + data.len()));
            most.set(most.get().max(before + data.len()));
        })
    };
    // Room for more than the share, if the system allows it.
    let endpoint = "tcp:0:interface=127.0.0.1:receive_buffer=1m";
    let port = reactor.listen(&endpoint.parse().unwrap(), factory(build));
    let address = socket_addr(&port.unwrap());
    // All of this waits before the first turn.
    let mut loud = TcpStream::connect(address).unwrap();
    loud.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while let Ok(taken) = loud.write(&[7; 1 << 16]) {
        sent += taken;
    }
    assert!(sent > SHARE, "the system holds only {sent} bytes");
    let mut quiet = TcpStream::connect(address).unwrap();
    quiet.write_all(b"?").unwrap();
    reactor.run().unwrap();
    assert!(most.get() <= SHARE, "{} bytes in a turn", most.get());
}

#[test]
fn a_connection_that_streams_in_small_pieces_sends_no_more_than_its_share_in_a_turn() {
    const ALL: usize = 64 << 20;
    let driver = Counting::new();
    let reactor = Reactor::with_driver(Rc::clone(&driver) as _);
    fn next(transport: &mut Transport, written: &Cell<usize>) {
        transport.write(&[1; 32 * 1024]);
        written.set(written.get() + 32 * 1024);
        if written.get() == ALL {
            transport.lose_connection();
        } else {
            transport.await_drain();
        }
    }
    let written = Rc::new(Cell::new(0));
    let again = Rc::clone(&written);
    let protocol = On::nothing()
        .made(move |transport| next(transport, &written))
        .resumed(move |transport| next(transport, &again));
    let address = serve(&reactor, once(protocol));
    run_with(&reactor, move || {
        let mut peer = TcpStream::connect(address).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        while let Ok(read @ 1..) = peer.read(&mut buffer) {
            total += read;
        }
        assert_eq!(total, ALL);
    });
    let most = driver.most_sent.get();
    assert!(most <= (1 << 20) + 32 * 1024, "{most} bytes");
}

#[test]
fn a_connection_with_always_more_to_do_leaves_turns_for_timers() {
    let reactor = Reactor::new().unwrap();
    fn again(transport: &mut Transport) {
        // A step for the loop, and then another call.
        transport.set_no_delay(true);
        let next = |_: &mut On, transport: &mut Transport| again(transport);
        transport.connection().with(next);
    }
    let address = serve(&reactor, once(On::nothing().made(again)));
    let peer = TcpStream::connect(address).unwrap();
    let fired = Rc::new(Cell::new(0));
    fn tick(reactor: &ropewalk_reactor::Handle, fired: &Rc<Cell<u32>>) {
        fired.set(fired.get() + 1);
        if fired.get() == 200 {
            return reactor.stop_now();
        }
        let (again, fired) = (reactor.clone(), Rc::clone(fired));
        reactor.call_later(std::time::Duration::from_micros(100), move || {
            tick(&again, &fired);
        });
    }
    tick(&reactor.handle(), &fired);
    assert!(reactor.run().is_err());
    assert_eq!(fired.get(), 200);
    drop(peer);
}
