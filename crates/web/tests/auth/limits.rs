//! Who guesses waits, and who was right is not hashed again.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Deferred};
use ropewalk_web::Randomness;
use ropewalk_web::credentials::{
    Checking, Credentials, CredentialsChecker, LoginCache, LoginError, LoginLimit, MemoryChecker,
};

use super::rig::check;

const FROM: &str = "192.0.2.7:4711";

fn limited() -> (MemoryReactor, LoginLimit<MemoryChecker>) {
    let reactor = MemoryReactor::new();
    let checker = MemoryChecker::new()
        .user("ada", "right")
        .user("bob", "right");
    let limit = LoginLimit::new(reactor.handle(), checker);
    (reactor, limit)
}

/// `Ok(true)` if it is right, `Ok(false)` if it is wrong, otherwise how long to wait.
fn login(
    (reactor, checker): &(MemoryReactor, LoginLimit<MemoryChecker>),
    user: &str,
    password: &str,
    from: &str,
) -> Result<bool, Duration> {
    match check(
        reactor,
        checker,
        &Credentials::password(user, password),
        from,
    ) {
        Ok(_) => Ok(true),
        Err(LoginError::Unauthorized) => Ok(false),
        Err(LoginError::TooManyTries { retry_after }) => Err(retry_after),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn each_failure_after_the_tenth_doubles_the_wait() {
    let site = limited();
    for _ in 0..10 {
        assert_eq!(login(&site, "ada", "wrong", FROM), Ok(false));
    }
    let mut wait = 1;
    for _ in 0..12 {
        let expected = Duration::from_secs(wait.min(15 * 60));
        assert_eq!(login(&site, "ada", "wrong", FROM), Err(expected));
        site.0.advance(expected - Duration::from_nanos(1));
        assert!(login(&site, "ada", "wrong", FROM).is_err());
        site.0.advance(Duration::from_nanos(1));
        assert_eq!(login(&site, "ada", "wrong", FROM), Ok(false));
        wait *= 2;
    }
    // Others, and the same user elsewhere, do not wait.
    assert_eq!(login(&site, "bob", "right", FROM), Ok(true));
    assert_eq!(login(&site, "ada", "right", "198.51.100.1:1"), Ok(true));
    // All is forgotten after an hour without a failure.
    site.0.advance(Duration::from_secs(60 * 60));
    assert_eq!(login(&site, "ada", "wrong", FROM), Ok(false));
    assert_eq!(login(&site, "ada", "right", FROM), Ok(true));
}

#[test]
fn a_success_wipes_out_the_failures_of_its_name_from_its_address() {
    let site = limited();
    for _ in 0..5 {
        for _ in 0..9 {
            assert_eq!(login(&site, "ada", "wrong", FROM), Ok(false));
        }
        assert_eq!(login(&site, "ada", "right", FROM), Ok(true));
    }
}

#[test]
fn an_address_that_tries_many_names_waits() {
    let site = limited();
    for number in 0..100 {
        // An IPv6 address counts by its network.
        let from = format!("[2001:db8::{number:x}]:1");
        assert_eq!(
            login(&site, &format!("user{number}"), "wrong", &from),
            Ok(false)
        );
    }
    assert!(login(&site, "ada", "right", "[2001:db8::ffff]:1").is_err());
    assert_eq!(
        login(&site, "ada", "right", "[2001:db8:0:1::1]:1"),
        Ok(true)
    );
    // Successes of others do not help the one who guesses.
    site.0.advance(Duration::from_secs(1));
    assert_eq!(login(&site, "ada", "right", "[2001:db8::ffff]:1"), Ok(true));
    assert_eq!(login(&site, "x", "wrong", "[2001:db8::ffff]:1"), Ok(false));
    assert!(login(&site, "y", "wrong", "[2001:db8::ffff]:1").is_err());
}

#[test]
fn nobody_is_shut_out_by_others_for_more_than_half_a_minute() {
    let site = limited();
    for number in 0..150 {
        let from = format!("10.0.{number}.1:1");
        let _ = login(&site, "ada", "wrong", &from);
        site.0.advance(Duration::from_secs(5));
    }
    match login(&site, "ada", "right", "192.0.2.200:1") {
        Ok(right) => assert!(right),
        Err(wait) => assert!(wait <= Duration::from_secs(30), "{wait:?}"),
    }
}

#[test]
fn tries_at_the_same_time_count_as_failed() {
    /// Answers when it is told to.
    struct Slow(Rc<Cell<usize>>);
    impl CredentialsChecker for Slow {
        fn request_avatar_id(&self, _: &Credentials, _: &Address) -> Checking {
            self.0.set(self.0.get() + 1);
            let (resolver, never) = Deferred::<()>::pair();
            Box::pin(async move {
                let _resolver = resolver;
                drop(never.await);
                Err(LoginError::Unauthorized)
            })
        }
    }
    let reactor = MemoryReactor::new();
    let asked: Rc<Cell<usize>> = Rc::default();
    let limit = LoginLimit::new(reactor.handle(), Slow(Rc::clone(&asked)));
    let from = Address::Tcp(FROM.parse().unwrap());
    let all: Vec<Checking> = (0..50)
        .map(|number| {
            let shown = Credentials::password("ada", format!("guess {number}"));
            limit.request_avatar_id(&shown, &from)
        })
        .collect();
    assert_eq!(asked.get(), 10);
    drop(all);
}

#[test]
fn what_was_right_is_remembered_for_a_minute_and_what_was_wrong_is_not() {
    /// Counts how often it is asked.
    struct Counting(MemoryChecker, Rc<Cell<usize>>);
    impl CredentialsChecker for Counting {
        fn request_avatar_id(&self, credentials: &Credentials, from: &Address) -> Checking {
            self.1.set(self.1.get() + 1);
            self.0.request_avatar_id(credentials, from)
        }
    }
    let reactor = MemoryReactor::new();
    let asked: Rc<Cell<usize>> = Rc::default();
    let checker = Counting(MemoryChecker::new().user("ada", "right"), Rc::clone(&asked));
    let cache = LoginCache::new(reactor.handle(), checker, &Randomness::system()).unwrap();
    let login = |user: &str, password: &str| {
        check(
            &reactor,
            &cache,
            &Credentials::password(user, password),
            FROM,
        )
        .is_ok()
    };
    for _ in 0..3 {
        assert!(login("ada", "right"));
    }
    assert_eq!(asked.get(), 1);
    // Name and password are not run together.
    assert!(!login("adar", "ight"));
    for _ in 0..3 {
        assert!(!login("ada", "wrong"));
    }
    assert_eq!(asked.get(), 5);
    reactor.advance(Duration::from_secs(60));
    assert!(login("ada", "right"));
    assert_eq!(asked.get(), 6);
}
