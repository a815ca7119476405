//! The log of the program, to standard error or a file, with the access log beside it.
//!
//! The two are kept apart: what goes to the access log never appears in the program's log,
//! whatever its level, and when the access log is off nobody is asked to format its lines.

use std::io;
use std::path::Path;
use std::thread;

use ropewalk_service::logging::{self, Log, Logging, LoggingError, Rotation};
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;

use crate::access_log;
use crate::args::{AccessLog, LogFormat, LoggingArgs};
use crate::exit::Stop;

/// When the log file is put aside: said in the help of `--log-file`.
const ROTATION: Rotation = Rotation::by_size(64 << 20).keep(5);

/// Starts both logs. The program's log is written as long as what this returns is kept.
pub(crate) fn start(args: &LoggingArgs, access_log: &AccessLog) -> Result<Log, Stop> {
    let log = configure(args, access_log)?.start().map_err(|error| {
        let hint = match error {
            LoggingError::Open { .. } => "; give another file with --log-file",
            _ => "",
        };
        Stop::Failed(format!("{error}{hint}"))
    })?;
    if let Some(path) = &args.log_file {
        on_hangup(path, log.reopener())
            .map_err(|error| Stop::Failed(format!("cannot watch for SIGHUP: {error}")))?;
    }
    Ok(log)
}

fn configure(args: &LoggingArgs, access_log: &AccessLog) -> Result<Logging, Stop> {
    let mut logging = Logging::new()
        .filter(&args.log_level)
        .map_err(|error| Stop::Failed(error.to_string()))?
        .without_target(access_log::TARGET)
        .format(match args.log_format {
            LogFormat::Text => logging::LogFormat::Text,
            LogFormat::Json => logging::LogFormat::Json,
        });
    if let Some(layer) = access_log::layer(access_log, args.log_format)? {
        logging = logging.layer(layer);
    }
    if let Some(path) = &args.log_file {
        logging = logging.file(path, ROTATION);
    }
    Ok(logging)
}

/// SIGHUP opens the log file again, for the rest of the process.
fn on_hangup(path: &Path, reopen: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP])?;
    let path = path.to_owned();
    let wait = move || {
        for _ in signals.forever() {
            tracing::info!(path = %path.display(), "opening the log again");
            reopen();
        }
    };
    let thread = thread::Builder::new().name("hangup".to_owned());
    thread.spawn(wait).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_log_never_has_access_lines() {
        for filter in ["trace", "ropewalk::access=trace"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let args = LoggingArgs {
                log_level: filter.to_owned(),
                log_file: Some(path.clone()),
                log_format: LogFormat::Text,
            };
            let logging = configure(&args, &AccessLog::Off).ok().unwrap();
            let (dispatch, log) = logging.build().unwrap();
            tracing::dispatcher::with_default(&dispatch, || {
                tracing::info!(target: "ropewalk::access", "a request");
            });
            drop(log);
            assert_eq!(std::fs::read_to_string(path).unwrap(), "");
        }
    }
}
