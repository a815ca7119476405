//! Ropewalk, by the contract of the peers: see `peers/README.md`.

mod datagrams;
mod tls;
mod websocket;

use std::num::NonZeroUsize;
use std::rc::Rc;

use bench_contract::{Arguments, HELLO, JSON_HEADERS, Order, announce, certificate, fail};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use ropewalk::endpoint::{ServerEndpoint, TlsCertificates, TlsListen};
use ropewalk::framing::{LineCodec, LineProtocol, LineReceiver, LineTransport};
use ropewalk::web::h1::Limits;
use ropewalk::web::{Body, FileService, Site, handler_fn};
use ropewalk::{Address, Factory, Failure, Protocol, Transport, Workers};

fn main() {
    let arguments = Arguments::parse(&[
        "echo",
        "lines",
        "hello",
        "json",
        "file",
        "datagrams",
        "tls",
        "tls-resumed",
        "websocket",
    ]);
    let served = match arguments.app.as_str() {
        "datagrams" => datagrams::serve(&arguments),
        _ => serve(&arguments),
    };
    if let Err(failure) = served {
        fail("cannot serve", failure);
    }
}

fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let (host, port) = (arguments.address.ip(), arguments.address.port());
    let mut endpoint: ServerEndpoint =
        format!("tcp:{port}:interface={host}:backlog=4096").parse()?;
    if arguments.app.starts_with("tls")
        && let ServerEndpoint::Tcp(tcp) = endpoint
    {
        let [chain, key] = certificate(&arguments.dir.clone().unwrap_or_default());
        endpoint = TlsListen::over(tcp, TlsCertificates::Files(chain, key)).into();
    }
    let workers = NonZeroUsize::new(arguments.workers).unwrap_or(NonZeroUsize::MIN);
    Workers::new(workers).run(|worker| {
        let port = worker.listen(&endpoint, factory(arguments)?)?;
        // The others are about to listen, and connections wait for them.
        if worker.index() + 1 == worker.count()
            && let Some(address) = port.address().socket_addr()
        {
            announce(address);
        }
        Ok(())
    })?;
    Ok(())
}

fn factory(arguments: &Arguments) -> Result<Rc<dyn Factory>, Failure> {
    // As many requests on a connection as the peers take.
    let mut limits = Limits::default();
    limits.requests_per_connection = u64::MAX;
    Ok(match arguments.app.as_str() {
        "echo" => Rc::new(|_: &Address| Echo),
        "lines" => Rc::new(|_: &Address| LineReceiver::with_codec(LineCodec::new(b"\n"), Lines)),
        "hello" => Rc::new(Site::with_limits(handler_fn(hello), limits)),
        "json" => Rc::new(Site::with_limits(handler_fn(json), limits)),
        "websocket" => Rc::new(Site::new(handler_fn(websocket::upgrade))),
        "tls" | "tls-resumed" => tls::factory(&arguments.dir.clone().unwrap_or_default()),
        _ => {
            let dir = arguments.dir.clone().unwrap_or_default();
            Rc::new(Site::with_limits(FileService::new(dir)?, limits))
        }
    })
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Sends back each line, with a write of its own.
struct Lines;

impl LineProtocol for Lines {
    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        transport.send_line(line);
    }
}

fn hello(request: Request<Body>) -> Response<Body> {
    if request.uri().path() != "/" {
        return not_found();
    }
    let mut response = Response::new(Body::from(HELLO));
    let plain = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

fn json(request: Request<Body>) -> Response<Body> {
    let order = Order::at(request.uri().path());
    let Some(body) = order.and_then(|order| serde_json::to_vec(&order).ok()) else {
        return not_found();
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.reserve(1 + JSON_HEADERS.len());
    let kind = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, kind);
    for (name, value) in JSON_HEADERS {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
