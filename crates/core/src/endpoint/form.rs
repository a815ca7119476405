//! What a kind takes: its arguments and options by name, read from a [`Description`].
//!
//! The checks and the messages that follow from a [`Form`] are here, once for all kinds: what is
//! missing, too many, repeated or misspelt is found from left to right. What a value may be is
//! for [`value`](super::value).

use super::description::{Description, Field, Word};
use super::error::{EndpointError, quote};
use super::value::Value;

/// The fields that a kind takes, for [`Description::check`].
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// How the kind is written, for messages: `tcp:HOST:PORT`.
    pub usage: &'static str,
    /// Its arguments in their order, as they are called in messages.
    pub arguments: &'static [&'static str],
    /// The keys of its options.
    pub options: &'static [&'static str],
}

impl Description {
    /// Checks, from left to right, that the fields are those of `form`: that no argument is missing
    /// or empty, that there is none too many, and that each option is known, has a value and stands
    /// there once.
    ///
    /// # Errors
    /// What is wrong, at its column.
    ///
    /// ```
    /// use ropewalk_core::endpoint::{Description, Form};
    ///
    /// let form = Form { usage: "serial:DEVICE", arguments: &["device"], options: &["baud"] };
    /// let description: Description = "serial:/dev/ttyS0:baud=9600".parse()?;
    /// description.check(&form)?;
    /// assert_eq!(description.argument(0).unwrap().text(), "/dev/ttyS0");
    /// assert_eq!(description.option("baud").unwrap().text(), "9600");
    /// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
    /// ```
    pub fn check(&self, form: &Form) -> Result<(), EndpointError> {
        self.check_fields(form, false)
    }

    /// As [`check`](Self::check), for a kind that takes as many more arguments as there are, empty
    /// ones too.
    pub(super) fn check_with_rest(&self, form: &Form) -> Result<(), EndpointError> {
        self.check_fields(form, true)
    }

    fn check_fields(&self, form: &Form, has_rest: bool) -> Result<(), EndpointError> {
        let mut arguments = form.arguments.iter();
        for (index, field) in self.fields().iter().enumerate() {
            if let Some(key) = field.key() {
                self.check_option(form, key, field)?;
                if self.fields()[..index].iter().any(|f| f.has_key(key.text())) {
                    let message = format!("{} is given twice; keep one", quote(key.text()));
                    return Err(self.error(key.column(), message));
                }
            } else if let Some(argument) = arguments.next() {
                if field.value().text().is_empty() {
                    let message = format!("the {argument} is empty; write `{}`", form.usage);
                    return Err(self.error(field.value().column(), message));
                }
            } else if !has_rest {
                let message = format!(
                    "{} is one field too many for `{}`; if the colon before it belongs to a \
                     value, write `\\:`, or put brackets around an IPv6 address",
                    quote(field.value().text()),
                    form.usage,
                );
                return Err(self.error(field.value().column(), message));
            }
        }
        if let Some(argument) = arguments.next() {
            let message = format!("the {argument} is missing; write `{}`", form.usage);
            return Err(self.error(self.text().chars().count() + 1, message));
        }
        Ok(())
    }

    fn check_option(&self, form: &Form, key: &Word, field: &Field) -> Result<(), EndpointError> {
        let quoted = quote(key.text());
        if !form.options.contains(&key.text()) {
            let advice = match closest(key.text(), form.options) {
                Some(option) => format!("did you mean `{option}`?"),
                None => format!(
                    "it has {}, and `\\=` is an equals sign that belongs to an argument",
                    list(form.options),
                ),
            };
            let kind = self.kind().text();
            let message = format!("{quoted} is not an option of `{kind}`; {advice}");
            return Err(self.error(key.column(), message));
        }
        if field.value().text().is_empty() {
            let message = format!(
                "{quoted} has no value; leave it out, or if it is an IPv6 address, put brackets \
                 around it"
            );
            return Err(self.error(field.value().column(), message));
        }
        Ok(())
    }

    /// The argument at `index`, if there are so many.
    #[must_use]
    pub fn argument(&self, index: usize) -> Option<&Word> {
        let mut arguments = self.fields().iter().filter(|field| field.key().is_none());
        arguments.nth(index).map(Field::value)
    }

    /// The value of the option `key`, if it is there.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&Word> {
        let mut options = self.fields().iter().filter(|field| field.has_key(key));
        options.next().map(Field::value)
    }

    /// The argument at `index`, read as `value`. Only for those that [`check`](Self::check) has
    /// found to be there.
    pub(super) fn read_argument<T>(
        &self,
        index: usize,
        value: &Value<T>,
    ) -> Result<T, EndpointError> {
        let word = self.argument(index).expect("checked");
        (value.parse)(word.text()).ok_or_else(|| {
            let message = format!("{} is not {}", quote(word.text()), value.expected);
            self.error(word.column(), message)
        })
    }

    /// The value of the option `key`, read as `value`, if the option is there.
    pub(super) fn read_option<T>(
        &self,
        key: &str,
        value: &Value<T>,
    ) -> Result<Option<T>, EndpointError> {
        let Some(word) = self.option(key) else {
            return Ok(None);
        };
        (value.parse)(word.text()).map(Some).ok_or_else(|| {
            let message = format!("`{key}` is {}, not {}", value.expected, quote(word.text()));
            self.error(word.column(), message)
        })
    }

    /// The error for a kind that is none of `known`.
    pub(super) fn unknown_kind(&self, role: &str, known: &[String]) -> EndpointError {
        let kind = self.kind().text();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let known = &known[..];
        let advice = if let Some(close) = closest(kind, known) {
            format!("did you mean `{close}`?")
        } else if kind.parse::<u16>().is_ok() {
            format!("did you mean `tcp:{kind}`?")
        } else if kind.contains('/') {
            format!("did you mean {}?", quote(&format!("unix:{kind}")))
        } else {
            format!("the kinds are {}", list(known))
        };
        let message = format!("{} is not a kind of {role} endpoint; {advice}", quote(kind));
        self.error(self.kind().column(), message)
    }
}

/// `tcp`, `unix` and `tls`.
pub(super) fn list(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match &*words {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The one of `known` that `word` was probably meant to be.
fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be added, dropped, exchanged or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // What is far longer than any key is no typing error, and its table would be large.
    if from.len() > 2 * to.len() {
        return from.len();
    }
    // Row `i` has the distances from the first `i` characters of `from` to each start of `to`.
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let exchanged = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = exchanged.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_the_word_that_was_meant() {
        let known = ["backlog", "tcp", "interface"];
        assert_eq!(closest("backlgo", &known), Some("backlog"));
        assert_eq!(closest("tpc", &known), Some("tcp"));
        assert_eq!(closest("TCP", &known), Some("tcp"));
        assert_eq!(closest("iface", &known), None);
        assert_eq!(closest("colour", &known), None);
    }
}
