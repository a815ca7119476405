//! A connection's socket, and what is known of it.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use ropewalk_core::endpoint::SocketOptions;
use ropewalk_core::{
    Address, ConnectionId, FileRegion, MAX_UNSENT_DESCRIPTORS, OutputQueue, SocketOption,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};
use socket2::{Domain, SockAddr, SockRef, TcpKeepalive, Type};

use super::pipes::Pipes;
use super::{canonical, connection_token, flag};
use crate::driver::Target;

/// How many pieces of output are sent by one call.
const SLICES: usize = 64;

/// A connection sends this many bytes before others get their turn, in however many pieces.
const SEND_IN_A_ROW: u64 = 1024 * 1024;

/// What is sent is counted in units of so many bytes.
const SENT_UNIT: u64 = 64;

/// What a connection is registered for from the first.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const READS: Interest = Interest::READABLE.add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const READS: Interest = Interest::READABLE;

/// One connection of the driver: 20 bytes.
pub(super) struct Socket {
    pub(super) stream: Stream,
    pub(super) generation: u32,
    flags: u16,
    /// How much it has sent since its last turn, in units of [`SENT_UNIT`].
    spent: u16,
}

/// What came of sending.
pub(super) enum Sent {
    /// All was taken.
    All,
    /// The kernel takes no more.
    Blocked,
    /// The kernel would take more, but others want their turn.
    Enough,
}

impl Socket {
    pub(super) fn new(stream: Stream, generation: u32, mut flags: u16) -> Self {
        if flags & flag::CONNECTING != 0 {
            flags |= flag::ASKED;
        }
        Self {
            stream,
            generation,
            flags,
            spent: 0,
        }
    }

    /// Its turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.clear(flag::QUEUED);
        self.spent = 0;
    }

    pub(super) fn flags(&self) -> u16 {
        self.flags
    }

    pub(super) fn is(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    pub(super) fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    pub(super) fn clear(&mut self, flags: u16) {
        self.flags &= !flags;
    }

    /// Whether descriptors are received. Only Unix sockets have any.
    pub(super) fn take_descriptors(&mut self, on: bool) {
        match &self.stream {
            Stream::Unix(_) if on => self.set(flag::DESCRIPTORS),
            _ => self.clear(flag::DESCRIPTORS),
        }
    }

    /// Whether a read would be of use.
    pub(super) fn may_read(&self) -> bool {
        self.is(flag::READABLE)
            && self.is(flag::READING)
            && !self.is(flag::READ_END | flag::CONNECTING)
    }

    /// Reads bytes. The kernel closes descriptors that come with them, and stops behind these.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = match &mut self.stream {
            Stream::Tcp(stream) => return stream.read(buffer),
            Stream::Pipes(pipes) => return pipes.read(buffer),
            Stream::Unix(stream) => stream,
        };
        let slices = &mut [IoSliceMut::new(buffer)];
        let mut none = RecvAncillaryBuffer::default();
        let message = recvmsg(stream.as_fd(), slices, &mut none, RecvFlags::empty())?;
        if message.flags.contains(ReturnFlags::CTRUNC) {
            self.set(flag::MORE);
        }
        Ok(message.bytes)
    }

    pub(super) fn send(
        &mut self,
        output: &mut OutputQueue,
        id: ConnectionId,
        registry: &Registry,
    ) -> io::Result<Sent> {
        // A descriptor with no byte behind it waits for one.
        while output.has_bytes() {
            let budget = SEND_IN_A_ROW.saturating_sub(u64::from(self.spent) * SENT_UNIT);
            if budget == 0 {
                self.set(flag::BLOCKED | flag::WRITE_READY);
                return Ok(Sent::Enough);
            }
            if output.front_descriptors().next().is_some() {
                // They need bytes to go with, which `sendfile` has none of.
                output.load_file()?;
            }
            let step = match output.file() {
                _ if self.is(flag::PIPES) => self.stream.write_pipe(output),
                Some(region) => send_file(self.stream.socket()?, region, budget),
                None => send_memory(self.stream.socket()?, output),
            };
            let full = match step {
                Ok(step) => {
                    output.consume(step.sent);
                    let units = u16::try_from(step.sent.div_ceil(SENT_UNIT)).unwrap_or(u16::MAX);
                    self.spent = self.spent.saturating_add(units);
                    step.full
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
                Err(error) => return Err(error),
            };
            if full {
                self.set(flag::BLOCKED);
                if !self.is(flag::ASKED) {
                    let token = connection_token(id);
                    let interest = READS | Interest::WRITABLE;
                    self.stream.reregister(registry, token, interest)?;
                    self.set(flag::ASKED);
                }
                return Ok(Sent::Blocked);
            }
        }
        Ok(Sent::All)
    }
}

struct Step {
    sent: u64,
    /// The kernel took less than it was given: it will take nothing more now.
    full: bool,
}

fn send_memory(socket: BorrowedFd<'_>, output: &OutputQueue) -> io::Result<Step> {
    if let Some(bytes) = output.contiguous() {
        let sent = send(socket, bytes, SendFlags::NOSIGNAL)?;
        return Ok(Step {
            sent: sent as u64,
            full: sent < bytes.len(),
        });
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = output.slices(&mut slices);
    let slices = &slices[..count];
    let mut flags = SendFlags::NOSIGNAL;
    if output.has_file() {
        // A file follows: let its first bytes share a packet with these.
        flags |= SendFlags::MORE;
    }
    let sent = match output.descriptors() {
        0 => sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)?,
        _ => send_descriptors(socket, output, slices, flags)?,
    };
    let given: usize = slices.iter().map(|slice| slice.len()).sum();
    Ok(Step {
        sent: sent as u64,
        full: sent < given,
    })
}

/// Sends the descriptors at the front with the bytes behind them.
#[cold]
fn send_descriptors(
    socket: BorrowedFd<'_>,
    output: &OutputQueue,
    slices: &[IoSlice<'_>],
    flags: SendFlags,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_UNSENT_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = output
        .front_descriptors()
        .take(MAX_UNSENT_DESCRIPTORS)
        .collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    Ok(sendmsg(socket, slices, &mut control, flags)?)
}

fn send_file(socket: BorrowedFd<'_>, region: &FileRegion, budget: u64) -> io::Result<Step> {
    let mut offset = region.offset;
    let count = usize::try_from(region.len.min(budget)).unwrap_or(usize::MAX);
    match rustix::fs::sendfile(socket, region.file.as_fd(), Some(&mut offset), count)? {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file became shorter while it was being sent",
        )),
        // A short count may have other reasons than a full socket: the next call tells.
        sent => Ok(Step {
            sent: sent as u64,
            full: false,
        }),
    }
}

/// A stream socket of either family, or what is no socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Pipes(Pipes),
}

impl Stream {
    /// A connection that is up, and does not block.
    pub(super) fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let socket = socket2::Socket::from(socket);
        Ok(match socket.domain()? {
            Domain::UNIX => Self::Unix(UnixStream::from_std(socket.into())),
            _ => Self::Tcp(TcpStream::from_std(socket.into())),
        })
    }

    /// Begins to connect.
    pub(super) fn connect(target: Target<'_>) -> io::Result<Self> {
        match target {
            Target::Tcp(address, options) => {
                let socket = socket2::Socket::new(
                    Domain::for_address(address),
                    Type::STREAM.nonblocking().cloexec(),
                    None,
                )?;
                apply(&SockRef::from(&socket), &options.socket)?;
                if let Some(bind) = options.bind {
                    socket.bind(&SocketAddr::new(bind, 0).into())?;
                }
                begin(&socket, &address.into())?;
                Ok(Self::Tcp(TcpStream::from_std(socket.into())))
            }
            Target::Unix(options) => {
                let socket =
                    socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
                begin(&socket, &SockAddr::unix(&options.path)?).map_err(|error| {
                    // It says "try again", and nothing says when.
                    match error.kind() {
                        io::ErrorKind::WouldBlock => io::Error::new(
                            error.kind(),
                            "as many connections wait there as its backlog allows",
                        ),
                        _ => error,
                    }
                })?;
                Ok(Self::Unix(UnixStream::from_std(socket.into())))
            }
            Target::Descriptor(socket) => {
                let socket = SockRef::from(&socket).try_clone()?;
                socket.set_nonblocking(true)?;
                Self::adopt(socket.into())
            }
            Target::Pair(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Its descriptor, if it is a socket.
    pub(super) fn into_socket(self) -> Option<OwnedFd> {
        match self {
            Self::Tcp(stream) => Some(std::net::TcpStream::from(stream).into()),
            Self::Unix(stream) => Some(std::os::unix::net::UnixStream::from(stream).into()),
            Self::Pipes(_) => None,
        }
    }

    fn socket(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Tcp(stream) => Ok(stream.as_fd()),
            Self::Unix(stream) => Ok(stream.as_fd()),
            Self::Pipes(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// `None` for what is no socket: it was registered for all when it was attached.
    fn source(&mut self) -> Option<&mut dyn Source> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Unix(stream) => Some(stream),
            Self::Pipes(_) => None,
        }
    }

    fn write_pipe(&self, output: &mut OutputQueue) -> io::Result<Step> {
        let Self::Pipes(pipes) = self else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let sent = pipes.write(output.front()?)? as u64;
        // Whether it takes more, the next call tells.
        Ok(Step { sent, full: false })
    }

    pub(super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let source = self.source();
        source.map_or(Ok(()), |source| source.register(registry, token, interest))
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let source = self.source();
        source.map_or(Ok(()), |source| {
            source.reregister(registry, token, interest)
        })
    }

    /// Reads, and receives descriptors that come with what is read.
    #[cold]
    pub(super) fn read_with_descriptors(
        &self,
        buffer: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
    ) -> io::Result<usize> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_UNSENT_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(buffer)];
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let flags = RecvFlags::CMSG_CLOEXEC;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let flags = RecvFlags::empty();
        let message = recvmsg(self.socket()?, slices, &mut control, flags)?;
        for control in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = control {
                descriptors.extend(received);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "descriptors were lost: over 64 came at once, or this process may have no more",
            ));
        }
        Ok(message.bytes)
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            Self::Unix(stream) => stream.take_error(),
            Self::Pipes(pipes) => Ok(pipes.error()),
        }
    }

    /// The address of this end.
    pub(super) fn host(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(canonical),
            Self::Unix(stream) => {
                let address = stream.local_addr()?;
                Ok(Address::Unix(address.as_pathname().map(Arc::from)))
            }
            Self::Pipes(_) => Ok(Address::Pipe(Arc::from("descriptors"))),
        }
    }

    pub(super) fn shutdown_write(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Pipes(pipes) => {
                pipes.close_write(registry);
                Ok(())
            }
        }
    }

    pub(super) fn set_option(&self, option: SocketOption) -> io::Result<()> {
        let Self::Tcp(stream) = self else {
            return Ok(());
        };
        match option {
            SocketOption::NoDelay(on) => stream.set_nodelay(on),
            SocketOption::KeepAlive(after) => set_keep_alive(&SockRef::from(stream), after),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What is unsent is dropped, and the peer is told so, when this is dropped.
    pub(super) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // It fails on a connection that is gone already, which is what is wanted.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

fn begin(socket: &socket2::Socket, address: &SockAddr) -> io::Result<()> {
    match socket.connect(address) {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Sets what the options ask for. On a listener, what it accepts inherits them.
pub(super) fn apply(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.no_delay)?;
    if options.keep_alive.is_some() {
        set_keep_alive(socket, options.keep_alive)?;
    }
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

fn set_keep_alive(socket: &SockRef<'_>, after: Option<Duration>) -> io::Result<()> {
    socket.set_keepalive(after.is_some())?;
    match after {
        Some(after) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(after)),
        None => Ok(()),
    }
}
