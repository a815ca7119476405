//! hyper's HTTP/1.1 connection, with a current-thread tokio runtime per worker.

use bench_contract::{Arguments, HELLO, JSON_HEADERS, Order, listeners, thread_per_listener};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

type Answer = Result<Response<Full<Bytes>>, hyper::http::Error>;

fn main() {
    let arguments = Arguments::parse(&["hello", "json"]);
    let answer = if arguments.app == "hello" {
        hello
    } else {
        json
    };
    let listeners = listeners(arguments.address, arguments.workers);
    thread_per_listener(listeners, move |listener| {
        Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(serve(listener, answer))
    })
}

async fn serve(
    listener: std::net::TcpListener,
    answer: fn(&Request<Incoming>) -> Answer,
) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    // Without this each pipelined answer is sent by a system call of its own.
    let mut server = http1::Builder::new();
    server.pipeline_flush(true);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service_fn(move |request| async move { answer(&request) });
        tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
    }
}

fn hello(request: &Request<Incoming>) -> Answer {
    if request.uri().path() != "/" {
        return not_found();
    }
    Response::builder()
        .header(CONTENT_TYPE, "text/plain")
        .body(Full::new(Bytes::from_static(HELLO.as_bytes())))
}

fn json(request: &Request<Incoming>) -> Answer {
    let Some(body) =
        Order::at(request.uri().path()).and_then(|order| serde_json::to_vec(&order).ok())
    else {
        return not_found();
    };
    let mut response = Response::builder().header(CONTENT_TYPE, "application/json");
    for (name, value) in JSON_HEADERS {
        response = response.header(name, value);
    }
    response.body(Full::new(Bytes::from(body)))
}

fn not_found() -> Answer {
    Response::builder()
        .status(StatusCode::NOT_FOUND)
        .body(Full::default())
}
