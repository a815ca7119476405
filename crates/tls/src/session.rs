//! A TLS session between two buffers: rustls without buffers of its own.
//!
//! [`Session`] turns what came from the wire into plain text and answers, and plain text into
//! records. It keeps nothing but a record that has not come whole. It knows no connection; that is
//! for [`layer`](crate::layer).

use ropewalk_core::OutputQueue;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

use crate::Side;

/// The most plain text in a record (RFC 8446 section 5.1).
pub(crate) const RECORD: usize = 16 * 1024;

/// More than a record adds to its plain text.
const OVERHEAD: usize = 64;

/// What may be kept because it has not come whole: a message of the handshake may be that long, as
/// rustls has it where it keeps the buffer.
const INCOMPLETE: usize = 64 * 1024;

/// Either end of rustls.
pub(crate) trait Tls: 'static {
    type Data;
    const SIDE: Side;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    fn state(&self) -> &CommonState;
}

impl Tls for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const SIDE: Side = Side::Client;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        let common: &mut UnbufferedConnectionCommon<_> = self;
        common.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

impl Tls for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const SIDE: Side = Side::Server;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        let common: &mut UnbufferedConnectionCommon<_> = self;
        common.process_tls_records(incoming)
    }

    fn state(&self) -> &CommonState {
        self
    }
}

/// Where a session gets its bytes from, and where it puts them.
pub(crate) trait Ends {
    /// Plain text for the protocol.
    fn up(&mut self) -> &mut Vec<u8>;
    /// Records for the wire.
    fn down(&mut self) -> &mut OutputQueue;
}

pub(crate) struct Session<T> {
    tls: T,
    /// A record, or a message of the handshake, that has not come whole.
    incomplete: Vec<u8>,
    /// The peer has said that it sends no more.
    peer_closed: bool,
}

impl<T: Tls> Session<T> {
    pub(crate) fn new(tls: T) -> Self {
        Self {
            tls,
            incomplete: Vec::new(),
            peer_closed: false,
        }
    }

    pub(crate) fn state(&self) -> &CommonState {
        self.tls.state()
    }

    /// Whether the peer has sent its `close_notify`.
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Takes `data` from the wire: plain text goes up, and answers and alerts down.
    pub(crate) fn receive(&mut self, data: &[u8], ends: &mut impl Ends) -> Result<(), Error> {
        if self.peer_closed {
            // RFC 8446 section 6.1: what follows is ignored.
            return Ok(());
        }
        let mut incoming = std::mem::take(&mut self.incomplete);
        incoming.extend_from_slice(data);
        let (taken, result) = self.process(&mut incoming, ends);
        if let Err(error) = result {
            self.send_alert(ends);
            return Err(error);
        }
        if self.peer_closed || taken == incoming.len() {
            return Ok(());
        }
        if incoming.len() - taken > INCOMPLETE {
            return Err(Error::PeerSentOversizedRecord);
        }
        if taken > 0 {
            // What remains is kept in as much memory as it needs.
            self.incomplete = incoming[taken..].to_vec();
        } else {
            self.incomplete = incoming;
        }
        Ok(())
    }

    /// Puts `plain` into records.
    pub(crate) fn encrypt(&mut self, plain: &[u8], down: &mut OutputQueue) -> Result<(), Error> {
        let records = plain.len().div_ceil(RECORD).max(1);
        let size = plain.len() + records * OVERHEAD;
        self.write(down, size, |traffic, out| traffic.encrypt(plain, out))
    }

    /// Says that no more will be sent.
    pub(crate) fn close(&mut self, down: &mut OutputQueue) -> Result<(), Error> {
        self.write(down, OVERHEAD, |traffic, out| {
            traffic.queue_close_notify(out)
        })
    }

    fn process(&mut self, incoming: &mut [u8], ends: &mut impl Ends) -> (usize, Result<(), Error>) {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.tls.process(&mut incoming[taken..]);
            let more = match state {
                Ok(state) => step(state, ends, &mut self.peer_closed),
                Err(error) => Err(error),
            };
            taken += discard;
            match more {
                Ok(true) => {}
                Ok(false) => return (taken, Ok(())),
                Err(error) => return (taken, Err(error)),
            }
        }
    }

    /// After an error: sends what rustls has to say of it. It is asked only while it has something
    /// to say: it would read on, and take the error for a second one.
    fn send_alert(&mut self, ends: &mut impl Ends) {
        while self.state().wants_write() {
            let UnbufferedStatus { state, .. } = self.tls.process(&mut []);
            let Ok(ConnectionState::EncodeTlsData(message)) = state else {
                return;
            };
            // That it cannot be sent matters less than the error.
            let _ = encode(message, ends.down());
        }
    }

    fn write(
        &mut self,
        down: &mut OutputQueue,
        size: usize,
        mut write: impl FnMut(&mut WriteTraffic<'_, T::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        // rustls remembers places in what has come, and panics when it is not there.
        let UnbufferedStatus { discard, state } = self.tls.process(&mut self.incomplete);
        debug_assert_eq!(discard, 0, "what could be taken was taken when it came");
        let ConnectionState::WriteTraffic(mut traffic) = state? else {
            return Err(Error::HandshakeNotComplete);
        };
        fill(down, size, |out| match write(&mut traffic, out) {
            Ok(written) => Ok(Ok(written)),
            Err(EncryptError::InsufficientSize(size)) => Err(size),
            Err(EncryptError::EncryptExhausted) => Ok(Err(Error::EncryptError)),
        })
    }
}

/// Does what rustls wants done. Returns whether there may be more.
fn step<Data>(
    state: ConnectionState<'_, '_, Data>,
    ends: &mut impl Ends,
    peer_closed: &mut bool,
) -> Result<bool, Error> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                ends.up().extend_from_slice(record?.payload);
            }
        }
        ConnectionState::EncodeTlsData(message) => encode(message, ends.down())?,
        ConnectionState::TransmitTlsData(done) => done.done(),
        ConnectionState::PeerClosed | ConnectionState::Closed => {
            *peer_closed = true;
            return Ok(false);
        }
        // It is never offered, since it can be replayed.
        ConnectionState::ReadEarlyData(_) => {
            return Err(Error::General(
                "early data, which was not offered".to_owned(),
            ));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn encode<Data>(mut message: EncodeTlsData<'_, Data>, down: &mut OutputQueue) -> Result<(), Error> {
    fill(down, OVERHEAD, |out| match message.encode(out) {
        Ok(written) => Ok(Ok(written)),
        Err(EncodeError::InsufficientSize(size)) => Err(size),
        Err(EncodeError::AlreadyEncoded) => Ok(Ok(0)),
    })
}

/// Lets `write` fill space at the end of `down`: so much, and once more as much as it says that it
/// needs.
fn fill(
    down: &mut OutputQueue,
    size: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, Error>, InsufficientSizeError>,
) -> Result<(), Error> {
    down.write_with(|wire| {
        let start = wire.len();
        wire.resize(start + size, 0);
        let written = write(&mut wire[start..]).or_else(|short| {
            wire.resize(start + short.required_size, 0);
            write(&mut wire[start..])
        });
        let written = written.unwrap_or(Err(Error::EncryptError));
        wire.truncate(start + written.as_ref().copied().unwrap_or(0));
        written.map(|_| ())
    })
}
