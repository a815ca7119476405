//! Values: put in by one request, and there for the next.

use http::{Request, StatusCode};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_web::Body;
use ropewalk_web::cookies::CookieKeys;
use ropewalk_web::session::{MemoryStore, Session, SessionError, Sessions};
use tower_service::Service;

use super::rig::Rig;

pub(crate) fn in_memory() -> Rig {
    Rig::new(|reactor| Sessions::new(reactor, MemoryStore::default()))
}

pub(crate) fn keys() -> CookieKeys {
    CookieKeys::new(&(0..64).collect::<Vec<u8>>()).unwrap()
}

pub(crate) fn in_cookie() -> Rig {
    Rig::new(|reactor| Sessions::in_cookie(reactor, keys()))
}

#[test]
fn what_one_request_puts_in_is_there_for_the_next() {
    for rig in [in_memory(), in_cookie()] {
        assert_eq!(rig.text("/get?a"), "-");
        assert_eq!(rig.text("/set?a=1"), "set");
        assert_eq!(rig.text("/set?b=2"), "set");
        assert_eq!(rig.text("/get?a"), "1");
        assert_eq!(rig.text("/remove?a"), "true");
        assert_eq!(rig.text("/get?a"), "-");
        assert_eq!(rig.text("/get?b"), "2");
        assert_eq!(rig.other().text("/get?b"), "-");
    }
}

#[test]
fn what_is_taken_is_taken_once() {
    for rig in [in_memory(), in_cookie()] {
        rig.visit("/set?message=Saved.");
        assert_eq!(rig.text("/take?message"), "Saved.");
        assert_eq!(rig.text("/take?message"), "-");
    }
}

#[test]
fn a_client_whose_session_stays_empty_gets_no_cookie() {
    let store = MemoryStore::default();
    let kept = store.clone();
    let rig = Rig::new(|reactor| Sessions::new(reactor, store));
    for path in [
        "/static",
        "/look",
        "/get?a",
        "/remove?a",
        "/rotate",
        "/destroy",
    ] {
        assert_eq!(rig.visit(path).set_cookie, None, "{path}");
    }
    assert!(kept.is_empty());
}

#[test]
fn an_answer_that_looked_at_a_session_says_that_it_depends_on_it() {
    let rig = in_memory();
    let answer = rig.visit("/static");
    assert!(!answer.headers.contains_key("vary"));
    let answer = rig.visit("/get?a");
    assert_eq!(answer.headers["vary"], "Cookie");
    assert!(!answer.headers.contains_key("cache-control"));
    let answer = rig.visit("/set?a=1");
    assert_eq!(answer.headers["cache-control"], "private");
}

#[test]
fn a_value_that_is_too_large_is_refused_and_the_others_stay() {
    for (rig, limit) in [(in_memory(), 16 * 1024), (in_cookie(), 2560)] {
        assert_eq!(rig.text("/set?a=1"), "set");
        let long = "x".repeat(limit);
        let said = rig.text(&format!("/set?b={long}"));
        assert!(
            said.contains(&format!(
                "no room for the value b: it may have {limit} bytes"
            )),
            "{said}"
        );
        assert_eq!(rig.text("/get?a"), "1");
        assert_eq!(rig.text("/get?b"), "-");
        let fits = "x".repeat(limit - r#"{"a":"1","b":""}"#.len());
        assert_eq!(rig.text(&format!("/set?b={fits}")), "set");
        assert_eq!(rig.text("/get?b"), fits);
        assert_eq!(rig.text(&format!("/set?b={fits}x")), said);
        assert_eq!(rig.text("/get?b"), fits);
    }
}

#[test]
fn a_value_of_another_type_is_an_error_and_stays() {
    let rig = in_memory();
    let request = rig.request("/");
    let loading = Session::load(&request);
    rig.visit("/set?a=text");
    // Without the layer there is no session.
    let task = rig.reactor.spawn(Box::pin(async move {
        assert_eq!(loading.await.unwrap_err(), SessionError::NoLayer);
    }));
    rig.reactor.run();
    assert!(task.is_finished());
    assert_eq!(rig.text("/get?a"), "text");
}

#[test]
fn a_session_is_not_changed_any_more_when_its_request_is_answered() {
    use std::cell::RefCell;
    use std::rc::Rc;
    use tower_layer::Layer;

    let reactor = MemoryReactor::new();
    let kept: Rc<RefCell<Option<Session>>> = Rc::default();
    let keep = Rc::clone(&kept);
    let handler = ropewalk_web::handler_fn(move |request: Request<Body>| {
        *keep.borrow_mut() = Session::loaded(&request);
        http::Response::new(Body::empty())
    });
    let sessions = Sessions::new(reactor.handle(), MemoryStore::default());
    let mut service = sessions.layer(handler);
    let answering = service.call(Request::new(Body::empty()));
    reactor.spawn(Box::pin(async move { drop(answering.await) }));
    reactor.run();
    let session = kept.take().unwrap();
    assert_eq!(session.insert("a", &1), Err(SessionError::Answered));
    assert_eq!(session.rotate(), Err(SessionError::Answered));
}

#[test]
fn a_handler_that_answers_at_once_has_its_session_loaded_before() {
    use tower_layer::Layer;

    let store = MemoryStore::default();
    let rig = Rig::new(|reactor| Sessions::new(reactor, store.clone()));
    rig.visit("/set?a=1");
    for early in [false, true] {
        let handler = ropewalk_web::handler_fn(|request: Request<Body>| {
            let session = Session::loaded(&request);
            let value: Option<String> = session.and_then(|session| session.get("a").unwrap());
            http::Response::new(Body::from(value.unwrap_or_default()))
        });
        let sessions = Sessions::new(rig.reactor.handle(), store.clone()).load_early(early);
        let answering = sessions.layer(handler).call(rig.request("/"));
        let task = rig.reactor.spawn(Box::pin(async move {
            let response = answering.await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let text = response.into_body().collect().await.unwrap();
            assert_eq!(&text[..], if early { "1" } else { "" }.as_bytes());
        }));
        rig.reactor.run();
        assert!(task.is_finished());
    }
}
