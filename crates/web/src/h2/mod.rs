//! HTTP/2 (RFC 9113): connections of a [`Site`](crate::Site), and a client.
//!
//! Frames, field compression and the states of streams are the `h2` crate's. What is ours is what
//! happens to them: a connection is one task on the loop, over the same streams, with the same
//! limits, times and simulated faults as everything else.
//!
//! ```text
//!   ConnectionStream ──▶ Governed ──▶ h2 ──▶ Server ──▶ Exchange (a request and its answer)
//!                           │                  ▲            Inflow, Outflow: content, by windows
//!                        Governor ─────────────┘
//! ```
//!
//! - A [`Site`](crate::Site) speaks it where TLS has agreed on `h2`, and where a connection begins
//!   with the preface, unless it is told not to.
//! - [`Limits`] says how much a peer may ask for, and the [`Governor`] how often it may say what
//!   costs it nothing.
//! - A peer that closes its sending side counts as gone, as it could neither acknowledge anything
//!   nor make room for answers.

mod alarm;
mod answer;
mod client;
mod exchange;
mod frame_scan;
mod governed;
mod governor;
mod inflow;
mod interim;
mod keep_alive;
mod limits;
mod outflow;
mod outgoing_request;
mod overruns;
mod request;
mod response_body;
mod send_error;
mod server;
mod stream;
mod tunnels;

pub use ::h2::Reason;
pub use ::h2::ext::Protocol as ConnectProtocol;
pub use client::ClientConnection;
pub use governor::{Excess, Governor};
pub use limits::{Limits, Rate};
pub use send_error::SendError;
pub(crate) use server::serve;
pub use stream::H2Stream;

/// What a client begins with (section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
