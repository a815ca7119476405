//! `may_minihttp`: a stackful coroutine per connection. Its answers to what is pipelined are written
//! together.

use bench_contract::{Arguments, HELLO, Order, announce, fail, listener, local_address};
use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};
use socket2::SockRef;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

fn main() {
    let arguments = Arguments::parse(&["hello", "json"]);
    may::config().set_workers(arguments.workers);
    // It can neither be given a listener nor say which port it got, so a listener of ours finds a
    // free one. It shares the port (SO_REUSEPORT), and is closed before anyone connects.
    let reserved = listener(arguments.address);
    let address = local_address(&reserved);
    let server = match arguments.app.as_str() {
        "hello" => Factory(Hello).start(address),
        _ => Factory(Json).start(address),
    };
    let server = server.unwrap_or_else(|error| fail(&format!("cannot listen on {address}"), error));
    drop(reserved);
    announce(address);
    if server.join().is_err() {
        fail("cannot serve", "the accepting coroutine has panicked");
    }
}

struct Factory<S>(S);

impl<S: HttpService + Clone + Send + 'static> HttpServiceFactory for Factory<S> {
    type Service = S;

    fn new_service(&self, id: usize) -> S {
        let descriptor = id as RawFd;
        // SAFETY: the id is the descriptor of the connection, which the caller holds open.
        let stream = unsafe { BorrowedFd::borrow_raw(descriptor) };
        if let Err(error) = SockRef::from(&stream).set_tcp_nodelay(true) {
            eprintln!("cannot set TCP_NODELAY: {error}");
        }
        self.0.clone()
    }
}

#[derive(Clone)]
struct Hello;

impl HttpService for Hello {
    fn call(
        &mut self,
        request: Request<'_, '_, '_>,
        response: &mut Response<'_>,
    ) -> io::Result<()> {
        if request.path() == "/" {
            response.header("content-type: text/plain").body(HELLO);
        } else {
            response.status_code(404, "Not Found");
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Json;

impl HttpService for Json {
    fn call(
        &mut self,
        request: Request<'_, '_, '_>,
        response: &mut Response<'_>,
    ) -> io::Result<()> {
        let Some(order) = Order::at(request.path()) else {
            response.status_code(404, "Not Found");
            return Ok(());
        };
        response
            .header("content-type: application/json")
            .header("cache-control: no-store")
            .header("x-request-id: 0123456789abcdef")
            .header("x-content-type-options: nosniff")
            .header("x-frame-options: DENY")
            .header("vary: accept")
            .body_vec(serde_json::to_vec(&order)?);
        Ok(())
    }
}
