//! Files of a folder, over HTTP.
//!
//! [`FileService`] answers GET and HEAD for the files below one folder, its root. It is a
//! [`tower_service::Service`] whose answers are ready when the call returns.
//!
//! # What it promises
//!
//! - **Nothing outside the root is ever opened**, whatever the path says: escapes, `..`, absolute
//!   paths, and symbolic links that lead out all come to 404. Links that stay inside work. Names
//!   that begin with a dot are hidden (404), except `/.well-known` (RFC 8615). Only regular files
//!   are served; a FIFO, a device or a socket is 404, and cannot hold the loop.
//! - **Folders.** `/folder` is redirected to `/folder/` (301, with its query), which is answered
//!   by its index, or by a [listing](FileService::listing) where that is allowed, or by 404.
//! - **Methods.** All but GET and HEAD, OPTIONS included, are answered 405 with `Allow`. HEAD
//!   has the headers of GET, `Content-Length` included, and no body.
//! - **Conditional requests and ranges** are those of RFC 9110, sections 13 and 14. Several
//!   ranges are answered as `multipart/byteranges`; ranges that overlap or nearly touch become
//!   one, and for more than 16 the whole file is sent.
//! - **Errors of the system.** What may not be read is 403; what is not there is 404; with no
//!   file descriptor left, 503 with `Retry-After`; the rest is 500, and the log says why.
//! - **Compressed forms** that lie beside a file are sent to those who take them, where that is
//!   [allowed](FileService::precompressed).
//!
//! # Versions of a file
//!
//! The entity tag is made of the file's size, inode and time of last write in nanoseconds. It is
//! strong, except while the file was written (or renamed, or had its mode changed) less than
//! about two seconds ago: then it may be written again before the clock of its file system
//! ticks, so its tag is weak, and `If-Range` does not trust its date. A new version that is given
//! the same size and the same time by force, in the same inode, has the same tag. Servers
//! that share a site by copying it have different tags for it, because inodes differ.
//!
//! # Memory and time
//!
//! Files up to 64 KiB are read at once and [cached](FileService::cache) per loop; a cached file
//! is looked at again when a second has passed, so a change is seen within one second, and a hot
//! file costs no system call. Larger files are never read here: the body names a region of the
//! open file, and the transport sends it. If such a file shrinks meanwhile, the promised
//! `Content-Length` cannot be kept, and it is the transport that ends the connection.
//!
//! The calls to the file system block the loop, as those of most event-driven web servers do. On
//! a disk this takes microseconds; a network file system that hangs, hangs the loop.

mod cache;
pub(crate) mod conditional;
mod listing;
mod multipart;
mod page;
mod path;
mod precompressed;
mod range;
mod representation;
mod root;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use path::RequestPath;
pub(crate) use representation::validators;
pub(crate) use root::{Root, refusal};
pub use service::FileService;
