//! WebSockets within streams of HTTP/2 (RFC 8441), over real sockets: our client and our server, and
//! Chromium.

use std::cell::RefCell;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response};
use ropewalk::web::h2::{ClientConnection, ConnectProtocol, H2Stream, Limits};
use ropewalk::web::websocket::{
    CloseCode, Closed, Options, Session, WebSocket, WebSocketProtocol, upgrade,
};
use ropewalk::web::{Body, BodyWriter, Site, handler_fn};
use ropewalk::{
    CarriedConnection, ConnectionLimits, Deferred, Factory, Reactor, ReactorCore, Resolver,
};

use super::{run, serve_site, tool};

/// Of which a message has so many: more than all windows of a stream, both ways.
const MIB: usize = 1024 * 1024;

fn options() -> Options {
    let mut options = Options::default();
    options.limits.message = 2 * MIB;
    options
}

/// Echoes; `bye` makes it close.
struct Echo;

impl WebSocketProtocol for Echo {
    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        match &text[..] {
            "bye" => socket.lose_connection(CloseCode::NORMAL, "bye"),
            _ => socket.send(text),
        };
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: bytes::Bytes) {
        socket.send(data);
    }
}

/// Says one thing after the other, each when the one before has come back, and closes; or the server
/// does, or nobody.
struct Talker {
    left: Vec<Vec<u8>>,
    said: Vec<u8>,
    end: Ending,
    ended: Option<Resolver<(usize, Closed)>>,
    echoed: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Client,
    Server,
    Reset,
}

impl Talker {
    fn next(&mut self, socket: &WebSocket) {
        match (self.left.pop(), self.end) {
            (Some(next), _) => {
                socket.send(next.clone());
                self.said = next;
            }
            (None, Ending::Client) => drop(socket.lose_connection(CloseCode::NORMAL, "done")),
            (None, Ending::Server) => drop(socket.send("bye".to_owned())),
            (None, Ending::Reset) => {
                // In the middle of what it says.
                socket.send(vec![0; MIB]);
                socket.abort_connection();
            }
        }
    }
}

impl WebSocketProtocol for Talker {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        self.next(socket);
    }

    fn text_message_received(&mut self, _: &WebSocket, text: String) {
        panic!("{text:?} was never said");
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: bytes::Bytes) {
        assert!(data == self.said);
        self.echoed += data.len();
        self.next(socket);
    }

    fn connection_lost(&mut self, closed: Closed) {
        if let Some(ended) = self.ended.take() {
            ended.callback((self.echoed, closed));
        }
    }
}

/// How much came back, and how it ended.
async fn talk(connection: &ClientConnection, end: Ending) -> (usize, Closed) {
    let mut asked = Request::new(());
    *asked.uri_mut() = "http://localhost/socket".parse().unwrap();
    asked
        .headers_mut()
        .insert("sec-websocket-version", 13.into());
    let protocol = ConnectProtocol::from_static("websocket");
    asked.extensions_mut().insert(protocol);
    let stream: H2Stream = connection.tunnel(asked).await.unwrap().into_body();
    let addresses = connection.connection().act(|transport| {
        (
            transport.peer(),
            transport.host().clone(),
            transport.reactor(),
        )
    });
    let (peer, host, reactor) = addresses.unwrap();
    let (ended, deferred) = Deferred::pair();
    let talker = Talker {
        left: vec![
            b"short".to_vec(),
            (0..MIB).map(|at| (at / 7) as u8).collect(),
        ],
        said: Vec::new(),
        end,
        ended: Some(ended),
        echoed: 0,
    };
    let session = Session::client(&options(), talker);
    let reactor: Rc<dyn ReactorCore> = reactor;
    let limits = ConnectionLimits::default();
    let _carried =
        CarriedConnection::start(&reactor, stream, Box::new(session), limits, (peer, host));
    deferred.await.unwrap()
}

#[test]
fn large_messages_go_both_ways_and_either_end_closes() {
    let reactor = Reactor::new().unwrap();
    let site = Site::new(handler_fn(|request: Request<Body>| {
        upgrade(&request, &options(), Echo)
    }));
    let port = reactor.listen(&"tcp:0:interface=127.0.0.1".parse().unwrap(), Rc::new(site));
    let port = port.unwrap().address().socket_addr().unwrap().port();
    let handle = reactor.handle();
    run(&reactor, async move {
        let endpoint = format!("tcp:127.0.0.1:{port}").parse().unwrap();
        let connection = ClientConnection::connect(&handle, &endpoint, Limits::default()).await;
        let connection = connection.unwrap();
        for end in [
            Ending::Client,
            Ending::Server,
            Ending::Reset,
            Ending::Client,
        ] {
            let (echoed, closed) = talk(&connection, end).await;
            assert_eq!(echoed, MIB + 5);
            assert_eq!(closed.was_clean, end != Ending::Reset, "{closed:?}");
        }
    });
}

const PAGE: &str = r#"<!doctype html>
<title>WebSocket</title>
<p id="said">nothing</p>
<script>
const socket = new WebSocket(`wss://${location.host}/socket`);
socket.onopen = () => socket.send("x".repeat(300000));
socket.onmessage = (event) => {
  document.getElementById("said").textContent = `${event.data.length} letters`;
  socket.send("bye");
};
socket.onclose = (event) => fetch(`/closed?${event.code}-${event.reason}`);
</script>
<script src="/last.js"></script>
"#;

/// The page, which is not complete before its WebSocket is closed. Notes what was asked for.
fn pages(asked: Arc<Mutex<Vec<String>>>) -> Rc<dyn Factory> {
    let last: RefCell<Option<BodyWriter>> = RefCell::default();
    Rc::new(Site::new(handler_fn(move |request: Request<Body>| {
        let (method, uri) = (request.method(), request.uri());
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let line = format!("{method} {path} {:?}", request.version());
        asked.lock().unwrap().push(line);
        match uri.path() {
            "/" => {
                let mut page = Response::new(Body::from(PAGE));
                let html = http::HeaderValue::from_static("text/html");
                page.headers_mut().insert("content-type", html);
                page
            }
            "/last.js" => {
                let (writer, body) = Body::channel();
                last.replace(Some(writer));
                Response::new(body)
            }
            "/closed" => {
                if let Some(writer) = last.take() {
                    writer.finish(HeaderMap::new());
                }
                Response::new(Body::empty())
            }
            "/socket" => upgrade(&request, &options(), Echo),
            _ => Response::new(Body::empty()),
        }
    })))
}

#[test]
fn chromium_opens_its_websocket_within_the_connection_of_the_page() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    serve_site(&|| pages(Arc::clone(&asked)), move |server| {
        let Some(mut chromium) = tool("chromium") else {
            return;
        };
        let profile = tempfile::tempdir().unwrap();
        chromium.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--ignore-certificate-errors",
            "--dump-dom",
        ]);
        chromium.arg(format!("--user-data-dir={}", profile.path().display()));
        chromium.arg(format!("https://localhost:{}/", server.tls));
        chromium.stdin(Stdio::null()).stderr(Stdio::null());
        let page = chromium.output().unwrap();
        let page = String::from_utf8_lossy(&page.stdout);
        assert!(page.contains("300000 letters"), "{page}");
        let seen = seen.lock().unwrap();
        for line in [
            "GET / HTTP/2.0",
            "CONNECT /socket HTTP/2.0",
            "GET /closed?1000-bye HTTP/2.0",
        ] {
            assert!(seen.iter().any(|asked| asked == line), "{line}: {seen:?}");
        }
    });
}
