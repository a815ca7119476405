//! In which order, and how soon after one another, the addresses of a host are tried: Happy
//! Eyeballs version 2 (RFC 8305), without the part that is DNS's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// How long one attempt has before the next one begins beside it: the Connection Attempt Delay
/// (RFC 8305 section 8). An attempt that fails is followed at once.
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// So many addresses of a host are tried; a name has no good reason for more.
const ADDRESSES: usize = 32;

/// The addresses, which are in the order of RFC 6724, with the two families in turn (RFC 8305
/// section 4): the family of the first one first. None twice.
pub(crate) fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut families = [VecDeque::new(), VecDeque::new()];
    let mut first = None;
    for address in addresses {
        let is_first_family = *first.get_or_insert(address.is_ipv6()) == address.is_ipv6();
        let family = &mut families[usize::from(!is_first_family)];
        if !family.contains(&address) {
            family.push_back(address);
        }
    }
    let [mut preferred, mut other] = families;
    let mut order = VecDeque::new();
    while !(preferred.is_empty() && other.is_empty()) {
        order.extend(preferred.pop_front());
        order.extend(other.pop_front());
    }
    order.truncate(ADDRESSES);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(text: &str) -> Vec<SocketAddr> {
        let parse = |word: &str| SocketAddr::new(word.parse().unwrap(), 80);
        text.split_whitespace().map(parse).collect()
    }

    fn order(text: &str) -> Vec<SocketAddr> {
        interleave(addresses(text)).into()
    }

    #[test]
    fn families_take_turns_and_the_first_ones_is_first() {
        assert_eq!(
            order("2001:db8::1 2001:db8::2 2001:db8::3 192.0.2.1 192.0.2.2"),
            addresses("2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 2001:db8::3")
        );
        assert_eq!(
            order("192.0.2.1 2001:db8::1 2001:db8::2"),
            addresses("192.0.2.1 2001:db8::1 2001:db8::2")
        );
    }

    #[test]
    fn one_family_keeps_its_order() {
        let text = "192.0.2.3 192.0.2.1 192.0.2.2";
        assert_eq!(order(text), addresses(text));
        assert_eq!(order(""), []);
    }

    #[test]
    fn an_address_is_tried_once_and_not_too_many_are() {
        assert_eq!(order("192.0.2.1 192.0.2.1"), addresses("192.0.2.1"));
        let many = (0..100).map(|n| SocketAddr::new([192, 0, 2, n].into(), 80));
        assert_eq!(interleave(many).len(), ADDRESSES);
    }

    proptest! {
        #[test]
        fn each_family_keeps_its_order_and_none_is_lost(
            ports in proptest::collection::btree_set(any::<(bool, u16)>(), 0..ADDRESSES),
        ) {
            let given: Vec<SocketAddr> = ports
                .into_iter()
                .map(|(v6, port)| match v6 {
                    true => ([0, 0, 0, 0, 0, 0, 0, 1], port).into(),
                    false => ([127, 0, 0, 1], port).into(),
                })
                .collect();
            let order = interleave(given.clone());
            for v6 in [true, false] {
                let of_family = |address: &&SocketAddr| address.is_ipv6() == v6;
                prop_assert!(given.iter().filter(of_family).eq(order.iter().filter(of_family)));
            }
        }
    }
}
