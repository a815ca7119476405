//! A chat, and a dashboard that lives: a router, a JSON API, sessions, a WebSocket for all that is said,
//! server-sent events for the figures, static files, and the middleware of a grown-up site.
//! `cargo run -p ropewalk-examples --example chat`, then <http://127.0.0.1:8000/>, in two browsers.
//! `--listen tls:8443:certificate=site.pem:key=site.key`, or any other endpoint, puts it elsewhere.
//!
//! What is bounded, beside what is by default: the people, the messages that are kept, how long names and
//! messages are, and how fast anybody may talk.
#![expect(clippy::needless_pass_by_value, reason = "handlers own what they take")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use http::{Request, Response, StatusCode};
use ropewalk::logging::Logging;
use ropewalk::web::answer::Rejection;
use ropewalk::web::auth::CrossOriginProtection;
use ropewalk::web::extract::{Json, Query};
use ropewalk::web::middleware::{
    CatchPanicLayer, CompressionLayer, RateLimitLayer, RequestIdLayer, SecurityHeadersLayer,
    TimeoutLayer,
};
use ropewalk::web::router::{Router, get, websocket, with_state};
use ropewalk::web::session::{MemoryStore, Session, Sessions};
use ropewalk::web::sse::{self, Event, LastEventId, Sse};
use ropewalk::web::websocket::{self, CloseCode, PreparedMessage, WebSocket};
use ropewalk::web::{Body, FileService, Site, SlowReader};
use ropewalk::{Failure, Handle, LoopingCall, Reactor, ReactorTime};
use serde::{Deserialize, Serialize};
use tower::ServiceBuilder;

/// So many WebSockets are open at once.
const PEOPLE: usize = 1000;
/// So many messages are kept, for who comes or comes back.
const KEPT: usize = 100;
/// The characters of a name.
const NAME: usize = 20;
/// The bytes of a message; a longer one ends its WebSocket (1009). It is 500 characters of any script.
const MESSAGE: usize = 2000;
/// Who has said something is not heard for so long: what is sent meanwhile waits on its way.
const BREATH: Duration = Duration::from_millis(200);
/// Who has more bytes than this unsent, which is more than all that is kept, is too slow, and is cut off: the
/// page comes back and asks for what it has missed, since of messages none may be missing.
const UNREAD: u64 = 2 * 1024 * 1024;
/// The rate is that of so many seconds.
const RECENT: usize = 5;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A page may load what is this site's, and be shown in no other's.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What all connections share. One loop has one thread, so cells will do.
struct Chat {
    reactor: Handle,
    room: websocket::Broadcast,
    dashboards: sse::Broadcast,
    /// Who is here, with how many WebSockets.
    here: RefCell<BTreeMap<Name, usize>>,
    kept: RefCell<VecDeque<Message>>,
    began: Instant,
    said: Cell<u64>,
    sent: Cell<u64>,
    /// What `said` was in each of the last seconds.
    said_before: RefCell<VecDeque<u64>>,
}

/// Something that was said; by nobody, when it is the chat's own.
#[derive(Clone, Serialize)]
struct Message {
    /// Milliseconds since 1970. No two are alike, so this is its name too.
    at: u64,
    from: Option<Name>,
    text: String,
}

/// A name that can be shown: what is none does not become one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.trim();
        match name.chars().count() {
            0 => Err("a name is not empty".to_owned()),
            length if length > NAME => Err(format!("a name has {NAME} characters at most")),
            _ if name.contains(char::is_control) => Err("a name is one line".to_owned()),
            _ => Ok(Self(name.to_owned())),
        }
    }
}

/// Who one is: nobody, at first.
#[derive(Serialize)]
struct Me {
    name: Option<Name>,
}

#[derive(Deserialize)]
struct Rename {
    name: Name,
}

/// From which message on.
#[derive(Deserialize)]
struct From {
    #[serde(default)]
    after: u64,
}

/// What a dashboard shows.
#[derive(Serialize)]
struct Numbers {
    people: usize,
    messages: u64,
    sent: u64,
    /// Messages a second.
    rate: f64,
    /// Seconds.
    uptime: u64,
}

/// `GET /api/me`
fn me(session: Session) -> Result<Json<Me>, Failure> {
    let name = session.get("name")?;
    Ok(Json(Me { name }))
}

/// `PUT /api/me`: takes a name, that nobody else is here by.
fn rename(
    chat: Rc<Chat>,
    session: Session,
    Json(Rename { name }): Json<Rename>,
) -> Result<Json<Me>, Failure> {
    let is_mine = session.get("name")?.as_ref() == Some(&name);
    if !is_mine && chat.here.borrow().contains_key(&name) {
        let text = "somebody is here by this name; take another";
        return Err(Rejection::new(StatusCode::CONFLICT, text).into());
    }
    session.insert("name", &name)?;
    Ok(Json(Me { name: Some(name) }))
}

/// `GET /api/messages`: what was said, as far as it is kept.
fn messages(chat: Rc<Chat>, Query(from): Query<From>) -> Json<Vec<Message>> {
    Json(chat.said_after(from.after))
}

/// `GET /api/numbers`: the figures, each second.
fn numbers(chat: Rc<Chat>, last: LastEventId) -> Result<Sse, Rejection> {
    chat.dashboards.subscribe(&last)
}

/// `GET /api/chat`: the WebSocket. First comes what was said after `from`, then what is being said.
fn join(
    chat: Rc<Chat>,
    session: Session,
    Query(from): Query<From>,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let Some(name) = session.get("name")? else {
        let text = "say who you are first: PUT /api/me";
        return Err(Rejection::new(StatusCode::FORBIDDEN, text).into());
    };
    if chat.here.borrow().values().sum::<usize>() >= PEOPLE {
        let text = "the room is full; come back later";
        return Err(Rejection::new(StatusCode::SERVICE_UNAVAILABLE, text).into());
    }
    let mut options = websocket::Options {
        deflate: Some(websocket::Deflate::default()),
        ..websocket::Options::default()
    };
    options.limits.message = MESSAGE;
    let after = from.after;
    let visitor = Visitor { chat, name, after };
    Ok(websocket::upgrade(&request, &options, visitor))
}

/// One WebSocket.
struct Visitor {
    chat: Rc<Chat>,
    name: Name,
    /// The last message that it has seen.
    after: u64,
}

impl websocket::WebSocketProtocol for Visitor {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        for message in self.chat.said_after(self.after) {
            socket.send(as_json(&message));
        }
        self.chat.enter(&self.name, socket);
    }

    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        let text = text.trim();
        if !text.is_empty() {
            self.chat.say(Some(self.name.clone()), text);
        }
        socket.pause_producing();
        let socket = socket.clone();
        self.chat.reactor.call_later(BREATH, move || {
            socket.resume_producing();
        });
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, _: bytes::Bytes) {
        socket.lose_connection(CloseCode::UNSUPPORTED_DATA, "text, please");
    }

    fn connection_lost(&mut self, _: websocket::Closed) {
        self.chat.leave(&self.name);
    }
}

impl Chat {
    fn new(reactor: Handle) -> Rc<Self> {
        Rc::new(Self {
            began: reactor.now(),
            reactor,
            room: websocket::Broadcast::new(SlowReader::Drop).unsent(UNREAD),
            dashboards: sse::Broadcast::new(SlowReader::Skip),
            here: RefCell::default(),
            kept: RefCell::default(),
            said: Cell::new(0),
            sent: Cell::new(0),
            said_before: RefCell::default(),
        })
    }

    fn enter(&self, name: &Name, socket: &WebSocket) {
        self.room.join(socket);
        let sockets = {
            let mut here = self.here.borrow_mut();
            let sockets = here.entry(name.clone()).or_default();
            *sockets += 1;
            *sockets
        };
        if sockets == 1 {
            self.say(None, &format!("{} is here", name.0));
        }
    }

    fn leave(&self, name: &Name) {
        let mut here = self.here.borrow_mut();
        let Some(sockets) = here.get_mut(name) else {
            return;
        };
        *sockets -= 1;
        if *sockets == 0 {
            here.remove(name);
            drop(here);
            self.say(None, &format!("{} has left", name.0));
        }
    }

    /// Tells all who are here. It is encoded, and compressed, once.
    fn say(&self, from: Option<Name>, text: &str) {
        self.said.set(self.said.get() + u64::from(from.is_some()));
        let mut kept = self.kept.borrow_mut();
        let since_1970 = self.reactor.wall_clock().duration_since(UNIX_EPOCH);
        let now = since_1970.map_or(0, |time| time.as_millis() as u64);
        let message = Message {
            at: kept.back().map_or(now, |last| now.max(last.at + 1)),
            from,
            text: text.to_owned(),
        };
        let report = self.room.send(&PreparedMessage::new(as_json(&message)));
        self.sent.set(self.sent.get() + report.sent as u64);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(message);
    }

    fn said_after(&self, after: u64) -> Vec<Message> {
        let kept = self.kept.borrow();
        kept.iter().filter(|it| it.at > after).cloned().collect()
    }

    /// Tells all dashboards how things are.
    fn tick(&self) -> Result<(), Failure> {
        let mut before = self.said_before.borrow_mut();
        before.push_back(self.said.get());
        if before.len() > RECENT + 1 {
            before.pop_front();
        }
        let recent = self.said.get() - before.front().unwrap_or(&0);
        let numbers = Numbers {
            people: self.here.borrow().len(),
            messages: self.said.get(),
            sent: self.sent.get(),
            rate: recent as f64 / RECENT as f64,
            uptime: (self.reactor.now() - self.began).as_secs(),
        };
        let event = Event::json(&numbers)?.event("numbers");
        self.dashboards.send(&event.retry(Duration::from_secs(1)));
        Ok(())
    }
}

fn as_json(message: &Message) -> String {
    serde_json::to_string(message).expect("a message is text and numbers")
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => "tcp:8000:interface=127.0.0.1".to_owned(),
        (Some("--listen"), Some(endpoint)) => endpoint,
        _ => return Err(Failure::msg("usage: chat [--listen ENDPOINT]")),
    };
    // The access log is in it, and each line of a request has its id.
    let _log = Logging::new().start()?;
    let reactor = Reactor::new()?;
    let chat = Chat::new(reactor.handle());

    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/chat");
    let router = Router::builder()
        .route(
            "/api/me",
            get(me).put(with_state(&chat, rename)).body_limit(1024),
        )
        .route("/api/messages", get(with_state(&chat, messages)))
        .route("/api/numbers", get(with_state(&chat, numbers)))
        .route("/api/chat", websocket(with_state(&chat, join)))
        .fallback_service(FileService::new(pages)?)
        .build()?;

    // The first is the outermost.
    let time = || Rc::new(reactor.handle());
    let security = SecurityHeadersLayer::new().content_security_policy(CONTENT_SECURITY_POLICY)?;
    let sessions = Sessions::new(time(), MemoryStore::default())
        .idle(7 * DAY)
        .absolute(30 * DAY)
        .persistent(true);
    let middleware = ServiceBuilder::new()
        .layer(RequestIdLayer::new(&format!(
            "chat-{}-",
            std::process::id()
        )))
        .layer(CatchPanicLayer::new())
        .layer(security)
        .layer(RateLimitLayer::new(time(), 200, Duration::from_secs(10)))
        .layer(CrossOriginProtection::new())
        .layer(TimeoutLayer::new(time(), Duration::from_secs(10)))
        .layer(CompressionLayer::new())
        .layer(sessions);

    let site = Site::new(middleware.service(router));
    let port = reactor.listen(&endpoint.parse()?, Rc::new(site))?;
    println!("listening on {}", port.address());

    let ticks = LoopingCall::new(time(), move || chat.tick());
    let _ticking = ticks.start(Duration::from_secs(1), true);
    // It ends when all have their answers: WebSockets and streams of events are told to go.
    let ended = reactor.run_until_signalled();
    ticks.stop();
    Ok(ended?)
}
