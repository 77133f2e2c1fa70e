//! One value of JSON that is no object and no array, as protobuf wants it.
//!
//! Input: the kind of the field. Output: an [`Encoded`] value, or an error that names the field and what it may be.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

use super::schema::Kind;

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Reads a value of a kind.
#[derive(Clone, Copy)]
pub(super) struct Scalar {
    /// Name of the field, for errors.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// A value on its way into protobuf bytes.
pub(super) enum Encoded {
    Varint(u64),
    Fixed64(u64),
    Bytes(Vec<u8>),
}

impl Encoded {
    /// Appends the value without key and length.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => super::push_varint(out, *value),
            Self::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }
}

impl Scalar {
    fn wrong<E: Error>(self, given: impl fmt::Display) -> E {
        E::custom(format!("{:?} is {given}, expected {}", self.name, self.kind.expected()))
    }

    /// An integer, checked against the range of the kind.
    fn integer<E: Error>(self, value: i128) -> Result<Encoded, E> {
        let out_of_range = || self.wrong(value);
        Ok(match self.kind {
            Kind::Int64 => Encoded::Varint(i64::try_from(value).map_err(|_| out_of_range())? as u64),
            Kind::UInt64 => Encoded::Varint(u64::try_from(value).map_err(|_| out_of_range())?),
            Kind::UInt32 => Encoded::Varint(u32::try_from(value).map_err(|_| out_of_range())?.into()),
            // Negative numbers have the sign in all 64 bits.
            Kind::Enum(_) => {
                Encoded::Varint(i64::from(i32::try_from(value).map_err(|_| out_of_range())?) as u64)
            }
            Kind::SInt32 => {
                let value = i32::try_from(value).map_err(|_| out_of_range())?;
                Encoded::Varint(u64::from((value << 1 ^ value >> 31) as u32))
            }
            Kind::Fixed64 => Encoded::Fixed64(u64::try_from(value).map_err(|_| out_of_range())?),
            Kind::SFixed64 => Encoded::Fixed64(i64::try_from(value).map_err(|_| out_of_range())? as u64),
            Kind::Double => Encoded::Fixed64((value as f64).to_bits()),
            Kind::Bool | Kind::Text | Kind::Base64 | Kind::Hex | Kind::Message(_) => {
                return Err(out_of_range());
            }
        })
    }

    fn float<E: Error>(self, value: f64) -> Result<Encoded, E> {
        if let Kind::Double = self.kind {
            return Ok(Encoded::Fixed64(value.to_bits()));
        }
        // Numbers such as 1e3 are integers as well; beyond 2^53 a float does not say which.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
            return self.integer(value as i128);
        }
        Err(self.wrong(value))
    }

    fn text<E: Error>(self, text: &str) -> Result<Encoded, E> {
        let wrong = || self.wrong(format!("{text:?}"));
        match self.kind {
            Kind::Text => Ok(Encoded::Bytes(text.as_bytes().to_vec())),
            Kind::Hex => from_hex(text).map(Encoded::Bytes).ok_or_else(wrong),
            Kind::Base64 => {
                let standard = text.replace('-', "+").replace('_', "/");
                BASE64.decode(standard).map(Encoded::Bytes).map_err(|_| wrong())
            }
            Kind::Enum(names) => match names.iter().find(|(name, _)| *name == text) {
                Some((_, value)) => self.integer((*value).into()),
                None => Err(wrong()),
            },
            Kind::Double => {
                let value = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    text if text.contains(|c: char| c.is_ascii_digit()) => {
                        text.parse().map_err(|_| wrong())?
                    }
                    _ => return Err(wrong()),
                };
                Ok(Encoded::Fixed64(value.to_bits()))
            }
            Kind::Bool | Kind::Message(_) => Err(wrong()),
            _ => match text.parse::<i128>() {
                Ok(value) => self.integer(value),
                Err(_) => Err(wrong()),
            },
        }
    }
}

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Encoded;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Encoded, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar {
    type Value = Encoded;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} for {:?}", self.kind.expected(), self.name)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Encoded, E> {
        match self.kind {
            Kind::Bool => Ok(Encoded::Varint(value.into())),
            _ => Err(self.wrong(value)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Encoded, E> {
        self.integer(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Encoded, E> {
        self.integer(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Encoded, E> {
        self.float(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Encoded, E> {
        self.text(text)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
