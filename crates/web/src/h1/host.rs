//! Is this a host with an optional port? (RFC 9110, section 7.2; RFC 3986, section 3.2.)
//!
//! A host names the site that is asked, so an odd one is a way to reach another site than the
//! one that was checked. An empty host and the `IPvFuture` form that nobody has are refused;
//! so is user information, which RFC 9110 section 4.2.4 tells servers to treat as an error, and
//! a comma, which is what two Host fields become when somebody joins them.

use std::net::Ipv6Addr;

/// Whether `authority` is `host` or `host:port`.
pub(crate) fn is_host(authority: &[u8]) -> bool {
    // Nearly all are names without escapes, which need one pass.
    let name_end = authority
        .iter()
        .position(|byte| !IN_NAME[usize::from(*byte)]);
    match name_end.map(|end| (end, &authority[end..])) {
        None => !authority.is_empty(),
        Some((1.., [b':', port @ ..])) => is_port(port),
        _ => split_port(authority).is_some_and(|(host, _)| is_name_or_address(host)),
    }
}

/// Whether `authority` is `host:port` with a port, the form that CONNECT needs (RFC 9110, section
/// 9.3.6).
pub(crate) fn is_host_with_port(authority: &[u8]) -> bool {
    split_port(authority)
        .is_some_and(|(host, port)| is_name_or_address(host) && port.is_some_and(|p| !p.is_empty()))
}

/// Splits the port off, and checks it. An empty port is allowed by the grammar: `example.com:`.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    // The colons of an IPv6 address stand inside of its brackets.
    let host_end = match authority.first()? {
        b'[' => memchr::memchr(b']', authority)? + 1,
        _ => memchr::memchr(b':', authority).unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_end);
    match rest {
        [] => Some((host, None)),
        [b':', port @ ..] if is_port(port) => Some((host, Some(port))),
        _ => None,
    }
}

fn is_port(digits: &[u8]) -> bool {
    let mut value = 0u16;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        match value.checked_mul(10) {
            Some(shifted) if digit <= 9 => match shifted.checked_add(digit.into()) {
                Some(sum) => value = sum,
                None => return false,
            },
            _ => return false,
        }
    }
    true
}

fn is_name_or_address(host: &[u8]) -> bool {
    if let [b'[', address @ .., b']'] = host {
        return str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    if host.is_empty() {
        return false;
    }
    let mut rest = host;
    while let Some(at) = rest.iter().position(|byte| !IN_NAME[usize::from(*byte)]) {
        rest = match &rest[at..] {
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            _ => return false,
        }
    }
    true
}

/// What stands in a `reg-name`, of which every IPv4 address is one too, but for escapes:
/// `unreserved` and `sub-delims` without the comma. A table, because each request has a host.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"-._~!$&'()*+;=";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_an_optional_port() {
        for host in [
            "example.com",
            "example.com:8080",
            "example.com:",
            "example.com.",
            "under_score.example.com",
            "xn--bcher-kva.example",
            "192.0.2.1",
            "192.0.2.1:80",
            "[2001:db8::1]",
            "[2001:db8::1]:65535",
            "[::ffff:192.0.2.1]",
            "caf%C3%A9.example",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn anything_else_is_not_a_host() {
        for host in [
            "",
            ":80",
            "example.com:http",
            "example.com:65536",
            "example.com:-1",
            "example.com:+1",
            "example.com:80:80",
            "user@example.com",
            "example.com/path",
            "example.com?query",
            "example.com#fragment",
            "example.com, example.net",
            "example.com,example.net",
            "example .com",
            "example.com\t",
            "exa\\mple.com",
            "caf\u{e9}.example",
            "100%",
            "%zz",
            "%4",
            "<script>",
            "\"example.com\"",
            "2001:db8::1",
            "[2001:db8::1",
            "[]",
            "[::g]",
            "[192.0.2.1]",
            "[fe80::1%25eth0]",
            "[v1.future]",
            "[::1]80",
            "[::1]x:80",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn connect_needs_a_port() {
        assert!(is_host_with_port(b"example.com:443"));
        assert!(is_host_with_port(b"[::1]:443"));
        assert!(!is_host_with_port(b"example.com"));
        assert!(!is_host_with_port(b"example.com:"));
    }
}
