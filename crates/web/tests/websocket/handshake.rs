//! The opening handshake, both sides: RFC 6455, section 4, and RFC 8441.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use ropewalk_core::testing::{MemoryReactor, StringTransport};
use ropewalk_core::{
    Address, Cancelled, Deferred, Factory, Failure, Protocol, TimedOut, Transport,
};
use ropewalk_web::websocket::{
    Deflate, HandshakeError, Negotiation, Options, OriginPolicy, UpgradeError, WebSocket,
    WebSocketClient, upgrade,
};
use ropewalk_web::{Body, Site, handler_fn};

use crate::rig::{Recorder, fixed, frame};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn request() -> Request<()> {
    Request::get("/chat")
        .header("host", "example.com")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "WebSocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", KEY)
        .body(())
        .unwrap()
}

fn with(name: &'static str, value: &'static str) -> Request<()> {
    let mut request = request();
    request
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    request
}

fn without(name: &str) -> Request<()> {
    let mut request = request();
    request.headers_mut().remove(name);
    request
}

fn answer(request: &Request<()>, options: &Options) -> Response<Body> {
    upgrade(request, options, Recorder::default())
}

fn error(request: &Request<()>) -> UpgradeError {
    Negotiation::of(request, &Options::default()).unwrap_err()
}

#[test]
fn a_request_is_answered_as_in_the_standard() {
    let answer = answer(&request(), &Options::default());
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()[header::UPGRADE], "websocket");
    assert_eq!(answer.headers()[header::CONNECTION], "upgrade");
    let accept = &answer.headers()[header::SEC_WEBSOCKET_ACCEPT];
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(
        !answer
            .headers()
            .contains_key(header::SEC_WEBSOCKET_PROTOCOL)
    );
    assert!(
        !answer
            .headers()
            .contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
    );
}

#[test]
fn what_asks_for_no_websocket_is_told_that_here_is_one() {
    let mut old = request();
    *old.version_mut() = Version::HTTP_10;
    for request in [
        without("upgrade"),
        without("connection"),
        with("upgrade", "h2c"),
        old,
    ] {
        assert_eq!(error(&request), UpgradeError::NotAsked);
        let answer = answer(&request, &Options::default());
        assert_eq!(answer.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(answer.headers()[header::UPGRADE], "websocket");
        assert_eq!(answer.headers()[header::SEC_WEBSOCKET_VERSION], "13");
    }
}

#[test]
fn what_asks_wrongly_is_refused() {
    let mut post = request();
    *post.method_mut() = Method::POST;
    let answered = answer(&post, &Options::default());
    assert_eq!(answered.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answered.headers()[header::ALLOW], "GET");
    for version in ["8", "014", "13, 8", "x"] {
        let answered = answer(&with("sec-websocket-version", version), &Options::default());
        assert_eq!(answered.status(), StatusCode::UPGRADE_REQUIRED);
        assert_eq!(answered.headers()[header::SEC_WEBSOCKET_VERSION], "13");
    }
    let mut two_keys = request();
    two_keys
        .headers_mut()
        .append("sec-websocket-key", HeaderValue::from_static(KEY));
    for request in [
        two_keys,
        without("sec-websocket-version"),
        without("sec-websocket-key"),
        with("sec-websocket-key", "short"),
        with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
        with("sec-websocket-extensions", "permessage-deflate;;"),
        with("sec-websocket-protocol", "a b"),
    ] {
        let answered = answer(&request, &Options::default());
        assert_eq!(answered.status(), StatusCode::BAD_REQUEST, "{request:?}");
    }
}

#[test]
fn pages_of_other_hosts_are_refused_unless_told_otherwise() {
    let own = with("origin", "http://example.com");
    let other = with("origin", "https://example.net");
    let mut options = Options::default();
    assert_eq!(answer(&own, &options).status(), 101);
    assert_eq!(answer(&other, &options).status(), StatusCode::FORBIDDEN);
    options.origins = OriginPolicy::Any;
    assert_eq!(answer(&other, &options).status(), 101);
}

#[test]
fn the_servers_best_subprotocol_that_the_client_speaks_is_chosen() {
    let mut options = Options::default();
    options.subprotocols = vec!["v3".into(), "v2".into(), "v1".into()];
    let asked = with("sec-websocket-protocol", "v1, v2,v4");
    assert_eq!(
        answer(&asked, &options).headers()[header::SEC_WEBSOCKET_PROTOCOL],
        "v2"
    );
    let none = with("sec-websocket-protocol", "V2, v9");
    assert!(
        !answer(&none, &options)
            .headers()
            .contains_key(header::SEC_WEBSOCKET_PROTOCOL)
    );
}

#[test]
fn compression_is_agreed_on_where_both_want_it() {
    let mut options = Options::default();
    let asked = with(
        "sec-websocket-extensions",
        "permessage-deflate; client_max_window_bits",
    );
    assert!(
        !answer(&asked, &options)
            .headers()
            .contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
    );
    options.deflate = Some(Deflate::default());
    let answered = answer(&asked, &options);
    let extensions = &answered.headers()[header::SEC_WEBSOCKET_EXTENSIONS];
    assert_eq!(extensions, "permessage-deflate");
    assert!(
        !answer(&request(), &options)
            .headers()
            .contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
    );
}

#[test]
fn a_stream_of_http_2_needs_no_key() {
    let mut request = without("sec-websocket-key");
    for name in ["connection", "upgrade"] {
        request.headers_mut().remove(name);
    }
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    assert_eq!(error(&request), UpgradeError::NotAsked);
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static("websocket"));
    let answered = answer(&request, &Options::default());
    assert_eq!(answered.status(), StatusCode::OK);
    assert!(answered.headers().is_empty());
    request
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static("other"));
    assert_eq!(error(&request), UpgradeError::NotAsked);
}

fn echo_site(
    options: &Options,
) -> Site<
    impl tower_service::Service<
        Request<Body>,
        Response = Response<Body>,
        Error = std::convert::Infallible,
        Future = std::future::Ready<Result<Response<Body>, std::convert::Infallible>>,
    > + Clone
    + 'static,
> {
    let options = options.clone();
    Site::new(handler_fn(move |request: Request<Body>| {
        upgrade(&request, &options, Recorder::echo())
    }))
}

#[test]
fn frames_that_come_with_the_request_are_not_lost() {
    let reactor = MemoryReactor::new();
    let site = Rc::new(echo_site(&Options::default()));
    reactor.listen(&"tcp:80".parse().unwrap(), site).unwrap();
    let seen: Rc<RefCell<Vec<u8>>> = Rc::default();
    let kept = Rc::clone(&seen);
    let made = reactor.connect(
        &"tcp:192.0.2.1:80".parse().unwrap(),
        Rc::new(move |_: &Address| Eager(Rc::clone(&kept))),
    );
    reactor.run();
    assert!(made.is_fired());
    let seen = seen.borrow();
    let head = seen
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert_eq!(seen[head..], frame(false, 0x81, b"early"));
}

struct Eager(Rc<RefCell<Vec<u8>>>);

impl Protocol for Eager {
    fn connection_made(&mut self, transport: &mut Transport) {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        transport.write(head.as_bytes());
        transport.write(&frame(true, 0x81, b"early"));
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}

/// A server that answers anything by this.
struct Fixed(&'static str);

impl Protocol for Fixed {
    fn data_received(&mut self, transport: &mut Transport, _: &[u8]) {
        transport.write(self.0.as_bytes());
    }
}

/// What a client makes of this answer: to the key that `fixed` gives.
fn client_of(answer: &'static str, options: Options) -> Result<(), Failure> {
    let reactor = MemoryReactor::new();
    let server = move |_: &Address| Fixed(answer);
    reactor
        .listen(&"tcp:80".parse().unwrap(), Rc::new(server))
        .unwrap();
    let end = Recorder::default();
    let connecting = WebSocketClient::new().options(fixed(options)).connect(
        &*reactor,
        "ws://example.com/",
        end.clone(),
    );
    let result = result_of(&reactor, connecting);
    assert_eq!(result.is_ok(), end.log.text().starts_with("open"));
    assert!(result.is_ok() || reactor.connections() == 0);
    result.map(drop)
}

fn result_of(
    reactor: &MemoryReactor,
    connecting: Deferred<WebSocket>,
) -> Result<WebSocket, Failure> {
    let result: Rc<Cell<Option<Result<WebSocket, Failure>>>> = Rc::default();
    let kept = Rc::clone(&result);
    let done: Deferred<()> = connecting.add_both(move |result| {
        kept.set(Some(result));
    });
    reactor.run();
    drop(done);
    result.take().expect("it is known by now")
}

const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: ";

/// RFC 9110, section 15.2: "A client MUST be able to parse one or more 1xx responses received prior to
/// a final response, even if the client does not expect one."
#[test]
fn a_client_takes_interim_answers_before_the_one_that_counts() {
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    let after = |before: String| -> &'static str {
        format!("{before}{GOOD}{}\r\n\r\n", accept_of_fixed()).leak()
    };
    for times in [1, 2, 100] {
        let answer = after(hint.repeat(times));
        assert!(client_of(answer, Options::default()).is_ok(), "{times}");
    }
    let continued = after("HTTP/1.1 100 Continue\r\n\r\n".to_owned());
    assert!(client_of(continued, Options::default()).is_ok());
    // All of them together are no longer than an answer may be.
    let without_end = after(hint.repeat(400));
    let failure = client_of(without_end, Options::default()).unwrap_err();
    let error = failure.check::<HandshakeError>();
    assert_eq!(error, Some(&HandshakeError::Malformed));
    let refused = format!("{hint}HTTP/1.1 403 Forbidden\r\n\r\n").leak();
    let failure = client_of(refused, Options::default()).unwrap_err();
    let error = failure.check::<HandshakeError>();
    let forbidden = HandshakeError::Status(StatusCode::FORBIDDEN, None);
    assert_eq!(error, Some(&forbidden));
}

#[test]
fn a_client_takes_no_answer_but_one_to_what_it_asked() {
    let lines = |answer: String| -> &'static str { answer.leak() };
    let good = |more: &str| lines(format!("{GOOD}{}\r\n{more}\r\n", accept_of_fixed()));
    let field = |answer, options| {
        let failure = client_of(answer, options).unwrap_err();
        failure.check::<HandshakeError>().unwrap().clone()
    };
    assert!(client_of(good(""), Options::default()).is_ok());
    let wrong = |from: &str, to: &str| lines(good("").replace(from, to));
    let plain = Options::default;
    assert_eq!(
        field(wrong("Upgrade: websocket", "Upgrade: h2c"), plain()),
        HandshakeError::Field("Upgrade")
    );
    assert_eq!(
        field(wrong("Connection: Upgrade", "Connection: close"), plain()),
        HandshakeError::Field("Connection")
    );
    assert_eq!(
        field(wrong("Accept: ", "Accept: x"), plain()),
        HandshakeError::Field("Sec-WebSocket-Accept")
    );
    for extension in ["permessage-deflate", "x", ";"] {
        let answer = good(&format!("Sec-WebSocket-Extensions: {extension}\r\n"));
        assert_eq!(
            field(answer, plain()),
            HandshakeError::Field("Sec-WebSocket-Extensions")
        );
    }
    let unasked = good("Sec-WebSocket-Protocol: chat\r\n");
    assert_eq!(
        field(unasked, plain()),
        HandshakeError::Field("Sec-WebSocket-Protocol")
    );
    assert_eq!(
        field("SSH-2.0-x\r\n\r\n", plain()),
        HandshakeError::Malformed
    );
    let endless = lines("HTTP/1.1 101 x\r\na: ".to_owned() + &"x".repeat(20_000));
    assert_eq!(field(endless, plain()), HandshakeError::Malformed);
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: wss://example.net/\r\n\r\n";
    let moved = HandshakeError::Status(StatusCode::FOUND, Some("wss://example.net/".into()));
    assert_eq!(field(elsewhere, plain()), moved);
    let refused = "HTTP/1.1 403 Forbidden\r\n\r\n";
    assert_eq!(
        field(refused, plain()),
        HandshakeError::Status(StatusCode::FORBIDDEN, None)
    );
}

fn accept_of_fixed() -> String {
    // What our own server answers to the key that `fixed` gives.
    let mut transport = StringTransport::new();
    let site = echo_site(&Options::default());
    let mut connection = site.build_protocol(&Address::Unix(None)).unwrap();
    let key = "EjRWeBI0VngSNFZ4EjRWeA==";
    let head = format!(
        "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    );
    connection.data_received(&mut transport, head.as_bytes());
    let answer = String::from_utf8(transport.value()).unwrap();
    let accept = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-accept")
            .then_some(value)
    });
    accept.unwrap().to_owned()
}

#[test]
fn a_client_that_is_not_answered_gives_up() {
    let reactor = MemoryReactor::new();
    let silent = Rc::new(|_: &Address| Fixed(""));
    reactor.listen(&"tcp:80".parse().unwrap(), silent).unwrap();
    let client = WebSocketClient::new();
    let waiting = client.connect(&*reactor, "ws://example.com/", Recorder::default());
    reactor.advance(Duration::from_secs(9));
    assert!(!waiting.is_fired());
    reactor.advance(Duration::from_secs(1));
    let failure = result_of(&reactor, waiting).unwrap_err();
    assert!(failure.check::<TimedOut>().is_some());
    assert_eq!(reactor.connections(), 0);

    let cancelled = client.connect(&*reactor, "ws://example.com/", Recorder::default());
    reactor.run();
    assert_eq!(reactor.connections(), 2);
    cancelled.cancel();
    let failure = result_of(&reactor, cancelled).unwrap_err();
    assert!(failure.check::<Cancelled>().is_some());
    assert_eq!(reactor.connections(), 0);

    let nobody = client.connect(&*reactor, "ws://example.com:81/", Recorder::default());
    assert!(result_of(&reactor, nobody).is_err());
}

#[test]
fn a_client_says_what_it_is_told_to_and_nothing_that_breaks_the_handshake() {
    let mut options = Options::default();
    options.subprotocols = vec!["chat".into()];
    options.deflate = Some(Deflate::default());
    options
        .headers
        .insert("cookie", HeaderValue::from_static("a=b"));
    let reactor = MemoryReactor::new();
    let seen: Rc<RefCell<Vec<u8>>> = Rc::default();
    let kept = Rc::clone(&seen);
    let server = Rc::new(move |_: &Address| Listener(Rc::clone(&kept)));
    reactor
        .listen(&"tcp:8080".parse().unwrap(), server)
        .unwrap();
    let client = WebSocketClient::new().options(fixed(options.clone()));
    let url = "ws://example.com:8080/a?b=c";
    let waiting = client.connect(&*reactor, url, Recorder::default());
    reactor.run();
    let asked = String::from_utf8(seen.take()).unwrap();
    assert_eq!(
        asked,
        "GET /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: EjRWeBI0VngSNFZ4EjRWeA==\r\nSec-WebSocket-Protocol: chat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         cookie: a=b\r\n\r\n"
    );
    waiting.cancel();
    drop(waiting);

    options
        .headers
        .insert("host", HeaderValue::from_static("example.net"));
    let client = WebSocketClient::new().options(fixed(options));
    let failed = client.connect(&*reactor, url, Recorder::default());
    let failure = result_of(&reactor, failed).unwrap_err();
    let error = HandshakeError::Options("host".into());
    assert_eq!(failure.check::<HandshakeError>(), Some(&error));
    for url in [
        "http://example.com/",
        "ws:/x",
        "ws://",
        "/x",
        "ws://example.com:0/",
        "ws://a/#b",
    ] {
        let failed = client.connect(&*reactor, url, Recorder::default());
        let failure = result_of(&reactor, failed).unwrap_err();
        assert_eq!(
            failure.check::<HandshakeError>(),
            Some(&HandshakeError::Url),
            "{url}"
        );
    }
}

struct Listener(Rc<RefCell<Vec<u8>>>);

impl Protocol for Listener {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}

#[test]
fn both_sides_agree_through_a_whole_handshake() {
    let mut options = Options::default();
    options.subprotocols = vec!["chat".into()];
    options.deflate = Some(Deflate::default());
    let reactor = MemoryReactor::new();
    reactor.set_split(7);
    let site = Rc::new(echo_site(&options));
    reactor.listen(&"tcp:80".parse().unwrap(), site).unwrap();
    let end = Recorder::default();
    let client = WebSocketClient::new().options(fixed(options));
    let connecting = client.connect(&*reactor, "ws://example.com/", end.clone());
    let socket = result_of(&reactor, connecting).unwrap();
    assert_eq!(socket.subprotocol().as_deref(), Some("chat"));
    socket.send_text_message(&"compressed ".repeat(100));
    reactor.run();
    assert_eq!(end.log.text(), "open, text of 1100");
}
