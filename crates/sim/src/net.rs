//! The network: its hosts' kernels, its links, and all that is under way, in the order of its time.
//!
//! Nothing in here calls a program. What a program is to be told waits in its
//! [`Machine`] until its loop has a turn.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::Address;
use ropewalk_reactor::driver::QueryId;
use slab::Slab;

use crate::link::{Links, Way};
use crate::machine::{HostId, Machine, Ready};
use crate::names::Names;
use crate::packet::{Body, Packet};
use crate::random::Random;
use crate::socket::{Owner, Socket, SocketId};
use crate::trace::{Trace, What};

/// Time of the world: nanoseconds since it began.
pub(crate) type Nanos = u64;

/// The end of time, which leaves room to reckon beyond it: nothing happens there.
pub(crate) const END: Nanos = 1 << 63;

pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) struct Net {
    pub(crate) now: Nanos,
    pub(crate) random: Random,
    pub(crate) machines: Vec<Machine>,
    pub(crate) links: Links,
    pub(crate) names: Names,
    pub(crate) sockets: Slab<Socket>,
    pub(crate) trace: Trace,
    /// The packets that were sent, if anybody wants to know.
    pub(crate) captured: Option<Vec<u8>>,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// When hosts have their turns: the time, what decides between equal ones, the host.
    turns: BTreeSet<(Nanos, u64, HostId)>,
    /// How many sockets and connections there have been.
    opened: u32,
    pub(crate) connections: u64,
}

/// Something that happens by itself.
pub(crate) enum Event {
    Packet(Packet),
    /// The timer of a socket.
    Timer(SocketId),
    /// A slow reader may go on.
    Rested(SocketId),
    /// Room that there was all along is told of.
    Writable(SocketId),
    /// A datagram port takes more.
    PortWritable(HostId, u32),
    Resolve(HostId, u32, QueryId, String, u16),
    /// A thread takes a job, or has come to its end: the host, its program, the thread.
    Thread(HostId, u32, usize),
    /// What the world does, under this number.
    Call(u64),
}

struct Scheduled {
    at: Nanos,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What happens next.
pub(crate) enum Next {
    Event(Event),
    /// A host has its turn.
    Turn(HostId),
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: 0,
            random: Random::stream(seed, 1),
            machines: Vec::new(),
            links: Links::new(),
            names: Names::new(),
            sockets: Slab::new(),
            trace: Trace::new(),
            captured: None,
            events: BinaryHeap::new(),
            scheduled: 0,
            turns: BTreeSet::new(),
            opened: 0,
            connections: 0,
        }
    }

    /// When so much time has passed.
    pub(crate) fn after(&self, time: Duration) -> Nanos {
        self.now.saturating_add(nanos(time)).min(END)
    }

    /// Nothing happens before `end`. If nothing will ever, the time stands still.
    pub(crate) fn pass_until(&mut self, end: Nanos) {
        if end < END {
            self.now = self.now.max(end);
        }
    }

    pub(crate) fn machine(&mut self, host: HostId) -> &mut Machine {
        &mut self.machines[host.0 as usize]
    }

    pub(crate) fn schedule(&mut self, at: Nanos, event: Event) {
        let order = self.scheduled;
        self.scheduled += 1;
        let at = at.max(self.now);
        self.events.push(Reverse(Scheduled { at, order, event }));
    }

    pub(crate) fn schedule_in(&mut self, after: Duration, event: Event) {
        self.schedule(self.now.saturating_add(nanos(after)), event);
    }

    /// Takes what happens next, not after `limit`, and moves the time to it.
    pub(crate) fn next(&mut self, limit: Nanos) -> Option<Next> {
        let event = self.events.peek().map(|Reverse(next)| next.at);
        let turn = self.turns.first().copied();
        match (event, turn) {
            (Some(at), _) if at <= limit && turn.is_none_or(|(turn, ..)| at <= turn) => {
                let Reverse(Scheduled { event, .. }) = self.events.pop()?;
                self.now = self.now.max(at);
                Some(Next::Event(event))
            }
            (_, Some((at, _, host))) if at <= limit => {
                self.turns.pop_first();
                self.machine(host).turn = None;
                self.now = self.now.max(at);
                Some(Next::Turn(host))
            }
            _ => None,
        }
    }

    /// The loop of a host is given a turn at `at`, or when it can have one, unless it has one before.
    pub(crate) fn schedule_turn(&mut self, host: HostId, at: Nanos) {
        let now = self.now;
        let machine = self.machine(host);
        if machine.drives || !machine.is_up || machine.stands_still > 0 {
            return;
        }
        let at = at
            .max(now)
            .max(machine.busy_until)
            .max(machine.paused_until);
        if let Some((before, _)) = machine.turn
            && before <= at
        {
            return;
        }
        self.cancel_turn(host);
        let tie = self.random.number();
        self.machine(host).turn = Some((at, tie));
        self.turns.insert((at, tie, host));
    }

    pub(crate) fn cancel_turn(&mut self, host: HostId) {
        if let Some((at, tie)) = self.machine(host).turn.take() {
            self.turns.remove(&(at, tie, host));
        }
    }

    /// There is something that the loop of `host` is to be told.
    pub(crate) fn tell(&mut self, host: HostId, ready: Ready) {
        self.machine(host).ready.push(ready);
        self.schedule_turn(host, self.now);
    }

    pub(crate) fn insert_socket(&mut self, make: impl FnOnce(SocketId) -> Socket) -> SocketId {
        let entry = self.sockets.vacant_entry();
        let id = SocketId {
            index: entry.key() as u32,
            serial: self.opened,
        };
        self.opened = self.opened.wrapping_add(1);
        entry.insert(make(id));
        id
    }

    pub(crate) fn socket(&mut self, id: SocketId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.index as usize)?;
        (socket.id == id).then_some(socket)
    }

    /// Takes a socket out of the world, without a word to its peer or its loop.
    pub(crate) fn remove_socket(&mut self, id: SocketId) {
        if self.socket(id).is_none() {
            return;
        }
        let socket = self.sockets.remove(id.index as usize);
        let machine = self.machine(socket.host);
        if let (Address::Tcp(local), Address::Tcp(remote)) = (&*socket.local, &socket.remote) {
            machine.taken.remove(&(*local, *remote));
        }
        match socket.owner {
            Owner::Loop(connection) => {
                if let Some(place) = machine.connections.get_mut(connection.index() as usize) {
                    *place = None;
                }
                machine.free_descriptor();
            }
            Owner::Listener(listener) => {
                if let Some(listener) = machine.listeners.get_mut(&listener) {
                    listener.forget(id);
                }
            }
            Owner::Kernel => {}
        }
    }

    /// Sends a packet over the link from its host.
    pub(crate) fn transmit(&mut self, packet: Packet) {
        self.capture(&packet);
        self.carry(packet);
    }

    fn carry(&mut self, packet: Packet) {
        let (from, to) = (packet.from, packet.to);
        if self.machine(from).is_frozen > 0 {
            return self.lost(&packet);
        }
        let link = self.links.get(from, to);
        match link.send(self.now, packet.size(), &mut self.random) {
            Way::Lost => self.lost(&packet),
            Way::Held => link.held.push(packet),
            Way::Arrives(at) => self.deliver_at(packet, at),
        }
    }

    /// What a link has held is sent now.
    pub(crate) fn release(&mut self, from: HostId, to: HostId) {
        for packet in std::mem::take(&mut self.links.get(from, to).held) {
            self.carry(packet);
        }
    }

    fn deliver_at(&mut self, packet: Packet, mut at: Nanos) {
        let sender = match packet.body {
            // It comes behind what was sent before it: on another way it would have no number that
            // is expected, and change nothing (RFC 5961 section 3.2).
            Body::Reset { to } => self.socket(to).and_then(|socket| socket.peer),
            _ => packet.sender(),
        };
        if let Some(sender) = sender.and_then(|sender| self.socket(sender)) {
            at = at.max(sender.out.arrives);
            sender.out.arrives = at;
        }
        if let Body::Datagram { .. } = packet.body {
            let duplication = self.links.get(packet.from, packet.to).present().duplication;
            if self.random.chance(duplication) {
                let later = at.saturating_add(self.random.below(10_000_000));
                self.schedule(later, Event::Packet(packet.clone()));
            }
        }
        self.schedule(at, Event::Packet(packet));
    }

    pub(crate) fn lost(&mut self, packet: &Packet) {
        let number = match packet.sender().and_then(|sender| self.socket(sender)) {
            Some(socket) => socket.number,
            None => 0,
        };
        let size = packet.size() as u64;
        self.trace(packet.from, What::Lost, number, size);
    }

    /// A packet has come to the end of its link.
    pub(crate) fn arrive(&mut self, packet: Packet) {
        let cut = self.links.get(packet.from, packet.to).cut > 0;
        let machine = self.machine(packet.to);
        let is_dark = machine.is_dark > 0 && packet.from != packet.to;
        if cut || !machine.is_up || is_dark || machine.is_frozen > 0 {
            return self.lost(&packet);
        }
        let Packet { from, to, body } = packet;
        match body {
            Body::Syn {
                from: client,
                source,
                target,
            } => self.asked(from, to, client, source, target),
            Body::SynAck {
                from: server,
                to: client,
                window,
            } => self.answered(from, to, client, server, window),
            Body::Segment {
                from: sender,
                to: socket,
                at,
                data,
                fin,
            } => self.segment(from, to, sender, socket, at, &data, fin),
            Body::Ack {
                from: sender,
                to: socket,
                next,
                window,
            } => self.acknowledged(from, to, sender, socket, next, window),
            Body::Reset { to: socket } => self.was_reset(socket),
            Body::Datagram {
                source,
                target,
                data,
            } => self.datagram(from, to, source, target, &data),
            Body::Unreachable { source, target } => self.unreachable(to, source, target),
        }
    }

    pub(crate) fn trace(&mut self, host: HostId, what: What, number: u64, amount: u64) {
        self.trace.add(self.now, host, what, number, amount);
    }

    pub(crate) fn name_of(&self, host: HostId) -> Rc<str> {
        Rc::clone(&self.machines[host.0 as usize].name)
    }
}
