//! What has happened, in order: a [`Log`] for each who is told anything.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A list of events that is shared by those who note and those who look.
///
/// The logs of a case are frozen when its end has come, so that the clearing away is not in them.
#[derive(Clone, Default)]
pub(crate) struct Log {
    events: Rc<RefCell<Vec<String>>>,
    frozen: Rc<Cell<bool>>,
}

impl Log {
    pub(crate) fn new(frozen: Rc<Cell<bool>>) -> Self {
        Self {
            events: Rc::default(),
            frozen,
        }
    }

    /// Appends an event.
    pub(crate) fn note(&self, event: impl Into<String>) {
        if !self.frozen.get() {
            self.events.borrow_mut().push(event.into());
        }
    }

    /// Appends received bytes. Those that come in several pieces are one event, since a network may
    /// split them anywhere.
    pub(crate) fn note_data(&self, data: &[u8]) {
        if self.frozen.get() {
            return;
        }
        let data = String::from_utf8_lossy(data);
        let mut events = self.events.borrow_mut();
        match events.last_mut().filter(|last| last.starts_with("data ")) {
            Some(last) => last.push_str(&data),
            None => events.push(format!("data {data}")),
        }
    }

    /// A call that notes `event`.
    pub(crate) fn noting(&self, event: impl Into<String>) -> impl FnOnce() + 'static {
        let (log, event) = (self.clone(), event.into());
        move || log.note(event)
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.events.borrow().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.events.borrow().len()
    }

    /// Whether this very event is there.
    pub(crate) fn has(&self, event: &str) -> bool {
        self.events.borrow().iter().any(|one| one == event)
    }

    /// How many events are, or begin with, `beginning`.
    pub(crate) fn count(&self, beginning: &str) -> usize {
        let events = self.events.borrow();
        events
            .iter()
            .filter(|one| one.starts_with(beginning))
            .count()
    }

    /// Whether the connection that is noted here is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.count("lost: ") > 0
    }

    /// What the connection ended with.
    pub(crate) fn reason(&self) -> String {
        let events = self.events.borrow();
        let reason = events.iter().find_map(|one| one.strip_prefix("lost: "));
        reason.unwrap_or("(nothing)").to_owned()
    }

    /// Asserts that this and nothing else has happened.
    #[track_caller]
    pub(crate) fn assert(&self, expected: &[&str]) {
        assert_eq!(self.events(), expected);
    }
}
