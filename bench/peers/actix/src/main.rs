//! actix-web: one thread accepts, and hands connections to workers with a current-thread runtime each.

use actix_files::Files;
use actix_web::dev::Server;
use actix_web::http::KeepAlive;
use actix_web::web::{Path, get};
use actix_web::{App, HttpResponse, HttpServer};
use bench_contract::{
    Arguments, HELLO, JSON_HEADERS, KEEP_ALIVE_SECONDS, Order, announce, fail, listener,
    local_address,
};
use std::io;
use std::time::Duration;

#[actix_web::main]
async fn main() {
    let arguments = Arguments::parse(&["hello", "json", "file"]);
    match server(&arguments) {
        Ok(server) => server
            .await
            .unwrap_or_else(|error| fail("cannot serve", error)),
        Err(error) => fail("cannot start", error),
    }
}

fn server(arguments: &Arguments) -> io::Result<Server> {
    let listener = listener(arguments.address);
    let address = local_address(&listener);
    let app = arguments.app.clone();
    let dir = arguments.dir.clone().unwrap_or_default();
    let server = HttpServer::new(move || match app.as_str() {
        "hello" => App::new().route("/", get().to(hello)),
        "json" => App::new().route("/users/{user}/orders/{order}", get().to(order)),
        _ => App::new().service(Files::new("/", dir.clone())),
    })
    .workers(arguments.workers)
    .tcp_nodelay(true)
    .keep_alive(KeepAlive::Timeout(Duration::from_secs(u64::from(
        KEEP_ALIVE_SECONDS,
    ))))
    // SIGTERM is to end it at once.
    .disable_signals()
    .listen(listener)?;
    announce(address);
    Ok(server.run())
}

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body(HELLO)
}

async fn order(path: Path<(u64, u64)>) -> HttpResponse {
    let (user, order) = path.into_inner();
    let mut response = HttpResponse::Ok();
    for header in JSON_HEADERS {
        response.insert_header(header);
    }
    response.json(Order::new(user, order))
}
