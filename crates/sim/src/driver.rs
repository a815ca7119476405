//! The driver of one simulated host: what its loop asks for is done in the network, and what has
//! happened there is reported in its turn.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{
    Address, Commons, ConnectionId, Incoming, OutputQueue, SendStatus, SocketOption,
};
use ropewalk_reactor::PoolThreads;
use ropewalk_reactor::driver::{
    Accept, Completions, DatagramId, DatagramTarget, Driver, ListenerId, OpenedDatagrams, QueryId,
    Target, Wake,
};
use rustix::io::Errno;

use crate::datagrams;
use crate::machine::{HostId, Ready};
use crate::net::{Event, Net};
use crate::socket::{Owner, SocketId, Stage};
use crate::trace::What;
use crate::world::World;

/// A connection is read this often, a listener accepts this many, and a port receives this many
/// before others get their turn: as on the poll driver.
const READS_IN_A_ROW: usize = 4;
const ACCEPTS_IN_A_ROW: usize = 64;
const DATAGRAMS_IN_A_ROW: usize = 256;
const BATCH: usize = 64;

/// The most that is read at once.
const READ_BUFFER: usize = 64 * 1024;

/// How likely a read ends before what there is.
const SHORT_READ: f64 = 1.0 / 8.0;

/// How long a turn takes, in nanoseconds: so time passes for those too who never wait.
const TURN: u64 = 10_000;

pub(crate) struct SimDriver {
    net: Rc<RefCell<Net>>,
    host: HostId,
    /// Which program of the host it serves; when another one runs, or none, it does nothing.
    incarnation: u32,
    epoch: Instant,
    waker: Arc<dyn Wake>,
    threads: Arc<dyn PoolThreads>,
    /// The world that waits in [`Driver::poll`], if this reactor runs by itself.
    drives: Option<World>,
    commons: Arc<Commons>,
    buffer: Cell<Vec<u8>>,
}

/// What became of a connection that was being made.
enum Outcome {
    Up(Rc<Address>),
    Failed(Errno),
    /// It is up, and was told so.
    Known,
}

enum Read {
    Bytes,
    End,
    Nothing,
}

impl SimDriver {
    pub(crate) fn new(world: &World, host: HostId, drives: bool) -> Self {
        let net = world.net();
        let machine = &net.borrow().machines[host.0 as usize];
        let waker = Arc::clone(&machine.waker);
        Self {
            net: Rc::clone(net),
            host,
            incarnation: machine.incarnation,
            epoch: world.epoch(),
            threads: Arc::clone(&waker) as Arc<dyn PoolThreads>,
            waker,
            drives: drives.then(|| world.clone()),
            commons: Arc::clone(&machine.commons),
            buffer: Cell::default(),
        }
    }

    /// Asks something of the network, if the program that this serves still runs.
    fn ask<R>(&self, ask: impl FnOnce(&mut Net) -> R) -> Option<R> {
        let mut net = self.net.borrow_mut();
        let is_served = net.machine(self.host).incarnation == self.incarnation;
        is_served.then(|| ask(&mut net))
    }

    fn try_ask<R>(&self, ask: impl FnOnce(&mut Net) -> io::Result<R>) -> io::Result<R> {
        let asked = self.ask(ask);
        asked.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    /// Asks something of a socket of the loop's.
    fn of_socket<R>(
        &self,
        connection: ConnectionId,
        ask: impl FnOnce(&mut Net, SocketId) -> R,
    ) -> Option<R> {
        self.ask(|net| {
            let id = net.of_loop(self.host, connection)?;
            Some(ask(net, id))
        })?
    }

    fn report(&self, completions: &mut dyn Completions) {
        let ready = self.ask(|net| {
            let mut ready = std::mem::take(&mut net.machine(self.host).ready);
            // A kernel tells of what is ready in no order that could be relied on.
            net.random.shuffle(&mut ready);
            ready
        });
        for ready in ready.unwrap_or_default() {
            match ready {
                Ready::Socket(id) => self.serve(id, completions),
                Ready::Listener(id) => self.accept(id, completions),
                Ready::Port(id) => self.receive(id, completions),
                Ready::Resolved(query, result) => completions.resolved(query, result),
            }
        }
    }

    fn serve(&self, id: SocketId, completions: &mut dyn Completions) {
        let begun = self.ask(|net| {
            let socket = net.socket(id)?;
            socket.queued = false;
            let connection = socket.connection()?;
            let outcome = match socket.error {
                _ if socket.told_open => Outcome::Known,
                Some(error) => Outcome::Failed(error),
                None if socket.stage == Stage::Connecting => return None,
                None => {
                    socket.told_open = true;
                    Outcome::Up(Rc::clone(&socket.local))
                }
            };
            let number = socket.number;
            match outcome {
                Outcome::Up(_) => net.trace(self.host, What::Opened, number, 0),
                Outcome::Failed(_) => {
                    net.trace(self.host, What::NotConnected, number, 0);
                    net.remove_socket(id);
                }
                Outcome::Known => {}
            }
            Some((connection, outcome))
        });
        let Some((connection, outcome)) = begun.flatten() else {
            return;
        };
        match outcome {
            Outcome::Up(host) => completions.opened(connection, &host),
            Outcome::Failed(error) => return completions.connect_failed(connection, error.into()),
            Outcome::Known => {}
        }
        let writable = self.with(id, connection, |socket| {
            std::mem::take(&mut socket.writable)
        });
        if writable == Some(true) {
            completions.writable(connection);
        }
        self.read(id, connection, completions);
        let error = self.with(id, connection, |socket| {
            socket.may_fail().then(|| {
                socket.error_told = true;
                socket.error
            })
        });
        if let Some(Some(Some(error))) = error {
            let number = self.with(id, connection, |socket| socket.number);
            self.ask(|net| net.trace(self.host, What::Broken, number.unwrap_or(0), 0));
            completions.failed(connection, error.into());
        }
    }

    /// Runs `action` on a socket that is still the loop's under this name.
    fn with<R>(
        &self,
        id: SocketId,
        connection: ConnectionId,
        action: impl FnOnce(&mut crate::socket::Socket) -> R,
    ) -> Option<R> {
        self.ask(|net| {
            let socket = net.socket(id)?;
            (socket.owner == Owner::Loop(connection)).then(|| action(socket))
        })?
    }

    /// Reports what has come, while the loop wants it, and the budget lasts.
    fn read(&self, id: SocketId, connection: ConnectionId, completions: &mut dyn Completions) {
        let mut buffer = self.buffer.take();
        for _ in 0..READS_IN_A_ROW {
            let read = self.ask(|net| self.read_once(net, id, connection, &mut buffer));
            let Some((descriptors, read)) = read else {
                break;
            };
            if !descriptors.is_empty() {
                completions.descriptors(connection, descriptors);
            }
            match read {
                Read::Bytes => completions.received(connection, &buffer),
                Read::End => {
                    completions.read_closed(connection);
                    break;
                }
                Read::Nothing => break,
            }
        }
        self.buffer.set(buffer);
        self.ask(|net| net.queue(id));
    }

    fn read_once(
        &self,
        net: &mut Net,
        id: SocketId,
        connection: ConnectionId,
        buffer: &mut Vec<u8>,
    ) -> (Vec<std::os::fd::OwnedFd>, Read) {
        let nothing = (Vec::new(), Read::Nothing);
        let now = net.now;
        let slowly = net.machine(self.host).reads_slowly;
        let (short, part) = (net.random.chance(SHORT_READ), net.random.number());
        let owner = Owner::Loop(connection);
        let Some(socket) = net.socket(id).filter(|socket| socket.owner == owner) else {
            return nothing;
        };
        if !socket.may_read(now) {
            return nothing;
        }
        let descriptors = socket.inbound.take_descriptors();
        let number = socket.number;
        let mut len = socket.inbound.readable().min(READ_BUFFER);
        if len == 0 {
            socket.inbound.end_told = true;
            net.trace(self.host, What::EndRead, number, 0);
            return (descriptors, Read::End);
        }
        if short {
            len = 1 + (part % len as u64) as usize;
        }
        if let Some(rate) = slowly {
            // A tenth of a second's worth, and then none for as long.
            len = len.min((rate / 10).max(1) as usize);
            let rests = len as u64 * 1_000_000_000 / rate.max(1);
            socket.inbound.rests_until = now + rests;
        }
        socket.inbound.read_into(len, buffer);
        let (has_news, rests) = (socket.inbound.has_news(), socket.inbound.rests_until);
        if has_news {
            net.send_ack(id);
        }
        if slowly.is_some() {
            net.schedule(rests, Event::Rested(id));
        }
        net.trace(self.host, What::Received, number, len as u64);
        (descriptors, Read::Bytes)
    }

    fn accept(&self, id: u32, completions: &mut dyn Completions) {
        let host = self.host;
        self.ask(|net| {
            if let Some(listener) = net.machine(host).listeners.get_mut(&id) {
                listener.queued = false;
            }
        });
        for _ in 0..ACCEPTS_IN_A_ROW {
            let next = self.ask(|net| {
                let machine = net.machine(host);
                let limit = machine.has_no_descriptor();
                let listener = machine.listeners.get_mut(&id)?;
                if listener.resting || listener.waiting.is_empty() {
                    return None;
                }
                if limit {
                    listener.resting = true;
                    // Those that wait are turned away, so that they learn of it at once.
                    for turned_away in std::mem::take(&mut listener.waiting) {
                        net.close(turned_away);
                    }
                    return Some(Err(Errno::MFILE));
                }
                let socket = listener.waiting.pop_front()?;
                let socket = net.socket(socket)?;
                let (peer, local) = (socket.remote.clone(), Rc::clone(&socket.local));
                Some(Ok((socket.id, peer, local)))
            });
            let (socket, peer, local) = match next.flatten() {
                Some(Ok(next)) => next,
                Some(Err(error)) => {
                    return completions.accept_failed(ListenerId(id), error.into());
                }
                None => break,
            };
            let accepted = completions.accepted(ListenerId(id), peer, &local);
            let Accept::As(connection) = accepted else {
                // Whoever would have it handed over is on another thread, where no such world is.
                self.ask(|net| net.close(socket));
                continue;
            };
            let taken = self.ask(|net| net.accepted(socket, connection));
            match taken {
                Some(true) => completions.opened(connection, &local),
                _ => completions.connect_failed(connection, Errno::CONNABORTED.into()),
            }
        }
        self.ask(|net| net.queue_listener(host, id));
    }

    fn receive(&self, id: DatagramId, completions: &mut dyn Completions) {
        let port = |net: &mut Net| {
            let port = net.port(self.host, id)?;
            port.queued = false;
            Some(std::mem::take(&mut port.writable))
        };
        if self.ask(port).flatten() == Some(true) {
            completions.datagrams_writable(id);
        }
        for _ in 0..DATAGRAMS_IN_A_ROW / BATCH {
            let batch = self.ask(|net| {
                let port = net.port(self.host, id)?;
                let mut batch: Vec<(Bytes, Address)> = Vec::new();
                while port.reading && batch.len() < BATCH {
                    let Some(next) = port.receive() else { break };
                    batch.push(next);
                }
                let max_size = port.max_size;
                for (data, from) in &batch {
                    let number = from.port().unwrap_or(0).into();
                    let size = data.len() as u64;
                    net.trace(self.host, What::DatagramReceived, number, size);
                }
                Some((batch, max_size))
            });
            let Some((batch, max_size)) = batch.flatten() else {
                return;
            };
            if batch.is_empty() {
                break;
            }
            completions.datagrams(
                id,
                &mut batch.iter().map(|(data, from)| Incoming {
                    data: &data[..data.len().min(max_size)],
                    from: from.clone(),
                    truncated: data.len() > max_size,
                }),
            );
        }
        let error = |net: &mut Net| net.port(self.host, id)?.errors.pop_front();
        while let Some(Some(error)) = self.ask(error) {
            completions.datagram_failed(id, error);
        }
        self.ask(|net| net.queue_port(self.host, id));
    }
}

impl Driver for SimDriver {
    fn now(&self) -> Instant {
        let net = self.net.borrow();
        let own = net.machines[self.host.0 as usize].clock.at(net.now);
        self.epoch + Duration::from_nanos(own)
    }

    fn wall_clock(&self) -> SystemTime {
        let net = self.net.borrow();
        net.machines[self.host.0 as usize].clock.wall(net.now)
    }

    fn listen(&self, listener: ListenerId, endpoint: &ServerEndpoint) -> io::Result<Address> {
        self.try_ask(|net| net.listen(self.host, listener.0, endpoint))
    }

    fn resume_accepting(&self, listener: ListenerId) {
        self.ask(|net| {
            if let Some(listener) = net.machine(self.host).listeners.get_mut(&listener.0) {
                listener.resting = false;
            }
            net.queue_listener(self.host, listener.0);
        });
    }

    fn close_listener(&self, listener: ListenerId) {
        self.ask(|net| net.close_listener(self.host, listener.0));
    }

    fn resolve(&self, query: QueryId, host: &str, port: u16) {
        self.ask(|net| net.resolve(self.host, query, host, port));
    }

    fn open_datagrams(
        &self,
        port: DatagramId,
        target: DatagramTarget<'_>,
    ) -> io::Result<OpenedDatagrams> {
        let ends = self.try_ask(|net| net.open_port(self.host, port, target))?;
        let (net, incarnation) = (&self.net, self.incarnation);
        Ok(datagrams::opened(net, self.host, incarnation, port, ends))
    }

    fn close_datagrams(&self, port: DatagramId) {
        self.ask(|net| net.close_port(self.host, port));
    }

    fn connect(&self, connection: ConnectionId, target: Target<'_>) -> io::Result<()> {
        self.try_ask(|net| match target {
            Target::Tcp(to, options) => net.connect_tcp(self.host, connection, to, options),
            Target::Unix(options) => net.connect_unix(self.host, connection, &options.path),
            Target::Descriptor(_) | Target::Pair(..) => Err(io::ErrorKind::Unsupported.into()),
        })
    }

    fn send(&self, connection: ConnectionId, output: &mut OutputQueue) -> io::Result<SendStatus> {
        self.try_ask(|net| net.send(self.host, connection, output))
    }

    fn set_reading(&self, connection: ConnectionId, on: bool) {
        self.of_socket(connection, |net, id| {
            if let Some(socket) = net.socket(id) {
                socket.reading = on;
            }
            net.queue(id);
        });
    }

    fn shutdown_write(&self, connection: ConnectionId) -> io::Result<()> {
        self.of_socket(connection, Net::shutdown_write)
            .unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    fn set_option(&self, connection: ConnectionId, option: SocketOption) -> io::Result<()> {
        self.of_socket(connection, |net, id| net.set_option(id, option))
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn close(&self, connection: ConnectionId) {
        self.of_socket(connection, Net::close);
    }

    fn abort(&self, connection: ConnectionId) {
        self.of_socket(connection, Net::abort);
    }

    fn commons(&self) -> Arc<Commons> {
        Arc::clone(&self.commons)
    }

    fn pool_threads(&self) -> Option<Arc<dyn PoolThreads>> {
        Some(Arc::clone(&self.threads))
    }

    fn poll(&self, timeout: Option<Duration>, completions: &mut dyn Completions) -> io::Result<()> {
        let waited = match &self.drives {
            Some(world) => world.wait_for(self.host, timeout),
            None => Ok(()),
        };
        self.ask(|net| {
            let takes = 1 + net.random.below(TURN);
            let now = net.now;
            let machine = net.machine(self.host);
            machine.waker.take_woken();
            self.commons.tell_wall_clock(machine.clock.wall(now));
            machine.busy_until = now + takes;
        });
        completions.waited();
        self.report(completions);
        waited
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker)
    }
}
