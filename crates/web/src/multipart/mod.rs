//! Forms with files: `multipart/form-data` (RFC 7578).
//!
//! [`Multipart`] is an extractor that gives the fields as they come, in their order, with
//! back-pressure; [`collect`](Multipart::collect) reads all of them at once, and puts files that are
//! larger than 100 kB into temporary files, as Twisted does.
//!
//! ```
//! use ropewalk_web::answer::Rejection;
//! use ropewalk_web::multipart::Multipart;
//! use ropewalk_web::router::{Router, post};
//!
//! async fn upload(mut form: Multipart) -> Result<String, Rejection> {
//!     let mut sizes = String::new();
//!     while let Some(mut field) = form.next_field().await? {
//!         let (name, mut size) = (field.name().to_owned(), 0);
//!         while let Some(piece) = field.chunk().await? {
//!             size += piece.len();
//!         }
//!         sizes += &format!("{name}: {size}\n");
//!     }
//!     Ok(sizes)
//! }
//! let router = Router::builder().route("/", post(upload).body_limit(64 << 20)).build()?;
//! # Ok::<(), ropewalk_web::router::RouteError>(())
//! ```
//!
//! # What is taken for a form
//!
//! The preamble and epilogue are thrown away. Each part has a `Content-Disposition: form-data` with a
//! `name`, or the form is refused (400). Names of files are those that the client says, without any
//! folders; `filename*` is ignored (section 4.2). Of the escapes that browsers make in names, `%22`,
//! `%0D` and `%0A` are undone, and `\"` and `\\`, which other clients make.
//!
//! # Limits
//!
//! Those of [`Limits`], with 413, and that of the whole body. No more of a form is in memory than what
//! one read brought, one head of a part, and what `collect` keeps there.

mod boundary;
mod collect;
mod disposition;
mod error;
mod extractor;
mod limits;
mod parser;

pub use boundary::boundary_of;
pub use collect::{FormData, UploadedFile};
pub use disposition::Disposition;
pub use error::MultipartError;
pub use extractor::{Field, Multipart};
pub use limits::Limits;
pub use parser::{Event, MultipartParser};
