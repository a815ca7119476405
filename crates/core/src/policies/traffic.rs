//! A log of what goes over connections, as text for people or pcap for Wireshark.

use std::cell::Cell;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use super::{pcap, traffic_text};
use crate::capture;
use crate::{Address, Factory, Failure, Layer, LayerIo, OutputQueue, Protocol, ReactorTime};

/// A log ends when it has so many bytes, unless told otherwise.
const LIMIT: u64 = 64 * 1024 * 1024;

/// How a traffic log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficFormat {
    /// For people: the time in seconds since 1970, the connection and its peer, what happened, and
    /// bytes in hexadecimal and as they print, with their place in the stream.
    Text,
    /// The classic format of captures (libpcap's, version 2.4, link type `RAW`), which Wireshark
    /// and tcpdump read. The packets are made up: each piece of data that was received or sent is
    /// a TCP segment from one end to the other, with the peer as the client.
    Pcap,
}

/// A wrapper that logs what the connections of any factory receive and send, as Twisted's
/// `TrafficLoggingFactory` does.
///
/// It logs what the protocol sees, above the layers of the wrapped factory: plain text where the
/// wire has TLS. See [`on_the_wire`](Self::on_the_wire) for the other. (A layer that is pushed
/// later stands above it.) The log is written on the loop's thread, as
/// things happen. It ends, and the connections go on, when it is full, or when the sink fails,
/// which is said once. A connection that is logged sends its files through memory.
///
/// ```
/// use ropewalk_core::policies::{TrafficFormat, TrafficLoggingFactory};
/// use ropewalk_core::testing::Clock;
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let sink = std::io::sink(); // a file, mostly in a `BufWriter`
/// let clock = Clock::new(); // the reactor
/// let factory = TrafficLoggingFactory::new(|_: &Address| Echo, TrafficFormat::Text, sink, &clock);
/// assert_eq!(factory.build_layers(&Address::Unix(None)).len(), 1);
/// ```
pub struct TrafficLoggingFactory<F> {
    inner: F,
    log: Rc<Log>,
    on_the_wire: bool,
}

impl<F: Factory> TrafficLoggingFactory<F> {
    /// Logs the connections of `inner` into `sink`, with the time of `clock`, which is the
    /// reactor that runs them.
    #[must_use]
    pub fn new(
        inner: F,
        format: TrafficFormat,
        sink: impl Write + 'static,
        clock: &dyn ReactorTime,
    ) -> Self {
        let since_1970 = clock.wall_clock().duration_since(SystemTime::UNIX_EPOCH);
        let log = Log {
            sink: Cell::new(Some(Box::new(sink))),
            format,
            began: clock.now(),
            began_at: since_1970.unwrap_or_default(),
            left: Cell::new(LIMIT),
            begun: Cell::new(false),
            connections: Cell::new(0),
            host: Cell::new(([127, 0, 0, 1], 0).into()),
        };
        Self {
            inner,
            log: Rc::new(log),
            on_the_wire: false,
        }
    }

    /// Ends the log before it has more than so many bytes. 64 MiB unless told otherwise.
    #[must_use]
    pub fn limit(self, bytes: u64) -> Self {
        self.log.left.set(bytes);
        self
    }

    /// What stands in a capture as the address of this end, whose port tells Wireshark the
    /// protocol. 127.0.0.1:0 unless told otherwise.
    #[must_use]
    pub fn host(self, address: SocketAddr) -> Self {
        self.log.host.set(address);
        self
    }

    /// Logs what goes over the wire, below all layers.
    #[must_use]
    pub fn on_the_wire(mut self) -> Self {
        self.on_the_wire = true;
        self
    }
}

impl<F: Factory> Factory for TrafficLoggingFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.inner.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }

    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        let mut layers = self.inner.build_layers(peer);
        let at = if self.on_the_wire { 0 } else { layers.len() };
        layers.insert(at, Box::new(Tap::new(&self.log, peer)));
        layers
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Peer,
    Host,
}

/// What is logged.
pub(super) enum Event<'a> {
    Opened,
    /// An end has sent this, at this place in its stream.
    Data(End, u64, &'a [u8]),
    /// An end sends no more.
    Finished(End),
    Gone,
}

/// A connection, for the log.
pub(super) struct Conversation {
    pub(super) number: u64,
    pub(super) peer: Address,
    pub(super) host: SocketAddr,
    /// How much each has sent.
    pub(super) from_peer: u64,
    pub(super) from_host: u64,
    /// Whether each has finished.
    pub(super) peer_finished: bool,
    pub(super) host_finished: bool,
}

/// What the connections of a factory share.
struct Log {
    /// `None` when the log has ended, and while it is at work: a sink that comes back here is not
    /// logged.
    sink: Cell<Option<Box<dyn Write>>>,
    format: TrafficFormat,
    /// A time, and that time since 1970.
    began: Instant,
    began_at: Duration,
    /// How many bytes it may still have.
    left: Cell<u64>,
    /// Something was written.
    begun: Cell<bool>,
    connections: Cell<u64>,
    host: Cell<SocketAddr>,
}

impl Log {
    fn write(&self, conversation: &Conversation, event: &Event<'_>, now: Instant) {
        let Some(mut sink) = self.sink.take() else {
            return;
        };
        let at = self.began_at + now.saturating_duration_since(self.began);
        let mut record = Vec::new();
        match self.format {
            TrafficFormat::Text => traffic_text::append(&mut record, conversation, event, at),
            TrafficFormat::Pcap => {
                if !self.begun.replace(true) {
                    capture::append_header(&mut record);
                }
                pcap::append(&mut record, conversation, event, at);
            }
        }
        match self.write_record(&mut *sink, &record) {
            Ok(true) => self.sink.set(Some(sink)),
            Ok(false) => tracing::warn!(
                "the traffic log is full and ends here; the connections go on (TrafficLoggingFactory::limit sets its size)"
            ),
            Err(error) => tracing::error!(
                %error,
                "cannot write the traffic log, which ends here; the connections go on"
            ),
        }
    }

    /// Whether there was room for it.
    fn write_record(&self, sink: &mut dyn Write, record: &[u8]) -> io::Result<bool> {
        let left = self.left.get().checked_sub(record.len() as u64);
        let Some(left) = left else {
            sink.flush()?;
            return Ok(false);
        };
        self.left.set(left);
        sink.write_all(record)?;
        Ok(true)
    }
}

/// The layer that looks.
struct Tap {
    log: Rc<Log>,
    conversation: Conversation,
    last: Instant,
    started: bool,
}

impl Tap {
    fn new(log: &Rc<Log>, peer: &Address) -> Self {
        let number = log.connections.get() + 1;
        log.connections.set(number);
        let conversation = Conversation {
            number,
            peer: peer.clone(),
            host: log.host.get(),
            from_peer: 0,
            from_host: 0,
            peer_finished: false,
            host_finished: false,
        };
        Self {
            log: Rc::clone(log),
            conversation,
            last: log.began,
            started: false,
        }
    }

    fn note(&mut self, event: &Event<'_>, now: Instant) {
        self.last = now;
        self.log.write(&self.conversation, event, now);
        match event {
            Event::Data(End::Peer, _, data) => self.conversation.from_peer += data.len() as u64,
            Event::Data(End::Host, _, data) => self.conversation.from_host += data.len() as u64,
            Event::Finished(End::Peer) => self.conversation.peer_finished = true,
            Event::Finished(End::Host) => self.conversation.host_finished = true,
            Event::Opened | Event::Gone => {}
        }
    }
}

impl Layer for Tap {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.started = true;
        self.note(&Event::Opened, io.now());
        io.ready();
        Ok(())
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let at = self.conversation.from_peer;
        self.note(&Event::Data(End::Peer, at, data), io.now());
        io.up().extend_from_slice(data);
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        while !output.is_empty() && !io.is_full() {
            let data = output.front()?;
            let at = self.conversation.from_host;
            self.note(&Event::Data(End::Host, at, data), io.now());
            io.down().write(data);
            let count = data.len() as u64;
            output.consume(count);
        }
        Ok(())
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.note(&Event::Finished(End::Peer), io.now());
        io.close_read();
        Ok(())
    }

    fn finish(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.note(&Event::Finished(End::Host), io.now());
        Ok(())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // It never started on a connection that was refused after it was built.
        if self.started {
            self.note(&Event::Gone, self.last);
        }
    }
}
