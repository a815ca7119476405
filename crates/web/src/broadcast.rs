//! What the broadcasts of [WebSockets](crate::websocket::Broadcast) and of [events](crate::sse::Broadcast)
//! have in common: who is in one, and what becomes of those that do not keep up.

use std::cell::{Cell, RefCell};

/// What may be unsent for a member that is sent one more message, unless told.
pub(crate) const UNSENT: u64 = 64 * 1024;

/// With so many members, those that have ended are looked for, for the first time.
const PRUNE_AT: usize = 64;

/// What becomes of a member of a broadcast that does not read as fast as is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// It does not get this message: for news of which the next one matters as much, such as
    /// figures.
    #[default]
    Skip,
    /// It is ended, and may come back: for messages of which none may be missing, such as what
    /// people say.
    Drop,
}

/// What became of a message that was broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BroadcastReport {
    /// So many were sent it.
    pub sent: usize,
    /// So many were not, because they do not keep up.
    pub skipped: usize,
    /// So many were ended for that.
    pub dropped: usize,
}

/// What became of a message for one member.
pub(crate) enum Delivery {
    Sent,
    /// It was not meant for this one.
    Unwanted,
    /// Too much is unsent.
    Slow,
    /// It has ended.
    Gone,
}

/// Those who are in a broadcast, in the order in which they came.
pub(crate) struct Members<M> {
    list: RefCell<Vec<M>>,
    prune_at: Cell<usize>,
}

impl<M> Members<M> {
    /// Adds one. Those that have ended are taken out when their number may have doubled, so that
    /// they do not pile up where nothing is sent.
    pub(crate) fn join(&self, member: M, has_ended: impl Fn(&M) -> bool) {
        if self.len() >= self.prune_at.get() {
            self.retain(|member| !has_ended(member));
            self.prune_at.set((self.len() * 2).max(PRUNE_AT));
        }
        self.list.borrow_mut().push(member);
    }

    pub(crate) fn leave(&self, member: &M) -> bool
    where
        M: PartialEq,
    {
        let mut list = self.list.borrow_mut();
        let at = list.iter().position(|other| other == member);
        at.map(|at| list.remove(at)).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// Delivers a message to each by `deliver`; those that are too slow come to their end by `end`,
    /// if that is what is to become of them.
    pub(crate) fn send(
        &self,
        slow_reader: SlowReader,
        deliver: impl Fn(&M) -> Delivery,
        end: impl Fn(&M),
    ) -> BroadcastReport {
        let mut report = BroadcastReport::default();
        self.retain(|member| match deliver(member) {
            Delivery::Sent => {
                report.sent += 1;
                true
            }
            Delivery::Unwanted => true,
            Delivery::Gone => false,
            Delivery::Slow if slow_reader == SlowReader::Skip => {
                report.skipped += 1;
                true
            }
            Delivery::Slow => {
                report.dropped += 1;
                end(member);
                false
            }
        });
        report
    }

    /// Keeps those that `stays` says. It may come back here: the list is not borrowed meanwhile.
    pub(crate) fn retain(&self, stays: impl FnMut(&M) -> bool) {
        let mut list = self.list.take();
        list.retain(stays);
        let joined = self.list.replace(list);
        self.list.borrow_mut().extend(joined);
    }
}

impl<M> Default for Members<M> {
    fn default() -> Self {
        Self {
            list: RefCell::default(),
            prune_at: Cell::new(PRUNE_AT),
        }
    }
}
