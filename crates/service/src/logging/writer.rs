//! The queue of lines, and the thread that writes them.
//!
//! Whoever logs appends to a buffer and goes on; the thread takes the whole buffer and leaves an
//! empty one. So lines keep their order, many of them are one write, and a slow disk holds up
//! nobody.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::LogFormat;
use super::rotation::{RotatingFile, WriteError};

/// The end of a program waits so long for its log.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// Where lines go.
pub(super) enum Output {
    StandardError,
    File(RotatingFile),
}

/// A log that was started. Dropping it writes what was logged, if that can be done in five seconds;
/// what is logged after that is lost. So keep it as long as the program runs.
#[must_use = "what is logged after it is dropped is lost"]
pub struct Log {
    shared: Arc<Shared>,
}

/// What [`Log::lines`] gives to those who format lines.
#[derive(Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to do for the thread.
    work: Condvar,
    /// Something was written.
    written: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// How many batches were taken, and how many of them are done.
    taken: u64,
    done: u64,
    /// Lines that found the queue full, and are not yet reported.
    dropped: u64,
    /// Lines that were lost, for whatever reason.
    lost: u64,
    closed: bool,
}

/// What the thread takes at once.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// The file is to be opened again after so many lines.
    reopen_after: Option<usize>,
}

impl Log {
    pub(super) fn start(output: Output, format: LogFormat, limit: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            written: Condvar::new(),
            limit,
        });
        let thread = Work {
            shared: Arc::clone(&shared),
            output,
            format,
            failing: false,
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    pub(super) fn lines(&self) -> Lines {
        Lines {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Opens the log file again by its name, behind all that was logged so far: for when another
    /// program has put it aside.
    pub fn reopen(&self) {
        self.shared.reopen();
    }

    /// What does the same, for a thread of its own: one that waits for SIGHUP, say. It does nothing
    /// when the log was dropped.
    ///
    /// ```no_run
    /// use ropewalk_service::logging::{Logging, Rotation};
    ///
    /// let log = Logging::new().file("server.log", Rotation::never()).start()?;
    /// let reopen = log.reopener();
    /// std::thread::spawn(move || reopen());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reopener(&self) -> impl Fn() + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.reopen();
            }
        }
    }

    /// Waits until all that was logged so far is written, or lost. `false` if that is not so after
    /// `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let state = self.shared.lock();
        let until = state.taken + u64::from(!state.batch.is_empty());
        let written = &self.shared.written;
        let (state, _) = written
            .wait_timeout_while(state, timeout, |state| state.done < until)
            .unwrap_or_else(PoisonError::into_inner);
        state.done >= until
    }

    /// How many lines were lost: they found the queue full, or could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lock().lost
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush(LAST_FLUSH);
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reopen(&self) {
        let mut state = self.lock();
        let after = state.batch.ends.len();
        state.batch.reopen_after.get_or_insert(after);
        drop(state);
        self.work.notify_one();
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.closed || state.batch.bytes.len() + line.len() > self.limit {
            state.dropped += 1;
            state.lost += 1;
            return;
        }
        let was_empty = state.batch.is_empty();
        state.batch.bytes.extend_from_slice(line);
        let end = state.batch.bytes.len();
        state.batch.ends.push(end);
        drop(state);
        if was_empty {
            self.work.notify_one();
        }
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.reopen_after.is_none()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.reopen_after = None;
    }
}

/// Each `write` is one line: that is how lines are formatted.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.shared.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What the thread has.
struct Work {
    shared: Arc<Shared>,
    output: Output,
    format: LogFormat,
    /// It could not write, and has said so.
    failing: bool,
}

impl Work {
    fn run(mut self) {
        let mut batch = Batch::default();
        while let Some(dropped) = self.take(&mut batch) {
            if dropped > 0 {
                // They came after all that is in the queue.
                self.note_dropped(&mut batch, dropped);
            }
            let lost = self.write(&batch);
            batch.clear();
            let mut state = self.shared.lock();
            state.lost += lost;
            state.done += 1;
            drop(state);
            self.shared.written.notify_all();
        }
    }

    /// Waits for lines, and takes all there are. `None` when no more will come.
    fn take(&self, batch: &mut Batch) -> Option<u64> {
        let state = self.shared.lock();
        let idle = |state: &mut State| state.batch.is_empty() && !state.closed;
        let state = self.shared.work.wait_while(state, idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.batch.is_empty() {
            return None;
        }
        mem::swap(&mut state.batch, batch);
        state.taken += 1;
        Some(mem::take(&mut state.dropped))
    }

    /// Writes a batch; returns how many lines were lost.
    fn write(&mut self, batch: &Batch) -> u64 {
        let count = batch.ends.len();
        let Some(at) = batch.reopen_after else {
            return self.write_lines(batch, 0, count);
        };
        let lost = self.write_lines(batch, 0, at);
        if let Output::File(file) = &mut self.output
            && let Err(error) = file.reopen()
        {
            complain(file, "open", &error, "its lines go to the old file");
        }
        lost + self.write_lines(batch, at, count)
    }

    fn write_lines(&mut self, batch: &Batch, from: usize, to: usize) -> u64 {
        let begin = if from == 0 { 0 } else { batch.ends[from - 1] };
        let end = if to == 0 { 0 } else { batch.ends[to - 1] };
        let bytes = &batch.bytes[begin..end];
        let file = match &mut self.output {
            Output::StandardError => {
                // There is nowhere to complain to.
                let written = io::stderr().write_all(bytes);
                return if written.is_ok() {
                    0
                } else {
                    (to - from) as u64
                };
            }
            Output::File(file) => file,
        };
        let ends: Vec<_> = batch.ends[from..to].iter().map(|end| end - begin).collect();
        let path = file.path().display().to_string();
        let put_aside = |error| {
            say(format_args!(
                "cannot put the log {path} aside: {error}; it grows on"
            ));
        };
        match file.write(bytes, &ends, put_aside) {
            Ok(()) => {
                if to > from && mem::take(&mut self.failing) {
                    say(format_args!("the log {path} can be written again"));
                }
                0
            }
            Err(WriteError { lost, error }) => {
                if !mem::replace(&mut self.failing, true) {
                    complain(file, "write", &error, "its lines are lost until it can be");
                }
                lost
            }
        }
    }

    /// Adds a line about those that were dropped.
    fn note_dropped(&self, batch: &mut Batch, dropped: u64) {
        let mut time = String::new();
        // A time that cannot be formatted is left out.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let message = "lines were lost: they came faster than they could be written";
        let line = match self.format {
            LogFormat::Text => {
                format!("{time}  WARN ropewalk::log: {message} lost={dropped}\n")
            }
            LogFormat::Json => format!(
                "{{\"timestamp\":\"{time}\",\"level\":\"WARN\",\"message\":\"{message}\",\
                 \"lost\":{dropped},\"target\":\"ropewalk::log\"}}\n"
            ),
        };
        batch.bytes.extend_from_slice(line.as_bytes());
        batch.ends.push(batch.bytes.len());
    }
}

fn complain(file: &RotatingFile, doing: &str, error: &io::Error, so: &str) {
    let path = file.path().display();
    say(format_args!("cannot {doing} the log {path}: {error}; {so}"));
}

/// Says on standard error what the log cannot say; if that cannot be written to either, nobody is
/// told, but the log goes on.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::Rotation;
    use std::fs;

    #[test]
    fn what_finds_the_queue_full_is_counted_and_noted_in_the_log() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let file = RotatingFile::open(&path, Rotation::never()).unwrap();
            // There is no thread yet: the queue fills up.
            let shared = Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                written: Condvar::new(),
                limit: 10,
            });
            let log = Log { shared };
            for line in ["{}  1\n", "{}  2\n", "{}  3\n", "{}4\n"] {
                log.lines().write_all(line.as_bytes()).unwrap();
            }
            assert_eq!(log.lost(), 2);
            let work = Work {
                shared: Arc::clone(&log.shared),
                output: Output::File(file),
                format,
                failing: false,
            };
            let thread = thread::spawn(move || work.run());
            drop(log);
            thread.join().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines[..2], ["{}  1", "{}4"], "{text}");
            match format {
                LogFormat::Text => assert!(lines[2].ends_with("lost=2"), "{text}"),
                LogFormat::Json => {
                    let note: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
                    assert_eq!(note["lost"], 2);
                }
            }
            assert_eq!(lines.len(), 3);
        }
    }
}
