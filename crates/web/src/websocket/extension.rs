//! `Sec-WebSocket-Extensions`: RFC 6455, section 9.1.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::h1::is_token_byte;

/// An offer or an answer: `permessage-deflate; client_max_window_bits=12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// The header is no list of extensions, or has more of them, or more parameters, than
/// anybody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedExtensions;

/// So many extensions are read, and so many parameters of each.
const MOST: usize = 32;

/// All extensions of a head, in their order.
pub(crate) fn extensions(headers: &HeaderMap) -> Result<Vec<Extension<'_>>, MalformedExtensions> {
    let mut all = Vec::new();
    for value in headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS) {
        let value = value.to_str().map_err(|_| MalformedExtensions)?;
        parse_extensions(value, &mut all)?;
    }
    Ok(all)
}

/// Reads the value of one header. As in all lists of HTTP, empty elements are left out (RFC 9110,
/// section 5.6.1).
pub(crate) fn parse_extensions<'a>(
    value: &'a str,
    all: &mut Vec<Extension<'a>>,
) -> Result<(), MalformedExtensions> {
    let mut rest = Rest(value);
    loop {
        rest.skip_space();
        if rest.0.is_empty() {
            return Ok(());
        }
        if rest.eat(',') {
            continue;
        }
        let mut extension = Extension {
            name: rest.token()?,
            parameters: Vec::new(),
        };
        rest.skip_space();
        while rest.eat(';') {
            rest.skip_space();
            let name = rest.token()?;
            rest.skip_space();
            let mut value = None;
            if rest.eat('=') {
                rest.skip_space();
                value = Some(rest.value()?);
                rest.skip_space();
            }
            extension.parameters.push((name, value));
        }
        if !(rest.0.is_empty() || rest.eat(','))
            || all.len() == MOST
            || extension.parameters.len() > MOST
        {
            return Err(MalformedExtensions);
        }
        all.push(extension);
    }
}

/// What is not read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip_space(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Result<&'a str, MalformedExtensions> {
        let end = self.0.bytes().position(|byte| !is_token_byte(byte));
        let (token, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        match token {
            "" => Err(MalformedExtensions),
            token => Ok(token),
        }
    }

    /// A token, or one in quotes.
    fn value(&mut self) -> Result<Cow<'a, str>, MalformedExtensions> {
        if !self.eat('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, next)) = chars.next() {
            let next = match next {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return match value.is_empty() {
                        true => Err(MalformedExtensions),
                        false => Ok(Cow::Owned(value)),
                    };
                }
                '\\' => chars.next().map_or('"', |(_, escaped)| escaped),
                next => next,
            };
            if !u8::try_from(next).is_ok_and(is_token_byte) {
                break;
            }
            value.push(next);
        }
        Err(MalformedExtensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Vec<Extension<'_>>, MalformedExtensions> {
        let mut all = Vec::new();
        parse_extensions(value, &mut all).map(|()| all)
    }

    fn words(value: &str) -> Vec<String> {
        let word = |extension: &Extension<'_>| {
            let mut word = extension.name.to_owned();
            for (name, value) in &extension.parameters {
                word += &format!(";{name}");
                if let Some(value) = value {
                    word += &format!("={value}");
                }
            }
            word
        };
        parse(value).unwrap().iter().map(word).collect()
    }

    #[test]
    fn lists_are_read_as_the_grammar_says() {
        assert_eq!(words("foo"), ["foo"]);
        assert_eq!(words("foo, bar; baz=2"), ["foo", "bar;baz=2"]);
        assert_eq!(words(" , a ;b\t; c = \"d\\e\" ,,b ,"), ["a;b;c=de", "b"]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for value in [
            "a b",
            "a;",
            "a;=1",
            "a;b=",
            "a;b=\"\"",
            "a;b=\"x",
            "a;b=\"x y\"",
            "a;b=\"x\\",
            "=",
            ";a",
            "a;b=c d",
            "a/b",
            "\"a\"",
            "a;b=\"é\"",
        ] {
            assert_eq!(parse(value), Err(MalformedExtensions), "{value}");
        }
    }

    #[test]
    fn more_than_anybody_needs_is_refused() {
        assert_eq!(parse(&"a,".repeat(32)).map(|all| all.len()), Ok(32));
        assert_eq!(parse(&"a,".repeat(33)), Err(MalformedExtensions));
        assert!(parse(&format!("a{}", ";b".repeat(32))).is_ok());
        assert!(parse(&format!("a{}", ";b".repeat(33))).is_err());
    }
}
