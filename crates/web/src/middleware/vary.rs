//! `Vary`: which fields of a request an answer depends on (RFC 9110, section 12.5.5).

use http::header::{HeaderMap, HeaderValue, VARY};

/// Says that the answer depends on this field of the request, if it does not say so yet.
pub(super) fn add_vary(headers: &mut HeaderMap, name: &'static str) {
    if !names(headers).any(|there| there == "*" || there.eq_ignore_ascii_case(name)) {
        headers.append(VARY, HeaderValue::from_static(name));
    }
}

/// The names in all lines of `Vary`.
pub(super) fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(VARY).iter();
    // What is no text matches nothing.
    let members = lines.flat_map(|line| line.to_str().unwrap_or("*").split(','));
    members
        .map(|name| name.trim_matches([' ', '\t']))
        .filter(|name| !name.is_empty())
}
