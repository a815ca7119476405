//! Locks, semaphores and queues under any interleaving: never more than there is, first come
//! first served, and nothing is lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Deferred, DeferredLock, DeferredQueue, DeferredSemaphore, Failure, Permit};

/// What is done to those that hold a permit or wait for one. Numbers choose among them.
#[derive(Clone, Debug)]
enum Act {
    /// A callback that keeps the permit.
    Acquire,
    /// A callback that releases its permit at once, and asks for another.
    Pass,
    /// A future that is polled once.
    Await,
    /// A Deferred that is dropped.
    Forget,
    Release(usize),
    Cancel(usize),
    /// Drops what is awaited, whether it has its permit or not.
    DropFuture(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => Just(Act::Acquire),
        1 => Just(Act::Pass),
        2 => Just(Act::Await),
        1 => Just(Act::Forget),
        4 => any::<usize>().prop_map(Act::Release),
        2 => any::<usize>().prop_map(Act::Cancel),
        2 => any::<usize>().prop_map(Act::DropFuture),
    ];
    vec(act, 0..60)
}

fn poll<T>(deferred: &mut Deferred<T>) -> Poll<Result<T, Failure>> {
    Pin::new(deferred).poll(&mut Context::from_waker(Waker::noop()))
}

/// Who asked by a callback, in the order of asking; who was served, in the order of serving.
#[derive(Default)]
struct World {
    held: Rc<RefCell<Vec<Permit>>>,
    served: Rc<RefCell<Vec<usize>>>,
    asked: VecDeque<usize>,
    waiting: Vec<(usize, Deferred<()>)>,
    awaited: Vec<Deferred<Permit>>,
    passed: Rc<Cell<usize>>,
}

impl World {
    fn act(&mut self, semaphore: &DeferredSemaphore, number: usize, act: &Act) {
        match act {
            Act::Acquire => {
                let (held, served) = (self.held.clone(), self.served.clone());
                self.asked.push_back(number);
                let got = semaphore.acquire().add_callback(move |permit| {
                    served.borrow_mut().push(number);
                    held.borrow_mut().push(permit);
                });
                self.waiting.push((number, got));
            }
            Act::Pass => {
                let (again, passed) = (semaphore.clone(), self.passed.clone());
                drop(semaphore.acquire().add_callback::<(), _>(move |permit| {
                    drop(permit);
                    passed.set(passed.get() + 1);
                    drop(again.acquire());
                }));
            }
            Act::Await => {
                let mut permit = semaphore.acquire();
                match poll(&mut permit) {
                    Poll::Ready(permit) => self.held.borrow_mut().push(permit.unwrap()),
                    Poll::Pending => self.awaited.push(permit),
                }
            }
            Act::Forget => drop(semaphore.acquire()),
            Act::Release(which) => {
                let permit = pick(&mut self.held.borrow_mut(), *which);
                drop(permit);
            }
            Act::Cancel(which) => {
                if let Some((number, waiter)) = pick(&mut self.waiting, *which) {
                    if !waiter.is_fired() {
                        self.asked.retain(|asked| *asked != number);
                    }
                    waiter.cancel();
                }
            }
            Act::DropFuture(which) => drop(pick(&mut self.awaited, *which)),
        }
        self.waiting.retain(|(_, waiter)| !waiter.is_fired());
    }

    /// Those who hold one: by a callback, or in a future that has it and was not polled.
    fn holders(&self) -> usize {
        let ready = self.awaited.iter().filter(|permit| permit.is_fired());
        self.held.borrow().len() + ready.count()
    }
}

fn pick<T>(from: &mut Vec<T>, which: usize) -> Option<T> {
    let len = from.len();
    (len > 0).then(|| from.remove(which % len))
}

proptest! {
    #[test]
    fn a_semaphore_never_has_more_holders_than_permits_and_loses_none(
        permits in 1_usize..4,
        acts in acts(),
    ) {
        let semaphore = DeferredSemaphore::new(permits);
        let mut world = World::default();
        for (number, act) in acts.iter().enumerate() {
            world.act(&semaphore, number, act);
            prop_assert_eq!(world.holders() + semaphore.available(), permits);
            if semaphore.available() > 0 {
                prop_assert_eq!(semaphore.waiting(), 0, "a free permit while somebody waits");
            }
            // First come, first served.
            let served = world.served.borrow();
            let expected: Vec<_> = world.asked.iter().take(served.len()).copied().collect();
            prop_assert_eq!(&*served, &expected);
        }
        // All come back, whatever is left.
        world.awaited.clear();
        loop {
            let released = world.held.take();
            if released.is_empty() {
                break;
            }
            drop(released);
        }
        prop_assert_eq!(semaphore.available(), permits);
        prop_assert_eq!(semaphore.waiting(), 0);
        prop_assert_eq!(world.served.borrow().len(), world.asked.len());
    }

    #[test]
    fn tasks_that_are_cancelled_anywhere_leave_the_lock_to_the_others(
        steps in vec((0_usize..8, any::<bool>()), 0..40),
    ) {
        let reactor = MemoryReactor::new();
        let lock = DeferredLock::new();
        let inside = Rc::new(Cell::new(0));
        let done = Rc::new(Cell::new(0));
        let (gate, mut tasks) = (Rc::new(RefCell::new(Vec::new())), Vec::new());
        for _ in 0..8 {
            let (lock, inside, done, gate) =
                (lock.clone(), inside.clone(), done.clone(), gate.clone());
            tasks.push(Deferred::<()>::from_future(&*reactor, async move {
                let _permit = lock.acquire().await?;
                struct Inside(Rc<Cell<usize>>);
                impl Drop for Inside {
                    fn drop(&mut self) {
                        self.0.set(self.0.get() - 1);
                    }
                }
                inside.set(inside.get() + 1);
                assert_eq!(inside.get(), 1);
                let _inside = Inside(inside);
                let (resolver, open) = Deferred::<()>::pair();
                gate.borrow_mut().push(resolver);
                open.await?;
                done.set(done.get() + 1);
                Ok::<_, Failure>(())
            }));
        }
        let mut cancelled = 0;
        for (task, run) in steps {
            if run {
                reactor.run();
            }
            if !tasks[task].is_fired() {
                tasks[task].cancel();
                cancelled += 1;
            }
        }
        loop {
            reactor.run();
            let Some(resolver) = gate.borrow_mut().pop() else {
                break;
            };
            resolver.callback(());
        }
        prop_assert_eq!(done.get() + cancelled, 8);
        prop_assert!(!lock.is_locked());
        prop_assert_eq!(lock.waiting(), 0);
    }

    #[test]
    fn a_queue_loses_nothing_gives_nothing_twice_and_keeps_the_order(
        size in 0_usize..4,
        backlog in 1_usize..4,
        acts in vec((0_u8..6, any::<usize>()), 0..80),
    ) {
        let queue = DeferredQueue::new(size, backlog);
        let got = Rc::new(RefCell::new(Vec::new()));
        let (mut put, mut next) = (Vec::new(), 0);
        let mut takers: Vec<Deferred<()>> = Vec::new();
        type Next = Pin<Box<dyn Future<Output = Result<usize, Failure>>>>;
        let mut futures: Vec<Next> = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        let mut dropped_future = false;
        for (act, which) in acts {
            match act {
                0 | 1 => {
                    let room = queue.len() < size || queue.waiting() > 0;
                    let value = next;
                    next += 1;
                    match queue.put(value) {
                        Ok(()) => {
                            prop_assert!(room);
                            put.push(value);
                        }
                        Err(full) => {
                            prop_assert!(!room);
                            prop_assert_eq!(full.into_value(), value);
                        }
                    }
                }
                2 => {
                    let got = got.clone();
                    let refused = queue.is_empty() && queue.waiting() >= backlog;
                    let taker = queue.get().add_both(move |result| match result {
                        Ok(value) => got.borrow_mut().push(value),
                        Err(failure) => drop(failure),
                    });
                    if refused {
                        prop_assert!(taker.is_fired());
                    }
                    takers.push(taker);
                }
                3 => {
                    if let Some(taker) = pick(&mut takers, which) {
                        taker.cancel();
                    }
                }
                4 => {
                    let queue = queue.clone();
                    let mut future: Next = Box::pin(async move { queue.next().await });
                    match future.as_mut().poll(&mut context) {
                        Poll::Ready(Ok(value)) => got.borrow_mut().push(value),
                        Poll::Ready(Err(_)) => {}
                        Poll::Pending => futures.push(future),
                    }
                }
                _ => {
                    if let Some(future) = pick(&mut futures, which) {
                        drop(future);
                        dropped_future = true;
                    }
                }
            }
            prop_assert!(queue.is_empty() || queue.waiting() == 0);
            prop_assert!(queue.waiting() <= backlog);
        }
        if !dropped_future {
            prop_assert!(got.borrow().is_sorted(), "{:?}", got);
        }
        // What futures were given goes back as they are dropped.
        drop(futures);
        for taker in takers {
            taker.cancel();
        }
        let mut all = got.take();
        while !queue.is_empty() {
            let got = got.clone();
            drop(queue.get().add_callback::<(), _>(move |value| got.borrow_mut().push(value)));
        }
        all.append(&mut got.borrow_mut());
        all.sort_unstable();
        prop_assert_eq!(all, put);
    }
}

#[test]
fn a_thing_that_was_given_to_a_future_that_is_dropped_goes_to_the_next() {
    let queue = DeferredQueue::new(2, 2);
    let mut context = Context::from_waker(Waker::noop());
    let theirs = queue.clone();
    let mut first = Box::pin(async move { theirs.next().await });
    assert!(first.as_mut().poll(&mut context).is_pending());
    let second = queue.get();
    queue.put(1).unwrap();
    assert!(!second.is_fired(), "the first one has it");
    drop(first);
    assert!(second.is_fired());
    drop(second.add_callback::<(), _>(|n| assert_eq!(n, 1)));
}

#[test]
fn a_panic_in_a_waiters_callback_unwinds_and_the_others_are_served() {
    let lock = DeferredLock::new();
    let held = lock.acquire();
    drop(lock.run::<(), ()>(|| std::panic::resume_unwind(Box::new("slipped"))));
    let next = lock.run::<i32, _>(|| 2);
    let released = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(held)));
    assert!(released.is_err());
    assert!(next.is_fired());
    assert!(!lock.is_locked());
}
