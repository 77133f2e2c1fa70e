//! OTLP/JSON to protobuf bytes, so that both encodings go the same way from here on.
//!
//! Input: the JSON of an export request and the [`schema`] of its message. Output: the bytes that protobuf has for it.
//! Written in one pass without a tree in between; what is nested too deeply is refused by the JSON parser.
//!
//! As the protocol says: keys in lowerCamelCase only, unknown ones ignored, trace and span ids in hex, 64-bit integers
//! as texts or numbers, `NaN` and `Infinity` as texts. As canonical JSON of protobuf says: `null` is absent, bytes in
//! either form of base64. Enums are numbers in OTLP; their names are understood as well.
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

mod scalar;
pub(super) mod schema;

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use self::scalar::Scalar;
use self::schema::{Field, Kind, Message};

/// Most bytes of protobuf that a byte of JSON makes: `0,` may be eight.
pub(super) const GROWTH_MAX: usize = 4;

/// Why a text is no request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum JsonError {
    /// What was expected, with line and column.
    #[error("malformed JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The message is larger than allowed.
    #[error("body has more than {limit} bytes as protobuf, the limit of --grpc-max-bytes")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
}

/// Writes the protobuf bytes of the message that `json` describes, at most `limit`.
///
/// # Errors
/// [`JsonError`].
pub(super) fn to_protobuf(
    json: &[u8],
    message: &'static Message,
    limit: usize,
) -> Result<Vec<u8>, JsonError> {
    let mut out = Out { bytes: Vec::with_capacity(json.len() / 2), limit };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = MessageSeed { message, out: &mut out }.deserialize(&mut deserializer);
    if out.bytes.len() > limit {
        return Err(JsonError::TooLarge { limit });
    }
    read?;
    deserializer.end()?;
    Ok(out.bytes)
}

/// What was written so far.
struct Out {
    bytes: Vec<u8>,
    /// Most bytes.
    limit: usize,
}

/// Appends the number of a field and its wire type.
fn push_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    push_varint(out, u64::from(number << 3 | u32::from(wire_type)));
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Puts the length of everything behind `start` in front of it.
fn close_length(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    let mut prefix = Vec::with_capacity(10);
    push_varint(&mut prefix, length as u64);
    out.resize(out.len() + prefix.len(), 0);
    out.copy_within(start..start + length, start + prefix.len());
    out[start..start + prefix.len()].copy_from_slice(&prefix);
}

/// Reads an object into a message's fields.
struct MessageSeed<'o> {
    message: &'static Message,
    out: &'o mut Out,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object ({})", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match self.message.fields.iter().find(|field| field.name == key) {
                Some(field) => map.next_value_seed(FieldSeed { field, out: self.out })?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the value of one field; `null` is as if it was not there.
struct FieldSeed<'o> {
    field: &'static Field,
    out: &'o mut Out,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a value for {:?}", self.field.name)
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.field.is_repeated {
            return deserializer.deserialize_seq(RepeatedVisitor(self));
        }
        OneSeed { field: self.field, out: self.out, is_packed: false }.deserialize(deserializer)
    }
}

/// Reads the array of a repeated field; numbers are packed.
struct RepeatedVisitor<'o>(FieldSeed<'o>);

impl<'de> Visitor<'de> for RepeatedVisitor<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an array for {:?}", self.0.field.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let FieldSeed { field, out } = self.0;
        let is_packed = field.kind.is_packable();
        if is_packed {
            push_key(&mut out.bytes, field.number, schema::LENGTH_DELIMITED);
        }
        let start = out.bytes.len();
        while items.next_element_seed(OneSeed { field, out: &mut *out, is_packed })?.is_some() {}
        if is_packed {
            close_length(&mut out.bytes, start);
        }
        Ok(())
    }
}

/// Reads one value of a field.
struct OneSeed<'o> {
    field: &'static Field,
    out: &'o mut Out,
    /// Whether the key was written already, once for all values.
    is_packed: bool,
}

impl<'de> DeserializeSeed<'de> for OneSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { field, out, is_packed } = self;
        if out.bytes.len() > out.limit {
            return Err(D::Error::custom("too large"));
        }
        if !is_packed {
            push_key(&mut out.bytes, field.number, field.kind.wire_type());
        }
        let start = out.bytes.len();
        match field.kind {
            Kind::Message(message) => {
                MessageSeed { message, out: &mut *out }.deserialize(deserializer)?;
                close_length(&mut out.bytes, start);
                Ok(())
            }
            kind => {
                let scalar = Scalar { name: field.name, kind }.deserialize(deserializer)?;
                scalar.push(&mut out.bytes);
                if kind.wire_type() == schema::LENGTH_DELIMITED {
                    close_length(&mut out.bytes, start);
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
