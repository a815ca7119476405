//! Local futures, run by whoever owns them.
//!
//! [`Tasks`] is the executor that every reactor uses. It knows no thread, no system call and no
//! clock: its owner is told when there is something to run, and runs it when it likes. Tasks run
//! in the order in which they were woken, so the same wakes give the same run. A panic ends the
//! task that it happened in, and no other.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

use crate::Panicked;
use crate::inherited::{self, ContextSnapshot};

type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// A future that was spawned where there was something to inherit.
struct InContext {
    context: ContextSnapshot,
    /// `None` once it has been dropped.
    future: Option<LocalFuture>,
}

impl Future for InContext {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self {
            context: inherited,
            future,
        } = &mut *self;
        match future {
            Some(future) => inherited.run(|| future.as_mut().poll(context)),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for InContext {
    fn drop(&mut self) {
        let future = self.future.take();
        self.context.run(|| drop(future));
    }
}

/// A set of futures on one thread. Their wakers work from any thread.
///
/// ```
/// use ropewalk_core::Tasks;
///
/// let tasks = Tasks::new(|| { /* wake the owner, if it sleeps */ });
/// let task = tasks.spawn(Box::pin(async { println!("hello") }));
/// while tasks.has_woken() {
///     tasks.run_woken();
/// }
/// assert!(task.is_finished());
/// ```
pub struct Tasks {
    set: Rc<Set>,
}

struct Set {
    slots: RefCell<Slab<Slot>>,
    /// The number of the next task. Numbers aren't used again, places in the slab are.
    next_number: Cell<u64>,
    /// The memory of the last batch, for the next one.
    batch: Cell<Vec<Arc<TaskWaker>>>,
    woken: Arc<Woken>,
}

struct Slot {
    /// `None` while it is being polled.
    future: Option<LocalFuture>,
    waker: Arc<TaskWaker>,
}

/// The tasks to poll next, in the order of their waking. Other threads add to it.
struct Woken {
    /// `None` once the set is gone.
    queue: Mutex<Option<Vec<Arc<TaskWaker>>>>,
    /// Whether the queue has any: asked in each turn of a loop, and so without its lock.
    any: AtomicBool,
    wake_owner: Box<dyn Fn() + Send + Sync>,
}

struct TaskWaker {
    key: usize,
    number: u64,
    /// Whether it stands in the queue. Stays true when the task has ended, so that later wakes
    /// do nothing.
    queued: AtomicBool,
    woken: Arc<Woken>,
}

impl Tasks {
    /// An empty set. `wake` is called, on any thread, when there is a task to run after there
    /// was none; so whoever sleeps only when [`has_woken`](Self::has_woken) is false is woken in
    /// time. It is also called on the owner's own thread, by [`spawn`](Self::spawn) and by
    /// futures that wake themselves or each other: the owner knows whether it is awake.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            set: Rc::new(Set {
                slots: RefCell::new(Slab::new()),
                next_number: Cell::new(0),
                batch: Cell::new(Vec::new()),
                woken: Arc::new(Woken {
                    queue: Mutex::new(Some(Vec::new())),
                    any: AtomicBool::new(false),
                    wake_owner: Box::new(wake),
                }),
            }),
        }
    }

    /// Adds `future`, to be polled first by the next [`run_woken`](Self::run_woken). It is polled,
    /// and dropped, with the values and in the span that hold here
    /// ([`ContextKey`](crate::ContextKey)).
    pub fn spawn(&self, future: LocalFuture) -> Task {
        let future = match ContextSnapshot::capture_any() {
            None => future,
            Some(context) => Box::pin(InContext {
                context,
                future: Some(future),
            }),
        };
        let number = self.set.next_number.get();
        self.set.next_number.set(number + 1);
        let (key, waker) = {
            let mut slots = self.set.slots.borrow_mut();
            let entry = slots.vacant_entry();
            let key = entry.key();
            let waker = Arc::new(TaskWaker {
                key,
                number,
                queued: AtomicBool::new(false),
                woken: self.set.woken.clone(),
            });
            entry.insert(Slot {
                future: Some(future),
                waker: waker.clone(),
            });
            (key, waker)
        };
        waker.wake();
        Task {
            set: Rc::downgrade(&self.set),
            key,
            number,
        }
    }

    /// Polls each task that was woken before this call, once, in the order of their waking.
    /// Those woken meanwhile wait for the next call. Returns how many were polled.
    pub fn run_woken(&self) -> usize {
        self.run_woken_each(|| ())
    }

    /// As [`run_woken`](Self::run_woken), and calls `before` before each poll.
    pub fn run_woken_each(&self, before: impl Fn()) -> usize {
        if !self.has_woken() {
            return 0;
        }
        let mut batch = self.set.batch.take();
        if let Some(queue) = &mut *self.set.woken.queue() {
            mem::swap(queue, &mut batch);
            self.set.woken.any.store(false, Ordering::SeqCst);
        }
        let mut polled = 0;
        for waker in batch.drain(..) {
            before();
            polled += usize::from(self.set.poll(waker));
        }
        self.set.batch.set(batch);
        polled
    }

    /// Whether [`run_woken`](Self::run_woken) has something to do.
    #[must_use]
    pub fn has_woken(&self) -> bool {
        self.set.woken.any.load(Ordering::SeqCst)
    }

    /// How many tasks have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.slots.borrow().len()
    }

    /// Whether all tasks have ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all tasks. One that is being polled is dropped when its poll returns. What they
    /// spawn as they are dropped stays.
    pub fn clear(&self) {
        // Out of the borrow first: dropping a future runs other people's code.
        let slots = self.set.slots.take();
        for (_, slot) in &slots {
            slot.waker.retire();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // The queue and the wakers in it hold each other.
        let queue = self.set.woken.queue().take();
        drop(queue);
        self.clear();
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A task of a [`Tasks`]. Dropping it lets the task go on.
#[derive(Clone)]
pub struct Task {
    set: Weak<Set>,
    key: usize,
    number: u64,
}

impl Task {
    /// Ends the task and drops its future; if it is being polled, when its poll returns.
    /// Returns whether there was something to end.
    pub fn cancel(&self) -> bool {
        let slot = self
            .set
            .upgrade()
            .and_then(|set| set.remove(self.key, self.number));
        slot.is_some()
    }

    /// Whether it has run to its end, panicked, or was cancelled, or its set is gone.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.set.upgrade().is_none_or(|set| {
            let slots = set.slots.borrow();
            slots
                .get(self.key)
                .is_none_or(|slot| slot.waker.number != self.number)
        })
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("number", &self.number)
            .field("finished", &self.is_finished())
            .finish()
    }
}

impl Set {
    /// Polls the task that was woken, unless it has ended. Returns whether it was polled.
    fn poll(&self, waker: Arc<TaskWaker>) -> bool {
        let (key, number) = (waker.key, waker.number);
        let future = match self.slot(key, number, |slot| slot.future.take()) {
            Some(Some(future)) => future,
            // It is being polled, and called `run_woken` itself.
            Some(None) => {
                waker.woken.clone().push(waker);
                return false;
            }
            None => return false,
        };
        // Before the poll, so that a wake during it counts. `Acquire`, for what a thread wrote
        // before it found the task queued already.
        waker.queued.swap(false, Ordering::AcqRel);
        let waker = Waker::from(waker);
        let _outside = inherited::leave();
        let pending = panic::catch_unwind(AssertUnwindSafe(|| {
            let mut future = future;
            let mut context = Context::from_waker(&waker);
            let pending = future.as_mut().poll(&mut context).is_pending();
            let mut left = Some(future);
            if pending {
                self.slot(key, number, |slot| slot.future = left.take());
            }
            // What is still here has ended, or was cancelled while it was polled.
            drop(left);
            pending
        }));
        if let Err(payload) = &pending {
            let panicked = Panicked::new("a task", &**payload);
            tracing::error!(
                target: "ropewalk::task",
                panic = panicked.as_error(),
                "a task panicked and has ended",
            );
        }
        if !matches!(pending, Ok(true)) {
            self.remove(key, number);
        }
        true
    }

    /// Lends the slot of a task that has not ended.
    fn slot<R>(&self, key: usize, number: u64, with: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(key)?;
        (slot.waker.number == number).then(|| with(slot))
    }

    /// Takes out a task that has not ended. It is dropped where no borrow is held.
    fn remove(&self, key: usize, number: u64) -> Option<Slot> {
        let mut slots = self.slots.borrow_mut();
        if slots.get(key)?.waker.number != number {
            return None;
        }
        let slot = slots.remove(key);
        slot.waker.retire();
        Some(slot)
    }
}

impl Woken {
    fn push(&self, waker: Arc<TaskWaker>) {
        let was_empty = match &mut *self.queue() {
            Some(queue) => {
                queue.push(waker);
                // Within the lock, so that it never says less than there is.
                self.any.store(true, Ordering::SeqCst);
                queue.len() == 1
            }
            None => false,
        };
        if was_empty {
            (self.wake_owner)();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Option<Vec<Arc<TaskWaker>>>> {
        // Nothing panics while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskWaker {
    /// Makes all later wakes do nothing.
    fn retire(&self) {
        self.queued.store(true, Ordering::Release);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.woken.clone().push(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.woken.push(self.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deferred;
    use crate::deferred::logged_by;
    use std::future::{pending, poll_fn};
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    /// A set, and how often its owner was woken.
    fn tasks() -> (Rc<Tasks>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let tasks = Tasks::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        (Rc::new(tasks), wakes)
    }

    /// A future that calls `each` at each poll, until it says that it is done.
    fn polling(mut each: impl FnMut(&Waker) -> bool + 'static) -> LocalFuture {
        Box::pin(poll_fn(move |context| match each(context.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }))
    }

    type LastWaker = Rc<RefCell<Option<Waker>>>;

    /// A pending future, the count of its polls, and the waker that it was last polled with.
    fn waiting() -> (LocalFuture, Rc<Cell<u32>>, LastWaker) {
        let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(None)));
        let (count, keep) = (polls.clone(), waker.clone());
        let future = polling(move |waker| {
            count.set(count.get() + 1);
            *keep.borrow_mut() = Some(waker.clone());
            false
        });
        (future, polls, waker)
    }

    #[test]
    fn a_task_runs_to_its_end() {
        let (tasks, _) = tasks();
        let (resolver, deferred) = Deferred::<u16>::pair();
        let got = Rc::new(Cell::new(0));
        let set = got.clone();
        let task = tasks.spawn(Box::pin(async move { set.set(deferred.await.unwrap()) }));

        assert_eq!(tasks.run_woken(), 1);
        assert!(!task.is_finished());
        assert!(!tasks.has_woken());
        resolver.callback(9);
        assert!(tasks.has_woken());
        assert_eq!(tasks.run_woken(), 1);

        assert_eq!(got.get(), 9);
        assert!(task.is_finished());
        assert!(tasks.is_empty());
        assert!(!task.cancel());
    }

    #[test]
    fn tasks_run_in_the_order_of_their_waking() {
        let (tasks, _) = tasks();
        let log = Rc::new(RefCell::new(Vec::new()));
        let wakers: Vec<_> = (0..3)
            .map(|n| {
                let waker = Rc::new(RefCell::new(None));
                let (keep, log) = (waker.clone(), log.clone());
                tasks.spawn(polling(move |waker| {
                    log.borrow_mut().push(n);
                    *keep.borrow_mut() = Some(waker.clone());
                    false
                }));
                waker
            })
            .collect();
        tasks.run_woken();
        for n in [2, 0, 1] {
            wakers[n].borrow().as_ref().unwrap().wake_by_ref();
        }
        tasks.run_woken();
        assert_eq!(*log.borrow(), [0, 1, 2, 2, 0, 1]);
    }

    #[test]
    fn a_task_that_wakes_itself_waits_for_the_next_run() {
        let (tasks, _) = tasks();
        let mut polls = 0;
        tasks.spawn(polling(move |waker| {
            waker.wake_by_ref();
            polls += 1;
            polls == 3
        }));
        for _ in 0..3 {
            assert!(tasks.has_woken());
            assert_eq!(tasks.run_woken(), 1);
        }
        assert!(tasks.is_empty());
        assert_eq!(tasks.run_woken(), 0);
    }

    #[test]
    fn many_wakes_are_one_poll_and_wake_the_owner_once() {
        let (tasks, wakes) = tasks();
        let (future, polls, waker) = waiting();
        let (other, other_polls, other_waker) = waiting();
        tasks.spawn(future);
        tasks.spawn(other);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        tasks.run_woken();

        for waker in [&waker, &other_waker, &waker] {
            waker.borrow().as_ref().unwrap().wake_by_ref();
        }

        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        assert_eq!(tasks.run_woken(), 2);
        assert_eq!((polls.get(), other_polls.get()), (2, 2));
    }

    #[test]
    fn a_waker_works_from_another_thread() {
        let (tasks, wakes) = tasks();
        let (future, polls, waker) = waiting();
        tasks.spawn(future);
        tasks.run_woken();
        let waker = waker.take().unwrap();
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        tasks.run_woken();
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn an_old_waker_does_not_wake_the_task_that_took_its_place() {
        let (tasks, wakes) = tasks();
        let (future, _, waker) = waiting();
        let old = tasks.spawn(future);
        tasks.run_woken();
        assert!(old.cancel());
        let (future, polls, _) = waiting();
        let new = tasks.spawn(future);
        assert_eq!(new.key, old.key, "the place is used again");
        tasks.run_woken();
        let before = wakes.load(Ordering::Relaxed);

        waker.take().unwrap().wake();

        assert!(!tasks.has_woken());
        assert_eq!(wakes.load(Ordering::Relaxed), before);
        assert_eq!(polls.get(), 1);
        assert!(!old.cancel());
        assert!(old.is_finished());
        assert!(!new.is_finished());
    }

    #[test]
    fn cancelling_drops_the_future_at_once() {
        let (tasks, _) = tasks();
        let held = Rc::new(());
        let in_future = held.clone();
        let task = tasks.spawn(Box::pin(async move {
            let _in_future = in_future;
            pending::<()>().await;
        }));
        let other_handle = task.clone();
        assert!(task.cancel());
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(other_handle.is_finished());
        assert_eq!(tasks.run_woken(), 0);
    }

    #[test]
    fn a_future_may_cancel_itself_and_is_dropped_after_the_poll() {
        let (tasks, _) = tasks();
        let held = Rc::new(());
        let in_future = held.clone();
        let own = Rc::new(RefCell::new(None::<Task>));
        let task = own.clone();
        *own.borrow_mut() = Some(tasks.spawn(polling(move |waker| {
            assert!(task.borrow().as_ref().unwrap().cancel());
            waker.wake_by_ref();
            Rc::strong_count(&in_future) == 0
        })));
        assert_eq!(tasks.run_woken(), 1);
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(own.borrow().as_ref().unwrap().is_finished());
        assert!(!tasks.has_woken());
    }

    #[test]
    fn a_task_spawned_in_the_place_of_one_being_polled_keeps_its_own_future() {
        let (tasks, _) = tasks();
        let (set, own) = (tasks.clone(), Rc::new(RefCell::new(None::<Task>)));
        let (future, polls, _) = waiting();
        let (task, mut replacement) = (own.clone(), Some(future));
        *own.borrow_mut() = Some(tasks.spawn(polling(move |_| {
            let task = task.borrow();
            task.as_ref().unwrap().cancel();
            let new = set.spawn(replacement.take().unwrap());
            assert_eq!(new.key, task.as_ref().unwrap().key);
            false
        })));
        assert_eq!(tasks.run_woken(), 1);
        assert_eq!(tasks.run_woken(), 1);
        assert_eq!(polls.get(), 1);
    }

    #[test]
    fn a_future_may_spawn_and_cancel_others_and_clear_the_set() {
        let (tasks, _) = tasks();
        let (set, spawned) = (tasks.clone(), Rc::new(Cell::new(false)));
        let ran = spawned.clone();
        tasks.spawn(polling(move |_| {
            let ran = ran.clone();
            set.spawn(polling(move |_| {
                ran.set(true);
                true
            }));
            true
        }));
        tasks.run_woken();
        tasks.run_woken();
        assert!(spawned.get());

        let victim = Rc::new(RefCell::new(None::<Task>));
        let to_cancel = victim.clone();
        tasks.spawn(polling(move |_| {
            to_cancel.borrow().as_ref().unwrap().cancel()
        }));
        let (future, polls, _) = waiting();
        *victim.borrow_mut() = Some(tasks.spawn(future));
        tasks.run_woken();
        assert_eq!(polls.get(), 0);

        let set = tasks.clone();
        tasks.spawn(polling(move |_| {
            set.clear();
            false
        }));
        let (future, polls, _) = waiting();
        tasks.spawn(future);
        assert_eq!(tasks.run_woken(), 1);
        assert_eq!(polls.get(), 0);
        assert!(tasks.is_empty());
    }

    #[test]
    fn running_inside_a_poll_loses_no_wake() {
        let (tasks, _) = tasks();
        let set = tasks.clone();
        let mut polls = 0;
        tasks.spawn(polling(move |waker| {
            polls += 1;
            waker.wake_by_ref();
            assert_eq!(set.run_woken(), 0);
            polls == 2
        }));
        assert_eq!(tasks.run_woken(), 1);
        assert_eq!(tasks.run_woken(), 1);
        assert!(tasks.is_empty());
    }

    #[test]
    fn dropping_a_future_may_spawn_and_cancel() {
        struct OnDrop(Rc<dyn Fn()>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                (self.0)();
            }
        }
        let (tasks, _) = tasks();
        let (set, other) = (Rc::downgrade(&tasks), tasks.spawn(Box::pin(pending())));
        let on_drop = OnDrop(Rc::new(move || {
            if let Some(set) = set.upgrade() {
                set.spawn(Box::pin(async {}));
            }
            other.cancel();
        }));
        let task = tasks.spawn(Box::pin(async move {
            let _on_drop = on_drop;
            pending::<()>().await;
        }));
        tasks.run_woken();
        assert!(task.cancel());
        assert_eq!(tasks.len(), 1, "the one that was spawned by the drop");
        tasks.clear();
        assert!(tasks.is_empty());
    }

    #[test]
    fn a_panic_ends_its_task_alone_and_is_logged() {
        let (tasks, _) = tasks();
        let (count, panicking) = (7, tasks.spawn(Box::pin(async { panic!("no rope left") })));
        let formatted = tasks.spawn(Box::pin(async move { panic!("{count} ropes left") }));
        let (future, polls, _) = waiting();
        tasks.spawn(future);

        let log = logged_by(|| assert_eq!(tasks.run_woken(), 3));

        assert!(log.contains("panic=a task panicked: no rope left"), "{log}");
        assert!(log.contains("panic=a task panicked: 7 ropes left"), "{log}");
        assert!(panicking.is_finished() && formatted.is_finished());
        assert_eq!(polls.get(), 1);
        assert_eq!(tasks.len(), 1);
    }

    #[test]
    fn a_handle_keeps_nothing_alive() {
        let (tasks, _) = tasks();
        let held = Rc::new(());
        let in_future = held.clone();
        let task = tasks.spawn(Box::pin(async move {
            let _in_future = in_future;
            pending::<()>().await;
        }));
        drop(tasks);
        assert_eq!(Rc::strong_count(&held), 1);
        assert!(task.is_finished());
        assert!(!task.cancel());
    }

    #[test]
    fn a_waker_that_outlives_the_set_does_nothing_and_holds_no_circle() {
        let (tasks, wakes) = tasks();
        let (future, _, waker) = waiting();
        tasks.spawn(future);
        tasks.run_woken();
        tasks.spawn(Box::pin(async {}));
        let before = wakes.load(Ordering::Relaxed);
        drop(tasks);
        waker.take().unwrap().wake();
        assert_eq!(wakes.load(Ordering::Relaxed), before);
        assert_eq!(
            Arc::strong_count(&wakes),
            1,
            "the set's own closure is gone"
        );
    }

    #[test]
    fn wakers_are_for_any_thread() {
        fn assert_send_sync<T: Send + Sync>() {}
        assert_send_sync::<TaskWaker>();
    }
}
