//! WebSockets: RFC 6455, both sides, with compression (RFC 7692), over HTTP/1.1 and HTTP/2 (RFC 8441).
//!
//! | for | there is |
//! |---|---|
//! | a server | [`upgrade`] and [`upgrade_stream`], which answer a request |
//! | a client | [`WebSocketClient`] |
//! | callbacks | [`WebSocketProtocol`], and a handle, [`WebSocket`], for all who are not called |
//! | async code | [`WebSocketStream`], whose sends wait for the peer |
//! | many at once | [`Broadcast`] of a [`PreparedMessage`] |
//!
//! All of them run on one machine, [`Session`]: a protocol that knows neither HTTP nor sockets.
//!
//! # What is bounded
//!
//! [`Limits`]: a frame, a message (what it inflates to, while it inflates), what is unsent, and the times
//! of the handshakes. A text is refused at the first byte that is not UTF-8. Of the pings of a peer that does not
//! read, the last one is answered. A silent peer is pinged, and cut off when it stays silent
//! ([`KeepAlive`]). An idle WebSocket holds no buffer, unless it is compressed with context takeover
//! ([`Deflate`] says what that takes).

mod broadcast;
mod client;
mod client_handshake;
mod close;
mod decoder;
mod deflate;
mod deflate_offer;
mod encoder;
mod error;
mod extension;
mod frame_header;
mod key;
mod masking;
mod message;
mod options;
mod origin;
mod prepared;
mod protocol;
mod sender;
mod session;
mod socket;
mod stream;
mod upgrade;
mod utf8;

pub use broadcast::Broadcast;
pub use client::WebSocketClient;
pub use client_handshake::HandshakeError;
pub use close::{CloseCode, Closed};
pub use error::WebSocketError;
pub use message::Message;
pub use options::{Deflate, KeepAlive, Limits, Options, OriginCheck, OriginPolicy, Role};
pub use prepared::PreparedMessage;
pub use protocol::WebSocketProtocol;
pub use session::Session;
pub use socket::WebSocket;
pub use stream::{SendError, WebSocketReader, WebSocketStream, WebSocketWriter};
pub use upgrade::{Negotiation, UpgradeError, upgrade, upgrade_stream};
