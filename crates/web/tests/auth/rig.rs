//! A service behind a layer, on a reactor in memory.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;

use http::{HeaderMap, Request, Response, StatusCode};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, ReactorCore};
use ropewalk_web::auth::{Authenticated, HttpAuth, HttpAuthService};
use ropewalk_web::credentials::{AvatarId, Credentials, CredentialsChecker, LoginError};
use ropewalk_web::{AccessLogFields, Body, HandlerFn, RequestInfo, handler_fn};
use tower_layer::Layer;
use tower_service::Service;

type Greeter = HandlerFn<fn(Request<Body>) -> Response<Body>>;

/// Says who asks.
#[expect(clippy::needless_pass_by_value, reason = "as handlers have it")]
pub(crate) fn greet(request: Request<Body>) -> Response<Body> {
    let user = Authenticated::of(&request);
    let user = user.map_or("nobody".to_owned(), |user| {
        format!("{} by {}", user.user(), user.scheme())
    });
    Response::new(Body::from(user))
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Who is in the access log.
    pub(crate) user: Option<String>,
}

impl Answer {
    pub(crate) fn challenges(&self) -> Vec<&str> {
        let all = self.headers.get_all("www-authenticate").iter();
        all.map(|challenge| challenge.to_str().unwrap()).collect()
    }
}

pub(crate) struct Rig {
    pub(crate) reactor: MemoryReactor,
    service: RefCell<HttpAuthService<Greeter>>,
}

impl Rig {
    pub(crate) fn new(auth: impl FnOnce(Rc<dyn ReactorCore>) -> HttpAuth) -> Self {
        let reactor = MemoryReactor::new();
        let service = auth(reactor.handle()).layer(handler_fn(greet as fn(_) -> _));
        Self {
            reactor,
            service: RefCell::new(service),
        }
    }

    pub(crate) fn service(&self) -> HttpAuthService<Greeter> {
        self.service.borrow().clone()
    }

    pub(crate) fn ask(&self, authorization: Option<&str>) -> Answer {
        let mut request = Request::get("/dir/index.html");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        self.send(request.body(Body::empty()).unwrap())
    }

    pub(crate) fn send(&self, request: Request<Body>) -> Answer {
        self.send_to(&mut *self.service.borrow_mut(), request)
    }

    /// What a service answers in which that of the rig is, or a clone of it.
    pub(crate) fn send_to<S>(&self, service: &mut S, mut request: Request<Body>) -> Answer
    where
        S: Service<Request<Body>, Response = Response<Body>, Error: Debug, Future: 'static>,
    {
        let peer = Address::Tcp("192.0.2.7:4711".parse().unwrap());
        let now = self.reactor.handle().now();
        request
            .extensions_mut()
            .insert(RequestInfo::new(peer.clone(), peer, now));
        let answering = service.call(request);
        let answered: Rc<RefCell<Option<Answer>>> = Rc::default();
        let answer = Rc::clone(&answered);
        self.reactor.handle().spawn(Box::pin(async move {
            let (parts, body) = answering.await.unwrap().into_parts();
            let text = body.collect().await.unwrap();
            *answer.borrow_mut() = Some(Answer {
                status: parts.status,
                user: parts
                    .extensions
                    .get()
                    .and_then(|fields: &AccessLogFields| fields.user.clone()),
                headers: parts.headers,
                text: String::from_utf8(text.to_vec()).unwrap(),
            });
        }));
        self.reactor.run();
        answered.take().expect("it is answered")
    }
}

/// What `checker` says, when it has said it.
pub(crate) fn check(
    reactor: &MemoryReactor,
    checker: &impl CredentialsChecker,
    credentials: &Credentials,
    from: &str,
) -> Result<AvatarId, LoginError> {
    let from = Address::Tcp(from.parse().unwrap());
    let checking = checker.request_avatar_id(credentials, &from);
    let checked = Rc::new(RefCell::new(None));
    let check = Rc::clone(&checked);
    reactor.handle().spawn(Box::pin(async move {
        let outcome = checking.await;
        *check.borrow_mut() = Some(outcome);
    }));
    reactor.run();
    checked.take().expect("it is checked")
}
