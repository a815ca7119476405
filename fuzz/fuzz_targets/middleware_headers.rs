//! The parsers of middleware: no value makes them panic, and what would be dangerous to misread is
//! read as what is safe.

#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use ropewalk_web::middleware::{CacheControl, ForwardedElement};
use ropewalk_web::{AcceptEncoding, Chosen, ContentCoding};

fuzz_target!(|input: &[u8]| {
    if let Some(elements) = ForwardedElement::parse(input) {
        assert!(elements.len() <= input.len());
        // What is appended by the next proxy changes nothing of what was said before.
        let appended = [input, b", for=192.0.2.1"].concat();
        let appended = ForwardedElement::parse(&appended).expect("two that are well-formed");
        assert_eq!(appended[..elements.len()], elements[..]);
        assert_eq!(appended.len(), elements.len() + 1);
    }
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", value.clone());
    let control = CacheControl::of(&headers);
    headers.append(
        "cache-control",
        HeaderValue::from_static("no-store, private, max-age=0"),
    );
    let strict = CacheControl::of(&headers);
    assert!(strict.no_store && strict.private);
    assert!(strict.max_age <= control.max_age || control.max_age.is_none());

    headers.insert("accept-encoding", value);
    let accepted = AcceptEncoding::of(&headers);
    let ours = [
        ContentCoding::Zstd,
        ContentCoding::Brotli,
        ContentCoding::Gzip,
    ];
    match accepted.choose(&ours) {
        Chosen::Coded(coding) => assert!(accepted.weight(coding) > 0),
        Chosen::Identity => assert!(accepted.takes_identity()),
        Chosen::Nothing => assert!(!accepted.takes_identity()),
    }
});
