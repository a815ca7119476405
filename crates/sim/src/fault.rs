//! What goes wrong, on purpose.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::link::Link;
use crate::machine::HostId;
use crate::net::Net;
use crate::socket::{SocketId, Stage};
use crate::world::World;

/// Something that befalls hosts, which are called by their names, or the ways between them.
///
/// [`World::begin`] lets it begin, [`World::end`] ends it; [`World::inflict`] does both. Those that
/// say "at once" have no end. Faults overlap: a host is cut off until the last of those that cut it
/// off has ended. Only of those with a number or a link of their own, the one that began last
/// counts, and the first to end ends them all.
///
/// ```
/// use ropewalk_sim::{Fault, World};
/// use std::time::Duration;
///
/// let world = World::new(1);
/// world.host("near");
/// world.host("far");
/// world.inflict(&Fault::Partition("near".into(), "far".into()), Duration::from_secs(60));
/// world.run_for(Duration::from_secs(61));
/// assert!(world.trace().contains("partition of near and far"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing gets from one to the other, either way.
    Partition(String, String),
    /// Nothing gets from the first to the second.
    PartitionOneWay(String, String),
    /// Nothing gets to it or from it.
    Isolation(String),
    /// What is sent between them waits on its way, and arrives when this ends.
    Hold(String, String),
    /// The way between them is this one for as long as it lasts.
    Degradation(String, String, Link),
    /// At once, all connections between them are reset.
    Reset(String, String),
    /// It refuses all who connect to it.
    Refusal(String),
    /// It answers to nobody: what comes to it is lost, and it is not told.
    Darkness(String),
    /// Its program is killed, and started again at the end.
    Kill(String),
    /// Its power fails, and comes back at the end.
    Crash(String),
    /// Its program is asked to end, as by SIGTERM, and finishes what it is at. It is started again at
    /// the end of this, or when it has ended, if that is later.
    Stop(String),
    /// Its program stands still, stopped or collecting garbage. Its kernel goes on.
    Pause(String),
    /// All of it stands still, as a virtual machine that is stopped: what comes to it is lost.
    Freeze(String),
    /// Its program gets so many bytes a second from each of its connections.
    SlowReading(String, u64),
    /// What it sends on streams leaves it a byte at a time, so many packets' bytes a second.
    SlowWriting(String, u64),
    /// Its clocks run faster by so many parts per million, or slower.
    Drift(String, i64),
    /// At once, its time of day jumps by so many seconds.
    ClockJump(String, i64),
    /// It may have no more descriptors than it has, and this many.
    Descriptors(String, usize),
    /// No name is found from it.
    NoNames(String),
}

impl Fault {
    /// The hosts that it names.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Partition(one, other)
            | Self::PartitionOneWay(one, other)
            | Self::Hold(one, other)
            | Self::Degradation(one, other, _)
            | Self::Reset(one, other) => vec![one, other],
            Self::Isolation(host)
            | Self::Refusal(host)
            | Self::Darkness(host)
            | Self::Kill(host)
            | Self::Crash(host)
            | Self::Stop(host)
            | Self::Pause(host)
            | Self::Freeze(host)
            | Self::SlowReading(host, _)
            | Self::SlowWriting(host, _)
            | Self::Drift(host, _)
            | Self::ClockJump(host, _)
            | Self::Descriptors(host, _)
            | Self::NoNames(host) => vec![host],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(one, other) => write!(f, "partition of {one} and {other}"),
            Self::PartitionOneWay(from, to) => write!(f, "partition of the way {from} to {to}"),
            Self::Isolation(host) => write!(f, "isolation of {host}"),
            Self::Hold(one, other) => write!(f, "hold between {one} and {other}"),
            Self::Degradation(one, other, link) => {
                write!(f, "degradation between {one} and {other}: {link:?}")
            }
            Self::Reset(one, other) => write!(f, "reset of what joins {one} and {other}"),
            Self::Refusal(host) => write!(f, "refusal by {host}"),
            Self::Darkness(host) => write!(f, "darkness around {host}"),
            Self::Kill(host) => write!(f, "kill of {host}"),
            Self::Crash(host) => write!(f, "crash of {host}"),
            Self::Stop(host) => write!(f, "stop of {host}"),
            Self::Pause(host) => write!(f, "pause of {host}"),
            Self::Freeze(host) => write!(f, "freeze of {host}"),
            Self::SlowReading(host, rate) => write!(f, "slow reading by {host}, {rate} B/s"),
            Self::SlowWriting(host, rate) => write!(f, "slow writing by {host}, {rate} B/s"),
            Self::Drift(host, rate) => write!(f, "drift of {host} by {rate} ppm"),
            Self::ClockJump(host, by) => write!(f, "jump of the clock of {host} by {by} s"),
            Self::Descriptors(host, more) => write!(f, "{host} gets {more} more descriptors"),
            Self::NoNames(host) => write!(f, "no names for {host}"),
        }
    }
}

impl World {
    /// Lets a fault begin.
    ///
    /// # Panics
    /// When there is no host of a name.
    pub fn begin(&self, fault: &Fault) {
        self.say(&format!("begins: {fault}"));
        self.apply(fault, true);
    }

    /// Ends a fault that has begun.
    ///
    /// # Panics
    /// When there is no host of a name.
    pub fn end(&self, fault: &Fault) {
        self.say(&format!("ends: {fault}"));
        self.apply(fault, false);
    }

    /// Lets a fault begin now, and end when it has lasted so long.
    ///
    /// # Panics
    /// When there is no host of a name.
    pub fn inflict(&self, fault: &Fault, lasts: Duration) {
        self.say(&format!("begins, for {lasts:?}: {fault}"));
        self.apply(fault, true);
        let (world, fault) = (self.downgrade(), fault.clone());
        self.call_later(lasts, move || {
            if let Some(world) = world.upgrade() {
                world.end(&fault);
            }
        });
    }

    fn apply(&self, fault: &Fault, begins: bool) {
        let hosts: Vec<_> = fault
            .hosts()
            .into_iter()
            .map(|name| match self.find(name) {
                Some(host) => host,
                None => panic!("there is no host {name} in the world"),
            })
            .collect();
        let (one, other) = (&hosts[0], &hosts[hosts.len() - 1]);
        match fault {
            Fault::Kill(_) if begins => one.kill(),
            Fault::Crash(_) if begins => one.crash(),
            Fault::Kill(_) | Fault::Crash(_) => one.restart(),
            Fault::Stop(_) if begins => one.ask_to_end(),
            Fault::Stop(_) => one.restart_when_ended(),
            Fault::Drift(_, rate) => one.set_drift(if begins { *rate } else { 0 }),
            Fault::ClockJump(_, by) if begins => {
                let far = Duration::from_secs(by.unsigned_abs());
                match by {
                    0.. => one.jump_clock_ahead(far),
                    _ => one.jump_clock_back(far),
                }
            }
            _ => {
                let mut net = self.net().borrow_mut();
                net.apply(fault, begins, one.id(), other.id());
            }
        }
    }
}

impl Net {
    fn apply(&mut self, fault: &Fault, begins: bool, one: HostId, other: HostId) {
        let count = |counter: &mut u32| match begins {
            true => *counter += 1,
            false => *counter = counter.saturating_sub(1),
        };
        match fault {
            Fault::PartitionOneWay(..) => count(&mut self.links.get(one, other).cut),
            Fault::Partition(..) => {
                count(&mut self.links.get(one, other).cut);
                count(&mut self.links.get(other, one).cut);
            }
            Fault::Isolation(_) => {
                for host in (0..self.machines.len() as u32).map(HostId) {
                    if host != one {
                        count(&mut self.links.get(one, host).cut);
                        count(&mut self.links.get(host, one).cut);
                    }
                }
            }
            Fault::Hold(..) => {
                for (from, to) in [(one, other), (other, one)] {
                    count(&mut self.links.get(from, to).holds);
                    if self.links.get(from, to).holds == 0 {
                        self.release(from, to);
                    }
                }
            }
            Fault::Degradation(_, _, link) => {
                for (from, to) in [(one, other), (other, one)] {
                    self.links.get(from, to).worse = begins.then(|| link.clone());
                }
            }
            Fault::Reset(..) if begins => {
                for id in self.between(one, other) {
                    self.was_reset(id);
                }
            }
            Fault::Refusal(_) => count(&mut self.machine(one).refuses),
            Fault::Darkness(_) => count(&mut self.machine(one).is_dark),
            Fault::Pause(_) | Fault::Freeze(_) => {
                let machine = self.machine(one);
                count(&mut machine.stands_still);
                if matches!(fault, Fault::Freeze(_)) {
                    count(&mut machine.is_frozen);
                }
                match begins {
                    true => self.cancel_turn(one),
                    false => self.schedule_turn(one, self.now),
                }
            }
            Fault::NoNames(_) => count(&mut self.machine(one).knows_no_names),
            Fault::SlowReading(_, rate) => {
                self.machine(one).reads_slowly = begins.then_some(*rate);
            }
            Fault::SlowWriting(_, rate) => {
                for host in (0..self.machines.len() as u32).map(HostId) {
                    if host != one {
                        self.links.get(one, host).trickle = begins.then_some(*rate);
                    }
                }
            }
            Fault::Descriptors(_, more) => {
                let machine = self.machine(one);
                machine.spare_descriptors =
                    begins.then(|| machine.descriptors.saturating_add(*more));
            }
            _ => {}
        }
    }

    /// The connections between two hosts that are up.
    fn between(&self, one: HostId, other: HostId) -> BTreeSet<SocketId> {
        let all = self.sockets.iter().map(|(_, socket)| socket);
        let between = all.filter(|socket| {
            let ends = (socket.host, socket.other);
            socket.stage == Stage::Open && (ends == (one, other) || ends == (other, one))
        });
        between.map(|socket| socket.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "there is no host nobody")]
    fn a_fault_of_a_host_that_is_not_there_is_a_mistake() {
        World::new(1).begin(&Fault::Crash("nobody".into()));
    }
}
