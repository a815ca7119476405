//! The bare driver: reading that is turned off and on.

use ropewalk_reactor::driver::ListenerId;

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::ms;
use crate::script::pattern;

topic! { driver driver_reading:
    nothing_is_reported_while_reading_is_off,
    what_came_while_reading_was_off_is_reported_when_it_is_on,
    reading_that_is_turned_off_within_received_is_off_at_once,
    the_read_end_waits_while_reading_is_off,
    a_reset_is_reported_while_reading_is_off,
    turning_it_off_and_on_loses_nothing,
    turning_it_on_where_nothing_waits_reports_nothing,
    a_peer_that_is_not_read_is_blocked,
    reading_may_be_off_from_the_beginning,
    one_that_is_not_read_leaves_the_others,
    one_that_is_not_read_is_no_busy_loop,
}

fn nothing_is_reported_while_reading_is_off(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.send(client, b"unheard");
    bare.poll_for(ms(10));
    assert_eq!(bare.received_len(server), 0);
}

fn what_came_while_reading_was_off_is_reported_when_it_is_on(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.send(client, &pattern(0, 100_000));
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.poll_for(ms(10));
    bare.driver().set_reading(server, true);
    bare.until_event(&Event::ReadClosed(server));
    assert!(bare.received(server) == pattern(0, 100_000));
}

fn reading_that_is_turned_off_within_received_is_off_at_once(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.fill(client);
    bare.poll_for(ms(5));
    bare.react(move |driver, event| {
        if matches!(event, Event::Received(of, _) if *of == server) {
            driver.set_reading(server, false);
        }
    });
    bare.driver().set_reading(server, true);
    bare.until("something has come", |bare| bare.received_len(server) > 0);
    bare.poll_for(ms(10));
    let reports = bare.count(|event| matches!(event, Event::Received(of, _) if *of == server));
    assert_eq!(reports, 1);
}

fn the_read_end_waits_while_reading_is_off(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.poll_for(ms(10));
    assert!(!bare.has(&Event::ReadClosed(server)));
    bare.driver().set_reading(server, true);
    bare.until_event(&Event::ReadClosed(server));
}

fn a_reset_is_reported_while_reading_is_off(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.poll_for(ms(2));
    bare.driver().abort(client);
    bare.until("the reset is reported", |bare| {
        bare.count(|event| matches!(event, Event::Failed(of, _) if *of == server)) == 1
    });
}

fn turning_it_off_and_on_loses_nothing(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    for round in 0..50 {
        bare.driver().set_reading(server, false);
        bare.send(client, &pattern(round * 1000, 1000));
        if round % 3 == 0 {
            bare.poll_for(ms(1));
        }
        bare.driver().set_reading(server, true);
        if round % 2 == 0 {
            bare.poll_for(ms(1));
        }
    }
    bare.until("all has come", |bare| bare.received_len(server) == 50_000);
    assert!(bare.received(server) == pattern(0, 50_000));
}

fn turning_it_on_where_nothing_waits_reports_nothing(bare: &Bare<'_>) {
    let (_client, server) = bare.pair();
    let before = bare.events().len();
    bare.driver().set_reading(server, true);
    bare.driver().set_reading(server, false);
    bare.driver().set_reading(server, true);
    bare.poll_for(ms(10));
    assert_eq!(bare.events().len(), before, "{:?}", bare.events());
}

fn a_peer_that_is_not_read_is_blocked(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    // It may take more when what was sent is on its way; but not without end.
    let mut taken = 0;
    for _ in 0..10 {
        taken += bare.fill(client);
        bare.poll_for(ms(5));
    }
    assert!(taken > 0 && taken < 64 * 1024 * 1024, "{taken}");
    assert_eq!(bare.received_len(server), 0);
}

fn reading_may_be_off_from_the_beginning(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    bare.react(|driver, event| {
        if let Event::Opened(id) = event {
            driver.set_reading(*id, false);
        }
    });
    let client = bare.connect(address).expect("begins");
    bare.until("both are up", |bare| {
        bare.count(|event| matches!(event, Event::Opened(_))) == 2
    });
    let server = bare.accepted(ListenerId(0))[0];
    bare.send(client, b"unheard");
    bare.poll_for(ms(10));
    assert_eq!(bare.received_len(server), 0);
    bare.driver().set_reading(server, true);
    bare.until("it is heard", |bare| bare.received(server) == b"unheard");
}

fn one_that_is_not_read_leaves_the_others(bare: &Bare<'_>) {
    let (first, one) = bare.pair();
    let (second, other) = bare.pair();
    bare.driver().set_reading(one, false);
    bare.fill(first);
    bare.send(second, b"heard");
    bare.until("the other is heard", |bare| {
        bare.received(other) == b"heard"
    });
    assert_eq!(bare.received_len(one), 0);
}

fn one_that_is_not_read_is_no_busy_loop(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.send(client, &[0; 10_000]);
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.poll_for(ms(10));
    let before = bare.polls();
    bare.poll_for(ms(20));
    assert!(
        bare.polls() - before <= 3,
        "{} polls",
        bare.polls() - before
    );
}
