//! Inflates one message piece by piece, within a limit, and without memory for bombs.
//!
//! Input: the compressed bytes as they arrive. Output: the message in pieces, or that it is too large or damaged. A
//! message that inflates suspiciously well is only counted until its end is known to be within the limit; then it is
//! inflated once more from its compressed bytes, which are few. Pure; may compute for long.

use std::io::{self, Write};

use axum::body::Bytes;
use axum::http::HeaderMap;
use flate2::write::MultiGzDecoder;
use tonic::Status;
use zstd::stream::write::Decoder as ZstdDecoder;

/// The header that names the compression.
pub(super) const ENCODING: &str = "grpc-encoding";

/// Size of the pieces.
const PIECE_BYTES: usize = 256 << 10;

/// A message that has inflated to this much, and to more than so many times its size, is suspicious.
const SUSPICIOUS_BYTES: usize = 2 << 20;
const SUSPICIOUS_RATIO: usize = 32;

/// Largest window of zstd as a power of two; levels up to 19 need no more than 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// A compression that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// Takes the one of a call out of its headers; `None` = none, or one that tonic refuses.
    pub(super) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let encoding = match headers.get(ENCODING)?.as_bytes() {
            b"gzip" => Self::Gzip,
            b"zstd" => Self::Zstd,
            _ => return None,
        };
        headers.remove(ENCODING);
        Some(encoding)
    }
}

/// Why a message cannot be inflated.
#[derive(Debug, thiserror::Error)]
pub(super) enum InflateError {
    #[error("message has more than {limit} bytes after decompression, the limit of --grpc-max-bytes")]
    TooLarge { limit: usize },
    #[error("message cannot be decompressed: {0}")]
    Damaged(io::Error),
}

impl From<InflateError> for Status {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooLarge { .. } => Status::resource_exhausted(error.to_string()),
            InflateError::Damaged(_) => Status::invalid_argument(error.to_string()),
        }
    }
}

/// Where inflated bytes go.
#[derive(Debug)]
struct Sink {
    pieces: Vec<Bytes>,
    piece: Vec<u8>,
    byte_count: usize,
    limit: usize,
    /// Compressed bytes so far.
    given_bytes: usize,
    /// The size is known to be within the limit.
    is_trusted: bool,
    /// Nothing is kept any more.
    is_counting: bool,
}

impl Sink {
    fn is_over(&self) -> bool {
        self.byte_count > self.limit
    }

    fn is_suspicious(&self) -> bool {
        self.byte_count >= SUSPICIOUS_BYTES && self.byte_count / SUSPICIOUS_RATIO > self.given_bytes
    }

    fn into_pieces(mut self) -> Vec<Bytes> {
        if !self.piece.is_empty() {
            self.pieces.push(self.piece.into());
        }
        self.pieces
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.byte_count += bytes.len();
        if self.is_over() {
            return Err(io::Error::other("the limit is exceeded"));
        }
        if !self.is_counting && !self.is_trusted && self.is_suspicious() {
            self.is_counting = true;
            self.pieces = Vec::new();
            self.piece = Vec::new();
        }
        if !self.is_counting {
            self.piece.extend_from_slice(bytes);
            if self.piece.len() >= PIECE_BYTES {
                self.pieces.push(std::mem::take(&mut self.piece).into());
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Sink>>),
    Zstd(ZstdDecoder<'static, Sink>),
}

impl Decoder {
    fn new(encoding: Encoding, sink: Sink) -> io::Result<Self> {
        match encoding {
            Encoding::Gzip => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(sink)))),
            Encoding::Zstd => {
                let mut decoder = ZstdDecoder::new(sink)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(Self::Zstd(decoder))
            }
        }
    }

    fn sink(&mut self) -> &mut Sink {
        match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }

    fn push(&mut self, part: &[u8]) -> Result<(), InflateError> {
        self.sink().given_bytes += part.len();
        let outcome = match self {
            Self::Gzip(decoder) => decoder.write_all(part),
            Self::Zstd(decoder) => decoder.write_all(part),
        };
        outcome.map_err(|error| self.failure(error))
    }

    /// Ends the message; the decoder is of no use afterwards.
    fn finish(self) -> io::Result<Sink> {
        match self {
            Self::Gzip(decoder) => decoder.finish(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }

    fn failure(&mut self, error: io::Error) -> InflateError {
        let sink = self.sink();
        match sink.is_over() {
            true => InflateError::TooLarge { limit: sink.limit },
            false => InflateError::Damaged(error),
        }
    }
}

/// A message that is being inflated.
pub(super) struct Inflater {
    encoding: Encoding,
    limit: usize,
    /// The compressed bytes, for the second time.
    given: Vec<u8>,
    decoder: Decoder,
}

impl Inflater {
    /// Begins a message that may have `limit` bytes.
    pub(super) fn new(encoding: Encoding, limit: usize) -> Result<Self, InflateError> {
        let decoder = Decoder::new(encoding, sink(limit, false)).map_err(InflateError::Damaged)?;
        Ok(Self { encoding, limit, given: Vec::new(), decoder })
    }

    /// Takes the next compressed bytes.
    pub(super) fn push(&mut self, part: &[u8]) -> Result<(), InflateError> {
        self.decoder.push(part)?;
        self.given.extend_from_slice(part);
        Ok(())
    }

    /// Ends the message.
    pub(super) fn finish(self) -> Result<Vec<Bytes>, InflateError> {
        let limit = self.limit;
        let counted = finished(self.decoder, limit)?;
        if !counted.is_counting {
            return Ok(counted.into_pieces());
        }
        let mut again = Decoder::new(self.encoding, sink(limit, true)).map_err(InflateError::Damaged)?;
        again.push(&self.given)?;
        Ok(finished(again, limit)?.into_pieces())
    }
}

/// The end of a message may hold bytes, too, and they may be too many.
fn finished(mut decoder: Decoder, limit: usize) -> Result<Sink, InflateError> {
    let flushed = match &mut decoder {
        Decoder::Gzip(decoder) => decoder.flush(),
        Decoder::Zstd(decoder) => decoder.flush(),
    };
    flushed.map_err(|error| decoder.failure(error))?;
    let sink = decoder.finish().map_err(InflateError::Damaged)?;
    if sink.is_over() { Err(InflateError::TooLarge { limit }) } else { Ok(sink) }
}

fn sink(limit: usize, is_trusted: bool) -> Sink {
    Sink {
        pieces: Vec::new(),
        piece: Vec::new(),
        byte_count: 0,
        limit,
        given_bytes: 0,
        is_trusted,
        is_counting: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn inflate(encoding: Encoding, message: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        let mut inflater = Inflater::new(encoding, limit)?;
        for part in message.chunks(1000) {
            inflater.push(part)?;
        }
        Ok(inflater.finish()?.concat())
    }

    #[test]
    fn what_was_compressed_comes_back_and_one_byte_above_the_limit_does_not() {
        // Below and above the size at which a message is counted first.
        for byte_count in [0, 1, PIECE_BYTES, SUSPICIOUS_BYTES + 12_345] {
            let bytes: Vec<u8> = (0..byte_count).map(|index| (index / 100_000) as u8).collect();
            for (encoding, message) in [(Encoding::Gzip, gzip(&bytes)), (Encoding::Zstd, zstd(&bytes))] {
                assert!(
                    inflate(encoding, &message, byte_count).unwrap() == bytes,
                    "{encoding:?} {byte_count}"
                );
                if byte_count > 0 {
                    let refused = inflate(encoding, &message, byte_count - 1).unwrap_err();
                    assert!(matches!(refused, InflateError::TooLarge { .. }), "{encoding:?} {refused}");
                    let cut = inflate(encoding, &message[..message.len() - 1], byte_count).unwrap_err();
                    assert!(matches!(cut, InflateError::Damaged(_)), "{encoding:?} {cut}");
                }
            }
        }
    }

    #[test]
    fn members_are_counted_together() {
        for (encoding, one, two) in
            [(Encoding::Gzip, gzip(b"one"), gzip(b"two")), (Encoding::Zstd, zstd(b"one"), zstd(b"two"))]
        {
            let members = [one, two].concat();
            assert_eq!(inflate(encoding, &members, 6).unwrap(), b"onetwo", "{encoding:?}");
            let refused = inflate(encoding, &members, 5).unwrap_err();
            assert!(matches!(refused, InflateError::TooLarge { limit: 5 }), "{encoding:?} {refused}");
        }
    }

    #[test]
    fn foreign_bytes_and_huge_windows_are_errors() {
        assert!(inflate(Encoding::Zstd, b"no zstd at all", 100).is_err());
        assert!(inflate(Encoding::Gzip, b"no gzip at all", 100).is_err());
        // A frame with a window of 2 TiB and one empty block.
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00];
        assert!(matches!(inflate(Encoding::Zstd, &huge, 100), Err(InflateError::Damaged(_))));
    }
}
