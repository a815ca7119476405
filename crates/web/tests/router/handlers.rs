//! Functions as handlers.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use http::{Method, Request, StatusCode, Uri};
use ropewalk_core::testing::StringTransport;
use ropewalk_core::{Address, Factory};
use ropewalk_web::answer::Rejection;
use ropewalk_web::extract::{Json, Path};
use ropewalk_web::router::{Router, get, post, with_state};
use ropewalk_web::{Body, BoxError, Site};

use crate::rig::{Client, ask, wire};

async fn nothing() -> &'static str {
    "nothing"
}

fn eight(
    Path(a): Path<u8>,
    method: Method,
    uri: Uri,
    _: http::HeaderMap,
    _: Option<Path<u8>>,
    _: Method,
    _: http::Version,
    body: String,
) -> String {
    format!("{a} {method} {uri} {body}")
}

fn sync_head(
    _: Method,
    _: Method,
    _: Method,
    _: Method,
    _: Method,
    _: Method,
    _: Method,
    method: Method,
) -> String {
    method.to_string()
}

type Count = Rc<Cell<u32>>;

async fn counted(count: Count, Path(by): Path<u32>) -> String {
    count.set(count.get() + by);
    count.get().to_string()
}

fn counted_with_body(count: Count, method: Method, Json(by): Json<u32>) -> String {
    count.set(count.get() + by);
    format!("{method} {}", count.get())
}

#[test]
fn functions_of_all_kinds_are_handlers() {
    let count = Count::default();
    let captured = Rc::clone(&count);
    let router = Router::builder()
        .route("/async", get(nothing))
        .route("/closure", get(|| async { StatusCode::ACCEPTED }))
        .route("/eight/{a}", post(eight))
        .route("/head", get(sync_head))
        .route("/captured", get(move || captured.get().to_string()))
        .route(
            "/count/{by}",
            get(with_state(&count, counted)).post(with_state(&count, counted_with_body)),
        )
        .build()
        .unwrap();
    for (request, body) in [
        ("GET /async", "nothing"),
        ("GET /closure", ""),
        ("POST /eight/7\n\nx", "7 POST /eight/7 x"),
        ("GET /head", "GET"),
        ("GET /count/3", "3"),
        (
            "POST /count/0\ncontent-type: application/json\n\n4",
            "POST 7",
        ),
        ("GET /captured", "7"),
    ] {
        assert_eq!(ask(&router, request).body, body, "{request}");
    }
}

#[test]
fn what_is_ready_needs_no_poll() {
    let router = Router::builder()
        .route(
            "/{id}",
            get(|Path(id): Path<u8>| id.to_string()).post(|body: String| body),
        )
        .build()
        .unwrap();
    let answer = router.answer(Request::get("/5").body(Body::empty()).unwrap());
    assert!(answer.into_ready().is_ok());
    let answer = router.answer(Request::get("/x").body(Body::empty()).unwrap());
    assert!(answer.into_ready().is_ok());
    let answer = router.answer(Request::post("/5").body(Body::from("x")).unwrap());
    let mut future = answer.into_ready().err().unwrap();
    let polled = future
        .as_mut()
        .poll(&mut std::task::Context::from_waker(Waker::noop()));
    assert!(polled.is_ready());
}

#[test]
fn a_handler_may_wait_and_need_not_be_send() {
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let ready = Rc::new(Cell::new(false));
    let (keep, go) = (Rc::clone(&waker), Rc::clone(&ready));
    let slow = move || {
        let (keep, go) = (Rc::clone(&keep), Rc::clone(&go));
        async move {
            poll_fn(|cx| {
                *keep.borrow_mut() = Some(cx.waker().clone());
                if go.get() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            "at last"
        }
    };
    let router = Router::builder().route("/", get(slow)).build().unwrap();
    let client = Client::new(router);
    assert_eq!(client.send(wire("GET /")).received(), "");
    ready.set(true);
    waker.take().unwrap().wake();
    client.reactor.run();
    assert_eq!(client.reply().body, "at last");
}

#[test]
fn errors_of_handlers_are_answers() {
    fn fails() -> Result<String, BoxError> {
        Ok(String::from_utf8(vec![0xff])?)
    }
    async fn refuses() -> Result<String, BoxError> {
        Err(Rejection::new(StatusCode::CONFLICT, "not now"))?
    }
    let router = Router::builder()
        .route("/fails", get(fails))
        .route("/refuses", get(refuses));
    let router = router.build().unwrap();
    let reply = ask(&router, "GET /fails");
    assert_eq!(
        (reply.status, &*reply.body),
        (500, "the server failed to answer; its log says why\n")
    );
    let reply = ask(&router, "GET /refuses");
    assert_eq!((reply.status, &*reply.body), (409, "not now\n"));
}

#[test]
fn a_plain_function_behind_three_routers_answers_within_the_read_that_brought_its_request() {
    let inner = Router::builder().route("/{id}", get(|Path(id): Path<u8>| id.to_string()));
    let middle = Router::builder()
        .nest("/b", inner.build().unwrap())
        .build()
        .unwrap();
    let outer = Router::builder().nest("/a", middle).build().unwrap();
    let mut connection = Site::new(outer)
        .build_protocol(&Address::Unix(None))
        .unwrap();
    let mut transport = StringTransport::new();
    connection.data_received(&mut transport, wire("GET /a/b/7").as_bytes());
    assert!(transport.value().ends_with(b"\r\n\r\n7"));
}
