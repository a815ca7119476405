//! Where request heads are kept, so that one more of them costs no allocation.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::RequestError;
use super::fields::TOO_MANY;
use super::host::is_host;

/// Heads are copied to pieces of memory of this size, one after the other.
const PIECE: usize = 4096;

/// A map of fields with more room than this is not kept.
const KEPT_FIELDS: usize = 128;

/// Memory for any number of heads, of any number of connections of one thread.
///
/// Bytes are taken from a piece of 4 KiB, which is used again when all heads in it were dropped:
/// whoever keeps a head, or a value of it, keeps up to so much. A map of fields is taken from
/// those that are [given back](Self::give_back), which an answer's is as good as a request's for.
#[derive(Debug, Default)]
pub struct HeadStorage {
    piece: BytesMut,
    map: HeaderMap,
    /// The last host that was checked: most requests name the same one.
    host: Vec<u8>,
}

impl HeadStorage {
    /// Keeps the memory of `map`, and none of its fields, for the next head.
    pub fn give_back(&mut self, mut map: HeaderMap) {
        if map.capacity() > self.map.capacity() && map.capacity() <= KEPT_FIELDS {
            map.clear();
            self.map = map;
        }
    }

    /// Whether `host` is a host with an optional port.
    pub(super) fn is_host(&mut self, host: &[u8]) -> bool {
        if self.host == host {
            return !host.is_empty();
        }
        if !is_host(host) {
            return false;
        }
        self.host.clear();
        self.host.extend_from_slice(host);
        true
    }

    /// Copies `head`.
    pub(super) fn store(&mut self, head: &[u8]) -> Bytes {
        if self.piece.capacity() < head.len() {
            self.piece.reserve(PIECE.max(head.len()));
        }
        self.piece.extend_from_slice(head);
        self.piece.split().freeze()
    }

    /// An empty map with room for this many fields.
    pub(super) fn map(&mut self, fields: usize) -> Result<HeaderMap, RequestError> {
        let mut map = std::mem::take(&mut self.map);
        map.try_reserve(fields).map_err(|_| TOO_MANY)?;
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_judged_by_itself_whatever_came_before() {
        let mut storage = HeadStorage::default();
        for _ in 0..2 {
            assert!(storage.is_host(b"example.com"));
            assert!(storage.is_host(b"example.com"));
            assert!(!storage.is_host(b"example.com/"));
            assert!(!storage.is_host(b""));
            assert!(storage.is_host(b"[2001:db8::1]:80"));
        }
        assert!(!HeadStorage::default().is_host(b""));
    }
}
