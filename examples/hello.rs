//! The smallest web server. `cargo run -p ropewalk-examples --example hello -- tcp:8000`
use std::rc::Rc;

use http::{Request, Response};
use ropewalk::web::{Body, Site, handler_fn};
use ropewalk::{Failure, Reactor};

fn main() -> Result<(), Failure> {
    let endpoint = std::env::args().nth(1).unwrap_or("tcp:8000".to_owned());
    let site = Site::new(handler_fn(|_: Request<Body>| {
        Response::new(Body::from("Hello, World!"))
    }));
    let reactor = Reactor::new()?;
    let port = reactor.listen(&endpoint.parse()?, Rc::new(site))?;
    println!("listening on {}", port.address());
    Ok(reactor.run()?)
}
