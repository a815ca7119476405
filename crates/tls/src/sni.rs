//! The name that a client asks for, on its way from where rustls tells it to where it is wanted.
//!
//! rustls tells it to whoever chooses a certificate, and to nobody else when it has no buffers. That
//! is within the call that processes the client's first message, on the same thread; so it waits
//! there until that call has returned.

use std::cell::RefCell;

thread_local! {
    static NAME: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A certificate is chosen for `name`.
pub(crate) fn put(name: Option<&str>) {
    NAME.set(name.map(str::to_ascii_lowercase));
}

/// The name that was put last, once.
pub(crate) fn take() -> Option<String> {
    NAME.take()
}
