//! Deals the connections of a shared port out, so that no worker has many more than another.
//!
//! The system deals them out blindly, by a hash of their addresses (or a Unix socket's to whoever
//! wakes first). Of thousands each worker gets about its share; of eight, one may get seven. So a
//! worker that would have clearly more connections than the one with the fewest hands what it
//! accepts to that one. All that they share for it is a count each.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ropewalk_core::Address;

use crate::driver::ListenerId;
use crate::remote::ReactorRemote;

/// How many accepted connections a loop has: its own count, on its own line of the cache.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Load(AtomicUsize);

/// One port of several workers.
pub(crate) struct Dealer {
    loads: Arc<[Arc<Load>]>,
    /// Where a worker takes connections over; `None` while it does not listen.
    doors: Vec<Mutex<Option<Door>>>,
    /// Which of them do, to be looked at without their locks.
    listening: Vec<AtomicBool>,
}

#[derive(Clone)]
struct Door {
    reactor: ReactorRemote,
    listener: ListenerId,
}

/// One worker's place at a shared port, for as long as it listens.
pub(crate) struct Seat {
    dealer: Arc<Dealer>,
    worker: usize,
}

impl Load {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Dealer {
    /// For as many workers as there are loads.
    pub(crate) fn new(loads: Arc<[Arc<Load>]>) -> Arc<Self> {
        let doors = loads.iter().map(|_| Mutex::default()).collect();
        let listening = loads.iter().map(|_| AtomicBool::default()).collect();
        Arc::new(Self {
            loads,
            doors,
            listening,
        })
    }

    /// `worker` listens too.
    pub(crate) fn seat(
        self: &Arc<Self>,
        worker: usize,
        reactor: ReactorRemote,
        listener: ListenerId,
    ) -> Seat {
        *self.door(worker) = Some(Door { reactor, listener });
        self.listening[worker].store(true, Ordering::Relaxed);
        Seat {
            dealer: Arc::clone(self),
            worker,
        }
    }

    fn door(&self, worker: usize) -> MutexGuard<'_, Option<Door>> {
        let door = &self.doors[worker];
        door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Who is to have the next connection, if somebody else: hands it over.
    pub(crate) fn next(&self) -> Option<impl FnOnce(OwnedFd, Address, Address) + use<>> {
        let loads = &self.dealer.loads;
        let listens = |worker: usize| self.dealer.listening[worker].load(Ordering::Relaxed);
        let all = loads.iter().enumerate();
        let (other, least) = all
            .filter(|(worker, _)| listens(*worker))
            .map(|(worker, load)| (worker, load.get()))
            .min_by_key(|(_, load)| *load)?;
        // To hand one over costs its first answer a hop. The more there are, the less does one
        // more matter.
        if loads[self.worker].get() < least + 1 + least / 8 {
            return None;
        }
        let Door { reactor, listener } = self.dealer.door(other).clone()?;
        let load = Arc::clone(&loads[other]);
        Some(move |socket, peer, host| {
            // At once, for the next one that is dealt out.
            load.add();
            let arrived = Arc::clone(&load);
            let handed_over = reactor.call_from_thread(move |reactor| {
                arrived.remove();
                reactor.inner.take_over(listener, socket, peer, host);
            });
            if !handed_over {
                load.remove();
            }
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.dealer.listening[self.worker].store(false, Ordering::Relaxed);
        *self.dealer.door(self.worker) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reactor;

    #[test]
    fn whoever_does_not_listen_keeps_no_connections_from_the_others() {
        let loads: Arc<[Arc<Load>]> = (0..3).map(|_| Arc::default()).collect();
        let dealer = Dealer::new(Arc::clone(&loads));
        let reactor = Reactor::new().unwrap();
        let seat = |worker| dealer.seat(worker, reactor.remote(), ListenerId(0));
        let (busy, idle) = (seat(1), seat(2));
        (0..3).for_each(|_| loads[1].add());
        assert!(busy.next().is_some());
        assert!(idle.next().is_none());
        drop(idle);
        assert!(busy.next().is_none());
    }
}
