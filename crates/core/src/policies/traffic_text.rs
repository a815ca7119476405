//! A traffic log as text.

use std::io::Write;
use std::time::Duration;

use super::traffic::{Conversation, End, Event};

/// Bytes on a line.
const LINE: usize = 16;

/// Appends what happened to `out`.
pub(super) fn append(
    out: &mut Vec<u8>,
    conversation: &Conversation,
    event: &Event<'_>,
    at: Duration,
) {
    let mut head = |what: &dyn std::fmt::Display| {
        // A `Vec` takes all.
        let _ = writeln!(
            out,
            "{}.{:06} #{} {} {what}",
            at.as_secs(),
            at.subsec_micros(),
            conversation.number,
            conversation.peer
        );
    };
    match event {
        Event::Opened => head(&"opened"),
        Event::Data(End::Peer, _, data) => head(&format_args!("received {} bytes", data.len())),
        Event::Data(End::Host, _, data) => head(&format_args!("sent {} bytes", data.len())),
        Event::Finished(End::Peer) => head(&"the peer sends no more"),
        Event::Finished(End::Host) => head(&"sent its last"),
        Event::Gone => head(&"gone"),
    }
    if let Event::Data(_, from, data) = event {
        for (line, at) in data.chunks(LINE).zip((*from..).step_by(LINE)) {
            append_line(out, line, at);
        }
    }
}

fn append_line(out: &mut Vec<u8>, bytes: &[u8], at: u64) {
    let _ = write!(out, "  {at:08x} ");
    for place in 0..LINE {
        let _ = match bytes.get(place) {
            Some(byte) => write!(out, " {byte:02x}"),
            None => write!(out, "   "),
        };
    }
    out.extend_from_slice(b"  |");
    out.extend(bytes.iter().map(|byte| match byte {
        b' '..=b'~' => *byte,
        _ => b'.',
    }));
    out.extend_from_slice(b"|\n");
}
