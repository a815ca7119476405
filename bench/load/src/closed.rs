//! The closed loop: a fixed number of messages in flight on each connection; an answer brings the next.

use mio::{Registry, event::Event};

use crate::{
    args::{Echo, Lines},
    failure::{Failure, Trouble},
    pattern::Pattern,
    source,
    stream::Stream,
    threads::{Share, Turn, Work, may_read},
};

/// Above this a read takes what is in flight in pieces.
const LARGEST_READ: usize = 1 << 20;

pub(crate) struct Closed {
    pattern: Pattern,
    buffer: Vec<u8>,
    /// Bytes of a message, the messages in flight, and what a message counts for.
    size: u64,
    depth: usize,
    requests: u64,
    connections: Vec<Option<Connection>>,
    alive: usize,
}

struct Connection {
    stream: Stream,
    /// Messages that came back whole.
    whole: u64,
    /// When those in flight were written; message k has place k mod depth.
    since: Vec<u64>,
}

impl Closed {
    pub(crate) fn echo(echo: &Echo, registry: &Registry, share: Share) -> Result<Self, Failure> {
        let reach = reach(echo.size * echo.depth);
        let mut closed = Self::new(Pattern::noise(reach), reach);
        closed.size = echo.size as u64;
        closed.depth = echo.depth;
        for index in share.of(echo.connections) {
            let socket = source::connect_ready(echo.load.to, index)?;
            closed.add(socket, index as u64 * 131, registry)?;
        }
        Ok(closed)
    }

    /// A batch is one message: the next is written when all its lines came back.
    pub(crate) fn lines(lines: &Lines, registry: &Registry, share: Share) -> Result<Self, Failure> {
        let batch = lines.length * lines.batch;
        let reach = reach(batch);
        let mut closed = Self::new(Pattern::lines(lines.length, reach), reach);
        closed.size = batch as u64;
        closed.requests = lines.batch as u64;
        for index in share.of(lines.connections) {
            let socket = source::connect_ready(lines.load.to, index)?;
            closed.add(socket, (index * lines.length) as u64, registry)?;
        }
        Ok(closed)
    }

    fn new(pattern: Pattern, reach: usize) -> Self {
        Self {
            pattern,
            buffer: vec![0; reach],
            size: 0,
            depth: 1,
            requests: 1,
            connections: Vec::new(),
            alive: 0,
        }
    }

    fn add(
        &mut self,
        socket: mio::net::TcpStream,
        origin: u64,
        registry: &Registry,
    ) -> Result<(), Failure> {
        let stream = Stream::new(socket, origin, registry, self.connections.len())?;
        self.connections.push(Some(Connection {
            stream,
            whole: 0,
            since: vec![0; self.depth],
        }));
        self.alive += 1;
        Ok(())
    }

    fn serve(&mut self, index: usize, event: &Event, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let Some(connection) = &mut self.connections[index] else {
            return Ok(());
        };
        let stream = &mut connection.stream;
        if event.is_writable() {
            stream.flush(&self.pattern)?;
        }
        if !may_read(event) {
            return Ok(());
        }
        loop {
            let read = stream.receive(&self.pattern, &mut self.buffer)?;
            let now = turn.clock.now();
            let whole = stream.came_back / self.size;
            for message in connection.whole..whole {
                let since = &mut connection.since[(message % self.depth as u64) as usize];
                turn.answered(now, *since, self.requests, self.size);
                *since = now;
            }
            stream.wanted += (whole - connection.whole) * self.size;
            connection.whole = whole;
            stream.flush(&self.pattern)?;
            // A short read has emptied the socket, but for an end of stream that came with it.
            if read == 0 || (read < self.buffer.len() && !event.is_read_closed()) {
                return Ok(());
            }
        }
    }

    fn settle(
        &mut self,
        index: usize,
        served: Result<(), Trouble>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Failure> {
        if turn.is_lost(served)? {
            self.connections[index] = None;
            self.alive -= 1;
        }
        Ok(())
    }
}

impl Work for Closed {
    fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        for index in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[index] else {
                continue;
            };
            connection.since.fill(turn.clock.now());
            connection.stream.wanted = self.size * self.depth as u64;
            let flushed = connection.stream.flush(&self.pattern);
            self.settle(index, flushed, turn)?;
        }
        Ok(())
    }

    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let index = event.token().0;
        let served = self.serve(index, event, turn);
        self.settle(index, served, turn)
    }

    fn is_alive(&self) -> bool {
        self.alive > 0
    }
}

/// One more than can be in flight, so that a read which takes all of it is a short one.
fn reach(in_flight: usize) -> usize {
    in_flight.saturating_add(1).min(LARGEST_READ)
}
