//! A request as it is sent (RFC 9113, section 8.3.1).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Version};
use http_body::Body as _;

use super::send_error::SendError;
use crate::body::Body;

/// The head of `request` with a whole URI and without what speaks of an HTTP/1.1 connection; its
/// body; and the length of that, if it is known.
pub(super) fn prepare(
    request: Request<Body>,
    secure: bool,
) -> Result<(Request<()>, Body, Option<u64>), SendError> {
    let (mut parts, body) = request.into_parts();
    parts.version = Version::HTTP_2;
    let host = parts.headers.remove(HOST);
    let mut uri = parts.uri.into_parts();
    if uri.authority.is_none() {
        let host = host.ok_or_else(|| SendError::invalid("it names no host: use a whole URI"))?;
        let authority = Authority::try_from(host.as_bytes());
        uri.authority = Some(authority.map_err(|_| SendError::invalid("its host is none"))?);
    }
    if uri.scheme.is_none() {
        uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    }
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    let invalid = |_| SendError::invalid("its URI is none");
    parts.uri = http::Uri::from_parts(uri).map_err(invalid)?;
    for name in [
        CONNECTION,
        TRANSFER_ENCODING,
        UPGRADE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        parts.headers.remove(name);
    }
    if parts.headers.get(TE).is_some_and(|te| te != "trailers") {
        parts.headers.remove(TE);
    }
    let length = body.size_hint().exact();
    let expects_length = length > Some(0) || parts.method == Method::POST;
    match length {
        Some(length) if expects_length => {
            parts.headers.insert(CONTENT_LENGTH, length.into());
        }
        _ => {}
    }
    let declared = parts.headers.get(CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse().ok());
    Ok((Request::from_parts(parts, ()), body, declared.or(length)))
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
