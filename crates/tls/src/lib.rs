//! TLS for Ropewalk: a layer for any connection, by rustls, on the core alone.
//!
//! ```text
//!   protocol                        TlsInfo: what was agreed on
//!      │
//!   ServerLayer, ClientLayer        TlsFactory, TlsClientFactory: from the first byte on
//!      │                            StartTls: in the middle of a connection
//!   the wire
//! ```
//!
//! [`ServerTls`] and [`ClientTls`] have the certificates and settings. The endpoints
//! `tls:443:certificate=site.pem` and `tls:example.com:443` do all of it by themselves.
//!
//! What holds with no configuration: TLS 1.2 is the oldest version; a handshake has 10 s, and 1024
//! are under way at once; a client verifies the server; an end without `close_notify` is told from a
//! clean one; a record has up to 16 KiB; a connection that is idle holds no buffer.
//!
//! A half-closed connection is as TLS 1.3 has it (RFC 8446 section 6.1), with TLS 1.2 too: a
//! `close_notify` ends one direction, and the other goes on. Keys are renewed when the peer asks, and
//! before they have served for too many records.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod certificates;
mod client;
mod config_error;
mod endpoint;
mod error;
mod factory;
mod identity;
mod info;
mod layer;
mod pem;
mod pending;
mod server;
mod session;
mod sni;
mod stamp;
mod start_tls;

pub use client::{ClientTls, ClientTlsBuilder, InvalidServerName};
pub use config_error::TlsConfigError;
pub use endpoint::{TlsClientKind, TlsServerKind};
pub use error::{
    HandshakeCutShort, HandshakeFailed, PlaintextBeforeTls, Side, TlsBroken, Truncated,
};
pub use factory::{DEFAULT_PENDING_HANDSHAKES, TlsClientFactory, TlsFactory};
pub use info::TlsInfo;
pub use layer::{ClientLayer, ServerLayer};
pub use rustls;
pub use server::{ServerTls, ServerTlsBuilder};
pub use start_tls::{StartTls, TlsLayer};
