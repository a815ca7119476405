//! Files that clients put into a folder, and go on with where they broke off.
//!
//! [`Uploads`] is a service, and nothing is uploaded to a site that does not mount one. It does not
//! ask who uploads: put what does before it.
//!
//! ```no_run
//! use ropewalk_web::{FileService, Uploads};
//! use ropewalk_web::router::Router;
//!
//! let uploads = Uploads::new("/srv/incoming")?.max_size(64 << 20);
//! let downloads = FileService::new("/srv/incoming")?;
//! let router = Router::builder().nest("/files", uploads.with_downloads(downloads)).build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | request | answer |
//! |---|---|
//! | `PUT /name` | 201 when it is there, 204 if it took the place of another |
//! | `PUT /name` with `Content-Range: bytes 1000-1999/5000` | that piece: 202, and with the last one 201 or 204 |
//! | the same, where not all that stands before it has come | 416, and `Content-Range: bytes */…` says how much has |
//! | the same, while somebody else uploads that name | 409, at once |
//! | `HEAD /name` | 200: `Content-Length` is how much has come; 404: nothing |
//! | the same, where what is there is not as `If-Match`, `If-None-Match` or `If-Unmodified-Since` says | 412, before a `100 Continue`, or at the end, if it was changed meanwhile |
//! | a file that is, or will be, larger than allowed | 413, before a `100 Continue` |
//! | a folder that is not there, or a name that is one | 409 |
//! | a name that no [`FileService`](crate::FileService) would open: with `..`, hidden | 404 |
//! | any other method | that of the downloads, or 405 |
//!
//! `If-None-Match: *` creates a file, and never replaces one. The entity tags are those of a
//! [`FileService`](crate::FileService): one of a file that was written less than three seconds ago is weak,
//! and `If-Match` with it is refused (RFC 9110, section 13.1.1).
//!
//! `Upload-Offset` in the answers to HEAD, 202 and 416 is how much has come, and `Upload-Complete`
//! (`?1` or `?0`) whether that is all. So a client that broke off asks with HEAD, and sends the rest
//! (`curl -C 1000 -T file`; with `-C -` curl does not ask, and begins anew). A `PUT` without `Content-Range`, or from 0, begins anew.
//!
//! # What it promises
//!
//! - **The folder has whole files only.** What has come of one stands beside it, as `.name.part`, a
//!   name that nobody can ask for, and takes its place when it is complete and on the disk, by a
//!   rename. What is broken off is kept until somebody goes on with it or begins anew; a job of yours
//!   may delete old ones.
//! - **Nothing outside of the folder is written**: the way to it is opened as that of
//!   [files](crate::files) is, and the name itself never through a link.
//! - **The loop does not wait for the disk**: files are made, written and renamed by the reactor's
//!   threads, 64 KiB at a time, and the client is slowed down meanwhile. (The way to the folder is
//!   opened by the loop, as that to files which are served.)
//! - One upload of a name at a time, among all processes that lock files (`flock`).

mod content_range;
mod partial;
mod service;

pub use content_range::ContentRange;
pub use service::Uploads;
