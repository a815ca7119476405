//! WebSockets, compressed, by callbacks at both ends.
//!
//! Holds: answers come in order, whole, each once; callbacks come in order; what a server has
//! begun to answer when it is stopped is answered before its Close; and a WebSocket that one end loses ends
//! at both.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ropewalk_core::Failure;
use ropewalk_web::websocket::{
    CloseCode, Closed, Deflate, Options, WebSocket, WebSocketClient, WebSocketProtocol, upgrade,
};
use ropewalk_web::{Body, Randomness, Site, handler_fn};

use crate::program::Program;
use crate::questions::{Questions, answer, question};
use crate::watched::Order;

const NAME: &str = "websocket";

/// Answers have up to so many letters: more than all windows between the two ends.
const LONGEST: u64 = 600_000;

fn options() -> Options {
    Options {
        deflate: Some(Deflate::default()),
        ..Options::default()
    }
}

pub(crate) fn serve(program: &Program) {
    let for_each = program.clone();
    let site = Site::new(handler_fn(move |request: Request<Body>| {
        answer_to(&for_each, &request)
    }));
    program.serve("tcp:7020", site);
}

/// What a request for a WebSocket is answered with.
pub(crate) fn answer_to(program: &Program, request: &Request<Body>) -> Response<Body> {
    let order = Order::new(program.checker(), "server of websockets");
    let program = program.clone();
    upgrade(request, &options(), Answerer { program, order })
}

/// Those of a client, whose masks come by the chance of the world.
pub(crate) fn client_options(program: &Program) -> Options {
    let for_masks = program.clone();
    let randomness = Randomness::new(move |bytes| {
        for byte in bytes {
            *byte = for_masks.below(256) as u8;
        }
    });
    Options {
        randomness,
        ..options()
    }
}

pub(crate) fn call(program: &Program) {
    program.every(
        Duration::from_secs(24),
        |program| {
            let client = WebSocketClient::new().options(client_options(program));
            let asker = Asker {
                questions: Questions::new(program, NAME, LONGEST),
                order: Order::new(program.checker(), "client of websockets"),
            };
            let request = program.checker().ask(NAME);
            let url = "ws://server:7020/";
            let connecting = client.connect(&program.reactor, url, asker);
            drop(connecting.add_both(
                move |connected: Result<WebSocket, Failure>| match connected {
                    Ok(_) => request.answered(),
                    Err(failure) => request.failed(&failure),
                },
            ));
        },
        || (),
    );
}

struct Answerer {
    program: Program,
    order: Order,
}

impl Answerer {
    fn asked(&self, socket: &WebSocket, text: &[u8]) {
        self.order.runs("a message");
        let Some(question) = question(text) else {
            let text = String::from_utf8_lossy(text).into_owned();
            let violation = format!("a message came that nobody sent: {text:?}");
            return self.program.checker().violation(violation);
        };
        // After a Close nothing is answered.
        if socket.is_connected() {
            self.program.checker().accept(question.0);
            socket.send(answer(question));
        }
    }
}

impl WebSocketProtocol for Answerer {
    fn negotiation_finished(&mut self, _: &WebSocket) {
        self.order.made();
    }

    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        self.asked(socket, text.as_bytes());
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
        self.asked(socket, &data);
    }

    fn connection_lost(&mut self, _: Closed) {
        self.order.lost();
    }
}

/// Asks, and goes when all is answered.
pub(crate) struct Asker {
    pub(crate) questions: Questions,
    pub(crate) order: Order,
}

impl Asker {
    fn next(&mut self, socket: &WebSocket) {
        let batch = self.questions.next_batch();
        for question in &batch {
            socket.send_text_message(question);
        }
        if batch.is_empty() {
            match self.questions.is_abrupt() {
                true => socket.abort_connection(),
                false => socket.lose_connection(CloseCode::NORMAL, ""),
            };
        }
    }
}

impl WebSocketProtocol for Asker {
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        self.order.made();
        self.next(socket);
    }

    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        self.bytes_message_received(socket, text.into());
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
        self.order.runs("a message");
        if self.questions.answered(&data) {
            self.next(socket);
        }
    }

    fn connection_lost(&mut self, _: Closed) {
        self.order.lost();
    }
}
