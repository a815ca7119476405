//! What a connection has yet to send: bytes and regions of files, in order.
//!
//! Small writes are gathered in one growing buffer, large [`Bytes`] are kept as they are, and a
//! [`FileRegion`] stays a reference to its file, so that a driver can hand it to the kernel
//! unread. The queue never makes a system call but one: [`OutputQueue::load_file`] reads a piece
//! of a file for those who need its bytes, a layer or a transport in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Buf, Bytes};

/// [`Bytes`] shorter than this are copied: that is cheaper than one more slice to send.
const COPY_BELOW: usize = 1024;

/// Sent bytes are cut off the gathering buffer when they are so many, and half of it.
const COMPACT_ABOVE: usize = 16 * 1024;

/// How much of a file is read at once where its bytes are needed.
const FILE_PIECE: usize = 64 * 1024;

/// A stretch of a file, sent without passing through the program where the transport allows.
///
/// The file must keep at least `offset + len` bytes until it is sent: a file that shrinks ends
/// the connection, because what was promised cannot be kept.
#[derive(Clone, Debug)]
pub struct FileRegion {
    /// The open file.
    pub file: Arc<File>,
    /// Where in the file the region begins, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

/// One piece of output: bytes, or a region of a file.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes still in a file.
    File(FileRegion),
}

impl Segment {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(region) => region.len,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Segment {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<FileRegion> for Segment {
    fn from(region: FileRegion) -> Self {
        Self::File(region)
    }
}

/// Output in the order in which it was written.
///
/// ```
/// use ropewalk_core::OutputQueue;
///
/// let mut queue = OutputQueue::default();
/// queue.write(b"hello, ");
/// queue.write(b"world");
/// assert_eq!(queue.to_vec().unwrap(), b"hello, world");
/// queue.consume(7);
/// assert_eq!(queue.to_vec().unwrap(), b"world");
/// ```
#[derive(Debug, Default)]
pub struct OutputQueue {
    /// Everything before `tail`.
    pieces: VecDeque<Piece>,
    /// The end of the queue, where small writes are gathered; sent up to `tail_sent`.
    tail: Vec<u8>,
    tail_sent: usize,
    /// Unsent bytes in memory, and unsent bytes in files.
    memory: usize,
    file: u64,
    /// Descriptors among the pieces.
    descriptors: usize,
}

#[derive(Debug)]
enum Piece {
    /// A tail that something else was written after.
    Gathered(Vec<u8>, usize),
    Bytes(Bytes),
    File(FileRegion),
    /// Goes with the byte behind it.
    Descriptor(OwnedFd),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Gathered(bytes, sent) => (bytes.len() - sent) as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(region) => region.len,
            Self::Descriptor(_) => 0,
        }
    }
}

impl OutputQueue {
    /// Appends a copy of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.memory += bytes.len();
    }

    /// Lets `fill` append to the buffer that small writes are gathered in, with no copy between.
    /// What stands in the buffer already is to be left alone: it may have been sent in part.
    pub fn write_with<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let before = self.tail.len() - self.tail_sent;
        let result = fill(&mut self.tail);
        // Whatever `fill` did to the buffer, what is counted must be there to be sent.
        self.tail_sent = self.tail_sent.min(self.tail.len());
        self.memory = self.memory - before + (self.tail.len() - self.tail_sent);
        result
    }

    /// Appends `bytes` without copying them, unless they are few.
    pub fn write_bytes(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BELOW {
            return self.write(&bytes);
        }
        self.close_tail();
        self.memory += bytes.len();
        self.pieces.push_back(Piece::Bytes(bytes));
    }

    /// Appends a region of a file.
    pub fn write_file(&mut self, region: FileRegion) {
        if region.len == 0 {
            return;
        }
        self.close_tail();
        self.file += region.len;
        self.pieces.push_back(Piece::File(region));
    }

    /// Appends a descriptor, which goes with the first byte that is written after it, on a transport
    /// that can carry descriptors.
    pub fn write_descriptor(&mut self, descriptor: OwnedFd) {
        self.close_tail();
        self.descriptors += 1;
        self.pieces.push_back(Piece::Descriptor(descriptor));
    }

    /// How many descriptors have not been sent.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// The descriptors at the front, which go with what [`slices`](Self::slices) gives. They are
    /// closed when the first byte of that is [consumed](Self::consume).
    pub fn front_descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pieces.iter().map_while(|piece| match piece {
            Piece::Descriptor(descriptor) => Some(descriptor.as_fd()),
            _ => None,
        })
    }

    /// Takes the descriptors at the front.
    pub fn take_front_descriptors(&mut self) -> Vec<OwnedFd> {
        let mut taken = Vec::new();
        while let Some(Piece::Descriptor(_)) = self.pieces.front() {
            self.descriptors -= 1;
            if let Some(Piece::Descriptor(descriptor)) = self.pieces.pop_front() {
                taken.push(descriptor);
            }
        }
        taken
    }

    /// How many bytes stand before the next descriptor that is not at the front, if there is one.
    #[must_use]
    pub fn until_descriptor(&self) -> Option<u64> {
        if self.descriptors == 0 {
            return None;
        }
        let mut bytes = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Descriptor(_) if bytes > 0 => return Some(bytes),
                other => bytes += other.len(),
            }
        }
        None
    }

    /// Appends a segment of either kind.
    pub fn write_segment(&mut self, segment: Segment) {
        match segment {
            Segment::Bytes(bytes) => self.write_bytes(bytes),
            Segment::File(region) => self.write_file(region),
        }
    }

    /// Moves all of `other` to the end of this queue. An empty queue takes it over whole.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            other.clear();
            return;
        }
        self.close_tail();
        other.close_tail();
        self.pieces.append(&mut other.pieces);
        self.memory += std::mem::take(&mut other.memory);
        self.file += std::mem::take(&mut other.file);
        self.descriptors += std::mem::take(&mut other.descriptors);
    }

    /// Cuts the queue after its first `at` bytes, and returns the rest. What is cut in the middle
    /// of gathered bytes is copied, for the part that stays; [`append`](Self::append) joins them
    /// again.
    ///
    /// ```
    /// # use ropewalk_core::OutputQueue;
    /// let mut queue = OutputQueue::default();
    /// queue.write(b"hello, world");
    /// let rest = queue.split_off(5);
    /// assert_eq!(queue.to_vec()?, b"hello");
    /// assert_eq!(rest.to_vec()?, b", world");
    /// # std::io::Result::Ok(())
    /// ```
    #[must_use]
    pub fn split_off(&mut self, at: u64) -> Self {
        if at >= self.len() {
            return Self::default();
        }
        let mut rest = std::mem::take(self);
        let mut left = at;
        while left > 0 {
            // The tail stands behind the pieces; all of it is never wanted here.
            let whole = rest.pieces.front().is_some_and(|piece| piece.len() <= left);
            match rest.pieces.front() {
                Some(_) if whole => left -= self.move_front(&mut rest),
                Some(Piece::Bytes(bytes)) => self.write_bytes(bytes.slice(..left as usize)),
                Some(Piece::File(region)) => {
                    let len = left;
                    self.write_file(FileRegion {
                        len,
                        ..region.clone()
                    });
                }
                Some(Piece::Gathered(bytes, sent)) => {
                    self.write(&bytes[*sent..][..left as usize]);
                }
                // It has no length, and so was moved whole.
                Some(Piece::Descriptor(_)) => {}
                None => self.write(&rest.tail[rest.tail_sent..][..left as usize]),
            }
            if !whole {
                rest.consume(left);
                left = 0;
            }
        }
        rest
    }

    /// Moves the first piece of `other` to the end of this queue, and returns its length.
    fn move_front(&mut self, other: &mut Self) -> u64 {
        let Some(piece) = other.pieces.pop_front() else {
            return 0;
        };
        let len = piece.len();
        match piece {
            Piece::File(_) => {
                other.file -= len;
                self.file += len;
            }
            Piece::Gathered(..) | Piece::Bytes(_) => {
                other.memory -= len as usize;
                self.memory += len as usize;
            }
            Piece::Descriptor(_) => {
                other.descriptors -= 1;
                self.descriptors += 1;
            }
        }
        self.close_tail();
        self.pieces.push_back(piece);
        len
    }

    /// Unsent bytes, in memory and in files.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.memory as u64 + self.file
    }

    /// Unsent bytes that this queue holds in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether bytes are unsent, in memory or in files.
    #[must_use]
    pub fn has_bytes(&self) -> bool {
        self.memory > 0 || self.file > 0
    }

    /// Whether all was sent, descriptors too.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_bytes() && self.descriptors == 0
    }

    /// All that is unsent, if it is one piece of memory: mostly it is.
    ///
    /// ```
    /// use ropewalk_core::OutputQueue;
    ///
    /// let mut queue = OutputQueue::default();
    /// queue.write(b"one ");
    /// queue.write(b"piece");
    /// assert_eq!(queue.contiguous(), Some(&b"one piece"[..]));
    /// ```
    #[must_use]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.pieces.is_empty().then(|| &self.tail[self.tail_sent..])
    }

    /// Fills `slices` with the bytes at the front, up to the first file, and the first descriptor
    /// that is not at the front. Returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let mut free = slices.iter_mut();
        for piece in &self.pieces {
            let bytes = match piece {
                Piece::Gathered(bytes, sent) => &bytes[*sent..],
                Piece::Bytes(bytes) => &bytes[..],
                Piece::Descriptor(_) if count == 0 => continue,
                Piece::File(_) | Piece::Descriptor(_) => return count,
            };
            match free.next() {
                Some(slice) => *slice = IoSlice::new(bytes),
                None => return count,
            }
            count += 1;
        }
        if self.tail_sent < self.tail.len()
            && let Some(slice) = free.next()
        {
            *slice = IoSlice::new(&self.tail[self.tail_sent..]);
            count += 1;
        }
        count
    }

    /// The file region at the front, if that is what comes next.
    #[must_use]
    pub fn file(&self) -> Option<&FileRegion> {
        match self.pieces.front() {
            Some(Piece::File(region)) => Some(region),
            _ => None,
        }
    }

    /// Whether a file region waits anywhere in the queue, so that more follows the bytes at its
    /// front.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.file > 0
    }

    /// Takes `sent` bytes off the front.
    pub fn consume(&mut self, mut sent: u64) {
        while sent > 0 {
            let Some(piece) = self.pieces.front_mut() else {
                let step = (sent as usize).min(self.tail.len() - self.tail_sent);
                self.tail_sent += step;
                self.memory -= step;
                break;
            };
            let (step, done) = match piece {
                Piece::Gathered(bytes, start) => {
                    let step = sent.min((bytes.len() - *start) as u64);
                    *start += step as usize;
                    self.memory -= step as usize;
                    (step, *start == bytes.len())
                }
                Piece::Bytes(bytes) => {
                    let step = sent.min(bytes.len() as u64);
                    bytes.advance(step as usize);
                    self.memory -= step as usize;
                    (step, bytes.is_empty())
                }
                Piece::File(region) => {
                    let step = sent.min(region.len);
                    region.offset += step;
                    region.len -= step;
                    self.file -= step;
                    (step, region.len == 0)
                }
                Piece::Descriptor(_) => {
                    self.descriptors -= 1;
                    (0, true)
                }
            };
            sent -= step;
            if done {
                self.pieces.pop_front();
            }
        }
        if self.tail_sent == self.tail.len() {
            self.tail.clear();
            self.tail_sent = 0;
        } else if self.tail_sent >= COMPACT_ABOVE && self.tail_sent * 2 >= self.tail.len() {
            // A queue that is never quite empty would grow without end.
            self.tail.drain(..self.tail_sent);
            self.tail_sent = 0;
        }
    }

    /// The bytes at the front, as many as stand together; those of a file are read first. Empty
    /// when nothing is unsent. For those who look at the bytes: a layer, or a driver in memory.
    ///
    /// ```
    /// # use ropewalk_core::OutputQueue;
    /// let mut queue = OutputQueue::default();
    /// queue.write(b"hello");
    /// assert_eq!(queue.front()?, b"hello");
    /// queue.consume(4);
    /// assert_eq!(queue.front()?, b"o");
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// As [`load_file`](Self::load_file).
    pub fn front(&mut self) -> io::Result<&[u8]> {
        // Who looks at bytes carries no descriptors.
        drop(self.take_front_descriptors());
        self.load_file()?;
        Ok(match self.pieces.front() {
            Some(Piece::Gathered(bytes, sent)) => &bytes[*sent..],
            Some(Piece::Bytes(bytes)) => bytes,
            Some(Piece::File(_) | Piece::Descriptor(_)) | None => &self.tail[self.tail_sent..],
        })
    }

    /// Reads up to 64 KiB of the file region at the front, or behind the
    /// descriptors there, into memory, so that [`slices`](Self::slices) sees them. Does nothing
    /// when no file is there.
    ///
    /// # Errors
    /// What reading the file gave; [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) when the file
    /// has become shorter than the region.
    pub fn load_file(&mut self) -> io::Result<()> {
        let at = self.front_descriptors().count();
        let Some(Piece::File(region)) = self.pieces.get_mut(at) else {
            return Ok(());
        };
        let mut piece = vec![0; region.len.min(FILE_PIECE as u64) as usize];
        let read = region.file.read_at(&mut piece, region.offset)?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was being sent",
            ));
        }
        piece.truncate(read);
        region.offset += read as u64;
        region.len -= read as u64;
        self.file -= read as u64;
        self.memory += read;
        if region.len == 0 {
            self.pieces.remove(at);
        }
        self.pieces.insert(at, Piece::Gathered(piece, 0));
        Ok(())
    }

    /// All unsent bytes, those in files too, copied. The queue is unchanged.
    ///
    /// # Errors
    /// What reading a file gave.
    pub fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::with_capacity(self.memory);
        for piece in &self.pieces {
            match piece {
                Piece::Gathered(bytes, sent) => all.extend_from_slice(&bytes[*sent..]),
                Piece::Bytes(bytes) => all.extend_from_slice(bytes),
                Piece::File(region) => {
                    let start = all.len();
                    all.resize(start + region.len as usize, 0);
                    region
                        .file
                        .read_exact_at(&mut all[start..], region.offset)?;
                }
                Piece::Descriptor(_) => {}
            }
        }
        all.extend_from_slice(&self.tail[self.tail_sent..]);
        Ok(all)
    }

    /// Forgets all that is unsent. The gathering buffer is kept for the next writes.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.tail.clear();
        self.tail_sent = 0;
        self.memory = 0;
        self.file = 0;
        self.descriptors = 0;
    }

    /// How many bytes of memory an empty queue would hold on to.
    pub(crate) fn spare_capacity(&self) -> usize {
        self.tail.capacity() + self.pieces.capacity() * size_of::<Piece>()
    }

    fn close_tail(&mut self) {
        if self.tail_sent < self.tail.len() {
            let tail = std::mem::take(&mut self.tail);
            let sent = std::mem::take(&mut self.tail_sent);
            self.pieces.push_back(Piece::Gathered(tail, sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn file_of(content: &[u8]) -> FileRegion {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        FileRegion {
            file: Arc::new(file),
            offset: 0,
            len: content.len() as u64,
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Write(Vec<u8>),
        Bytes(Vec<u8>),
        File(Vec<u8>),
        Append(Vec<u8>, Vec<u8>),
        Load,
        Split(u64),
        Consume(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..3000);
        prop_oneof![
            bytes().prop_map(Op::Write),
            bytes().prop_map(Op::Bytes),
            bytes().prop_map(Op::File),
            (bytes(), bytes()).prop_map(|(a, b)| Op::Append(a, b)),
            Just(Op::Load),
            (0..9000u64).prop_map(Op::Split),
            (0..4000u64).prop_map(Op::Consume),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_written_comes_out_once_and_in_order(ops in proptest::collection::vec(op(), 0..40)) {
            let mut queue = OutputQueue::default();
            let mut model: VecDeque<u8> = VecDeque::new();
            for op in ops {
                match op {
                    Op::Write(bytes) => { queue.write(&bytes); model.extend(bytes); }
                    Op::Bytes(bytes) => { model.extend(&bytes); queue.write_bytes(bytes.into()); }
                    Op::File(bytes) => { queue.write_file(file_of(&bytes)); model.extend(bytes); }
                    Op::Append(first, second) => {
                        let mut other = OutputQueue::default();
                        other.write(&first);
                        other.write_bytes(second.clone().into());
                        queue.append(&mut other);
                        prop_assert!(other.is_empty());
                        model.extend(first);
                        model.extend(second);
                    }
                    Op::Load => {
                        let front = queue.front().unwrap();
                        prop_assert!(front.iter().eq(model.iter().take(front.len())));
                        prop_assert!(!front.is_empty() || model.is_empty());
                    }
                    Op::Split(at) => {
                        let mut rest = queue.split_off(at);
                        prop_assert_eq!(queue.len(), at.min(model.len() as u64));
                        prop_assert_eq!(queue.len() + rest.len(), model.len() as u64);
                        prop_assert_eq!(queue.to_vec().unwrap().len() as u64, queue.len());
                        queue.append(&mut rest);
                    }
                    Op::Consume(count) => {
                        let count = count.min(queue.len());
                        queue.consume(count);
                        model.drain(..count as usize);
                    }
                }
                prop_assert_eq!(queue.len(), model.len() as u64);
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                let mut slices = [IoSlice::new(&[]); 4];
                let filled = queue.slices(&mut slices);
                let front: Vec<u8> = slices[..filled].iter().flat_map(|s| s.to_vec()).collect();
                prop_assert!(front.iter().eq(model.iter().take(front.len())));
                prop_assert!(filled > 0 || queue.file().is_some() || model.is_empty());
            }
            prop_assert_eq!(queue.to_vec().unwrap(), Vec::from(model));
        }
    }

    #[test]
    fn a_queue_that_is_never_quite_empty_does_not_grow() {
        let mut queue = OutputQueue::default();
        queue.write(b"x");
        for _ in 0..1000 {
            queue.write(&[0; 4096]);
            queue.consume(4096);
        }
        assert_eq!(queue.len(), 1);
        assert!(queue.tail.capacity() <= 128 * 1024);
    }

    #[test]
    fn what_is_counted_is_there_even_when_the_buffer_was_cut_short() {
        let mut queue = OutputQueue::default();
        queue.write(b"0123456789");
        queue.consume(4);
        queue.write_with(|buffer| buffer.truncate(7));
        assert_eq!(queue.len(), 3);
        queue.write_with(|buffer| buffer.truncate(2));
        assert!(queue.is_empty());
        assert_eq!(queue.slices(&mut [IoSlice::new(&[])]), 0);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_not_a_short_answer() {
        let mut queue = OutputQueue::default();
        let region = file_of(b"0123456789");
        region.file.set_len(0).unwrap();
        queue.write_file(region);
        let error = queue.load_file().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
