//! Takes a body out of its Content-Encoding, with a limit on what comes out while it comes out.
//!
//! Input: the bytes as sent. Output: at most so many bytes, or an error before more memory is taken than that.

use std::io::Read;

use axum::http::{HeaderMap, header};
use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
    Zstd,
    Deflate,
}

/// What may be sent, for errors and the header `Accept-Encoding`.
pub(super) const ALLOWED: &str = "gzip, zstd, deflate, identity";

/// Largest window of zstd as a power of two: 8 MiB, as RFC 9659 wants it.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes that are inflated at a time.
const STEP_BYTES: usize = 64 << 10;

/// Ordinary bodies become at most so many times larger.
const USUAL_RATIO: usize = 16;

/// A body that has become this large, and so many times larger than it was, is counted to its end before more is kept:
/// a bomb costs time for its limit, and little memory.
const SUSPICIOUS_BYTES: usize = 4 << 20;
const SUSPICIOUS_RATIO: usize = 4;
/// The same for a body that has become this large, however large it was.
const LARGE_BYTES: usize = 8 << 20;

/// Why a body cannot be inflated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum InflateError {
    #[error("body has more than {limit} bytes after decompression, the limit of --grpc-max-bytes")]
    TooLarge { limit: usize },
    #[error("body is no {encoding}: {reason}")]
    Broken { encoding: &'static str, reason: String },
}

impl ContentEncoding {
    /// The encoding that the headers name; `Err` has the name of one that is not known.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).iter();
        let name = match (named.next(), named.next()) {
            (None, _) => return Ok(Self::Identity),
            (Some(name), None) => String::from_utf8_lossy(name.as_bytes()).trim().to_owned(),
            (Some(_), Some(_)) => return Err("several at once".to_owned()),
        };
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "deflate" => Ok(Self::Deflate),
            _ => Err(name),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate (zlib)",
        }
    }

    /// Inflates a body to at most `limit` bytes. `grow` is told how many bytes more are needed before they are taken,
    /// and may refuse.
    ///
    /// # Errors
    /// [`InflateError`], or what `grow` says.
    pub(super) fn inflate<E: From<InflateError>>(
        self,
        body: &[u8],
        limit: usize,
        grow: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        match self {
            Self::Identity => Ok(body.to_vec()),
            _ => self.read(body, limit, grow),
        }
    }

    fn reader<'b>(self, body: &'b [u8]) -> std::io::Result<Box<dyn Read + 'b>> {
        Ok(match self {
            Self::Identity => Box::new(body),
            Self::Gzip => Box::new(MultiGzDecoder::new(body)),
            Self::Deflate => Box::new(ZlibDecoder::new(body)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }

    /// Counts what comes out of a body and keeps nothing.
    fn size_of(self, body: &[u8], limit: usize) -> Result<usize, InflateError> {
        let mut reader = self.reader(body).map_err(|error| self.broken(&error))?;
        let mut step = vec![0; STEP_BYTES];
        let mut byte_count = 0;
        while byte_count <= limit {
            match reader.read(&mut step).map_err(|error| self.broken(&error))? {
                0 => return Ok(byte_count),
                count => byte_count += count,
            }
        }
        Err(InflateError::TooLarge { limit })
    }

    fn broken(self, error: &std::io::Error) -> InflateError {
        InflateError::Broken { encoding: self.name(), reason: error.to_string() }
    }

    fn read<E: From<InflateError>>(
        self,
        body: &[u8],
        limit: usize,
        mut grow: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<Vec<u8>, E> {
        // Memory of one size, until it is known how much is needed: what one bomb gave back the next one takes.
        let expected_bytes = body.len().saturating_mul(USUAL_RATIO).min(limit).min(LARGE_BYTES);
        let mut reader = self.reader(body).map_err(|error| self.broken(&error))?;
        let mut out: Vec<u8> = Vec::with_capacity(expected_bytes + STEP_BYTES);
        let mut is_counted = false;
        let mut granted_bytes = 0;
        loop {
            let start = out.len();
            let end = start + STEP_BYTES;
            if end > out.capacity() {
                // Beyond that everything is counted first.
                out.reserve_exact(LARGE_BYTES.min(limit) + STEP_BYTES);
            }
            if end > granted_bytes {
                grow(end - granted_bytes)?;
                granted_bytes = end;
            }
            out.resize(end, 0);
            let count = reader.read(&mut out[start..]).map_err(|error| self.broken(&error))?;
            out.truncate(start + count);
            if out.len() > limit {
                return Err(InflateError::TooLarge { limit }.into());
            }
            let is_suspicious = out.len() >= LARGE_BYTES
                || (out.len() >= SUSPICIOUS_BYTES && out.len() / SUSPICIOUS_RATIO > body.len());
            if is_suspicious && !is_counted {
                let size = self.size_of(body, limit)?;
                out.reserve_exact((size + STEP_BYTES).saturating_sub(out.len()));
                is_counted = true;
            }
            if count == 0 {
                return Ok(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::ContentEncoding::{Deflate, Gzip, Zstd};
    use super::*;

    fn deflated(encoding: ContentEncoding, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Zstd => zstd::encode_all(bytes, 1).unwrap(),
            ContentEncoding::Identity => bytes.to_vec(),
        }
    }

    fn inflate(encoding: ContentEncoding, body: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        encoding.inflate(body, limit, |_| Ok(()))
    }

    #[test]
    fn what_was_compressed_comes_out_up_to_the_limit() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for encoding in [ContentEncoding::Identity, Gzip, Deflate, Zstd] {
            let body = deflated(encoding, &text);
            assert_eq!(inflate(encoding, &body, text.len()).as_ref(), Ok(&text), "{encoding:?}");
            assert_eq!(inflate(encoding, &deflated(encoding, b""), 10), Ok(Vec::new()), "{encoding:?}");
        }
        for encoding in [Gzip, Deflate, Zstd] {
            let limit = text.len() - 1;
            let refused = inflate(encoding, &deflated(encoding, &text), limit);
            assert_eq!(refused, Err(InflateError::TooLarge { limit }), "{encoding:?}");
        }
    }

    #[test]
    fn members_of_gzip_and_frames_of_zstd_follow_each_other() {
        for encoding in [Gzip, Zstd] {
            let body = [deflated(encoding, b"abc"), deflated(encoding, b"def")].concat();
            assert_eq!(inflate(encoding, &body, 100).unwrap(), b"abcdef", "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_the_limit_and_only_what_is_granted() {
        let bomb_bytes = 64 << 20;
        let zeros = std::io::repeat(0).take(bomb_bytes);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::copy(&mut { zeros }, &mut encoder).unwrap();
        let bomb = encoder.finish().unwrap();
        let limit = 1 << 20;
        let mut granted = 0;
        let refused = Gzip.inflate(&bomb, limit, |bytes| {
            granted += bytes;
            Ok::<(), InflateError>(())
        });
        assert_eq!(refused, Err(InflateError::TooLarge { limit }));
        assert!(granted <= limit + STEP_BYTES, "{granted}");
        let full = InflateError::Broken { encoding: "test", reason: "full".to_owned() };
        let mut left = 100_000_usize;
        let refused = Gzip.inflate(&bomb, limit, |bytes| {
            left = left.checked_sub(bytes).ok_or_else(|| full.clone())?;
            Ok(())
        });
        assert_eq!(refused, Err(full));
    }

    #[test]
    fn what_becomes_suspiciously_large_is_kept_only_if_it_ends_within_the_limit() {
        let byte_count = SUSPICIOUS_BYTES + 12_345;
        let zeros = vec![0; byte_count];
        for encoding in [Gzip, Deflate, Zstd] {
            let body = deflated(encoding, &zeros);
            assert!(inflate(encoding, &body, byte_count).unwrap() == zeros, "{encoding:?}");
            let limit = byte_count - 1;
            let mut granted = 0;
            let refused = encoding.inflate(&body, limit, |bytes| {
                granted += bytes;
                Ok::<(), InflateError>(())
            });
            assert_eq!(refused, Err(InflateError::TooLarge { limit }), "{encoding:?}");
            assert!(granted <= SUSPICIOUS_BYTES + STEP_BYTES, "{encoding:?}: {granted}");
        }
    }

    #[test]
    fn a_large_window_of_zstd_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).unwrap();
        encoder.include_contentsize(false).unwrap();
        let bytes = vec![7; 1 << 20];
        encoder.write_all(&bytes).unwrap();
        let body = encoder.finish().unwrap();
        let refused = inflate(Zstd, &body, 2 << 20).unwrap_err();
        assert!(matches!(refused, InflateError::Broken { encoding: "zstd", .. }), "{refused}");
    }

    #[test]
    fn broken_bodies_are_named() {
        for encoding in [Gzip, Deflate, Zstd] {
            let whole = deflated(encoding, b"some text that is long enough to be cut");
            for body in [&b"not compressed"[..], &whole[..whole.len() - 5]] {
                let refused = inflate(encoding, body, 1000).unwrap_err();
                assert!(refused.to_string().contains(encoding.name()), "{refused}");
            }
        }
    }

    #[test]
    fn the_header_names_the_encoding() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            ContentEncoding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(ContentEncoding::Identity));
        assert_eq!(of(&["GZIP"]), Ok(Gzip));
        assert_eq!(of(&["br"]), Err("br".to_owned()));
        assert_eq!(of(&["gzip, gzip"]), Err("gzip, gzip".to_owned()));
        assert!(of(&["gzip", "zstd"]).is_err());
    }
}
