//! The open loop: messages go when they are due, whether or not earlier ones came back, and their latency counts from then. So
//! the queue that forms behind a slow answer is seen, and no omission is coordinated.

use std::{mem, time::Duration};

use mio::{Registry, event::Event};

use crate::{
    args::Echo,
    failure::{Failure, Trouble},
    measure::OpenLoop,
    pattern::Pattern,
    schedule::{Schedule, wait},
    source,
    stream::Stream,
    threads::{Share, Turn, Work, may_read},
};

const READ: usize = 1 << 18;

pub(crate) struct Paced {
    pattern: Pattern,
    buffer: Vec<u8>,
    size: u64,
    schedule: Schedule,
    /// The thread's message that is due next.
    next: u64,
    /// Messages in flight, and how many may be.
    in_flight: u64,
    bound: u64,
    connections: Vec<Option<Connection>>,
    alive: usize,
    /// Connections with something new to write.
    fresh: Vec<usize>,
    open: OpenLoop,
}

struct Connection {
    stream: Stream,
    sent: u64,
    whole: u64,
    is_fresh: bool,
}

impl Paced {
    pub(crate) fn connect(
        echo: &Echo,
        rate: f64,
        registry: &Registry,
        share: Share,
    ) -> Result<Self, Failure> {
        let mut connections = Vec::new();
        for index in share.of(echo.connections) {
            let socket = source::connect_ready(echo.load.to, index)?;
            let stream = Stream::new(socket, index as u64 * 131, registry, connections.len())?;
            connections.push(Some(Connection {
                stream,
                sent: 0,
                whole: 0,
                is_fresh: false,
            }));
        }
        Ok(Self {
            pattern: Pattern::noise(READ),
            buffer: vec![0; READ],
            size: echo.size as u64,
            schedule: Schedule::new(rate, echo.connections, share),
            next: 0,
            in_flight: 0,
            bound: (echo.outstanding / share.threads).max(1) as u64,
            alive: connections.len(),
            fresh: Vec::with_capacity(connections.len()),
            connections,
            open: OpenLoop::default(),
        })
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
                let due = self.schedule.due(index, message);
                turn.answered(now, due, 1, self.size);
            }
            self.in_flight -= whole - connection.whole;
            connection.whole = whole;
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
        if turn.is_lost(served)?
            && let Some(connection) = self.connections[index].take()
        {
            self.in_flight -= connection.sent - connection.whole;
            self.alive -= 1;
        }
        Ok(())
    }
}

impl Work for Paced {
    fn begin(&mut self, _turn: &mut Turn<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let index = event.token().0;
        let served = self.serve(index, event, turn);
        self.settle(index, served, turn)
    }

    /// All that is due, in one write for each connection.
    fn due(&mut self, turn: &mut Turn<'_>) -> Result<Duration, Failure> {
        let now = turn.clock.now();
        let next_due = loop {
            let (index, due) = self.schedule.message(self.next);
            if due > now {
                break Some(due);
            }
            if self.in_flight >= self.bound {
                self.open.overload = true;
                break None;
            }
            self.next += 1;
            // The share of a lost connection is not sent; its loss was counted.
            if let Some(connection) = &mut self.connections[index] {
                connection.sent += 1;
                connection.stream.wanted += self.size;
                self.in_flight += 1;
                if !connection.is_fresh {
                    connection.is_fresh = true;
                    self.fresh.push(index);
                }
                if turn.clock.counts(now) {
                    self.open.late.saturating_record(now - due);
                }
            }
        };
        while let Some(index) = self.fresh.pop() {
            if let Some(connection) = &mut self.connections[index] {
                connection.is_fresh = false;
                let flushed = connection.stream.flush(&self.pattern);
                self.settle(index, flushed, turn)?;
            }
        }
        // At the bound only an answer makes room.
        let gap = |due: u64| wait(due.saturating_sub(turn.clock.now()));
        Ok(next_due.map_or(Duration::MAX, gap))
    }

    fn is_alive(&self) -> bool {
        self.alive > 0
    }

    /// What is in flight has waited at least until now: without it, the slowest would not be seen.
    fn end(&mut self, turn: &mut Turn<'_>) {
        let now = turn.clock.now();
        for (index, connection) in self.connections.iter().enumerate() {
            let Some(connection) = connection else {
                continue;
            };
            for message in connection.whole..connection.sent {
                let due = self.schedule.due(index, message);
                turn.tally.latency.saturating_record(now - due);
            }
            self.open.unanswered += connection.sent - connection.whole;
        }
        turn.tally.open = Some(mem::take(&mut self.open));
    }
}
