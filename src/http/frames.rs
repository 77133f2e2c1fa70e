//! Follows the frames of an HTTP/2 connection, to tell those that carry requests from those that do not.
//!
//! Input: the bytes of a connection as they come, cut anywhere. Output: how many of them were control frames. Only heads are
//! looked at; what they mean, and whether they are allowed, is the work of HTTP/2 itself. HTTP/1 has no such frames.
//!
//! Source: RFC 9113, sections 3.4 and 4.1.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Where in the connection the next byte is.
#[derive(Debug)]
enum Place {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// There are no frames.
    Http1,
    /// So many bytes of the head of a frame have come.
    Head(usize),
    /// So many bytes of the payload of a frame are to come.
    Payload(usize),
}

/// Counts the bytes of control frames: everything but DATA, HEADERS and CONTINUATION, and those if they are empty.
#[derive(Debug)]
pub(super) struct FrameMeter {
    place: Place,
    head: [u8; HEAD_BYTES],
}

impl FrameMeter {
    /// A connection of which nothing has come yet.
    pub(super) fn new() -> Self {
        Self { place: Place::Preface(0), head: [0; HEAD_BYTES] }
    }

    /// Takes the next bytes; returns how many bytes the control frames have that begin in them.
    pub(super) fn control_bytes(&mut self, mut bytes: &[u8]) -> usize {
        let mut control_bytes = 0;
        while !bytes.is_empty() {
            let used = match self.place {
                Place::Http1 => return control_bytes,
                Place::Preface(count) => self.preface(count, bytes),
                Place::Head(count) => {
                    let used = bytes.len().min(HEAD_BYTES - count);
                    self.head[count..count + used].copy_from_slice(&bytes[..used]);
                    self.place = Place::Head(count + used);
                    if count + used == HEAD_BYTES {
                        control_bytes += self.begin_payload();
                    }
                    used
                }
                Place::Payload(left) => {
                    let used = bytes.len().min(left);
                    self.place = if used == left { Place::Head(0) } else { Place::Payload(left - used) };
                    used
                }
            };
            bytes = &bytes[used..];
        }
        control_bytes
    }

    fn preface(&mut self, count: usize, bytes: &[u8]) -> usize {
        let used = bytes.len().min(PREFACE.len() - count);
        self.place = match bytes[..used] == PREFACE[count..count + used] {
            false => Place::Http1,
            true if count + used == PREFACE.len() => Place::Head(0),
            true => Place::Preface(count + used),
        };
        used
    }

    /// Returns the bytes of the frame whose head is there, if it is a control frame.
    fn begin_payload(&mut self) -> usize {
        let [high, middle, low, kind, ..] = self.head;
        let payload_bytes = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.place = if payload_bytes == 0 { Place::Head(0) } else { Place::Payload(payload_bytes) };
        match kind {
            DATA | HEADERS | CONTINUATION if payload_bytes > 0 => 0,
            _ => HEAD_BYTES + payload_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload_bytes: usize) -> Vec<u8> {
        let [low, middle, high, _] = (payload_bytes as u32).to_le_bytes();
        let mut bytes = vec![high, middle, low, kind, 0, 0, 0, 0, 1];
        bytes.resize(HEAD_BYTES + payload_bytes, kind);
        bytes
    }

    fn counted(parts: &[&[u8]]) -> usize {
        let mut meter = FrameMeter::new();
        parts.iter().map(|part| meter.control_bytes(part)).sum()
    }

    #[test]
    fn frames_without_requests_are_counted_however_the_bytes_are_cut() {
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        let mut bytes = PREFACE.to_vec();
        for (kind, payload_bytes) in [
            (SETTINGS, 0),
            (HEADERS, 30),
            (CONTINUATION, 300),
            (DATA, 70_000),
            (PING, 8),
            (DATA, 0),
            (HEADERS, 5),
        ] {
            bytes.extend(frame(kind, payload_bytes));
        }
        let expected = HEAD_BYTES + (HEAD_BYTES + 8) + HEAD_BYTES;
        assert_eq!(counted(&[&bytes]), expected);
        for size in [1, 2, 7, 9, 10, 1_000] {
            let parts: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(counted(&parts), expected, "in parts of {size}");
        }
    }

    #[test]
    fn http_1_has_no_frames() {
        for request in [&b"POST /api/v1/write HTTP/1.1\r\n"[..], b"PRI * HTTP/1.1\r\n\r\n", b"P"] {
            assert_eq!(counted(&[request, &frame(4, 0), &frame(6, 8)]), 0);
        }
    }
}
