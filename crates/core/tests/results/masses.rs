//! A million of each: no stack overflow, and nothing left behind.
//!
//! All of it runs on a stack of 256 KiB, which has no room for a frame for each.

use std::cell::Cell;
use std::panic;
use std::rc::Rc;
use std::thread;

use ropewalk_core::{
    Cancelled, Deferred, DeferredEvent, DeferredList, DeferredQueue, DeferredSemaphore, Resolver,
    gather_results, race,
};

const MANY: usize = 1_000_000;

/// Runs `test` on a small stack, with what is to be held by all that it makes, and looks that
/// nobody holds it when it has run.
fn leaves_nothing(test: impl FnOnce(&Rc<Cell<usize>>) + Send + 'static) {
    let run = move || {
        let held = Rc::new(Cell::new(0));
        test(&held);
        assert_eq!(Rc::strong_count(&held), 1, "something is left");
    };
    let thread = thread::Builder::new().stack_size(256 * 1024).spawn(run);
    if let Err(payload) = thread.unwrap().join() {
        panic::resume_unwind(payload);
    }
}

fn count(held: &Rc<Cell<usize>>) -> impl FnOnce(usize) -> usize + 'static {
    let held = held.clone();
    move |n| {
        held.set(held.get() + 1);
        n + 1
    }
}

fn chain(held: &Rc<Cell<usize>>) -> (Resolver<usize>, Deferred<usize>) {
    let (resolver, mut deferred) = Deferred::pair();
    for _ in 0..MANY {
        deferred = deferred.add_callback(count(held));
    }
    (resolver, deferred)
}

fn sources(held: &Rc<Cell<usize>>) -> (Vec<Resolver<usize>>, Vec<Deferred<usize>>) {
    let source = |_| {
        let (resolver, deferred) = Deferred::pair();
        (resolver, deferred.add_callback(count(held)))
    };
    (0..MANY).map(source).unzip()
}

fn is_cancelled<T: 'static>(deferred: Deferred<T>) -> bool {
    let cancelled = Rc::new(Cell::new(false));
    let flag = cancelled.clone();
    drop(deferred.add_both::<(), _>(move |result| {
        let failure = result.err();
        flag.set(failure.is_some_and(|failure| failure.check::<Cancelled>().is_some()));
    }));
    cancelled.get()
}

#[test]
fn a_chain_of_a_million_fires() {
    leaves_nothing(|held| {
        let (resolver, deferred) = chain(held);
        resolver.callback(0);
        assert_eq!(held.get(), MANY);
        drop(deferred);
    });
}

#[test]
fn a_chain_of_a_million_is_cancelled() {
    leaves_nothing(|held| {
        let (_resolver, deferred) = chain(held);
        deferred.cancel();
        assert!(is_cancelled(deferred));
        assert_eq!(held.get(), 0);
    });
}

#[test]
fn a_chain_of_a_million_is_dropped_with_its_source() {
    leaves_nothing(|held| {
        let (resolver, deferred) = chain(held);
        drop(deferred.add_errback(|_| 0));
        drop(resolver);
    });
}

#[test]
fn a_chain_of_a_million_that_each_wait_for_the_next_fires() {
    leaves_nothing(|held| {
        let (resolver, mut deferred) = Deferred::<usize>::pair();
        for _ in 0..MANY {
            let (outer, waits) = Deferred::<()>::pair();
            let counted = deferred.add_callback::<usize, _>(count(held));
            deferred = waits.add_callback(move |()| counted);
            outer.callback(());
        }
        resolver.callback(0);
        assert!(deferred.is_fired());
        assert_eq!(held.get(), MANY);
    });
}

#[test]
fn a_list_of_a_million_fires() {
    leaves_nothing(|held| {
        let (resolvers, deferreds) = sources(held);
        let list = DeferredList::new(deferreds).all();
        for resolver in resolvers.into_iter().rev() {
            assert!(!list.is_fired());
            resolver.callback(0);
        }
        let len = list.add_callback(|all| assert_eq!(all.len(), MANY));
        let len: Deferred<()> = len;
        assert!(len.is_fired());
        assert_eq!(held.get(), MANY);
    });
}

#[test]
fn a_list_of_a_million_is_cancelled() {
    leaves_nothing(|held| {
        let (_resolvers, deferreds) = sources(held);
        let list = DeferredList::new(deferreds).all();
        list.cancel();
        let results = list.add_callback(|all| assert!(all.iter().all(Result::is_err)));
        let results: Deferred<()> = results;
        assert!(results.is_fired());
        assert_eq!(held.get(), 0);
    });
}

#[test]
fn a_race_and_a_gathering_of_a_million_end_with_their_first() {
    leaves_nothing(|held| {
        let (mut resolvers, deferreds) = sources(held);
        let winner = race(deferreds);
        resolvers.remove(MANY / 2).callback(0);
        assert!(winner.is_fired());
        assert!(resolvers.iter().all(Resolver::is_cancelled));

        let (resolvers, deferreds) = sources(held);
        let all = gather_results(deferreds);
        all.cancel();
        assert!(is_cancelled(all));
        drop(resolvers);
    });
}

#[test]
fn a_million_who_wait_in_turn_are_served_in_turn() {
    leaves_nothing(|held| {
        let semaphore = DeferredSemaphore::with_max_waiters(1, MANY);
        let permit = semaphore.acquire();
        for n in 0..MANY {
            let count = count(held);
            let held = held.clone();
            drop(semaphore.run::<usize, _>(move || {
                assert_eq!(held.get(), n);
                count(n)
            }));
        }
        drop(permit);
        assert_eq!(held.get(), MANY);
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_million_waiters_that_were_dropped_pass_on_what_they_get() {
    leaves_nothing(|held| {
        let semaphore = DeferredSemaphore::with_max_waiters(1, MANY);
        let permit = semaphore.acquire();
        for _ in 0..MANY - 1 {
            drop(semaphore.acquire());
        }
        let count = count(held);
        let last = semaphore.run::<usize, _>(move || count(0));
        drop(permit);
        assert!(last.is_fired());
        assert_eq!(held.get(), 1);
    });
}

#[test]
fn a_million_in_a_queue_and_at_an_event_leave_nothing() {
    leaves_nothing(|held| {
        let queue = DeferredQueue::new(MANY, MANY);
        let event = DeferredEvent::with_max_waiters(MANY);
        for n in 0..MANY {
            drop(queue.get().add_callback::<usize, _>(count(held)));
            let count = count(held);
            drop(event.wait().add_callback::<usize, _>(move |()| count(n)));
        }
        for n in 0..MANY {
            queue.put(n).unwrap();
        }
        event.set();
        assert_eq!(held.get(), 2 * MANY);
    });
}
