//! Sessions that live in their cookie, encrypted: the server keeps nothing.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::store::{SessionRecord, StoreContext};

/// Browsers take 4096 bytes of name and value. Base64 makes 4 of 3, and times, nonce and tag take
/// some.
pub(super) const SEALED_LIMIT: usize = 2560;

/// A clock may be set back by so much before what was sealed counts as sealed in the future.
const LEEWAY: Duration = Duration::from_secs(60);

/// What is sealed.
pub(super) struct Sealed {
    pub(super) record: SessionRecord,
    /// When the session was last seen.
    seen: SystemTime,
}

impl Sealed {
    pub(super) fn write(record: &SessionRecord, now: SystemTime) -> String {
        let (created, seen) = (seconds(record.created), seconds(now));
        json!({"c": created, "s": seen, "v": &record.values}).to_string()
    }

    /// `None` if `text` is none, or its time is over.
    pub(super) fn read(text: &str, context: &StoreContext) -> Option<Self> {
        let mut text: Map<String, Value> = serde_json::from_str(text).ok()?;
        let Some(Value::Object(values)) = text.remove("v") else {
            return None;
        };
        let time = |name: &str| {
            let since = Duration::from_secs(text.get(name)?.as_u64()?);
            UNIX_EPOCH.checked_add(since)
        };
        let (created, seen) = (time("c")?, time("s")?);
        let now = context.reactor.wall_clock();
        let is_over = |since: SystemTime, limit: Duration| match now.duration_since(since) {
            Ok(passed) => passed >= limit,
            Err(ahead) => ahead.duration() > LEEWAY,
        };
        if is_over(created, context.absolute) || is_over(seen, context.idle) {
            return None;
        }
        let record = SessionRecord::new(created, values);
        Some(Self { record, seen })
    }

    /// Whether it is long enough ago that it was seen that the client is to be told the new time.
    pub(super) fn is_stale(&self, context: &StoreContext) -> bool {
        let passed = context.reactor.wall_clock().duration_since(self.seen);
        passed.unwrap_or_default() >= context.idle / 10
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
