//! What was written, in records.

use proptest::prelude::*;
use ropewalk_core::Segment;

use crate::rig::{At, Log, Talker, Wire, both};

/// The lengths of the records in `wire`.
fn records(mut wire: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length);
        wire = &rest[length..];
    }
    lengths
}

/// What TLS 1.3 adds to the plain text of a record: its type and the tag.
const ADDED: usize = 17;

/// The records that the client makes of what `write` writes, by the lengths of their plain text.
fn plain_records(write: impl FnOnce(&mut ropewalk_core::Transport)) -> (Vec<usize>, usize) {
    let tls = both();
    let log = Log::default();
    let mut wire = Wire::tls(&tls, Talker::silent(&Log::default()), Talker::silent(&log));
    wire.connect();
    let before = wire.sent[At::Client as usize].len();
    wire.connection(At::Client).act(write);
    wire.run();
    let sent = records(&wire.sent[At::Client as usize][before..]);
    let lengths = sent.iter().map(|length| length - ADDED).collect();
    (lengths, log.told().data.len())
}

#[test]
fn what_a_callback_writes_in_small_pieces_is_one_record() {
    let (records, got) = plain_records(|transport| {
        for _ in 0..100 {
            transport.write(b"0123456789");
        }
    });
    assert_eq!((records, got), (vec![1000], 1000));
}

#[test]
fn pieces_that_are_kept_apart_still_share_a_record() {
    let (records, got) = plain_records(|transport| {
        transport.write(b"head");
        transport.write_bytes(vec![0; 2000].into());
        transport.write_segment(Segment::Bytes(vec![0; 3000].into()));
        transport.write(b"tail");
    });
    assert_eq!((records, got), (vec![5008], 5008));
}

#[test]
fn a_lot_is_whole_records_of_16_kib() {
    let (records, got) = plain_records(|transport| {
        transport.write(&[0; 100]);
        transport.write_bytes(vec![0; 100_000].into());
    });
    assert_eq!(records, [[16_384].repeat(6), vec![1796]].concat());
    assert_eq!(got, 100_100);
}

#[test]
fn no_more_is_made_into_records_than_the_network_takes() {
    let tls = both();
    let mut wire = Wire::tls(
        &tls,
        Talker::silent(&Log::default()),
        Talker::silent(&Log::default()),
    );
    wire.connect();
    // The layer takes what fits below it, and leaves the rest to count as unsent in plain text.
    let client = wire.connection(At::Client);
    client.write(&vec![0; 1_000_000]);
    let before = wire.sends[At::Client as usize];
    wire.run();
    let sends = wire.sends[At::Client as usize] - before;
    assert!(sends >= 1_000_000 / (128 * 1024), "{sends}");
    assert_eq!(client.unsent(), Some(0));
}

#[test]
fn who_pauses_reading_gets_nothing_and_the_network_is_not_read() {
    let tls = both();
    let log = Log::default();
    let mut wire = Wire::tls(
        &tls,
        Talker::silent(&Log::default()),
        Talker::new(&log, |transport| transport.pause_producing()),
    );
    wire.connect();
    wire.connection(At::Client).write(b"later");
    wire.run();
    assert_eq!(log.text(), "");
    assert!(!wire.wants_read(At::Server));
    wire.connection(At::Server).resume_producing();
    wire.run();
    assert_eq!(log.text(), "later");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_that_is_written_comes_whole_and_in_order(
        pieces in prop::collection::vec((0..40_000_usize, any::<bool>()), 0..8),
        cut in 0..100_000_usize,
    ) {
        let tls = both();
        let log = Log::default();
        let mut wire = Wire::tls(&tls, Talker::silent(&Log::default()), Talker::silent(&log));
        wire.cut = Some((At::Server, cut));
        wire.connect();
        let mut all = Vec::new();
        for (index, (len, shared)) in pieces.into_iter().enumerate() {
            let piece = vec![index as u8; len];
            all.extend_from_slice(&piece);
            let client = wire.connection(At::Client);
            let written = match shared {
                true => client.write_bytes(piece.into()),
                false => client.write(&piece),
            };
            prop_assert!(written);
            if index % 3 == 2 {
                wire.run();
            }
        }
        wire.run();
        prop_assert_eq!(log.told().data, all);
    }
}
