//! What to start, and how.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionLimits;

/// How long a process has between SIGTERM and SIGKILL, unless told otherwise.
const GRACE: Duration = Duration::from_secs(5);

/// A program may take its time before it reads: one that computes, or that a person has stopped.
const STALL: Duration = Duration::from_secs(600);

/// What [`process_output`](super::process_output) collects at most, unless told otherwise.
const OUTPUT_LIMIT: usize = 16 * 1024 * 1024;

/// A program to start, and all that it is started with.
///
/// Unless told otherwise it inherits the environment and the working directory, has pipes as its
/// standard input, output and error, and inherits no other descriptor, whoever opened it. Signals
/// that this process ignores do in it what they do by default.
///
/// ```
/// use ropewalk_core::{ChildDescriptor, Spawn};
///
/// let spawn = Spawn::new("sort")
///     .args(["-n", "-r"])
///     .env("LC_ALL", "C")
///     .directory("/tmp")
///     .descriptor(2, ChildDescriptor::Inherit);
/// assert_eq!(spawn.arguments.len(), 2);
/// ```
///
/// # When the reactor ends
/// A shutdown sends SIGTERM to the processes that are left, when the accepted connections are gone
/// (and [`shutdown_wait`](Self#structfield.shutdown_wait) has passed), and SIGKILL after [`grace`](Self#structfield.grace); it lasts until they have ended. One that is
/// [`detached`](Self#structfield.detached) loses its pipes, and lives on. (Twisted leaves them
/// all.) A run that is cut short kills those that are not detached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Spawn {
    /// A path, if it has a slash; a relative one is relative to [`directory`](Self#structfield.directory).
    /// Otherwise a name, which is looked for in the `PATH` of the environment that it gets.
    pub program: OsString,
    /// What it gets as its first argument, its own name; `None` is [`program`](Self#structfield.program).
    pub arg0: Option<OsString>,
    /// Without its own name.
    pub arguments: Vec<OsString>,
    /// Whether it gets the variables of this process. It does, unless told otherwise.
    pub inherit_environment: bool,
    /// What is set, or with `None` removed, on top of that.
    pub environment: BTreeMap<OsString, Option<OsString>>,
    /// Where it runs; `None` is where this process runs.
    pub directory: Option<PathBuf>,
    /// The user id that it takes on. Only root may ask for another one.
    pub uid: Option<u32>,
    /// The group id that it takes on.
    pub gid: Option<u32>,
    /// The supplementary groups that it takes on. `None` keeps those of this process, or none if
    /// it takes on another user.
    pub groups: Option<Vec<u32>>,
    /// Whom its signals from terminals go to.
    pub grouping: Grouping,
    /// What it has as its descriptors, by their numbers: at most 255.
    pub descriptors: BTreeMap<u32, ChildDescriptor>,
    /// With a size: it has a terminal (a pty) of this size as its standard input, output and
    /// error, whatever [`descriptors`](Self#structfield.descriptors) says of those, in a session
    /// of its own.
    pub terminal: Option<WindowSize>,
    /// It lives on when the reactor ends.
    pub detached: bool,
    /// How long a shutdown lets it end by itself, before SIGTERM. Not at all, unless told otherwise.
    pub shutdown_wait: Duration,
    /// How long it has between SIGTERM and SIGKILL, when it is [told to
    /// end](super::ProcessTransport::terminate) and when the reactor ends. 5 s.
    pub grace: Duration,
    /// The bounds of each pipe: those of [`ConnectionLimits::default`], with ten minutes for
    /// [`write_stall`](ConnectionLimits::write_stall).
    pub limits: ConnectionLimits,
    /// How much [`process_output`](super::process_output) collects at most, in bytes, of standard
    /// output and error each. 16 MiB.
    pub output_limit: usize,
}

/// What a process has as one of its descriptors.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChildDescriptor {
    /// A pipe that this side writes to, and the process reads: Twisted's `"w"`.
    PipeIn,
    /// A pipe that the process writes to, and this side reads: Twisted's `"r"`.
    PipeOut,
    /// `/dev/null`.
    Null,
    /// The one of this process with the same number: for 0, 1 and 2 only.
    Inherit,
    /// This file, socket or whatever it is. The process has a duplicate of it.
    File(Arc<File>),
}

/// Whom the process shares its signals from terminals with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Grouping {
    /// The group of this process: Ctrl-C ends both.
    #[default]
    Inherit,
    /// A process group of its own. When it is ended by [`terminate`](super::ProcessTransport::terminate)
    /// or by the end of the reactor, what it has started in that group is ended with it.
    Group,
    /// A session of its own, with no terminal; and so a group of its own.
    Session,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for WindowSize {
    fn default() -> Self {
        Self {
            rows: 24,
            columns: 80,
        }
    }
}

impl Spawn {
    /// Starts `program`, with no arguments.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arg0: None,
            arguments: Vec::new(),
            inherit_environment: true,
            environment: BTreeMap::new(),
            directory: None,
            uid: None,
            gid: None,
            groups: None,
            grouping: Grouping::Inherit,
            descriptors: BTreeMap::from([
                (0, ChildDescriptor::PipeIn),
                (1, ChildDescriptor::PipeOut),
                (2, ChildDescriptor::PipeOut),
            ]),
            terminal: None,
            detached: false,
            shutdown_wait: Duration::ZERO,
            grace: GRACE,
            limits: ConnectionLimits {
                write_stall: STALL,
                ..ConnectionLimits::default()
            },
            output_limit: OUTPUT_LIMIT,
        }
    }

    /// Starts `command` by the shell, `/bin/sh -c`. What comes from elsewhere has no place in it:
    /// give it as an [argument](Self::arg), and write `"$1"` in the command.
    ///
    /// ```
    /// # use ropewalk_core::Spawn;
    /// let spawn = Spawn::shell("wc -l < \"$1\"").arg("names with spaces");
    /// assert_eq!(spawn.program, "/bin/sh");
    /// ```
    #[must_use]
    pub fn shell(command: impl Into<OsString>) -> Self {
        let command: OsString = command.into();
        Self::new("/bin/sh").args([OsString::from("-c"), command, "sh".into()])
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets [`arg0`](Self#structfield.arg0).
    #[must_use]
    pub fn arg0(mut self, name: impl Into<OsString>) -> Self {
        self.arg0 = Some(name.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.insert(key.into(), Some(value.into()));
        self
    }

    /// Keeps a variable of this process from it.
    #[must_use]
    pub fn env_remove(mut self, key: impl Into<OsString>) -> Self {
        self.environment.insert(key.into(), None);
        self
    }

    /// Keeps all variables of this process from it, and forgets those set so far. A program that is
    /// given by its name is then looked for in the system's own `PATH`.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.inherit_environment = false;
        self.environment.clear();
        self
    }

    /// Sets [`directory`](Self#structfield.directory).
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets [`uid`](Self#structfield.uid).
    #[must_use]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Sets [`gid`](Self#structfield.gid).
    #[must_use]
    pub fn gid(mut self, gid: u32) -> Self {
        self.gid = Some(gid);
        self
    }

    /// Sets [`groups`](Self#structfield.groups).
    #[must_use]
    pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
        self.groups = Some(groups.into_iter().collect());
        self
    }

    /// Sets [`grouping`](Self#structfield.grouping).
    #[must_use]
    pub fn grouping(mut self, grouping: Grouping) -> Self {
        self.grouping = grouping;
        self
    }

    /// Sets what it has as the descriptor `number`.
    #[must_use]
    pub fn descriptor(mut self, number: u32, descriptor: ChildDescriptor) -> Self {
        self.descriptors.insert(number, descriptor);
        self
    }

    /// Sets [`terminal`](Self#structfield.terminal).
    #[must_use]
    pub fn terminal(mut self, size: WindowSize) -> Self {
        self.terminal = Some(size);
        self
    }

    /// Sets [`detached`](Self#structfield.detached).
    #[must_use]
    pub fn detached(mut self, on: bool) -> Self {
        self.detached = on;
        self
    }

    /// Sets [`shutdown_wait`](Self#structfield.shutdown_wait).
    #[must_use]
    pub fn shutdown_wait(mut self, wait: Duration) -> Self {
        self.shutdown_wait = wait;
        self
    }

    /// Sets [`grace`](Self#structfield.grace).
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`limits`](Self#structfield.limits).
    #[must_use]
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`output_limit`](Self#structfield.output_limit).
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// The program's name as people read it.
    #[must_use]
    pub fn name(&self) -> String {
        AsRef::<OsStr>::as_ref(&self.program)
            .to_string_lossy()
            .into_owned()
    }
}
