//! Each codec against a model that has all the bytes at once: any bytes, any split, any limit.

use std::num::NonZeroUsize;

use proptest::collection::vec;
use proptest::prelude::*;
use ropewalk_core::framing::{
    Codec, DecodeError, Decoded, DelimiterCodec, EncodeError, FixedCodec, Found, FrameBuffer,
    Int8Codec, Int16Codec, Int32Codec, LengthCodec, LineCodec, NetstringCodec,
};

/// What is found in a stream, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Frame(Vec<u8>),
    TooLong(Option<u64>, Vec<u8>),
    Malformed,
    /// What was left at the end.
    Unfinished(Vec<u8>),
}

/// What `codec` finds in pieces.
fn found<'a>(mut codec: impl Codec, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut buffer = FrameBuffer::default();
    let mut events = Vec::new();
    for mut piece in pieces {
        loop {
            match buffer.next(&mut codec, &mut piece) {
                Ok(Some(Found::Frame(frame))) => events.push(Event::Frame(frame.to_vec())),
                Ok(Some(Found::TooLong { length, start })) => {
                    events.push(Event::TooLong(length, start.to_vec()));
                }
                Ok(None) => break,
                Err(DecodeError::Malformed(_)) => {
                    events.push(Event::Malformed);
                    return events;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(piece.is_empty());
        let bound = codec.max_length() + FrameBuffer::OVERHEAD;
        assert!(buffer.unfinished().len() <= bound);
    }
    if !buffer.unfinished().is_empty() {
        events.push(Event::Unfinished(buffer.unfinished().to_vec()));
    }
    events
}

/// A frame that was too long may be skipped to its end or not: what is left behind it says
/// nothing.
fn told(mut events: Vec<Event>) -> Vec<Event> {
    if let [.., Event::TooLong(..), Event::Unfinished(_)] = events[..] {
        events.pop();
    }
    events
}

/// Cuts `bytes` at these lengths, again and again.
fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*length));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The model for delimiters. `line` is what stands before the delimiter; what is longer than
/// `longest` with its delimiter is too long before its end is seen.
fn delimited(
    mut bytes: &[u8],
    delimiter: &[u8],
    max_length: usize,
    longest: usize,
    line: impl Fn(&[u8]) -> usize,
) -> Vec<Event> {
    let mut events = Vec::new();
    let too_long = |bytes: &[u8]| Event::TooLong(None, bytes[..=max_length].to_vec());
    loop {
        let mut ends = bytes.windows(delimiter.len());
        let Some(at) = ends.position(|window| window == delimiter) else {
            if bytes.len() >= longest {
                events.push(too_long(bytes));
            } else if !bytes.is_empty() {
                events.push(Event::Unfinished(bytes.to_vec()));
            }
            return events;
        };
        let length = line(&bytes[..at]);
        if length > max_length {
            events.push(too_long(bytes));
        } else {
            events.push(Event::Frame(bytes[..length].to_vec()));
        }
        bytes = &bytes[at + delimiter.len()..];
    }
}

/// The model for lengths in front.
fn length_prefixed<const WIDTH: usize>(
    mut bytes: &[u8],
    max_length: usize,
    little_endian: bool,
) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        if bytes.len() < WIDTH {
            events.push(Event::Unfinished(bytes.to_vec()));
            break;
        }
        let mut prefix = [0; 8];
        prefix[8 - WIDTH..].copy_from_slice(&bytes[..WIDTH]);
        if little_endian {
            prefix[8 - WIDTH..].reverse();
        }
        let length = u64::from_be_bytes(prefix);
        let end = length.saturating_add(WIDTH as u64);
        if length > max_length as u64 {
            events.push(Event::TooLong(Some(length), bytes[..WIDTH].to_vec()));
            bytes = bytes.get(end as usize..).unwrap_or_default();
        } else if (bytes.len() as u64) < end {
            events.push(Event::Unfinished(bytes.to_vec()));
            break;
        } else {
            events.push(Event::Frame(bytes[WIDTH..end as usize].to_vec()));
            bytes = &bytes[end as usize..];
        }
    }
    events
}

/// The model for netstrings.
fn netstrings(mut bytes: &[u8], max_length: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let digits: Vec<u8> = bytes
            .iter()
            .copied()
            .take_while(u8::is_ascii_digit)
            .collect();
        if digits.len() > 19 || digits.len() > 1 && digits[0] == b'0' {
            events.push(Event::Malformed);
            break;
        }
        let Some(colon) = bytes.get(digits.len()) else {
            events.push(Event::Unfinished(bytes.to_vec()));
            break;
        };
        if *colon != b':' || digits.is_empty() {
            events.push(Event::Malformed);
            break;
        }
        let length: u64 = String::from_utf8(digits.clone()).unwrap().parse().unwrap();
        let start = digits.len() + 1;
        let end = length.saturating_add(start as u64) as usize;
        let is_too_long = length > max_length as u64;
        if is_too_long {
            events.push(Event::TooLong(Some(length), bytes[..start].to_vec()));
        }
        match bytes.get(end) {
            None if is_too_long => break,
            None => {
                events.push(Event::Unfinished(bytes.to_vec()));
                break;
            }
            Some(b',') => {}
            Some(_) => {
                events.push(Event::Malformed);
                break;
            }
        }
        if !is_too_long {
            events.push(Event::Frame(bytes[start..end].to_vec()));
        }
        bytes = &bytes[end + 1..];
    }
    events
}

/// The model for frames of one length.
fn fixed(bytes: &[u8], length: usize) -> Vec<Event> {
    let frames = bytes.chunks(length);
    let event = |frame: &[u8]| match frame.len() == length {
        true => Event::Frame(frame.to_vec()),
        false => Event::Unfinished(frame.to_vec()),
    };
    frames.map(event).collect()
}

/// Lengths of pieces: often one byte, often many.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4usize, 1..3000usize], 1..8)
}

/// Bytes out of few, so that delimiters and digits come often.
fn bytes_of(alphabet: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(proptest::sample::select(alphabet), 0..200),
        vec(proptest::sample::select(alphabet), 0..4000),
        vec(any::<u8>(), 0..200),
    ]
}

/// Mostly well-formed: frames as `codec` sends them, with a byte changed in some.
fn stream(codec: impl Codec + Clone) -> impl Strategy<Value = Vec<u8>> {
    let frame = prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..2500)];
    let change = proptest::option::of((any::<proptest::sample::Index>(), any::<u8>()));
    vec((frame, change), 0..8).prop_map(move |frames| {
        let mut codec = codec.clone();
        let mut stream = Vec::new();
        for (frame, change) in frames {
            let start = stream.len();
            if codec.encode(&frame, &mut stream).is_err() {
                stream.truncate(start);
            } else if let Some((at, byte)) = change.filter(|(_, byte)| byte % 4 == 0) {
                let len = stream.len();
                stream[start + at.index(len - start)] = byte;
            }
        }
        stream
    })
}

fn limits() -> impl Strategy<Value = usize> {
    prop_oneof![0..30usize, 0..3000usize]
}

const DELIMITERS: [&[u8]; 6] = [b"\r\n", b"\n", b"aa", b"aba", b"aab", b"\0\0\0\0"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn delimited_frames_are_those_of_the_model(
        bytes in bytes_of(b"aaab\r\n\0"),
        which in 0..DELIMITERS.len(),
        max_length in limits(),
        cuts in cuts(),
    ) {
        let delimiter = DELIMITERS[which];
        let codec = DelimiterCodec::new(delimiter, max_length);
        let longest = max_length + delimiter.len();
        let model = delimited(&bytes, delimiter, max_length, longest, <[u8]>::len);
        prop_assert_eq!(told(found(codec, cut(&bytes, &cuts))), told(model));
    }

    #[test]
    fn lines_are_those_of_the_model(
        bytes in bytes_of(b"abcdefgh\r\n\r\n"),
        max_length in limits(),
        cuts in cuts(),
    ) {
        let codec = LineCodec::default().with_max_length(max_length);
        let model = delimited(&bytes, b"\r\n", max_length, max_length + 2, <[u8]>::len);
        prop_assert_eq!(told(found(codec, cut(&bytes, &cuts))), told(model));

        let codec = LineCodec::default().accept_bare_newline().with_max_length(max_length);
        let line = |bytes: &[u8]| bytes.strip_suffix(b"\r").unwrap_or(bytes).len();
        let model = delimited(&bytes, b"\n", max_length, max_length + 2, line);
        prop_assert_eq!(told(found(codec, cut(&bytes, &cuts))), told(model));
    }

    #[test]
    fn int8_strings_are_those_of_the_model(
        bytes in stream(Int8Codec::default()),
        max_length in limits(),
        cuts in cuts(),
    ) {
        let model = length_prefixed::<1>(&bytes, max_length, false);
        prop_assert_eq!(told(found(Int8Codec::new(max_length), cut(&bytes, &cuts))), told(model));
    }

    #[test]
    fn int16_strings_are_those_of_the_model(
        bytes in stream(Int16Codec::default()),
        max_length in limits(),
        cuts in cuts(),
    ) {
        let model = length_prefixed::<2>(&bytes, max_length, false);
        prop_assert_eq!(told(found(Int16Codec::new(max_length), cut(&bytes, &cuts))), told(model));
    }

    #[test]
    fn int32_strings_are_those_of_the_model(
        bytes in stream(Int32Codec::default()),
        max_length in limits(),
        cuts in cuts(),
    ) {
        let model = length_prefixed::<4>(&bytes, max_length, false);
        prop_assert_eq!(told(found(Int32Codec::new(max_length), cut(&bytes, &cuts))), told(model));
    }

    #[test]
    fn strings_with_other_lengths_in_front_are_those_of_the_model(
        bytes in stream(LengthCodec::<3>::new(0).little_endian()),
        wide in stream(LengthCodec::<8>::new(0)),
        max_length in limits(),
        cuts in cuts(),
    ) {
        let codec = LengthCodec::<3>::new(max_length).little_endian();
        let model = length_prefixed::<3>(&bytes, max_length, true);
        prop_assert_eq!(told(found(codec, cut(&bytes, &cuts))), told(model));
        let model = length_prefixed::<8>(&wide, max_length, false);
        prop_assert_eq!(told(found(LengthCodec::<8>::new(max_length), cut(&wide, &cuts))), told(model));
    }

    #[test]
    fn netstrings_are_those_of_the_model(
        bytes in prop_oneof![stream(NetstringCodec::default()), bytes_of(b"000123::::,,,,,a")],
        max_length in limits(),
        cuts in cuts(),
    ) {
        let model = netstrings(&bytes, max_length);
        prop_assert_eq!(told(found(NetstringCodec::new(max_length), cut(&bytes, &cuts))), told(model));
    }

    #[test]
    fn fixed_frames_are_those_of_the_model(
        bytes in vec(any::<u8>(), 0..4000),
        length in 1..2000usize,
        cuts in cuts(),
    ) {
        let codec = FixedCodec::new(NonZeroUsize::new(length).unwrap());
        prop_assert_eq!(told(found(codec, cut(&bytes, &cuts))), told(fixed(&bytes, length)));
    }

    #[test]
    fn what_is_encoded_is_decoded_as_it_was(
        frames in vec(bytes_of(b"abcde\r\n\0"), 0..8),
        which in 0..DELIMITERS.len(),
        cuts in cuts(),
    ) {
        come_back(LineCodec::default(), &frames, &cuts)?;
        come_back(LineCodec::default().accept_bare_newline(), &frames, &cuts)?;
        come_back(DelimiterCodec::new(DELIMITERS[which], 5000), &frames, &cuts)?;
        come_back(Int8Codec::default(), &frames, &cuts)?;
        come_back(Int16Codec::default(), &frames, &cuts)?;
        come_back(Int32Codec::default(), &frames, &cuts)?;
        come_back(LengthCodec::<5>::default().little_endian(), &frames, &cuts)?;
        come_back(NetstringCodec::default(), &frames, &cuts)?;
        come_back(FixedCodec::new(NonZeroUsize::new(7).unwrap()), &frames, &cuts)?;
    }
}

/// Frames that can be sent come back as they were; of the others nothing is seen.
fn come_back(
    codec: impl Codec + Clone,
    frames: &[Vec<u8>],
    cuts: &[usize],
) -> Result<(), TestCaseError> {
    let mut sent = Vec::new();
    let mut expected = Vec::new();
    for frame in frames {
        let start = sent.len();
        match codec.clone().encode(frame, &mut sent) {
            Ok(()) => expected.push(Event::Frame(frame.clone())),
            Err(_) => sent.truncate(start),
        }
    }
    prop_assert_eq!(found(codec, cut(&sent, cuts)), expected);
    Ok(())
}

/// Fixed cases, at every split point into three.
#[test]
fn every_split_point_finds_the_same() {
    fn check(codec: &(impl Codec + Clone), bytes: &[u8], expected: &[Event]) {
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let (head, tail) = bytes.split_at(second);
                let pieces = [&head[..first], &head[first..], tail];
                assert_eq!(found(codec.clone(), pieces), expected, "{pieces:?}");
            }
        }
    }
    let frame = |text: &str| Event::Frame(text.into());
    let left = |text: &str| Event::Unfinished(text.into());
    let lines = LineCodec::default().with_max_length(4);
    let too_long = || Event::TooLong(None, b"fives".to_vec());
    let expected = [
        frame("a"),
        frame(""),
        frame("four"),
        too_long(),
        frame("\r"),
        left("x\r"),
    ];
    check(&lines, b"a\r\n\r\nfour\r\nfives!\r\n\r\r\nx\r", &expected);
    let lines = LineCodec::default()
        .accept_bare_newline()
        .with_max_length(4);
    let expected = [
        frame("four"),
        frame("four"),
        too_long(),
        frame("\r"),
        frame(""),
        left("x\r"),
    ];
    check(&lines, b"four\nfour\r\nfives\n\r\r\n\nx\r", &expected);
    let long = Event::TooLong(Some(5), b"\0\x05".to_vec());
    let expected = [frame("ab"), frame(""), long, frame("c"), left("\0")];
    check(
        &Int16Codec::new(4),
        b"\0\x02ab\0\0\0\x05fives\0\x01c\0",
        &expected,
    );
    let long = Event::TooLong(Some(10), b"10:".to_vec());
    let expected = [frame("ab"), frame(""), long, frame("c"), Event::Malformed];
    check(
        &NetstringCodec::new(4),
        b"2:ab,0:,10:ten letter,1:c,01:",
        &expected,
    );
}

#[test]
fn a_netstring_that_is_too_long_must_end_with_its_comma_too() {
    let long = Event::TooLong(Some(5), b"5:".to_vec());
    let pieces = b"5:fives;".chunks(1);
    let expected = [long, Event::Malformed];
    assert_eq!(found(NetstringCodec::new(4), pieces), expected);
}

#[test]
fn what_was_searched_for_a_delimiter_is_not_searched_again() {
    let mut codec = LineCodec::default();
    let need_more = |codec: &mut LineCodec, input: &[u8]| {
        let decoded = codec.decode(input).unwrap();
        assert_eq!(decoded, Decoded::NeedMore(input.len() + 1));
    };
    need_more(&mut codec, b"123456");
    // No caller does this: it shows where the codec looks.
    need_more(&mut codec, b"12\r\n5678");
}

#[test]
fn a_frame_that_comes_byte_by_byte_is_asked_for_once_its_length_is_known() {
    struct Counting(Int32Codec, usize);
    impl Codec for Counting {
        fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
            self.1 += 1;
            self.0.decode(input)
        }
        fn encode(&mut self, frame: &[u8], output: &mut Vec<u8>) -> Result<(), EncodeError> {
            self.0.encode(frame, output)
        }
        fn max_length(&self) -> usize {
            self.0.max_length()
        }
    }
    let mut codec = Counting(Int32Codec::default(), 0);
    let mut sent = Vec::new();
    codec.encode(&[7; 50_000], &mut sent).unwrap();
    let mut buffer = FrameBuffer::default();
    for byte in sent.chunks(1) {
        if let Some(found) = buffer.next(&mut codec, &mut &byte[..]).unwrap() {
            assert_eq!(found, Found::Frame(&[7; 50_000]));
        }
    }
    assert_eq!(codec.1, 3);
}

/// A codec of someone else's that goes wrong.
struct Broken(fn(&[u8]) -> Decoded);

impl Codec for Broken {
    fn decode(&mut self, input: &[u8]) -> Result<Decoded, DecodeError> {
        Ok(self.0(input))
    }
    fn encode(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Err(EncodeError::Refused("it sends nothing".into()))
    }
    fn max_length(&self) -> usize {
        100
    }
}

#[test]
fn a_codec_that_never_finds_anything_fills_no_memory() {
    let mut codec = Broken(|_| Decoded::NeedMore(usize::MAX));
    let mut buffer = FrameBuffer::default();
    let error = (0..10).find_map(|_| buffer.next(&mut codec, &mut &[0; 1000][..]).err());
    let limit = 100 + FrameBuffer::OVERHEAD;
    assert_eq!(error, Some(DecodeError::Unfinished { limit }));
}

#[test]
fn a_codec_that_consumes_nothing_does_not_hang_its_receiver() {
    let nothing: [fn(&[u8]) -> Decoded; 3] = [
        |_| Decoded::Skip(0),
        |_| Decoded::TooLong {
            length: None,
            consumed: 0,
        },
        |_| Decoded::Frame {
            frame: 0..0,
            consumed: 0,
        },
    ];
    for decode in nothing {
        let found = FrameBuffer::default()
            .next(&mut Broken(decode), &mut &b"x"[..])
            .map(|_| ());
        assert!(matches!(found, Err(DecodeError::Malformed(_))), "{found:?}");
    }
}

#[test]
fn a_frame_that_cannot_be_said_is_refused_in_words() {
    let mut sent = Vec::new();
    let refused = |result: Result<(), EncodeError>| result.unwrap_err().to_string();
    assert_eq!(
        refused(Int8Codec::default().encode(&[0; 256], &mut sent)),
        "cannot send a frame of 256 bytes: the format's longest has 255; send it in parts"
    );
    let split = "cannot send a frame with its delimiter in it: the peer would see more than one; split it or escape it";
    assert_eq!(
        refused(LineCodec::default().encode(b"a\r\nb", &mut sent)),
        split
    );
    // The delimiter would begin in the frame.
    assert_eq!(
        refused(DelimiterCodec::new(b"aa", 9).encode(b"ba", &mut sent)),
        split
    );
    let codec = &mut FixedCodec::new(NonZeroUsize::new(4).unwrap());
    assert_eq!(
        refused(codec.encode(b"five!", &mut sent)),
        "cannot send a frame of 5 bytes: each has 4 in this format"
    );
}
