//! What a connection over the limit is told.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::slot::{Pending, Slot};
use crate::{Address, Protocol, Transport};

/// So many connections are answered that they are too many; those beyond are closed in silence.
const ANSWERED_AT_ONCE: usize = 64;

/// How long a peer may take to read that it is one too many, and to close.
const LINGER: Duration = Duration::from_secs(5);

type Build = Box<dyn Fn(&Address) -> Box<dyn Protocol>>;

/// What is done with a connection that is over a limit.
#[derive(Default)]
pub(super) struct Overflow {
    build: Option<Build>,
    answered: Rc<Cell<usize>>,
}

impl Overflow {
    pub(super) fn text(text: Bytes) -> Self {
        Self::protocol(move |_| Box::new(Answer(text.clone())))
    }

    pub(super) fn protocol(build: impl Fn(&Address) -> Box<dyn Protocol> + 'static) -> Self {
        Self {
            build: Some(Box::new(build)),
            answered: Rc::default(),
        }
    }

    pub(super) fn build(&self, peer: &Address, pending: &Pending) -> Option<Box<dyn Protocol>> {
        let build = self.build.as_ref()?;
        let slot = Slot::take(&self.answered, ANSWERED_AT_ONCE)?;
        let protocol = build(peer);
        pending.set(Some(Box::new(slot)));
        Some(protocol)
    }
}

/// Says one thing, and waits for the peer to close: a close with bytes unread would be a reset,
/// which may overtake what was said.
struct Answer(Bytes);

impl Protocol for Answer {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.set_timeout(Some(LINGER));
        transport.write_bytes(std::mem::take(&mut self.0));
        transport.lose_write_connection();
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}
