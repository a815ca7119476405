//! Names of hosts: each host has its own, and others may be added.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ropewalk_reactor::driver::QueryId;

use crate::machine::{HostId, Ready};
use crate::net::{Event, Net};

/// How long a look-up takes.
const LEAST: Duration = Duration::from_micros(500);
const MOST: Duration = Duration::from_millis(20);

/// How long the system's resolver tries before it gives up (resolv.conf(5): two attempts of 5 s).
const GIVES_UP: Duration = Duration::from_secs(10);

pub(crate) struct Names {
    known: BTreeMap<String, Vec<IpAddr>>,
}

impl Names {
    pub(crate) fn new() -> Self {
        let localhost = vec![Ipv4Addr::LOCALHOST.into()];
        Self {
            known: BTreeMap::from([("localhost".to_owned(), localhost)]),
        }
    }

    pub(crate) fn add(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.known.insert(name.to_ascii_lowercase(), addresses);
    }

    pub(crate) fn get(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match self.known.get(&name) {
            Some(found) if !found.is_empty() => Ok(found.clone()),
            _ => Err(io::Error::other("Name or service not known")),
        }
    }
}

impl Net {
    pub(crate) fn resolve(&mut self, host: HostId, query: QueryId, name: &str, port: u16) {
        let takes = match self.machine(host).knows_no_names {
            0 => self.random.between(LEAST, MOST),
            _ => GIVES_UP,
        };
        let incarnation = self.machine(host).incarnation;
        let event = Event::Resolve(host, incarnation, query, name.to_owned(), port);
        self.schedule_in(takes, event);
    }

    pub(crate) fn resolved(
        &mut self,
        host: HostId,
        incarnation: u32,
        query: QueryId,
        (name, port): (&str, u16),
    ) {
        let machine = self.machine(host);
        if machine.incarnation != incarnation || !machine.is_up {
            return;
        }
        let found = match machine.knows_no_names {
            0 => self.names.get(name),
            _ => Err(io::Error::other("Temporary failure in name resolution")),
        };
        let with_port = |address| SocketAddr::new(address, port);
        let found = found.map(|found| found.into_iter().map(with_port).collect());
        self.tell(host, Ready::Resolved(query, found));
    }
}
