//! Lines, strict and with a bare newline.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::framing::LineCodec;

mod frames;

fuzz_target!(|input: &[u8]| {
    let lines = LineCodec::default().with_max_length(12);
    frames::check(&lines, input, true);
    frames::check(&lines.accept_bare_newline(), input, false);
});
