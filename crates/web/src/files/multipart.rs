//! Several ranges in one answer: `multipart/byteranges`, RFC 9110 section 14.6.

use std::ops::Range;

use bytes::Bytes;
use http::HeaderValue;

use super::representation::Representation;
use crate::Body;
use ropewalk_core::Segment;

/// The type and the body that carry `ranges` of `representation`, in this order. Regions of a
/// file stay regions: nothing is read here.
pub(super) fn byteranges(
    representation: &Representation,
    ranges: &[Range<u64>],
) -> (HeaderValue, Body) {
    let boundary = boundary(representation);
    let len = representation.len();
    let mut segments = Vec::with_capacity(2 * ranges.len() + 1);
    for (index, range) in ranges.iter().enumerate() {
        let mut head = Vec::with_capacity(192);
        if index > 0 {
            head.extend_from_slice(b"\r\n");
        }
        let (first, last) = (range.start, range.end - 1);
        head.extend_from_slice(format!("--{boundary}\r\nContent-Type: ").as_bytes());
        head.extend_from_slice(representation.content_type().as_bytes());
        head.extend_from_slice(
            format!("\r\nContent-Range: bytes {first}-{last}/{len}\r\n\r\n").as_bytes(),
        );
        segments.push(Segment::Bytes(Bytes::from(head)));
        segments.push(representation.part(range));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    segments.push(Segment::Bytes(Bytes::from(end)));

    let content_type = format!("multipart/byteranges; boundary={boundary}");
    let content_type = HeaderValue::try_from(content_type)
        .unwrap_or(const { HeaderValue::from_static("multipart/byteranges") });
    (content_type, Body::from(segments))
}

/// The boundary must not occur in the file. It has the file's entity tag in it, and so the time
/// of the last write in nanoseconds: nobody can have written that into the file beforehand.
fn boundary(representation: &Representation) -> String {
    let tag = representation
        .validators()
        .etag
        .as_ref()
        .map_or(&b""[..], HeaderValue::as_bytes);
    let mut boundary = String::from("ropewalk-");
    boundary.extend(
        tag.iter()
            .filter(|byte| byte.is_ascii_hexdigit() || **byte == b'-')
            .map(|&byte| char::from(byte)),
    );
    boundary
}
