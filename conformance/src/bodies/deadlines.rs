//! What ends a connection because a time has passed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::policies::TimeoutFactory;
use ropewalk_core::{
    Address, ConnectionLimits, Factory, Failure, Layer, LayerIo, OutputQueue, Protocol,
};

use crate::body::topic;
use crate::case::{Case, MOMENT, Over, ms};
use crate::script::{Script, once};

topic! { deadlines:
    a_timeout_ends_a_silent_connection,
    a_timeout_does_not_come_early,
    a_timeout_is_a_reset_for_the_peer,
    a_reset_timeout_counts_anew,
    a_timeout_that_was_taken_back_does_not_come,
    the_last_timeout_that_was_set_holds,
    a_timeout_comes_while_reading_is_paused,
    a_timeout_comes_while_much_is_unsent,
    a_timeout_may_be_set_by_a_handle,
    a_very_long_timeout_holds_nothing_up,
    timeouts_of_many_connections_come_to_each,
    a_layer_that_does_not_get_ready_ends_the_connection,
    a_protocol_behind_a_layer_that_is_not_ready_is_never_made,
    a_connection_without_layers_has_no_handshake,
    a_peer_that_sends_nothing_first_is_ended,
    an_idle_connection_is_ended,
    a_busy_connection_is_not_idle,
    a_connection_has_its_lifetime_however_busy_it_is,
}

fn a_timeout_ends_a_silent_connection(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| transport.set_timeout(Some(ms(5)))),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "timeout", "lost: timed out"]);
}

fn a_timeout_does_not_come_early(case: &Case<'_>) {
    let waited = Rc::new(Cell::new(None));
    let begun = Rc::new(Cell::new(None));
    let (begins, ends) = (Rc::clone(&begun), Rc::clone(&waited));
    case.join(
        Script::silent()
            .made(move |transport| {
                begins.set(Some(transport.now()));
                transport.set_timeout(Some(ms(25)));
            })
            .timeout(move |transport| {
                let begun = begun.get().unwrap_or_else(|| transport.now());
                ends.set(Some(transport.now() - begun));
            }),
        Script::silent(),
    );
    let seen = Rc::clone(&waited);
    case.until("the timeout has come", move || seen.get().is_some());
    assert!(waited.get() >= Some(ms(25)), "{:?}", waited.get());
}

fn a_timeout_is_a_reset_for_the_peer(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::silent().made(|transport| transport.set_timeout(Some(MOMENT))),
        Script::noting(&client),
    );
    case.until_over(&[&client]);
    client.assert(&["made", "lost: broken"]);
}

fn a_reset_timeout_counts_anew(case: &Case<'_>) {
    let server = case.log();
    let waited = Rc::new(Cell::new(Duration::ZERO));
    let (reactor, ends) = (case.reactor(), Rc::clone(&waited));
    let begun = Rc::new(Cell::new(None));
    let begins = Rc::clone(&begun);
    case.join(
        Script::noting(&server)
            .made(move |transport| {
                begins.set(Some(transport.now()));
                transport.set_timeout(Some(ms(300)));
                let handle = transport.connection();
                drop(reactor.call_later(ms(50), move || {
                    handle.act(|transport| transport.reset_timeout());
                }));
            })
            .timeout(move |transport| {
                let begun = begun.get().unwrap_or_else(|| transport.now());
                ends.set(transport.now() - begun);
                transport.lose_connection();
            }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    assert!(waited.get() >= ms(350), "{:?}", waited.get());
}

fn a_timeout_that_was_taken_back_does_not_come(case: &Case<'_>) {
    let server = case.log();
    let (reactor, later) = (case.reactor(), server.clone());
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.set_timeout(Some(ms(50)));
            let handle = transport.connection();
            reactor.call_when_running(move || {
                handle.act(|transport| transport.set_timeout(None));
            });
            drop(reactor.call_later(ms(80), later.noting("later")));
        }),
        Script::silent(),
    );
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn the_last_timeout_that_was_set_holds(case: &Case<'_>) {
    let server = case.log();
    let waited = Rc::new(Cell::new(Duration::ZERO));
    let ends = Rc::clone(&waited);
    let begun = Rc::new(Cell::new(None));
    let begins = Rc::clone(&begun);
    case.join(
        Script::noting(&server)
            .made(move |transport| {
                begins.set(Some(transport.now()));
                transport.set_timeout(Some(ms(2)));
                transport.set_timeout(Some(Duration::from_secs(3600)));
                transport.set_timeout(Some(ms(20)));
            })
            .timeout(move |transport| {
                let begun = begun.get().unwrap_or_else(|| transport.now());
                ends.set(transport.now() - begun);
                transport.lose_connection();
            }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    assert!(waited.get() >= ms(20), "{:?}", waited.get());
}

fn a_timeout_comes_while_reading_is_paused(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.pause_producing();
            transport.set_timeout(Some(ms(5)));
        }),
        Script::silent().saying("x"),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "timeout", "lost: timed out"]);
}

fn a_timeout_comes_while_much_is_unsent(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server).made(|transport| {
            transport.write(&vec![0; 12_000_000]);
            transport.set_timeout(Some(ms(30)));
        }),
        Script::silent().made(ropewalk_core::Transport::pause_producing),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "paused", "timeout", "lost: timed out"]);
}

fn a_timeout_may_be_set_by_a_handle(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(move |transport| {
            let handle = transport.connection();
            drop(reactor.call_later(ms(5), move || {
                handle.act(|transport| transport.set_timeout(Some(ms(1))));
            }));
        }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "timeout", "lost: timed out"]);
}

fn a_very_long_timeout_holds_nothing_up(case: &Case<'_>) {
    let client = case.log();
    case.join(
        Script::echo().made(|transport| transport.set_timeout(Some(Duration::MAX))),
        Script::noting(&client).saying("x"),
    );
    case.until_noted(&client, "data x");
}

fn timeouts_of_many_connections_come_to_each(case: &Case<'_>) {
    let log = case.log();
    let (noted, number) = (log.clone(), Cell::new(0));
    let (_port, endpoint) = case.serve(crate::script::each(move || {
        let (noted, own) = (noted.clone(), number.get());
        number.set(own + 1);
        Script::silent()
            .made(move |transport| transport.set_timeout(Some(ms(5 + own % 7))))
            .timeout(move |transport| {
                noted.note(own.to_string());
                transport.lose_connection();
            })
    }));
    for _ in 0..50 {
        drop(case.connect(&endpoint, once(Script::silent()), &case.log()));
    }
    let seen = log.clone();
    case.until("each has timed out", move || seen.len() == 50);
    let mut numbers = log.events();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
}

/// Never gets ready.
struct Stuck;

impl Layer for Stuck {
    fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn received(&mut self, _: &[u8], _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn send(&mut self, _: &mut OutputQueue, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Builds what the inner one builds, within bounds that are soon reached, behind a layer that never
/// gets ready.
struct Behind(Rc<dyn Factory>, bool);

impl Factory for Behind {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.build_protocol(peer)
    }

    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        match self.1 {
            true => vec![Box::new(Stuck)],
            false => Vec::new(),
        }
    }

    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            handshake: ms(10),
            ..ConnectionLimits::default()
        }
    }
}

fn a_layer_that_does_not_get_ready_ends_the_connection(case: &Case<'_>) {
    let client = case.log();
    let stuck = Rc::new(Behind(once(Script::silent()), true));
    case.join_factories(Over::Tcp, stuck, once(Script::noting(&client)));
    case.until_over(&[&client]);
    client.assert(&["made", "read closed", "lost: done"]);
}

fn a_protocol_behind_a_layer_that_is_not_ready_is_never_made(case: &Case<'_>) {
    let log = case.log();
    let stuck = Rc::new(Behind(once(Script::noting(&log)), true));
    let (_port, endpoint) = case.serve(once(Script::silent()));
    drop(case.connect(&endpoint, stuck, &log));
    let told = log.clone();
    case.until("the attempt has ended", move || told.len() > 0);
    log.assert(&["not connected: deadline Handshake"]);
}

fn a_connection_without_layers_has_no_handshake(case: &Case<'_>) {
    let server = case.log();
    let (reactor, later) = (case.reactor(), server.clone());
    let script = Script::noting(&server).made(move |_| {
        drop(reactor.call_later(ms(40), later.noting("later")));
    });
    let open = Rc::new(Behind(once(script), false));
    case.join_factories(Over::Tcp, open, once(Script::silent()));
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn with_timeouts(
    server: Script,
    set: impl FnOnce(TimeoutFactory<Rc<dyn Factory>>) -> TimeoutFactory<Rc<dyn Factory>>,
) -> Rc<dyn Factory> {
    let none = TimeoutFactory::new(once(server))
        .idle(None)
        .first_byte(None)
        .lifetime(None);
    Rc::new(set(none))
}

fn a_peer_that_sends_nothing_first_is_ended(case: &Case<'_>) {
    let server = case.log();
    let factory = with_timeouts(Script::noting(&server), |none| {
        none.first_byte(Some(MOMENT))
    });
    case.join_factories(Over::Tcp, factory, once(Script::silent()));
    case.until_over(&[&server]);
    server.assert(&["made", "lost: deadline FirstByte"]);
}

fn an_idle_connection_is_ended(case: &Case<'_>) {
    let server = case.log();
    let factory = with_timeouts(Script::noting(&server), |none| none.idle(Some(MOMENT)));
    case.join_factories(Over::Tcp, factory, once(Script::silent().saying("x")));
    case.until_over(&[&server]);
    server.assert(&["made", "data x", "lost: deadline Idle"]);
}

fn a_busy_connection_is_not_idle(case: &Case<'_>) {
    let server = case.log();
    let (reactor, later) = (case.reactor(), server.clone());
    let idle = Some(ms(400));
    let factory = with_timeouts(Script::noting(&server), |none| none.idle(idle));
    let busy = Script::silent().made(move |transport| {
        for at in 0..10 {
            let handle = transport.connection();
            drop(reactor.call_later(ms(at * 50), move || {
                handle.write(b".");
            }));
        }
        drop(reactor.call_later(ms(500), later.noting("later")));
    });
    case.join_factories(Over::Tcp, factory, once(busy));
    case.until_noted(&server, "later");
    assert!(!server.is_over());
}

fn a_connection_has_its_lifetime_however_busy_it_is(case: &Case<'_>) {
    let server = case.log();
    let factory = with_timeouts(
        Script::silent()
            .data(|transport, data| transport.write(data))
            .lost({
                let server = server.clone();
                move |reason| server.note(format!("lost: {}", crate::names::name_of(&reason)))
            }),
        |none| none.lifetime(Some(ms(30))),
    );
    let client = Script::echo().made(|transport| transport.write(b"."));
    case.join_factories(Over::Tcp, factory, once(client));
    case.until_over(&[&server]);
    server.assert(&["lost: deadline Lifetime"]);
}
