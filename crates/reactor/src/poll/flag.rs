//! What is known of a connection's descriptors, a bit each.

/// The loop wants what can be read.
pub(super) const READING: u16 = 1;
/// There may be something to read.
pub(super) const READABLE: u16 = 1 << 1;
/// A short read may have stopped before more: the peer's end, or a mark that it set in its
/// bytes by sending an urgent one (RFC 9293 section 3.8.5; FTP's ABOR does), or a descriptor
/// that came along and is not wanted.
pub(super) const MORE: u16 = 1 << 2;
/// The end was read.
pub(super) const READ_END: u16 = 1 << 3;
/// The kernel said that it takes bytes.
pub(super) const WRITE_READY: u16 = 1 << 4;
/// The loop waits for `writable`.
pub(super) const BLOCKED: u16 = 1 << 5;
/// The kernel was asked to say when it takes bytes.
pub(super) const ASKED: u16 = 1 << 6;
/// The connection is not up yet.
pub(super) const CONNECTING: u16 = 1 << 7;
/// The kernel reported an error.
pub(super) const ERROR: u16 = 1 << 8;
/// It stands in the queue of what is ready.
pub(super) const QUEUED: u16 = 1 << 9;
/// It is no socket. A short read says nothing: a terminal gives a line at a time.
pub(super) const PIPES: u16 = 1 << 10;
/// Descriptors are received.
pub(super) const DESCRIPTORS: u16 = 1 << 11;
