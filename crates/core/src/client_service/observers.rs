//! Who wants to know the states of a service, and what they are yet to be told.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};

use super::ClientState;

type Observer = Rc<dyn Fn(ClientState)>;

#[derive(Default)]
pub(super) struct Observers {
    list: Rc<RefCell<Vec<(u64, Observer)>>>,
    next: Cell<u64>,
    /// States that nobody was told yet.
    untold: RefCell<VecDeque<ClientState>>,
    telling: Cell<bool>,
}

impl Observers {
    pub(super) fn subscribe(&self, observer: Observer) -> StateSubscription {
        let number = self.next.get();
        self.next.set(number + 1);
        self.list.borrow_mut().push((number, observer));
        StateSubscription {
            list: Rc::downgrade(&self.list),
            number,
        }
    }

    pub(super) fn note(&self, state: ClientState) {
        if !self.list.borrow().is_empty() {
            self.untold.borrow_mut().push_back(state);
        }
    }

    /// Tells what was noted, unless that is being done already. No borrow is held meanwhile.
    pub(super) fn tell(&self) {
        if self.telling.replace(true) {
            return;
        }
        let _telling = Telling(&self.telling);
        loop {
            let Some(state) = self.untold.borrow_mut().pop_front() else {
                return;
            };
            let observers: Vec<_> = self.list.borrow().clone();
            for (number, observer) in observers {
                let listens = |list: &Vec<(u64, Observer)>| list.iter().any(|(n, _)| *n == number);
                // An earlier one may have dropped its subscription.
                if listens(&self.list.borrow()) {
                    observer(state);
                }
            }
        }
    }
}

/// Ends the telling, after a panic too.
struct Telling<'a>(&'a Cell<bool>);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// An observer of a [`ClientService`](super::ClientService) is told states until this is dropped.
pub struct StateSubscription {
    list: Weak<RefCell<Vec<(u64, Observer)>>>,
    number: u64,
}

impl Drop for StateSubscription {
    fn drop(&mut self) {
        let Some(list) = self.list.upgrade() else {
            return;
        };
        let place = list.borrow().iter().position(|(n, _)| *n == self.number);
        // Dropped when the list is free again: what the observer holds may be another subscription.
        let observer = place.map(|place| list.borrow_mut().remove(place));
        drop(observer);
    }
}

impl fmt::Debug for StateSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateSubscription")
    }
}
