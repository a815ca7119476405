//! Sending a file, with back-pressure.

use std::fmt;
use std::io;
use std::os::unix::fs::FileExt;

use crate::{Connection, ConnectionDone, Deferred, Failure, FileRegion, Resolver};

/// How much of a file is handed to the transport at once, and where its bytes are needed, read.
const REGION_PIECE: u64 = 1024 * 1024;
const READ_PIECE: u64 = 64 * 1024;

/// The next piece follows when no more than this is unsent.
const LOW_WATER: u64 = 64 * 1024;

/// Sends a file, or a region of one, piece by piece as the peer takes it.
///
/// The kernel sends it by itself, as with [`Transport::write_file`](crate::Transport::write_file);
/// unless the bytes are transformed on their way: then they are read, 64 KiB at a time. Reading
/// waits for the disk, as it does in Twisted.
///
/// What is written to the connection meanwhile goes out between two pieces, and the connection
/// must not be closed: for both, wait for the Deferred.
///
/// ```
/// use ropewalk_core::testing::Pair;
/// use ropewalk_core::{FileRegion, FileSender, Protocol, Transport};
/// # use std::{io::Write, sync::Arc};
/// # struct Collect(Vec<u8>);
/// # impl Protocol for Collect {
/// #     fn data_received(&mut self, _: &mut Transport, data: &[u8]) { self.0.extend_from_slice(data) }
/// # }
/// # let mut file = tempfile::tempfile()?;
/// # file.write_all(b"the whole file")?;
/// let region = FileRegion { file: Arc::new(file), offset: 4, len: 10 };
/// let pair = Pair::new(Collect(Vec::new()), Collect(Vec::new()));
/// let connection = pair.server().clone();
/// let sent = FileSender::new(region)
///     .transform(|mut piece| { piece.make_ascii_uppercase(); piece })
///     .begin_file_transfer(&connection)
///     .add_callback(move |bytes: u64| connection.write(format!(": {bytes} bytes").as_bytes()));
/// # let _: ropewalk_core::Deferred<bool> = sent;
/// pair.run();
/// let received = pair.with_client(|client: &mut Collect| client.0.clone());
/// assert_eq!(received.unwrap(), b"WHOLE FILE: 10 bytes");
/// # std::io::Result::Ok(())
/// ```
pub struct FileSender {
    left: FileRegion,
    transform: Option<Transform>,
}

type Transform = Box<dyn FnMut(Vec<u8>) -> Vec<u8>>;

impl FileSender {
    /// Sends `region`. The file must keep its bytes until they are sent.
    #[must_use]
    pub fn new(region: FileRegion) -> Self {
        Self {
            left: region,
            transform: None,
        }
    }

    /// Sends what `transform` makes of each piece. The pieces have 64 KiB, the last one what is
    /// left, and come in order.
    #[must_use]
    pub fn transform(mut self, transform: impl FnMut(Vec<u8>) -> Vec<u8> + 'static) -> Self {
        self.transform = Some(Box::new(transform));
        self
    }

    /// Sends the first piece behind what was written to `connection`, and the others as they are
    /// taken. Fires, with how many bytes that were, when all that was written by then is sent.
    ///
    /// It fails when the connection ends or is closed before, and when the file cannot be read
    /// or has become shorter than it was to be. Cancelling ends it after the piece that is under
    /// way. The connection is left as it is.
    #[track_caller]
    pub fn begin_file_transfer(self, connection: &Connection) -> Deferred<u64> {
        let (resolver, deferred) = Deferred::pair();
        let transfer = Transfer {
            connection: connection.clone(),
            sender: self,
            sent: 0,
            resolver,
        };
        transfer.go_on();
        deferred
    }

    /// Writes the next piece, and returns how many bytes that were.
    fn write_piece(&mut self, connection: &Connection) -> Result<u64, Failure> {
        let len = self.left.len;
        let (taken, sent, accepted) = if let Some(transform) = &mut self.transform {
            let piece = read(&self.left, len.min(READ_PIECE))?;
            let taken = piece.len() as u64;
            let piece = transform(piece);
            let sent = piece.len() as u64;
            (taken, sent, connection.write_bytes(piece.into()))
        } else {
            let mut region = self.left.clone();
            region.len = len.min(REGION_PIECE);
            (region.len, region.len, connection.write_file(region))
        };
        if !accepted {
            return Err(Failure::from(ConnectionDone).context("sending a file"));
        }
        self.left.offset += taken;
        self.left.len -= taken;
        Ok(sent)
    }
}

impl fmt::Debug for FileSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSender")
            .field("left", &self.left)
            .field("transformed", &self.transform.is_some())
            .finish()
    }
}

/// Up to `len` bytes at the front of `region`, at least one.
fn read(region: &FileRegion, len: u64) -> Result<Vec<u8>, Failure> {
    let mut piece = vec![0; len as usize];
    let read = region.file.read_at(&mut piece, region.offset);
    let read = read.map_err(|error| Failure::from(error).context("reading a file to send"))?;
    if read == 0 && len > 0 {
        let what = "the file became shorter while it was being sent";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what).into());
    }
    piece.truncate(read);
    Ok(piece)
}

/// A file on its way. It moves from one wait to the next.
struct Transfer {
    connection: Connection,
    sender: FileSender,
    sent: u64,
    resolver: Resolver<u64>,
}

impl Transfer {
    fn go_on(mut self) {
        if self.resolver.is_cancelled() {
            return;
        }
        match self.sender.write_piece(&self.connection) {
            Ok(sent) => self.sent += sent,
            Err(failure) => return self.resolver.errback(failure),
        }
        let is_last = self.sender.left.len == 0;
        let drained = self.connection.drained(if is_last { 0 } else { LOW_WATER });
        // The next step: nothing waits for this one.
        drop(drained.add_both::<(), _>(move |drained| match drained {
            Ok(()) if is_last => self.resolver.callback(self.sent),
            Ok(()) => self.go_on(),
            Err(failure) => self.resolver.errback(failure),
        }));
    }
}
