//! What is measured: a site with a room of WebSockets, a broadcast of events, and an answer without an
//! end.

use std::rc::Rc;

use http::{Request, Response};
use ropewalk::web::answer::IntoResponse;
use ropewalk::web::sse::{self, Event, LastEventId};
use ropewalk::web::websocket::{self, Deflate, Options, OriginPolicy, PreparedMessage, WebSocket};
use ropewalk::web::{Body, Site, SlowReader, current_connection, handler_fn};
use ropewalk::{Failure, Reactor};

/// The bytes of a message that is broadcast.
pub const MESSAGE: usize = 1024;

/// What a program writes at once into an answer without an end.
const PIECE: usize = 16 * 1024;

/// Serves until it is killed. `deflate` is `none`, `default` or `lean`.
pub fn serve(deflate: &str, slow_reader: &str) -> Result<(), Failure> {
    let slow_reader = match slow_reader {
        "skip" => SlowReader::Skip,
        _ => SlowReader::Drop,
    };
    let room = websocket::Broadcast::new(slow_reader);
    let events = sse::Broadcast::new(slow_reader).readers_at_most(usize::MAX);
    let mut options = Options {
        origins: OriginPolicy::Any,
        deflate: match deflate {
            "none" => None,
            "default" => Some(Deflate::default()),
            _ => {
                let mut lean = Deflate::default();
                lean.no_context_takeover = true;
                lean.peer_no_context_takeover = true;
                Some(lean)
            }
        },
        ..Options::default()
    };
    // The other side reads only when it is told to, and so answers no ping.
    options.keep_alive.interval = None;
    let site = Site::new(handler_fn(move |request: Request<Body>| {
        match request.uri().path() {
            "/socket" => {
                let room = room.clone();
                websocket::upgrade(&request, &options, Member { room })
            }
            "/events" => events.subscribe(&LastEventId::default()).into_response(),
            "/stream" => endless(),
            "/members" => Response::new(Body::from((room.len() + events.len()).to_string())),
            _ => {
                let text = message();
                let messages = room.send(&PreparedMessage::new(text.clone()));
                let events = events.send(&Event::new(text));
                let report = format!(
                    "{} sent, {} skipped, {} dropped",
                    messages.sent + events.sent,
                    messages.skipped + events.skipped,
                    messages.dropped + events.dropped
                );
                Response::new(Body::from(report))
            }
        }
    }));
    let reactor = Reactor::new()?;
    let endpoint = "tcp:0:interface=127.0.0.1:backlog=4096".parse()?;
    let port = reactor.listen(&endpoint, Rc::new(site))?;
    println!("listening on {}", port.address());
    Ok(reactor.run()?)
}

/// A text that can be compressed to about half of it.
pub fn message() -> String {
    let mut state = 1_u32;
    let digits = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_digit(state >> 28, 16).unwrap_or('0')
    });
    digits.take(MESSAGE).collect()
}

/// Is in the room, and is answered what it says.
struct Member {
    room: websocket::Broadcast,
}

impl websocket::WebSocketProtocol for Member {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        self.room.join(socket);
    }

    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        socket.send_text_message(&text);
    }

    fn bytes_message_received(&mut self, _: &WebSocket, _: bytes::Bytes) {}
}

/// An answer whose writer always has more to say.
fn endless() -> Response<Body> {
    let (mut writer, body) = Body::channel();
    let connection = current_connection();
    let reactor = connection.and_then(|connection| connection.act(|transport| transport.reactor()));
    if let Some(reactor) = reactor {
        reactor.spawn(Box::pin(async move {
            while writer.send(vec![b'x'; PIECE]).await.is_ok() {}
        }));
    }
    Response::new(body)
}
