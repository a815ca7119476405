//! Ropewalk: an event-driven networking engine, and the protocols on it.
//!
//! A ropewalk is the long lane in which strands are twisted into rope. The strands here are a
//! reactor, protocols that are told what happens on their connections, and Deferreds for what will
//! come. The smallest server:
//!
//! ```no_run
//! use ropewalk::{Address, Protocol, Reactor, Transport};
//! use std::rc::Rc;
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
//!         transport.write(data);
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let reactor = Reactor::new()?;
//!     reactor.listen(&"tcp:8000".parse()?, Rc::new(|_peer: &Address| Echo))?;
//!     Ok(reactor.run()?)
//! }
//! ```
//!
//! This crate re-exports the others; each part is a feature, all on by default but `redis` and the last four:
//!
//! | feature | crate | what it gives |
//! |---|---|---|
//! | (always) | `ropewalk_core` | [`Protocol`], [`Transport`], [`Factory`], [`Deferred`], [`Failure`], [`endpoint`], [`framing`], [`policies`], [`testing`] |
//! | `reactor` | `ropewalk_reactor` | [`Reactor`], [`Workers`], [`ThreadPool`], [`FileWatcher`], [`driver`] |
//! | `tls` | `ropewalk_tls` | [`tls`]: `ServerTls`, `ClientTls`, `StartTls`; the endpoints `tls:` |
//! | `web` | `ropewalk_web` | [`web`]: `Site`, `FileService` |
//! | `redis` | `ropewalk_web` | `web::session::RedisStore` |
//! | `service` | `ropewalk_service` | [`logging`]: `Logging`, `Rotation` |
//! | `wire` | `ropewalk_wire` | [`wire`]: `Echo`, `Discard`, `Chargen`, `Daytime`, `Time`, `Qotd`, `Forward` |
//! | `sim` | `ropewalk_sim` | `sim`: `World`, `Host`, `Link`, `Fault` |
//! | `test` | `ropewalk_trial` | `#[ropewalk::test]`, and `trial`: what it is made of; for `[dev-dependencies]` |
//! | `futures-io` | `ropewalk_core` | `AsyncRead`, `AsyncBufRead`, `AsyncWrite` of `futures-io` on [`ConnectionStream`] |
//! | `tokio-io` | `ropewalk_core` | those of `tokio::io`; no runtime comes with them |
//!
//! Who knows Twisted finds [here](guide::from_twisted) what each thing is called; other pages tell of
//! [testing a protocol](guide::testing) and of [the web server](guide::web_server).
#![forbid(unsafe_code)]

pub mod guide;

pub use ropewalk_core::*;
#[cfg(feature = "reactor")]
pub use ropewalk_reactor::*;
#[cfg(feature = "service")]
pub use ropewalk_service::*;

/// The HTTP server, and the files of a folder as a site.
#[cfg(feature = "web")]
pub mod web {
    pub use ropewalk_web::*;
}

/// TLS as a layer of any connection.
#[cfg(feature = "tls")]
pub mod tls {
    pub use ropewalk_tls::*;
}

/// A simulated world for network programs.
#[cfg(feature = "sim")]
pub mod sim {
    pub use ropewalk_sim::*;
}

/// The test kit.
#[cfg(feature = "test")]
pub mod trial {
    pub use ropewalk_trial::*;
}

#[cfg(feature = "test")]
pub use ropewalk_trial::test;

/// The small servers, and the port forwarder.
#[cfg(feature = "wire")]
pub mod wire {
    pub use ropewalk_wire::*;
}

/// The programs in the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
