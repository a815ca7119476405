//! A tree of resources, as in Twisted: a path is walked through it, segment by segment.
//!
//! A [`Resource`] is a service like any other: give it to a [`Site`](crate::Site), or nest it in a
//! [`Router`](crate::Router). Its methods are answered by [handlers](crate::router), with all that
//! these may take and give.
//!
//! ```
//! use ropewalk_web::answer::Html;
//! use ropewalk_web::resource::{Resource, ResourcePath};
//!
//! let hello = Resource::new().render_get(|| Html("<p>Hello, world!"));
//! let echo = Resource::new().is_leaf(true).render_get(|path: ResourcePath| path.postpath.join("/"));
//! let root = Resource::new().put_child("", hello).put_child("echo", echo);
//! # let _ = ropewalk_web::Site::new(root);
//! ```
//!
//! # From a path to a resource
//!
//! - The walk begins at the root with the segments of the path: `/a/b` is `a`, `b`; `/a/` is `a`
//!   and the empty one; `/` is the empty one alone. They are decoded (400 if they are no UTF-8).
//! - At each resource that is no leaf, the next segment is looked up among the children that were
//!   [put](Resource::put_child) there, then given to [`get_child`](Resource::get_child). Neither:
//!   404.
//! - **An empty last segment that nobody took is the resource itself.** So a page that is put at
//!   `/` answers for `/`, with no trap in between; a child named `""` goes before it.
//! - **A leaf takes what is left**, whatever it is: its handlers see it as
//!   [`ResourcePath::postpath`]. A resource without children is no leaf: below it is 404.
//! - `.` and `..` are no segments: 404.
//!
//! # From a method to an answer
//!
//! - `render_get`, `render_post` and so on; [`render`](Resource::render) is for those that have
//!   none of their own. HEAD is that of GET without the content, OPTIONS tells what is allowed.
//! - A method that has no handler is 405, with `Allow`, if the resource has any at all.
//! - **A resource with no handler is only there for its children**: it is 404.
//! - **A handler that returns nothing has said that all is well**: it is 204.
//! - There is no `NOT_DONE_YET` and no `finish`: a handler that needs time is `async`; one that
//!   answers piece by piece returns the [`Body`](crate::Body) of a
//!   [`BodyWriter`](crate::BodyWriter). The answer ends when its writer is dropped, so that none
//!   can be forgotten.

mod node;
mod path;

pub use node::Resource;
pub use path::ResourcePath;
