//! A thread that waits for a loop: Twisted's `blockingCallFromThread`.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use ropewalk_core::{Failure, IntoDeferred, Panicked};

use super::baton::{self, Baton};
use crate::reactor::Handle;
use crate::remote::ReactorRemote;

impl ReactorRemote {
    /// Runs `call` on the loop, and waits for what it returns: a value, a `Result`, or the result
    /// of a [`Deferred`](ropewalk_core::Deferred). For threads of a pool, and any others that may
    /// wait.
    ///
    /// ```
    /// use ropewalk_core::{Deferred, Failure};
    /// use ropewalk_reactor::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let remote = reactor.remote();
    /// let thread = std::thread::spawn(move || {
    ///     let connections: Result<usize, Failure> =
    ///         remote.blocking_call_from_thread(|reactor| reactor.connections());
    ///     remote.call_from_thread(|reactor| reactor.stop());
    ///     connections
    /// });
    /// reactor.run()?;
    /// assert_eq!(thread.join().unwrap()?, 0);
    /// # Ok::<(), Failure>(())
    /// ```
    ///
    /// # Errors
    /// What `call` or its Deferred failed with, a [`Panicked`] if it panicked, and a
    /// [`BlockingCallError`]: this is the loop's own thread, which would wait for itself, or the
    /// run of the reactor has ended, before the result has come. (Before its first run it waits
    /// for that.)
    pub fn blocking_call_from_thread<T, R>(
        &self,
        call: impl FnOnce(&Handle) -> R + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        R: IntoDeferred<T>,
    {
        if thread::current().id() == self.shared().thread() {
            return Err(BlockingCallError::OnTheLoop.into());
        }
        let (tell, told) = mpsc::channel();
        let baton = baton::present();
        let tell = Teller(tell, baton.clone());
        let ended = tell.clone();
        let waits = Arc::new(AtomicBool::new(true));
        let gives_up = Arc::clone(&waits);
        let registered = self.shared().begin_blocking(Box::new(move || {
            gives_up.store(false, Ordering::Relaxed);
            ended.tell(Err(BlockingCallError::ReactorStopped.into()));
        }));
        let Some(registered) = registered else {
            return Err(BlockingCallError::ReactorStopped.into());
        };
        self.call_from_thread(move |reactor| {
            if !waits.load(Ordering::Relaxed) {
                // The run that it was meant for has ended, and this is another one.
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| call(reactor).into_deferred())) {
                Ok(result) => drop(result.add_both(move |result| tell.tell(result))),
                Err(payload) => {
                    let panicked = Panicked::new("a blocking_call_from_thread", &*payload);
                    tell.tell(Err(panicked.into()));
                }
            }
        });
        let result = baton::wait(baton.as_deref(), || told.recv());
        self.shared().end_blocking(registered);
        // Both senders are gone only when the reactor is.
        result.unwrap_or_else(|_| Err(BlockingCallError::ReactorStopped.into()))
    }
}

/// Brings a result to the thread that waits for it.
struct Teller<T>(mpsc::Sender<Result<T, Failure>>, Option<Arc<dyn Baton>>);

impl<T> Teller<T> {
    fn tell(&self, result: Result<T, Failure>) {
        // Nobody hears it, if another one came just before.
        let _ = self.0.send(result);
        if let Some(baton) = &self.1 {
            baton.answered();
        }
    }
}

impl<T> Clone for Teller<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1.clone())
    }
}

/// Why a [`blocking_call_from_thread`](ReactorRemote::blocking_call_from_thread) has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockingCallError {
    /// It was called on the thread of the loop that it was to wait for.
    OnTheLoop,
    /// The run of the reactor has ended.
    ReactorStopped,
}

impl fmt::Display for BlockingCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnTheLoop => {
                "blocking_call_from_thread was called on the loop's own thread, which would wait \
                 for itself; call the reactor directly"
            }
            Self::ReactorStopped => {
                "the run of the reactor has ended before the result of a \
                 blocking_call_from_thread has come"
            }
        })
    }
}

impl Error for BlockingCallError {}
