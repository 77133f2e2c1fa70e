//! Memory of bodies, used again once whoever sent them has let go.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// How many bodies are kept.
const BODY_COUNT_MAX: usize = 8;

/// Bodies that were handed out last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    bodies: VecDeque<Bytes>,
}

impl Pool {
    /// Returns a copy of `template` to patch, in memory of an earlier body if one is free.
    pub(super) fn copy(&mut self, template: &[u8]) -> BytesMut {
        let mut body = match self.bodies.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(mut free)) => {
                free.clear();
                free
            }
            Some(Err(busy)) => {
                self.bodies.push_back(busy);
                BytesMut::new()
            }
            None => BytesMut::new(),
        };
        body.reserve(template.len());
        body.extend_from_slice(template);
        body
    }

    /// Hands out a body and remembers its memory.
    pub(super) fn freeze(&mut self, body: BytesMut) -> Bytes {
        let body = body.freeze();
        if self.bodies.len() >= BODY_COUNT_MAX {
            self.bodies.pop_front();
        }
        self.bodies.push_back(body.clone());
        body
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn memory_is_used_again_only_when_it_is_free() {
        let mut pool = Pool::default();
        let copy = pool.copy(b"abc");
        let first = pool.freeze(copy);
        let pointer = first.as_ptr();
        let second = pool.copy(b"xyz");
        assert_ne!(second.as_ptr(), pointer);
        assert_eq!(first, "abc");
        drop(first);
        assert_eq!(pool.copy(b"xyz").as_ptr(), pointer);
    }
}
