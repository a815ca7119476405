//! Each of the small servers.

use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use ropewalk_core::testing::{MemoryReactor, StringTransport};
use ropewalk_core::{Address, Connection, Factory, Protocol};
use ropewalk_wire::{Chargen, Daytime, Discard, Echo, Qotd, Time};

use crate::rig::{Seen, connect, pattern};

fn serve<P: Protocol + Default>() -> (MemoryReactor, Connection, Seen) {
    serve_with(Rc::new(|_: &Address| P::default()))
}

fn serve_with(factory: Rc<dyn Factory>) -> (MemoryReactor, Connection, Seen) {
    let reactor = MemoryReactor::new();
    reactor.listen(&"tcp:7".parse().unwrap(), factory).unwrap();
    let (peer, seen) = connect(&reactor, 7);
    (reactor, peer, seen)
}

proptest! {
    #[test]
    fn echo_gives_back_every_byte_at_every_split(
        data in proptest::collection::vec(any::<u8>(), 0..3000),
        split in 1..3000_usize,
        window in 1..3000_usize,
    ) {
        let (reactor, peer, seen) = serve::<Echo>();
        reactor.set_split(split);
        reactor.set_window(window);
        peer.write(&data);
        peer.act(|peer| peer.lose_write_connection());
        reactor.run();
        prop_assert_eq!(&*seen.data.borrow(), &data);
        prop_assert!(seen.is_lost());
        prop_assert_eq!(reactor.connections(), 0);
    }
}

#[test]
fn echo_stops_reading_a_peer_that_does_not_read() {
    let (reactor, peer, seen) = serve::<Echo>();
    reactor.set_window(10_000);
    peer.pause_producing();
    peer.write(&pattern(1_000_000));
    reactor.run();
    let taken = 1_000_000 - peer.unsent().unwrap();
    // The high-water mark and one read, and what is under way in both directions.
    assert!(taken < 2 * 64 * 1024 + 20_000, "{taken}");
    peer.resume_producing();
    reactor.run();
    assert!(*seen.data.borrow() == pattern(1_000_000));
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    let (reactor, peer, seen) = serve::<Discard>();
    reactor.set_window(1000);
    peer.write(&pattern(100_000));
    reactor.run();
    assert_eq!(peer.unsent(), Some(0));
    assert_eq!(*seen.data.borrow(), b"");
    peer.act(|peer| peer.lose_write_connection());
    reactor.run();
    assert!(seen.is_lost());
}

#[test]
fn chargen_makes_no_more_than_is_taken() {
    let reactor = MemoryReactor::new();
    reactor.set_window(10_000);
    let factory = Rc::new(|_: &Address| Chargen);
    reactor.listen(&"tcp:7".parse().unwrap(), factory).unwrap();
    struct Takes(Vec<u8>, usize);
    impl Protocol for Takes {
        fn data_received(&mut self, transport: &mut ropewalk_core::Transport, data: &[u8]) {
            self.0.extend_from_slice(data);
            if self.0.len() > self.1 {
                transport.pause_producing();
            }
        }
    }
    let made = reactor.connect(
        &"tcp:example.com:7".parse().unwrap(),
        Rc::new(|_: &Address| Takes(Vec::new(), 200_000)),
    );
    reactor.run();
    // Nothing goes on while the peer takes nothing, and it is let go of in the end.
    reactor.advance(Duration::from_secs(29));
    assert_eq!(reactor.connections(), 2);
    reactor.advance(Duration::from_secs(1));
    assert_eq!(reactor.connections(), 0);
    drop(made);
}

#[test]
fn chargen_makes_nothing_for_a_writing_side_that_is_closed() {
    let mut transport = StringTransport::new();
    transport.lose_write_connection();
    Chargen.connection_made(&mut transport);
    assert_eq!(transport.value(), b"");
}

#[test]
fn chargen_ends_when_its_peer_has_closed() {
    let reactor = MemoryReactor::new();
    reactor.set_window(1000);
    let factory = Rc::new(|_: &Address| Chargen);
    reactor.listen(&"tcp:7".parse().unwrap(), factory).unwrap();
    struct Closes;
    impl Protocol for Closes {
        fn connection_made(&mut self, transport: &mut ropewalk_core::Transport) {
            transport.lose_write_connection();
        }
        fn data_received(&mut self, _: &mut ropewalk_core::Transport, _: &[u8]) {}
    }
    let made = reactor.connect(
        &"tcp:example.com:7".parse().unwrap(),
        Rc::new(|_: &Address| Closes),
    );
    reactor.run();
    assert_eq!(reactor.connections(), 0);
    drop(made);
}

#[test]
fn those_with_one_answer_give_it_to_a_peer_that_talks_and_close() {
    let (_, _, day) = serve::<Daytime>();
    assert_eq!(day.text(), "Thursday, January 1, 2026 00:00:00-UTC\r\n");
    let (_, _, time) = serve::<Time>();
    let seconds = u32::from_be_bytes(time.data.take().try_into().unwrap());
    // `date -u -d 2026-01-01 +%s`, and the seconds from 1900 to 1970.
    assert_eq!(seconds, (1_767_225_600 + 2_208_988_800_u64) as u32);
    let (_, _, quote) = serve_with(Rc::new(Qotd::default()));
    assert!(quote.text().ends_with("\r\n"));
    for seen in [&day, &time, &quote] {
        assert!(seen.closed.get());
    }
}

#[test]
fn an_answer_outlives_what_its_peer_still_sends() {
    let (reactor, peer, seen) = serve::<Daytime>();
    assert!(seen.closed.get() && !seen.is_lost());
    peer.write(&pattern(100_000));
    reactor.run();
    assert_eq!(peer.unsent(), Some(0));
    peer.act(|peer| peer.lose_write_connection());
    reactor.run();
    assert!(seen.is_lost() && !seen.is_reset());
    assert_eq!(reactor.connections(), 0);
}

#[test]
fn a_peer_that_does_not_close_is_left_after_a_while() {
    for serve in [serve::<Daytime>, serve::<Time>, || {
        serve_with(Rc::new(Qotd::default()))
    }] {
        let (reactor, _peer, seen) = serve();
        reactor.advance(Duration::from_secs(4));
        assert_eq!(reactor.connections(), 2);
        reactor.advance(Duration::from_secs(1));
        assert_eq!(reactor.connections(), 1);
        assert!(!seen.is_reset());
    }
}

#[test]
fn quotes_come_in_their_order_and_again() {
    let reactor = MemoryReactor::new();
    let quotes = Qotd::new(["one".to_owned(), "two".to_owned()]).unwrap();
    reactor
        .listen(&"tcp:17".parse().unwrap(), Rc::new(quotes))
        .unwrap();
    let seen: Vec<_> = (0..3).map(|_| connect(&reactor, 17).1.text()).collect();
    assert_eq!(seen, ["one", "two", "one"]);
}
