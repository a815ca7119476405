//! The syntax of `Authorization` (RFC 9110, section 11.4): a scheme, and a token or parameters.

use std::error::Error;
use std::fmt;

use percent_encoding::percent_decode_str;

/// No scheme has more.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a scheme: `name=value`, or `name="value"`, with commas between them.
///
/// ```
/// use ropewalk_web::auth::AuthParameters;
///
/// let parameters = AuthParameters::parse(r#"username="a\"b", qop = auth, Nonce="x,y""#)?;
/// assert_eq!(parameters.get("username"), Some("a\"b"));
/// assert_eq!(parameters.get("qop"), Some("auth"));
/// assert_eq!(parameters.get("nonce"), Some("x,y"));
/// # Ok::<(), ropewalk_web::auth::MalformedAuthorization>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthParameters {
    pairs: Vec<(String, String)>,
}

/// What a client sent is no `Authorization` as RFC 9110 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedAuthorization(pub(super) &'static str);

/// A scheme, and what follows it.
pub(super) fn split_scheme(value: &str) -> (&str, &str) {
    let value = value.trim_matches([' ', '\t']);
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    (scheme, rest.trim_start_matches(' '))
}

/// RFC 9110, section 11.2.
pub(super) fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(is_digit)
}

impl AuthParameters {
    /// Reads what follows a scheme.
    ///
    /// # Errors
    /// It is no list of parameters, or one of them stands there twice.
    pub fn parse(text: &str) -> Result<Self, MalformedAuthorization> {
        let mut parameters = Self::default();
        let mut rest = text;
        loop {
            // Empty elements of a list are passed over (RFC 9110, section 5.6.1).
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return Ok(parameters);
            }
            let end = rest.bytes().position(|byte| !is_token_byte(byte));
            let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
            let after = after.trim_start_matches([' ', '\t']);
            let Some(after) = after.strip_prefix('=').filter(|_| !name.is_empty()) else {
                return Err(MalformedAuthorization("a parameter is no `name=value`"));
            };
            let (value, after) = value(after.trim_start_matches([' ', '\t']))?;
            let after = after.trim_start_matches([' ', '\t']);
            if !after.is_empty() && !after.starts_with(',') {
                return Err(MalformedAuthorization(
                    "there is no comma between two parameters",
                ));
            }
            parameters.push(name, value)?;
            rest = after;
        }
    }

    fn push(&mut self, name: &str, value: String) -> Result<(), MalformedAuthorization> {
        let name = name.to_ascii_lowercase();
        if self.get(&name).is_some() {
            return Err(MalformedAuthorization("a parameter stands there twice"));
        }
        if self.pairs.len() == MAX_PARAMETERS {
            return Err(MalformedAuthorization("there are too many parameters"));
        }
        self.pairs.push((name, value));
        Ok(())
    }

    /// The value of the parameter with this name, in small letters.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs.iter();
        let found = pairs.find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of `name*`, decoded (RFC 8187, section 3.2; in UTF-8 alone).
    #[must_use]
    pub fn get_extended(&self, name: &str) -> Option<String> {
        let value = self.get(&format!("{name}*"))?;
        let mut parts = value.splitn(3, '\'');
        let charset = parts.next()?;
        let text = parts.nth(1)?;
        let decoded = percent_decode_str(text).decode_utf8().ok()?;
        charset
            .eq_ignore_ascii_case("utf-8")
            .then(|| decoded.into_owned())
    }
}

/// A token, or a quoted string without its quotes; and what follows.
fn value(text: &str) -> Result<(String, &str), MalformedAuthorization> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token_byte(byte));
        let (value, rest) = text.split_at(end.unwrap_or(text.len()));
        return match value.is_empty() {
            true => Err(MalformedAuthorization("a parameter has no value")),
            false => Ok((value.to_owned(), rest)),
        };
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(MalformedAuthorization("a quoted string has no end"))
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `text` as a quoted string. It is ours, and has no control characters.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars().filter(|character| !character.is_control()) {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

impl fmt::Display for MalformedAuthorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the field Authorization is malformed: {}", self.0)
    }
}

impl Error for MalformedAuthorization {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_malformed_is_refused() {
        for text in [
            "a",
            "=b",
            "a=",
            "a=\"",
            "a=\"\\",
            "a=b c=d",
            "a=\"b\"c=d",
            "a=b, A=c",
            "a;b",
            "\"a\"=b",
            "ä=b",
        ] {
            assert!(AuthParameters::parse(text).is_err(), "{text}");
        }
        let many: String = (0..33).map(|number| format!("p{number}=1,")).collect();
        assert!(AuthParameters::parse(&many).is_err());
    }

    #[test]
    fn empty_elements_and_white_space_do_not_matter() {
        let parameters = AuthParameters::parse(", a=1 ,\t, B = \"x y\",").unwrap();
        assert_eq!(
            (parameters.get("a"), parameters.get("b")),
            (Some("1"), Some("x y"))
        );
        assert_eq!(
            AuthParameters::parse(" ,, ").unwrap(),
            AuthParameters::default()
        );
    }

    #[test]
    fn an_extended_value_is_decoded() {
        let of = |text: &str| {
            AuthParameters::parse(text)
                .unwrap()
                .get_extended("username")
        };
        assert_eq!(
            of("username*=UTF-8''J%C3%A4s%C3%B8n%20Doe").as_deref(),
            Some("Jäsøn Doe")
        );
        for other in [
            "username*=latin1''a",
            "username*=UTF-8",
            "username*=UTF-8''%ff",
            "username=a",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(value in "[ -~à-ÿ]{0,40}") {
            let text = format!("a={}, b=1", quoted(&value));
            let parameters = AuthParameters::parse(&text).unwrap();
            prop_assert_eq!(parameters.get("a"), Some(&*value));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let (_, rest) = split_scheme(&text);
            let _ = AuthParameters::parse(rest);
            let _ = is_token68(rest);
        }
    }
}
