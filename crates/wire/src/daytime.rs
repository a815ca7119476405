//! RFC 867: the time as a line for people.

use std::time::SystemTime;

use ropewalk_core::{Protocol, Transport};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::answer::say;

/// The first of the two that the RFC shows, in UTC.
const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday], [month repr:long] [day padding:none], [year] [hour]:[minute]:[second]-UTC\r\n"
);

/// Says the time in UTC, in the words that RFC 867 shows, and closes.
///
/// ```
/// use ropewalk_core::Protocol;
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_wire::Daytime;
///
/// let mut transport = StringTransport::new();
/// Daytime.connection_made(&mut transport);
/// assert_eq!(transport.value(), b"Thursday, January 1, 2026 00:00:00-UTC\r\n");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Daytime;

impl Protocol for Daytime {
    fn connection_made(&mut self, transport: &mut Transport) {
        let line = line(transport.reactor().wall_clock());
        say(transport, line.as_bytes());
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}

    fn timeout_connection(&mut self, transport: &mut Transport) {
        transport.lose_connection();
    }
}

fn line(now: SystemTime) -> String {
    OffsetDateTime::from(now)
        .format(FORMAT)
        .unwrap_or_else(|error| {
            tracing::error!(%error, "cannot write the time as a line");
            "the time is not known\r\n".to_owned()
        })
}
