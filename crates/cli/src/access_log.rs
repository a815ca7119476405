//! A line for each request: the events of target `ropewalk::access`, and no others.
//!
//! The web server makes the events, each with the combined-format line as its message and the
//! parts of it as fields. As text, the line is written as it is; as JSON, the fields are. Each
//! line is one write to the file, which is opened for appending, so that several processes may
//! share it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::args::{AccessLog, LogFormat};
use crate::exit::Stop;

/// The target of the events that are requests.
pub(crate) const TARGET: &str = "ropewalk::access";

/// Whether an event is for the access log. (The target is compared whole: where a filter takes a
/// target for a prefix, this module's own would fit too.)
fn is_request(event: &Metadata<'_>) -> bool {
    event.target() == TARGET
}

/// The layer above the registry and the program's log that writes to where `log` says, if it is
/// on.
pub(crate) fn layer<S>(
    log: &AccessLog,
    format: LogFormat,
) -> Result<Option<Box<dyn Layer<S> + Send + Sync>>, Stop>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    Ok(match log {
        AccessLog::Off => None,
        AccessLog::StandardOutput => Some(lines(io::stdout, format)),
        AccessLog::File(path) => Some(lines(Mutex::new(open(path)?), format)),
    })
}

fn open(path: &Path) -> Result<File, Stop> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.map_err(|error| {
        Stop::Failed(format!(
            "cannot open the access log {}: {error}; give another file with --access-log",
            path.display()
        ))
    })
}

fn lines<S, W>(writer: W, format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(writer);
    // Else nothing could be ruled out by its level, and each event would be looked at.
    let requests = filter_fn(is_request).with_max_level_hint(LevelFilter::INFO);
    match format {
        LogFormat::Text => layer.event_format(Combined).with_filter(requests).boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_level(false)
            .with_filter(requests)
            .boxed(),
    }
}

/// Writes the message alone: it is the whole line.
struct Combined;

impl<S, N> FormatEvent<S, N> for Combined
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = Message {
            writer: writer.by_ref(),
            result: Ok(()),
        };
        event.record(&mut message);
        message.result?;
        writeln!(writer)
    }
}

/// Writes the field `message` of an event, as it is.
struct Message<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
}

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.result = write!(self.writer, "{value:?}");
        }
    }

    /// A message that is a string would have quotes in its debug form.
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    /// A place to write to that the test can read.
    #[derive(Clone, Default)]
    pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Shared {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What is written for one request, among other events.
    fn logged(format: LogFormat) -> String {
        let output = Shared::default();
        let subscriber = Registry::default().with(lines(output.clone(), format));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("not a request");
            tracing::info!(
                target: "ropewalk::access",
                method = "GET",
                status = 200,
                "192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5"
            );
            tracing::info!(target: "ropewalk::web", "not a request either");
        });
        output.text()
    }

    #[test]
    fn text_is_the_message_of_each_request_and_nothing_else() {
        assert_eq!(
            logged(LogFormat::Text),
            "192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5\n"
        );
    }

    #[test]
    fn json_is_one_object_for_each_request_with_its_fields() {
        let line = logged(LogFormat::Json);
        assert!(line.starts_with('{') && line.ends_with("}\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
        assert!(line.contains(r#""method":"GET","status":200"#), "{line}");
    }

    #[test]
    fn a_message_that_is_a_string_is_written_without_quotes() {
        let output = Shared::default();
        let subscriber = Registry::default().with(lines(output.clone(), LogFormat::Text));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "ropewalk::access", message = "a \"line\"");
        });
        assert_eq!(output.text(), "a \"line\"\n");
    }

    #[test]
    fn nothing_below_the_level_of_requests_is_looked_at() {
        let subscriber = Registry::default().with(lines(Shared::default(), LogFormat::Text));
        let most = subscriber.max_level_hint();
        assert_eq!(most, Some(LevelFilter::INFO));
    }

    #[test]
    fn a_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        for line in ["one\n", "two\n"] {
            let mut file = open(&path).ok().unwrap();
            io::Write::write_all(&mut file, line.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
