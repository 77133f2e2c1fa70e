//! Little-endian numbers, varints and checksums: the alphabet of every file format.
//!
//! [`Cursor`] reads foreign bytes: it never panics, and a read past the end gives [`CodingError`].
//! Not here: any particular format (see each room's `format.rs`).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crc_fast::CrcAlgorithm;

/// Bytes end early or hold an impossible number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes at offset {offset}: {problem}")]
pub struct CodingError {
    /// Where reading stopped.
    pub offset: usize,
    /// What was wrong.
    pub problem: &'static str,
}

/// Appends an unsigned LEB128 varint (1 to 10 bytes).
#[inline]
pub fn put_uvarint(out: &mut Vec<u8>, value: u64) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a zigzag varint: small magnitudes of either sign are short.
#[inline]
pub fn put_ivarint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, zigzag(value));
}

/// Appends a varint length and the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Maps signed to unsigned so that small magnitudes stay small.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Inverse of [`zigzag`].
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ (value & 1).cast_signed().wrapping_neg()
}

/// The CRC-32C (Castagnoli) of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Reads numbers and slices off the front of foreign bytes.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.offset)
    }

    /// Returns whether everything was read.
    pub fn is_at_end(&self) -> bool {
        self.remaining() == 0
    }

    /// An error at the present offset.
    pub fn error(&self, problem: &'static str) -> CodingError {
        CodingError { offset: self.offset, problem }
    }

    /// Takes the next `length` bytes.
    ///
    /// # Errors
    /// [`CodingError`] if fewer are left.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], CodingError> {
        let end = self.offset.checked_add(length).ok_or_else(|| self.error("length overflows"))?;
        let part = self.bytes.get(self.offset..end).ok_or_else(|| self.error("bytes end early"))?;
        self.offset = end;
        Ok(part)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], CodingError> {
        let part = self.take(N)?;
        part.try_into().map_err(|_| self.error("bytes end early"))
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`CodingError`] at the end.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, CodingError> {
        self.take_array::<1>().map(|[byte]| byte)
    }

    /// Takes a little-endian `u16`.
    ///
    /// # Errors
    /// [`CodingError`] at the end.
    pub fn u16(&mut self) -> Result<u16, CodingError> {
        self.take_array().map(u16::from_le_bytes)
    }

    /// Takes a little-endian `u32`.
    ///
    /// # Errors
    /// [`CodingError`] at the end.
    pub fn u32(&mut self) -> Result<u32, CodingError> {
        self.take_array().map(u32::from_le_bytes)
    }

    /// Takes a little-endian `u64`.
    ///
    /// # Errors
    /// [`CodingError`] at the end.
    pub fn u64(&mut self) -> Result<u64, CodingError> {
        self.take_array().map(u64::from_le_bytes)
    }

    /// Takes a little-endian `i64`.
    ///
    /// # Errors
    /// [`CodingError`] at the end.
    pub fn i64(&mut self) -> Result<i64, CodingError> {
        self.take_array().map(i64::from_le_bytes)
    }

    /// Takes an unsigned varint.
    ///
    /// # Errors
    /// [`CodingError`] at the end or above 64 bits.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u64, CodingError> {
        // PERF: index `block/chunks/*`: most numbers of an index have one byte.
        if let Some(byte) = self.bytes.get(self.offset)
            && *byte < 0x80
        {
            self.offset = self.offset.saturating_add(1);
            return Ok(u64::from(*byte));
        }
        self.long_uvarint()
    }

    fn long_uvarint(&mut self) -> Result<u64, CodingError> {
        let mut value = 0_u64;
        let mut shift = 0_u32;
        loop {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.error("varint is above 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift = shift.saturating_add(7);
            if shift > 63 {
                return Err(self.error("varint is above 64 bits"));
            }
        }
    }

    /// Takes a zigzag varint.
    ///
    /// # Errors
    /// As [`Cursor::uvarint`].
    #[inline]
    pub fn ivarint(&mut self) -> Result<i64, CodingError> {
        self.uvarint().map(unzigzag)
    }

    /// Takes a varint that counts things of at least `unit_bytes` bytes each, so that a damaged count can never
    /// make the reader allocate more than the bytes at hand could hold (`unit_bytes == 0`: only fits `usize`).
    ///
    /// # Errors
    /// [`CodingError`] if that many cannot follow.
    pub fn count(&mut self, unit_bytes: usize) -> Result<usize, CodingError> {
        let value = self.uvarint()?;
        let count = usize::try_from(value).map_err(|_| self.error("count is too large"))?;
        if count.checked_mul(unit_bytes).is_none_or(|needed| needed > self.remaining()) {
            return Err(self.error("count is larger than the bytes that follow"));
        }
        Ok(count)
    }

    /// Takes a varint length and that many bytes.
    ///
    /// # Errors
    /// [`CodingError`] at the end.
    pub fn bytes(&mut self) -> Result<&'a [u8], CodingError> {
        let length = self.count(1)?;
        self.take(length)
    }

    /// Takes a varint length and that many bytes of UTF-8.
    ///
    /// # Errors
    /// [`CodingError`] at the end or if they are no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, CodingError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.error("text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(unsigned: u64, signed: i64, text in ".{0,40}") {
            let mut out = Vec::new();
            put_uvarint(&mut out, unsigned);
            put_ivarint(&mut out, signed);
            put_bytes(&mut out, text.as_bytes());
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.uvarint().unwrap(), unsigned);
            prop_assert_eq!(cursor.ivarint().unwrap(), signed);
            prop_assert_eq!(cursor.text().unwrap(), text);
            prop_assert!(cursor.is_at_end());
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let mut cursor = Cursor::new(&bytes);
            while cursor.uvarint().is_ok() && cursor.bytes().is_ok() {}
        }
    }

    #[test]
    fn crc_is_castagnoli() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
