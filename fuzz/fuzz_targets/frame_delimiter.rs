//! Frames that end with a delimiter: the input says which, and how long they may be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_core::framing::DelimiterCodec;

mod frames;

fuzz_target!(|input: &[u8]| {
    let [length, max_length, rest @ ..] = input else {
        return;
    };
    let (delimiter, rest) = rest.split_at(rest.len().min(usize::from(length % 5)));
    if !delimiter.is_empty() {
        let codec = DelimiterCodec::new(delimiter.to_vec(), usize::from(*max_length));
        frames::check(&codec, rest, true);
    }
});
