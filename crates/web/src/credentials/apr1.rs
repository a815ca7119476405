//! Apache's `$apr1$`: a thousand rounds of MD5, as `htpasswd -m` writes them. The algorithm is that of
//! `apr_md5_encode` in Apache's APR, which is FreeBSD's `$1$` with another name in it.

use md5::{Digest, Md5};

/// The digits of crypt(3), in the order of their values.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Bytes of the digest that make four digits each, high to low.
const GROUPS: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];

/// The 22 digits of `password` with `salt`, of which the first 8 bytes count.
pub(super) fn apr1(password: &[u8], salt: &[u8]) -> String {
    let salt = &salt[..salt.len().min(8)];
    let mut digest = begin(password, salt);
    for round in 0..1000 {
        let mut next = Md5::new();
        let odd = round % 2 == 1;
        next.update(if odd { password } else { &digest });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &digest } else { password });
        digest = next.finalize().into();
    }
    let mut text = String::with_capacity(22);
    for [high, middle, low] in GROUPS {
        let bytes = [digest[high], digest[middle], digest[low]];
        let value = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
        push_digits(&mut text, value, 4);
    }
    push_digits(&mut text, u32::from(digest[11]), 2);
    text
}

fn begin(password: &[u8], salt: &[u8]) -> [u8; 16] {
    let inner = Md5::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut outer = Md5::new()
        .chain_update(password)
        .chain_update(b"$apr1$")
        .chain_update(salt);
    for piece in password.chunks(16) {
        outer.update(&inner[..piece.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        let first = password.first().copied().unwrap_or_default();
        outer.update([if bits & 1 == 1 { 0 } else { first }]);
        bits >>= 1;
    }
    outer.finalize().into()
}

/// The low digits come first.
fn push_digits(text: &mut String, mut value: u32, count: usize) {
    for _ in 0..count {
        text.push(char::from(DIGITS[(value & 0x3f) as usize]));
        value >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `openssl passwd -apr1 -salt SALT PASSWORD`.
    #[test]
    fn openssl_agrees() {
        for (password, salt, expected) in [
            ("myPassword", "r31.....", "HqJZimcKQFAMYayBlzkrA/"),
            ("", "12345678", "sHuPAw7VA9xjRbJz7zKV7/"),
            (
                "a rather long password of more than sixteen bytes",
                "ab",
                "H7oa2R1IA3.R7nASBHVa4.",
            ),
            ("pässwörd", "saltsalt", "i5XfNxJNeh2E8ljXycZFm0"),
        ] {
            assert_eq!(
                apr1(password.as_bytes(), salt.as_bytes()),
                expected,
                "{password}"
            );
        }
    }
}
