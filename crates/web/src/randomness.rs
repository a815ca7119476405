//! Chance that nobody can guess, lent to those who need it: identifiers, nonces, salts.
//!
//! Protocol code has no randomness of its own, so that a simulated run is the same run each time.
//! In earnest it is the operating system's; a test or a simulated host gives a generator with a seed.

use std::cell::RefCell;
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
/// let mut next = 0;
/// let counted = Randomness::new(move |bytes| bytes.fill({ next += 1; next }));
/// counted.fill(&mut bytes)?;
/// assert_eq!(bytes, [1; 16]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Randomness {
    source: Source,
}

/// Fills what it is given.
type Generator = dyn FnMut(&mut [u8]);

#[derive(Clone)]
enum Source {
    System,
    Lent(Rc<RefCell<Generator>>),
}

impl Randomness {
    /// That of the operating system (getrandom(2) on Linux).
    #[must_use]
    pub fn system() -> Self {
        Self {
            source: Source::System,
        }
    }

    /// Of a generator of the caller's, for tests and simulated worlds. `fill` must not use this
    /// source itself.
    #[must_use]
    pub fn new(fill: impl FnMut(&mut [u8]) + 'static) -> Self {
        Self {
            source: Source::Lent(Rc::new(RefCell::new(fill))),
        }
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    /// The operating system gives none, or a generator was asked from within itself.
    pub fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        match &self.source {
            Source::System => getrandom::fill(bytes).map_err(|error| {
                io::Error::other(format!("the operating system gives no randomness: {error}"))
            }),
            Source::Lent(generator) => {
                let mut generator = generator.try_borrow_mut().map_err(|_| {
                    io::Error::other("a generator of randomness was asked from within itself")
                })?;
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
