//! A service whose requests have sessions, on a reactor in memory, and a browser that keeps its cookie.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, ReactorCore};
use ropewalk_web::session::{Session, SessionService, Sessions};
use ropewalk_web::{Body, BoxError, RequestInfo};
use tower_layer::Layer;
use tower_service::Service;

/// What a client got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) set_cookie: Option<String>,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

/// Answers by the path of the request, with its query as the argument.
#[derive(Clone)]
pub(crate) struct Handler;

impl Service<Request<Body>> for Handler {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(answer(request))
    }
}

async fn answer(request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let path = request.uri().path().to_owned();
    if path == "/static" {
        return Ok(Response::new(Body::from("static")));
    }
    let argument = request.uri().query().unwrap_or_default().to_owned();
    let session = Session::load(&request).await?;
    let shown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let text = match &path[..] {
        "/get" => shown(session.get(&argument)?),
        "/take" => shown(session.take(&argument)?),
        "/set" => {
            let (name, value) = argument.split_once('=').unwrap();
            match session.insert(name, value) {
                Ok(()) => "set".to_owned(),
                Err(error) => error.to_string(),
            }
        }
        "/remove" => session.remove(&argument)?.to_string(),
        "/rotate" => format!("{:?}", session.rotate()),
        "/destroy" => format!("{:?}", session.destroy()),
        "/replace" => {
            session.destroy()?;
            session.insert("replaced", &true)?;
            "replaced".to_owned()
        }
        "/look" => format!("new={} empty={}", session.is_new(), session.is_empty()),
        other => panic!("{other}"),
    };
    Ok(Response::new(Body::from(text)))
}

/// A browser, and the server that it talks to.
pub(crate) struct Rig {
    pub(crate) reactor: MemoryReactor,
    pub(crate) service: RefCell<SessionService<Handler>>,
    /// Name and value.
    pub(crate) cookie: RefCell<Option<(String, String)>>,
    pub(crate) https: bool,
}

impl Rig {
    pub(crate) fn new(sessions: impl FnOnce(Rc<dyn ReactorCore>) -> Sessions) -> Self {
        Self::on(MemoryReactor::new(), sessions)
    }

    pub(crate) fn on(
        reactor: MemoryReactor,
        sessions: impl FnOnce(Rc<dyn ReactorCore>) -> Sessions,
    ) -> Self {
        let service = sessions(reactor.handle()).layer(Handler);
        Self {
            reactor,
            service: RefCell::new(service),
            cookie: RefCell::default(),
            https: false,
        }
    }

    /// Another browser of the same server.
    pub(crate) fn other(&self) -> Self {
        Self {
            reactor: self.reactor.clone(),
            service: self.service.clone(),
            cookie: RefCell::default(),
            https: self.https,
        }
    }

    pub(crate) fn request(&self, path: &str) -> Request<Body> {
        let mut request = Request::get(path);
        if let Some((name, value)) = &*self.cookie.borrow() {
            request = request.header("cookie", format!("{name}={value}"));
        }
        let mut request = request.body(Body::empty()).unwrap();
        let address = Address::Unix(None);
        let mut info = RequestInfo::new(address.clone(), address, self.reactor.handle().now());
        info.secure = self.https;
        request.extensions_mut().insert(info);
        request
    }

    /// Sends a request, without waiting for the answer.
    pub(crate) fn begin(&self, path: &str) -> Rc<RefCell<Option<Result<Answer, BoxError>>>> {
        let answering = self.service.borrow_mut().call(self.request(path));
        let answered = Rc::new(RefCell::new(None));
        let answer = Rc::clone(&answered);
        self.reactor.handle().spawn(Box::pin(async move {
            let read = async {
                let response = answering.await?;
                let (parts, body) = response.into_parts();
                let set_cookie = parts.headers.get("set-cookie");
                let set_cookie = set_cookie.map(|value| value.to_str().unwrap().to_owned());
                let text = String::from_utf8(body.collect().await?.to_vec())?;
                Ok(Answer {
                    status: parts.status,
                    set_cookie,
                    headers: parts.headers,
                    text,
                })
            };
            let read = read.await;
            *answer.borrow_mut() = Some(read);
        }));
        self.reactor.run();
        answered
    }

    /// Sends a request, and keeps the cookie of the answer.
    pub(crate) fn visit(&self, path: &str) -> Answer {
        let answer = self.begin(path).take().expect("it is answered").unwrap();
        self.keep(&answer);
        answer
    }

    pub(crate) fn keep(&self, answer: &Answer) {
        if let Some(set) = &answer.set_cookie {
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            let cookie = (!set.contains("Max-Age=0")).then(|| (name.to_owned(), value.to_owned()));
            *self.cookie.borrow_mut() = cookie;
        }
    }

    pub(crate) fn text(&self, path: &str) -> String {
        let answer = self.visit(path);
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.text
    }

    /// From now on this browser has the cookie that another one has.
    pub(crate) fn has_cookie_of(&self, other: &Self) {
        self.cookie.replace(other.cookie.borrow().clone());
    }

    pub(crate) fn cookie_value(&self) -> String {
        self.cookie
            .borrow()
            .as_ref()
            .expect("there is a cookie")
            .1
            .clone()
    }
}
