//! The kinds of values in endpoints: how each is read, what to call it when it can't be, and how
//! it is written so that reading brings it back.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// A kind of value.
pub(super) struct Value<T> {
    /// What stands after "is" in a message: `a port from 1 to 65535`.
    pub(super) expected: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
}

pub(super) const LISTENING_PORT: Value<u16> = Value {
    expected: "a port from 0 to 65535 (0 for any free one)",
    parse: |text| digits(text)?.try_into().ok(),
};

pub(super) const PORT: Value<u16> = Value {
    expected: "a port from 1 to 65535",
    parse: |text| digits(text)?.try_into().ok().filter(|&port| port != 0),
};

pub(super) const BACKLOG: Value<u16> = Value {
    expected: "a number from 0 to 65535",
    parse: |text| digits(text)?.try_into().ok(),
};

pub(super) const COUNT: Value<usize> = Value {
    expected: "a number of at least 1",
    parse: |text| digits(text)?.try_into().ok().filter(|&count| count > 0),
};

pub(super) const TEXT: Value<String> = Value {
    expected: "text",
    parse: |text| Some(text.to_owned()),
};

pub(super) const NETWORKS: Value<Vec<IpNet>> = Value {
    expected: "networks or addresses with commas between them, such as `10.0.0.0/8`, in brackets if \
               there is a colon in any: `[2001:db8::/32,::1]`",
    parse: |text| {
        let text = match text.strip_prefix('[') {
            Some(text) => text.strip_suffix(']')?,
            None => text,
        };
        let address = |text: &str| text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = |text: &str| text.parse().ok().or_else(|| address(text));
        text.split(',').map(network).collect()
    },
};

pub(super) const SWITCH: Value<bool> = Value {
    expected: "`yes` or `no`",
    parse: |text| match text {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    },
};

pub(super) const ADDRESS: Value<IpAddr> = Value {
    expected: "an IP address such as `127.0.0.1` or `[::1]`",
    parse: |text| match text.strip_prefix('[') {
        Some(text) => text.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    },
};

pub(super) const PATH: Value<PathBuf> = Value {
    expected: "a path, which holds no NUL character",
    parse: |text| (!text.contains('\0')).then(|| text.into()),
};

pub(super) const MODE: Value<u32> = Value {
    expected: "three octal digits such as `660`",
    parse: |text| {
        let octal = text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok()?;
        (octal && mode <= 0o777).then_some(mode)
    },
};

pub(super) const TIMEOUT: Value<Duration> = Value {
    expected: "a duration longer than none, such as `500ms`, `30s` or `5m`",
    parse: |text| parse_duration(text).filter(|duration| !duration.is_zero()),
};

pub(super) const KEEP_ALIVE: Value<Duration> = Value {
    expected: "a duration of at least one second, such as `60s` or `5m`",
    parse: |text| parse_duration(text).filter(|&duration| duration >= Duration::from_secs(1)),
};

pub(super) const SIZE: Value<usize> = Value {
    expected: "a size in bytes such as `65536` or `64k`",
    parse: |text| {
        let at = text.find(|c: char| !c.is_ascii_digit());
        let (number, unit) = text.split_at(at.unwrap_or(text.len()));
        let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
        digits(number)?.checked_mul(*bytes)?.try_into().ok()
    },
};

pub(super) const RATE: Value<usize> = Value {
    expected: "a number of bytes a second of at least 1, such as `65536`, `64k` or `1m`",
    parse: |text| (SIZE.parse)(text).filter(|&rate| rate > 0),
};

/// Units of sizes in bytes, largest first.
const SIZES: [(&str, u128); 4] = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10), ("", 1)];

/// Units of durations in nanoseconds, largest first.
const DURATIONS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A duration in the largest unit that writes it as a whole number.
pub(super) struct InWords(pub(super) Duration);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_nanos() {
            0 => f.write_str("0s"),
            nanos => write_in_units(f, nanos, &DURATIONS),
        }
    }
}

/// A size in the largest unit that writes it as a whole number.
pub(super) struct InBytes(pub(super) usize);

impl fmt::Display for InBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0"),
            bytes => write_in_units(f, bytes as u128, &SIZES),
        }
    }
}

/// An address as [`ADDRESS`] reads it, with no colon outside brackets.
pub(super) struct InBrackets(pub(super) IpAddr);

impl fmt::Display for InBrackets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// `yes` or `no`.
pub(super) fn switch(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

fn write_in_units(f: &mut fmt::Formatter<'_>, amount: u128, units: &[(&str, u128)]) -> fmt::Result {
    let whole = units.iter().find(|(_, unit)| amount.is_multiple_of(*unit));
    let (name, unit) = whole.expect("the smallest unit is one");
    write!(f, "{}{name}", amount / unit)
}

/// A duration as endpoints have it, for those who take one elsewhere: a whole number and one of the
/// units `ns`, `us`, `ms`, `s`, `m`, `h`. `None` for anything else.
///
/// ```
/// use ropewalk_core::endpoint::parse_duration;
/// use std::time::Duration;
///
/// assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
/// assert_eq!(parse_duration("5"), None);
/// ```
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let (_, nanos) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
    let nanos = digits(number)?.checked_mul(*nanos)?;
    let whole = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(whole, (nanos % 1_000_000_000) as u32))
}

/// A number of digits alone: unlike `parse`, it takes no sign.
fn digits(text: &str) -> Option<u128> {
    let all = text.bytes().all(|digit| digit.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_a_whole_number_and_a_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("1h"), Some(Duration::from_secs(3600)));
        for bad in ["", "30", "s", "1.5s", "-1s", "+1s", "30 s", "30S", "1s2"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!(parse_duration("99999999999999999999h"), None);
        assert_eq!(parse_duration(&format!("{}h", u128::MAX)), None);
    }

    #[test]
    fn sizes_are_bytes_or_binary_multiples() {
        let size = SIZE.parse;
        assert_eq!(size("1000"), Some(1000));
        assert_eq!(size("64k"), Some(65_536));
        assert_eq!(size("2m"), Some(2 << 20));
        assert_eq!(size("1g"), Some(1 << 30));
        for bad in [
            "",
            "k",
            "64kb",
            "-1",
            "1.5k",
            "64K ",
            "18446744073709551616",
        ] {
            assert_eq!(size(bad), None, "{bad}");
        }
        assert_eq!(size("99999999999999999999g"), None);
    }

    #[test]
    fn ports_take_no_sign_and_no_more_than_65535() {
        assert_eq!((PORT.parse)("65535"), Some(65_535));
        assert_eq!((LISTENING_PORT.parse)("0"), Some(0));
        for bad in ["", "0", "65536", "+80", "-1", "http", "8 0"] {
            assert_eq!((PORT.parse)(bad), None, "{bad}");
        }
    }

    #[test]
    fn modes_are_octal_permissions() {
        assert_eq!((MODE.parse)("660"), Some(0o660));
        assert_eq!((MODE.parse)("0600"), Some(0o600));
        for bad in ["", "888", "1777", "+66", "0o660", "rw"] {
            assert_eq!((MODE.parse)(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_may_stand_in_brackets_if_they_are_ipv6() {
        assert_eq!((ADDRESS.parse)("[::1]"), "::1".parse().ok());
        assert_eq!((ADDRESS.parse)("::1"), "::1".parse().ok());
        assert_eq!((ADDRESS.parse)("192.0.2.1"), "192.0.2.1".parse().ok());
        for bad in ["[192.0.2.1]", "[::1", "localhost", "192.0.2"] {
            assert_eq!((ADDRESS.parse)(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_and_sizes_are_written_in_the_largest_whole_unit() {
        assert_eq!(InWords(Duration::from_secs(90)).to_string(), "90s");
        assert_eq!(InWords(Duration::from_secs(120)).to_string(), "2m");
        assert_eq!(InWords(Duration::from_micros(1500)).to_string(), "1500us");
        assert_eq!(InBytes(65_536).to_string(), "64k");
        assert_eq!(InBytes(1000).to_string(), "1000");
    }

    proptest! {
        #[test]
        fn written_durations_read_back_the_same(duration_in in any::<Duration>()) {
            prop_assert_eq!(parse_duration(&InWords(duration_in).to_string()), Some(duration_in));
        }

        #[test]
        fn written_sizes_read_back_the_same(size in any::<usize>()) {
            prop_assert_eq!((SIZE.parse)(&InBytes(size).to_string()), Some(size));
        }
    }
}
