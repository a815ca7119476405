//! Names to addresses: the reactor's own resolver, which asks the driver, and whichever was
//! installed in its place.
//!
//! Equal names that are looked up at the same time are looked up once. How many are under way is
//! bounded; the driver bounds how many it works on.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};

use ropewalk_core::{Deferred, NameResolver, Resolver};

use crate::driver::QueryId;
use crate::event_loop::{EventLoop, guard};

/// So many names may be looked up, or wait to be, at the same time.
const LOOKUPS: usize = 1024;

pub(crate) struct Names {
    resolver: RefCell<Rc<dyn NameResolver>>,
    asked: Cell<u64>,
    /// By the number of the driver's query.
    under_way: RefCell<BTreeMap<u64, Lookup>>,
}

struct Lookup {
    name: String,
    waiting: Vec<Waiting>,
}

struct Waiting {
    ticket: u64,
    port: u16,
    resolver: Resolver<Vec<SocketAddr>>,
}

impl Names {
    pub(crate) fn new(event_loop: &Weak<EventLoop>) -> Self {
        let event_loop = event_loop.clone();
        Self {
            resolver: RefCell::new(Rc::new(SystemResolver { event_loop })),
            asked: Cell::new(0),
            under_way: RefCell::default(),
        }
    }

    pub(crate) fn resolver(&self) -> Rc<dyn NameResolver> {
        Rc::clone(&self.resolver.borrow())
    }

    pub(crate) fn install(&self, resolver: Rc<dyn NameResolver>) -> Rc<dyn NameResolver> {
        self.resolver.replace(resolver)
    }

    fn next_number(&self) -> u64 {
        let number = self.asked.get();
        self.asked.set(number + 1);
        number
    }

    fn look_up(&self, event_loop: &EventLoop, name: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let known = self
            .under_way
            .borrow()
            .iter()
            .find_map(|(query, lookup)| (lookup.name == name).then_some(*query));
        if known.is_none() && self.under_way.borrow().len() >= LOOKUPS {
            return Deferred::fail(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("{LOOKUPS} other names are being looked up; try again later"),
            ));
        }
        let ticket = self.next_number();
        let query = known.unwrap_or_else(|| self.next_number());
        let later = event_loop.weak();
        let (resolver, found) = Deferred::with_canceller(move || {
            if let Some(event_loop) = later.upgrade() {
                event_loop.names.leave(&event_loop, query, ticket);
            }
        });
        let waiting = Waiting {
            ticket,
            port,
            resolver,
        };
        self.under_way
            .borrow_mut()
            .entry(query)
            .or_insert_with(|| Lookup {
                name: name.to_owned(),
                waiting: Vec::new(),
            })
            .waiting
            .push(waiting);
        if known.is_none() {
            event_loop.driver.resolve(QueryId(query), name, 0);
        }
        found
    }

    /// Who waits under `ticket` does no longer.
    fn leave(&self, event_loop: &EventLoop, query: u64, ticket: u64) {
        let mut under_way = self.under_way.borrow_mut();
        let Some(lookup) = under_way.get_mut(&query) else {
            return;
        };
        let at = lookup.waiting.iter().position(|one| one.ticket == ticket);
        let gone = at.map(|at| lookup.waiting.swap_remove(at));
        let is_last = lookup.waiting.is_empty();
        if is_last {
            under_way.remove(&query);
        }
        drop(under_way);
        drop(gone);
        if is_last {
            event_loop.driver.cancel_resolve(QueryId(query));
        }
    }

    /// The driver has an answer.
    pub(crate) fn resolved(&self, query: QueryId, result: io::Result<Vec<SocketAddr>>) {
        let lookup = self.under_way.borrow_mut().remove(&query.0);
        let Some(lookup) = lookup else { return };
        let result = result.and_then(|addresses| match addresses.is_empty() {
            true => Err(io::Error::other("the name has no address")),
            false => Ok(addresses),
        });
        for Waiting { port, resolver, .. } in lookup.waiting {
            let own = match &result {
                Ok(addresses) => Ok(addresses
                    .iter()
                    .map(|found| with_port(*found, port))
                    .collect()),
                // An error of the system is one's own, and cannot be copied.
                Err(error) => Err(io::Error::new(error.kind(), error.to_string()).into()),
            };
            guard("a callback of a look-up", || resolver.fire(own));
        }
    }

    /// The run ends: whoever waits learns that nothing will come.
    pub(crate) fn abandon(&self, event_loop: &EventLoop) {
        let under_way = self.under_way.take();
        for (query, lookup) in under_way {
            event_loop.driver.cancel_resolve(QueryId(query));
            for waiting in lookup.waiting {
                let error = io::Error::other("the reactor has ended before the name was found");
                guard("a callback of a look-up", || {
                    waiting.resolver.errback(error);
                });
            }
        }
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// The resolver of the system, by the driver.
struct SystemResolver {
    event_loop: Weak<EventLoop>,
}

impl NameResolver for SystemResolver {
    fn resolve_host_name(&self, name: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Deferred::succeed(vec![SocketAddr::new(address, port)]);
        }
        match self
            .event_loop
            .upgrade()
            .filter(|event_loop| !event_loop.is_over())
        {
            Some(event_loop) => event_loop.names.look_up(&event_loop, name, port),
            None => Deferred::fail(io::Error::other("the reactor has ended")),
        }
    }
}
