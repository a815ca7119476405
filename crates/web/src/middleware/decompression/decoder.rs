//! A coded stream of bytes, decoded piece by piece.
//!
//! The decoders read. What has not come yet they are told to ask for later (`WouldBlock`), and they
//! go on from where they were.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;

use crate::content_coding::ContentCoding;

/// No window is larger: RFC 9659, in the binary logarithm of bytes.
const ZSTD_WINDOW: u32 = 23;

/// A decoder, with the bytes that it is to decode next. It needs the window that the sender has
/// chosen: 32 KiB for gzip, up to 16 MiB for brotli, up to 8 MiB for zstd.
pub(super) enum Decoder {
    Gzip(Box<MultiGzDecoder<Source>>),
    Brotli(Box<Brotli>),
    Zstd(zstd::stream::read::Decoder<'static, Source>),
}

/// Brotli as RFC 7932 has it, and not with the large windows, of up to 1 GiB, that its library knows besides.
pub(super) struct Brotli {
    decoder: brotli::Decompressor<Source>,
    /// Whether its first byte was seen.
    begun: bool,
}

/// What has come of the coded stream and has not been decoded.
#[derive(Debug, Default)]
pub(super) struct Source {
    bytes: Bytes,
    /// Nothing more will come.
    ended: bool,
}

/// What a decoder came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    /// So many bytes were written.
    Bytes(usize),
    /// It needs more of the coded stream.
    NeedsMore,
    /// The stream has ended.
    End,
}

impl Decoder {
    pub(super) fn new(coding: ContentCoding) -> io::Result<Self> {
        let source = Source::default();
        Ok(match coding {
            ContentCoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            ContentCoding::Brotli => {
                let decoder = brotli::Decompressor::new(source, 4096);
                let begun = false;
                Self::Brotli(Box::new(Brotli { decoder, begun }))
            }
            ContentCoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Self::Zstd(decoder)
            }
        })
    }

    /// Gives it the bytes that follow. All before were decoded.
    pub(super) fn feed(&mut self, bytes: Bytes) {
        self.source().bytes = bytes;
    }

    /// Nothing follows.
    pub(super) fn end(&mut self) {
        self.source().ended = true;
    }

    fn source(&mut self) -> &mut Source {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Brotli(brotli) => brotli.decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// Decodes as much as there is, and as `out` has room for.
    pub(super) fn decode(&mut self, out: &mut [u8]) -> io::Result<Decoded> {
        let read = match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Brotli(brotli) => brotli.read(out),
            Self::Zstd(decoder) => decoder.read(out),
        };
        match read {
            Ok(0) => Ok(Decoded::End),
            Ok(count) => Ok(Decoded::Bytes(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Decoded::NeedsMore),
            Err(error) => Err(error),
        }
    }
}

impl Read for Brotli {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.begun
            && let Some(first) = self.decoder.get_ref().bytes.first()
        {
            // RFC 7932, section 9.1: this size of window is none.
            if first & 0x7f == 0x11 {
                let error = "the window of brotli is larger than RFC 7932 allows";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            self.begun = true;
        }
        self.decoder.read(out)
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.len().min(out.len());
        out[..count].copy_from_slice(&self.bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bytes.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.bytes)
    }

    fn consume(&mut self, count: usize) {
        let _ = self.bytes.split_to(count);
    }
}
