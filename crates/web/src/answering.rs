//! A service's answer, which is often there at once.
//!
//! [`Answering`] is one type for both: the value itself, which costs nothing more, or a future in a
//! box. A [`Site`](crate::Site) sees the difference, so that what is ready costs no task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that is ready, or is in a box.
///
/// ```
/// use ropewalk_web::Answering;
///
/// assert_eq!(Answering::ready(5).into_ready().ok(), Some(5));
/// assert!(Answering::new(async { 5 }).into_ready().is_err());
/// ```
#[must_use = "a future does nothing unless it is polled"]
pub struct Answering<T>(State<T>);

enum State<T> {
    /// `None` once it was given.
    Ready(Option<T>),
    Waiting(Pin<Box<dyn Future<Output = T>>>),
}

impl<T> Answering<T> {
    /// It is there.
    pub fn ready(value: T) -> Self {
        Self(State::Ready(Some(value)))
    }

    /// It will come from `future`.
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self(State::Waiting(Box::pin(future)))
    }

    /// What is there, without a poll.
    ///
    /// # Errors
    /// The future, if it must be polled.
    pub fn into_ready(self) -> Result<T, Pin<Box<dyn Future<Output = T>>>>
    where
        T: 'static,
    {
        match self.0 {
            State::Ready(Some(value)) => Ok(value),
            State::Ready(None) => Err(Box::pin(std::future::pending())),
            State::Waiting(future) => Err(future),
        }
    }

    /// Takes it out, and leaves a future that never ends.
    pub(crate) fn take(&mut self) -> Self {
        Self(std::mem::replace(&mut self.0, State::Ready(None)))
    }

    /// Applies `map` to it, now if it is there.
    pub fn map<U: 'static>(self, map: impl FnOnce(T) -> U + 'static) -> Answering<U>
    where
        T: 'static,
    {
        match self.into_ready() {
            Ok(value) => Answering::ready(map(value)),
            Err(future) => Answering::new(async move { map(future.await) }),
        }
    }
}

/// Nothing in it is pinned but what the box holds.
impl<T> Unpin for Answering<T> {}

impl<T> Future for Answering<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            State::Ready(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            State::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}
