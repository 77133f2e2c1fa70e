//! Made-up log lines of a web shop, each of exactly the wanted length.

use std::io::Write as _;

use super::options::Format;
use crate::k8s::model::rng::Rng;

const SERVICES: [&str; 6] = ["cart", "catalog", "checkout", "payment", "search", "shipping"];
const REQUESTS: [(&str, &str); 6] = [
    ("GET", "/api/products"),
    ("GET", "/api/cart"),
    ("POST", "/api/cart/items"),
    ("POST", "/api/orders"),
    ("GET", "/api/search"),
    ("PUT", "/api/profile"),
];
const WORDS: [&str; 16] = [
    "upstream",
    "answered",
    "from",
    "cache",
    "after",
    "retry",
    "customer",
    "session",
    "renewed",
    "inventory",
    "checked",
    "order",
    "queued",
    "with",
    "discount",
    "applied",
];

/// Makes lines.
#[derive(Debug)]
pub struct Lines {
    random: Rng,
    format: Format,
    line_bytes: usize,
}

impl Lines {
    /// Begins with `seed`.
    pub fn new(format: Format, line_bytes: usize, seed: u64) -> Self {
        Self { random: Rng::new(seed), format, line_bytes }
    }

    /// Appends a line; `time` is RFC 3339 with milliseconds.
    pub fn push(&mut self, out: &mut Vec<u8>, time: &str) {
        let start = out.len();
        let bits = self.random.bits();
        let (level, status) = match bits % 100 {
            0..=1 => ("error", 500),
            2..=5 => ("warn", 404),
            _ => ("info", 200),
        };
        let (method, path) = pick(&REQUESTS, bits >> 8);
        let service = pick(&SERVICES, bits >> 16);
        let request = bits >> 32;
        let duration_ms = bits >> 24 & 0x3ff;
        let _infallible = match self.format {
            Format::Json => write!(
                out,
                "{{\"time\":\"{time}\",\"level\":\"{level}\",\"service\":\"{service}\",\"request\":\"{request:08x}\",\
                 \"status\":{status},\"duration_ms\":{duration_ms},\"message\":\""
            ),
            Format::Text => write!(
                out,
                "{time} {level:5} {service} [{request:08x}] {method} {path} {status} {duration_ms}ms: "
            ),
        };
        let end: &[u8] = match self.format {
            Format::Json => b"\"}\n",
            Format::Text => b"\n",
        };
        let content_end = start + self.line_bytes - end.len();
        while out.len() < content_end {
            let word = pick(&WORDS, self.random.bits());
            out.extend_from_slice(word.as_bytes());
            out.push(b' ');
        }
        // The last word may be cut: the length is exact.
        out.truncate(content_end);
        out.extend_from_slice(end);
    }
}

fn pick<T: Copy>(all: &[T], bits: u64) -> T {
    all[(bits % all.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-31T12:00:00.000Z";

    #[test]
    fn lines_have_exactly_their_length_and_json_is_json() {
        for (format, line_bytes) in
            [(Format::Json, 160), (Format::Json, 200), (Format::Text, 160), (Format::Text, 65_536)]
        {
            let mut lines = Lines::new(format, line_bytes, 1);
            let mut out = Vec::new();
            (0..500).for_each(|_| lines.push(&mut out, TIME));
            for line in out.chunks(line_bytes) {
                let line = std::str::from_utf8(line).unwrap();
                assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line}");
                if format == Format::Json {
                    let json: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(json["time"], TIME);
                }
            }
        }
    }
}
