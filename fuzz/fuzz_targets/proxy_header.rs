//! PROXY headers: whatever the cut, the same header, length or error; and no header that is longer
//! than it may be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::handshake::{MAX_PROXY_V1, MAX_PROXY_V2, ProxyHeader};

fuzz_target!(|input: &[u8]| {
    let whole = ProxyHeader::parse(input);
    let most = input.len().min(MAX_PROXY_V2);
    let first = (0..=most)
        .map(|end| ProxyHeader::parse(&input[..end]))
        .find(|parsed| *parsed != Ok(None));
    assert_eq!(first.unwrap_or(Ok(None)), whole);
    match whole {
        Ok(Some((_, length))) => assert!(length <= most),
        Ok(None) => assert!(input.len() < MAX_PROXY_V2),
        Err(_) => {}
    }
    if input.starts_with(b"PROXY ") && input.len() >= MAX_PROXY_V1 {
        assert_ne!(whole, Ok(None));
    }
});
