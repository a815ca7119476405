//! Answers in HTML, and text that is made harmless for them.

use std::fmt;

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::IntoResponse;
use crate::Body;

/// A page. What it is made of must have been [`Escaped`] by whoever made it.
///
/// ```
/// use ropewalk_web::answer::{Escaped, Html};
///
/// let name = "<script>";
/// let page = Html(format!("<p>Hello, {}!", Escaped(name)));
/// assert_eq!(page.0, "<p>Hello, &lt;script&gt;!");
/// ```
#[derive(Clone, Debug)]
pub struct Html<T>(pub T);

impl<T: Into<Body>> IntoResponse for Html<T> {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.0.into());
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, html);
        response
    }
}

/// Text with the characters that mean something in HTML made harmless, in content and in quoted
/// attributes.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_html_is_escaped() {
        let text = "<script>\"it's\" & é</script>";
        let escaped = "&lt;script&gt;&quot;it&#39;s&quot; &amp; é&lt;/script&gt;";
        assert_eq!(Escaped(text).to_string(), escaped);
    }
}
