//! The app `websocket`: an echo of messages.

use bytes::Bytes;
use http::{Request, Response};
use ropewalk::web::Body;
use ropewalk::web::websocket::{self, Options, WebSocket, WebSocketProtocol};

pub fn upgrade(request: Request<Body>) -> Response<Body> {
    websocket::upgrade(&request, &Options::default(), Echo)
}

struct Echo;

impl WebSocketProtocol for Echo {
    fn text_message_received(&mut self, socket: &WebSocket, text: String) {
        socket.send(text);
    }

    fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
        socket.send(data);
    }
}
