//! The bare driver: datagram ports.

use ropewalk_core::endpoint::{DatagramClientEndpoint, DatagramEndpoint, UdpConnect};
use ropewalk_core::{Address, DatagramQueue, DatagramSendStatus};
use ropewalk_reactor::driver::{DatagramId, DatagramTarget};

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::{ms, udp_loopback};

topic! { driver driver_datagrams:
    a_datagram_is_reported_whole_and_from_its_sender [Udp],
    many_are_reported_in_their_order [Udp],
    one_of_no_bytes_is_reported [Udp],
    one_that_is_too_large_is_said_to_be_truncated [Udp],
    nothing_is_reported_after_the_close [Udp],
    a_close_within_a_report_is_the_end [Udp],
    a_place_that_is_used_again_hears_nothing_of_the_one_before [Udp],
    an_unknown_port_is_ignored [Udp],
    nothing_is_reported_while_reading_is_off [Udp],
    one_that_is_not_read_is_no_busy_loop [Udp],
    a_port_tells_where_it_is [Udp],
    a_connected_port_tells_its_peer_and_hears_it_alone [Udp],
    what_is_sent_is_popped [Udp],
    one_that_cannot_be_sent_is_an_error_and_the_next_one_goes [Udp],
    no_error_ends_a_port [Udp],
    sending_within_a_report_works [Udp],
}

fn a_datagram_is_reported_whole_and_from_its_sender(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    bare.send_datagram(&sender, b"hello", &opened.host);
    let came = bare.until_datagrams(port, 1);
    assert_eq!(came[0].data, b"hello");
    assert_eq!(came[0].from, sender.host);
    assert!(!came[0].truncated);
}

fn many_are_reported_in_their_order(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    for number in 0..100_u8 {
        bare.send_datagram(&sender, &[number; 3], &opened.host);
    }
    let came = bare.until_datagrams(port, 100);
    let data: Vec<_> = came.iter().map(|one| one.data.clone()).collect();
    let expected: Vec<_> = (0..100_u8).map(|number| vec![number; 3]).collect();
    assert_eq!(data, expected);
}

fn one_of_no_bytes_is_reported(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    bare.send_datagram(&sender, b"", &opened.host);
    bare.send_datagram(&sender, b"x", &opened.host);
    let came = bare.until_datagrams(port, 2);
    assert_eq!((came[0].data.len(), came[1].data.len()), (0, 1));
}

fn one_that_is_too_large_is_said_to_be_truncated(bare: &Bare<'_>) {
    let endpoint: DatagramEndpoint = udp_loopback().max_size(4).into();
    let (port, opened) = bare.open_datagrams(0, &endpoint);
    let (_, sender) = bare.udp(1);
    bare.send_datagram(&sender, b"12345", &opened.host);
    bare.send_datagram(&sender, b"1234", &opened.host);
    let came = bare.until_datagrams(port, 2);
    let seen: Vec<_> = came
        .iter()
        .map(|one| (&one.data[..], one.truncated))
        .collect();
    assert_eq!(seen, [(&b"1234"[..], true), (b"1234", false)]);
}

fn nothing_is_reported_after_the_close(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    bare.send_datagram(&sender, b"too late", &opened.host);
    bare.driver().close_datagrams(port);
    drop(opened);
    bare.poll_for(ms(10));
    assert!(bare.datagrams().is_empty());
}

fn a_close_within_a_report_is_the_end(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    let host = opened.host.clone();
    // While its socket is held it is not gone, and still nothing is told.
    bare.react(move |driver, event| {
        let _held = &opened;
        if matches!(event, Event::Datagrams(of, _) if *of == port) {
            driver.close_datagrams(port);
        }
    });
    for _ in 0..300 {
        bare.send_datagram(&sender, b"x", &host);
    }
    bare.until_datagrams(port, 1);
    bare.poll_for(ms(10));
    let reports = bare.count(|event| matches!(event, Event::Datagrams(of, _) if *of == port));
    assert_eq!(reports, 1);
}

fn a_place_that_is_used_again_hears_nothing_of_the_one_before(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    bare.send_datagram(&sender, b"for the one before", &opened.host);
    bare.driver().close_datagrams(port);
    drop(opened);
    let again = DatagramId {
        index: 0,
        serial: 1,
    };
    let endpoint: DatagramEndpoint = udp_loopback().into();
    let target = DatagramTarget::Bound(&endpoint);
    let opened = bare.driver().open_datagrams(again, target).expect("opens");
    bare.poll_for(ms(5));
    bare.send_datagram(&sender, b"x", &opened.host);
    let came = bare.until_datagrams(again, 1);
    assert_eq!(came[0].data, b"x");
    bare.poll_for(ms(5));
    assert_eq!(bare.datagrams().len(), 1);
}

fn an_unknown_port_is_ignored(bare: &Bare<'_>) {
    let unknown = DatagramId {
        index: 77,
        serial: 0,
    };
    bare.driver().close_datagrams(unknown);
    let (port, opened) = bare.udp(0);
    let other = DatagramId {
        serial: port.serial + 1,
        ..port
    };
    bare.driver().close_datagrams(other);
    let (_, sender) = bare.udp(1);
    bare.send_datagram(&sender, b"x", &opened.host);
    bare.until_datagrams(port, 1);
}

fn nothing_is_reported_while_reading_is_off(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    opened.socket.set_reading(false);
    bare.send_datagram(&sender, b"waits", &opened.host);
    bare.poll_for(ms(10));
    assert!(bare.datagrams().is_empty());
    opened.socket.set_reading(true);
    let came = bare.until_datagrams(port, 1);
    assert_eq!(came[0].data, b"waits");
}

fn one_that_is_not_read_is_no_busy_loop(bare: &Bare<'_>) {
    let (_port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    opened.socket.set_reading(false);
    bare.send_datagram(&sender, b"waits", &opened.host);
    bare.poll_for(ms(5));
    let before = bare.polls();
    bare.poll_for(ms(20));
    assert!(
        bare.polls() - before <= 3,
        "{} polls",
        bare.polls() - before
    );
}

fn a_port_tells_where_it_is(bare: &Bare<'_>) {
    let (_, one) = bare.udp(0);
    let (_, other) = bare.udp(1);
    assert_ne!(one.host, other.host);
    assert_ne!(one.host.port(), Some(0));
    assert!(matches!(one.host, Address::Udp(_)));
    assert_eq!(one.peer, None);
}

fn a_connected_port_tells_its_peer_and_hears_it_alone(bare: &Bare<'_>) {
    let (server, opened) = bare.udp(0);
    let (_, stranger) = bare.udp(1);
    let address = opened.host.socket_addr().expect("of UDP");
    let endpoint: DatagramClientEndpoint = UdpConnect::new(address.ip(), address.port()).into();
    let port = DatagramId {
        index: 2,
        serial: 0,
    };
    let target = DatagramTarget::Connected(&endpoint, Some(address));
    let client = bare.driver().open_datagrams(port, target).expect("opens");
    assert_eq!(client.peer, Some(opened.host.clone()));
    let mut queue = DatagramQueue::default();
    queue.push(b"hello", None);
    client.socket.send(&mut queue).expect("sends");
    let came = bare.until_datagrams(server, 1);
    assert_eq!(came[0].from, client.host);
    bare.send_datagram(&stranger, b"from a stranger", &client.host);
    bare.send_datagram(&opened, b"from the peer", &client.host);
    let came = bare.until_datagrams(port, 1);
    bare.poll_for(ms(5));
    assert_eq!(came[0].data, b"from the peer");
    assert_eq!(bare.datagrams().len(), 2);
}

fn what_is_sent_is_popped(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    let mut queue = DatagramQueue::default();
    for number in 0..100_u8 {
        queue.push(&[number], Some(opened.host.clone()));
    }
    let writable = |event: &Event| matches!(event, Event::DatagramsWritable(_));
    while !queue.is_empty() {
        let (left, before) = (queue.len(), bare.count(writable));
        if sender.socket.send(&mut queue).expect("sends") != DatagramSendStatus::Sent {
            bare.until("it takes more", |bare| bare.count(writable) > before);
        }
        assert!(queue.len() <= left);
    }
    let came = bare.until_datagrams(port, 100);
    let came: Vec<_> = came.iter().map(|one| one.data[0]).collect();
    assert_eq!(came, (0..100_u8).collect::<Vec<_>>());
}

fn one_that_cannot_be_sent_is_an_error_and_the_next_one_goes(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (_, sender) = bare.udp(1);
    let mut queue = DatagramQueue::default();
    queue.push(&[0; 65_535], Some(opened.host.clone()));
    queue.push(b"next", Some(opened.host.clone()));
    loop {
        let before = bare.count(|event| matches!(event, Event::DatagramsWritable(_)));
        match sender.socket.send(&mut queue) {
            Err(_) => break,
            Ok(status) => assert_ne!(status, DatagramSendStatus::Sent),
        }
        bare.until("it takes more", |bare| {
            bare.count(|event| matches!(event, Event::DatagramsWritable(_))) > before
        });
    }
    // Whoever asked takes it off the front.
    assert_eq!(queue.len(), 2);
    bare.send_datagram(&sender, b"next", &opened.host);
    let came = bare.until_datagrams(port, 1);
    assert_eq!(came[0].data, b"next");
}

fn no_error_ends_a_port(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (gone, nobody) = bare.udp(1);
    let nowhere = nobody.host.clone();
    bare.driver().close_datagrams(gone);
    drop(nobody);
    for _ in 0..5 {
        bare.send_datagram(&opened, b"into the void", &nowhere);
        bare.poll_for(ms(1));
    }
    let (_, sender) = bare.udp(2);
    bare.send_datagram(&sender, b"still there", &opened.host);
    let came = bare.until_datagrams(port, 1);
    assert_eq!(came[0].data, b"still there");
}

fn sending_within_a_report_works(bare: &Bare<'_>) {
    let (port, opened) = bare.udp(0);
    let (asks, sender) = bare.udp(1);
    let answer_to = sender.host.clone();
    let host = opened.host.clone();
    let mut answers = DatagramQueue::default();
    bare.react(move |_, event| {
        match event {
            Event::Datagrams(of, _) if *of == port => {
                answers.push(b"an answer", Some(answer_to.clone()));
            }
            Event::DatagramsWritable(of) if *of == port => {}
            _ => return,
        }
        opened.socket.send(&mut answers).expect("sends");
    });
    bare.send_datagram(&sender, b"?", &host);
    let came = bare.until_datagrams(asks, 1);
    assert_eq!(came[0].data, b"an answer");
}
