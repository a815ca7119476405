//! RFC 864: characters without end.

use bytes::Bytes;
use ropewalk_core::{Protocol, Transport};

/// The printable characters of ASCII, from the space to the tilde.
const CHARACTERS: usize = 95;
const LINE: usize = 72;
const LINE_BREAK: &[u8; 2] = b"\r\n";
const PERIOD: usize = CHARACTERS * (LINE + LINE_BREAK.len());

/// The lines of one period: then each character has stood at each place.
static LINES: [u8; PERIOD] = lines();

/// So much is made ahead of the peer.
const AHEAD: u64 = 32 * 1024;

/// Sends the lines of 72 characters that RFC 864 recommends, as long as the peer takes them:
/// nothing is made that is not wanted. What comes is thrown away.
///
/// ```
/// use ropewalk_core::Protocol;
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_wire::Chargen;
///
/// let mut transport = StringTransport::new();
/// Chargen.connection_made(&mut transport);
/// assert!(transport.value().starts_with(b" !\"#$%&'()*+,-./0123456789"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Chargen;

impl Protocol for Chargen {
    fn connection_made(&mut self, transport: &mut Transport) {
        produce(transport);
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}

    fn write_resumed(&mut self, transport: &mut Transport) {
        produce(transport);
    }
}

fn produce(transport: &mut Transport) {
    let connection = transport.connection();
    // What is closed takes nothing, and would never be full.
    while transport.unsent() < AHEAD && connection.write_bytes(Bytes::from_static(&LINES)) {}
    transport.await_drain();
}

const fn lines() -> [u8; PERIOD] {
    let mut lines = [0; PERIOD];
    let mut at = 0;
    while at < PERIOD {
        let (line, column) = (at / (LINE + 2), at % (LINE + 2));
        lines[at] = match column < LINE {
            true => b' ' + ((line + column) % CHARACTERS) as u8,
            false => LINE_BREAK[column - LINE],
        };
        at += 1;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_rfc() {
        let text = std::str::from_utf8(&LINES).unwrap();
        let lines: Vec<_> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), CHARACTERS);
        assert!(lines.iter().all(|line| line.len() == LINE));
        assert_eq!(
            lines[1],
            "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh"
        );
        // The ring closes.
        assert_eq!(&lines[94][..3], "~ !");
    }
}
