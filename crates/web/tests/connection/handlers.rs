use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use ropewalk_core::{Factory, Failure};
use ropewalk_web::{Body, BodyError, BoxError, Site, handler_fn};
use tower_service::Service;

use super::rig::*;

/// A service that answers when it is told to.
#[derive(Clone, Default)]
struct Slow(Rc<SlowState>);

#[derive(Default)]
struct SlowState {
    ready: Cell<bool>,
    unready: Cell<bool>,
    calls: Cell<u32>,
    dropped: Cell<u32>,
    body_error: RefCell<Option<BodyError>>,
    wakers: RefCell<Vec<Waker>>,
}

impl Slow {
    fn site(&self) -> Rc<dyn Factory> {
        Rc::new(Site::new(self.clone()))
    }

    fn go(&self) {
        self.0.ready.set(true);
        self.0.unready.set(false);
        for waker in self.0.wakers.take() {
            waker.wake();
        }
    }
}

struct CountDrop(Rc<SlowState>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.dropped.set(self.0.dropped.get() + 1);
    }
}

impl Service<Request<Body>> for Slow {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.0.unready.get() {
            self.0.wakers.borrow_mut().push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let state = Rc::clone(&self.0);
        state.calls.set(state.calls.get() + 1);
        Box::pin(async move {
            let _counted = CountDrop(Rc::clone(&state));
            let path = request.uri().path().to_owned();
            if path == "/read" {
                let read = request.into_body().collect().await;
                let error = read.unwrap_err().downcast::<BodyError>().unwrap();
                *state.body_error.borrow_mut() = Some(*error);
            }
            std::future::poll_fn(|cx| {
                if state.ready.get() {
                    return Poll::Ready(());
                }
                state.wakers.borrow_mut().push(cx.waker().clone());
                Poll::Pending
            })
            .await;
            Ok(Response::new(Body::from(path)))
        })
    }
}

#[test]
fn an_answer_may_come_later_and_those_behind_it_wait() {
    let slow = Slow::default();
    let client = Client::new(slow.site());
    client.send(get("/one") + &get("/two"));
    assert_eq!(client.received(), "");
    assert_eq!(slow.0.calls.get(), 1);
    slow.go();
    client.reactor.run();
    let seen = client.received();
    assert_eq!(statuses(&seen), ["200", "200"]);
    assert!(seen.find("/one").unwrap() < seen.find("/two").unwrap());
}

#[test]
fn a_service_that_is_not_ready_is_called_when_it_is() {
    let slow = Slow::default();
    slow.0.unready.set(true);
    let client = Client::new(slow.site());
    client.send(get("/"));
    assert_eq!(slow.0.calls.get(), 0);
    slow.go();
    client.reactor.run();
    assert_eq!(statuses(&client.received()), ["200"]);
}

#[test]
fn when_the_peer_goes_away_its_handler_is_dropped_quietly() {
    let slow = Slow::default();
    let client = Client::new(slow.site());
    client.send(get("/"));
    assert_eq!(slow.0.dropped.get(), 0);
    client.connection.lose_connection();
    client.reactor.run();
    assert_eq!(slow.0.dropped.get(), 1);
    assert_eq!(client.reactor.connections(), 0);
}

#[test]
fn a_reset_drops_the_handler_too() {
    let slow = Slow::default();
    let client = Client::new(slow.site());
    client.send(get("/"));
    client.connection.abort_connection();
    client.reactor.run();
    assert_eq!(slow.0.dropped.get(), 1);
}

#[test]
fn the_rest_of_a_body_that_never_comes_is_an_error_for_its_reader() {
    let slow = Slow::default();
    let client = Client::new(slow.site());
    client.send("POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    client.advance(Duration::from_secs(60));
    assert_eq!(statuses(&client.received()), ["408"]);
    assert_eq!(slow.0.dropped.get(), 1);
    assert!(client.is_closed());
}

#[test]
fn an_error_of_a_handler_is_500_and_says_nothing_of_itself() {
    #[derive(Clone)]
    struct Failing(fn() -> BoxError);
    impl Service<Request<Body>> for Failing {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Response<Body>, BoxError>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::ready(Err(self.0()))
        }
    }
    let errors: [fn() -> BoxError; 2] = [
        || Failure::msg("the secret is 42").into(),
        // Not of this request's body: it has none.
        || BodyError::Disconnected.into(),
    ];
    for error in errors {
        let client = Client::new(Rc::new(Site::new(Failing(error))));
        client.send(get("/"));
        let seen = client.received();
        assert_eq!(statuses(&seen), ["500"]);
        assert!(!seen.contains("42"), "{seen}");
    }
}

#[test]
fn a_handler_that_panics_when_it_is_dropped_ends_its_connection() {
    /// Answers when it is polled for the second time.
    #[derive(Clone, Default)]
    struct Late(bool);
    impl Future for Late {
        type Output = Result<Response<Body>, BoxError>;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(Ok(Response::new(Body::empty())));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
    impl Drop for Late {
        fn drop(&mut self) {
            assert!(!self.0, "as a bug would");
        }
    }
    impl Service<Request<Body>> for Late {
        type Response = Response<Body>;
        type Error = BoxError;
        type Future = Self;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Body>) -> Self {
            Self::default()
        }
    }
    let client = Client::new(Rc::new(Site::new(Late::default())));
    client.send(get("/"));
    assert!(client.lost().is_some());
}

#[test]
fn a_panic_in_a_handler_ends_its_connection_and_no_other() {
    let site: Rc<dyn Factory> = Rc::new(Site::new(handler_fn(|request: Request<Body>| {
        assert_ne!(request.uri().path(), "/panic", "as a bug would");
        Response::new(Body::from("fine"))
    })));
    let client = Client::new(Rc::clone(&site));
    client.send(get("/panic"));
    assert!(client.lost().is_some());
    let client = Client::new(site);
    client.send(get("/"));
    assert!(client.received().ends_with("fine"));
}

#[test]
fn any_body_of_the_ecosystem_can_be_an_answer() {
    struct Empty;
    impl http_body::Body for Empty {
        type Data = bytes::Bytes;
        type Error = Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
            Poll::Ready(None)
        }
        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(0)
        }
    }
    let client = Client::new(Rc::new(Site::new(handler_fn(|_: Request<Body>| {
        Response::new(Empty)
    }))));
    client.send(get("/"));
    assert!(client.received().contains("content-length: 0\r\n"));
    assert!(!client.is_closed());
}

#[test]
fn a_head_that_began_behind_a_slow_answer_has_its_time_too() {
    let slow = Slow::default();
    let client = Client::new(slow.site());
    client.send(get("/one") + "GET /two HT");
    client.advance(Duration::from_secs(100));
    slow.go();
    client.reactor.run();
    assert_eq!(statuses(&client.received()), ["200"]);
    client.advance(Duration::from_secs(9));
    assert_eq!(client.received(), "");
    client.advance(Duration::from_secs(1));
    assert_eq!(statuses(&client.received()), ["408"]);
    assert!(client.is_closed());
}

#[test]
fn a_body_that_its_handler_drops_is_read_on_while_the_handler_works() {
    let (full, done) = (Signal::default(), Signal::default());
    let signals = (full.clone(), done.clone());
    let client = Client::new(site_async(move |request| {
        let (full, done) = signals.clone();
        async move {
            full.wait().await;
            drop(request);
            done.wait().await;
            Ok(Response::new(Body::from("done")))
        }
    }));
    client.reactor.set_window(1000);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    client.send(vec![b'x'; 300_000]);
    assert_ne!(client.connection.unsent(), Some(0));
    full.give();
    client.reactor.run();
    assert_eq!(client.connection.unsent(), Some(0));
    done.give();
    client.reactor.run();
    assert!(client.received().ends_with("done"));
}

#[test]
fn a_handler_that_is_woken_for_other_reasons_gives_a_body_no_more_time() {
    let tick = Signal::default();
    let ticking = tick.clone();
    let client = Client::new(site_async(move |request| {
        let tick = ticking.clone();
        let mut read = Box::pin(request.into_body().collect());
        std::future::poll_fn(move |cx| {
            let _ = tick.poll(cx);
            read.as_mut()
                .poll(cx)
                .map_ok(|_| Response::new(Body::empty()))
        })
    }));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    for _ in 0..2 {
        client.advance(Duration::from_secs(30));
        tick.wake();
        client.reactor.run();
    }
    assert_eq!(statuses(&client.received()), ["408"]);
}
