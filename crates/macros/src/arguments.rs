//! What stands in `#[ropewalk::test(…)]`.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Lit, LitStr, Path, Result, Token};

/// The names of drivers, and what they are called in `ropewalk_trial::Driver`.
const DRIVERS: [(&str, &str); 2] = [("sim", "Sim"), ("poll", "Poll")];

/// More seeds than these take longer than anybody waits.
const MOST_SEEDS: u64 = 1_000_000_000;

pub(crate) struct Arguments {
    pub(crate) krate: Path,
    /// A variant of `Driver`; the kit's choice, if there is none.
    pub(crate) driver: Option<Ident>,
    pub(crate) seeds: Option<u64>,
    pub(crate) timeout: Option<Duration>,
}

impl Arguments {
    /// `krate` is where the kit is, if nothing is said of it.
    pub(crate) fn parse(tokens: TokenStream, krate: Path) -> Result<Self> {
        let mut read = Self {
            krate,
            driver: None,
            seeds: None,
            timeout: None,
        };
        let all = Punctuated::<Argument, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut names: Vec<String> = Vec::new();
        for argument in all {
            let name = argument.name.to_string();
            if names.contains(&name) {
                let message = format!("`{name}` is given twice; keep one");
                return Err(Error::new(argument.name.span(), message));
            }
            match &*name {
                "crate" => read.krate = path(&text(&argument)?)?,
                "driver" => read.driver = Some(driver(&text(&argument)?)?),
                "seeds" => read.seeds = Some(seeds(&argument.value)?),
                "timeout" => read.timeout = Some(duration(&text(&argument)?)?),
                _ => {
                    let message = format!(
                        "`{name}` is not an argument of a test; there are `driver`, `seeds`, \
                         `timeout` and `crate`"
                    );
                    return Err(Error::new(argument.name.span(), message));
                }
            }
            names.push(name);
        }
        Ok(read)
    }
}

/// `name = value`.
struct Argument {
    name: Ident,
    value: Lit,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        // `crate` is a keyword.
        let name = Ident::parse_any(input)?;
        input.parse::<Token![=]>()?;
        let value = input.parse()?;
        Ok(Self { name, value })
    }
}

fn text(argument: &Argument) -> Result<LitStr> {
    match &argument.value {
        Lit::Str(text) => Ok(text.clone()),
        other => {
            let message = format!("`{}` is a text in quotes", argument.name);
            Err(Error::new(other.span(), message))
        }
    }
}

/// The path in `text`, which is told of where it stands, and is no code that a user has written.
fn path(text: &LitStr) -> Result<Path> {
    let span = text.span().resolved_at(Span::call_site());
    LitStr::new(&text.value(), span).parse()
}

fn driver(text: &LitStr) -> Result<Ident> {
    let value = text.value();
    match DRIVERS.iter().find(|(name, _)| *name == value) {
        Some((_, variant)) => Ok(Ident::new(variant, Span::call_site())),
        None => {
            let names: Vec<_> = DRIVERS
                .iter()
                .map(|(name, _)| format!("\"{name}\""))
                .collect();
            let message = format!("there is no driver `{value}`; it is {}", names.join(" or "));
            Err(Error::new(text.span(), message))
        }
    }
}

fn seeds(value: &Lit) -> Result<u64> {
    let number = match value {
        Lit::Int(number) => number.base10_parse().ok(),
        _ => None,
    };
    number
        .filter(|number| (1..=MOST_SEEDS).contains(number))
        .ok_or_else(|| {
            let message = format!("`seeds` is a number from 1 to {MOST_SEEDS}");
            Error::new(value.span(), message)
        })
}

/// A number and a unit, without a space: `1.5s`.
fn duration(text: &LitStr) -> Result<Duration> {
    let value = text.value();
    let digits = value.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = value.split_at(digits.unwrap_or(value.len()));
    let seconds = match unit {
        "ms" => Some(0.001),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    let number: Option<f64> = number.parse().ok();
    number
        .zip(seconds)
        .and_then(|(number, seconds)| Duration::try_from_secs_f64(number * seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            let message = format!(
                "`{value}` is no time that a test may take; write a number and `ms`, `s`, `m` or \
                 `h`, such as \"10s\""
            );
            Error::new(text.span(), message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::{ToTokens, quote};
    use syn::parse_quote;

    fn parse(tokens: TokenStream) -> Result<Arguments> {
        Arguments::parse(tokens, parse_quote!(the::kit))
    }

    fn error(tokens: TokenStream) -> (String, String) {
        let error = parse(tokens).err().expect("bad arguments");
        (
            error.to_string(),
            error.span().source_text().unwrap_or_default(),
        )
    }

    /// As [`error`], from text, so that its span has a source.
    fn error_of(text: &str) -> (String, String) {
        error(text.parse().expect("tokens"))
    }

    #[test]
    fn with_nothing_said_the_kit_decides() {
        let read = parse(quote!()).unwrap();
        assert_eq!(read.krate.to_token_stream().to_string(), "the :: kit");
        assert!(read.driver.is_none() && read.seeds.is_none() && read.timeout.is_none());
    }

    #[test]
    fn all_that_can_be_said_is_read_in_any_order() {
        let read = parse(quote!(
            timeout = "1.5s",
            seeds = 1_000,
            crate = "kit::trial",
            driver = "poll",
        ))
        .unwrap();
        assert_eq!(read.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(read.seeds, Some(1000));
        assert_eq!(read.krate.to_token_stream().to_string(), "kit :: trial");
        assert_eq!(read.driver.unwrap(), "Poll");
    }

    #[test]
    fn times_have_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            let read = parse(quote!(timeout = #text)).unwrap();
            assert_eq!(read.timeout, Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_at_its_place() {
        for (text, place, words) in [
            ("colour = 1", "colour", "is not an argument of a test"),
            ("seeds = 1, seeds = 2", "seeds", "given twice"),
            ("seeds = 0", "0", "a number from 1"),
            ("seeds = \"9\"", "\"9\"", "a number from 1"),
            (
                "seeds = 99999999999999999999",
                "99999999999999999999",
                "a number from 1",
            ),
            ("driver = poll", "poll", "expected literal"),
            (
                "driver = \"epoll\"",
                "\"epoll\"",
                "it is \"sim\" or \"poll\"",
            ),
            ("driver = 7", "7", "a text in quotes"),
            ("timeout = 10", "10", "a text in quotes"),
            ("timeout = \"10\"", "\"10\"", "write a number and `ms`"),
            ("timeout = \"0s\"", "\"0s\"", "write a number and `ms`"),
            (
                "timeout = \"ten s\"",
                "\"ten s\"",
                "write a number and `ms`",
            ),
            (
                "timeout = \"1e99h\"",
                "\"1e99h\"",
                "write a number and `ms`",
            ),
            ("crate = \"a b\"", "b", "unexpected token"),
            ("seeds", "", "expected `=`"),
        ] {
            let (message, at) = error_of(text);
            assert!(message.contains(words), "{text}: {message}");
            if !place.is_empty() && !text.starts_with("crate") {
                assert_eq!(at, place, "{text}");
            }
        }
    }
}
