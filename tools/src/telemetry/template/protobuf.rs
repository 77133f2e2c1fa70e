//! Protobuf's bytes: writing fields, and reading back those that were written here.
//!
//! Source: protobuf.dev, "Encoding"; opentelemetry-proto for the messages of attributes.

/// Bytes of a varint that is patched in place: seven bits each, so values below 2^42.
pub const WIDE_VARINT_BYTES: usize = 6;

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a field of bytes: text, a message, or packed numbers.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends what precedes `len` bytes of a field.
pub fn put_head(out: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, len as u64);
}

/// Appends a field of eight bytes; returns where they are.
pub fn put_fixed64(out: &mut Vec<u8>, field: u32, bits: u64) -> u32 {
    put_varint(out, u64::from(field << 3 | 1));
    let offset = out.len() as u32;
    out.extend_from_slice(&bits.to_le_bytes());
    offset
}

/// Appends a field of a varint.
pub fn put_uint(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, number);
}

/// Appends a field of a signed number in zigzag.
pub fn put_sint(out: &mut Vec<u8>, field: u32, number: i32) {
    put_uint(out, field, u64::from((number << 1 ^ number >> 31) as u32));
}

/// Appends a field of `len` zero bytes; returns where they are.
pub fn put_room(out: &mut Vec<u8>, field: u32, len: usize) -> u32 {
    put_head(out, field, len);
    let offset = out.len() as u32;
    out.resize(out.len() + len, 0);
    offset
}

/// Appends an OTLP attribute with a text.
pub fn put_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    let mut any = Vec::with_capacity(value.len() + 3);
    put_bytes(&mut any, 1, value.as_bytes());
    let mut attribute = Vec::with_capacity(key.len() + any.len() + 6);
    put_bytes(&mut attribute, 1, key.as_bytes());
    put_bytes(&mut attribute, 2, &any);
    put_bytes(out, field, &attribute);
}

/// Returns a number below 2^42 as a varint of exactly six bytes, in the low bytes of the result.
#[inline]
pub fn wide_varint(number: u64) -> u64 {
    let spread = number & 0x7f
        | (number & 0x7f << 7) << 1
        | (number & 0x7f << 14) << 2
        | (number & 0x7f << 21) << 3
        | (number & 0x7f << 28) << 4
        | (number & 0x7f << 35) << 5;
    spread | 0x80_8080_8080
}

/// A field of bytes or eight bytes; varints are skipped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    /// Eight bytes.
    Fixed(u64),
    /// Text, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// Iterates over the fields of a message; ends at the first byte that is none.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Begins at the first field.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            let number = (tag >> 3) as u32;
            match tag & 7 {
                0 => {
                    self.varint()?;
                }
                1 => {
                    let bytes = self.take(8)?.try_into().ok()?;
                    return Some((number, Field::Fixed(u64::from_le_bytes(bytes))));
                }
                2 => {
                    let len = self.varint()?;
                    return Some((number, Field::Bytes(self.take(usize::try_from(len).ok()?)?)));
                }
                5 => {
                    self.take(4)?;
                }
                _ => return None,
            }
        }
    }
}

/// Returns key and text of the attributes in the fields `field` of a message; values that are no text are left out.
pub fn attributes(message: &[u8], field: u32) -> Vec<(String, String)> {
    let of_field = Fields::new(message).filter(|(number, _)| *number == field);
    of_field.filter_map(|(_, attribute)| key_and_text(attribute)).collect()
}

fn key_and_text(attribute: Field<'_>) -> Option<(String, String)> {
    let Field::Bytes(attribute) = attribute else { return None };
    let bytes_of = |message, wanted| {
        Fields::new(message).find_map(|(number, field)| match field {
            Field::Bytes(bytes) if number == wanted => Some(bytes),
            _ => None,
        })
    };
    let key = std::str::from_utf8(bytes_of(attribute, 1)?).ok()?;
    let text = std::str::from_utf8(bytes_of(bytes_of(attribute, 2)?, 1)?).ok()?;
    Some((key.to_owned(), text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_varints_are_varints_of_six_bytes() {
        for number in [0, 1, 127, 128, 300, 1_790_000_000_000, (1 << 42) - 1] {
            let bytes = wide_varint(number).to_le_bytes();
            assert_eq!(bytes[6..], [0, 0], "{number}");
            let mut fields = Fields::new(&bytes[..WIDE_VARINT_BYTES]);
            assert_eq!(fields.varint(), Some(number));
            assert!(fields.rest.is_empty(), "{number}");
        }
    }

    #[test]
    fn attributes_come_back_and_cut_messages_end_early() {
        let mut message = Vec::new();
        put_fixed64(&mut message, 3, 5);
        put_uint(&mut message, 4, 1_000_000);
        put_attribute(&mut message, 7, "key", "text");
        put_attribute(&mut message, 9, "other", "text");
        assert_eq!(attributes(&message, 7), [("key".to_owned(), "text".to_owned())]);
        for len in 0..message.len() {
            assert!(Fields::new(&message[..len]).count() <= 3);
        }
    }
}
