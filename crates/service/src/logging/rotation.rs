//! A log file that is put aside when it is large or old.
//!
//! `server.log` becomes `server.log.1`, what had that name becomes `server.log.2`, and so on, up to
//! the number that is kept. A line is never cut in two by it, and none is lost: where the file
//! cannot be put aside, writing goes on in it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// When a log file is put aside for a new one, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    size: Option<u64>,
    period: Option<Duration>,
    keep: u32,
}

impl Rotation {
    /// The file grows for as long as the program runs, or until somebody else puts it aside: see
    /// [`Log::reopen`](super::Log::reopen).
    #[must_use]
    pub const fn never() -> Self {
        Self {
            size: None,
            period: None,
            keep: 5,
        }
    }

    /// A new file when the next line would make it larger than so many bytes. Five old ones are
    /// kept.
    #[must_use]
    pub const fn by_size(bytes: u64) -> Self {
        Self::never().or_by_size(bytes)
    }

    /// A new file with the first line of each such time, counted from 1970 in UTC: so a day begins at
    /// midnight, an hour with its minute 0. Five old ones are kept.
    #[must_use]
    pub const fn by_time(period: Duration) -> Self {
        let mut rotation = Self::never();
        rotation.period = Some(period);
        rotation
    }

    /// By size as well.
    #[must_use]
    pub const fn or_by_size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// How many old files are kept.
    #[must_use]
    pub const fn keep(mut self, files: u32) -> Self {
        self.keep = files;
        self
    }

    /// The number of the period that `time` falls into.
    fn period_of(self, time: SystemTime) -> u64 {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        let (since, period) = match (since, self.period) {
            (Ok(since), Some(period)) => (since, period),
            _ => return 0,
        };
        u64::try_from(since.as_nanos() / period.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

/// The file that is written to.
pub(super) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    length: u64,
    /// The period of what is in it.
    period: u64,
    /// It could not be put aside at this length.
    refused_at: Option<u64>,
    /// It ends within a line.
    torn: bool,
    clock: fn() -> SystemTime,
}

/// What was not written.
#[derive(Debug)]
pub(super) struct WriteError {
    pub(super) lost: u64,
    pub(super) error: io::Error,
}

impl RotatingFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        Self::with_clock(path, rotation, SystemTime::now)
    }

    fn with_clock(path: &Path, rotation: Rotation, clock: fn() -> SystemTime) -> io::Result<Self> {
        let (file, length, changed) = open(path)?;
        let period = rotation.period_of(if length == 0 { clock() } else { changed });
        Ok(Self {
            path: path.to_owned(),
            rotation,
            file,
            length,
            period,
            refused_at: None,
            torn: false,
            clock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file of this name again: somebody has put the other one aside.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        let (file, length, _) = open(&self.path)?;
        self.file = file;
        self.length = length;
        self.torn = false;
        self.refused_at = None;
        Ok(())
    }

    /// Writes lines, which end where `ends` says. A failure to put the file aside goes to `report`,
    /// and nothing is lost by it.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        ends: &[usize],
        mut report: impl FnMut(io::Error),
    ) -> Result<(), WriteError> {
        let now = self.rotation.period_of((self.clock)());
        let (mut from, mut next) = (0, 0);
        while next < ends.len() {
            let is_old = self.length > 0 && now != self.period;
            // A file has at least one line, however long.
            let is_full = self.length > 0 && !self.fits(ends[next] - from);
            if is_old || is_full && !self.is_refused() {
                match self.rotate() {
                    Ok(()) => self.period = now,
                    Err(error) => {
                        self.refused_at = Some(self.length);
                        // It is as old as before; but it is not tried again with each line, only
                        // in the next period.
                        self.period = now;
                        report(error);
                    }
                }
            } else if self.length == 0 {
                self.period = now;
            }
            // As many lines as fit, and one at least.
            let fitting = ends[next..].iter().skip(1);
            let fitting = fitting.take_while(|end| self.fits(**end - from)).count();
            let last = next + fitting;
            self.write_lines(bytes, from, &ends[next..=last])
                .map_err(|(written, error)| WriteError {
                    lost: (ends.len() - next - written) as u64,
                    error,
                })?;
            from = ends[last];
            next = last + 1;
        }
        Ok(())
    }

    /// Writes lines from `from` on; or says how many are written whole.
    fn write_lines(
        &mut self,
        bytes: &[u8],
        from: usize,
        ends: &[usize],
    ) -> Result<(), (usize, io::Error)> {
        let end = ends.last().copied().unwrap_or(from);
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (0, error))?;
            self.length += 1;
            self.torn = false;
        }
        let mut at = from;
        while at < end {
            let error = match self.file.write(&bytes[at..end]) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(count) => {
                    at += count;
                    self.length += count as u64;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.torn = at > from && !ends.contains(&at);
            let whole = ends.iter().filter(|end| **end <= at).count();
            return Err((whole, error));
        }
        Ok(())
    }

    fn fits(&self, more: usize) -> bool {
        let size = self.rotation.size;
        size.is_none_or(|size| self.length + more as u64 <= size)
    }

    /// Whether it could not be put aside, and has not grown by another size since.
    fn is_refused(&self) -> bool {
        let step = self.rotation.size.unwrap_or(u64::MAX);
        self.refused_at
            .is_some_and(|at| self.length < at.saturating_add(step))
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.rotation.keep).rev() {
            rename(&self.numbered(number), &self.numbered(number + 1))?;
        }
        match self.rotation.keep {
            0 => fs::remove_file(&self.path).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?,
            _ => rename(&self.path, &self.numbered(1))?,
        }
        // Where there can be no new one, the old one is written on under its new name.
        self.reopen()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Opens a file to append to it, with its length, and the time of its last change.
fn open(path: &Path) -> io::Result<(File, u64, SystemTime)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let found = file.metadata()?;
    let changed = found.modified().unwrap_or_else(|_| SystemTime::now());
    // What is no file, a terminal for instance, has no length.
    Ok((file, if found.is_file() { found.len() } else { 0 }, changed))
}

/// Renames what is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tempfile::TempDir;

    const HOUR: Duration = Duration::from_secs(3600);

    thread_local!(static NOW: Cell<SystemTime> = const { Cell::new(SystemTime::UNIX_EPOCH) });

    fn file(folder: &TempDir, rotation: Rotation) -> RotatingFile {
        NOW.set(SystemTime::now());
        RotatingFile::with_clock(&folder.path().join("log"), rotation, || NOW.get()).unwrap()
    }

    fn write(file: &mut RotatingFile, lines: &[&str]) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
            ends.push(bytes.len());
        }
        let report = |error| panic!("{error}");
        file.write(&bytes, &ends, report).unwrap();
    }

    /// The files of the folder with what is in them.
    fn files(folder: &TempDir) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (
                    name,
                    fs::read_to_string(entry.path()).unwrap().replace('\n', " "),
                )
            })
            .collect();
        files.sort();
        files
    }

    fn expect(folder: &TempDir, expected: &[(&str, &str)]) {
        let found = files(folder);
        let found: Vec<_> = found
            .iter()
            .map(|(name, text)| (&name[..], text.trim()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_full_file_is_put_aside_and_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(&folder, Rotation::by_size(6).keep(2));
        write(&mut log, &["1a", "1b", "2a", "2b", "3a"]);
        expect(
            &folder,
            &[("log", "3a"), ("log.1", "2a 2b"), ("log.2", "1a 1b")],
        );
        write(&mut log, &["3b"]);
        write(&mut log, &["4a"]);
        expect(
            &folder,
            &[("log", "4a"), ("log.1", "3a 3b"), ("log.2", "2a 2b")],
        );
    }

    #[test]
    fn a_line_that_is_longer_than_a_file_has_one_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(&folder, Rotation::by_size(6));
        write(&mut log, &["1", "a-long-line", "3"]);
        expect(
            &folder,
            &[("log", "3"), ("log.1", "a-long-line"), ("log.2", "1")],
        );
    }

    #[test]
    fn what_is_kept_may_be_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(&folder, Rotation::by_size(4).keep(0));
        write(&mut log, &["1a", "2a"]);
        expect(&folder, &[("log", "2a")]);
    }

    #[test]
    fn a_file_of_an_earlier_time_is_put_aside_with_the_next_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = file(&folder, Rotation::by_time(HOUR));
        write(&mut log, &["1a", "1b"]);
        NOW.set(NOW.get() + HOUR);
        expect(&folder, &[("log", "1a 1b")]);
        write(&mut log, &["2a"]);
        NOW.set(NOW.get() + 3 * HOUR);
        write(&mut log, &["5a", "5b"]);
        expect(
            &folder,
            &[("log", "5a 5b"), ("log.1", "2a"), ("log.2", "1a 1b")],
        );
    }

    #[test]
    fn a_file_that_was_there_is_as_old_as_its_last_change() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("log"), "0a\n").unwrap();
        let mut log = file(&folder, Rotation::by_time(HOUR));
        NOW.set(NOW.get() + HOUR);
        write(&mut log, &["1a"]);
        expect(&folder, &[("log", "1a"), ("log.1", "0a")]);
    }

    #[test]
    fn where_it_cannot_be_put_aside_nothing_is_lost_and_it_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        // A folder cannot be replaced by a file.
        fs::create_dir(folder.path().join("log.1")).unwrap();
        let mut log = file(&folder, Rotation::by_size(4).keep(1));
        let mut reports = 0;
        for _ in 0..2 {
            log.write(b"1a\n1b\n", &[3, 6], |_| reports += 1).unwrap();
        }
        assert_eq!(
            fs::read_to_string(folder.path().join("log")).unwrap(),
            "1a\n1b\n1a\n1b\n"
        );
        assert_eq!(reports, 2, "at 3 bytes, and when it had grown by another 4");
        fs::remove_dir(folder.path().join("log.1")).unwrap();
        write(&mut log, &["2a", "3a"]);
        expect(&folder, &[("log", "3a"), ("log.1", "1a 1b 1a 1b 2a")]);
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_is_tried_again_in_the_next_period() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("log.1")).unwrap();
        let mut log = file(&folder, Rotation::by_time(HOUR).keep(1));
        write(&mut log, &["1a"]);
        NOW.set(NOW.get() + HOUR);
        let mut reports = 0;
        for _ in 0..2 {
            log.write(b"2a\n", &[3], |_| reports += 1).unwrap();
        }
        assert_eq!(reports, 1);
        fs::remove_dir(folder.path().join("log.1")).unwrap();
        NOW.set(NOW.get() + HOUR);
        write(&mut log, &["3a"]);
        expect(&folder, &[("log", "3a"), ("log.1", "1a 2a 2a")]);
    }

    #[test]
    fn a_full_disk_loses_what_was_not_written_and_counts_it() {
        if !Path::new("/dev/full").exists() {
            return;
        }
        let mut log = RotatingFile::open(Path::new("/dev/full"), Rotation::never()).unwrap();
        let failed = log.write(b"1a\n1b\n", &[3, 6], |_| ()).unwrap_err();
        assert_eq!(failed.error.kind(), ErrorKind::StorageFull);
        assert_eq!(failed.lost, 2);
    }
}
