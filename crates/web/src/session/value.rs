//! A session, as handlers see it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Extensions, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::SessionError;
use super::id::SessionKey;
use super::state::Handle;

/// The session of a request, loaded. Clones are the same session.
///
/// Values are anything that `serde` can make JSON of, under names. What is changed is saved when the
/// handler has answered.
///
/// ```
/// use http::{Request, Response};
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_web::session::{MemoryStore, Session, SessionError, Sessions};
/// use ropewalk_web::Body;
/// use tower_layer::Layer;
/// # use std::{future::Future, pin::Pin, task::{Context, Poll}};
/// # use tower_service::Service;
///
/// async fn count(request: Request<Body>) -> Result<Response<Body>, SessionError> {
///     let session = Session::load(&request).await?;
///     let visits = session.get::<u32>("visits")?.unwrap_or(0) + 1;
///     session.insert("visits", &visits)?;
///     Ok(Response::new(Body::from(format!("visit {visits}"))))
/// }
///
/// # #[derive(Clone)]
/// # struct Count;
/// # impl Service<Request<Body>> for Count {
/// #     type Response = Response<Body>;
/// #     type Error = SessionError;
/// #     type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, SessionError>>>>;
/// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SessionError>> { Poll::Ready(Ok(())) }
/// #     fn call(&mut self, request: Request<Body>) -> Self::Future { Box::pin(count(request)) }
/// # }
/// let reactor = MemoryReactor::new();
/// let sessions = Sessions::new(reactor.handle(), MemoryStore::default());
/// let mut service = sessions.layer(Count);
/// # let answering = service.call(Request::new(Body::empty()));
/// # let task = reactor.spawn(Box::pin(async move {
/// #     let response = answering.await.unwrap();
/// #     assert!(response.headers()["set-cookie"].to_str().unwrap().starts_with("session="));
/// # }));
/// # reactor.run();
/// # assert!(task.is_finished());
/// ```
#[derive(Clone)]
pub struct Session {
    handle: Handle,
}

impl Session {
    /// The session of `request`, loaded from its store when it is asked for the first time. That is
    /// at once when the client has none.
    ///
    /// # Errors
    /// The store has failed, or the request did not come through [`Sessions`](super::Sessions).
    pub fn load<B>(request: &Request<B>) -> LoadingSession {
        Self::load_from(request.extensions())
    }

    /// As [`load`](Self::load), of a request that was taken apart.
    pub fn load_from(extensions: &Extensions) -> LoadingSession {
        LoadingSession {
            handle: extensions.get::<Handle>().cloned(),
        }
    }

    /// The session of `request`, if it is loaded: for those who answer at once, behind
    /// [`Sessions::load_early`](super::Sessions::load_early).
    #[must_use]
    pub fn loaded<B>(request: &Request<B>) -> Option<Self> {
        let handle = request.extensions().get::<Handle>()?;
        handle.look().then(|| Self {
            handle: handle.clone(),
        })
    }

    /// The value `name`. `None` if there is none.
    ///
    /// # Errors
    /// It is not of this type.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let Some(value) = self.handle.get(name) else {
            return Ok(None);
        };
        let value = serde_json::from_value(value);
        value.map(Some).map_err(|error| of_value(name, &error))
    }

    /// Puts `value` under `name`, in the place of what was there.
    ///
    /// # Errors
    /// The session would be too large, `value` is nothing that JSON can say, or the request was answered.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), SessionError> {
        let value = serde_json::to_value(value).map_err(|error| of_value(name, &error))?;
        self.handle.insert(name, value)
    }

    /// Removes the value `name`, and gives it: a message for the next page ("flash") is inserted by
    /// one request and taken by the next.
    ///
    /// # Errors
    /// It is not of this type, or the request was answered; it stays where it is then.
    pub fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        let value = self.get(name)?;
        if value.is_some() {
            self.handle.remove(name)?;
        }
        Ok(value)
    }

    /// Removes the value `name`. Whether there was one.
    ///
    /// # Errors
    /// The request was answered.
    pub fn remove(&self, name: &str) -> Result<bool, SessionError> {
        self.handle.remove(name)
    }

    /// Removes all values.
    ///
    /// # Errors
    /// The request was answered.
    pub fn clear(&self) -> Result<(), SessionError> {
        self.handle.clear()
    }

    /// Whether it has no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.handle.is_empty()
    }

    /// Whether the client had no session that is still known.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.handle.is_new()
    }

    /// The name of the session in its store, for logs and registries. `None` while it is new, and for
    /// sessions in cookies, which have no store.
    #[must_use]
    pub fn key(&self) -> Option<SessionKey> {
        self.handle.key()
    }

    /// Gives it another identifier; the old one is worthless from then on. To be called when the
    /// client's privileges change, so that an identifier that somebody knew before is of no use.
    ///
    /// A session that lives in a cookie has no identifier: it is written anew, and a copy of the old cookie
    /// still opens what the session held before, until its time is over. What it holds from now on, such
    /// as who has logged in, is in the new cookie alone.
    ///
    /// # Errors
    /// The request was answered.
    pub fn rotate(&self) -> Result<(), SessionError> {
        self.handle.rotate()
    }

    /// Ends it: its values are gone, from the store too, and the client is told to forget it. What is
    /// inserted afterwards makes a new session. (A session that lives in a cookie ends only in the
    /// client that this answer reaches: a copy of the cookie lives on until its time is over.)
    ///
    /// # Errors
    /// The request was answered.
    pub fn destroy(&self) -> Result<(), SessionError> {
        self.handle.destroy()
    }
}

fn of_value(name: &str, error: &serde_json::Error) -> SessionError {
    SessionError::Value {
        name: name.to_owned(),
        cause: error.to_string(),
    }
}

/// The names of its values, and not what they are.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.key())
            .field("names", &self.handle.names())
            .finish()
    }
}

/// A session that is being loaded: see [`Session::load`]. Any thread may wait for it.
#[must_use = "it is loaded when it is awaited"]
#[derive(Clone)]
pub struct LoadingSession {
    handle: Option<Handle>,
}

impl Future for LoadingSession {
    type Output = Result<Session, SessionError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = &self.handle else {
            return Poll::Ready(Err(SessionError::NoLayer));
        };
        let loaded = handle.poll_loaded(cx);
        loaded.map_ok(|()| Session {
            handle: handle.clone(),
        })
    }
}

impl fmt::Debug for LoadingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoadingSession")
    }
}
