//! Methods and paths, and who answers them.
//!
//! A [`Router`] is a service: it is made once by its [builder](Router::builder), which finds
//! mistakes, and is then cheap to clone.
//!
//! ```
//! use ropewalk_web::extract::{Json, Path};
//! use ropewalk_web::router::{Router, get, with_state};
//! use std::cell::RefCell;
//! use std::collections::BTreeMap;
//! use std::rc::Rc;
//!
//! type Teas = Rc<RefCell<BTreeMap<u32, String>>>;
//!
//! async fn show(teas: Teas, Path(id): Path<u32>) -> Option<Json<String>> {
//!     Some(Json(teas.borrow().get(&id)?.clone()))
//! }
//!
//! fn rename(teas: Teas, Path(id): Path<u32>, name: String) {
//!     teas.borrow_mut().insert(id, name);
//! }
//!
//! let teas = Teas::default();
//! let router = Router::builder()
//!     .route("/", get(|| "Tea"))
//!     .route("/teas/{id}", get(with_state(&teas, show)).put(with_state(&teas, rename)))
//!     .build()?;
//! # let _ = ropewalk_web::Site::new(router);
//! # Ok::<(), ropewalk_web::router::RouteError>(())
//! ```
//!
//! # Handlers
//!
//! A handler is a function, `async` or not, of up to eight [extractors](crate::extract), that
//! returns an [answer](crate::answer). Its future need not be `Send`. One that is no `async fn` and
//! takes nothing from the body is answered at once, without a task or an allocation for a future;
//! an `async fn` costs one allocation, and a task only if it really waits.
//!
//! What handlers share is given to each with [`with_state`], which passes a clone of it before the
//! extractors: an `Rc`, since a loop has one thread.
//!
//! # Paths
//!
//! | in a route | what it stands for |
//! |---|---|
//! | `/teas` | itself |
//! | `/teas/{id}` | one segment, not empty; `/tea-{id}.png` works too |
//! | `/files/{*path}` | all that follows, not empty |
//! | `{{`, `}}` | `{`, `}` |
//!
//! - What is fixed goes before what is a parameter, whichever was added first. Two routes of which
//!   neither goes before the other are an error when the router is built, which names both.
//! - **A slash at the end is part of the path**: `/teas` and `/teas/` are two routes. Nothing is
//!   redirected. So are two slashes: `//teas` is not `/teas`.
//! - Paths are compared as RFC 3986 says (section 6.2.2): `/%74eas` is `/teas`; `/a%2Fb` is one
//!   segment. Parameters are decoded; a bad escape, or bytes that are no UTF-8, are 400.
//! - A path with a segment `.` or `..`, however it is escaped, fits no route: clients resolve these
//!   before they ask. It goes to the fallback.
//!
//! # Methods
//!
//! A path that is there for other methods only is 405, with `Allow`. HEAD is answered by GET,
//! without the content; OPTIONS by 204 with `Allow`, as is `OPTIONS *`; unless the route has its own.
//!
//! # Services within
//!
//! [`nest`](RouterBuilder::nest) gives a service all that is below a path, which it then does not
//! see ([`OriginalUri`](crate::OriginalUri) remembers it); another router is such a service, as is a
//! [`FileService`](crate::FileService) or an `axum::Router`. [`any_service`] and
//! [`MethodRouter::on_service`] mount one at a single route, with the path as it is.
//! [`Router::layer`] puts a [`tower_layer::Layer`] around all, [`MethodRouter::layer`] around one
//! route.

mod builder;
mod handler;
mod method_router;
mod route_error;
mod table;

pub use builder::{Router, RouterBuilder};
pub use handler::{Handler, WithState, with_state};
pub use method_router::{
    MethodRouter, any, any_service, connect, delete, get, head, on, on_service, options, patch,
    post, put, websocket,
};
pub use route_error::{RouteError, RoutePlace};
