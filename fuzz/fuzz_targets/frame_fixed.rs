//! Frames of one length.

#![no_main]

use std::num::NonZeroUsize;

use libfuzzer_sys::fuzz_target;
use ropewalk_core::framing::FixedCodec;

mod frames;

fuzz_target!(|input: &[u8]| {
    let length = input.first().map_or(0, |byte| usize::from(*byte));
    if let Some(length) = NonZeroUsize::new(length) {
        frames::check(&FixedCodec::new(length), input, true);
    }
});
