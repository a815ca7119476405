//! The request that is being answered, for the code that answers it.
//!
//! A service is called with a request, and returns a response. What a handler may want beside that,
//! it asks for here: whatever runs in its future, on any depth of middleware, is in the scope of its
//! request.

use std::cell::Cell;
use std::rc::Rc;

use http::{HeaderMap, StatusCode};
use ropewalk_core::Connection;

/// Sends an interim response with `status` and `fields` to the request that is being answered, before
/// its answer: `103 Early Hints` (RFC 8297), with `Link` fields for what the client will need, or
/// `100 Continue`, if it is to be sent before the body is read. It goes out at once.
///
/// `false`, and nothing is sent, where no request is being answered (this was not called from within
/// a handler, or it answers no request of a [`Site`](crate::Site)), where the client speaks HTTP/1.0,
/// which knows none (RFC 9110, section 15.2), or where `status` is no 1xx, or 101, which is an answer.
/// Once the answer has begun nothing is sent either; so it is with HTTP/1.1 where a handler answers
/// at once, without having waited for anything: there the answer is all that goes out.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use ropewalk_web::send_interim;
///
/// async fn page() -> &'static str {
///     let mut fields = HeaderMap::new();
///     fields.insert("link", "</style.css>; rel=preload; as=style".parse().unwrap());
///     send_interim(StatusCode::EARLY_HINTS, fields);
///     // … and what takes its time.
///     "<!DOCTYPE html>"
/// }
/// # assert!(!send_interim(StatusCode::EARLY_HINTS, HeaderMap::new()));
/// # let _ = page;
/// ```
pub fn send_interim(status: StatusCode, fields: HeaderMap) -> bool {
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return false;
    }
    current().is_some_and(|current| current.send(status, fields))
}

/// The connection whose request is being answered: for its reactor, and for what its layers know of
/// it, as a client's certificate ([`Transport::fact`](ropewalk_core::Transport::fact)). With HTTP/2
/// it carries other requests too. `None` outside of a handler.
///
/// ```
/// use ropewalk_core::Secured;
///
/// let secured = ropewalk_web::current_connection()
///     .and_then(|connection| connection.act(|transport| transport.fact::<Secured>()));
/// # assert!(secured.is_none());
/// ```
#[must_use]
pub fn current_connection() -> Option<Connection> {
    Some(current()?.connection)
}

fn current() -> Option<Current> {
    CURRENT.with(|cell| {
        let current = cell.take();
        cell.set(current.clone());
        current
    })
}

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// A request that is being answered.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) connection: Connection,
    pub(crate) interim: Interim,
}

/// What sends interim responses.
#[derive(Clone)]
pub(crate) enum Interim {
    /// The client speaks HTTP/1.0, which knows none.
    Unknown,
    /// The request is the connection's, with this number. (It costs nothing to make.)
    OfConnection(fn(&Connection, u64, StatusCode, HeaderMap) -> bool, u64),
    /// The request is one of many.
    OfStream(Rc<dyn Fn(StatusCode, HeaderMap) -> bool>),
}

impl Current {
    /// Makes this the request that is being answered, until the scope is dropped.
    #[inline]
    pub(crate) fn enter(self) -> Scope {
        Scope {
            outer: CURRENT.replace(Some(self)),
        }
    }

    fn send(&self, status: StatusCode, fields: HeaderMap) -> bool {
        match &self.interim {
            Interim::Unknown => false,
            Interim::OfConnection(send, number) => send(&self.connection, *number, status, fields),
            Interim::OfStream(send) => send(status, fields),
        }
    }
}

/// What was current before is so again, however this is left.
#[must_use]
pub(crate) struct Scope {
    outer: Option<Current>,
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.outer.take());
    }
}
