//! Names to addresses, by the system's resolver, which blocks: look-ups are made on a few threads,
//! which are there only while there is something to look up.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::driver::{QueryId, Wake};

/// So many names are looked up at the same time.
const THREADS: usize = 8;

type Answer = (QueryId, io::Result<Vec<SocketAddr>>);

/// Look-ups under way, and answers that wait for the loop.
pub(super) struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    waker: Arc<dyn Wake>,
}

#[derive(Default)]
struct State {
    questions: VecDeque<Question>,
    answers: Vec<Answer>,
    threads: usize,
}

struct Question {
    query: QueryId,
    host: String,
    port: u16,
}

impl Resolver {
    pub(super) fn new(waker: Arc<dyn Wake>) -> Self {
        let state = Mutex::default();
        Self {
            shared: Arc::new(Shared { state, waker }),
        }
    }

    pub(super) fn resolve(&self, query: QueryId, host: String, port: u16) {
        let mut state = self.shared.state();
        state.questions.push_back(Question { query, host, port });
        if state.threads == THREADS {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("resolver".to_owned());
        match thread.spawn(move || shared.work()) {
            Ok(_) => state.threads += 1,
            // Another thread will come to it.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                state.questions.pop_back();
                state.answers.push((query, Err(error)));
                drop(state);
                self.shared.waker.wake();
            }
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn cancel(&self, query: QueryId) {
        let mut state = self.shared.state();
        state.questions.retain(|question| question.query != query);
    }

    pub(super) fn take_answers(&self) -> Vec<Answer> {
        std::mem::take(&mut self.shared.state().answers)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Nobody hears the answers.
        self.shared.state().questions.clear();
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state();
        while let Some(question) = state.questions.pop_front() {
            drop(state);
            let found = (question.host.as_str(), question.port).to_socket_addrs();
            state = self.state();
            let found = found.map(Iterator::collect);
            state.answers.push((question.query, found));
            self.waker.wake();
        }
        state.threads -= 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
