//! Sends back each WebSocket message, at `/`, of up to 16 MiB, compressed where the client wants it.
//! `cargo run -p ropewalk-examples --example websocket_echo -- --listen tcp:8000`, or
//! `--listen tls:8443:certificate=site.pem:key=site.key`
use std::rc::Rc;

use http::{Request, Response, StatusCode};
use ropewalk::web::websocket::{self, Deflate, Limits, Options, OriginPolicy};
use ropewalk::web::{Body, Site, handler_fn};
use ropewalk::{Failure, Reactor};

/// What comes is sent back as it came; while the client does not read, nothing more comes.
struct Echo;

impl websocket::WebSocketProtocol for Echo {
    fn text_message_received(&mut self, socket: &websocket::WebSocket, text: String) {
        socket.send(text);
    }

    fn bytes_message_received(&mut self, socket: &websocket::WebSocket, data: bytes::Bytes) {
        socket.send(data);
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => "tcp:8000".to_owned(),
        (Some("--listen"), Some(endpoint)) => endpoint,
        _ => return Err(Failure::msg("usage: websocket_echo [--listen ENDPOINT]")),
    };

    let options = Options {
        limits: Limits {
            message: 16 * 1024 * 1024,
            frame: 17 * 1024 * 1024,
            ..Limits::default()
        },
        deflate: Some(Deflate::default()),
        // An echo gives nothing away to the pages of others.
        origins: OriginPolicy::Any,
        ..Options::default()
    };
    let site = Site::new(handler_fn(move |request: Request<Body>| {
        if request.uri().path() != "/" {
            let mut nothing = Response::new(Body::from("there is an echo at /\n"));
            *nothing.status_mut() = StatusCode::NOT_FOUND;
            return nothing;
        }
        websocket::upgrade(&request, &options, Echo)
    }));

    let reactor = Reactor::new()?;
    let port = reactor.listen(&endpoint.parse()?, Rc::new(site))?;
    println!("listening on {}", port.address());
    Ok(reactor.run()?)
}
