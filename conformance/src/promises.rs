//! What holds of all that a driver reports, checked as it is reported.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use ropewalk_core::ConnectionId;
use ropewalk_reactor::driver::{DatagramId, ListenerId, QueryId, WatchId};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Up,
    ReadClosed,
    Failed,
}

struct Known {
    stage: Stage,
    reading: bool,
}

/// The names that are open, and what was broken.
#[derive(Default)]
pub(crate) struct Promises {
    connections: RefCell<BTreeMap<ConnectionId, Known>>,
    listeners: RefCell<BTreeMap<u32, bool>>,
    ports: RefCell<BTreeSet<(u32, u32)>>,
    queries: RefCell<BTreeSet<u64>>,
    watches: RefCell<BTreeSet<u32>>,
    waited: Cell<bool>,
    broken: RefCell<Vec<String>>,
}

impl Promises {
    /// What was not kept.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.broken.borrow().clone()
    }

    pub(crate) fn break_with(&self, what: String) {
        self.broken.borrow_mut().push(what);
    }

    pub(crate) fn begin_poll(&self) {
        self.waited.set(false);
    }

    /// After each `poll` that went well.
    pub(crate) fn end_poll(&self) {
        if !self.waited.get() {
            self.break_with("a poll did not report `waited`".to_owned());
        }
    }

    pub(crate) fn waited(&self) {
        if self.waited.replace(true) {
            self.break_with("`waited` was reported twice in one poll".to_owned());
        }
    }

    fn report(&self, what: &str) {
        if !self.waited.get() {
            self.break_with(format!("`{what}` was reported before `waited`"));
        }
    }

    /// The loop has named a connection that is being made, or is up.
    pub(crate) fn open(&self, id: ConnectionId, is_up: bool) {
        let stage = if is_up { Stage::Up } else { Stage::Connecting };
        let reading = true;
        let known = Known { stage, reading };
        self.connections.borrow_mut().insert(id, known);
    }

    pub(crate) fn close(&self, id: ConnectionId) {
        self.connections.borrow_mut().remove(&id);
    }

    pub(crate) fn set_reading(&self, id: ConnectionId, on: bool) {
        if let Some(known) = self.connections.borrow_mut().get_mut(&id) {
            known.reading = on;
        }
    }

    pub(crate) fn opened(&self, id: ConnectionId) {
        self.step("opened", id, &[Stage::Connecting], Some(Stage::Up));
    }

    pub(crate) fn connect_failed(&self, id: ConnectionId) {
        self.step("connect_failed", id, &[Stage::Connecting], None);
        self.close(id);
    }

    pub(crate) fn received(&self, id: ConnectionId, len: usize) {
        self.step("received", id, &[Stage::Up], None);
        self.while_reading("received", id);
        if len == 0 {
            self.break_with(format!("`received` of no bytes for {id}"));
        }
    }

    pub(crate) fn descriptors(&self, id: ConnectionId) {
        self.step("descriptors", id, &[Stage::Up], None);
        self.while_reading("descriptors", id);
    }

    pub(crate) fn read_closed(&self, id: ConnectionId) {
        let after = Some(Stage::ReadClosed);
        self.step("read_closed", id, &[Stage::Up], after);
        self.while_reading("read_closed", id);
    }

    pub(crate) fn writable(&self, id: ConnectionId) {
        let stages = &[Stage::Up, Stage::ReadClosed];
        self.step("writable", id, stages, None);
    }

    pub(crate) fn failed(&self, id: ConnectionId) {
        let stages = &[Stage::Up, Stage::ReadClosed];
        self.step("failed", id, stages, Some(Stage::Failed));
    }

    fn step(&self, what: &str, id: ConnectionId, from: &[Stage], to: Option<Stage>) {
        self.report(what);
        let mut connections = self.connections.borrow_mut();
        match connections.get_mut(&id) {
            None => self.break_with(format!("`{what}` for {id}, which is not open")),
            Some(known) if !from.contains(&known.stage) => {
                self.break_with(format!("`{what}` for {id} at the stage {:?}", known.stage));
            }
            Some(known) => known.stage = to.unwrap_or(known.stage),
        }
    }

    fn while_reading(&self, what: &str, id: ConnectionId) {
        let connections = self.connections.borrow();
        if connections.get(&id).is_some_and(|known| !known.reading) {
            self.break_with(format!("`{what}` for {id}, which is not to be read"));
        }
    }

    pub(crate) fn listen(&self, id: ListenerId) {
        self.listeners.borrow_mut().insert(id.0, true);
    }

    pub(crate) fn close_listener(&self, id: ListenerId) {
        self.listeners.borrow_mut().remove(&id.0);
    }

    pub(crate) fn resume_accepting(&self, id: ListenerId) {
        if let Some(accepting) = self.listeners.borrow_mut().get_mut(&id.0) {
            *accepting = true;
        }
    }

    pub(crate) fn accepted(&self, id: ListenerId) {
        self.of_listener("accepted", id, true);
    }

    pub(crate) fn accept_failed(&self, id: ListenerId) {
        self.of_listener("accept_failed", id, false);
    }

    fn of_listener(&self, what: &str, id: ListenerId, goes_on: bool) {
        self.report(what);
        match self.listeners.borrow_mut().get_mut(&id.0) {
            None => self.break_with(format!("`{what}` for {id:?}, which is closed")),
            Some(false) => self.break_with(format!("`{what}` for {id:?}, which rests")),
            Some(accepting) => *accepting = goes_on,
        }
    }

    pub(crate) fn open_datagrams(&self, id: DatagramId) {
        self.ports.borrow_mut().insert((id.index, id.serial));
    }

    pub(crate) fn close_datagrams(&self, id: DatagramId) {
        self.ports.borrow_mut().remove(&(id.index, id.serial));
    }

    pub(crate) fn of_datagrams(&self, what: &str, id: DatagramId) {
        self.report(what);
        if !self.ports.borrow().contains(&(id.index, id.serial)) {
            self.break_with(format!("`{what}` for {id:?}, which is closed"));
        }
    }

    pub(crate) fn resolve(&self, id: QueryId) {
        self.queries.borrow_mut().insert(id.0);
    }

    pub(crate) fn resolved(&self, id: QueryId) {
        self.report("resolved");
        if !self.queries.borrow_mut().remove(&id.0) {
            self.break_with(format!("`resolved` for {id:?}, which nobody asked"));
        }
    }

    pub(crate) fn watch(&self, id: WatchId) {
        self.watches.borrow_mut().insert(id.0);
    }

    pub(crate) fn unwatch(&self, id: WatchId) {
        self.watches.borrow_mut().remove(&id.0);
    }

    pub(crate) fn ready(&self, id: WatchId) {
        self.report("ready");
        if !self.watches.borrow_mut().remove(&id.0) {
            self.break_with(format!("`ready` for {id:?}, which is not watched"));
        }
    }
}
