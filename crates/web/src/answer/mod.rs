//! What a handler may answer with.
//!
//! Anything that is [`IntoResponse`]: text and bytes, [`Json`](crate::extract::Json) and [`Html`],
//! a status, nothing at all, a [`Redirect`], an [`Attachment`], a whole `Response`, a `Result` of
//! these, and tuples that put a status and headers before a body.
//!
//! ```
//! use http::{StatusCode, header};
//! use ropewalk_web::answer::{Html, IntoResponse};
//!
//! let response = (StatusCode::CREATED, [(header::LOCATION, "/tea/7")], Html("<p>Brewed"));
//! let response = response.into_response();
//! assert_eq!(response.status(), 201);
//! assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
//! ```
//!
//! | the answer | status | `Content-Type` |
//! |---|---|---|
//! | `&'static str`, `String` | 200 | `text/plain; charset=utf-8` |
//! | `Bytes`, `Vec<u8>` | 200 | `application/octet-stream` |
//! | `Html(text)` | 200 | `text/html; charset=utf-8` |
//! | `Json(value)` | 200 | `application/json` |
//! | `Body` | 200 | none: say one |
//! | `()` | 204 | none |
//! | `StatusCode` | itself | none |
//! | [`Redirect`] | 301, 302, 303, 307 or 308 | none |
//! | [`Rejection`] | its own | `text/plain`, or `application/problem+json` if that was asked for |
//! | `Option<T>` | that of `T`; 404 for `None` | |
//! | [`SessionError`](crate::session::SessionError) | 503 if the store has failed, otherwise 500 | `text/plain` |
//! | [`BoxError`](crate::BoxError), [`Failure`](ropewalk_core::Failure) | 500, or that of a body that could not be read | `text/plain`; the error itself is in the log only |

mod attachment;
mod html;
mod into_response;
mod redirect;
mod rejection;

pub use attachment::Attachment;
pub use html::{Escaped, Html};
pub use into_response::{IntoHeaders, IntoResponse};
pub(crate) use redirect::without_port;
pub use redirect::{HttpsRedirect, Redirect};
pub use rejection::Rejection;
