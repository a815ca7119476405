//! The closed loop over UDP: a window of datagrams in flight on each socket; one that stays away is given up.
//!
//! A datagram begins with its place in the window and how often that place was used, so that what comes is
//! known whatever its order, and one that comes after it was given up is known too, and not counted.

use std::{
    array,
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use mio::{Interest, Registry, Token, event::Event, unix::SourceFd};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use socket2::SockRef;

use crate::{
    args,
    failure::{Failure, Trouble},
    pattern::Pattern,
    threads::{Share, Turn, Work},
};

/// Datagrams in one call.
const BATCH: usize = 32;

/// Batches of one socket before the others have their turn.
const ROUNDS: usize = 8;

/// A datagram is lost after this, in nanoseconds.
const GIVEN_UP: u64 = 100_000_000;

/// How often the windows are searched for lost ones.
const SEARCH: u64 = 10_000_000;

/// Place and use.
const HEADER: usize = 8;

/// What the kernel may hold for a socket, so that what is lost is the server's loss.
const RECEIVE_BUFFER: usize = 4 << 20;

pub(crate) struct Datagram {
    pattern: Pattern,
    size: usize,
    sent: Vec<u8>,
    came: Vec<u8>,
    sockets: Vec<Socket>,
    /// Sockets that may have more than was read.
    again: VecDeque<usize>,
    next_search: u64,
    lost: u64,
}

struct Socket {
    socket: UdpSocket,
    window: Vec<Place>,
    /// Places with nothing in flight.
    free: Vec<u32>,
}

#[derive(Clone, Default)]
struct Place {
    uses: u32,
    since: u64,
    in_flight: bool,
}

thread_local! {
    /// What the kernel is handed for a batch. Made once; it holds pointers, so it stays in its thread.
    static HEADERS: RefCell<MultiHeaders<SockaddrStorage>> =
        RefCell::new(MultiHeaders::preallocate(BATCH, None));
}

impl Datagram {
    pub(crate) fn bind(
        datagram: &args::Datagram,
        registry: &Registry,
        share: Share,
    ) -> Result<Self, Failure> {
        let mut sockets = Vec::new();
        for _ in share.of(datagram.sockets) {
            let to = datagram.load.to;
            let socket = bind(to).map_err(|error| Failure::Connect { to, error })?;
            let both = Interest::READABLE | Interest::WRITABLE;
            let source = socket.as_raw_fd();
            registry
                .register(&mut SourceFd(&source), Token(sockets.len()), both)
                .map_err(Failure::doing("watching a socket"))?;
            sockets.push(Socket {
                socket,
                window: vec![Place::default(); datagram.window],
                free: (0..datagram.window as u32).rev().collect(),
            });
        }
        Ok(Self {
            pattern: Pattern::noise(datagram.size),
            size: datagram.size,
            sent: vec![0; BATCH * datagram.size],
            // A byte more, so that a longer one shows.
            came: vec![0; BATCH * (datagram.size + 1)],
            again: VecDeque::with_capacity(sockets.len()),
            sockets,
            next_search: SEARCH,
            lost: 0,
        })
    }

    /// Fills the window, as far as the kernel takes it.
    fn send(&mut self, index: usize, now: u64) -> Result<(), Trouble> {
        let Socket {
            socket,
            window,
            free,
        } = &mut self.sockets[index];
        while !free.is_empty() {
            let batch = free.len().min(BATCH);
            let places = free.iter().rev();
            for (place, bytes) in places.zip(self.sent.chunks_exact_mut(self.size)) {
                let uses = window[*place as usize].uses;
                bytes[..4].copy_from_slice(&place.to_le_bytes());
                bytes[4..HEADER].copy_from_slice(&uses.to_le_bytes());
                let rest = &mut bytes[HEADER..];
                rest.copy_from_slice(self.pattern.at(origin(*place, uses), rest.len() as u64));
            }
            let sent = match send_batch(socket.as_raw_fd(), &self.sent, self.size, batch) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Trouble::Lost(format!("sending: {error}"))),
            };
            for place in free.drain(free.len() - sent..) {
                let place = &mut window[place as usize];
                place.since = now;
                place.in_flight = true;
            }
            if sent < batch {
                return Ok(());
            }
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let room = self.size + 1;
        for _ in 0..ROUNDS {
            let fd = self.sockets[index].socket.as_raw_fd();
            let mut lengths = [0; BATCH];
            let came = match receive_batch(fd, &mut self.came, room, &mut lengths) {
                Ok(came) => came,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(Trouble::Lost(format!("receiving: {error}"))),
            };
            let now = turn.clock.now();
            let datagrams = self.came.chunks_exact(room).zip(lengths);
            for (bytes, length) in datagrams.take(came) {
                let since = self.sockets[index].take(&bytes[..length], self.size, &self.pattern)?;
                if let Some(since) = since {
                    turn.answered(now, since, 1, length as u64);
                }
            }
            self.send(index, now)?;
            if came < BATCH {
                return Ok(());
            }
        }
        self.again.push_back(index);
        Ok(())
    }

    fn settle(served: Result<(), Trouble>, turn: &mut Turn<'_>) -> Result<(), Failure> {
        match served {
            Ok(()) => Ok(()),
            Err(Trouble::Wrong(what)) => Err(Failure::Wrong(what)),
            // The socket stays: what it misses is lost, and sent again.
            Err(Trouble::Lost(what)) => {
                turn.tally.error(what);
                Ok(())
            }
        }
    }
}

impl Work for Datagram {
    fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Failure> {
        for index in 0..self.sockets.len() {
            let sent = self.send(index, turn.clock.now());
            Self::settle(sent, turn)?;
        }
        Ok(())
    }

    fn ready(&mut self, event: &Event, turn: &mut Turn<'_>) -> Result<(), Failure> {
        let served = self.serve(event.token().0, turn);
        Self::settle(served, turn)
    }

    fn due(&mut self, turn: &mut Turn<'_>) -> Result<Duration, Failure> {
        for _ in 0..self.again.len() {
            let Some(index) = self.again.pop_front() else {
                break;
            };
            let served = self.serve(index, turn);
            Self::settle(served, turn)?;
        }
        let now = turn.clock.now();
        if now >= self.next_search {
            self.next_search = now + SEARCH;
            for index in 0..self.sockets.len() {
                let lost = self.sockets[index].give_up(now);
                if turn.clock.counts(now) {
                    self.lost += lost;
                }
                let sent = self.send(index, now);
                Self::settle(sent, turn)?;
            }
        }
        Ok(if self.again.is_empty() {
            Duration::from_nanos(SEARCH)
        } else {
            Duration::ZERO
        })
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        turn.tally.lost = Some(self.lost);
    }
}

impl Socket {
    /// Checks a datagram that came, and frees its place. The answer is when it was sent, if it was waited for.
    fn take(
        &mut self,
        bytes: &[u8],
        size: usize,
        pattern: &Pattern,
    ) -> Result<Option<u64>, Trouble> {
        let wrong = |what: String| Err(Trouble::Wrong(what));
        if bytes.len() != size {
            return wrong(format!(
                "a datagram of {} bytes or more, not {size}",
                bytes.len()
            ));
        }
        let [a, b, c, d, e, f, g, h] = *bytes.first_chunk::<HEADER>().expect("at least 8 bytes");
        let number = u32::from_le_bytes([a, b, c, d]);
        let uses = u32::from_le_bytes([e, f, g, h]);
        let Some(place) = self.window.get_mut(number as usize) else {
            return wrong("a datagram that was not sent".to_owned());
        };
        if uses > place.uses || (uses == place.uses && !place.in_flight) {
            return wrong("a datagram that was not sent".to_owned());
        }
        pattern
            .check(origin(number, uses), &bytes[HEADER..])
            .map_err(Trouble::Wrong)?;
        if uses < place.uses {
            return Ok(None);
        }
        place.uses += 1;
        place.in_flight = false;
        self.free.push(number);
        Ok(Some(place.since))
    }

    /// Frees the places of those that stayed away too long, and says how many.
    fn give_up(&mut self, now: u64) -> u64 {
        let mut lost = 0;
        for (number, place) in self.window.iter_mut().enumerate() {
            if place.in_flight && now.saturating_sub(place.since) > GIVEN_UP {
                place.uses += 1;
                place.in_flight = false;
                self.free.push(number as u32);
                lost += 1;
            }
        }
        lost
    }
}

/// Where in the pattern a datagram begins.
fn origin(place: u32, uses: u32) -> u64 {
    u64::from(place) * 131 + u64::from(uses) * 17
}

fn bind(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    Ok(socket)
}

/// Sends the first `count` pieces of `size` bytes; says how many were taken.
fn send_batch(fd: RawFd, bytes: &[u8], size: usize, count: usize) -> io::Result<usize> {
    let mut pieces = bytes.chunks_exact(size);
    let pieces: [[IoSlice<'_>; 1]; BATCH] =
        array::from_fn(|_| [IoSlice::new(pieces.next().unwrap_or_default())]);
    HEADERS.with_borrow_mut(|headers| {
        let to = [None; BATCH];
        let sent = sendmmsg(
            fd,
            headers,
            &pieces[..count],
            to,
            [],
            MsgFlags::MSG_DONTWAIT,
        )?;
        Ok(sent.count())
    })
}

/// Receives up to a batch into pieces of `room` bytes; says how many came, and their lengths.
fn receive_batch(
    fd: RawFd,
    bytes: &mut [u8],
    room: usize,
    lengths: &mut [usize; BATCH],
) -> io::Result<usize> {
    HEADERS.with_borrow_mut(|headers| {
        let mut pieces = bytes.chunks_exact_mut(room);
        let mut pieces: [[IoSliceMut<'_>; 1]; BATCH] =
            array::from_fn(|_| [IoSliceMut::new(pieces.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let came = recvmmsg(fd, headers, pieces.iter_mut(), flags, None)?;
        let mut count = 0;
        for (length, message) in lengths.iter_mut().zip(came) {
            *length = message.bytes;
            count += 1;
        }
        Ok(count)
    })
}
