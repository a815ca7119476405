//! The framing of forms, with no I/O: bytes in, events out (RFC 2046, section 5.1).
//!
//! What is kept is less than one head of a part, or the beginning of what may be a boundary.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::disposition::Disposition;
use super::error::MultipartError;
use super::limits::Limits;

/// More fields than this in the head of a part are malformed.
const HEADERS: usize = 16;

/// What comes of the bytes of a form.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A part begins.
    Field {
        /// What it is called.
        disposition: Disposition,
        /// The fields of its head.
        headers: HeaderMap,
    },
    /// A piece of the content of the part that has begun; never empty.
    Data(Bytes),
    /// The part has ended.
    FieldEnd,
    /// The form has ended; what follows is thrown away.
    End,
    /// More bytes are needed.
    NeedMore,
}

/// Finds the parts of a form in its bytes.
///
/// ```
/// use ropewalk_web::multipart::{Event, Limits, MultipartParser};
///
/// let mut parser = MultipartParser::new(b"X", Limits::default());
/// parser.push("--X\r\nContent-Disposition: form-data; name=\"tea\"\r\n\r\nhot\r\n--X--\r\n".into());
/// assert!(matches!(parser.next_event()?, Event::Field { .. }));
/// assert_eq!(parser.next_event()?, Event::Data("hot".into()));
/// assert_eq!(parser.next_event()?, Event::FieldEnd);
/// assert_eq!(parser.next_event()?, Event::End);
/// # Ok::<(), ropewalk_web::multipart::MultipartError>(())
/// ```
#[derive(Debug)]
pub struct MultipartParser {
    /// CRLF, two hyphens, the boundary.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
    limits: Limits,
    fields: usize,
    /// A part has ended, and nobody was told.
    ended: bool,
    failed: Option<MultipartError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// Behind a boundary, on its line.
    Delimiter,
    Head,
    Content,
    End,
}

impl MultipartParser {
    /// A form with this boundary.
    #[must_use]
    pub fn new(boundary: &[u8], limits: Limits) -> Self {
        Self {
            delimiter: [b"\r\n--", boundary].concat(),
            // The first boundary may stand at the very beginning.
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Preamble,
            limits,
            fields: 0,
            ended: false,
            failed: None,
        }
    }

    /// The bytes that follow.
    pub fn push(&mut self, data: Bytes) {
        if self.state == State::End {
            return;
        }
        match self.buffer.is_empty() {
            // It is taken without a copy, if nobody else has it.
            true => self.buffer = BytesMut::from(data),
            false => self.buffer.extend_from_slice(&data),
        }
    }

    /// What comes next of the bytes so far.
    ///
    /// # Errors
    /// The form is malformed, or too much.
    pub fn next_event(&mut self) -> Result<Event, MultipartError> {
        match self.failed {
            Some(error) => Err(error),
            None => self
                .next_part()
                .inspect_err(|error| self.failed = Some(*error)),
        }
    }

    fn next_part(&mut self) -> Result<Event, MultipartError> {
        loop {
            if std::mem::take(&mut self.ended) {
                return Ok(Event::FieldEnd);
            }
            match self.state {
                State::End => return Ok(Event::End),
                State::Preamble => match self.take_content() {
                    (_, true) => self.state = State::Delimiter,
                    (_, false) => return Ok(Event::NeedMore),
                },
                State::Delimiter => match self.delimiter_end()? {
                    Some(state) => self.state = state,
                    None => return Ok(Event::NeedMore),
                },
                State::Head => {
                    return Ok(match self.head()? {
                        Some(field) => {
                            self.state = State::Content;
                            field
                        }
                        None => Event::NeedMore,
                    });
                }
                State::Content => match self.take_content() {
                    (data, true) => {
                        self.state = State::Delimiter;
                        self.ended = true;
                        if !data.is_empty() {
                            return Ok(Event::Data(data));
                        }
                    }
                    (data, false) if data.is_empty() => return Ok(Event::NeedMore),
                    (data, false) => return Ok(Event::Data(data)),
                },
            }
        }
    }

    /// No more bytes follow.
    ///
    /// # Errors
    /// The last boundary has not come.
    pub fn finish(&self) -> Result<(), MultipartError> {
        match self.state {
            State::End => Ok(()),
            _ => Err(MultipartError::Incomplete),
        }
    }

    /// Takes what stands before the next boundary, or all that cannot be its beginning; and the
    /// boundary, if it is there.
    fn take_content(&mut self) -> (Bytes, bool) {
        if let Some(at) = memchr::memmem::find(&self.buffer, &self.delimiter) {
            let content = self.buffer.split_to(at).freeze();
            self.buffer.advance(self.delimiter.len());
            return (content, true);
        }
        let tail = (self.buffer.len() + 1).saturating_sub(self.delimiter.len());
        let begins = memchr::memchr_iter(b'\r', &self.buffer[tail..])
            .map(|at| tail + at)
            .find(|&at| self.delimiter.starts_with(&self.buffer[at..]));
        let keep_from = begins.unwrap_or(self.buffer.len());
        (self.buffer.split_to(keep_from).freeze(), false)
    }

    /// What follows a boundary: a part, or the end. White space before the end of the line is allowed.
    fn delimiter_end(&mut self) -> Result<Option<State>, MultipartError> {
        if self.buffer.starts_with(b"--") {
            self.buffer.clear();
            return Ok(Some(State::End));
        }
        if *self.buffer == b"-"[..] {
            return Ok(None);
        }
        let padding = self
            .buffer
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t'));
        let padding = padding.unwrap_or(self.buffer.len());
        match &self.buffer[padding..] {
            _ if padding > self.limits.head => Err(MultipartError::HeadTooLarge),
            [b'\r', b'\n', ..] => {
                // The head of a part begins with the end of a line, so that an empty one has an end.
                self.buffer.advance(padding);
                self.fields += 1;
                match self.fields > self.limits.fields {
                    true => Err(MultipartError::TooManyFields),
                    false => Ok(Some(State::Head)),
                }
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(MultipartError::Delimiter),
        }
    }

    /// The head of a part, when all of it has come. It begins with the end of the boundary's line.
    fn head(&mut self) -> Result<Option<Event>, MultipartError> {
        let end = memchr::memmem::find(&self.buffer, b"\r\n\r\n").map(|at| at + 4);
        if end.unwrap_or(self.buffer.len()) > self.limits.head + 2 {
            return Err(MultipartError::HeadTooLarge);
        }
        let Some(end) = end else { return Ok(None) };
        let head = self.buffer.split_to(end);
        let headers = parse_headers(&head[2..])?;
        let disposition = headers.get(http::header::CONTENT_DISPOSITION);
        let disposition = disposition.and_then(|value| Disposition::parse(value.as_bytes()));
        Ok(Some(Event::Field {
            disposition: disposition.ok_or(MultipartError::NoName)?,
            headers,
        }))
    }
}

fn parse_headers(head: &[u8]) -> Result<HeaderMap, MultipartError> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS];
    let parsed = match httparse::parse_headers(head, &mut fields) {
        Ok(httparse::Status::Complete((length, parsed))) if length == head.len() => parsed,
        _ => return Err(MultipartError::Head),
    };
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(MultipartError::Head);
        };
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parts of a form: names and contents. Fed in pieces of these sizes.
    fn parse(form: &[u8], sizes: &[usize]) -> Result<Vec<(String, Vec<u8>)>, MultipartError> {
        let limits = Limits {
            fields: 4,
            head: 100,
            ..Limits::default()
        };
        let mut parser = MultipartParser::new(b"XX", limits);
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = form;
        let mut open = false;
        loop {
            match parser.next_event()? {
                Event::Field { disposition, .. } => {
                    assert!(!open);
                    open = true;
                    parts.push((disposition.name, Vec::new()));
                }
                Event::Data(data) => {
                    assert!(open && !data.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(&data);
                }
                Event::FieldEnd => {
                    assert!(open);
                    open = false;
                }
                Event::End => return Ok(parts),
                Event::NeedMore if rest.is_empty() => {
                    return parser.finish().map(|()| parts);
                }
                Event::NeedMore => {
                    let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
                    parser.push(Bytes::copy_from_slice(&rest[..size]));
                    rest = &rest[size..];
                }
            }
        }
    }

    fn part(name: &str, content: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; name={name}\r\n\r\n{content}\r\n")
    }

    fn assert_parses(form: &str, expected: Result<&[(&str, &str)], MultipartError>) {
        let expected = expected.map(|parts| {
            let own =
                |(name, content): &(&str, &str)| ((*name).to_owned(), content.as_bytes().to_vec());
            parts.iter().map(own).collect::<Vec<_>>()
        });
        for size in (1..=form.len()).rev() {
            assert_eq!(
                parse(form.as_bytes(), &[size]),
                expected,
                "{form:?} by {size}"
            );
        }
        for cut in 1..form.len() {
            assert_eq!(
                parse(form.as_bytes(), &[cut, form.len()]),
                expected,
                "{form:?} at {cut}"
            );
        }
    }

    #[test]
    fn parts_are_found_at_every_cut() {
        let two = part("a", "one") + &part("b", "") + "--XX--";
        assert_parses(&two, Ok(&[("a", "one"), ("b", "")]));
        let odd = part("a", "\r\n-\r\n--X\r\r\n--\r\n") + "--XX--\r\nepilogue --XX";
        assert_parses(&odd, Ok(&[("a", "\r\n-\r\n--X\r\r\n--\r\n")]));
        let preamble = format!("hello --XX\r\n{}--XX \t\r\n", part("a", "1"));
        let padded = preamble + "content-disposition: form-data; name=\"b\"\r\n\r\n2\r\n--XX--";
        assert_parses(&padded, Ok(&[("a", "1"), ("b", "2")]));
        assert_parses("--XX--", Ok(&[]));
    }

    #[test]
    fn what_is_malformed_is_said_at_every_cut() {
        let a = part("a", "1");
        assert_parses(&a, Err(MultipartError::Incomplete));
        assert_parses("no form", Err(MultipartError::Incomplete));
        assert_parses(&format!("{a}--XXY\r\n"), Err(MultipartError::Delimiter));
        assert_parses(&format!("{a}--XX-x"), Err(MultipartError::Delimiter));
        assert_parses("--XX\r\n\r\nx\r\n--XX--", Err(MultipartError::NoName));
        assert_parses(
            "--XX\r\nbad line\r\n\r\nx\r\n--XX--",
            Err(MultipartError::Head),
        );
        let long = format!("--XX\r\nx: {}\r\n\r\n\r\n--XX--", "x".repeat(100));
        assert_parses(&long, Err(MultipartError::HeadTooLarge));
        let endless = format!("--XX\r\nx: {}", "x".repeat(200));
        assert_parses(&endless, Err(MultipartError::HeadTooLarge));
        let many = a.repeat(5) + "--XX--";
        assert_parses(&many, Err(MultipartError::TooManyFields));
    }

    proptest! {
        #[test]
        fn any_content_comes_back(
            parts in proptest::collection::vec(("[a-z]{1,8}", "([\r\n-X]|\\PC){0,40}"), 0..4),
            sizes in proptest::collection::vec(1..20_usize, 1..10),
        ) {
            prop_assume!(parts.iter().all(|(_, content)| !format!("\r\n{content}\r\n").contains("\r\n--XX")));
            let form: String = parts.iter().map(|(name, content)| part(name, content)).collect();
            let expected: Vec<_> = parts.into_iter().map(|(name, content)| (name, content.into_bytes())).collect();
            prop_assert_eq!(parse((form + "--XX--").as_bytes(), &sizes), Ok(expected));
        }

        #[test]
        fn all_bytes_come_to_the_same_however_they_are_cut(
            form in r"(--XX|\r\n|-|X|: |form-data; name=a|Content-Disposition|\PC){0,40}",
            sizes in proptest::collection::vec(1..20_usize, 1..10),
        ) {
            let whole = parse(form.as_bytes(), &[usize::MAX]);
            prop_assert_eq!(parse(form.as_bytes(), &sizes), whole);
        }
    }
}
