//! The `Date` of answers, made once a second.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

/// The Date field with the time of day as an IMF-fixdate (RFC 9110, section 5.6.7), as a line, kept
/// for as long as it is right.
#[derive(Default)]
pub(crate) struct DateCache {
    line: RefCell<String>,
    valid_until: Cell<Option<Instant>>,
}

impl DateCache {
    /// Makes the date right for `now`. `wall_clock` is read only when the second has passed.
    pub(crate) fn refresh(&self, now: Instant, wall_clock: impl FnOnce() -> SystemTime) {
        if self.valid_until.get().is_none_or(|until| until <= now) {
            let wall = wall_clock();
            let since = wall
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let left = Duration::from_secs(1) - Duration::from_nanos(since.subsec_nanos().into());
            self.valid_until.set(Some(now + left));
            let date = httpdate::fmt_http_date(wall.max(SystemTime::UNIX_EPOCH));
            *self.line.borrow_mut() = format!("date: {date}\r\n");
        }
    }

    /// The date alone, as it was last made.
    pub(crate) fn value(&self) -> HeaderValue {
        let line = self.line.borrow();
        let date = line.strip_prefix("date: ").map_or("", str::trim_end);
        HeaderValue::from_str(date).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Calls `use_line` with the line as it was last made.
    pub(crate) fn with<R>(&self, use_line: impl FnOnce(&str) -> R) -> R {
        use_line(&self.line.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_once_a_second_and_the_date_changes_with_it() {
        let cache = DateCache::default();
        let start = Instant::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_400);
        let reads = Cell::new(0);
        let date_after = |millis| {
            let after = Duration::from_millis(millis);
            let read = || {
                reads.set(reads.get() + 1);
                wall + after
            };
            cache.refresh(start + after, read);
            cache.with(str::to_owned)
        };
        assert_eq!(date_after(0), "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert_eq!(date_after(599), "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert_eq!(reads.get(), 1);
        assert_eq!(date_after(600), "date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
        assert_eq!(reads.get(), 2);
    }
}
