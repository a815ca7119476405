//! One version of one file: its content or a descriptor of it, its validators, and the headers
//! of the answer, made once.

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    LAST_MODIFIED, VARY, X_CONTENT_TYPE_OPTIONS,
};

use super::cache::TRUST;
use super::conditional::{LastModified, Validators};
use super::page::NOSNIFF;
use crate::Body;
use crate::content_coding::ContentCoding;
use crate::mime;
use ropewalk_core::{FileRegion, Segment};

/// Files up to this size are read at once, and may be cached; larger ones are sent from the file.
pub(super) const SMALL: u64 = 64 * 1024;

/// How long a file must have been at rest before its times tell its versions apart. The coarsest
/// file systems count in steps of two seconds.
const REST: Duration = Duration::from_secs(2);

pub(super) struct Representation {
    content: Content,
    stamp: Stamp,
    validators: Validators,
    headers: HeaderMap,
    /// For each coding, when it was last seen that there is no such form of it.
    lacking: [Cell<Option<Instant>>; 3],
}

/// What a file is to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// What was asked for.
    Only,
    /// What was asked for, and there may be compressed forms of it.
    Original,
    /// A compressed form of what was asked for.
    Coded(ContentCoding),
}

enum Content {
    Bytes(Bytes),
    File(Arc<File>),
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    modified: (i64, i64),
    /// As `modified`, but nobody can set it: it tells of writes whose date was put back.
    changed: (i64, i64),
}

/// What is said of the version of a file that has this metadata at `now`.
pub(crate) fn validators(metadata: &Metadata, now: SystemTime) -> Validators {
    Stamp::of(metadata).validators(now)
}

impl Representation {
    /// Reads `file` if it is small, and keeps it open otherwise. `name` says its type, and
    /// `wall_clock` is the clock that file times are compared with.
    pub(super) fn new(
        file: File,
        metadata: &Metadata,
        name: &Path,
        form: Form,
        wall_clock: fn() -> SystemTime,
    ) -> io::Result<Self> {
        let (content, stamp) = Content::read(file, Stamp::of(metadata))?;
        let validators = stamp.validators(wall_clock());

        let mut headers = HeaderMap::with_capacity(6);
        let content_type = match form {
            Form::Coded(coding) => {
                headers.insert(CONTENT_ENCODING, coding.header());
                mime::content_type(&name.with_extension(""))
            }
            Form::Only | Form::Original => mime::content_type(name),
        };
        headers.insert(CONTENT_TYPE, content_type);
        if form != Form::Only {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(stamp.size));
        if let Some(etag) = &validators.etag {
            headers.insert(ETAG, etag.clone());
        }
        if let Some(modified) = &validators.last_modified {
            headers.insert(LAST_MODIFIED, modified.value.clone());
        }
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        Ok(Self {
            content,
            stamp,
            validators,
            headers,
            lacking: Default::default(),
        })
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.stamp.size
    }

    pub(super) fn validators(&self) -> &Validators {
        &self.validators
    }

    /// The headers of an answer that carries all of it.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn content_type(&self) -> &HeaderValue {
        &self.headers[CONTENT_TYPE]
    }

    /// Whether a file with this stamp surely holds what this representation holds.
    pub(super) fn is_current(&self, stamp: &Stamp) -> bool {
        self.validators.settled && self.stamp == *stamp
    }

    /// Whether it was written before `other` was.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.stamp.modified < other.stamp.modified
    }

    /// Remembers that there is no such form of it, for as long as the cache trusts what it has.
    pub(super) fn lacks(&self, coding: ContentCoding, now: Option<Instant>) {
        self.lacking[coding as usize].set(now);
    }

    pub(super) fn is_known_to_lack(&self, coding: ContentCoding, now: Option<Instant>) -> bool {
        let seen = self.lacking[coding as usize].get();
        let since = now
            .zip(seen)
            .map(|(now, seen)| now.saturating_duration_since(seen));
        since.is_some_and(|since| since < TRUST)
    }

    /// How much content is held in memory, or `None` if it is in the file.
    pub(super) fn bytes_held(&self) -> Option<usize> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes.len()),
            Content::File(_) => None,
        }
    }

    /// All of it.
    pub(super) fn body(&self) -> Body {
        match &self.content {
            Content::Bytes(bytes) => Body::from(bytes.clone()),
            Content::File(file) => Body::from(FileRegion {
                file: file.clone(),
                offset: 0,
                len: self.len(),
            }),
        }
    }

    /// The bytes of `range`, which lies inside.
    pub(super) fn part(&self, range: &Range<u64>) -> Segment {
        match &self.content {
            // What is in memory is small, so the ends fit.
            Content::Bytes(bytes) => {
                Segment::Bytes(bytes.slice(range.start as usize..range.end as usize))
            }
            Content::File(file) => Segment::File(FileRegion {
                file: file.clone(),
                offset: range.start,
                len: range.end - range.start,
            }),
        }
    }
}

impl Content {
    /// The content, and the stamp that it has for certain: a file that is written while it is
    /// read is read again, and if it does not come to rest it is sent as it is then.
    fn read(file: File, mut stamp: Stamp) -> io::Result<(Self, Stamp)> {
        for _ in 0..2 {
            if stamp.size > SMALL {
                break;
            }
            let mut bytes = vec![0; stamp.size as usize];
            let read = file.read_exact_at(&mut bytes, 0);
            let after = Stamp::of(&file.metadata()?);
            match read {
                Ok(()) if after == stamp => return Ok((Self::Bytes(Bytes::from(bytes)), stamp)),
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                _ => stamp = after,
            }
        }
        Ok((Self::File(Arc::new(file)), stamp))
    }
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The entity tag and the date, as they can be vouched for at `now`.
    ///
    /// A file that was touched a moment ago may be written again within the same tick of the file
    /// system's clock, so its tag is weak (RFC 9110, section 8.8.1) until it has rested. A date
    /// in the future is not sent (section 8.8.2.1).
    fn validators(&self, now: SystemTime) -> Validators {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        let (seconds, nanoseconds) = self.modified;
        let rested = now.saturating_sub(REST.as_secs() as i64);
        let settled = seconds < rested && self.changed.0 < rested;

        let weak = if settled { "" } else { "W/" };
        let (inode, size) = (self.inode, self.size);
        let etag = format!("{weak}\"{seconds:x}.{nanoseconds:x}-{inode:x}-{size:x}\"");
        let last_modified = (0..=now).contains(&seconds).then(|| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds as u64);
            let value = HeaderValue::try_from(httpdate::fmt_http_date(at)).ok()?;
            Some(LastModified { at, value })
        });
        Validators {
            etag: HeaderValue::try_from(etag).ok(),
            last_modified: last_modified.flatten(),
            settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        device: 1,
        inode: 0x2a,
        size: 0x10,
        modified: (784_111_777, 5),
        changed: (784_111_777, 5),
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_tag_is_weak_until_the_file_has_rested() {
        for (after, settled) in [(0, false), (1, false), (2, false), (3, true), (9999, true)] {
            let validators = STAMP.validators(at(784_111_777 + after));
            assert_eq!(validators.settled, settled, "after {after} s");
            let etag = validators.etag.unwrap();
            let weak = if settled { "" } else { "W/" };
            assert_eq!(etag, format!("{weak}\"2ebc98a1.5-2a-10\""));
        }
    }

    #[test]
    fn a_write_whose_date_was_put_back_is_as_restless() {
        let stamp = Stamp {
            changed: (784_999_999, 0),
            ..STAMP
        };
        assert!(!stamp.validators(at(785_000_000)).settled);
        assert!(stamp.validators(at(785_000_009)).settled);
    }

    #[test]
    fn a_date_that_is_not_past_is_not_sent() {
        for (seconds, date) in [
            (784_111_777, Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (0, Some("Thu, 01 Jan 1970 00:00:00 GMT")),
            (-1, None),
            (784_111_900, None),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            let stamp = Stamp {
                modified: (seconds, 0),
                ..STAMP
            };
            let modified = stamp.validators(at(784_111_800)).last_modified;
            let value = modified.map(|modified| modified.value);
            assert_eq!(
                value.as_ref().map(|value| value.as_bytes()),
                date.map(str::as_bytes)
            );
        }
    }

    #[test]
    fn every_change_changes_the_tag() {
        let now = at(790_000_000);
        let etag = |stamp: Stamp| stamp.validators(now).etag.unwrap();
        for other in [
            Stamp { inode: 1, ..STAMP },
            Stamp { size: 1, ..STAMP },
            Stamp {
                modified: (784_111_776, 5),
                ..STAMP
            },
            Stamp {
                modified: (784_111_777, 6),
                ..STAMP
            },
        ] {
            assert_ne!(etag(other), etag(STAMP));
        }
    }
}
