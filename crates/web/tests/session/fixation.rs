//! Identifiers: who gives them out, and what the old ones are worth.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response};
use ropewalk_core::Deferred;
use ropewalk_web::session::{MemoryStore, Session, Sessions};
use ropewalk_web::{Body, BoxError, Randomness};
use tower_layer::Layer;
use tower_service::Service;

use super::rig::Rig;
use super::values::{in_cookie, in_memory};

#[test]
fn an_identifier_that_nobody_has_given_out_is_never_adopted() {
    let planted = "A".repeat(43);
    for value in [
        &planted[..],
        "",
        "x",
        "../../etc/passwd",
        &"A".repeat(10_000),
    ] {
        let rig = in_memory();
        *rig.cookie.borrow_mut() = Some(("session".into(), value.into()));
        assert_eq!(rig.text("/look"), "new=true empty=true");
        rig.visit("/set?user=ada");
        assert_ne!(rig.cookie_value(), value);
        // Whoever planted it has nothing.
        let attacker = rig.other();
        *attacker.cookie.borrow_mut() = Some(("session".into(), value.into()));
        assert_eq!(attacker.text("/get?user"), "-");
    }
}

#[test]
fn an_unknown_identifier_is_not_taken_away_from_its_client() {
    // A slow answer to the old one must not remove the cookie of a new login.
    let rig = in_memory();
    *rig.cookie.borrow_mut() = Some(("session".into(), "A".repeat(43)));
    assert_eq!(rig.visit("/look").set_cookie, None);
}

#[test]
fn rotation_makes_the_old_identifier_worthless_and_keeps_the_values() {
    let rig = in_memory();
    rig.visit("/set?user=ada");
    let thief = rig.other();
    thief.has_cookie_of(&rig);
    let old = rig.cookie_value();
    rig.visit("/rotate");
    assert_ne!(rig.cookie_value(), old);
    assert_eq!(rig.text("/get?user"), "ada");
    assert_eq!(thief.text("/get?user"), "-");
}

#[test]
fn a_destroyed_session_is_gone_for_all_who_have_its_identifier() {
    let rig = in_memory();
    rig.visit("/set?user=ada");
    let thief = rig.other();
    thief.has_cookie_of(&rig);
    let answer = rig.visit("/destroy");
    let removal = answer.set_cookie.unwrap();
    assert!(removal.starts_with("session=; "), "{removal}");
    assert!(removal.contains("Max-Age=0"), "{removal}");
    assert_eq!(thief.text("/get?user"), "-");
}

#[test]
fn what_comes_after_a_session_was_destroyed_is_another_session() {
    for rig in [in_memory(), in_cookie()] {
        rig.visit("/set?user=ada");
        let old = rig.cookie_value();
        rig.visit("/replace");
        assert_ne!(rig.cookie_value(), old);
        assert_eq!(rig.text("/get?user"), "-");
        assert_eq!(rig.text("/look"), "new=false empty=false");
    }
}

/// Loads the session, waits, and changes it.
#[derive(Clone)]
struct Slow(Rc<Cell<Option<Deferred<()>>>>);

impl Service<Request<Body>> for Slow {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gate = self.0.take().unwrap();
        Box::pin(async move {
            let session = Session::load(&request).await?;
            drop(gate.await);
            session.insert("late", &true)?;
            Ok(Response::new(Body::empty()))
        })
    }
}

#[test]
fn a_slow_request_does_not_bring_a_session_back() {
    for ending in ["/destroy", "/rotate"] {
        let store = MemoryStore::default();
        let rig = Rig::new(|reactor| Sessions::new(reactor, store.clone()));
        rig.visit("/set?user=ada");
        let (resolver, gate) = Deferred::<()>::pair();
        let slow = Slow(Rc::new(Cell::new(Some(gate))));
        let sessions = Sessions::new(rig.reactor.handle(), store.clone());
        let answering = sessions.layer(slow).call(rig.request("/"));
        let task = rig.reactor.handle().spawn(Box::pin(async move {
            let response = answering.await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(!response.headers().contains_key("set-cookie"));
        }));
        rig.reactor.run();
        let thief = rig.other();
        thief.has_cookie_of(&rig);
        rig.visit(ending);
        resolver.callback(());
        rig.reactor.run();
        assert!(task.is_finished());
        assert_eq!(thief.text("/look"), "new=true empty=true");
        assert_eq!(store.len(), usize::from(ending == "/rotate"));
        assert_eq!(rig.text("/get?late"), "-");
    }
}

#[test]
fn identifiers_come_from_the_randomness_that_was_lent() {
    let rig = Rig::new(|reactor| {
        let last = Cell::new(0);
        let counted = Randomness::new(move |bytes| {
            last.set(last.get() + 1);
            bytes.fill(last.get());
        });
        Sessions::new(reactor, MemoryStore::default()).randomness(counted)
    });
    rig.visit("/set?a=1");
    assert_eq!(
        rig.cookie_value(),
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"
    );
    rig.visit("/rotate");
    assert_eq!(
        rig.cookie_value(),
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"
    );
}
