//! What callbacks, tasks and timed calls inherit from where they were asked for.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_core::testing::{Clock, MemoryReactor};
use ropewalk_core::{
    ContextKey, ContextSnapshot, Cooperator, Deferred, LoopingCall, defer_later, gather_results,
};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

static USER: ContextKey<String> = ContextKey::new();
static REQUEST: ContextKey<u32> = ContextKey::new();

const SECOND: Duration = Duration::from_secs(1);

fn user() -> String {
    USER.get()
        .map_or("nobody".to_owned(), |user| (*user).clone())
}

fn as_user<R>(name: &str, run: impl FnOnce() -> R) -> R {
    USER.with_value(name.to_owned(), run)
}

/// A list, and a function that adds who is the user to it.
fn seen() -> (Rc<RefCell<Vec<String>>>, impl Fn() + Clone + 'static) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let list = seen.clone();
    (seen, move || list.borrow_mut().push(user()))
}

#[test]
fn a_callback_has_the_values_of_where_it_was_added_and_not_of_where_it_fires() {
    let (seen, note) = seen();
    let (resolver, deferred) = Deferred::<()>::pair();
    let [a, b, c, d] = [(); 4].map(|()| note.clone());
    let deferred: Deferred<()> = as_user("ada", || deferred.add_callback(move |()| a()));
    let deferred: Deferred<()> = deferred.add_callback(move |()| b());
    let deferred: Deferred<()> = as_user("bob", || deferred.add_callback(move |()| c()));
    as_user("carl", || resolver.callback(()));
    drop(as_user("dora", || {
        deferred.add_callback::<(), _>(move |()| d())
    }));
    assert_eq!(*seen.borrow(), ["ada", "nobody", "bob", "dora"]);
    assert_eq!(user(), "nobody");
}

#[test]
fn values_nest_and_come_back() {
    as_user("ada", || {
        REQUEST.with_value(7, || {
            assert_eq!((user().as_str(), REQUEST.get()), ("ada", Some(Arc::new(7))));
            as_user("bob", || {
                assert_eq!((user().as_str(), *REQUEST.get().unwrap()), ("bob", 7));
            });
            assert_eq!(user(), "ada");
        });
        assert_eq!(REQUEST.get(), None);
    });
}

#[test]
fn values_come_back_when_a_call_panics() {
    let call = || as_user("ada", || std::panic::resume_unwind(Box::new(1)));
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!(user(), "nobody");
}

#[test]
fn tasks_inherit_and_so_do_those_that_they_spawn() {
    let reactor = Rc::new(MemoryReactor::new());
    let (seen, note) = seen();
    let (resolver, deferred) = Deferred::<()>::pair();
    let (inner, again) = (reactor.clone(), note.clone());
    as_user("ada", || {
        reactor.spawn(Box::pin(async move {
            note();
            deferred.await.unwrap();
            note();
            inner.spawn(Box::pin(async move { again() }));
        }))
    });
    reactor.run();
    as_user("bob", || resolver.callback(()));
    reactor.run();
    assert_eq!(*seen.borrow(), ["ada", "ada", "ada"]);
}

#[test]
fn what_a_task_holds_is_dropped_with_its_values() {
    struct Notes<F: Fn()>(F);
    impl<F: Fn()> Drop for Notes<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let reactor = MemoryReactor::new();
    let (seen, note) = seen();
    let held = Notes(note);
    let task = as_user("ada", || {
        reactor.spawn(Box::pin(async move {
            let _held = held;
            std::future::pending::<()>().await;
        }))
    });
    reactor.run();
    task.cancel();
    assert_eq!(*seen.borrow(), ["ada"]);
}

#[test]
fn timed_calls_and_loops_inherit() {
    let clock = Clock::new();
    let (seen, note) = seen();
    as_user("ada", || clock.call_later(SECOND, note.clone()));
    let later: Deferred<()> = as_user("bob", || defer_later(&clock, SECOND, note.clone()));
    let looping = LoopingCall::new(Rc::new(clock.clone()), note);
    let _ended = as_user("carl", || looping.start(SECOND, false));
    clock.advance(2 * SECOND);
    assert_eq!(*seen.borrow(), ["ada", "bob", "carl", "carl"]);
    assert!(later.is_fired());
}

#[test]
fn each_cooperative_task_has_its_own_values() {
    let clock = Clock::new();
    let (seen, note) = seen();
    let cooperator = Cooperator::new(Rc::new(clock.clone()));
    for name in ["ada", "bob"] {
        let note = note.clone();
        drop(as_user(name, || {
            cooperator.cooperate((0..2).map(move |_| note()))
        }));
    }
    drop(cooperator.cooperate((0..1).map(move |_| note())));
    clock.advance(SECOND);
    assert_eq!(*seen.borrow(), ["ada", "bob", "nobody", "ada", "bob"]);
}

#[test]
fn a_loop_that_sets_a_value_each_time_does_not_pile_them_up() {
    let clock = Clock::new();
    fn again(clock: &Clock, n: u32) {
        let next = clock.clone();
        REQUEST.with_value(n, || {
            clock.call_later(SECOND, move || again(&next, n + 1));
        });
    }
    again(&clock, 0);
    clock.advance(1000 * SECOND);
    let (seen, note) = (Rc::new(RefCell::new(None)), clock.clone());
    let last = seen.clone();
    REQUEST.with_value(1, || {
        note.call_later(SECOND, move || {
            *last.borrow_mut() = Some(ContextSnapshot::capture());
        });
    });
    clock.advance(SECOND);
    let snapshot = seen.take().unwrap();
    assert!(
        format!("{snapshot:?}").contains("values: 1"),
        "{snapshot:?}"
    );
}

#[test]
fn a_snapshot_goes_to_another_thread_with_its_values_and_its_span() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<ContextSnapshot>();
    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        let span = tracing::info_span!("order").entered();
        let snapshot = as_user("ada", ContextSnapshot::capture);
        let id = span.id();
        drop(span);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let job = move || {
            tracing::dispatcher::with_default(&dispatch, || {
                snapshot.run(|| (user(), tracing::Span::current().id()))
            })
        };
        let seen = std::thread::spawn(job).join().unwrap();
        assert_eq!(seen, ("ada".to_owned(), id));
        assert!(ContextSnapshot::capture().is_empty());
    });
}

/// The names of the spans that are entered, outermost first.
fn spans() -> String {
    let current = tracing::Span::current();
    tracing::dispatcher::get_default(|dispatch| {
        let registry: &Registry = dispatch.downcast_ref().unwrap();
        let Some(span) = current.id().and_then(|id| registry.span(&id)) else {
            return String::new();
        };
        let names: Vec<_> = span.scope().from_root().map(|span| span.name()).collect();
        names.join(">")
    })
}

#[test]
fn callbacks_tasks_and_timed_calls_run_in_the_span_of_where_they_were_asked_for() {
    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        let reactor = MemoryReactor::new();
        let clock = Clock::new();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let note = |name: &'static str| {
            let seen = seen.clone();
            move || seen.borrow_mut().push(format!("{name}:{}", spans()))
        };
        let (resolver, deferred) = Deferred::<()>::pair();
        let (a, b, c, d) = (note("a"), note("b"), note("c"), note("d"));
        let chain: Deferred<()> = {
            let _span = tracing::info_span!("connection").entered();
            reactor.spawn(Box::pin(async move { c() }));
            clock.call_later(SECOND, d);
            deferred.add_callback(move |()| a())
        };
        let chain: Deferred<()> = chain.add_callback(move |()| b());
        resolver.callback(());
        reactor.run();
        clock.advance(SECOND);
        assert!(chain.is_fired());
        assert_eq!(
            *seen.borrow(),
            ["a:connection", "b:", "c:connection", "d:connection"]
        );
    });
}

#[test]
fn what_waits_for_several_runs_where_it_was_added() {
    let (seen, note) = seen();
    let (resolver, deferred) = Deferred::<()>::pair();
    let all = gather_results([deferred]);
    let all: Deferred<()> = as_user("ada", || all.add_callback(move |_| note()));
    as_user("bob", || resolver.callback(()));
    assert!(all.is_fired());
    assert_eq!(*seen.borrow(), ["ada"]);
}
