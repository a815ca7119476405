//! Netstrings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::framing::NetstringCodec;

mod frames;

fuzz_target!(|input: &[u8]| {
    frames::check(&NetstringCodec::new(20), input, true);
    frames::check(&NetstringCodec::default(), input, true);
});
