//! The jobs whose results a loop waits for.
//!
//! A result comes back as one call from a thread. What is to be told of it, which is not for other
//! threads, stays here under the job's number.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use ropewalk_core::{Deferred, JobName, Resolver, ThreadJobError};

use super::pool::{PoolThreads, Shared, ThreadPool, run_guarded};
use crate::event_loop::{EventLoop, guard};
use crate::remote::ReactorRemote;

pub(crate) struct Jobs {
    /// The reactor's own pool: Twisted's size, and no thread before there is a job.
    pub(crate) pool: ThreadPool,
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    given: Cell<u64>,
    /// Who waits for the pool's last job.
    drained: RefCell<Option<Resolver<()>>>,
}

struct Waiting {
    name: JobName,
    /// Where it runs, and under which number.
    pool: Weak<Shared>,
    number: u64,
    resolver: Resolver<()>,
}

impl Jobs {
    pub(crate) fn new(threads: Option<Arc<dyn PoolThreads>>) -> Self {
        Self {
            pool: ThreadPool::on(threads, "reactor", 0..=10),
            waiting: RefCell::default(),
            given: Cell::new(0),
            drained: RefCell::default(),
        }
    }

    /// Runs `job` on a thread of `pool`.
    pub(crate) fn defer(
        &self,
        event_loop: &EventLoop,
        pool: &ThreadPool,
        name: JobName,
        job: Box<dyn FnOnce() + Send>,
    ) -> Deferred<()> {
        if event_loop.is_over() {
            return Deferred::fail(ThreadJobError::ReactorStopped { job: name });
        }
        let key = self.given.get();
        self.given.set(key + 1);
        let remote = ReactorRemote::new(event_loop.remote.clone());
        let run = move || {
            let outcome = run_guarded(job);
            // When the reactor is gone, nobody waits any more.
            remote.call_from_thread(move |reactor| {
                let ended = reactor.inner.jobs.waiting.borrow_mut().remove(&key);
                match (ended, outcome) {
                    (Some(ended), Ok(())) => ended.resolver.callback(()),
                    (Some(ended), Err(panicked)) => ended.resolver.errback(panicked),
                    (None, _) => {}
                }
            });
        };
        let number = match pool.start(name.clone(), Box::new(run)) {
            Ok(number) => number,
            Err(error) => return Deferred::fail(error),
        };
        let event_loop = event_loop.weak();
        let (resolver, ran) = Deferred::with_canceller(move || {
            if let Some(event_loop) = event_loop.upgrade() {
                event_loop.jobs.cancel(key);
            }
        });
        let waiting = Waiting {
            name,
            pool: pool.downgrade(),
            number,
            resolver,
        };
        self.waiting.borrow_mut().insert(key, waiting);
        ran
    }

    fn cancel(&self, key: u64) {
        let cancelled = self.waiting.borrow_mut().remove(&key);
        if let Some(cancelled) = cancelled {
            cancelled.take_back();
        }
    }

    /// Stops the reactor's own pool, and waits until its last job is done.
    pub(crate) async fn drain(&self, event_loop: &EventLoop) {
        let (resolver, drained) = Deferred::pair();
        *self.drained.borrow_mut() = Some(resolver);
        self.pool.stop();
        let remote = ReactorRemote::new(event_loop.remote.clone());
        self.pool.when_done(Box::new(move || {
            remote.call_from_thread(|reactor| {
                let drained = reactor.inner.jobs.drained.take();
                if let Some(resolver) = drained {
                    resolver.callback(());
                }
            });
        }));
        // It fails only when the run has ended otherwise, and this with it.
        let _ = drained.await;
    }

    /// The run ends: whoever waits learns that nothing will come, and the jobs that are left are
    /// named. Returns their names.
    pub(crate) fn abandon(&self) -> Vec<String> {
        if let Some(resolver) = self.drained.take() {
            // Whoever waits is being dropped. Not to fire it would be reported as a mistake.
            resolver.callback(());
        }
        let left = guard("dropping jobs for threads", || self.pool.abandon());
        let left = left.unwrap_or_default();
        for job in &left {
            tracing::warn!(
                pool = self.pool.name(),
                %job,
                "the reactor has ended before a job in a thread; its result is lost"
            );
        }
        let waiting = self.waiting.take();
        for waiting in waiting.into_values() {
            waiting.lost();
        }
        left
    }
}

impl Waiting {
    /// Drops the job, if no thread has begun with it.
    fn take_back(&self) {
        if let Some(pool) = self.pool.upgrade() {
            guard("dropping a job for a thread", || {
                pool.take_back(self.number)
            });
        }
    }

    fn lost(self) {
        self.take_back();
        let Self { name, resolver, .. } = self;
        guard("telling of a job that is lost", || {
            resolver.errback(ThreadJobError::ReactorStopped { job: name });
        });
    }
}
