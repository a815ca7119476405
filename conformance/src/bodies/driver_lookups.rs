//! The bare driver: names that it looks up.

use ropewalk_reactor::driver::QueryId;

use crate::bare::{Bare, Event};
use crate::body::topic;
use crate::case::ms;

topic! { driver driver_lookups:
    a_known_name_has_its_address [Names],
    an_unknown_name_is_an_error [Names],
    each_query_is_answered_once [Names],
    a_cancelled_query_ends_no_other [Names],
    a_look_up_does_not_keep_the_driver [Names],
}

fn a_known_name_has_its_address(bare: &Bare<'_>) {
    let (name, address) = bare.subject().known_name();
    bare.driver().resolve(QueryId(1), name, 7);
    bare.until("it is answered", |bare| {
        bare.count(|event| matches!(event, Event::Resolved(..))) == 1
    });
    let events = bare.events();
    let Event::Resolved(QueryId(1), Some(found)) = &events[0] else {
        panic!("{events:?}");
    };
    assert!(found.contains(&(address, 7).into()), "{found:?}");
}

fn an_unknown_name_is_an_error(bare: &Bare<'_>) {
    let name = bare.subject().unknown_name();
    bare.driver().resolve(QueryId(1), name, 7);
    bare.until_event(&Event::Resolved(QueryId(1), None));
}

fn each_query_is_answered_once(bare: &Bare<'_>) {
    let (name, _) = bare.subject().known_name();
    for number in 0..30 {
        bare.driver().resolve(QueryId(number), name, number as u16);
    }
    bare.until("each is answered", |bare| {
        bare.count(|event| matches!(event, Event::Resolved(..))) == 30
    });
    bare.poll_for(ms(5));
    for number in 0..30 {
        let own = bare.count(
            |event| matches!(event, Event::Resolved(id, Some(found)) if *id == QueryId(number) && found[0].port() == number as u16),
        );
        assert_eq!(own, 1, "{:?}", bare.events());
    }
}

fn a_cancelled_query_ends_no_other(bare: &Bare<'_>) {
    let (name, _) = bare.subject().known_name();
    for number in 0..10 {
        bare.driver().resolve(QueryId(number), name, 7);
    }
    for number in 0..5 {
        bare.driver().cancel_resolve(QueryId(number));
    }
    bare.until("the others are answered", |bare| {
        bare.count(|event| matches!(event, Event::Resolved(id, _) if id.0 >= 5)) == 5
    });
}

fn a_look_up_does_not_keep_the_driver(bare: &Bare<'_>) {
    let driver = bare.subject().driver().expect("another driver");
    let (name, _) = bare.subject().known_name();
    for number in 0..20 {
        driver.resolve(QueryId(number), name, 7);
    }
    // Whatever is under way: nobody hears of it.
    drop(driver);
    bare.poll_for(ms(5));
    assert!(bare.events().is_empty());
}
