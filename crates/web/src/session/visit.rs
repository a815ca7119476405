//! One request: from its cookie to its session, and from what became of that to the answer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, VARY};
use http::{Request, Response, StatusCode};
use ropewalk_core::Failure;
use serde_json::{Map, Value};

use super::id::{SessionId, SessionKey};
use super::sealed::Sealed;
use super::sessions::{Place, Sessions};
use super::state::{Handle, Outcome};
use super::store::{SessionRecord, SessionStore, StoreError};
use crate::Body;
use crate::cookies::{Cookie, CookieKeys, Cookies, append, is_https, removal};

/// One request.
pub(super) struct Visit {
    sessions: Rc<Sessions>,
    handle: Handle,
    /// The value of the client's cookie, where sessions are in cookies.
    sealed: Option<String>,
    secure: bool,
}

impl Visit {
    pub(super) fn begin<B: 'static>(sessions: &Rc<Sessions>, request: &mut Request<B>) -> Self {
        let settings = &sessions.settings;
        let secure = settings.is_secure(is_https(request));
        let cookies = Cookies::of(request);
        let name = settings.cookie_name(secure);
        let (handle, sealed) = match (cookies.get(&name), &sessions.place) {
            (Some(value), Place::Cookie(_)) => {
                let handle = Handle::unloaded(None, settings.limit);
                (handle, Some(value.to_owned()))
            }
            (Some(value), Place::Store(_)) => {
                let id = SessionId::parse(value);
                let handle = id.map_or_else(
                    || Handle::empty(settings.limit),
                    |id| Handle::unloaded(Some(id), settings.limit),
                );
                (handle, None)
            }
            (None, _) => (Handle::empty(settings.limit), None),
        };
        request.extensions_mut().insert(handle.clone());
        Self {
            sessions: Rc::clone(sessions),
            handle,
            sealed,
            secure,
        }
    }

    /// Whether the session is to be there before the handler begins.
    pub(super) fn is_to_load_early(&self) -> bool {
        self.sessions.settings.load_early && !self.handle.is_loaded()
    }

    /// Runs the handler, and loads the session when it asks for it.
    pub(super) async fn attend<T>(&self, answering: impl Future<Output = T>) -> T {
        let mut answering = pin!(answering);
        let mut loading = pin!(self.load_when_wanted());
        let mut loaded = false;
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                if loaded || loading.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                loaded = true;
            }
        })
        .await
    }

    async fn load_when_wanted(&self) {
        poll_fn(|cx| self.handle.poll_wanted(cx)).await;
        self.load().await;
    }

    pub(super) async fn load(&self) {
        let found = match (&self.sessions.place, self.handle.key()) {
            (Place::Cookie(_), _) => Ok(self.unseal().map(|sealed| sealed.record)),
            (Place::Store(store), Some(key)) => {
                let storing = store.load(&self.sessions.context(), key);
                self.sessions.stored("load a session", storing).await
            }
            (Place::Store(_), None) => Ok(None),
        };
        self.handle
            .set_loaded(found.map_err(|error| report(&error)));
    }

    fn unseal(&self) -> Option<Sealed> {
        let Place::Cookie(keys) = &self.sessions.place else {
            return None;
        };
        let name = self.sessions.settings.cookie_name(self.secure);
        let text = keys.decrypt(&name, self.sealed.as_deref()?)?;
        Sealed::read(&text, &self.sessions.context())
    }

    /// Keeps what was changed, and tells the client what it has to know.
    pub(super) async fn finish(&self, mut response: Response<Body>) -> Response<Body> {
        let (id, outcome) = self.handle.finish();
        if outcome == Outcome::Unused {
            return response;
        }
        // Whoever looks at the session answers differently to each client.
        response
            .headers_mut()
            .append(VARY, HeaderValue::from_static("Cookie"));
        let finished = match &self.sessions.place {
            Place::Store(store) => {
                let store = Rc::clone(store);
                self.keep(&*store, id, outcome, response.headers_mut())
                    .await
            }
            Place::Cookie(keys) => self.seal(keys, outcome, response.headers_mut()),
        };
        match finished {
            Ok(()) => response,
            Err(error) => {
                report(&error);
                unavailable()
            }
        }
    }

    async fn keep(
        &self,
        store: &dyn SessionStore,
        id: Option<SessionId>,
        outcome: Outcome,
        headers: &mut HeaderMap,
    ) -> Result<(), StoreError> {
        let (sessions, context) = (&self.sessions, self.sessions.context());
        match (id.map(|id| id.key()), outcome) {
            (Some(key), Outcome::Touch { created }) => {
                let touching = store.touch(&context, key, created);
                // Nothing is lost by it but some of the time that the session has left.
                if let Err(error) = sessions
                    .stored("note that a session is in use", touching)
                    .await
                {
                    report(&error);
                }
                Ok(())
            }
            (
                Some(key),
                Outcome::Save {
                    created,
                    values,
                    rotate: false,
                },
            ) => {
                let saving = store.save(&context, key, SessionRecord::new(created, values));
                let kept = sessions.stored("save a session", saving).await?;
                warn_unless(kept, key);
                Ok(())
            }
            (
                Some(key),
                Outcome::Save {
                    created,
                    values,
                    rotate: true,
                },
            ) => {
                let record = SessionRecord::new(created, values);
                let new = self.new_id()?;
                let rotating = store.rotate(&context, key, new.key(), record);
                let kept = sessions
                    .stored("give a session another identifier", rotating)
                    .await?;
                warn_unless(kept, key);
                if kept {
                    self.set_cookie(headers, new.to_text(), context.until_end(created));
                }
                Ok(())
            }
            (Some(key), Outcome::Delete) => {
                let deleting = store.delete(&context, key);
                sessions.stored("end a session", deleting).await?;
                self.remove_cookie(headers);
                Ok(())
            }
            (Some(key), Outcome::Replace { values }) => {
                let deleting = store.delete(&context, key);
                sessions.stored("end a session", deleting).await?;
                self.create(store, values, headers).await
            }
            (None, Outcome::Create { values }) => self.create(store, values, headers).await,
            _ => Ok(()),
        }
    }

    async fn create(
        &self,
        store: &dyn SessionStore,
        values: Map<String, Value>,
        headers: &mut HeaderMap,
    ) -> Result<(), StoreError> {
        let context = self.sessions.context();
        let created = context.reactor.wall_clock();
        let id = self.new_id()?;
        let creating = store.create(&context, id.key(), SessionRecord::new(created, values));
        self.sessions.stored("begin a session", creating).await?;
        self.set_cookie(headers, id.to_text(), context.until_end(created));
        Ok(())
    }

    fn new_id(&self) -> Result<SessionId, StoreError> {
        SessionId::new(&self.sessions.randomness)
            .map_err(|error| StoreError::new("make an identifier", Failure::new(error)))
    }

    /// The same, where the session is in the cookie.
    fn seal(
        &self,
        keys: &CookieKeys,
        outcome: Outcome,
        headers: &mut HeaderMap,
    ) -> Result<(), StoreError> {
        let context = self.sessions.context();
        let now = context.reactor.wall_clock();
        let record = match outcome {
            Outcome::Unused | Outcome::Empty => return Ok(()),
            Outcome::Delete => {
                self.remove_cookie(headers);
                return Ok(());
            }
            Outcome::Touch { .. } => match self.unseal() {
                Some(sealed) if sealed.is_stale(&context) => sealed.record,
                _ => return Ok(()),
            },
            Outcome::Save {
                created, values, ..
            } => SessionRecord::new(created, values),
            Outcome::Create { values } | Outcome::Replace { values } => {
                SessionRecord::new(now, values)
            }
        };
        let left = context.until_end(record.created);
        let name = self.sessions.settings.cookie_name(self.secure);
        let sealed = keys.encrypt(Cookie::new(name, Sealed::write(&record, now)));
        self.set_cookie(headers, sealed.value().to_owned(), left);
        Ok(())
    }

    /// The client may keep it for so long.
    fn set_cookie(&self, headers: &mut HeaderMap, value: String, left: Duration) {
        let cookie = self.sessions.settings.cookie(value, self.secure, left);
        add_cookie(headers, &cookie);
    }

    fn remove_cookie(&self, headers: &mut HeaderMap) {
        let cookie = self
            .sessions
            .settings
            .cookie(String::new(), self.secure, Duration::ZERO);
        add_cookie(headers, &removal(cookie));
    }
}

fn add_cookie(headers: &mut HeaderMap, cookie: &Cookie<'static>) {
    if let Err(error) = append(headers, cookie) {
        tracing::error!(%error, "the cookie of a session cannot be set");
    }
    // A cache must not give one client's session to another.
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Whoever still waits for the session of a request that is over waits no more.
impl Drop for Visit {
    fn drop(&mut self) {
        self.handle.finish();
    }
}

fn warn_unless(kept: bool, key: SessionKey) {
    if !kept {
        tracing::warn!(
            session = %key,
            "what a request changed in its session is dropped: the session has ended, or got another \
             identifier, while the request was answered"
        );
    }
}

fn report(error: &StoreError) {
    tracing::error!(failure = &*error.failure().to_error(), "{error}");
}

pub(super) fn unavailable() -> Response<Body> {
    let mut response = Response::new(Body::from(
        "The sessions cannot be reached at the moment. Please try again.\n",
    ));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
