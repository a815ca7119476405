//! The web on Ropewalk: a server of HTTP/1.1 and HTTP/2, and the files of a folder as a site.
//!
//! A [`Site`] is a factory of connections: it serves any [`tower_service::Service`] from
//! `http::Request<Body>` to `http::Response`. [`FileService`] is one of them; a [`Router`] gives requests
//! to functions, by their methods and paths; a [`Resource`] is the tree of Twisted. All of it stands on
//! `ropewalk_core` alone, and so runs on any reactor, and in a test with none.
//!
//! [`middleware`] has what stands between the two.
//!
//! ```
//! use ropewalk_core::testing::MemoryReactor;
//! use ropewalk_web::{Body, Site, handler_fn};
//! use http::{Request, Response};
//! use std::rc::Rc;
//!
//! let reactor = MemoryReactor::new();
//! let hello = handler_fn(|_: Request<Body>| Response::new(Body::from("Hello, World!")));
//! reactor.listen(&"tcp:80".parse()?, Rc::new(Site::new(hello)))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # Features
//!
//! | feature | what it adds | default |
//! |---|---|---|
//! | `compression` | [`CompressionLayer`](middleware::CompressionLayer) and [`DecompressionLayer`](middleware::DecompressionLayer), with brotli and zstd (C) | yes |
//! | `password-files` | [`HtpasswdFile`](credentials::HtpasswdFile) and [`PasswordHash`](credentials::PasswordHash), with Argon2, bcrypt and crypt(3) | yes |
//! | `redis` | sessions in a Redis or Valkey | no |
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod access_log;
pub mod answer;
mod answering;
pub mod auth;
mod blocking;
mod body;
mod boxed_service;
mod broadcast;
mod content_coding;
pub mod cookies;
pub mod credentials;
mod current;
mod data;
mod date;
mod error_pages;
pub mod extract;
pub mod files;
pub mod h1;
pub mod h2;
mod handler;
pub mod middleware;
mod mime;
pub mod multipart;
mod randomness;
mod request_info;
pub mod resource;
mod rewrite;
pub mod router;
pub mod session;
mod site;
pub mod sse;
mod upgrade;
pub mod uploads;
mod uri_path;
mod virtual_hosts;
pub mod websocket;

pub use access_log::AccessLogFields;
pub use answering::Answering;
pub use body::{Body, BodyDropped, BodyError, BodyWriter, BoxError};
pub use boxed_service::{Answer, BoxService};
pub use broadcast::{BroadcastReport, SlowReader};
pub use content_coding::{AcceptEncoding, Chosen, ContentCoding};
pub use current::{current_connection, send_interim};
pub use data::Data;
pub use error_pages::{ErrorPages, PuttingPage, WithErrorPages};
pub use files::FileService;
pub use randomness::Randomness;
pub use request_info::RequestInfo;
pub use resource::Resource;
pub use rewrite::{Rewrite, Rewriting};
pub use router::Router;
pub use site::{HandlerFn, Site, handler_fn};
pub use upgrade::Upgrade;
pub use uploads::Uploads;
pub use uri_path::OriginalUri;
pub use virtual_hosts::VirtualHosts;
