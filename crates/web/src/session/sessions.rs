//! How sessions are to be, and where they are kept.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use cookie::SameSite;
use ropewalk_core::{Deferred, Failure, ReactorCore, TimedOut, defer_later};

use super::sealed::SEALED_LIMIT;
use super::settings::{Secure, Settings};
use super::store::{SessionStore, StoreContext, StoreError, Storing};
use crate::Randomness;
use crate::cookies::CookieKeys;

/// The largest session in a store, as JSON.
const LIMIT: usize = 16 * 1024;

/// A store has so long for each thing that it is asked.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives each request that comes through it a [`Session`](super::Session): a layer around a service.
///
/// What it promises is told in the [module](super), and how handlers use it at
/// [`Session`](super::Session).
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::cookies::CookieKeys;
/// use ropewalk_web::session::{MemoryStore, Sessions};
/// use std::time::Duration;
///
/// let reactor = MemoryReactor::new();
/// // On the server, and for an hour without a request:
/// let sessions = Sessions::new(reactor.handle(), MemoryStore::default())
///     .idle(Duration::from_secs(60 * 60));
///
/// // Or in the client's own cookie, encrypted:
/// let keys = CookieKeys::new(&(0..64).collect::<Vec<u8>>())?;
/// let sessions = Sessions::in_cookie(reactor.handle(), keys);
/// # let _ = sessions;
/// # Ok::<(), ropewalk_web::cookies::KeyError>(())
/// ```
#[derive(Clone)]
pub struct Sessions {
    pub(super) place: Place,
    pub(super) settings: Settings,
    pub(super) randomness: Randomness,
    reactor: Rc<dyn ReactorCore>,
}

#[derive(Clone)]
pub(super) enum Place {
    Store(Rc<dyn SessionStore>),
    Cookie(CookieKeys),
}

impl Sessions {
    /// Sessions that are kept in `store`.
    #[must_use]
    pub fn new(reactor: Rc<dyn ReactorCore>, store: impl SessionStore) -> Self {
        Self {
            place: Place::Store(Rc::new(store)),
            settings: Settings::new(LIMIT),
            randomness: Randomness::system(),
            reactor,
        }
    }

    /// Sessions that are kept by the clients themselves, in an encrypted cookie. The server keeps
    /// nothing; so it cannot end one that a client, or a thief, has a copy of, before its time.
    #[must_use]
    pub fn in_cookie(reactor: Rc<dyn ReactorCore>, keys: CookieKeys) -> Self {
        Self {
            place: Place::Cookie(keys),
            settings: Settings::new(SEALED_LIMIT),
            randomness: Randomness::system(),
            reactor,
        }
    }

    /// A session ends when it was not loaded for so long; 15 minutes unless told.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.settings.idle = idle;
        self
    }

    /// A session ends when it is so old; 24 hours unless told.
    #[must_use]
    pub fn absolute(mut self, absolute: Duration) -> Self {
        self.settings.absolute = absolute;
        self
    }

    /// The name of the cookie; `session` unless told. Before it stands `__Host-` where the cookie is
    /// `Secure`.
    #[must_use]
    pub fn cookie_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.settings.name);
        self
    }

    /// Whether the cookie outlives the browser, until the session ends (`Max-Age`). It does not,
    /// unless told.
    #[must_use]
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.settings.persistent = persistent;
        self
    }

    /// When the cookie is sent over HTTPS alone.
    #[must_use]
    pub fn secure(mut self, secure: Secure) -> Self {
        self.settings.secure = secure;
        self
    }

    /// Which requests from other sites bring the cookie: those by which a user comes here
    /// (`SameSite=Lax`), unless told.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.settings.same_site = same_site;
        self
    }

    /// How large a session may be, in bytes of JSON: 16 KiB in a store unless told, 2.5 KiB in a
    /// cookie, which can only be less.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.settings.limit = match self.place {
            Place::Store(_) => bytes,
            Place::Cookie(_) => bytes.min(SEALED_LIMIT),
        };
        self
    }

    /// Whether the session of a request is loaded before its handler begins, so that
    /// [`Session::loaded`](super::Session::loaded) finds it. It is loaded when a handler asks for it, unless told.
    #[must_use]
    pub fn load_early(mut self, early: bool) -> Self {
        self.settings.load_early = early;
        self
    }

    /// Where identifiers come from; the operating system, unless told.
    #[must_use]
    pub fn randomness(mut self, randomness: Randomness) -> Self {
        self.randomness = randomness;
        self
    }

    pub(super) fn context(&self) -> StoreContext {
        let reactor = Rc::clone(&self.reactor);
        StoreContext::new(reactor, self.settings.idle, self.settings.absolute)
    }

    /// Waits for the store, as long as it may take.
    pub(super) async fn stored<T>(
        &self,
        action: &'static str,
        mut storing: Storing<T>,
    ) -> Result<T, StoreError> {
        let mut deadline: Option<Deferred<()>> = None;
        poll_fn(|cx| {
            if let Poll::Ready(done) = storing.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            let deadline =
                deadline.get_or_insert_with(|| defer_later(&*self.reactor, STORE_TIMEOUT, || ()));
            Pin::new(deadline).poll(cx).map(|_| {
                let waited = format!("waiting {STORE_TIMEOUT:?} for the store of the sessions");
                Err(StoreError::new(
                    action,
                    Failure::new(TimedOut).context(waited),
                ))
            })
        })
        .await
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
