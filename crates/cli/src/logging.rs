//! The log of the program, to standard error, with the access log beside it.
//!
//! The two are kept apart: what goes to the access log never appears in the program's log,
//! whatever its level, and when the access log is off nobody is asked to format its lines.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::access_log;
use crate::args::{AccessLog, LogFormat, LoggingArgs};
use crate::exit::Stop;

/// Starts both logs, for the rest of the process.
pub(crate) fn start(args: &LoggingArgs, access_log: &AccessLog) -> Result<(), Stop> {
    let program = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(is_colourful());
    let program = match args.log_format {
        LogFormat::Text => program.boxed(),
        LogFormat::Json => program.json().flatten_event(true).boxed(),
    };
    let program = program.with_filter(program_filter(&args.log_level));
    let subscriber = Registry::default()
        .with(program)
        .with(access_log::layer(access_log, args.log_format)?);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Stop::Failed(format!("cannot start the log: {error}")))
}

/// What passes the filter `text`, but no requests.
fn program_filter<S: Subscriber>(text: &str) -> impl Filter<S> + use<S> {
    let filter = EnvFilter::builder().parse(text);
    filter
        .expect("checked with the arguments")
        .and(filter_fn(|event| !access_log::is_request(event)))
}

/// Colours are for people at a terminal who have not asked for none (<https://no-color.org>).
fn is_colourful() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::tests::Shared;
    use crate::args::check_filter;

    #[test]
    fn levels_and_filters_are_accepted() {
        for text in [
            "error",
            "warn",
            "info",
            "debug",
            "trace",
            "off",
            "INFO",
            "warn,ropewalk_web=debug",
            "ropewalk_web=trace",
        ] {
            assert_eq!(check_filter(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for text in ["inof", "", "verbose", "ropewalk_web=loud"] {
            assert!(check_filter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_program_log_never_has_access_lines() {
        for filter in ["trace", "ropewalk::access=trace"] {
            let output = Shared::default();
            let layer = fmt::layer()
                .with_writer(output.clone())
                .with_filter(program_filter(filter));
            let subscriber = Registry::default().with(layer);
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(target: "ropewalk::access", "a request");
            });
            assert_eq!(output.text(), "");
        }
    }
}
