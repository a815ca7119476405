//! RFC 868: the time as a number.

use std::time::{Duration, SystemTime};

use ropewalk_core::{Protocol, Transport};

use crate::answer::say;

/// From 1900 to 1970, where the clocks of computers begin.
const FROM_1900_TO_1970: u64 = 2_208_988_800;

/// Says the seconds since 1 January 1900 UTC in 32 bits, the highest first, and closes. The number
/// begins anew in February 2036, as that of the RFC does.
///
/// ```
/// use ropewalk_core::Protocol;
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_wire::Time;
///
/// let mut transport = StringTransport::new();
/// Time.connection_made(&mut transport);
/// let since_1900 = u32::from_be_bytes(transport.value().try_into().unwrap());
/// // 2026-01-01T00:00:00Z, where the clock of tests stands.
/// assert_eq!(u64::from(since_1900), 2_208_988_800 + 1_767_225_600);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Time;

impl Protocol for Time {
    fn connection_made(&mut self, transport: &mut Transport) {
        let seconds = since_1900(transport.reactor().wall_clock());
        say(transport, &seconds.to_be_bytes());
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}

    fn timeout_connection(&mut self, transport: &mut Transport) {
        transport.lose_connection();
    }
}

fn since_1900(now: SystemTime) -> u32 {
    let since_1970 = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    // Modulo 2^32: there is no room for more.
    (since_1970.as_secs() + FROM_1900_TO_1970) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 868: "the time 2,208,988,800 corresponds to 00:00 1 Jan 1970 GMT, 2,398,291,200 to
    /// 00:00 1 Jan 1976 GMT".
    #[test]
    fn the_numbers_are_those_of_the_rfc() {
        let at = |unix| since_1900(SystemTime::UNIX_EPOCH + Duration::from_secs(unix));
        assert_eq!(at(0), 2_208_988_800);
        // `date -u -d 1976-01-01 +%s`
        assert_eq!(at(189_302_400), 2_398_291_200);
    }

    #[test]
    fn it_begins_anew_when_32_bits_are_full() {
        let full = (1_u64 << 32) - FROM_1900_TO_1970;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(full + 7);
        assert_eq!(since_1900(now), 7);
    }
}
