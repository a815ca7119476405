//! Remembers for a moment what was right, so that not every request costs a slow hash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ropewalk_core::{Address, ReactorCore};
use sha2::{Digest, Sha256};

use super::{AvatarId, Checking, Credentials, CredentialsChecker};
use crate::Randomness;

const TIME: Duration = Duration::from_secs(60);
const MAX_LOGINS: usize = 1024;

/// A checker that asks another one, and for a minute not again about a name and a password that were
/// right: 1024 of them at most. What is wrong is never remembered, and all is forgotten when the other one
/// [changes](CredentialsChecker::epoch).
///
/// Passwords are kept as a digest with a salt that only this process knows. A password that is changed
/// elsewhere than in a checker with an epoch is taken for a minute more.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::Randomness;
/// use ropewalk_web::credentials::{LoginCache, MemoryChecker};
///
/// let reactor = MemoryReactor::new();
/// let checker = MemoryChecker::new().user("ada", "lovelace");
/// let checker = LoginCache::new(reactor.handle(), checker, &Randomness::system())?;
/// # let _ = checker;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct LoginCache<C> {
    checker: C,
    shared: Rc<Shared>,
}

struct Shared {
    reactor: Rc<dyn ReactorCore>,
    salt: [u8; 32],
    max: usize,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    epoch: u64,
    logins: BTreeMap<[u8; 32], (AvatarId, Instant)>,
}

impl<C: CredentialsChecker> LoginCache<C> {
    /// Around `checker`.
    ///
    /// # Errors
    /// There is no randomness for the salt.
    pub fn new(
        reactor: Rc<dyn ReactorCore>,
        checker: C,
        randomness: &Randomness,
    ) -> io::Result<Self> {
        let mut salt = [0; 32];
        randomness.fill(&mut salt)?;
        Ok(Self {
            checker,
            shared: Rc::new(Shared {
                reactor,
                salt,
                max: MAX_LOGINS,
                kept: RefCell::default(),
            }),
        })
    }
}

impl<C: CredentialsChecker> CredentialsChecker for LoginCache<C> {
    fn request_avatar_id(&self, credentials: &Credentials, from: &Address) -> Checking {
        let epoch = self.checker.epoch();
        let checking = || self.checker.request_avatar_id(credentials, from);
        let Credentials::UsernamePassword { username, password } = credentials else {
            return checking();
        };
        let digest = self.shared.digest(username, password);
        if let Some(known) = self.shared.find(&digest, epoch) {
            return Box::pin(async { Ok(known) });
        }
        let (checking, shared) = (checking(), Rc::clone(&self.shared));
        Box::pin(async move {
            let avatar = checking.await?;
            shared.keep(digest, avatar.clone(), epoch);
            Ok(avatar)
        })
    }

    fn epoch(&self) -> u64 {
        self.checker.epoch()
    }
}

impl Shared {
    fn digest(&self, username: &str, password: &str) -> [u8; 32] {
        let length = (username.len() as u64).to_be_bytes();
        let salted = Sha256::new().chain_update(self.salt).chain_update(length);
        salted
            .chain_update(username)
            .chain_update(password)
            .finalize()
            .into()
    }

    fn find(&self, digest: &[u8; 32], epoch: u64) -> Option<AvatarId> {
        let mut kept = self.kept.borrow_mut();
        if kept.epoch != epoch {
            kept.epoch = epoch;
            kept.logins.clear();
        }
        let now = self.reactor.now();
        let (avatar, until) = kept.logins.get(digest)?;
        (now < *until).then(|| avatar.clone())
    }

    fn keep(&self, digest: [u8; 32], avatar: AvatarId, epoch: u64) {
        let now = self.reactor.now();
        let mut kept = self.kept.borrow_mut();
        // It was checked against what holds no more.
        if kept.epoch != epoch {
            return;
        }
        if kept.logins.len() >= self.max {
            kept.logins.retain(|_, (_, until)| now < *until);
        }
        if kept.logins.len() >= self.max {
            let first = kept.logins.iter().min_by_key(|(_, (_, until))| *until);
            let first = first.map(|(digest, _)| *digest);
            first.and_then(|digest| kept.logins.remove(&digest));
        }
        kept.logins.insert(digest, (avatar, now + TIME));
    }
}

impl<C: fmt::Debug> fmt::Debug for LoginCache<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoginCache").field(&self.checker).finish()
    }
}
