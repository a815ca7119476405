//! What a program says about its WebSockets.

use bytes::Bytes;

use super::{Closed, Role, WebSocket};

/// What happens on one WebSocket, told to one object: Twisted's `WebSocketProtocol`.
///
/// The order is a promise: `negotiation_finished` comes first and once, `connection_lost` last and
/// once. While one of these runs, nothing else of this WebSocket does, and all of its handle may be
/// called. A panic in one ends this connection and no other.
///
/// ```
/// use bytes::Bytes;
/// use ropewalk_web::websocket::{WebSocket, WebSocketProtocol};
///
/// struct Shout;
///
/// impl WebSocketProtocol for Shout {
///     fn text_message_received(&mut self, socket: &WebSocket, text: String) {
///         socket.send_text_message(&text.to_uppercase());
///     }
///     fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes) {
///         socket.send(data); // not copied
///     }
/// }
/// ```
pub trait WebSocketProtocol: 'static {
    /// Both sides have agreed: messages can be sent.
    fn negotiation_finished(&mut self, socket: &WebSocket) {
        let _ = socket;
    }

    /// A text has come.
    fn text_message_received(&mut self, socket: &WebSocket, text: String);

    /// Bytes have come.
    fn bytes_message_received(&mut self, socket: &WebSocket, data: Bytes);

    /// A Ping has come, and is being answered.
    fn ping_received(&mut self, socket: &WebSocket, payload: Bytes) {
        let _ = (socket, payload);
    }

    /// A Pong has come: to a ping, with its payload, or to what keeps the connection alive, with none.
    fn pong_received(&mut self, socket: &WebSocket, payload: Bytes) {
        let _ = (socket, payload);
    }

    /// Much is unsent: send no more until [`write_resumed`](Self::write_resumed). Unless told
    /// otherwise, a server receives no message meanwhile: so one that only answers has never much in
    /// memory, whatever its clients do. A client goes on, since two ends that both wait for the other to
    /// read would wait for ever.
    fn write_paused(&mut self, socket: &WebSocket) {
        if socket.role() == Some(Role::Server) {
            socket.pause_producing();
        }
    }

    /// Little is unsent: sending may go on. It comes after each
    /// [`write_paused`](Self::write_paused) and [`WebSocket::await_drain`]. Unless told
    /// otherwise, messages are received again.
    fn write_resumed(&mut self, socket: &WebSocket) {
        socket.resume_producing();
    }

    /// It has ended.
    fn connection_lost(&mut self, closed: Closed) {
        let _ = closed;
    }
}
