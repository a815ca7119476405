//! Interim responses that a handler asks for (RFC 9110, section 15.2).

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response, StatusCode};
use ropewalk_core::Connection;

use crate::current::{Current, Interim};

/// So many may be asked for at once; what is above is not sent.
const AT_ONCE: usize = 16;

/// Those that were asked for and not sent. They are sent as soon as the handler has returned.
#[derive(Clone, Default)]
pub(super) struct Interims(Rc<RefCell<Queue>>);

#[derive(Default)]
struct Queue {
    asked: Vec<(StatusCode, HeaderMap)>,
    /// The answer has begun.
    is_closed: bool,
}

impl Interims {
    /// The request at hand, for the code that answers it.
    pub(super) fn current(&self, connection: &Connection) -> Current {
        let queue = Rc::clone(&self.0);
        let ask = move |status, fields| {
            let mut queue = queue.borrow_mut();
            let is_taken = !queue.is_closed && queue.asked.len() < AT_ONCE;
            if is_taken {
                queue.asked.push((status, fields));
            }
            is_taken
        };
        Current {
            connection: connection.clone(),
            interim: Interim::OfStream(Rc::new(ask)),
        }
    }

    /// Sends those that were asked for. Whether `100 Continue` was one of them.
    pub(super) fn send(&self, respond: &mut SendResponse<Bytes>) -> bool {
        let asked = std::mem::take(&mut self.0.borrow_mut().asked);
        let mut continued = false;
        for (status, fields) in asked {
            continued |= status == StatusCode::CONTINUE;
            send(respond, status, fields);
        }
        continued
    }

    /// The answer begins.
    pub(super) fn close(&self) {
        self.0.borrow_mut().is_closed = true;
    }
}

/// Sends an interim response.
pub(super) fn send(respond: &mut SendResponse<Bytes>, status: StatusCode, fields: HeaderMap) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    // What cannot be sent is a handler's field that no message may have, or the stream is gone, and
    // the next look at it says so.
    if let Err(error) = respond.send_informational(response) {
        tracing::debug!(%error, %status, "an interim response was not sent");
    }
}
