//! Answers that are saved as files (RFC 6266).

use std::fmt::Write as _;
use std::path::Path;

use http::Response;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::IntoResponse;
use crate::Body;
use crate::mime::content_type;

/// The characters of a parameter's value that stand for themselves (RFC 8187, section 3.2.1).
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Content that a browser saves under a name instead of showing it.
///
/// The name may be any text. Its folders are left out, and what is not ASCII is told in the form of
/// RFC 8187 beside a plain one. The type follows from the name's extension.
///
/// ```
/// use ropewalk_web::answer::{Attachment, IntoResponse};
///
/// let response = Attachment::new("report.pdf", vec![0; 512]).into_response();
/// assert_eq!(response.headers()["content-type"], "application/pdf");
/// assert_eq!(response.headers()["content-disposition"], "attachment; filename=\"report.pdf\"");
/// ```
#[derive(Debug)]
pub struct Attachment {
    name: String,
    body: Body,
}

impl Attachment {
    /// `body`, to be saved as `name`.
    #[must_use]
    pub fn new(name: &str, body: impl Into<Body>) -> Self {
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
        Self {
            name: name.chars().filter(|char| !char.is_control()).collect(),
            body: body.into(),
        }
    }

    fn disposition(&self) -> String {
        let plain = |char: char| match char {
            '"' | '%' => '_',
            ' '..='~' => char,
            _ => '_',
        };
        let ascii: String = self.name.chars().map(plain).collect();
        let mut value = format!("attachment; filename=\"{ascii}\"");
        if ascii != self.name {
            let encoded = utf8_percent_encode(&self.name, NOT_ATTR_CHAR);
            let _ = write!(value, "; filename*=UTF-8''{encoded}");
        }
        value
    }
}

impl IntoResponse for Attachment {
    fn into_response(self) -> Response<Body> {
        let disposition = HeaderValue::try_from(self.disposition());
        let mut response = Response::new(self.body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type(Path::new(&self.name)));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // What was escaped is always a value.
        if let Ok(disposition) = disposition {
            headers.insert(CONTENT_DISPOSITION, disposition);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn disposition(name: &str) -> String {
        Attachment::new(name, "").disposition()
    }

    #[test]
    fn a_name_is_told_in_two_ways_where_it_is_not_plain() {
        for (name, expected) in [
            ("a.txt", "attachment; filename=\"a.txt\""),
            ("two words.txt", "attachment; filename=\"two words.txt\""),
            (
                "é€.txt",
                "attachment; filename=\"__.txt\"; filename*=UTF-8''%C3%A9%E2%82%AC.txt",
            ),
            (
                "a\"b%41.txt",
                "attachment; filename=\"a_b_41.txt\"; filename*=UTF-8''a%22b%2541.txt",
            ),
            ("../../etc/passwd", "attachment; filename=\"passwd\""),
            ("c:\\x\\y.exe", "attachment; filename=\"y.exe\""),
            ("a\r\nb", "attachment; filename=\"ab\""),
        ] {
            assert_eq!(disposition(name), expected);
        }
    }

    proptest! {
        #[test]
        fn any_name_makes_one_header(name in any::<String>()) {
            let response = Attachment::new(&name, "").into_response();
            let value = response.headers()[CONTENT_DISPOSITION].to_str().unwrap();
            prop_assert_eq!(value.matches('"').count(), 2);
        }
    }
}
