//! temporary raw codec
#![allow(missing_docs, missing_debug_implementations, reason = "temp")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("x")]
pub struct ChunkError;
impl From<crate::coding::CodingError> for ChunkError {
    fn from(_: crate::coding::CodingError) -> Self {
        ChunkError
    }
}
#[derive(Debug, Default)]
pub struct ChunkEncoder;
impl ChunkEncoder {
    pub fn encode_values(&mut self, values: &[f64], out: &mut Vec<u8>) {
        for v in values {
            out.extend_from_slice(&v.to_bits().to_le_bytes())
        }
    }
    pub fn encode_timestamps(&mut self, t: &[i64], out: &mut Vec<u8>) {
        for v in t {
            out.extend_from_slice(&v.to_le_bytes())
        }
    }
}
#[derive(Debug, Default)]
pub struct ChunkDecoder;
impl ChunkDecoder {
    pub fn decode_values(
        &mut self,
        bytes: &[u8],
        count: usize,
        out: &mut Vec<f64>,
    ) -> Result<(), ChunkError> {
        for i in 0..count {
            out.push(f64::from_bits(u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap())))
        }
        Ok(())
    }
    pub fn decode_timestamps(
        &mut self,
        bytes: &[u8],
        count: usize,
        out: &mut Vec<i64>,
    ) -> Result<(), ChunkError> {
        for i in 0..count {
            out.push(i64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap()))
        }
        Ok(())
    }
}
