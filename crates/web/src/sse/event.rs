//! One event of a stream, and the bytes that it is.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request};

use crate::Body;
use crate::extract::FromRequestHead;

/// An event. Its data may have many lines; its name and id have one: ends of lines, and NUL, are left
/// out of them, so that no part of an event can be taken for another.
///
/// ```
/// use ropewalk_web::sse::Event;
///
/// let event = Event::new("two\nlines").event("news").id("7");
/// assert_eq!(event.encode(), "event: news\nid: 7\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    data: Option<String>,
    event: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
    comment: Option<String>,
}

impl Event {
    /// An event with this data.
    #[must_use]
    pub fn new(data: impl Into<String>) -> Self {
        Self {
            data: Some(data.into()),
            ..Self::default()
        }
    }

    /// Data that is a value, as JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json(data: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(data).map(Self::new)
    }

    /// No event, but a comment, which no reader sees.
    #[must_use]
    pub fn comment(comment: impl Into<String>) -> Self {
        Self {
            comment: Some(comment.into()),
            ..Self::default()
        }
    }

    /// Its name, which decides who hears it in a browser: `message`, if there is none.
    #[must_use]
    pub fn event(mut self, name: &str) -> Self {
        self.event = Some(one_line(name));
        self
    }

    /// Its id: a browser that comes back says the last one that it got, as [`LastEventId`].
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(one_line(id));
        self
    }

    /// How long a browser is to wait before it comes back, from now on.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry = Some(after);
        self
    }

    pub(super) fn its_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut text = String::new();
        for line in self.comment.iter().flat_map(|comment| lines(comment)) {
            let _ = writeln!(text, ": {line}");
        }
        if let Some(name) = &self.event {
            let _ = writeln!(text, "event: {name}");
        }
        if let Some(id) = &self.id {
            let _ = writeln!(text, "id: {id}");
        }
        if let Some(after) = self.retry {
            let _ = writeln!(text, "retry: {}", after.as_millis());
        }
        for line in self.data.iter().flat_map(|data| lines(data)) {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        text.into()
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .filter(|char| !matches!(char, '\r' | '\n' | '\0'))
        .collect()
}

/// The lines of a text, as readers see them: ended by CRLF, LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.find(['\r', '\n']) else {
            return rest.take();
        };
        let after = &text[at..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..at])
    })
}

/// The id of the last event that a reader got before it came back, if it did: the field
/// `Last-Event-ID`, as an extractor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastEventId(pub Option<String>);

impl FromRequestHead for LastEventId {
    type Rejection = Infallible;

    fn from_request_head(request: &mut Request<Body>) -> Result<Self, Infallible> {
        const NAME: HeaderName = HeaderName::from_static("last-event-id");
        let value = request.headers().get(NAME);
        Ok(Self(value.map(|value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_are_lines_that_end_with_an_empty_one() {
        for (event, text) in [
            (Event::new(""), "data: \n\n"),
            (
                Event::new("a\r\nb\rc\n"),
                "data: a\ndata: b\ndata: c\ndata: \n\n",
            ),
            (Event::comment("x\ny"), ": x\n: y\n\n"),
            (
                Event::new("x").retry(Duration::from_secs(2)),
                "retry: 2000\ndata: x\n\n",
            ),
            (
                Event::new("x").id("1\nevent: evil").event("a\r\nb\0"),
                "event: ab\nid: 1event: evil\ndata: x\n\n",
            ),
        ] {
            assert_eq!(event.encode(), text);
        }
    }

    proptest! {
        /// Read as a browser does (section 9.2.6), an event is what it was.
        #[test]
        fn what_a_reader_gets_is_what_was_said(data in "([\r\n:]|\\PC){0,20}", id in "\\PC{0,8}", name in "\\PC{1,8}") {
            let encoded = Event::new(data.clone()).id(&id).event(&name).encode();
            let text = std::str::from_utf8(&encoded).unwrap();
            let body = text.strip_suffix("\n\n").unwrap();
            let mut read = Vec::new();
            for line in body.split(['\r', '\n']) {
                let (field, value) = line.split_once(": ").unwrap();
                match field {
                    "data" => read.push(value),
                    "id" => prop_assert_eq!(value, &id),
                    "event" => prop_assert_eq!(value, &name),
                    other => prop_assert!(false, "{}", other),
                }
            }
            prop_assert_eq!(read.join("\n"), data.replace("\r\n", "\n").replace('\r', "\n"));
        }
    }
}
