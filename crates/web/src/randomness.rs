//! Chance that nobody can guess, lent to those who need it: identifiers, nonces, salts.
//!
//! Protocol code has no randomness of its own, so that a simulated run is the same run each time.
//! In earnest it is the operating system's; a test or a simulated host gives a generator with a seed.

use std::fmt;
use std::io;
use std::rc::Rc;

/// A source of unguessable bytes. Clones are the same source.
///
/// ```
/// use ropewalk_web::Randomness;
///
/// let mut bytes = [0; 16];
/// Randomness::system().fill(&mut bytes)?;
/// assert_ne!(bytes, [0; 16]);
///
/// let foreseen = Randomness::new(|bytes| bytes.fill(7)); // for a test
/// foreseen.fill(&mut bytes)?;
/// assert_eq!(bytes, [7; 16]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Randomness {
    source: Source,
}

/// Fills what it is given.
type Generator = dyn Fn(&mut [u8]);

#[derive(Clone)]
enum Source {
    System,
    Lent(Rc<Generator>),
}

impl Randomness {
    /// That of the operating system (getrandom(2) on Linux).
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System,
        }
    }

    /// Of a generator of the caller's, for tests and simulated worlds.
    #[must_use]
    pub fn new(fill: impl Fn(&mut [u8]) + 'static) -> Self {
        Self {
            source: Source::Lent(Rc::new(fill)),
        }
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    /// The operating system gives none.
    pub fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        match &self.source {
            Source::System => getrandom::fill(bytes).map_err(|error| {
                io::Error::other(format!("the operating system gives no randomness: {error}"))
            }),
            Source::Lent(generator) => {
                generator(bytes);
                Ok(())
            }
        }
    }
}

/// That of the operating system.
impl Default for Randomness {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::System => "Randomness::system()",
            Source::Lent(_) => "Randomness::new(..)",
        })
    }
}
