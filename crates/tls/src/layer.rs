//! TLS as a layer of a connection.

use ropewalk_core::{Failure, Layer, LayerIo, OutputQueue, Secured};
use rustls::ProtocolVersion::TLSv1_3;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use crate::pending::PendingHandshake;
use crate::session::{Ends, RECORD, Session, Tls};
use crate::sni;
use crate::{
    HandshakeCutShort, HandshakeFailed, PlaintextBeforeTls, ServerTls, Side, TlsBroken, TlsInfo,
    Truncated,
};

/// So much plain text is put into records at once.
const PIECE: usize = 4 * RECORD;

/// The server's end of TLS: see [`ServerTls::layer`].
///
/// It is ready when the client has shown that it has the keys. What a callback writes goes into as
/// few records as can be, of up to 16 KiB. Between records that came whole it holds no buffer. KTLS
/// is not used: records are made in this process, and so files are read by it.
pub struct ServerLayer {
    end: End<UnbufferedServerConnection>,
    tls: ServerTls,
}

/// The client's end of TLS: see [`ClientTls::layer`](crate::ClientTls::layer). It is ready when the
/// server is verified; else as [`ServerLayer`]. With TLS 1.3 a connection that is closed
/// [lingers](Layer::lingers) until the server has closed it too, for up to 5 s.
pub struct ClientLayer {
    end: End<UnbufferedClientConnection>,
}

impl ServerLayer {
    pub(crate) fn new(session: UnbufferedServerConnection, tls: ServerTls) -> Self {
        let tolerant = tls.tolerates_truncation();
        Self {
            end: End::new(session, tolerant, None),
            tls,
        }
    }

    /// Lets it count as a pending handshake until it is ready or gone.
    pub(crate) fn count(mut self, pending: PendingHandshake) -> Self {
        self.end.pending = Some(pending);
        self
    }
}

impl ClientLayer {
    pub(crate) fn new(session: UnbufferedClientConnection, tolerant: bool, name: String) -> Self {
        Self {
            end: End::new(session, tolerant, Some(name)),
        }
    }
}

impl Layer for ServerLayer {
    fn pushed(&mut self, unread: &[u8]) -> Result<(), Failure> {
        refuse_plaintext(unread)
    }

    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.tls.reload_if_changed(io.now());
        Ok(())
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.received(data, io)
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.send(output, io)
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.read_closed(io)
    }

    fn finish(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.finish(io)
    }
}

impl Layer for ClientLayer {
    fn pushed(&mut self, unread: &[u8]) -> Result<(), Failure> {
        refuse_plaintext(unread)
    }

    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.received(&[], io)
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.received(data, io)
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.send(output, io)
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.read_closed(io)
    }

    fn finish(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        self.end.finish(io)
    }

    fn lingers(&self) -> bool {
        // Tickets come with the server's first bytes, or later, and no client asks for them.
        let is_1_3 = || self.end.session.state().protocol_version() == Some(TLSv1_3);
        self.end.open && !self.end.session.is_peer_closed() && is_1_3()
    }
}

/// Whoever begins TLS waits for an answer first, so nothing can have come.
fn refuse_plaintext(unread: &[u8]) -> Result<(), Failure> {
    match unread.len() {
        0 => Ok(()),
        bytes => Err(PlaintextBeforeTls { bytes }.into()),
    }
}

impl Ends for LayerIo<'_> {
    fn up(&mut self) -> &mut Vec<u8> {
        LayerIo::up(self)
    }

    fn down(&mut self) -> &mut OutputQueue {
        LayerIo::down(self)
    }
}

/// What both ends do.
struct End<T> {
    session: Session<T>,
    /// Whether an end without `close_notify` is one.
    tolerant: bool,
    /// The handshake is done.
    open: bool,
    /// The name that a client expects.
    name: Option<String>,
    pending: Option<PendingHandshake>,
}

impl<T: Tls> End<T> {
    fn new(tls: T, tolerant: bool, name: Option<String>) -> Self {
        Self {
            session: Session::new(tls),
            tolerant,
            open: false,
            name,
            pending: None,
        }
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let result = self.session.receive(data, io);
        if T::SIDE == Side::Server
            && !self.open
            && let Some(name) = sni::take()
        {
            self.name = Some(name);
        }
        if !self.open && !self.session.state().is_handshaking() {
            self.opened(io);
        }
        if let Err(error) = result {
            return Err(self.broken(error));
        }
        if self.session.is_peer_closed() {
            if !self.open {
                return Err(HandshakeCutShort.into());
            }
            io.close_read();
        }
        Ok(())
    }

    fn opened(&mut self, io: &mut LayerIo<'_>) {
        self.open = true;
        self.pending = None;
        if let Some(info) = TlsInfo::new(self.session.state(), self.name.take()) {
            io.offer(Secured::new(info.alpn.clone()));
            io.offer(info);
        }
        io.ready();
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        while self.open && !output.is_empty() && !io.is_full() {
            let all = output.len();
            let front = output.front()?;
            let taken = if front.len() as u64 == all || front.len() >= RECORD {
                // Whole records, and what comes behind them with what follows.
                let len = front.len().min(PIECE);
                let len = match len as u64 == all {
                    true => len,
                    false => len - len % RECORD,
                };
                self.encrypt(&front[..len], io)?;
                len
            } else {
                let piece = gather(output)?;
                self.encrypt(&piece, io)?;
                continue;
            };
            output.consume(taken as u64);
        }
        Ok(())
    }

    fn encrypt(&mut self, plain: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        let result = self.session.encrypt(plain, io.down());
        result.map_err(|error| self.broken(error))
    }

    fn read_closed(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if !self.open {
            return Err(HandshakeCutShort.into());
        }
        if !self.session.is_peer_closed() && !self.tolerant {
            return Err(Truncated.into());
        }
        io.close_read();
        Ok(())
    }

    fn finish(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        if !self.open {
            return Ok(());
        }
        let result = self.session.close(io.down());
        result.map_err(|error| self.broken(error))
    }

    fn broken(&self, error: rustls::Error) -> Failure {
        let side = T::SIDE;
        match self.open {
            true => TlsBroken { side, error }.into(),
            false => HandshakeFailed { side, error }.into(),
        }
    }
}

/// What a record has room for, from pieces that stand apart.
fn gather(output: &mut OutputQueue) -> Result<Vec<u8>, Failure> {
    let mut piece = Vec::with_capacity(output.len().min(RECORD as u64) as usize);
    while piece.len() < RECORD && !output.is_empty() {
        let front = output.front()?;
        let count = front.len().min(RECORD - piece.len());
        piece.extend_from_slice(&front[..count]);
        output.consume(count as u64);
    }
    Ok(piece)
}
