//! axum, by `axum::serve`, with a current-thread tokio runtime per worker.

use axum::extract::Path;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use bench_contract::{Arguments, HELLO, JSON_HEADERS, Order, listeners, thread_per_listener};
use std::convert::Infallible;
use std::io;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tower_http::services::ServeDir;

fn main() {
    let arguments = Arguments::parse(&["hello", "json", "file"]);
    let listeners = listeners(arguments.address, arguments.workers);
    let dir = arguments.dir.unwrap_or_default();
    let router = match arguments.app.as_str() {
        "hello" => Router::new().route("/", get(async || HELLO_ANSWER)),
        "json" => Router::new().route("/users/{user}/orders/{order}", get(order)),
        _ => Router::new().fallback_service(ServeDir::new(dir)),
    };
    thread_per_listener(listeners, move |listener| {
        Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?
            .block_on(serve(listener, router.clone()))
    })
}

async fn serve(listener: std::net::TcpListener, router: Router) -> io::Result<Infallible> {
    axum::serve(TcpListener::from_std(listener)?, router).await?;
    Err(io::Error::other("axum has stopped serving"))
}

const HELLO_ANSWER: ([(&str, &str); 1], &str) = ([("content-type", "text/plain")], HELLO);

async fn order(Path((user, order)): Path<(u64, u64)>) -> impl IntoResponse {
    (AppendHeaders(JSON_HEADERS), Json(Order::new(user, order)))
}
