//! Remote write 1.0 bytes: `WriteRequest { repeated TimeSeries { repeated Label, repeated Sample } }`.
//!
//! Written by hand because the label part of a series never changes and is encoded once.
//! Source: Prometheus remote write 1.0 specification.

/// Encodes the labels of one series as the first part of a `TimeSeries` message.
pub fn encode_labels(labels: &[(String, String)]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::with_capacity(name.len() + value.len() + 6);
        put_field(&mut label, 1, name.as_bytes());
        put_field(&mut label, 2, value.as_bytes());
        put_field(&mut encoded, 1, &label);
    }
    encoded
}

/// Appends a `TimeSeries` of one sample to a `WriteRequest`.
pub fn put_series(request: &mut Vec<u8>, encoded_labels: &[u8], timestamp_ms: i64, value: f64) {
    let timestamp = timestamp_ms.unsigned_abs();
    let sample_bytes = 9 + 1 + varint_bytes(timestamp);
    request.push(1 << 3 | 2);
    put_varint(request, (encoded_labels.len() + 2 + sample_bytes) as u64);
    request.extend_from_slice(encoded_labels);
    request.push(2 << 3 | 2);
    put_varint(request, sample_bytes as u64);
    request.push(1 << 3 | 1);
    request.extend_from_slice(&value.to_le_bytes());
    request.push(2 << 3);
    put_varint(request, timestamp);
}

pub(crate) fn put_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_bytes(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::{encode_labels, put_series};

    #[test]
    fn a_request_of_one_sample_is_the_bytes_of_the_specification() {
        let labels = encode_labels(&[("__name__".to_owned(), "up".to_owned())]);
        let mut request = Vec::new();
        put_series(&mut request, &labels, 300, 1.0);
        let mut expected = vec![0x0a, 30, 0x0a, 14, 0x0a, 8];
        expected.extend_from_slice(b"__name__");
        expected.extend_from_slice(&[0x12, 2, b'u', b'p', 0x12, 12, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        expected.extend_from_slice(&[0x10, 0xac, 0x02]);
        assert_eq!(request, expected);
    }
}
