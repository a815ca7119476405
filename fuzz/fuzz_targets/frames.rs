//! What holds for every codec: the frames do not depend on how the bytes are cut, no more is kept
//! than may be, and frames that are sent again are the bytes that came.

use ropewalk_core::framing::{Codec, DecodeError, Found, FrameBuffer};

/// What is found in a stream, in order.
#[derive(Debug, PartialEq)]
enum Event {
    Frame(Vec<u8>),
    TooLong(Option<u64>, Vec<u8>),
    Refused(DecodeError),
    Unfinished(Vec<u8>),
}

/// `canonical` if there is one way to send a frame.
pub fn check<C: Codec + Clone>(codec: &C, input: &[u8], canonical: bool) {
    let whole = found(codec, [input]);
    assert_eq!(found(codec, input.chunks(1)), whole);
    let middle = input
        .first()
        .map_or(0, |byte| usize::from(*byte) % input.len());
    let (first, second) = input.split_at(middle);
    assert_eq!(found(codec, [first, second]), whole);

    let mut sent = Vec::new();
    for event in &whole {
        match event {
            Event::Frame(frame) => {
                assert!(frame.len() <= codec.max_length());
                let start = sent.len();
                let encoded = codec.clone().encode(frame, &mut sent);
                encoded.expect("what was received can be sent");
                let again = found(codec, [&sent[start..]]);
                assert_eq!(again, [Event::Frame(frame.clone())]);
            }
            Event::Unfinished(rest) => sent.extend_from_slice(rest),
            Event::TooLong(..) | Event::Refused(_) => return,
        }
    }
    assert!(!canonical || sent == input);
}

fn found<'a, C: Codec + Clone>(
    codec: &C,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Event> {
    let mut codec = codec.clone();
    let mut buffer = FrameBuffer::default();
    let mut events = Vec::new();
    for mut piece in pieces {
        loop {
            events.push(match buffer.next(&mut codec, &mut piece) {
                Ok(Some(Found::Frame(frame))) => Event::Frame(frame.to_vec()),
                Ok(Some(Found::TooLong { length, start })) => {
                    Event::TooLong(length, start.to_vec())
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(matches!(error, DecodeError::Malformed(_)), "{error}");
                    events.push(Event::Refused(error));
                    return events;
                }
            });
        }
        let bound = codec.max_length() + FrameBuffer::OVERHEAD;
        assert!(buffer.unfinished().len() <= bound);
    }
    // What is left of a frame that was too long may be skipped already, or not.
    let skips = matches!(events.last(), Some(Event::TooLong(..)));
    if !skips && !buffer.unfinished().is_empty() {
        events.push(Event::Unfinished(buffer.unfinished().to_vec()));
    }
    events
}
