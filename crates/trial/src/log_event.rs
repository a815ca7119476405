//! One event of a log: [`LogEvent`].

use std::error::Error;
use std::fmt;

use ropewalk_core::{Failure, Panicked};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// An event that was logged through [`tracing`], as it was captured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogEvent {
    /// How grave it is.
    pub level: Level,
    /// Which part of the program has logged it: the path of a module, unless it was given.
    pub target: String,
    /// Its words.
    pub message: String,
    /// What else it says, by name, as text.
    pub fields: Vec<(String, String)>,
    /// The failure that was logged: a [`Failure`] or a [`Panicked`] among the fields, if it was
    /// logged as an error ([`Failure::to_error`]) and not as its text.
    pub failure: Option<Failure>,
}

impl LogEvent {
    pub(crate) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut read = Self {
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: String::new(),
            fields: Vec::new(),
            failure: None,
        };
        event.record(&mut read);
        read
    }

    /// What it says under `name`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| &**value)
    }
}

impl Visit for LogEvent {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.fields.push((name.to_owned(), text)),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let panicked = || Some(Failure::new(value.downcast_ref::<Panicked>()?.clone()));
        self.failure = Failure::in_error(value)
            .or_else(panicked)
            .or(self.failure.take());
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// On one line, and a backtrace below it if it has one.
impl fmt::Display for LogEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.message)?;
        for (name, value) in self.fields.iter().filter(|(name, _)| name != "backtrace") {
            write!(f, " {name}={value}")?;
        }
        match self.field("backtrace") {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}
