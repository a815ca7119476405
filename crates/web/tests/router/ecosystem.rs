//! Services and layers of others, within ours and around them.

use http::{HeaderValue, header};
use ropewalk_web::extract::Json;
use ropewalk_web::router::{Router, any_service, get, post};
use ropewalk_web::{Body, RequestInfo, Resource, VirtualHosts};
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use tower_layer::Layer;

use crate::rig::ask;

fn of_axum() -> axum::Router {
    async fn double(axum::Json(number): axum::Json<u32>) -> axum::Json<u32> {
        axum::Json(number * 2)
    }
    axum::Router::new()
        .route("/", axum::routing::get(|| async { "axum" }))
        .route("/double", axum::routing::post(double))
        .route(
            "/{name}",
            axum::routing::get(|path: axum::extract::Path<String>| async move { path.0 }),
        )
}

#[test]
fn a_router_of_axum_is_nested_in_ours() {
    let router = Router::builder()
        .route("/", get(|| "ours"))
        .nest("/theirs", of_axum())
        .build()
        .unwrap();
    assert_eq!(ask(&router, "GET /").body, "ours");
    assert_eq!(ask(&router, "GET /theirs").body, "axum");
    assert_eq!(ask(&router, "GET /theirs/a%20b").body, "a b");
    let request = "POST /theirs/double\ncontent-type: application/json\n\n21";
    assert_eq!(ask(&router, request).body, "42");
    assert_eq!(ask(&router, "GET /theirs/double").status, 405);
    assert_eq!(ask(&router, "GET /theirs/a/b").status, 404);
}

#[test]
fn a_router_of_axum_stands_alone_in_a_tree_and_behind_a_host() {
    assert_eq!(ask(&of_axum(), "GET /tea").body, "tea");
    let tree = Resource::new().mount("a", of_axum());
    assert_eq!(ask(&tree, "GET /a/tea").body, "tea");
    let hosts = VirtualHosts::new().host("example.com", of_axum());
    assert_eq!(ask(&hosts, "GET /tea").body, "tea");
}

#[test]
fn layers_of_tower_http_stand_around_ours() {
    let big = "tea ".repeat(1000);
    let deny = SetResponseHeaderLayer::overriding(
        header::X_FRAME_OPTIONS,
        HeaderValue::from_static("DENY"),
    );
    let router = Router::builder()
        .route("/", get(move || big.clone()))
        .route("/json", post(|Json(number): Json<u32>| number.to_string()))
        .route(
            "/peer",
            get(|info: Option<RequestInfo>| format!("{}", info.is_some())),
        )
        .build()
        .unwrap()
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(deny)
        .layer(TraceLayer::new_for_http());
    let reply = ask(
        &router,
        "GET /\naccept-encoding: gzip\norigin: http://example.com",
    );
    assert_eq!(reply.header("content-encoding"), "gzip");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("x-frame-options"), "DENY");
    assert!(reply.body.len() < 1000);
    assert_eq!(
        ask(&router, "POST /json\ncontent-type: application/json\n\n7").body,
        "7"
    );
    assert_eq!(
        ask(&router, "GET /nowhere").header("x-frame-options"),
        "DENY"
    );
    assert_eq!(ask(&router, "GET /peer").body, "true");
    let preflight = ask(
        &router,
        "OPTIONS /json\norigin: http://example.com\naccess-control-request-method: POST",
    );
    assert_eq!(
        (
            preflight.status,
            preflight.header("access-control-allow-methods")
        ),
        (200, "*")
    );
}

#[test]
fn a_layer_stands_around_one_route() {
    let stamp = SetResponseHeaderLayer::overriding(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    let router = Router::builder()
        .route("/fresh", get(|| "fresh").layer(stamp))
        .route("/other", get(|| "other"))
        .build()
        .unwrap();
    assert_eq!(
        ask(&router, "GET /fresh").header("cache-control"),
        "no-store"
    );
    assert_eq!(ask(&router, "GET /other").header("cache-control"), "");
}

#[test]
fn a_stack_of_layers_and_services_of_tower_is_a_service() {
    let inner = tower::service_fn(|_: http::Request<Body>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(Body::from("inner")))
    });
    let stack = ServiceBuilder::new()
        .layer(SetResponseHeaderLayer::overriding(
            header::SERVER,
            HeaderValue::from_static("tea"),
        ))
        .service(inner);
    let router = Router::builder()
        .route("/", any_service(stack))
        .build()
        .unwrap();
    assert_eq!(ask(&router, "GET /").header("server"), "tea");
    let around = CorsLayer::permissive().layer(router);
    assert_eq!(ask(&around, "GET /").body, "inner");
}

#[test]
fn a_layer_that_changes_the_body_of_requests_works() {
    let router = Router::builder()
        .route("/", post(|body: String| body))
        .build()
        .unwrap();
    let limited = tower::util::MapRequest::new(router, |request: http::Request<Body>| {
        request.map(axum::body::Body::new)
    });
    assert_eq!(ask(&limited, "POST /\n\ntea").body, "tea");
}
