//! The bare driver: names that are closed, and used again, hear nothing; and whatever is asked of
//! any name within a report is done.

use std::cell::Cell;
use std::rc::Rc;

use ropewalk_core::endpoint::{ServerEndpoint, TcpConnect};
use ropewalk_core::{ConnectionId, OutputQueue};
use ropewalk_reactor::driver::{Driver, ListenerId, Target};

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::{loopback, ms};

topic! { driver driver_names:
    nothing_is_reported_after_close,
    nothing_is_reported_after_abort,
    a_close_within_received_is_the_end,
    an_abort_within_received_is_the_end,
    a_close_within_opened_is_the_end,
    a_close_within_read_closed_is_the_end,
    a_close_within_writable_is_the_end,
    a_close_of_another_within_received_is_the_end_of_it,
    an_attempt_that_is_aborted_is_not_heard_of,
    an_attempt_that_is_aborted_leaves_its_name [BlackHole],
    a_place_that_is_used_again_hears_nothing_of_the_one_before,
    a_closed_name_does_nothing_to_the_one_in_its_place,
    a_place_may_be_used_again_within_the_report_that_freed_it,
    a_listeners_number_may_be_used_again,
    a_listener_that_is_closed_within_accepted_accepts_no_more,
    an_unknown_listener_is_ignored,
    a_closed_listener_gives_its_port_back,
    send_within_received_works,
    send_within_opened_works,
    shutdown_within_received_works,
    connect_and_listen_within_received_work,
    set_reading_within_received_works_on_another,
    a_failed_name_may_be_closed,
}

/// Sends a byte, which is taken where nothing else waits.
fn sending(driver: &dyn Driver, id: ConnectionId) {
    let mut output = OutputQueue::default();
    output.write(b"!");
    driver.send(id, &mut output).expect("sends");
    assert!(output.is_empty());
}

/// So much has been reported of a connection.
fn count(bare: &Bare<'_>, id: ConnectionId) -> usize {
    bare.count(|event| match event {
        Event::Received(of, _)
        | Event::ReadClosed(of)
        | Event::Writable(of)
        | Event::Failed(of, _)
        | Event::ConnectFailed(of, _)
        | Event::Opened(of) => *of == id,
        _ => false,
    })
}

fn nothing_is_reported_after(bare: &Bare<'_>, end: impl Fn(&dyn Driver, ConnectionId)) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.send(client, b"waiting");
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.driver().set_reading(server, true);
    end(bare.driver(), server);
    bare.poll_for(ms(10));
    assert_eq!(count(bare, server), 1, "{:?}", bare.events());
}

fn nothing_is_reported_after_close(bare: &Bare<'_>) {
    nothing_is_reported_after(bare, |driver, id| driver.close(id));
}

fn nothing_is_reported_after_abort(bare: &Bare<'_>) {
    nothing_is_reported_after(bare, |driver, id| driver.abort(id));
}

/// Ends a connection within the first report for it that `is` one to end it in; asserts that none
/// follows.
fn ends_within(
    bare: &Bare<'_>,
    id: ConnectionId,
    is: fn(&Event) -> bool,
    end: fn(&dyn Driver, ConnectionId),
) {
    let before = Rc::new(Cell::new(0));
    let reports = Rc::clone(&before);
    let ended = Cell::new(false);
    bare.react(move |driver, event| {
        let of = match event {
            Event::Received(of, _)
            | Event::ReadClosed(of)
            | Event::Writable(of)
            | Event::Opened(of) => *of,
            _ => return,
        };
        if of != id {
            return;
        }
        if ended.get() {
            reports.set(reports.get() + 1);
        }
        if is(event) && !ended.replace(true) {
            end(driver, id);
            reports.set(1);
        }
    });
    let done = Rc::clone(&before);
    bare.until("it is ended within a report", |_| done.get() > 0);
    bare.poll_for(ms(10));
    assert_eq!(before.get(), 1, "{:?}", bare.events());
}

fn a_close_within_received_is_the_end(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.send(client, &[0; 150_000]);
    bare.driver().shutdown_write(client).expect("shuts down");
    bare.poll_for(ms(5));
    bare.driver().set_reading(server, true);
    let is = |event: &Event| matches!(event, Event::Received(..));
    ends_within(bare, server, is, |driver, id| driver.close(id));
}

fn an_abort_within_received_is_the_end(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.send(client, &[0; 150_000]);
    let is = |event: &Event| matches!(event, Event::Received(..));
    ends_within(bare, server, is, |driver, id| driver.abort(id));
    bare.until("the client hears of it", |bare| {
        bare.count(|event| matches!(event, Event::Failed(of, _) if *of == client)) == 1
    });
}

fn a_close_within_opened_is_the_end(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    let client = bare.connect(address).expect("begins");
    let is = |event: &Event| matches!(event, Event::Opened(_));
    ends_within(bare, client, is, |driver, id| driver.close(id));
}

fn a_close_within_read_closed_is_the_end(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().shutdown_write(client).expect("shuts down");
    let is = |event: &Event| matches!(event, Event::ReadClosed(_));
    ends_within(bare, server, is, |driver, id| driver.close(id));
}

fn a_close_within_writable_is_the_end(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().set_reading(server, false);
    bare.fill(client);
    bare.driver().set_reading(server, true);
    let is = |event: &Event| matches!(event, Event::Writable(_));
    ends_within(bare, client, is, |driver, id| driver.close(id));
}

fn a_close_of_another_within_received_is_the_end_of_it(bare: &Bare<'_>) {
    let (first, one) = bare.pair();
    let (second, other) = bare.pair();
    for id in [one, other] {
        bare.driver().set_reading(id, false);
    }
    bare.send(first, b"x");
    bare.send(second, b"x");
    bare.poll_for(ms(5));
    let closed = Rc::new(Cell::new(None));
    let closes = Rc::clone(&closed);
    // Whichever is the first closes the other one.
    bare.react(move |driver, event| {
        if let Event::Received(id, _) = event
            && closes.get().is_none()
        {
            let victim = if *id == one { other } else { one };
            driver.close(victim);
            closes.set(Some(victim));
        }
    });
    for id in [one, other] {
        bare.driver().set_reading(id, true);
    }
    bare.until("one has received", |_| closed.get().is_some());
    bare.poll_for(ms(5));
    let victim = closed.get().expect("one was closed");
    assert_eq!(bare.received_len(victim), 0);
}

fn an_attempt_that_is_aborted_is_not_heard_of(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    let client = bare.connect(address).expect("begins");
    bare.driver().abort(client);
    bare.poll_for(ms(10));
    assert_eq!(count(bare, client), 0, "{:?}", bare.events());
}

fn an_attempt_that_is_aborted_leaves_its_name(bare: &Bare<'_>) {
    let place = bare.subject().black_hole().expect("a black hole");
    let client = bare.connect(place.address).expect("begins");
    bare.poll_for(ms(5));
    bare.driver().abort(client);
    let address = bare.listen(ListenerId(0));
    let again = ConnectionId::new(client.index(), client.generation() + 1);
    let options = TcpConnect::new(address.ip(), address.port());
    let begun = bare.driver().connect(again, Target::Tcp(address, &options));
    begun.expect("begins");
    bare.until_event(&Event::Opened(again));
    assert_eq!(count(bare, client), 0);
}

fn a_place_that_is_used_again_hears_nothing_of_the_one_before(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    let client = bare.connect(address).expect("begins");
    bare.until("both are up", |bare| {
        bare.count(|event| matches!(event, Event::Opened(_))) == 2
    });
    let server = bare.accepted(ListenerId(0))[0];
    // Bytes and an end are on their way to a name that is closed, and used again at once.
    bare.send(server, b"for the one before");
    bare.driver().shutdown_write(server).expect("shuts down");
    bare.driver().close(client);
    let again = ConnectionId::new(client.index(), client.generation() + 1);
    let options = TcpConnect::new(address.ip(), address.port());
    let begun = bare.driver().connect(again, Target::Tcp(address, &options));
    begun.expect("begins");
    bare.until_event(&Event::Opened(again));
    bare.poll_for(ms(10));
    assert_eq!(bare.received_len(again), 0);
    assert!(!bare.has(&Event::ReadClosed(again)));
}

fn a_closed_name_does_nothing_to_the_one_in_its_place(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().close(client);
    bare.until_event(&Event::ReadClosed(server));
    let address = bare.listen(ListenerId(0));
    let again = ConnectionId::new(client.index(), client.generation() + 1);
    let options = TcpConnect::new(address.ip(), address.port());
    let begun = bare.driver().connect(again, Target::Tcp(address, &options));
    begun.expect("begins");
    bare.until("both are up", |bare| {
        bare.has(&Event::Opened(again)) && bare.accepted(ListenerId(0)).len() == 1
    });
    bare.driver().set_reading(client, false);
    bare.driver().close(client);
    bare.driver().abort(client);
    let peer = bare.accepted(ListenerId(0))[0];
    bare.send(peer, b"still there");
    bare.until("it has come", |bare| bare.received(again) == b"still there");
}

fn a_place_may_be_used_again_within_the_report_that_freed_it(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    let client = bare.connect(address).expect("begins");
    let again = ConnectionId::new(client.index(), client.generation() + 1);
    bare.react(move |driver, event| {
        if *event == Event::Opened(client) {
            driver.close(client);
            let options = TcpConnect::new(address.ip(), address.port());
            let begun = driver.connect(again, Target::Tcp(address, &options));
            begun.expect("begins");
        }
    });
    bare.until_event(&Event::Opened(again));
    bare.send(again, b"hello");
    bare.until("it has come", |bare| {
        let accepted = bare.accepted(ListenerId(0));
        accepted.iter().any(|id| bare.received(*id) == b"hello")
    });
}

fn a_listeners_number_may_be_used_again(bare: &Bare<'_>) {
    let first = bare.listen(ListenerId(7));
    bare.driver().close_listener(ListenerId(7));
    let second = bare.listen(ListenerId(7));
    assert!(
        bare.connect(first).is_err() || first == second || {
            bare.until("the closed port refuses", |bare| {
                bare.count(|event| matches!(event, Event::ConnectFailed(..))) == 1
            });
            true
        }
    );
    bare.connect(second).expect("begins");
    bare.until("it is accepted", |bare| {
        bare.accepted(ListenerId(7)).len() == 1
    });
}

fn a_listener_that_is_closed_within_accepted_accepts_no_more(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    for _ in 0..20 {
        bare.connect(address).expect("begins");
    }
    bare.react(|driver, event| {
        if let Event::Accepted(listener, _) = event {
            driver.close_listener(*listener);
        }
    });
    bare.until("one is accepted", |bare| {
        !bare.accepted(ListenerId(0)).is_empty()
    });
    bare.poll_for(ms(10));
    assert_eq!(bare.accepted(ListenerId(0)).len(), 1);
}

fn an_unknown_listener_is_ignored(bare: &Bare<'_>) {
    bare.driver().close_listener(ListenerId(99));
    bare.driver().resume_accepting(ListenerId(99));
    let address = bare.listen(ListenerId(0));
    bare.driver().close_listener(ListenerId(1));
    bare.connect(address).expect("begins");
    bare.until("it is accepted", |bare| {
        bare.accepted(ListenerId(0)).len() == 1
    });
}

fn a_closed_listener_gives_its_port_back(bare: &Bare<'_>) {
    let address = bare.listen(ListenerId(0));
    let endpoint: ServerEndpoint = {
        let mut same = loopback();
        same.port = address.port();
        same.into()
    };
    assert!(bare.driver().listen(ListenerId(1), &endpoint).is_err());
    bare.driver().close_listener(ListenerId(0));
    let again = bare.driver().listen(ListenerId(1), &endpoint);
    assert_eq!(again.expect("it is free").socket_addr(), Some(address));
}

fn send_within_received_works(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.react(move |driver, event| {
        if *event == Event::Received(server, 1) {
            sending(driver, server);
        }
    });
    bare.send(client, b"?");
    bare.until("it is answered", |bare| bare.received(client) == b"!");
}

fn send_within_opened_works(bare: &Bare<'_>) {
    bare.react(|driver, event| {
        if let Event::Opened(id) = event {
            sending(driver, *id);
        }
    });
    let (client, server) = bare.pair();
    bare.until("both have heard", |bare| {
        bare.received(client) == b"!" && bare.received(server) == b"!"
    });
}

fn shutdown_within_received_works(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.react(move |driver, event| {
        if *event == Event::Received(server, 1) {
            driver.shutdown_write(server).expect("shuts down");
        }
    });
    bare.send(client, b"?");
    bare.until_event(&Event::ReadClosed(client));
}

fn connect_and_listen_within_received_work(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    let inner = ConnectionId::new(5000, 0);
    bare.react(move |driver, event| {
        if *event == Event::Received(server, 1) {
            let endpoint = loopback().into();
            let address = driver.listen(ListenerId(3), &endpoint).expect("listens");
            let address = address.socket_addr().expect("of TCP");
            let options = TcpConnect::new(address.ip(), address.port());
            let begun = driver.connect(inner, Target::Tcp(address, &options));
            begun.expect("begins");
        }
    });
    bare.send(client, b"?");
    bare.until_event(&Event::Opened(inner));
    bare.until("it is accepted", |bare| {
        bare.accepted(ListenerId(3)).len() == 1
    });
}

fn set_reading_within_received_works_on_another(bare: &Bare<'_>) {
    let (first, one) = bare.pair();
    let (second, other) = bare.pair();
    bare.driver().set_reading(other, false);
    bare.send(second, b"waits");
    bare.poll_for(ms(5));
    assert_eq!(bare.received_len(other), 0);
    bare.react(move |driver, event| {
        if *event == Event::Received(one, 1) {
            driver.set_reading(other, true);
        }
    });
    bare.send(first, b"x");
    bare.until("the other is read again", |bare| {
        bare.received(other) == b"waits"
    });
}

fn a_failed_name_may_be_closed(bare: &Bare<'_>) {
    let (client, server) = bare.pair();
    bare.driver().abort(client);
    bare.until("the reset is reported", |bare| {
        bare.count(|event| matches!(event, Event::Failed(of, _) if *of == server)) == 1
    });
    bare.driver().close(server);
    bare.poll_for(ms(5));
    let (client, server) = bare.pair();
    bare.send(client, b"x");
    bare.until("others are well", |bare| bare.received_len(server) == 1);
}
