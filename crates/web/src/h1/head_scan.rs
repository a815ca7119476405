//! Finds the end of a request head in bytes that come in pieces.
//!
//! The scan reads each byte once, however the head was cut: it remembers where it stopped. What can
//! be known before the head is complete is known here: the limits, lines that do not end with CRLF,
//! and peers that do not speak HTTP. The verdict depends on the bytes alone, never on how they were
//! cut.

use std::ops::Range;

use http::StatusCode;
use memchr::memchr_iter;

use super::fields::{BARE_CR, BARE_LF, check_line_end, is_token_byte};
use super::{Limits, RequestError};

/// Empty lines that are forgiven before a request line (RFC 9112, section 2.2).
const EMPTY_LINES_MAX: u8 = 4;

/// What [`parse_request_head`](super::parse_request_head) remembers between two looks at one
/// growing input.
///
/// Begin each request with a fresh one (`HeadScan::default()`).
#[derive(Clone, Debug, Default)]
pub struct HeadScan {
    /// All bytes before this are known to hold no line end that was not handled.
    searched: usize,
    line_start: usize,
    /// Where the header fields begin, once the request line is complete.
    block_start: Option<usize>,
    head_start: usize,
    fields: usize,
    empty_lines: u8,
}

impl HeadScan {
    /// The range of the head in `input`, request line to empty line, once it is all there.
    pub(super) fn find_head(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<Range<usize>>, RequestError> {
        if self.block_start.is_none() {
            check_first_bytes(&input[self.line_start.min(input.len())..])?;
        }
        let unsearched = self.searched;
        for offset in memchr_iter(b'\n', &input[unsearched..]) {
            let line_end = unsearched + offset + 1;
            if line_end > self.bound(limits) {
                return Err(self.too_long(input, limits));
            }
            let line = &input[self.line_start..line_end];
            check_line_end(line)?;
            self.line_start = line_end;
            self.searched = line_end;
            match (self.block_start, line.len()) {
                (None, 2) => {
                    self.empty_lines += 1;
                    self.head_start = line_end;
                    if self.empty_lines > EMPTY_LINES_MAX {
                        return Err(TOO_MANY_EMPTY_LINES);
                    }
                    check_first_bytes(&input[line_end..])?;
                }
                // (An HTTP/0.9 request is complete here, and no empty line will follow.)
                (None, _) if memchr_iter(b' ', line).nth(1).is_none() => {
                    return Err(BAD_REQUEST_LINE);
                }
                (None, _) => self.block_start = Some(line_end),
                (Some(_), 2) => return Ok(Some(self.head_start..line_end)),
                (Some(_), _) => {
                    self.fields += 1;
                    if self.fields > limits.header_fields {
                        return Err(TOO_MANY_FIELDS);
                    }
                }
            }
        }
        self.searched = input.len();
        if input.len() >= self.bound(limits) {
            return Err(self.too_long(input, limits));
        }
        Ok(None)
    }

    /// Where the line that was begun must have ended: the request line by its own limit, all
    /// fields together by theirs.
    fn bound(&self, limits: &Limits) -> usize {
        match self.block_start {
            None => self.line_start.saturating_add(limits.request_line),
            Some(start) => start.saturating_add(limits.header_block),
        }
    }

    /// The number of field lines seen so far.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// Whether nothing has been looked at.
    pub(super) fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// Whether of `length` bytes any belongs to a head: empty lines before it do not.
    pub(super) fn has_begun(&self, length: usize) -> bool {
        self.head_start < length
    }

    /// What to say of `input`, which reaches the bound.
    fn too_long(&self, input: &[u8], limits: &Limits) -> RequestError {
        if self.block_start.is_some() {
            return BLOCK_TOO_LONG;
        }
        match memchr::memchr(b' ', &input[self.line_start..self.bound(limits)]) {
            Some(_) => REQUEST_LINE_TOO_LONG,
            // It is all method (RFC 9112, section 3).
            None => METHOD_TOO_LONG,
        }
    }
}

/// A peer that speaks something else is told at once, not after a timeout: most other protocols
/// never send the empty line that would end a head.
fn check_first_bytes(line: &[u8]) -> Result<(), RequestError> {
    match line {
        [] | [b'\r'] | [b'\r', b'\n', ..] => Ok(()),
        [b'\r', ..] => Err(BARE_CR),
        [b'\n', ..] => Err(BARE_LF),
        // The record type of a handshake (RFC 8446, section 5.1).
        [0x16, ..] => Err(TLS),
        [first, ..] if is_token_byte(*first) => Ok(()),
        _ => Err(NOT_HTTP),
    }
}

pub(super) const BAD_REQUEST_LINE: RequestError = RequestError::bad(
    "the request line is not a method, a target and HTTP/1.1, with one space between them",
);
const METHOD_TOO_LONG: RequestError = RequestError::new(
    StatusCode::NOT_IMPLEMENTED,
    "the method is longer than any that there is",
);
const REQUEST_LINE_TOO_LONG: RequestError = RequestError::new(
    StatusCode::URI_TOO_LONG,
    "the request line is longer than this server accepts",
);
const BLOCK_TOO_LONG: RequestError =
    RequestError::fields_too_large("the header fields are larger than this server accepts");
const TOO_MANY_FIELDS: RequestError =
    RequestError::fields_too_large("there are more header fields than this server accepts");
const TOO_MANY_EMPTY_LINES: RequestError =
    RequestError::bad("there are too many empty lines before the request line");
const TLS: RequestError =
    RequestError::bad("this is a TLS handshake, but this port speaks plain HTTP: ask for http://");
const NOT_HTTP: RequestError = RequestError::bad("the request does not begin with a method");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_already_searched_are_not_searched_again() {
        let mut scan = HeadScan::default();
        let limits = Limits::default();
        let first = b"GET / HTTP/1.1\r\nhost: example.c";
        assert_eq!(scan.find_head(first, &limits), Ok(None));
        // The scan would stumble over this line end if it went back to it.
        let second = b"GET / HTTP/1.1\r\nho\nt: example.com\r\n\r\n";
        let end = second.len();
        assert_eq!(scan.find_head(second, &limits), Ok(Some(0..end)));
        assert_eq!(scan.fields(), 1);
    }

    #[test]
    fn limits_that_cannot_be_reached_do_not_overflow() {
        let limits = Limits {
            request_line: usize::MAX,
            header_block: usize::MAX,
            ..Limits::default()
        };
        let head = b"\r\nGET / HTTP/1.1\r\n\r\n";
        let found = HeadScan::default().find_head(head, &limits);
        assert_eq!(found, Ok(Some(2..head.len())));
    }
}
