//! A site in memory, and a client that asks it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Factory, Failure, Protocol, Transport};
use ropewalk_web::{Body, BoxError, Site};
use tower_service::Service;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let fields = lines.map(|line| line.split_once(": ").expect("a field"));
        let headers = fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            status,
            headers,
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value)
    }
}

/// A connection to a site.
pub(crate) struct Client {
    pub(crate) reactor: MemoryReactor,
    pub(crate) connection: Connection,
    seen: Rc<RefCell<Vec<u8>>>,
}

struct Recorder(Rc<RefCell<Vec<u8>>>);

impl Protocol for Recorder {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }

    /// It stays until the server ends the connection.
    fn drain(&mut self, _: &mut Transport) {}

    fn connection_lost(&mut self, _: Failure) {}
}

impl Client {
    pub(crate) fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        Self::on(MemoryReactor::new(), service)
    }

    pub(crate) fn on<S, B>(reactor: MemoryReactor, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: Into<BoxError> + 'static,
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        let site: Rc<dyn Factory> = Rc::new(Site::new(service));
        reactor.listen(&"tcp:80".parse().unwrap(), site).unwrap();
        Self::to(reactor)
    }

    /// One more connection, to what listens already.
    pub(crate) fn to(reactor: MemoryReactor) -> Self {
        let seen: Rc<RefCell<Vec<u8>>> = Rc::default();
        let recorder = Rc::clone(&seen);
        let made: Rc<RefCell<Option<Connection>>> = Rc::default();
        let keep = Rc::clone(&made);
        let connected = reactor
            .connect(
                &"tcp:192.0.2.1:80".parse().unwrap(),
                Rc::new(move |_: &Address| Recorder(Rc::clone(&recorder))),
            )
            .add_callback(move |connection: Connection| *keep.borrow_mut() = Some(connection));
        reactor.run();
        assert!(connected.is_fired());
        let connection = made.take().unwrap();
        Self {
            reactor,
            connection,
            seen,
        }
    }

    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) -> &Self {
        self.connection.write(bytes.as_ref());
        self.reactor.run();
        self
    }

    /// All that came since the last call.
    pub(crate) fn received(&self) -> String {
        let bytes = self.seen.take();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn reply(&self) -> Reply {
        Reply::parse(self.received().as_bytes())
    }
}

/// Asks `service`: `GET /path`, then lines of fields, then after an empty line the body.
pub(crate) fn ask<S, B>(service: &S, request: &str) -> Reply
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Future: 'static,
    S::Error: Into<BoxError> + 'static,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let client = Client::new(service.clone());
    client.send(wire(request)).reply()
}

/// The bytes of a request that was written in short.
pub(crate) fn wire(request: &str) -> String {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let mut wire = format!("{} HTTP/1.1\r\n", lines.next().unwrap());
    if !head.contains("host:") {
        wire += "host: example.com\r\n";
    }
    for line in lines {
        wire += &format!("{line}\r\n");
    }
    if !body.is_empty() {
        wire += &format!("content-length: {}\r\n", body.len());
    }
    wire + "\r\n" + body
}
