//! A chunked body means the same however it is cut, and takes no byte behind its end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_web::h1::{ChunkedDecoder, Event, RequestError};

/// Payload, trailers as text, and the bytes of the input that were taken.
type Decoded = (Vec<u8>, Option<String>, usize);

fuzz_target!(|input: &[u8]| {
    let whole = decode([input]);
    assert_eq!(decode(input.chunks(1)), whole);
    let middle = input
        .first()
        .map_or(0, |byte| usize::from(*byte) % input.len());
    let (first, second) = input.split_at(middle);
    assert_eq!(decode([first, second]), whole);

    if let Ok((payload, Some(_), taken)) = whole {
        assert!(input[..taken].ends_with(b"\r\n"));
        assert!(payload.len() < taken);
        // The body ends there: the same bytes alone are the same body.
        assert_eq!(decode([&input[..taken]]), decode([input]));
    }
});

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Decoded, RequestError> {
    let mut decoder = ChunkedDecoder::new();
    let mut payload = Vec::new();
    let mut taken = 0;
    for mut piece in pieces {
        loop {
            let (consumed, event) = decoder.decode(piece)?;
            piece = &piece[consumed..];
            taken += consumed;
            match event {
                Event::Data(bytes) => {
                    assert!(!bytes.is_empty());
                    payload.extend_from_slice(bytes);
                }
                Event::NeedMore => {
                    assert!(piece.is_empty());
                    break;
                }
                Event::End(trailers) => {
                    for name in ["content-length", "transfer-encoding", "host"] {
                        assert!(!trailers.contains_key(name));
                    }
                    return Ok((payload, Some(format!("{trailers:?}")), taken));
                }
            }
        }
    }
    Ok((payload, None, taken))
}
