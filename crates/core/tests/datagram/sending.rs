//! What becomes of datagrams that are written, and of errors.

use std::io;

use ropewalk_core::{
    Address, DatagramError, DatagramLimits, DatagramPort, DatagramSendStatus, DatagramStep,
};

use crate::rig::{Log, On, Rig, address};

fn limits(queue_datagrams: usize, queue_bytes: usize) -> DatagramLimits {
    DatagramLimits {
        queue_datagrams,
        queue_bytes,
    }
}

fn overflow(port: &DatagramPort) {
    port.write_to(b"x", &address(7));
}

#[test]
fn what_a_batch_is_answered_with_goes_out_by_one_call_of_the_driver() {
    let echo = On::default().datagram(|transport, data, from| {
        assert!(transport.write_to(data, from));
    });
    let mut rig = Rig::new(echo, DatagramLimits::default());
    rig.receive(&["a", "b", "c"]);
    assert!(rig.socket.sent.borrow().is_empty());
    assert_eq!(rig.channel.settle(), DatagramStep::Wait);
    assert_eq!(rig.socket.calls.take(), [3]);
    let sent = rig.socket.sent.take();
    assert_eq!(sent[2], (b"c".to_vec(), Some(address(9))));
}

#[test]
fn one_callback_may_send_more_than_the_queue_holds() {
    let flood = On::default().datagram(|transport, _, from| {
        for _ in 0..500 {
            assert!(transport.write_to(b"x", from));
        }
    });
    let mut rig = Rig::new(flood, limits(100, 1 << 20));
    rig.receive(&["go"]);
    rig.channel.settle();
    assert_eq!(rig.socket.sent.take().len(), 500);
    assert_eq!(rig.socket.calls.take(), [64, 64, 64, 64, 64, 64, 64, 52]);
    assert_eq!(rig.channel.port().counts().unwrap().sent, 500);
}

#[test]
fn what_the_queue_has_no_room_for_is_dropped_and_counted_and_told_once() {
    let log = Log::default();
    let mut rig = Rig::new(On::logging(&log), limits(3, 1 << 20));
    log.borrow_mut().clear();
    rig.socket.room.set(1);
    let port = rig.channel.port();
    for data in ["0", "1"] {
        port.write_to(data.as_bytes(), &address(7));
    }
    rig.channel.settle();
    assert_eq!(rig.socket.texts(), ["0"]);
    let taken: Vec<_> = (2..7)
        .map(|n| port.write_to(n.to_string().as_bytes(), &address(7)))
        .collect();
    assert_eq!(taken, [true, true, false, false, false]);
    assert_eq!(rig.channel.settle(), DatagramStep::Wait);
    assert_eq!(
        log.take(),
        [
            "failed: a datagram to 192.0.2.1:7 was dropped: 3 wait to be sent; send slower, or raise \
          DatagramProtocol::limits"
        ]
    );
    assert_eq!(port.counts().unwrap().dropped, 3);
    rig.socket.room.set(usize::MAX);
    rig.channel.writable();
    rig.channel.settle();
    assert_eq!(rig.socket.texts(), ["1", "2", "3"]);
    // The queue was empty: a new overflow is news.
    rig.socket.room.set(0);
    (0..9).for_each(|_| overflow(&port));
    rig.channel.settle();
    (0..9).for_each(|_| overflow(&port));
    rig.channel.settle();
    assert_eq!(log.borrow().len(), 1);
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let mut rig = Rig::new(On::default(), limits(100, 10));
    rig.socket.room.set(0);
    let port = rig.channel.port();
    port.write_to(b"12345678", &address(7));
    rig.channel.settle();
    assert!(port.write_to(b"90", &address(7)));
    assert!(!port.write_to(b"1", &address(7)));
}

#[test]
fn one_that_cannot_be_sent_is_told_and_those_behind_it_go() {
    let log = Log::default();
    let mut rig = Rig::new(On::logging(&log), DatagramLimits::default());
    log.borrow_mut().clear();
    rig.socket.error.set(Some(io::ErrorKind::PermissionDenied));
    let port = rig.channel.port();
    port.write_to(b"first", &address(7));
    port.write_to(b"second", &address(8));
    rig.channel.settle();
    assert_eq!(rig.socket.texts(), ["second"]);
    assert_eq!(
        log.take(),
        [
            "failed: cannot send a datagram of 5 bytes to 192.0.2.1:7: permission denied; to \
          broadcast, say `broadcast=yes` in the endpoint"
        ]
    );
    let counts = port.counts().unwrap();
    assert_eq!((counts.sent, counts.failed), (1, 1));
}

#[test]
fn one_that_never_finds_room_does_not_hold_up_the_others_for_ever() {
    let log = Log::default();
    let mut rig = Rig::new(On::logging(&log), DatagramLimits::default());
    rig.socket.full.set(DatagramSendStatus::TryAgain);
    rig.socket.room.set(0);
    let port = rig.channel.port();
    port.write_to(b"stuck", &address(7));
    port.write_to(b"behind", &address(8));
    let mut tries = 0;
    while port.counts().unwrap().failed == 0 {
        assert_eq!(rig.channel.settle(), DatagramStep::TryLater);
        rig.channel.try_again();
        tries += 1;
        assert!(tries < 100);
    }
    rig.socket.room.set(1);
    rig.channel.settle();
    assert_eq!(rig.socket.texts(), ["behind"]);
    let last = log.borrow().last().cloned().unwrap();
    assert!(last.contains("there was no room for it"), "{last}");
}

#[test]
fn a_pause_in_the_middle_of_a_batch_holds_the_rest_for_later() {
    let log = Log::default();
    let once = On::logging(&log).datagram(|transport, data, _| {
        if data == b"b" {
            transport.pause_producing();
        }
    });
    let mut rig = Rig::new(once, DatagramLimits::default());
    log.borrow_mut().clear();
    rig.receive(&["a", "b", "c", "d"]);
    rig.channel.settle();
    assert_eq!(log.take().len(), 2);
    assert!(!rig.socket.reading.get());
    rig.channel.port().resume_producing();
    rig.channel.settle();
    assert_eq!(log.take(), ["c from 192.0.2.1:9", "d from 192.0.2.1:9"]);
    assert!(rig.socket.reading.get());
}

#[test]
fn a_panic_is_one_datagrams_and_not_the_ports() {
    let log = Log::default();
    let touchy = On::logging(&log).datagram(|_, data, _| assert_ne!(data, b"bad"));
    let mut rig = Rig::new(touchy, DatagramLimits::default());
    rig.receive(&["bad", "good"]);
    assert_eq!(rig.channel.settle(), DatagramStep::Wait);
    assert_eq!(log.borrow().last().unwrap(), "good from 192.0.2.1:9");
}

#[test]
fn a_callback_may_act_through_a_handle_and_its_call_runs_after_it() {
    let log = Log::default();
    let noted = log.clone();
    let on = On::logging(&log).datagram(move |transport, data, from| {
        let port = transport.port();
        if data == b"go" {
            let noted = noted.clone();
            assert!(port.write_to(b"by the handle", from));
            port.with(move |_: &mut On, transport| {
                noted.borrow_mut().push("called".to_owned());
                transport.stop_listening();
            });
        }
    });
    let mut rig = Rig::new(on, DatagramLimits::default());
    let port = rig.channel.port();
    rig.receive(&["go"]);
    assert_eq!(rig.channel.settle(), DatagramStep::Close);
    assert_eq!(rig.socket.texts(), ["by the handle"]);
    rig.channel.stopped();
    assert!(!port.is_open() && !port.write_to(b"late", &address(7)));
    assert!(!port.with(|_: &mut On, _| unreachable!()));
    assert_eq!(log.borrow()[2..], ["called", "stopped"]);
}

#[test]
fn nothing_is_told_after_stop_listening() {
    let log = Log::default();
    let on = On::logging(&log).datagram(|transport, _, _| transport.stop_listening());
    let mut rig = Rig::new(on, DatagramLimits::default());
    rig.receive(&["one", "two"]);
    rig.channel
        .failed(DatagramError::Receive(io::ErrorKind::Other.into()));
    assert_eq!(rig.channel.settle(), DatagramStep::Close);
    rig.channel.stopped();
    assert_eq!(log.take(), ["started", "one from 192.0.2.1:9", "stopped"]);
}

#[test]
fn refusals_are_told_apart_on_a_connected_port() {
    let log = Log::default();
    let on = On::logging(&log).started(|transport| {
        transport
            .connect(&Address::Udp(([192, 0, 2, 1], 7).into()))
            .unwrap();
    });
    let mut rig = Rig::new(on, DatagramLimits::default());
    for kind in [
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::HostUnreachable,
    ] {
        rig.channel.failed(DatagramError::Undelivered {
            to: None,
            source: kind.into(),
        });
    }
    rig.channel.settle();
    assert_eq!(
        log.take(),
        [
            "started",
            "refused",
            "failed: a datagram to the peer did not arrive: host unreachable"
        ]
    );
}

#[test]
fn what_waits_for_one_peer_does_not_go_to_the_next_one() {
    let on = On::default().started(|transport| transport.connect(&address(7)).unwrap());
    let mut rig = Rig::new(on, DatagramLimits::default());
    rig.socket.room.set(0);
    let port = rig.channel.port();
    port.write(b"for 7");
    port.write_to(b"for 9", &address(9));
    rig.channel.settle();
    port.act(|transport| transport.connect(&address(8)).unwrap());
    port.write(b"for 8");
    rig.socket.room.set(usize::MAX);
    rig.channel.writable();
    rig.channel.settle();
    let sent = rig.socket.sent.take();
    let to: Vec<_> = sent.into_iter().map(|(_, to)| to).collect();
    assert_eq!(to, [Some(address(7)), Some(address(9)), None]);
}

#[test]
fn the_advice_about_broadcasts_is_for_those_who_may_have_sent_one() {
    let unsent = |to, source| DatagramError::Unsent {
        to: Some(to),
        size: 1,
        source,
    };
    let path = std::path::Path::new("/run/app.sock");
    let unix = Address::Unix(Some(path.into()));
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let told = unsent(unix, denied()).to_string();
    assert!(!told.contains("broadcast"), "{told}");
    // EPERM, on every Unix: a packet filter has it.
    let told = unsent(address(7), io::Error::from_raw_os_error(1)).to_string();
    assert!(!told.contains("broadcast"), "{told}");
    let told = unsent(address(7), denied()).to_string();
    assert!(told.contains("broadcast"), "{told}");
}

#[test]
fn a_port_that_is_paused_reads_no_more_however_much_it_has_to_do() {
    fn again(port: &DatagramPort) {
        let next = port.clone();
        port.with(move |_: &mut On, _| again(&next));
    }
    let on = On::default().datagram(|transport, _, _| {
        transport.pause_producing();
        again(&transport.port());
    });
    let mut rig = Rig::new(on, DatagramLimits::default());
    rig.receive(&["one"]);
    assert_eq!(rig.channel.settle(), DatagramStep::Again);
    assert!(!rig.socket.reading.get());
}
