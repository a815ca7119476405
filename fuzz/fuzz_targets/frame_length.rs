//! Frames with their length in front, of several widths.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::framing::{Int8Codec, Int16Codec, Int32Codec, LengthCodec};

mod frames;

fuzz_target!(|input: &[u8]| {
    frames::check(&Int8Codec::new(20), input, true);
    frames::check(&Int16Codec::new(300), input, true);
    frames::check(&Int32Codec::new(usize::MAX >> 40), input, true);
    frames::check(&LengthCodec::<8>::new(300).little_endian(), input, true);
});
