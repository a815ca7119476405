//! Which answers may be coded, and which are worth it.

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue,
};
use http::{Response, StatusCode};

use crate::Body;
use crate::middleware::cache_control::CacheControl;

/// Types whose content is mostly text, beside those of `text/`, and those that end in `+json`,
/// `+xml` or `+text`.
const TYPES: [&str; 20] = [
    "application/atom+xml",
    "application/dns+json",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/jsonl",
    "application/ld+json",
    "application/manifest+json",
    "application/ndjson",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/x-icon",
];

/// Whether there is content that is not coded, is whole, is of a type that shrinks, and may be
/// changed.
pub(super) fn may_be_coded(answer: &Response<Body>) -> bool {
    let headers = answer.headers();
    let has_content = !answer.status().is_informational()
        && !matches!(
            answer.status(),
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT
        );
    has_content
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && headers.get(CONTENT_TYPE).is_some_and(shrinks)
        && !(headers.contains_key(CACHE_CONTROL) && CacheControl::of(headers).no_transform)
}

/// Whether it is a part of content that may have been coded as a whole. (That parts have a type that
/// does not shrink cannot be seen.)
pub(super) fn is_part(answer: &Response<Body>) -> bool {
    let content_type = answer.headers().get(CONTENT_TYPE);
    answer.status() == StatusCode::PARTIAL_CONTENT
        && !answer.headers().contains_key(CONTENT_ENCODING)
        && content_type.is_some_and(|value| {
            shrinks(value) || value.as_bytes().starts_with(b"multipart/byteranges")
        })
}

/// Whether there are so many bytes, or nobody knows how many.
pub(super) fn is_worth(answer: &Response<Body>, worth: u64, head: bool) -> bool {
    let declared = answer.headers().get(CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
    let length = match answer.body().len() {
        Some(0) if head => declared.or(Some(0)),
        Some(length) => Some(length),
        None => declared,
    };
    length.is_none_or(|length| length >= worth.max(1))
}

fn shrinks(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else {
        return false;
    };
    let media_type = value.split(';').next().unwrap_or_default();
    let media_type = media_type.trim_matches([' ', '\t']).to_ascii_lowercase();
    media_type.starts_with("text/")
        || ["+json", "+xml", "+text"]
            .iter()
            .any(|end| media_type.ends_with(end))
        || TYPES.contains(&&media_type[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_and_pictures_do_not() {
        for (value, expected) in [
            ("text/html; charset=utf-8", true),
            ("text/event-stream", true),
            ("TEXT/PLAIN", true),
            ("application/json", true),
            ("application/problem+json ; x", true),
            ("image/svg+xml", true),
            ("application/octet-stream", false),
            ("image/png", false),
            ("font/woff2", false),
            ("video/mp4", false),
            ("application/gzip", false),
            ("application/grpc", false),
            ("", false),
        ] {
            assert_eq!(shrinks(&value.parse().unwrap()), expected, "{value}");
        }
    }
}
