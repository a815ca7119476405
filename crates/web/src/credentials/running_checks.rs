//! Checks that are under way, for those who show the same at the same time.
//!
//! A page that loads brings twenty requests with one name and one password. They are one try, and one slow
//! hash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use ropewalk_core::Address;
use sha2::{Digest, Sha256};

use super::{AvatarId, Checking, Credentials, LoginError};

type Outcome = Result<AvatarId, LoginError>;

/// What is shown, as a digest, and from where.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CheckKey([u8; 32], Option<IpAddr>);

#[derive(Default)]
pub(super) struct RunningChecks(RefCell<BTreeMap<CheckKey, Weak<Running>>>);

/// A check, and those who wait for it. Whoever of them is woken goes on with it.
struct Running {
    checking: RefCell<Checking>,
    outcome: RefCell<Option<Outcome>>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting(Mutex<(u64, BTreeMap<u64, Waker>)>);

/// One of those who wait for a check. It ends when all of them are dropped.
pub(super) struct SharedCheck {
    running: Rc<Running>,
    number: u64,
    key: CheckKey,
    checks: Rc<RunningChecks>,
}

impl CheckKey {
    /// `None` for credentials that do not come twice, or that cost nothing to check.
    pub(super) fn of(credentials: &Credentials, from: &Address) -> Option<Self> {
        let Credentials::UsernamePassword { username, password } = credentials else {
            return None;
        };
        let length = (username.len() as u64).to_be_bytes();
        let digest = Sha256::new().chain_update(length).chain_update(username);
        let digest = digest.chain_update(password).finalize();
        let from = from.socket_addr().map(|address| address.ip());
        Some(Self(digest.into(), from))
    }
}

impl RunningChecks {
    /// Waits for the check of the same, if one is under way.
    pub(super) fn join(self: &Rc<Self>, key: &CheckKey) -> Option<SharedCheck> {
        let running = self.0.borrow().get(key).and_then(Weak::upgrade)?;
        Some(SharedCheck::new(running, key.clone(), self))
    }

    /// Lets others wait for `checking` too.
    pub(super) fn share(self: &Rc<Self>, key: CheckKey, checking: Checking) -> SharedCheck {
        let running = Rc::new(Running {
            checking: RefCell::new(checking),
            outcome: RefCell::default(),
            waiting: Arc::default(),
        });
        let weak = Rc::downgrade(&running);
        self.0.borrow_mut().insert(key.clone(), weak);
        SharedCheck::new(running, key, self)
    }

    /// Nobody waits for this one any more.
    fn forget(&self, key: &CheckKey, running: &Rc<Running>) {
        let mut checks = self.0.borrow_mut();
        let own = checks.get(key);
        if own.is_some_and(|own| own.as_ptr() == Rc::as_ptr(running)) {
            checks.remove(key);
        }
    }
}

impl SharedCheck {
    fn new(running: Rc<Running>, key: CheckKey, checks: &Rc<RunningChecks>) -> Self {
        let number = {
            let mut waiting = running.waiting.lock();
            waiting.0 += 1;
            waiting.0
        };
        Self {
            running,
            number,
            key,
            checks: Rc::clone(checks),
        }
    }
}

impl Future for SharedCheck {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Running {
            checking,
            outcome,
            waiting,
        } = &*self.running;
        if let Some(outcome) = &*outcome.borrow() {
            return Poll::Ready(outcome.clone());
        }
        let old = waiting.lock().1.insert(self.number, cx.waker().clone());
        drop(old);
        // Who is here already, further out on this stack, goes on with it.
        let Ok(mut checking) = checking.try_borrow_mut() else {
            return Poll::Pending;
        };
        let waker = Waker::from(Arc::clone(waiting));
        let Poll::Ready(checked) = checking.as_mut().poll(&mut Context::from_waker(&waker)) else {
            return Poll::Pending;
        };
        *outcome.borrow_mut() = Some(checked.clone());
        self.checks.forget(&self.key, &self.running);
        waiting.wake_by_ref();
        Poll::Ready(checked)
    }
}

impl Drop for SharedCheck {
    fn drop(&mut self) {
        let old = self.running.waiting.lock().1.remove(&self.number);
        drop(old);
        if Rc::strong_count(&self.running) == 1 {
            self.checks.forget(&self.key, &self.running);
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = std::mem::take(&mut self.lock().1);
        waiting.into_values().for_each(Waker::wake);
    }
}
