//! A future as a Deferred.

use std::cell::OnceCell;
use std::future::Future;
use std::rc::Rc;

use crate::{Deferred, IntoDeferred, ReactorTasks, Task};

impl<T: 'static> Deferred<T> {
    /// Spawns `future` as a task, and fires with its output: a value, a `Result` or a Deferred.
    ///
    /// Cancelling the Deferred drops the future, and that cancels the Deferred that it awaits. If
    /// the future panics, this fails with [`Abandoned`](crate::Abandoned). The other way round, a
    /// Deferred is a future as it is.
    ///
    /// ```
    /// use ropewalk_core::testing::MemoryReactor;
    /// use ropewalk_core::{Deferred, Failure};
    ///
    /// let reactor = MemoryReactor::new();
    /// let (resolver, line) = Deferred::<&str>::pair();
    /// let code: Deferred<u16> = Deferred::from_future(&*reactor, async {
    ///     Ok::<u16, Failure>(line.await?.parse()?)
    /// });
    /// resolver.callback("220");
    /// reactor.run();
    /// assert!(code.is_fired());
    /// ```
    #[track_caller]
    pub fn from_future<R: IntoDeferred<T> + 'static>(
        reactor: &(impl ReactorTasks + ?Sized),
        future: impl Future<Output = R> + 'static,
    ) -> Self {
        let task = Rc::new(OnceCell::<Task>::new());
        let to_cancel = task.clone();
        let (resolver, output) = Deferred::<R>::with_canceller(move || {
            if let Some(task) = to_cancel.get() {
                task.cancel();
            }
        });
        let run = async move { resolver.callback(future.await) };
        // It is empty: this is the only place that sets it.
        let _ = task.set(reactor.spawn(Box::pin(run)));
        output.add_callback(|outcome| outcome)
    }
}
