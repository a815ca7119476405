//! Those who guess passwords wait.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::{Address, ReactorCore};

use super::running_checks::{CheckKey, RunningChecks};
use super::{Checking, Credentials, CredentialsChecker, LoginError};

/// Failed logins are forgotten after so long without another.
const FORGET: Duration = Duration::from_secs(60 * 60);

/// So many names and addresses are remembered; the one whose last failure is longest ago goes first.
const MAX_KEPT: usize = 65_536;

/// A checker that asks another one, unless too many logins have failed.
///
/// After ten failures for one name from one address, the next try has to wait for a second, and twice
/// as long after each that fails again, up to 15 minutes; so it is after a hundred failures from one address,
/// whatever the names (an IPv6 address counts by its /64). After a hundred failures for one name, wherever
/// they came from, the wait is 30 seconds at most. After it whoever comes first is let through: who guesses one
/// name from very many addresses, and does not stop, can keep its owner from logging in meanwhile. Who comes too
/// early is [told so](LoginError::TooManyTries), and the other checker is not asked. A try counts as failed
/// while it is being checked: many at a time are no way around. But one name and password that come from one
/// address many times at once are one try, and are checked once.
///
/// A login that succeeds wipes out the failures of its name from its address. Peers over a Unix socket
/// have no address, and count as one.
///
/// Put it around a [`LoginCache`](super::LoginCache), if there is one, and not within it.
#[derive(Clone)]
pub struct LoginLimit<C> {
    checker: C,
    shared: Rc<Shared>,
}

struct Shared {
    reactor: Rc<dyn ReactorCore>,
    kept: RefCell<Kept>,
    running: Rc<RunningChecks>,
}

#[derive(Default)]
struct Kept {
    tries: BTreeMap<Key, Tries>,
    by_time: BTreeSet<(Instant, Key)>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    NameFrom(String, Option<IpAddr>),
    From(Option<IpAddr>),
    Name(String),
}

#[derive(Clone, Copy)]
struct Tries {
    failed: u32,
    /// When the last of them was begun.
    at: Instant,
}

impl Key {
    /// How many may fail before there is a wait, and how long that may be.
    fn allowance(&self) -> (u32, Duration) {
        match self {
            Self::NameFrom(..) => (10, Duration::from_secs(15 * 60)),
            Self::From(_) => (100, Duration::from_secs(15 * 60)),
            Self::Name(_) => (100, Duration::from_secs(30)),
        }
    }

    fn wait(&self, failed: u32) -> Duration {
        let (free, longest) = self.allowance();
        match failed.checked_sub(free) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(1 << over.min(20)).min(longest),
        }
    }
}

impl<C: CredentialsChecker> LoginLimit<C> {
    /// Around `checker`.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorCore>, checker: C) -> Self {
        Self {
            checker,
            shared: Rc::new(Shared {
                reactor,
                kept: RefCell::default(),
                running: Rc::default(),
            }),
        }
    }
}

impl<C: CredentialsChecker> CredentialsChecker for LoginLimit<C> {
    fn request_avatar_id(&self, credentials: &Credentials, from: &Address) -> Checking {
        if matches!(credentials, Credentials::Anonymous) {
            return self.checker.request_avatar_id(credentials, from);
        }
        let same = CheckKey::of(credentials, from);
        if let Some(key) = &same
            && let Some(running) = self.shared.running.join(key)
        {
            return Box::pin(running);
        }
        let keys = keys(credentials.username(), from);
        let before = match self.shared.begin(&keys) {
            Ok(before) => before,
            Err(retry_after) => {
                return Box::pin(async move { Err(LoginError::TooManyTries { retry_after }) });
            }
        };
        let checking = self.checker.request_avatar_id(credentials, from);
        let shared = Rc::clone(&self.shared);
        let checking: Checking = Box::pin(async move {
            let checked = checking.await;
            match &checked {
                Ok(_) => shared.succeeded(&keys, &before),
                Err(LoginError::Unauthorized) => {}
                // It says nothing of the credentials.
                Err(_) => shared.take_back(&keys, &before),
            }
            checked
        });
        match same {
            Some(key) => Box::pin(self.shared.running.share(key, checking)),
            None => checking,
        }
    }

    fn epoch(&self) -> u64 {
        self.checker.epoch()
    }
}

fn keys(username: Option<&str>, from: &Address) -> Vec<Key> {
    let network = from.socket_addr().map(|address| network(address.ip()));
    let mut keys = vec![Key::From(network)];
    if let Some(username) = username {
        // A long name is one like any other, and is not to fill the memory.
        let name: String = username.chars().take(64).collect();
        keys.push(Key::NameFrom(name.clone(), network));
        keys.push(Key::Name(name));
    }
    keys
}

/// A client has a whole /64 of IPv6 at least.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let high = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(high))
        }
        address => address,
    }
}

impl Shared {
    /// Counts a try as failed, and gives what was counted before; or says how long to wait.
    fn begin(&self, keys: &[Key]) -> Result<Vec<Option<Tries>>, Duration> {
        let now = self.reactor.now();
        let mut kept = self.kept.borrow_mut();
        kept.forget(now);
        let waits = keys.iter().filter_map(|key| {
            let tries = kept.tries.get(key)?;
            let until = tries.at + key.wait(tries.failed);
            until
                .checked_duration_since(now)
                .filter(|wait| !wait.is_zero())
        });
        if let Some(wait) = waits.max() {
            return Err(wait);
        }
        let before = keys
            .iter()
            .map(|key| kept.tries.get(key).copied())
            .collect();
        for key in keys {
            let failed = kept.tries.get(key).map_or(0, |tries| tries.failed);
            let failed = failed.saturating_add(1);
            kept.set(key, Some(Tries { failed, at: now }));
        }
        Ok(before)
    }

    fn succeeded(&self, keys: &[Key], before: &[Option<Tries>]) {
        self.take_back(keys, before);
        let mut kept = self.kept.borrow_mut();
        for key in keys.iter().filter(|key| matches!(key, Key::NameFrom(..))) {
            kept.set(key, None);
        }
    }

    /// The try is as if it had not been.
    fn take_back(&self, keys: &[Key], before: &[Option<Tries>]) {
        let mut kept = self.kept.borrow_mut();
        for (key, before) in keys.iter().zip(before) {
            let Some(tries) = kept.tries.get(key).copied() else {
                continue;
            };
            let failed = tries.failed.saturating_sub(1);
            let at = before.map_or(tries.at, |before| before.at);
            let rest = (failed > 0).then_some(Tries { failed, at });
            kept.set(key, rest);
        }
    }
}

impl Kept {
    fn set(&mut self, key: &Key, tries: Option<Tries>) {
        let old = match tries {
            Some(tries) => {
                self.by_time.insert((tries.at, key.clone()));
                self.tries.insert(key.clone(), tries)
            }
            None => self.tries.remove(key),
        };
        let is_same = |old: &Tries| tries.is_some_and(|tries| tries.at == old.at);
        if let Some(old) = old.filter(|old| !is_same(old)) {
            self.by_time.remove(&(old.at, key.clone()));
        }
        while self.tries.len() > MAX_KEPT {
            let Some((_, key)) = self.by_time.pop_first() else {
                return;
            };
            self.tries.remove(&key);
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.by_time.first()
            && now.saturating_duration_since(*at) >= FORGET
        {
            let oldest = self.by_time.pop_first();
            oldest.map(|(_, key)| self.tries.remove(&key));
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for LoginLimit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoginLimit").field(&self.checker).finish()
    }
}
