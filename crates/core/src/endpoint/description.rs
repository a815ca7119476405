//! The grammar of endpoints, with no knowledge of any kind: text to fields, each with its column.
//!
//! It promises that any text either parses or fails at a column of its own, and that
//! [`Escaped`] text parses back unchanged. Which fields a kind takes, and what they mean, is for
//! [`form`](super::form) and the kinds.

use std::fmt;
use std::str::FromStr;

use super::error::EndpointError;
use super::kind::MAX_DEPTH;

/// An endpoint that is parsed as far as the grammar goes, of a kind that may or may not exist.
///
/// ```
/// use ropewalk_core::endpoint::Description;
///
/// let description: Description = r"serial:/dev/tty\:1:baud=9600".parse().unwrap();
/// assert_eq!(description.kind().text(), "serial");
/// assert_eq!(description.fields()[0].value().text(), "/dev/tty:1");
/// assert_eq!(description.fields()[1].key().unwrap().text(), "baud");
/// assert_eq!(description.fields()[1].value().column(), 25);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    text: String,
    kind: Word,
    fields: Vec<Field>,
    /// How many wrappers stand around it.
    depth: usize,
}

/// What stands between two colons after the kind: an argument, or an option with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    key: Option<Word>,
    value: Word,
}

/// A piece of an endpoint's text with the backslashes taken out, and where it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    text: String,
    column: usize,
}

impl Description {
    /// The whole text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first field.
    #[must_use]
    pub fn kind(&self) -> &Word {
        &self.kind
    }

    /// The fields after the kind, in their order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Parts a wrapper from the endpoint within: the wrapper's kind, its own `arguments` and the
    /// options up to the next argument, which is the kind of the endpoint within; and that, unless
    /// it is missing. The columns stay those of the whole text.
    ///
    /// ```
    /// use ropewalk_core::endpoint::{Description, ServerEndpoint};
    ///
    /// let whole: Description = "proxy:timeout=5s:tcp:80:backlog=9".parse()?;
    /// let (wrapper, within) = whole.split(0);
    /// assert_eq!(wrapper.fields().len(), 1);
    /// let within = ServerEndpoint::read(&within.unwrap())?;
    /// assert_eq!(within.to_string(), "tcp:80:backlog=9");
    /// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
    /// ```
    #[must_use]
    pub fn split(&self, arguments: usize) -> (Self, Option<Self>) {
        let places = self.fields.iter().enumerate();
        let mut unkeyed = places.filter(|(_, field)| field.key.is_none());
        let within = unkeyed.nth(arguments).map(|(at, field)| Self {
            text: self.text.clone(),
            kind: field.value.clone(),
            fields: self.fields[at + 1..].to_vec(),
            depth: self.depth + 1,
        });
        let own = self.fields.len() - within.as_ref().map_or(0, |within| within.fields.len() + 1);
        let wrapper = Self {
            text: self.text.clone(),
            kind: self.kind.clone(),
            fields: self.fields[..own].to_vec(),
            depth: self.depth,
        };
        (wrapper, within)
    }

    /// Checks that not too many wrappers stand around it.
    pub(super) fn check_depth(&self) -> Result<(), EndpointError> {
        if self.depth < MAX_DEPTH {
            return Ok(());
        }
        let message = format!("more than {MAX_DEPTH} kinds stand on one another");
        Err(self.error(self.kind.column, message))
    }

    /// An error about this text at `column`, for whoever gives the fields a meaning.
    #[must_use]
    pub fn error(&self, column: usize, message: impl Into<String>) -> EndpointError {
        EndpointError::new(self.text.clone(), column, message)
    }
}

impl Field {
    /// The key, if this is an option; `None` for an argument.
    #[must_use]
    pub fn key(&self) -> Option<&Word> {
        self.key.as_ref()
    }

    /// The argument, or the value of the option.
    #[must_use]
    pub fn value(&self) -> &Word {
        &self.value
    }

    pub(super) fn has_key(&self, key: &str) -> bool {
        self.key.as_ref().is_some_and(|word| word.text == key)
    }
}

impl Word {
    /// What it says.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it began, in characters counted from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

impl FromStr for Description {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let mut scanner = Scanner::new(text);
        let kind = scanner.field()?;
        if let Some(key) = kind.key {
            let message = format!(
                "an endpoint begins with its kind and a colon: `{}:…`",
                key.text
            );
            return Err(EndpointError::new(text, kind.value.column - 1, message));
        }
        let kind = kind.value;
        if kind.text.is_empty() {
            let message = "an endpoint begins with its kind: `tcp:8080`, `unix:/run/app.sock`";
            return Err(EndpointError::new(text, kind.column, message));
        }
        let mut fields = Vec::new();
        while scanner.next_field() {
            fields.push(scanner.field()?);
        }
        Ok(Self {
            text: text.to_owned(),
            kind,
            fields,
            depth: 0,
        })
    }
}

/// Writes an argument or a value with the backslashes that bring it back unchanged.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, c) in self.0.chars().enumerate() {
            if matches!(c, ':' | '=' | '\\') || (index == 0 && c == '[') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// Walks over the text, one field at a time.
struct Scanner<'a> {
    text: &'a str,
    rest: std::str::Chars<'a>,
    /// The column of the character that `rest` begins with.
    column: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            rest: text.chars(),
            column: 1,
        }
    }

    /// Steps over the colon that ended the last field; false at the end of the text.
    fn next_field(&mut self) -> bool {
        self.next().is_some()
    }

    /// Reads up to the next colon that parts fields, or to the end.
    fn field(&mut self) -> Result<Field, EndpointError> {
        let mut key = None;
        let mut word = self.word();
        while let Some(c) = self.peek() {
            let column = self.column;
            match c {
                ':' => break,
                '=' if key.is_none() => {
                    self.next();
                    key = Some(std::mem::replace(&mut word, self.word()));
                }
                '\\' => word.text.push(self.escaped()?),
                '[' if column == word.column => self.bracketed(&mut word.text)?,
                _ => {
                    self.next();
                    word.text.push(c);
                }
            }
        }
        Ok(Field { key, value: word })
    }

    /// Reads from `[` to `]`, both of which stay in the text.
    fn bracketed(&mut self, text: &mut String) -> Result<(), EndpointError> {
        let opened = self.column;
        loop {
            match self.peek() {
                Some('\\') => text.push(self.escaped()?),
                Some(c) => {
                    self.next();
                    text.push(c);
                    if c == ']' {
                        return Ok(());
                    }
                }
                None => {
                    let message = "this bracket is not closed; add `]`, or write `\\[` if it \
                                   belongs to the text";
                    return Err(EndpointError::new(self.text, opened, message));
                }
            }
        }
    }

    /// Reads a backslash and what it protects.
    fn escaped(&mut self) -> Result<char, EndpointError> {
        let column = self.column;
        self.next();
        self.next().ok_or_else(|| {
            let message = "this backslash escapes nothing; write `\\\\` for a backslash";
            EndpointError::new(self.text, column, message)
        })
    }

    /// An empty word that begins here.
    fn word(&self) -> Word {
        Word {
            text: String::new(),
            column: self.column,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        self.column += 1;
        Some(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `key=value@column` or `value@column` of each field.
    fn fields(text: &str) -> Vec<String> {
        let description: Description = text.parse().unwrap();
        let show = |word: &Word| format!("{}@{}", word.text, word.column);
        description
            .fields
            .iter()
            .map(|field| match &field.key {
                Some(key) => format!("{}={}", show(key), show(&field.value)),
                None => show(&field.value),
            })
            .collect()
    }

    fn error(text: &str) -> (usize, String) {
        let error = text.parse::<Description>().unwrap_err();
        (error.column(), error.message().to_owned())
    }

    #[test]
    fn fields_know_their_columns_in_characters() {
        assert_eq!(fields("k:é:b=c:d"), ["é@3", "b@5=c@7", "d@9"]);
    }

    #[test]
    fn a_backslash_takes_any_character_as_it_is() {
        assert_eq!(fields(r"k:a\:b\\\=\x:c"), [r"a:b\=x@3", "c@14"]);
        assert_eq!(fields(r"k:a\=b=c\:d"), ["a=b@3=c:d@8"]);
    }

    #[test]
    fn an_option_is_split_at_its_first_equals_sign() {
        assert_eq!(fields("k:a=b=c"), ["a@3=b=c@5"]);
    }

    #[test]
    fn brackets_protect_colons_where_a_value_begins_and_only_there() {
        assert_eq!(fields("k:[::1]:80"), ["[::1]@3", "80@9"]);
        assert_eq!(fields("k:a=[b=:]:c"), ["a@3=[b=:]@5", "c@11"]);
        assert_eq!(fields("k:a[:b]"), ["a[@3", "b]@6"]);
        assert_eq!(fields(r"k:\[:b"), ["[@3", "b@6"]);
    }

    #[test]
    fn empty_fields_are_fields() {
        assert_eq!(fields("k"), [""; 0]);
        assert_eq!(fields("k::"), ["@3", "@4"]);
    }

    #[test]
    fn fields_keep_their_order_so_that_a_wrapper_can_pass_the_rest_on() {
        assert_eq!(
            fields("proxy:timeout=5s:tls:443:timeout=9s"),
            ["timeout@7=5s@15", "tls@18", "443@22", "timeout@26=9s@34"]
        );
    }

    #[test]
    fn a_trailing_backslash_is_an_error_at_the_backslash() {
        let (column, message) = error("k:ab\\");
        assert_eq!(column, 5);
        assert_eq!(
            message,
            r"this backslash escapes nothing; write `\\` for a backslash"
        );
        assert_eq!(error("k:[b\\").0, 5);
    }

    #[test]
    fn an_open_bracket_is_an_error_at_the_bracket() {
        let (column, message) = error("k:a=[b:c");
        assert_eq!(column, 5);
        assert!(
            message.starts_with("this bracket is not closed"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_kind_is_an_error_in_the_first_column() {
        for text in ["", ":80"] {
            let (column, message) = error(text);
            assert_eq!(column, 1);
            assert!(message.starts_with("an endpoint begins with its kind"));
        }
    }

    #[test]
    fn an_equals_sign_after_the_kind_is_an_error_at_the_sign() {
        let (column, message) = error("tcp=80");
        assert_eq!(column, 4);
        assert_eq!(
            message,
            "an endpoint begins with its kind and a colon: `tcp:…`"
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_at_a_column_of_its_own(text in any::<String>()) {
            match text.parse::<Description>() {
                Ok(description) => {
                    let columns = description.fields.iter().map(|field| field.value.column);
                    prop_assert!(columns.is_sorted());
                }
                Err(error) => {
                    prop_assert!((1..=text.chars().count() + 1).contains(&error.column()));
                }
            }
        }

        #[test]
        fn an_escaped_word_comes_back_unchanged(word in any::<String>(), key in "[a-z_]+") {
            let text = format!("k:{}:{key}={}", Escaped(&word), Escaped(&word));
            let description: Description = text.parse().unwrap();
            prop_assert_eq!(description.fields.len(), 2);
            for field in &description.fields {
                prop_assert_eq!(&field.value.text, &word);
            }
        }
    }
}
