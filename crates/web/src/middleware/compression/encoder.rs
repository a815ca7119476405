//! A stream of bytes, coded piece by piece.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::CompressionLevel;
use crate::content_coding::ContentCoding;

/// How far back a repetition may be found, for all codings: 256 KiB, as its binary logarithm. It
/// bounds the memory of an encoder. (That of gzip is 32 KiB by its format.)
const WINDOW: u32 = 18;

/// An encoder, with what has come out of it. It needs, at the level unless told, about 300 KiB for
/// gzip, 2 MiB for brotli and 1 MiB for zstd.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub(super) fn new(coding: ContentCoding, level: CompressionLevel) -> io::Result<Self> {
        let out = Vec::new();
        let choose = |fastest, usual, best| match level {
            CompressionLevel::Fastest => fastest,
            CompressionLevel::Usual => usual,
            CompressionLevel::Best => best,
        };
        Ok(match coding {
            ContentCoding::Gzip => {
                let level = Compression::new(choose(1, 6, 9));
                Self::Gzip(GzEncoder::new(out, level))
            }
            ContentCoding::Brotli => {
                let quality = choose(1, 4, 9);
                let writer = brotli::CompressorWriter::new(out, 4096, quality, WINDOW);
                Self::Brotli(Box::new(writer))
            }
            ContentCoding::Zstd => {
                let level = choose(1, 3, 12) as i32;
                let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
                encoder.window_log(WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(data),
            Self::Brotli(encoder) => encoder.write_all(data),
            Self::Zstd(encoder) => encoder.write_all(data),
        }
    }

    /// Lets all that was written come out.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }

    /// Takes what has come out.
    pub(super) fn take(&mut self) -> Bytes {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        };
        std::mem::take(out).into()
    }

    /// Ends the stream. Returns what comes out last.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        let out = match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => encoder.finish()?,
        };
        Ok(out.into())
    }
}

/// `data`, coded.
pub(super) fn encode(
    data: &[u8],
    coding: ContentCoding,
    level: CompressionLevel,
) -> io::Result<Bytes> {
    let mut encoder = Encoder::new(coding, level)?;
    encoder.write(data)?;
    encoder.finish()
}
