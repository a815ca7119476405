//! Writing: whole and in order, and no more than the peer takes.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use ropewalk_core::{Connection, ConnectionLimits, FileRegion, Transport};

use crate::body::topic;
use crate::case::{Case, MOMENT, Over, ms};
use crate::names::name_of;
use crate::script::{Gathered, Script, once, pattern, within};

topic! { writing:
    eight_megabytes_come_whole_and_in_order,
    eight_megabytes_come_whole_and_in_order_over_unix [Unix],
    much_goes_both_ways_at_once,
    much_goes_both_ways_at_once_over_unix [Unix],
    ten_thousand_small_writes_come_whole,
    an_empty_write_is_nothing,
    what_a_timer_writes_is_sent,
    above_the_high_water_mark_the_protocol_is_paused_once,
    below_the_high_water_mark_nobody_is_paused,
    when_the_peer_has_read_the_protocol_is_resumed,
    it_is_resumed_as_often_as_it_was_paused,
    what_is_written_while_paused_is_sent_too,
    a_protocol_that_writes_when_resumed_sends_twenty_megabytes_within_bounds,
    more_than_the_limit_ends_the_connection,
    as_much_as_the_limit_is_well,
    the_limit_holds_for_a_peer_that_reads_nothing,
    a_peer_that_takes_nothing_for_too_long_is_given_up,
    a_peer_that_takes_a_little_now_and_then_is_not,
    a_connection_with_nothing_to_send_never_stalls,
    unsent_tells_what_waits,
    await_drain_is_one_resumption_without_a_pause,
    await_flush_is_told_when_all_is_sent,
    drained_fires_when_all_is_sent,
    drained_fails_when_the_connection_ends_before,
    a_slow_reader_gets_everything,
    an_echo_that_is_held_back_loses_nothing,
    a_quiet_connection_is_answered_while_a_loud_one_streams,
    a_region_of_a_file_comes_in_its_place [Files],
    a_large_file_comes_whole [Files],
    a_file_that_became_shorter_ends_the_connection [Files],
}

fn comes_whole(case: &Case<'_>, over: Over) {
    let got = Gathered::default();
    let server = case.log();
    let ended = server.clone();
    case.join_over(
        over,
        Script::silent()
            .gathering(&got)
            .lost(move |_| ended.note("lost: ")),
        Script::silent().made(|transport| {
            transport.write(&pattern(0, 8_000_000));
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server]);
    assert!(*got.borrow() == pattern(0, 8_000_000));
}

fn eight_megabytes_come_whole_and_in_order(case: &Case<'_>) {
    comes_whole(case, Over::Tcp);
}

fn eight_megabytes_come_whole_and_in_order_over_unix(case: &Case<'_>) {
    comes_whole(case, Over::Unix);
}

fn goes_both_ways(case: &Case<'_>, over: Over) {
    const EACH: usize = 4_000_000;
    let (one, other) = (Gathered::default(), Gathered::default());
    let end = |got: &Gathered| {
        Script::silent()
            .made(|transport| transport.write(&pattern(3, EACH)))
            .gathering(got)
    };
    case.join_over(over, end(&one), end(&other));
    let (a, b) = (Rc::clone(&one), Rc::clone(&other));
    case.until("both have all", move || {
        a.borrow().len() >= EACH && b.borrow().len() >= EACH
    });
    assert!(*one.borrow() == pattern(3, EACH) && *other.borrow() == pattern(3, EACH));
}

fn much_goes_both_ways_at_once(case: &Case<'_>) {
    goes_both_ways(case, Over::Tcp);
}

fn much_goes_both_ways_at_once_over_unix(case: &Case<'_>) {
    goes_both_ways(case, Over::Unix);
}

fn ten_thousand_small_writes_come_whole(case: &Case<'_>) {
    let got = Gathered::default();
    case.join(
        Script::silent().gathering(&got),
        Script::silent().made(|transport| {
            for at in 0..10_000 {
                transport.write(&pattern(at * 7, 7));
            }
        }),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 70_000);
    assert!(*got.borrow() == pattern(0, 70_000));
}

fn an_empty_write_is_nothing(case: &Case<'_>) {
    let server = case.log();
    let empty = Rc::new(Cell::new(0));
    let counted = Rc::clone(&empty);
    case.join(
        Script::noting(&server).data(move |_, data| {
            counted.set(counted.get() + usize::from(data.is_empty()));
        }),
        Script::silent().made(|transport| {
            transport.write(b"");
            transport.write_bytes(bytes::Bytes::new());
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "read closed", "lost: done"]);
    assert_eq!(empty.get(), 0);
}

fn what_a_timer_writes_is_sent(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server),
        Script::silent().made(move |transport| {
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.write(b"from a timer");
            }));
        }),
    );
    case.until_noted(&server, "data from a timer");
}

/// Bounds that are soon reached.
fn narrow() -> ConnectionLimits {
    ConnectionLimits {
        high_water: 1000,
        low_water: 100,
        ..ConnectionLimits::default()
    }
}

/// A peer that reads nothing until its handle, which is put into `handles`, says so.
fn deaf(handles: &Rc<RefCell<Vec<Connection>>>) -> Script {
    let handles = Rc::clone(handles);
    Script::silent().made(move |transport| {
        transport.pause_producing();
        handles.borrow_mut().push(transport.connection());
    })
}

/// More than any network takes of one who reads nothing.
const MUCH: usize = 12_000_000;

fn above_the_high_water_mark_the_protocol_is_paused_once(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    let later = server.clone();
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.write(&vec![0; MUCH]);
            let handle = transport.connection();
            let later = later.clone();
            drop(reactor.call_later(MOMENT, move || {
                handle.write(&[0; 100_000]);
            }));
            drop(reactor.call_later(MOMENT * 2, later.noting("later")));
        }),
        deaf(&Rc::default()),
    );
    case.until_noted(&server, "later");
    server.assert(&["made", "paused", "later"]);
}

fn below_the_high_water_mark_nobody_is_paused(case: &Case<'_>) {
    let server = case.log();
    let limits = ConnectionLimits {
        high_water: MUCH,
        low_water: MUCH,
        write_limit: 2 * MUCH,
        ..ConnectionLimits::default()
    };
    let reactor = case.reactor();
    let later = server.clone();
    let script = Script::noting(&server).made(move |transport| {
        transport.write(&vec![0; MUCH]);
        drop(reactor.call_later(MOMENT, later.noting("later")));
    });
    let factory = within(limits, once(script));
    case.join_factories(Over::Tcp, factory, once(deaf(&Rc::default())));
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn when_the_peer_has_read_the_protocol_is_resumed(case: &Case<'_>) {
    let server = case.log();
    let handles = Rc::default();
    case.join(
        Script::noting(&server).made(|transport| transport.write(&vec![0; MUCH])),
        deaf(&handles),
    );
    let paused = server.clone();
    let noted = server.clone();
    case.when(
        move || paused.has("paused"),
        move || {
            noted.note("the peer reads");
            handles.borrow().iter().for_each(|handle| {
                handle.resume_producing();
            });
        },
    );
    case.until_noted(&server, "resumed");
    server.assert(&["made", "paused", "the peer reads", "resumed"]);
}

fn it_is_resumed_as_often_as_it_was_paused(case: &Case<'_>) {
    let server = case.log();
    let rounds = Cell::new(0);
    case.join(
        Script::noting(&server)
            .made(|transport| transport.write(&vec![0; MUCH]))
            .resumed(move |transport| {
                rounds.set(rounds.get() + 1);
                match rounds.get() {
                    3 => transport.lose_connection(),
                    _ => transport.write(&vec![0; MUCH]),
                }
            }),
        Script::silent(),
    );
    case.until_over(&[&server]);
    let one = ["paused", "resumed"];
    let expected = [&["made"][..], &one, &one, &one, &["lost: done"]].concat();
    server.assert(&expected);
}

fn what_is_written_while_paused_is_sent_too(case: &Case<'_>) {
    let got = Gathered::default();
    case.join(
        Script::silent()
            .made(|transport| transport.write(&pattern(0, MUCH)))
            .paused(|transport| transport.write(&pattern(MUCH, 1000))),
        Script::silent().gathering(&got),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= MUCH + 1000);
    assert!(*got.borrow() == pattern(0, MUCH + 1000));
}

fn a_protocol_that_writes_when_resumed_sends_twenty_megabytes_within_bounds(case: &Case<'_>) {
    const PIECE: usize = 50_000;
    const ALL: usize = 20_000_000;
    let got = Gathered::default();
    let (sent, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (written, held) = (Rc::clone(&sent), Rc::clone(&most));
    let pump = Rc::new(move |transport: &mut Transport| {
        while !transport.is_write_paused() && written.get() < ALL {
            transport.write(&pattern(written.get(), PIECE));
            written.set(written.get() + PIECE);
            held.set(held.get().max(transport.unsent()));
            if transport.unsent() > 64 * 1024 {
                transport.await_drain();
            }
        }
    });
    let again = Rc::clone(&pump);
    case.join(
        Script::silent()
            .made(move |transport| pump(transport))
            .resumed(move |transport| again(transport)),
        Script::silent().gathering(&got),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= ALL);
    assert!(*got.borrow() == pattern(0, ALL));
    assert!(
        most.get() <= (64 * 1024 + PIECE) as u64,
        "{} were held",
        most.get()
    );
    assert_eq!(sent.get(), ALL);
}

fn more_than_the_limit_ends_the_connection(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let noted = case.log();
    let limits = ConnectionLimits {
        write_limit: 100_000,
        ..ConnectionLimits::default()
    };
    let by_handle = noted.clone();
    let script = Script::noting(&server).data(move |transport, _| {
        let handle = transport.connection();
        by_handle.note(format!("{}", handle.write(&[0; 60_000])));
        by_handle.note(format!("{}", handle.write(&[0; 60_000])));
        by_handle.note(format!("{}", handle.write(b"x")));
    });
    case.join_factories(
        Over::Tcp,
        within(limits, once(script)),
        once(Script::noting(&client).saying("x")),
    );
    case.until_over(&[&server, &client]);
    server.assert(&["made", "data x", "lost: buffer full"]);
    noted.assert(&["true", "false", "false"]);
    assert_eq!(client.reason(), "broken");
}

fn as_much_as_the_limit_is_well(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let limits = ConnectionLimits {
        write_limit: 100_000,
        ..ConnectionLimits::default()
    };
    let script = Script::noting(&server).made(|transport| {
        transport.write(&[b'x'; 100_000]);
        transport.lose_connection();
    });
    let got = Gathered::default();
    let ended = client.clone();
    let peer = Script::silent()
        .gathering(&got)
        .lost(move |_| ended.note("lost: "));
    case.join_factories(Over::Tcp, within(limits, once(script)), once(peer));
    case.until_over(&[&server, &client]);
    assert_eq!(server.reason(), "done");
    assert_eq!(got.borrow().len(), 100_000);
}

fn the_limit_holds_for_a_peer_that_reads_nothing(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    let script = Script::noting(&server).made(move |transport| {
        fn more(reactor: &ropewalk_reactor::Handle, handle: Connection) {
            if handle.write(&[0; 500_000]) {
                let again = reactor.clone();
                drop(reactor.call_later(ms(0), move || more(&again, handle)));
            }
        }
        more(&reactor, transport.connection());
    });
    case.join(script, deaf(&Rc::default()));
    case.until_over(&[&server]);
    assert_eq!(server.reason(), "buffer full");
    assert!(server.has("paused"));
}

/// Those that a peer must not keep waiting for long.
fn hasty() -> ConnectionLimits {
    ConnectionLimits {
        write_stall: ms(50),
        ..ConnectionLimits::default()
    }
}

fn a_peer_that_takes_nothing_for_too_long_is_given_up(case: &Case<'_>) {
    let server = case.log();
    let script = Script::noting(&server).made(|transport| transport.write(&vec![0; MUCH]));
    let factory = within(hasty(), once(script));
    case.join_factories(Over::Tcp, factory, once(deaf(&Rc::default())));
    case.until_over(&[&server]);
    server.assert(&["made", "paused", "lost: stalled"]);
}

fn a_peer_that_takes_a_little_now_and_then_is_not(case: &Case<'_>) {
    let got = Gathered::default();
    let (server, reactor) = (case.log(), case.reactor());
    let taken = Rc::clone(&got);
    let limits = ConnectionLimits {
        write_stall: ms(1000),
        ..ConnectionLimits::default()
    };
    // It takes up to 1 MB every 20 ms.
    let slow = Script::silent().data(move |transport, data| {
        let before = taken.borrow().len() / 1_000_000;
        taken.borrow_mut().extend_from_slice(data);
        if taken.borrow().len() / 1_000_000 > before {
            transport.pause_producing();
            let handle = transport.connection();
            drop(reactor.call_later(ms(20), move || {
                handle.resume_producing();
            }));
        }
    });
    let script = Script::noting(&server).made(|transport| {
        transport.write(&pattern(0, MUCH));
        transport.lose_connection();
    });
    case.join_factories(Over::Tcp, within(limits, once(script)), once(slow));
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= MUCH);
    assert!(*got.borrow() == pattern(0, MUCH));
    assert_ne!(server.reason(), "stalled");
}

fn a_connection_with_nothing_to_send_never_stalls(case: &Case<'_>) {
    let server = case.log();
    let reactor = case.reactor();
    let later = server.clone();
    let script = Script::noting(&server).made(move |transport| {
        transport.write(b"x");
        drop(reactor.call_later(ms(150), later.noting("later")));
    });
    let factory = within(hasty(), once(script));
    case.join_factories(Over::Tcp, factory, once(deaf(&Rc::default())));
    case.until_noted(&server, "later");
    server.assert(&["made", "later"]);
}

fn unsent_tells_what_waits(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    let handles = Rc::default();
    let reactor = case.reactor();
    case.join(
        Script::silent().made(move |transport| {
            noted.note(transport.unsent().to_string());
            transport.write(&vec![0; MUCH]);
            noted.note(transport.unsent().to_string());
            let (handle, noted) = (transport.connection(), noted.clone());
            drop(reactor.call_later(MOMENT, move || {
                let left = handle.unsent().unwrap_or_default();
                noted.note(format!("{}", left > 0 && left < MUCH as u64));
            }));
        }),
        deaf(&handles),
    );
    let seen = log.clone();
    case.until("it was asked", move || seen.len() == 3);
    log.assert(&["0", "12000000", "true"]);
}

fn await_drain_is_one_resumption_without_a_pause(case: &Case<'_>) {
    let server = case.log();
    case.join(
        Script::noting(&server)
            .made(|transport| {
                transport.write(b"little");
                transport.await_drain();
            })
            .resumed(|transport| transport.lose_connection()),
        Script::silent(),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "resumed", "lost: done"]);
}

fn await_flush_is_told_when_all_is_sent(case: &Case<'_>) {
    let server = case.log();
    let noted = server.clone();
    let handles = Rc::default();
    let script = Script::noting(&server)
        .made(|transport| {
            transport.write(&vec![0; MUCH]);
            transport.await_flush();
        })
        .resumed(move |transport| {
            noted.note(format!("unsent: {}", transport.unsent()));
            transport.lose_connection();
        });
    let factory = within(narrow(), once(script));
    case.join_factories(Over::Tcp, factory, once(deaf(&handles)));
    drop(case.reactor().call_later(MOMENT, move || {
        handles.borrow().iter().for_each(|handle| {
            handle.resume_producing();
        });
    }));
    case.until_over(&[&server]);
    server.assert(&["made", "resumed", "unsent: 0", "lost: done"]);
}

fn drained_fires_when_all_is_sent(case: &Case<'_>) {
    let log = case.log();
    let noted = log.clone();
    case.join(
        Script::silent().made(move |transport| {
            transport.write(&vec![0; MUCH]);
            let (handle, noted) = (transport.connection(), noted.clone());
            let told = handle.clone().drained(0).add_callback(move |()| {
                noted.note(format!("unsent: {:?}", handle.unsent()));
            });
            drop::<ropewalk_core::Deferred<()>>(told);
        }),
        Script::silent(),
    );
    case.until_noted(&log, "unsent: Some(0)");
}

fn drained_fails_when_the_connection_ends_before(case: &Case<'_>) {
    let server = case.log();
    let noted = server.clone();
    let reactor = case.reactor();
    case.join(
        Script::noting(&server).made(move |transport| {
            transport.write(&vec![0; MUCH]);
            let noted = noted.clone();
            let told = transport
                .connection()
                .drained(0)
                .add_errback(move |failure| {
                    noted.note(format!("not drained: {}", name_of(&failure)));
                });
            drop(told);
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.abort_connection();
            }));
        }),
        deaf(&Rc::default()),
    );
    case.until_noted(&server, "not drained: aborted");
    server.assert(&["made", "paused", "lost: aborted", "not drained: aborted"]);
}

fn a_slow_reader_gets_everything(case: &Case<'_>) {
    let got = Gathered::default();
    let (taken, reactor) = (Rc::clone(&got), case.reactor());
    case.join(
        Script::silent().made(|transport| transport.write(&pattern(0, 5_000_000))),
        Script::silent().data(move |transport, data| {
            taken.borrow_mut().extend_from_slice(data);
            transport.pause_producing();
            let handle = transport.connection();
            drop(reactor.call_later(ms(0), move || {
                handle.resume_producing();
            }));
        }),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 5_000_000);
    assert!(*got.borrow() == pattern(0, 5_000_000));
}

fn an_echo_that_is_held_back_loses_nothing(case: &Case<'_>) {
    const ALL: usize = 12_000_000;
    let got = Gathered::default();
    let (server, reactor) = (case.log(), case.reactor());
    let held = within(
        narrow(),
        once(
            Script::echo()
                .paused(Transport::pause_producing)
                .resumed(Transport::resume_producing)
                .lost({
                    let server = server.clone();
                    move |_| server.note("lost: ")
                }),
        ),
    );
    let client = Script::silent()
        .made(move |transport| {
            transport.write(&pattern(0, ALL));
            transport.pause_producing();
            let handle = transport.connection();
            drop(reactor.call_later(MOMENT, move || {
                handle.resume_producing();
            }));
        })
        .gathering(&got);
    case.join_factories(Over::Tcp, held, once(client));
    let seen = Rc::clone(&got);
    case.until("all has come back", move || seen.borrow().len() >= ALL);
    assert!(*got.borrow() == pattern(0, ALL));
    assert!(!server.is_over());
}

fn a_quiet_connection_is_answered_while_a_loud_one_streams(case: &Case<'_>) {
    let (loud, quiet) = (Rc::new(Cell::new(0_usize)), case.log());
    let (_port, endpoint) = case.serve(crate::script::each(Script::echo));
    let heard = Rc::clone(&loud);
    let endless = Script::silent()
        .made(|transport| transport.write(&[0; 200_000]))
        .data(move |transport, data| {
            heard.set(heard.get() + data.len());
            transport.write(data);
        });
    drop(case.connect(&endpoint, once(endless), &case.log()));
    let rounds = Cell::new(0);
    let asking = Script::noting(&quiet)
        .made(|transport| transport.write(b"."))
        .data(move |transport, _| {
            rounds.set(rounds.get() + 1);
            match rounds.get() {
                20 => transport.lose_connection(),
                _ => transport.write(b"."),
            }
        });
    drop(case.connect(&endpoint, once(asking), &case.log()));
    case.until_over(&[&quiet]);
    quiet.assert(&["made", "data ....................", "lost: done"]);
    assert!(loud.get() > 0);
}

/// A file that is gone when it is closed.
fn file(content: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(content).expect("it takes what is written");
    Arc::new(file)
}

fn a_region_of_a_file_comes_in_its_place(case: &Case<'_>) {
    let server = case.log();
    let content = file(b"0123456789");
    case.join(
        Script::noting(&server),
        Script::silent().made(move |transport| {
            let region = |offset, len| FileRegion {
                file: Arc::clone(&content),
                offset,
                len,
            };
            transport.write(b"<");
            transport.write_file(region(2, 3));
            transport.write(b"|");
            transport.write_file(region(0, 0));
            transport.write_file(region(9, 1));
            transport.write(b">");
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server]);
    server.assert(&["made", "data <234|9>", "read closed", "lost: done"]);
}

fn a_large_file_comes_whole(case: &Case<'_>) {
    let got = Gathered::default();
    let all = file(&pattern(0, 6_000_000));
    case.join(
        Script::silent().gathering(&got),
        Script::silent().made(move |transport| {
            transport.write_file(FileRegion {
                file: Arc::clone(&all),
                offset: 0,
                len: 6_000_000,
            });
            transport.lose_connection();
        }),
    );
    let seen = Rc::clone(&got);
    case.until("all has come", move || seen.borrow().len() >= 6_000_000);
    assert!(*got.borrow() == pattern(0, 6_000_000));
}

fn a_file_that_became_shorter_ends_the_connection(case: &Case<'_>) {
    let (server, client) = (case.log(), case.log());
    let short = file(b"short");
    case.join(
        Script::noting(&server).saying("x"),
        Script::noting(&client).data(move |transport, _| {
            transport.write_file(FileRegion {
                file: Arc::clone(&short),
                offset: 0,
                len: 50,
            });
            transport.lose_connection();
        }),
    );
    case.until_over(&[&server, &client]);
    client.assert(&["made", "data x", "lost: broken"]);
    assert_eq!(server.reason(), "broken");
}
