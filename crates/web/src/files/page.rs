//! The pages that the service writes itself: what they look like, and those that
//! tell no more than a status.

use http::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use crate::Body;
use crate::answer::Escaped;

/// Stops browsers from guessing a type other than the one that was said.
pub(super) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--dim:#777;--link:#0b62c4}\
@media(prefers-color-scheme:dark){:root{--dim:#999;--link:#7db8ff}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:3rem auto;padding:0 1rem}\
h1{font-size:1.4rem;font-weight:600;overflow-wrap:anywhere}p{color:var(--dim)}\
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}\
table{width:100%;border-collapse:collapse}\
th,td{padding:.35rem .5rem;text-align:left;border-bottom:1px solid var(--line)}\
th{font-weight:600;color:var(--dim)}td:first-child{overflow-wrap:anywhere}\
th+th,td+td{text-align:right;white-space:nowrap;color:var(--dim);\
font-variant-numeric:tabular-nums}";

/// A page with this title and this HTML in it.
pub(super) fn page(status: StatusCode, title: &str, content: &str) -> Response<Body> {
    let title = Escaped(title);
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{content}</body>\n</html>\n"
    );
    let length = HeaderValue::from(html.len());

    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    // Nothing that slipped into the page may run.
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    response
}

/// The page for a status that needs no more than a sentence.
pub(super) fn status_page(status: StatusCode) -> Response<Body> {
    let advice = match status {
        StatusCode::MOVED_PERMANENTLY => "The address of this folder ends in a slash.",
        StatusCode::BAD_REQUEST => "The address is not well formed.",
        StatusCode::FORBIDDEN => "The server is not allowed to read this.",
        StatusCode::NOT_FOUND => "There is nothing at this address.",
        StatusCode::METHOD_NOT_ALLOWED => "This can be read, with GET or HEAD, and no more.",
        StatusCode::PRECONDITION_FAILED => "This is not the version that was asked for.",
        StatusCode::RANGE_NOT_SATISFIABLE => "The file ends before the range that was asked for.",
        StatusCode::SERVICE_UNAVAILABLE => "The server is busy. Please try again in a moment.",
        _ => "The server could not do this. Its log says why.",
    };
    page(status, &status.to_string(), &format!("<p>{advice}</p>\n"))
}
