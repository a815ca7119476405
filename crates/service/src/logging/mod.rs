//! The log of a program: from `tracing` events to lines in a file or on standard error.
//!
//! Every crate here speaks `tracing`, and so does what users write; records of the `log` crate are
//! taken in too. [`Logging`] says which events are written, how, and where to. Each event is a line,
//! or an object of JSON, with the spans that it was made in: for a callback of a connection, and
//! whatever was begun in one, that is the connection's number, its peer, and the type of its
//! protocol.
//!
//! Writing never holds up whoever logs: lines go to a bounded queue, from which a thread of its own
//! writes them. What finds the queue full is dropped, counted, and reported in the log itself. A
//! file that cannot be written to, because the disk is full for instance, is reported once on
//! standard error, and tried again with the next lines.
//!
//! Twisted's `startLogging(open("server.log", "w"))` and `log.msg`:
//!
//! ```
//! use ropewalk_service::logging::{Logging, Rotation};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("server.log");
//! let log = Logging::new()
//!     .filter("error")?
//!     .file(&path, Rotation::by_size(10_000_000).keep(5))
//!     .start()?;
//!
//! tracing::error!("Server error: x");
//! log::error!("the same, by way of the log crate");
//! tracing::info!("below the level: not written");
//!
//! drop(log); // What was logged is written when this returns.
//! let text = std::fs::read_to_string(&path)?;
//! assert!(text.contains("Server error: x") && text.contains("by way of the log crate"));
//! assert_eq!(text.lines().count(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod filter;
mod rotation;
mod writer;

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

pub use self::filter::{FilterError, check_filter};
use self::rotation::RotatingFile;
pub use self::rotation::Rotation;
pub use self::writer::Log;
use self::writer::Output;

/// A layer of `tracing-subscriber` that gets all events, beside the log.
pub type OtherLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// How many bytes of lines may wait to be written.
const QUEUE_LIMIT: usize = 8 << 20;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: the time, the level, the spans, the target, the message and the fields.
    #[default]
    Text,
    /// One JSON object for each event, with the event's fields at its top, the innermost span as
    /// `span`, and all of them, the outermost first, as `spans`.
    Json,
}

/// What is logged, how, and where to. See the [module](self).
#[derive(Default)]
pub struct Logging {
    filter: Option<EnvFilter>,
    format: LogFormat,
    file: Option<(PathBuf, Rotation)>,
    elsewhere: Vec<&'static str>,
    layers: Vec<OtherLayer>,
    queue_limit: Option<usize>,
}

impl Logging {
    /// What is of level `INFO` or above, as text, to standard error.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Which events are logged: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or
    /// levels for parts of the program, `warn,ropewalk_web=debug`, in the syntax of
    /// [`EnvFilter`](https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html).
    ///
    /// # Errors
    /// The text is no filter.
    pub fn filter(mut self, text: &str) -> Result<Self, FilterError> {
        self.filter = Some(filter::parse(text)?);
        Ok(self)
    }

    /// How lines are written: as text, unless told otherwise.
    #[must_use]
    pub fn format(mut self, format: LogFormat) -> Self {
        self.format = format;
        self
    }

    /// Writes to a file, behind what is in it, and not to standard error.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>, rotation: Rotation) -> Self {
        self.file = Some((path.as_ref().to_owned(), rotation));
        self
    }

    /// Leaves the events of exactly this target to others: to the access log, say.
    #[must_use]
    pub fn without_target(mut self, target: &'static str) -> Self {
        self.elsewhere.push(target);
        self
    }

    /// Adds a layer beside the log, which gets all events, whatever the log's filter.
    #[must_use]
    pub fn layer(mut self, layer: OtherLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// How many bytes of lines may wait to be written; more are dropped and counted. 8 MiB.
    #[must_use]
    pub fn queue_limit(mut self, bytes: usize) -> Self {
        self.queue_limit = Some(bytes);
        self
    }

    /// Starts the log for the rest of the process, with the records of the `log` crate.
    ///
    /// # Errors
    /// The file cannot be opened, there is no thread to write it, or the process has a log already.
    pub fn start(self) -> Result<Log, LoggingError> {
        let (dispatch, log) = self.build()?;
        tracing::dispatcher::set_global_default(dispatch).map_err(|_| LoggingError::Started)?;
        LogTracer::builder()
            .with_max_level(LevelFilter::current().as_log())
            .init()
            .map_err(|_| LoggingError::Started)?;
        Ok(log)
    }

    /// The log, for [`tracing::dispatcher::with_default`]: for a part of a program, or a test.
    ///
    /// ```
    /// use ropewalk_service::logging::{LogFormat, Logging, Rotation};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("log");
    /// let logging = Logging::new().format(LogFormat::Json).file(&path, Rotation::never());
    /// let (dispatch, log) = logging.build()?;
    /// tracing::dispatcher::with_default(&dispatch, || tracing::info!(rope = 7, "twisted"));
    /// drop(log);
    /// let text = std::fs::read_to_string(&path)?;
    /// assert!(text.contains(r#""message":"twisted","rope":7"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread to write it.
    pub fn build(self) -> Result<(Dispatch, Log), LoggingError> {
        let (output, colours) = match self.file {
            None => (Output::StandardError, is_colourful()),
            Some((path, rotation)) => {
                let file = RotatingFile::open(&path, rotation);
                let file = file.map_err(|source| LoggingError::Open { path, source })?;
                (Output::File(file), false)
            }
        };
        let limit = self.queue_limit.unwrap_or(QUEUE_LIMIT);
        let log = Log::start(output, self.format, limit).map_err(LoggingError::NoThread)?;
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(log.lines())
            .with_ansi(colours);
        let lines: OtherLayer = match self.format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        let filter = self.filter.unwrap_or_else(|| EnvFilter::new("info"));
        let elsewhere = self.elsewhere;
        // What says no level is taken to want all: each event would be looked at.
        let here = filter_fn(move |event| !elsewhere.contains(&event.target()))
            .with_max_level_hint(LevelFilter::TRACE);
        let filter = filter.and(here);
        let mut layers = self.layers;
        layers.push(lines.with_filter(filter).boxed());
        Ok((Dispatch::new(Registry::default().with(layers)), log))
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging")
            .field("format", &self.format)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// Colours are for people at a terminal who have not asked for none (<https://no-color.org>).
fn is_colourful() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused
}

/// Why a log was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoggingError {
    /// The file cannot be opened.
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no thread to write it.
    NoThread(io::Error),
    /// The process has a log already, of this crate or another.
    Started,
}

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, source } => {
                write!(f, "cannot open the log {}: {source}", path.display())
            }
            Self::NoThread(error) => write!(f, "cannot start the thread of the log: {error}"),
            Self::Started => f.write_str(
                "this process has a log already; start one, and as the first thing it does",
            ),
        }
    }
}

impl Error for LoggingError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_all_levels_is_not_even_looked_at() {
        let logging = Logging::new().filter("warn,part=info").unwrap();
        let (dispatch, _log) = logging.without_target("elsewhere").build().unwrap();
        tracing::dispatcher::with_default(&dispatch, || {
            assert_eq!(LevelFilter::current(), LevelFilter::INFO);
        });
    }
}
