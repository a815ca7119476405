//! Who guesses waits, and who was right is not hashed again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Deferred, Resolver};
use ropewalk_web::Randomness;
use ropewalk_web::credentials::{
    AvatarId, Checking, Credentials, CredentialsChecker, LoginCache, LoginError, LoginLimit,
    MemoryChecker,
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
fn a_name_that_others_guess_waits_for_half_a_minute_at_most() {
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

/// Answers when it is told to, and counts how often it is asked.
#[derive(Default)]
struct OnDemand {
    asked: Cell<usize>,
    answers: RefCell<Vec<Resolver<bool>>>,
}

impl CredentialsChecker for OnDemand {
    fn request_avatar_id(&self, _: &Credentials, _: &Address) -> Checking {
        self.asked.set(self.asked.get() + 1);
        let (resolver, answer) = Deferred::pair();
        self.answers.borrow_mut().push(resolver);
        Box::pin(async move {
            match answer.await {
                Ok(true) => Ok(AvatarId::User("ada".into())),
                _ => Err(LoginError::Unauthorized),
            }
        })
    }
}

type Outcomes = Rc<RefCell<Vec<Option<bool>>>>;

/// A checker that is slow, behind a limit; and what came of the logins so far.
struct Slow {
    reactor: MemoryReactor,
    checker: Rc<OnDemand>,
    limit: LoginLimit<Rc<OnDemand>>,
}

impl Slow {
    fn new() -> Self {
        let (reactor, checker) = (MemoryReactor::new(), Rc::<OnDemand>::default());
        let limit = LoginLimit::new(reactor.handle(), Rc::clone(&checker));
        Self {
            reactor,
            checker,
            limit,
        }
    }

    /// So many logins at once.
    fn login(&self, password: &str, from: &str, count: usize) -> Outcomes {
        let outcomes: Outcomes = Rc::new(RefCell::new(vec![None; count]));
        for at in 0..count {
            let from = Address::Tcp(from.parse().unwrap());
            let shown = Credentials::password("ada", password);
            let (checking, outcomes) = (
                self.limit.request_avatar_id(&shown, &from),
                Rc::clone(&outcomes),
            );
            self.reactor.spawn(Box::pin(async move {
                let outcome = checking.await.is_ok();
                outcomes.borrow_mut()[at] = Some(outcome);
            }));
        }
        self.reactor.run();
        outcomes
    }

    fn answer(&self, right: bool) {
        for resolver in self.checker.answers.take() {
            resolver.callback(right);
        }
        self.reactor.run();
    }
}

#[test]
fn the_same_credentials_at_the_same_time_are_one_try() {
    let slow = Slow::new();
    let all = slow.login("right", FROM, 50);
    assert_eq!(slow.checker.asked.get(), 1);
    slow.answer(true);
    assert_eq!(*all.borrow(), [Some(true); 50]);

    let wrong = slow.login("wrong", FROM, 50);
    // From elsewhere it is a try of its own, as another password is.
    let elsewhere = slow.login("wrong", "198.51.100.1:1", 1);
    let other = slow.login("other", FROM, 1);
    assert_eq!(slow.checker.asked.get(), 4);
    slow.answer(false);
    assert_eq!(*wrong.borrow(), [Some(false); 50]);
    assert_eq!(*elsewhere.borrow(), [Some(false)]);
    assert_eq!(*other.borrow(), [Some(false)]);
    // What was wrong is asked again, and has counted once.
    for _ in 0..8 {
        let again = slow.login("wrong", FROM, 2);
        slow.answer(false);
        assert_eq!(*again.borrow(), [Some(false); 2]);
    }
    assert_eq!(slow.checker.asked.get(), 12);
    let _too_many = slow.login("wrong", FROM, 1);
    assert_eq!(slow.checker.asked.get(), 12);
}

#[test]
fn who_shares_a_check_may_go_away_before_it_has_come_to_its_end() {
    let slow = Slow::new();
    let from = Address::Tcp(FROM.parse().unwrap());
    let shown = Credentials::password("ada", "right");
    let mut first = slow.limit.request_avatar_id(&shown, &from);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(cx).is_pending());
    let others = slow.login("right", FROM, 2);
    drop(first);
    slow.answer(true);
    assert_eq!(*others.borrow(), [Some(true); 2]);
    assert_eq!(slow.checker.asked.get(), 1);
    // When all are gone nothing is left of it.
    drop(slow.limit.request_avatar_id(&shown, &from));
    let _next = slow.login("right", FROM, 1);
    assert_eq!(slow.checker.asked.get(), 3);
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
