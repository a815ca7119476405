//! The protocol under a stream: it keeps what comes, and says so.

use std::rc::Rc;

use super::ConnectionStream;
use super::state::State;
use crate::{Failure, Protocol, Transport};

pub(super) struct StreamProtocol {
    /// `None` until the connection is made.
    state: Option<Rc<State>>,
    start: Option<Start>,
}

/// What is done with a stream whose connection was just made.
pub(super) type Start = Box<dyn FnOnce(ConnectionStream, &mut Transport)>;

impl StreamProtocol {
    /// For a stream that its user has already.
    pub(super) fn of(state: Rc<State>) -> Self {
        Self {
            state: Some(state),
            start: None,
        }
    }

    /// For a connection that is to come.
    pub(super) fn starting(start: Start) -> Self {
        Self {
            state: None,
            start: Some(start),
        }
    }

    fn tell(&self, what: impl FnOnce(&State)) {
        if let Some(state) = &self.state {
            what(state);
        }
    }
}

impl Protocol for StreamProtocol {
    fn connection_made(&mut self, transport: &mut Transport) {
        if let Some(start) = self.start.take() {
            let state = Rc::new(State::new(transport.connection()));
            self.state = Some(Rc::clone(&state));
            start(ConnectionStream::of(state), transport);
        }
    }

    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.tell(|state| state.received(data));
    }

    fn read_closed(&mut self, _: &mut Transport) {
        // Half a connection is left, and it is the stream's to close.
        self.tell(State::read_closed);
    }

    fn write_resumed(&mut self, _: &mut Transport) {
        self.tell(State::drained);
    }

    fn drain(&mut self, _: &mut Transport) {
        self.tell(State::shutting_down);
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.tell(|state| state.lost(reason));
    }
}

/// It may go without `connection_lost`: for another protocol, or before it was ever in its place.
/// Whoever waits on the stream is told then.
impl Drop for StreamProtocol {
    fn drop(&mut self) {
        self.tell(|state| {
            state.lost(Failure::msg(
                "the connection is gone: it ended before the stream had it, or was given to \
                 another protocol",
            ));
            // Its drop is not to close what is another one's.
            state.disconnect();
        });
    }
}
