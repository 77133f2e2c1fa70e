//! The protobuf wire format: bounds-checked, borrowing, without recursion into known messages.
//!
//! Input: bytes of one message. Output: fields as they come, payloads borrowed. Unknown fields can be skipped,
//! groups included. Not here: what fields mean.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>; limits as in `prost`.

/// Why bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The message ends inside a field.
    #[error("protobuf message ends inside a field")]
    Truncated,
    /// A varint has more than 64 bits.
    #[error("protobuf varint is too long")]
    Varint,
    /// A field has number 0 or one above 2^29.
    #[error("protobuf field key {0} is invalid")]
    Key(u64),
    /// A known field has a wire type that it cannot have.
    #[error("protobuf field {field} has wire type {wire_type}, expected {expected}")]
    WireType {
        /// Number of the field.
        field: u32,
        /// What was found.
        wire_type: u8,
        /// What the field needs.
        expected: u8,
    },
    /// Groups are nested too deeply or end without a start.
    #[error("protobuf group is malformed")]
    Group,
}

/// Wire type of varints.
pub const VARINT: u8 = 0;
/// Wire type of 8 bytes.
pub const FIXED64: u8 = 1;
/// Wire type of texts, bytes and messages.
pub const LENGTH_DELIMITED: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// Deepest nesting of groups that is skipped.
const GROUP_DEPTH_MAX: usize = 100;

/// Reads the fields of one message.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// Number and wire type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Number of the field.
    pub field: u32,
    /// Wire type, 0 to 7.
    pub wire_type: u8,
}

impl Key {
    /// Checks that the field has the wire type it must have.
    ///
    /// # Errors
    /// [`WireError::WireType`].
    #[inline]
    pub fn expect(self, expected: u8) -> Result<(), WireError> {
        if self.wire_type == expected {
            return Ok(());
        }
        Err(WireError::WireType { field: self.field, wire_type: self.wire_type, expected })
    }
}

impl<'a> Reader<'a> {
    /// Starts at the first field of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Offset of the next byte.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Returns whether all bytes are read.
    #[inline]
    pub fn is_at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    /// The next byte, without reading it.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    /// Reads the next byte if it is `key_byte`: the whole key of a field with a number below 16.
    ///
    /// PERF: for fields in the order in which everybody sends them; a branch that is foreseen costs nothing.
    #[inline]
    pub fn take_key(&mut self, key_byte: u8) -> bool {
        let is_next = self.peek() == Some(key_byte);
        self.position += usize::from(is_next);
        is_next
    }

    /// Reads the key of the next field; `None` at the end.
    ///
    /// # Errors
    /// [`WireError`].
    #[inline]
    pub fn key(&mut self) -> Result<Option<Key>, WireError> {
        if self.is_at_end() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = u32::try_from(key).map_err(|_| WireError::Key(key))? >> 3;
        if field == 0 {
            return Err(WireError::Key(key));
        }
        Ok(Some(Key { field, wire_type: (key & 7) as u8 }))
    }

    /// Reads a varint.
    ///
    /// # Errors
    /// [`WireError`].
    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.position) {
            Some(byte) if *byte < 0x80 => {
                self.position += 1;
                Ok(u64::from(*byte))
            }
            // PERF: references to symbols take two bytes, mostly; see bench `rim`, `decode/v2`.
            Some(low) => match self.bytes.get(self.position + 1) {
                Some(high) if *high < 0x80 => {
                    self.position += 2;
                    Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
                }
                _ => self.long_varint(),
            },
            None => Err(WireError::Truncated),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (index, byte) in self.bytes.iter().skip(self.position).take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                if index == 9 && *byte > 1 {
                    return Err(WireError::Varint);
                }
                self.position += index + 1;
                return Ok(value);
            }
        }
        match self.bytes.len() - self.position {
            0..10 => Err(WireError::Truncated),
            _ => Err(WireError::Varint),
        }
    }

    /// Reads the payload of a length-delimited field.
    ///
    /// # Errors
    /// [`WireError`].
    #[inline]
    pub fn payload(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.varint()?;
        let rest = self.bytes.get(self.position..).ok_or(WireError::Truncated)?;
        let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
        let payload = rest.get(..length).ok_or(WireError::Truncated)?;
        self.position += length;
        Ok(payload)
    }

    /// Reads a double.
    ///
    /// # Errors
    /// [`WireError`].
    #[inline]
    pub fn double(&mut self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    /// Reads 8 bytes as a number.
    ///
    /// # Errors
    /// [`WireError`].
    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, WireError> {
        let rest = self.bytes.get(self.position..).ok_or(WireError::Truncated)?;
        let bytes = rest.first_chunk::<8>().ok_or(WireError::Truncated)?;
        self.position += 8;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Reads the payload of the field at hand and all fields that follow directly with the same key; `start` is where
    /// the first key began, `key_byte` the key of each. Returns the fields, keys included.
    ///
    /// # Errors
    /// [`WireError`].
    #[inline]
    pub fn run(&mut self, start: usize, key_byte: u8) -> Result<&'a [u8], WireError> {
        self.payload()?;
        while let Some([key, length]) = self.bytes.get(self.position..).and_then(<[u8]>::first_chunk) {
            if *key != key_byte {
                break;
            }
            if *length < 0x80 {
                // Whether there is as much is looked at once, behind the last one.
                self.position += 2 + usize::from(*length);
            } else {
                self.position += 1;
                self.payload()?;
            }
        }
        self.bytes.get(start..self.position).ok_or(WireError::Truncated)
    }

    /// Skips the value of a field whose key was just read.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn skip(&mut self, key: Key) -> Result<(), WireError> {
        self.skip_nested(key, 0)
    }

    fn skip_nested(&mut self, key: Key, depth: usize) -> Result<(), WireError> {
        match key.wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.advance(8),
            FIXED32 => self.advance(4),
            LENGTH_DELIMITED => self.payload().map(drop),
            GROUP_START if depth < GROUP_DEPTH_MAX => loop {
                let inner = self.key()?.ok_or(WireError::Truncated)?;
                if inner.wire_type != GROUP_END {
                    self.skip_nested(inner, depth + 1)?;
                } else if inner.field == key.field {
                    return Ok(());
                } else {
                    return Err(WireError::Group);
                }
            },
            GROUP_START | GROUP_END => Err(WireError::Group),
            wire_type => Err(WireError::WireType { field: key.field, wire_type, expected: VARINT }),
        }
    }

    fn advance(&mut self, byte_count: usize) -> Result<(), WireError> {
        if self.bytes.len() - self.position < byte_count {
            return Err(WireError::Truncated);
        }
        self.position += byte_count;
        Ok(())
    }
}
