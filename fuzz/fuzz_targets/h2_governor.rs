//! What watches frames: the verdict is the same however the bytes are cut, and nothing panics.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use ropewalk_web::h2::{Governor, Limits, Rate, Reason};

fuzz_target!(|input: &[u8]| {
    let mut limits = Limits::default();
    // A few frames are enough to be too many.
    let rate = Rate::new(3, 0);
    limits.ping_rate = rate;
    limits.settings_rate = rate;
    limits.priority_rate = rate;
    limits.reset_rate = rate;
    limits.empty_data_rate = rate;
    limits.window_update_rate = rate;
    limits.unknown_rate = rate;
    limits.continuations = 2;
    let now = Instant::now();
    let size = input.first().map_or(1, |byte| usize::from(*byte)).max(1);
    for new in [Governor::for_server, Governor::for_client] {
        let verdict = |size: usize| -> Option<(Reason, String)> {
            let mut governor = new(&limits, now);
            let mut pieces = input.chunks(size);
            let excess = pieces.find_map(|piece| governor.received(now, piece).err())?;
            Some((excess.reason(), excess.to_string()))
        };
        let whole = verdict(usize::MAX);
        assert_eq!(verdict(1), whole);
        assert_eq!(verdict(size), whole);
    }
});
