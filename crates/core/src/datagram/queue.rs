//! Datagrams that wait to be sent: their bytes in one buffer, in their order.

use std::collections::VecDeque;

use crate::Address;

/// Datagrams in the order in which they were written. A driver sends from the front.
///
/// ```
/// use ropewalk_core::{Address, DatagramQueue};
///
/// let to = Address::Udp("192.0.2.7:53".parse().unwrap());
/// let mut queue = DatagramQueue::default();
/// queue.push(b"one", Some(to.clone()));
/// queue.push(b"two", None);
/// assert_eq!(queue.front(), Some((&b"one"[..], Some(&to))));
/// queue.pop(1);
/// assert_eq!(queue.iter().collect::<Vec<_>>(), [(&b"two"[..], None)]);
/// assert_eq!((queue.len(), queue.bytes()), (1, 3));
/// ```
#[derive(Debug, Default)]
pub struct DatagramQueue {
    bytes: Vec<u8>,
    /// Where in `bytes` the first datagram begins.
    start: usize,
    datagrams: VecDeque<Queued>,
}

#[derive(Debug)]
struct Queued {
    len: usize,
    to: Option<Address>,
}

/// A buffer that is empty is given back when it holds more than this.
const KEPT: usize = 64 * 1024;

impl DatagramQueue {
    /// Appends a copy of `data`, which goes `to` an address, or to the peer of a connected port.
    pub fn push(&mut self, data: &[u8], to: Option<Address>) {
        self.bytes.extend_from_slice(data);
        let len = data.len();
        self.datagrams.push_back(Queued { len, to });
    }

    /// The first one: its bytes, and where they go, unless to the peer of a connected port.
    #[must_use]
    pub fn front(&self) -> Option<(&[u8], Option<&Address>)> {
        let first = self.datagrams.front()?;
        Some((&self.bytes[self.start..][..first.len], first.to.as_ref()))
    }

    /// The datagrams from the front on.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&Address>)> {
        let mut start = self.start;
        self.datagrams.iter().map(move |datagram| {
            let data = &self.bytes[start..][..datagram.len];
            start += datagram.len;
            (data, datagram.to.as_ref())
        })
    }

    /// Takes `count` datagrams off the front: they are sent.
    pub fn pop(&mut self, count: usize) {
        let count = count.min(self.datagrams.len());
        let gone: usize = self.datagrams.drain(..count).map(|gone| gone.len).sum();
        self.start += gone;
        if self.datagrams.is_empty() {
            self.clear();
        } else if self.start >= KEPT && self.start * 2 >= self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Sends those to `peer` that go to the peer of a connected port.
    pub(super) fn send_unnamed_to(&mut self, peer: &Address) {
        for datagram in &mut self.datagrams {
            datagram.to.get_or_insert_with(|| peer.clone());
        }
    }

    /// Takes one off the front, and returns where it was to go and its size.
    pub(super) fn drop_front(&mut self) -> Option<(Option<Address>, usize)> {
        let to = self.datagrams.front_mut()?.to.take();
        let size = self.datagrams.front()?.len;
        self.pop(1);
        Some((to, size))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// How many bytes they have together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn clear(&mut self) {
        self.start = 0;
        self.bytes.clear();
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_pushed_comes_out_in_order_however_it_is_popped(
            steps in proptest::collection::vec((0_usize..20_000, 0_usize..4), 1..60),
        ) {
            let mut queue = DatagramQueue::default();
            let mut model = VecDeque::new();
            for (number, (size, pops)) in steps.into_iter().enumerate() {
                let data = vec![number as u8; size];
                queue.push(&data, None);
                model.push_back(data);
                queue.pop(pops);
                model.drain(..pops.min(model.len()));
                let seen: Vec<_> = queue.iter().map(|(data, _)| data.to_vec()).collect();
                prop_assert_eq!(&seen, &Vec::from(model.clone()));
                prop_assert_eq!(queue.bytes(), model.iter().map(Vec::len).sum::<usize>());
                prop_assert!(queue.bytes.len() <= 2 * queue.bytes() + 2 * KEPT);
            }
        }
    }
}
