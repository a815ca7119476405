//! All layers in one stack, in the order in which they are meant to stand.

use std::time::Duration;

use http::{Request, Response};
use ropewalk_web::middleware::{
    BodyLimitLayer, CacheLayer, CatchPanicLayer, CompressionLayer, ConcurrencyLimitLayer,
    CorsLayer, DecompressionLayer, EntityTagLayer, RateLimitLayer, RequestIdLayer,
    SecurityHeadersLayer, TimeoutLayer, TrustedProxiesLayer,
};
use ropewalk_web::{Body, FileService, handler_fn};
use tower::ServiceBuilder;

use crate::rig::{World, decode};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn all_layers_stand_in_one_stack() {
    let world = World::new(|reactor| {
        ServiceBuilder::new()
            .layer(TrustedProxiesLayer::forwarded(["192.0.2.0/24"
                .parse()
                .unwrap()]))
            .layer(RequestIdLayer::new("web1-"))
            .layer(CatchPanicLayer::new())
            .layer(SecurityHeadersLayer::new())
            .layer(CorsLayer::for_origins(["https://app.example.com"]))
            .layer(RateLimitLayer::new(reactor.clone(), 100, MINUTE))
            .layer(ConcurrencyLimitLayer::new(reactor.clone(), 100))
            .layer(TimeoutLayer::new(reactor.clone(), MINUTE))
            .layer(CompressionLayer::new())
            .layer(CacheLayer::new(reactor, 1 << 20))
            .layer(EntityTagLayer::new())
            .layer(BodyLimitLayer::new(1 << 20))
            .layer(DecompressionLayer::new(1 << 20))
            .service(handler_fn(|request: Request<Body>| {
                assert_ne!(request.uri().path(), "/panic");
                let answer = Response::builder()
                    .header("content-type", "text/html")
                    .header("cache-control", "max-age=60");
                answer.body(Body::from("<p>rope".repeat(100))).unwrap()
            }))
    });
    let lines = ["Origin: https://app.example.com", "Accept-Encoding: gzip"];
    for number in 0..2 {
        let answer = world.get("/", &lines);
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("x-request-id"),
            Some(&*format!("web1-{number}"))
        );
        assert_eq!(answer.header("x-frame-options"), Some("SAMEORIGIN"));
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example.com")
        );
        assert!(answer.header("etag").unwrap().starts_with("W/"));
        assert_eq!(answer.header("age"), (number == 1).then_some("0"));
        assert_eq!(
            decode(answer.header("content-encoding"), &answer.body).len(),
            700
        );
    }
    let answer = world.get("/panic", &lines);
    assert_eq!(
        (answer.status, answer.header("x-request-id")),
        (500, Some("web1-2"))
    );
}

#[test]
fn over_a_service_that_is_ready_the_whole_stack_is_ready_at_the_first_poll() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    use tower_service::Service;

    let reactor = ropewalk_core::testing::MemoryReactor::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "rope ".repeat(100)).unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RequestIdLayer::new("n"))
        .layer(CatchPanicLayer::new())
        .layer(ConcurrencyLimitLayer::new(reactor.handle(), 1))
        .layer(TimeoutLayer::new(reactor.handle(), MINUTE))
        .layer(CompressionLayer::new())
        .layer(CacheLayer::new(reactor.handle(), 1 << 20))
        .service(FileService::new(folder.path()).unwrap());
    let request = Request::get("/a.txt").header("accept-encoding", "br");
    let mut answer = Box::pin(service.call(request.body(Body::empty()).unwrap()));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(answer)) = answer.as_mut().poll(&mut cx) else {
        panic!("it waits for nothing")
    };
    assert_eq!(answer.headers()["content-encoding"], "br");
}
