//! Stores that fail, that are slow, and that never answer: nothing is lost without anybody knowing.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Pending, pending};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::{Request, Response, StatusCode};
use ropewalk_core::{Deferred, Failure};
use ropewalk_web::session::{
    LoadingSession, MemoryStore, Session, SessionError, SessionKey, SessionRecord, SessionStore,
    Sessions, StoreContext, StoreError, Storing,
};

use ropewalk_web::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::rig::Rig;

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Failing,
    FailingOnceLoaded,
    Silent,
}

/// A store in memory behind a network of moods.
#[derive(Clone)]
struct Moody {
    store: MemoryStore,
    mood: Rc<Cell<Mood>>,
}

impl Moody {
    fn pass<T: 'static>(&self, storing: impl FnOnce() -> Storing<T>) -> Storing<T> {
        match self.mood.get() {
            Mood::Well => storing(),
            Mood::FailingOnceLoaded => {
                self.mood.set(Mood::Failing);
                storing()
            }
            Mood::Failing => Box::pin(async {
                Err(StoreError::new(
                    "ask a moody store",
                    Failure::msg("it does not want to"),
                ))
            }),
            Mood::Silent => Box::pin(pending()),
        }
    }
}

impl SessionStore for Moody {
    fn load(&self, context: &StoreContext, key: SessionKey) -> Storing<Option<SessionRecord>> {
        self.pass(|| self.store.load(context, key))
    }
    fn create(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<()> {
        self.pass(|| self.store.create(context, key, record))
    }
    fn save(
        &self,
        context: &StoreContext,
        key: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        self.pass(|| self.store.save(context, key, record))
    }
    fn touch(&self, context: &StoreContext, key: SessionKey, created: SystemTime) -> Storing<bool> {
        self.pass(|| self.store.touch(context, key, created))
    }
    fn rotate(
        &self,
        context: &StoreContext,
        old: SessionKey,
        new: SessionKey,
        record: SessionRecord,
    ) -> Storing<bool> {
        self.pass(|| self.store.rotate(context, old, new, record))
    }
    fn delete(&self, context: &StoreContext, key: SessionKey) -> Storing<()> {
        self.pass(|| self.store.delete(context, key))
    }
}

fn moody() -> (Rig, Rc<Cell<Mood>>) {
    let mood = Rc::new(Cell::new(Mood::Well));
    let store = Moody {
        store: MemoryStore::default(),
        mood: Rc::clone(&mood),
    };
    let rig = Rig::new(|reactor| Sessions::new(reactor, store));
    (rig, mood)
}

#[test]
fn a_store_that_fails_is_answered_with_503_and_the_session_stays() {
    let (rig, mood) = moody();
    rig.visit("/set?a=1");
    mood.set(Mood::Failing);
    for path in ["/get?a", "/set?a=2", "/rotate", "/destroy", "/replace"] {
        let answer = rig.visit(path);
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.set_cookie, None);
    }
    // Who needs no session does not notice.
    assert_eq!(rig.visit("/static").status, StatusCode::OK);
    assert_eq!(rig.other().visit("/look").status, StatusCode::OK);
    assert_eq!(
        rig.other().visit("/set?a=1").status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    mood.set(Mood::Well);
    assert_eq!(rig.text("/get?a"), "1");
}

#[test]
fn a_store_that_does_not_answer_is_given_up_after_five_seconds() {
    let (rig, mood) = moody();
    rig.visit("/set?a=1");
    mood.set(Mood::Silent);
    for path in ["/get?a", "/set?a=2"] {
        let answer = rig.begin(path);
        rig.reactor.advance(Duration::from_millis(4999));
        assert!(answer.borrow().is_none());
        rig.reactor.advance(Duration::from_millis(1));
        let answer = answer.take().unwrap().unwrap();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
}

#[test]
fn a_change_that_cannot_be_saved_is_a_503_and_a_look_is_not() {
    let (rig, mood) = moody();
    rig.visit("/set?a=1");
    mood.set(Mood::FailingOnceLoaded);
    assert_eq!(
        rig.visit("/set?a=2").status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    mood.set(Mood::FailingOnceLoaded);
    let answer = rig.visit("/get?a");
    assert_eq!((answer.status, &answer.text[..]), (StatusCode::OK, "1"));
}

/// Never answers, and lets a session be loaded by whoever wants it.
#[derive(Clone, Default)]
struct Never(Rc<Cell<Option<LoadingSession>>>);

impl Service<Request<Body>> for Never {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pending<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.set(Some(Session::load(&request)));
        pending()
    }
}

#[test]
fn who_waits_for_the_session_of_a_request_that_is_over_is_told() {
    let (rig, mood) = moody();
    rig.visit("/set?a=1");
    mood.set(Mood::Silent);
    let never = Never::default();
    let store = MemoryStore::default();
    let sessions = Sessions::new(rig.reactor.handle(), store);
    let answering = sessions.layer(never.clone()).call(rig.request("/"));
    let request = rig.reactor.handle().spawn(Box::pin(async move {
        drop(answering.await);
    }));
    rig.reactor.run();
    let loading = never.0.take().unwrap();
    assert!(request.cancel());
    let told = rig.reactor.handle().spawn(Box::pin(async move {
        assert_eq!(loading.await.unwrap_err(), SessionError::Answered);
    }));
    rig.reactor.run();
    assert!(told.is_finished());
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let (rig, mood) = moody();
    rig.visit("/set?a=1");
    mood.set(Mood::Silent);
    let answering = rig.service.borrow_mut().call(rig.request("/get?a"));
    let waits: Deferred<()> = Deferred::from_future(&*rig.reactor, async move {
        drop(answering.await);
    });
    rig.reactor.run();
    waits.cancel();
    rig.reactor.run();
    mood.set(Mood::Well);
    rig.reactor.advance(Duration::from_secs(10));
    assert_eq!(rig.text("/get?a"), "1");
}
