//! The bare driver: what it takes to send, and when it takes more.

use std::io;

use bytes::Bytes;
use ropewalk_core::{OutputQueue, SendStatus};

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::ms;
use crate::script::pattern;

topic! { driver driver_sending:
    what_is_taken_is_consumed_and_comes,
    it_takes_something_or_says_that_it_is_blocked,
    when_the_peer_has_read_it_is_writable,
    writable_is_not_reported_while_nobody_reads,
    after_writable_it_takes_more,
    a_hundred_pieces_come_in_their_order,
    an_empty_queue_is_well,
    what_was_taken_before_a_close_comes,
    what_was_taken_before_a_shutdown_comes,
    a_broken_connection_is_an_error_of_send_or_reported,
    a_blocked_connection_that_breaks_is_reported,
    two_connections_send_at_once,
    a_region_of_a_file_comes [Files],
    ten_megabytes_go_through_by_blocking_and_going_on,
}

fn what_is_taken_is_consumed_and_comes(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    let mut output = OutputQueue::default();
    output.write(&pattern(0, 5000));
    bare.driver().send(client, &mut output).expect("sends");
    let taken = 5000 - output.len() as usize;
    assert!(taken > 0);
    bare.until("it has come", |bare| bare.received_len(server) == taken);
    bare.poll_for(ms(5));
    assert!(bare.received(server) == pattern(0, taken));
}

fn it_takes_something_or_says_that_it_is_blocked(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    let mut output = OutputQueue::default();
    output.write(&vec![0; 20_000_000]);
    for _ in 0..100_000 {
        let before = output.len();
        let status = bare.driver().send(client, &mut output).expect("sends");
        if status == SendStatus::Blocked {
            assert!(!output.is_empty());
            return;
        }
        assert!(output.len() < before);
    }
    panic!("it was never blocked, with {} bytes left", output.len());
}

fn when_the_peer_has_read_it_is_writable(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.fill(client);
    bare.driver().set_reading(server, true);
    bare.until_event(&Event::Writable(client));
}

fn writable_is_not_reported_while_nobody_reads(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    // Until what was sent has come to rest.
    for _ in 0..10 {
        bare.fill(client);
        bare.poll_for(ms(10));
    }
    let before = bare.count(|event| *event == Event::Writable(client));
    bare.fill(client);
    let more = bare.count(|event| *event == Event::Writable(client));
    bare.poll_for(ms(1));
    let after = bare.count(|event| *event == Event::Writable(client));
    assert!(
        after - before <= 1 && more == before,
        "{before} {more} {after}"
    );
}

fn after_writable_it_takes_more(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.fill(client);
    bare.driver().set_reading(server, true);
    bare.until_event(&Event::Writable(client));
    let mut output = OutputQueue::default();
    output.write(&[7; 1000]);
    let status = bare.driver().send(client, &mut output).expect("sends");
    assert!(output.len() < 1000, "{status:?}");
}

fn a_hundred_pieces_come_in_their_order(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    let mut output = OutputQueue::default();
    let mut len = 0;
    for number in 0..100 {
        let size = 1 + number * 37 % 3000;
        match number % 2 {
            0 => output.write(&pattern(len, size)),
            _ => output.write_bytes(Bytes::from(pattern(len, size))),
        }
        len += size;
    }
    bare.send_all(client, &mut output);
    bare.until("all has come", |bare| bare.received_len(server) == len);
    assert!(bare.received(server) == pattern(0, len));
}

fn an_empty_queue_is_well(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    let mut output = OutputQueue::default();
    let status = bare.driver().send(client, &mut output).expect("sends");
    assert_eq!(status, SendStatus::Ready);
    bare.poll_for(ms(5));
    assert_eq!(bare.received_len(server), 0);
}

fn what_was_taken_before_a_close_comes(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.send(client, &pattern(0, 100_000));
    bare.driver().close(client);
    bare.until_event(&Event::ReadClosed(server));
    assert!(bare.received(server) == pattern(0, 100_000));
}

fn what_was_taken_before_a_shutdown_comes(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    let taken = bare.fill(client) as usize;
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.driver().set_reading(server, true);
    bare.until_event(&Event::ReadClosed(server));
    assert_eq!(bare.received_len(server), taken);
}

fn a_broken_connection_is_an_error_of_send_or_reported(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().abort(client);
    bare.react(|_, _| ());
    for _ in 0..1000 {
        let mut output = OutputQueue::default();
        output.write(b"into the void");
        if bare.driver().send(server, &mut output).is_err() {
            return;
        }
        bare.poll(ms(1));
        if bare.count(|event| matches!(event, Event::Failed(of, _) if *of == server)) > 0 {
            return;
        }
    }
    panic!("a thousand sends to a peer that has reset the connection were well");
}

fn a_blocked_connection_that_breaks_is_reported(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.fill(client);
    bare.driver().abort(server);
    bare.until("it is reported", |bare| {
        bare.count(|event| {
            matches!(
                event,
                Event::Failed(of, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
                    if *of == client
            )
        }) == 1
    });
}

fn two_connections_send_at_once(bare: &Bare<'_>) {
    let (first, one) = bare.pair();
    let (second, other) = bare.pair();
    for at in 0..20 {
        bare.send(first, &pattern(at * 1000, 1000));
        bare.send(other, &pattern(at * 500, 500));
        bare.send(second, &pattern(at * 100, 100));
    }
    bare.until("all has come", |bare| {
        bare.received_len(one) == 20_000
            && bare.received_len(other) == 2000
            && bare.received_len(second) == 10_000
    });
    assert!(bare.received(one) == pattern(0, 20_000));
    assert!(bare.received(other) == pattern(0, 2000));
    assert!(bare.received(second) == pattern(0, 10_000));
}

fn a_region_of_a_file_comes(bare: &Bare<'_>) {
    use std::io::Write;
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&pattern(0, 50_000)).expect("writes");
    let (client, server) = bare.pair();
    let mut output = OutputQueue::default();
    output.write(b"<");
    output.write_file(ropewalk_core::FileRegion {
        file: std::sync::Arc::new(file),
        offset: 1000,
        len: 40_000,
    });
    output.write(b">");
    bare.send_all(client, &mut output);
    bare.until("all has come", |bare| bare.received_len(server) == 40_002);
    let expected = [b"<", &pattern(1000, 40_000)[..], b">"].concat();
    assert!(bare.received(server) == expected);
}

fn ten_megabytes_go_through_by_blocking_and_going_on(bare: &Bare<'_>) {
    const ALL: usize = 10_000_000;
    let (client, server) = bare.pair();
    let mut output = OutputQueue::default();
    output.write(&pattern(0, ALL));
    bare.send_all(client, &mut output);
    bare.until("all has come", |bare| bare.received_len(server) == ALL);
    assert!(bare.received(server) == pattern(0, ALL));
}
