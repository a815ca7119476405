//! What is wrong with an endpoint's text, and where.

use std::error::Error;
use std::fmt;

/// Why a text is not an endpoint, with the column where that shows.
///
/// [`Display`](fmt::Display) is one line, for logs. [`diagram`](Self::diagram) is two, for a
/// person at a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointError {
    text: String,
    column: usize,
    message: String,
}

impl EndpointError {
    /// An error about `text`. `column` counts characters from 1; one past the end is where
    /// something is missing.
    pub fn new(text: impl Into<String>, column: usize, message: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            column,
            message: message.into(),
        }
    }

    /// The text that was to be an endpoint.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where in the text it went wrong, in characters counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong, and what to write instead; without the text and the column.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The text, and under it a caret at the column with the message.
    #[must_use]
    pub fn diagram(&self) -> String {
        let text: String = self.text.chars().map(printable).collect();
        let indent = " ".repeat(self.column.saturating_sub(1));
        let Self {
            column, message, ..
        } = self;
        format!("{text}\n{indent}^ column {column}: {message}")
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            text,
            column,
            message,
        } = self;
        write!(
            f,
            "in the endpoint {}, column {column}: {message}",
            quote(text)
        )
    }
}

impl Error for EndpointError {}

/// Quotes a piece of the user's text for a message, which stays one line whatever the text holds.
pub(super) fn quote(text: &str) -> String {
    let text: String = text.chars().map(printable).collect();
    format!("`{text}`")
}

/// One column for one character, so that the caret stands where it should.
fn printable(c: char) -> char {
    if c.is_control() {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_even_when_the_text_has_a_line_break() {
        let error = EndpointError::new("a\nb", 2, "no");
        assert_eq!(
            error.to_string(),
            "in the endpoint `a\u{fffd}b`, column 2: no"
        );
    }

    #[test]
    fn the_caret_stands_under_its_column() {
        let error = EndpointError::new("é\tx", 3, "no x");
        assert_eq!(error.diagram(), "é\u{fffd}x\n  ^ column 3: no x");
    }
}
