//! What a handler takes from its request.
//!
//! Each parameter of a handler is an extractor. What stands in the head of the request is
//! [`FromRequestHead`], and there at once; what needs the body is [`FromRequest`], may wait for it,
//! and stands last.
//!
//! ```
//! use ropewalk_web::extract::{Json, Path, Query};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Order { cups: u8 }
//!
//! #[derive(Serialize)]
//! struct Receipt { table: u32, cups: u8 }
//!
//! async fn order(Path(table): Path<u32>, Json(order): Json<Order>) -> Json<Receipt> {
//!     Json(Receipt { table, cups: order.cups })
//! }
//! # let _ = ropewalk_web::router::post(order);
//! ```
//!
//! | parameter | what it is | answered instead, when it cannot be had |
//! |---|---|---|
//! | [`Path<T>`] | the parameters of the route | 400 |
//! | [`Query<T>`] | the query of the target | 400 |
//! | [`Host`] | the host that was asked, without its port | 400 |
//! | [`OriginalUri`](crate::OriginalUri) | the target as the client wrote it | |
//! | [`Extension<T>`] | what a layer has put into the request | 500 |
//! | [`Session`](crate::session::Session) | the session, loaded | 503 when its store fails; 500 without [`Sessions`](crate::session::Sessions) |
//! | [`Authenticated`](crate::auth::Authenticated) | who was authenticated | 401 if nobody was; 500 without [`HttpAuth`](crate::auth::HttpAuth) |
//! | [`Cookies`](crate::cookies::Cookies) | the cookies | |
//! | [`LastEventId`](crate::sse::LastEventId) | where an event stream is to go on | |
//! | `RequestInfo` | the peer, and when the request came | 500 outside of a `Site` |
//! | `Method`, `Uri`, `Version`, `HeaderMap` | as they came | |
//! | [`Json<T>`] | the body: JSON | 415, 400 (syntax), 422 (its data, with the place) |
//! | [`Form<T>`] | the body, or with GET the query: a form | 415, 400, 422 |
//! | [`Multipart`](crate::multipart::Multipart) | the body: fields and files, as they come | 415, 400 |
//! | `Bytes`, `String` | the whole body | 400 |
//! | `Body`, `Request<Body>` | as it came | |
//! | `Option<T>` | `None` if there is none; if it is there and wrong, that is still answered | |
//! | `Result<T, Rejection>` | for handlers that answer what is wrong themselves | |
//!
//! A body that is longer than the limit is answered with 413 by all of them. The limit is that of
//! the site, or of the route ([`MethodRouter::body_limit`](crate::router::MethodRouter::body_limit)).
//! What is answered instead is a [`Rejection`](crate::answer::Rejection); how to answer in another
//! way for all routes, says [`ErrorPages`](crate::ErrorPages).

mod body;
mod extension;
mod form;
mod head;
mod host;
mod json;
mod optional;
mod path;
mod path_value;
mod query;

use std::future::Future;
use std::pin::Pin;

use http::Request;

use crate::Body;
use crate::answer::IntoResponse;

pub(crate) use body::unreadable;
pub use extension::Extension;
pub use form::Form;
pub use host::Host;
pub use json::Json;
pub use path::{Path, PathParams};
pub use query::Query;

/// What can be taken from the head of a request, at once.
///
/// What must be waited for, such as a row of a database, is for a layer to bring (in the request's
/// extensions), or for the handler itself. What a layer brings only when it is wanted, as a session, says
/// so by [`awaited`](Self::awaited).
///
/// ```
/// use http::{HeaderMap, Request, StatusCode};
/// use ropewalk_web::Body;
/// use ropewalk_web::answer::Rejection;
/// use ropewalk_web::extract::FromRequestHead;
///
/// struct ApiKey(String);
///
/// impl FromRequestHead for ApiKey {
///     type Rejection = Rejection;
///
///     fn from_request_head(request: &mut Request<Body>) -> Result<Self, Rejection> {
///         let key = request.headers().get("x-api-key").and_then(|key| key.to_str().ok());
///         let missing = || Rejection::new(StatusCode::UNAUTHORIZED, "send an X-Api-Key");
///         Ok(Self(key.ok_or_else(missing)?.to_owned()))
///     }
/// }
/// # let _ = ropewalk_web::router::get(|_: ApiKey| "in");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from the head of a request",
    note = "what is taken from the body stands last, and only once: see `ropewalk_web::extract`"
)]
pub trait FromRequestHead: Sized {
    /// What is answered when it cannot be had.
    type Rejection: IntoResponse;

    /// Takes it.
    ///
    /// # Errors
    /// What is to be answered instead of calling the handler.
    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Self::Rejection>;

    /// Whether the request says nothing of it at all: then `Option<Self>` is `None`.
    fn is_absent(request: &Request<Body>) -> bool {
        let _ = request;
        false
    }

    /// What has to happen before it can be taken, if it cannot be taken at once. The router waits for
    /// that and asks again, until nothing is to be waited for: so it has to end with a failure, too.
    fn awaited(request: &Request<Body>) -> Option<Awaited> {
        let _ = request;
        None
    }
}

/// What a [`FromRequestHead`] waits for.
pub type Awaited = Pin<Box<dyn Future<Output = ()>>>;

/// What needs the whole request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from a request",
    note = "see `ropewalk_web::extract` for what can"
)]
pub trait FromRequest: Sized + 'static {
    /// What is answered when it cannot be had.
    type Rejection: IntoResponse;

    /// Takes it.
    fn from_request(
        request: Request<Body>,
    ) -> impl Future<Output = Result<Self, Self::Rejection>> + 'static;

    /// Whether the request says nothing of it at all: then `Option<Self>` is `None`.
    fn is_absent(request: &Request<Body>) -> bool {
        let _ = request;
        false
    }
}
