//! A request head means the same however it is cut, and what is accepted keeps the promises of
//! strictness.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_web::h1::{
    BodyLength, HeadScan, HeadStorage, Limits, RequestError, RequestHead, parse_request_head,
};

fuzz_target!(|input: &[u8]| {
    // Small limits, so that inputs of the fuzzer's size reach them.
    let mut limits = Limits::default();
    limits.request_line = 64;
    limits.header_block = 256;
    limits.header_fields = 8;

    let whole = parse(input, [input.len()], &limits);
    let bytewise = parse(input, 0..=input.len(), &limits);
    match (&whole, &bytewise) {
        (Ok(Some((head, consumed))), Ok(Some((other, other_consumed)))) => {
            assert_eq!(consumed, other_consumed);
            assert_eq!(format!("{head:?}"), format!("{other:?}"));
            check_accepted(head, &input[..*consumed], &limits);
        }
        (Ok(None), Ok(None)) => {}
        (Err(error), Err(other)) => assert_eq!(error, other),
        _ => panic!("whole: {whole:?}, byte by byte: {bytewise:?}"),
    }
});

/// Parses longer and longer beginnings of `input`, with the memory of one scan.
fn parse(
    input: &[u8],
    ends: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> Result<Option<(RequestHead, usize)>, RequestError> {
    let mut progress = HeadScan::default();
    let mut storage = HeadStorage::default();
    for end in ends {
        let found = parse_request_head(&input[..end], limits, &mut progress, &mut storage)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn check_accepted(head: &RequestHead, bytes: &[u8], limits: &Limits) {
    assert!(bytes.ends_with(b"\r\n\r\n"));
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(bytes.get(at + 1), Some(&b'\n')),
            b'\n' => assert_eq!(bytes[at - 1], b'\r'),
            b'\t' => {}
            byte => assert!(*byte >= b' ' && *byte != 0x7f),
        }
    }
    let headers = &head.parts.headers;
    assert!(headers.len() <= limits.header_fields + 1);
    assert!(headers.get_all("host").iter().count() <= 1);
    assert!(head.target.iter().all(u8::is_ascii_graphic));
    let lengths = headers.get_all("content-length").iter().count();
    let codings = headers.get_all("transfer-encoding").iter().count();
    let framing = match head.body {
        BodyLength::None => (0, 0),
        BodyLength::Length(_) => (1, 0),
        BodyLength::Chunked => (0, 1),
    };
    assert_eq!((lengths, codings), framing);
}
