//! Functions as handlers.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::{Method, Request, StatusCode, Uri};
use ropewalk_core::testing::StringTransport;
use ropewalk_core::{Address, Factory};
use ropewalk_web::answer::{IntoResponse, Rejection};
use ropewalk_web::extract::{Json, Path};
use ropewalk_web::router::{Router, get, post, websocket, with_state};
use ropewalk_web::{Body, BoxError, Site};
use tower_service::Service;

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
        .poll(&mut Context::from_waker(Waker::noop()));
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

#[test]
fn a_rejection_that_a_handler_gives_comes_in_the_form_that_was_asked_for() {
    let rejection = || Rejection::new(StatusCode::CONFLICT, "there is a newer one");
    let changed = move || {
        let mut response = rejection().into_response();
        *response.body_mut() = Body::from("my own words");
        response
    };
    let router = Router::builder()
        .route("/", get(move || Err::<(), _>(rejection())))
        .route("/later", get(move || async move { rejection() }))
        .route("/changed", get(changed));
    let router = router.build().unwrap();
    for path in ["/", "/later"] {
        let reply = ask(&router, &format!("GET {path}"));
        assert_eq!(
            (reply.status, &*reply.body),
            (409, "there is a newer one\n")
        );
        let reply = ask(&router, &format!("GET {path}\naccept: application/json"));
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(problem["detail"], "there is a newer one");
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    }
    let reply = ask(&router, "GET /changed\naccept: application/json");
    assert_eq!(&*reply.body, "my own words");
}

#[test]
fn a_route_for_websockets_answers_get_and_connect() {
    let router = Router::builder().route("/talk", websocket(|method: Method| method.to_string()));
    let mut router = router.build().unwrap();
    for method in [Method::GET, Method::CONNECT] {
        let request = Request::builder().method(&method).uri("/talk");
        let mut answer = std::pin::pin!(router.call(request.body(Body::empty()).unwrap()));
        let polled = answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Ok(answer)) = polled else {
            panic!("it was not answered at once");
        };
        assert_eq!(answer.body().len(), Some(method.as_str().len() as u64));
    }
    assert_eq!(ask(&router, "POST /talk").status, 405);
}
