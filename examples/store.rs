//! A store over HTTP: PUT keeps what it is sent under its path, GET gives it back, DELETE forgets it.
//! `cargo run --example store -- tcp:8000`, and then
//! `curl --upload-file README.md http://127.0.0.1:8000/readme`.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use ropewalk::web::{Body, BoxError, Site};
use ropewalk::{Failure, Reactor};
use tower_service::Service;

/// The longest thing that is kept.
const LONGEST: u64 = 64 * 1024 * 1024;

/// All that is kept, by path. A clone is another handle to it.
#[derive(Clone, Default)]
struct Store(Rc<RefCell<BTreeMap<String, Bytes>>>);

impl Store {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (head, mut body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let mut response = Response::new(Body::empty());
        match head.method {
            Method::GET | Method::HEAD => match self.0.borrow().get(&path) {
                Some(kept) => *response.body_mut() = Body::from(kept.clone()),
                None => *response.status_mut() = StatusCode::NOT_FOUND,
            },
            Method::PUT | Method::POST => {
                // A body is asked for only here: who waits for `100 Continue` may be refused before.
                body.set_limit(LONGEST);
                let sent = body.collect().await?;
                *response.body_mut() = Body::from(format!("{} bytes\n", sent.len()));
                if self.0.borrow_mut().insert(path, sent).is_none() {
                    *response.status_mut() = StatusCode::CREATED;
                }
            }
            Method::DELETE => {
                let forgotten = self.0.borrow_mut().remove(&path).is_some();
                *response.status_mut() = match forgotten {
                    true => StatusCode::NO_CONTENT,
                    false => StatusCode::NOT_FOUND,
                };
            }
            _ => *response.status_mut() = StatusCode::NOT_IMPLEMENTED,
        }
        Ok(response)
    }
}

impl Service<Request<Body>> for Store {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

fn main() -> Result<(), Failure> {
    let endpoint = std::env::args().nth(1).unwrap_or("tcp:8000".to_owned());
    let reactor = Reactor::new()?;
    let port = reactor.listen(&endpoint.parse()?, Rc::new(Site::new(Store::default())))?;
    println!("listening on {}", port.address());
    Ok(reactor.run()?)
}
