//! RFC 865: the quote of the day.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use ropewalk_core::{Address, Factory, Protocol, Transport};

use crate::answer::say;

/// "It should be less than 512 characters."
const LONGEST: usize = 511;

const OWN: [&str; 4] = [
    "An apple a day keeps the doctor away.\r\n",
    "A chain is only as strong as its weakest link; a rope is stronger than its strands.\r\n",
    "Be liberal in what you accept, and say so when you refuse.\r\n",
    "What is not bounded is not finished.\r\n",
];

/// Says a quote to each connection, one after the other in their order, and closes.
///
/// ```
/// use ropewalk_core::{Address, Factory};
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_wire::Qotd;
///
/// let quotes = Qotd::new(["Festina lente.\r\n".to_owned()])?;
/// let mut protocol = quotes.build_protocol(&Address::Unix(None)).unwrap();
/// let mut transport = StringTransport::new();
/// protocol.connection_made(&mut transport);
/// assert_eq!(transport.value(), b"Festina lente.\r\n");
/// # Ok::<(), ropewalk_wire::QuoteError>(())
/// ```
#[derive(Debug)]
pub struct Qotd {
    quotes: Vec<Rc<str>>,
    next: Cell<usize>,
}

/// Why quotes cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuoteError {
    /// There is none.
    NoQuotes,
    /// A quote has more than 511 bytes.
    TooLong {
        /// How many it has.
        length: usize,
    },
}

impl Qotd {
    /// Serves `quotes`, as they are: RFC 865 asks for lines that end in CR LF, in ASCII.
    ///
    /// # Errors
    /// There is no quote, or one is too long for the RFC.
    pub fn new(quotes: impl IntoIterator<Item = String>) -> Result<Self, QuoteError> {
        let quotes: Vec<Rc<str>> = quotes.into_iter().map(Rc::from).collect();
        let longest = quotes.iter().map(|quote| quote.len()).max();
        match longest {
            None => Err(QuoteError::NoQuotes),
            Some(length) if length > LONGEST => Err(QuoteError::TooLong { length }),
            Some(_) => Ok(Self {
                quotes,
                next: Cell::new(0),
            }),
        }
    }
}

/// A few quotes of our own.
impl Default for Qotd {
    fn default() -> Self {
        Self {
            quotes: OWN.map(Rc::from).to_vec(),
            next: Cell::new(0),
        }
    }
}

impl Factory for Qotd {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        let at = self.next.get();
        self.next.set((at + 1) % self.quotes.len());
        Some(Box::new(Quote(Rc::clone(&self.quotes[at]))))
    }
}

struct Quote(Rc<str>);

impl Protocol for Quote {
    fn connection_made(&mut self, transport: &mut Transport) {
        say(transport, self.0.as_bytes());
    }

    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}

    fn timeout_connection(&mut self, transport: &mut Transport) {
        transport.lose_connection();
    }
}

impl fmt::Display for QuoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQuotes => f.write_str("cannot serve quotes: there is none; give at least one"),
            Self::TooLong { length } => write!(
                f,
                "cannot serve a quote of {length} bytes: RFC 865 allows {LONGEST}; shorten it"
            ),
        }
    }
}

impl Error for QuoteError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_quotes_keep_to_the_rfc() {
        assert!(Qotd::new(OWN.map(str::to_owned)).is_ok());
        for quote in OWN {
            assert!(quote.is_ascii() && quote.ends_with("\r\n"), "{quote}");
        }
    }

    #[test]
    fn no_quote_and_one_too_long_are_refused() {
        assert_eq!(Qotd::new([]).unwrap_err(), QuoteError::NoQuotes);
        let long = "x".repeat(512);
        assert_eq!(
            Qotd::new([long]).unwrap_err(),
            QuoteError::TooLong { length: 512 }
        );
    }
}
