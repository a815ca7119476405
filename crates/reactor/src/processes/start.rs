//! From a [`Spawn`] to a process, through [`std::process::Command`].

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};

use ropewalk_core::{ChildDescriptor, Grouping, Spawn, SpawnError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Pid, Uid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::handle::{ChildHandle, set_window_size};
use super::setup::{self, Setup};

/// The highest descriptor that a process can be given.
const HIGHEST: u32 = 255;

/// A process that runs, and this side of its pipes.
pub(super) struct Started {
    pub(super) handle: ChildHandle,
    pub(super) pipes: Vec<Pipe>,
}

pub(super) struct Pipe {
    pub(super) descriptor: u32,
    pub(super) read: Option<OwnedFd>,
    pub(super) write: Option<OwnedFd>,
}

/// The descriptors of both sides, before the process is there.
#[derive(Default)]
struct Wiring {
    standard: [Option<Stdio>; 3],
    others: Vec<(u32, OwnedFd)>,
    pipes: Vec<Pipe>,
    /// Our side of its terminal, and its side.
    terminal: Option<(OwnedFd, OwnedFd)>,
}

/// Starts what `spawn` says. The thread stands still until the program is being executed.
pub(super) fn start(spawn: &Spawn) -> Result<Started, SpawnError> {
    check(spawn)?;
    start_checked(spawn).map_err(|error| explain(spawn, error))
}

fn start_checked(spawn: &Spawn) -> io::Result<Started> {
    let wiring = Wiring::of(spawn)?;
    let mut command = Command::new(&spawn.program);
    command.args(&spawn.arguments);
    if let Some(name) = &spawn.arg0 {
        command.arg0(name);
    }
    if !spawn.inherit_environment {
        command.env_clear();
    }
    for (key, value) in &spawn.environment {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    if let Some(directory) = &spawn.directory {
        command.current_dir(directory);
    }
    if spawn.grouping == Grouping::Group && spawn.terminal.is_none() {
        command.process_group(0);
    }
    let [stdin, stdout, stderr] = wiring.standard;
    command
        .stdin(stdin.unwrap_or_else(Stdio::null))
        .stdout(stdout.unwrap_or_else(Stdio::null))
        .stderr(stderr.unwrap_or_else(Stdio::null));
    let (descriptors, _placeholders) = out_of_the_way(wiring.others)?;
    let session = spawn.terminal.is_some() || spawn.grouping == Grouping::Session;
    let setup = Setup {
        session,
        terminal: spawn.terminal.is_some(),
        groups: groups(spawn),
        gid: spawn.gid.map(Gid::from_raw),
        uid: spawn.uid.map(Uid::from_raw),
        descriptors,
    };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        spawn.gid.map(|gid| command.gid(gid));
        spawn.uid.map(|uid| command.uid(uid));
    }
    setup::install(&mut command, setup);
    let child = spawned(&mut command)?;
    let pid = Pid::from_child(&child);
    let leads_group = session || spawn.grouping == Grouping::Group;
    // Its side of the terminal is closed here, so that its end is seen.
    let terminal = wiring.terminal.map(|(ours, _)| ours);
    Ok(Started {
        handle: ChildHandle::new(pid, leads_group, terminal),
        pipes: wiring.pipes,
    })
}

/// Starts it. Where SIGCHLD is ignored, a new process that could not execute its program is gone
/// before the standard library can wait for it, which that takes for a mistake of its own.
fn spawned(command: &mut Command) -> io::Result<Child> {
    catch_unwind(AssertUnwindSafe(|| command.spawn())).unwrap_or_else(|_| {
        Err(io::Error::other(
            "it could not be executed, and why is not known where SIGCHLD is ignored; let that \
             signal have its default",
        ))
    })
}

impl Wiring {
    fn of(spawn: &Spawn) -> io::Result<Self> {
        let mut wiring = Self::default();
        if let Some(size) = spawn.terminal {
            let (ours, theirs) = open_terminal()?;
            set_window_size(&ours, size)?;
            if let Some(uid) = spawn.uid {
                rustix::fs::fchown(&theirs, Some(Uid::from_raw(uid)), None)?;
            }
            for standard in &mut wiring.standard {
                *standard = Some(theirs.try_clone()?.into());
            }
            wiring.pipes.push(Pipe {
                descriptor: 1,
                read: Some(ours.try_clone()?),
                write: Some(ours.try_clone()?),
            });
            wiring.terminal = Some((ours, theirs));
        }
        for (number, descriptor) in &spawn.descriptors {
            if *number > 2 || spawn.terminal.is_none() {
                wiring.add(*number, descriptor)?;
            }
        }
        Ok(wiring)
    }

    fn add(&mut self, number: u32, descriptor: &ChildDescriptor) -> io::Result<()> {
        let theirs: OwnedFd = match descriptor {
            ChildDescriptor::PipeIn => {
                let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
                rustix::io::ioctl_fionbio(&ours, true)?;
                self.pipes.push(Pipe {
                    descriptor: number,
                    read: None,
                    write: Some(ours),
                });
                theirs
            }
            ChildDescriptor::PipeOut => {
                let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
                rustix::io::ioctl_fionbio(&ours, true)?;
                self.pipes.push(Pipe {
                    descriptor: number,
                    read: Some(ours),
                    write: None,
                });
                theirs
            }
            ChildDescriptor::File(file) => file.as_fd().try_clone_to_owned()?,
            ChildDescriptor::Inherit => {
                if let Some(standard) = self.standard.get_mut(number as usize) {
                    *standard = Some(Stdio::inherit());
                }
                return Ok(());
            }
            _ => File::options()
                .read(true)
                .write(true)
                .open("/dev/null")?
                .into(),
        };
        match self.standard.get_mut(number as usize) {
            Some(standard) => *standard = Some(theirs.into()),
            None => self.others.push((number, theirs)),
        }
        Ok(())
    }
}

/// A terminal: our side and that of the process.
fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty())?;
    Ok((ours, theirs))
}

/// A descriptor, and the number that it is to have.
type Placed = (OwnedFd, i32);

/// Moves each descriptor above all numbers that are asked for, so that none is overwritten before
/// it was put in its place. What is returned beside them holds those numbers in this process, so
/// that the pipe by which a failed exec is reported does not get one of them.
fn out_of_the_way(descriptors: Vec<(u32, OwnedFd)>) -> io::Result<(Vec<Placed>, Vec<OwnedFd>)> {
    let mut moved = Vec::new();
    let mut placeholders = Vec::new();
    let highest = descriptors.iter().map(|(number, _)| *number).max();
    let first = i32::try_from(highest.unwrap_or(2) + 1).map_err(io::Error::other)?;
    for (number, descriptor) in descriptors {
        let number = i32::try_from(number).map_err(io::Error::other)?;
        let above = rustix::io::fcntl_dupfd_cloexec(&descriptor, first)?;
        let held = rustix::io::fcntl_dupfd_cloexec(&descriptor, number)?;
        moved.push((above, number));
        placeholders.push(held);
        placeholders.push(descriptor);
    }
    Ok((moved, placeholders))
}

/// The supplementary groups that it gets, where they are not those of this process.
fn groups(spawn: &Spawn) -> Option<Vec<Gid>> {
    if let Some(groups) = &spawn.groups {
        return Some(groups.iter().copied().map(Gid::from_raw).collect());
    }
    // Root's groups are not for others. Nobody but root can have another user in mind.
    (spawn.uid.is_some() && rustix::process::geteuid().is_root()).then(Vec::new)
}

fn check(spawn: &Spawn) -> Result<(), SpawnError> {
    let invalid = |message: String| {
        Err(SpawnError::Invalid {
            program: spawn.name(),
            message,
        })
    };
    for (number, descriptor) in &spawn.descriptors {
        if *number > HIGHEST {
            return invalid(format!(
                "it cannot have a descriptor {number}; choose one of 0 to {HIGHEST}"
            ));
        }
        if *number > 2 && matches!(descriptor, ChildDescriptor::Inherit) {
            return invalid(format!(
                "only the standard descriptors can be inherited by their numbers; give {number} \
                 as a ChildDescriptor::File"
            ));
        }
    }
    Ok(())
}

/// What an error means for starting a program.
pub(super) fn explain(spawn: &Spawn, source: io::Error) -> SpawnError {
    let program = spawn.name();
    let errno = Errno::from_io_error(&source);
    if matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS))
        && let Some(directory) = &spawn.directory
        && let Err(source) = std::fs::read_dir(directory)
    {
        return SpawnError::Directory {
            program,
            directory: directory.display().to_string(),
            source,
        };
    }
    match errno {
        Some(Errno::NOENT | Errno::NOTDIR) => SpawnError::NotFound {
            path: path(spawn).filter(|_| !program.contains('/')),
            program,
            source,
        },
        Some(Errno::ACCESS | Errno::PERM) => SpawnError::PermissionDenied { program, source },
        Some(Errno::MFILE | Errno::NFILE) => SpawnError::NoDescriptors { program, source },
        Some(Errno::AGAIN | Errno::NOMEM) => SpawnError::NoProcesses { program, source },
        None if source.kind() == io::ErrorKind::InvalidInput => SpawnError::Invalid {
            program,
            message: format!("{source}; no argument, variable or path can have a byte 0 in it"),
        },
        _ => SpawnError::Io { program, source },
    }
}

/// Where its name is looked for.
fn path(spawn: &Spawn) -> Option<String> {
    let own = spawn.environment.get("PATH".as_ref() as &std::ffi::OsStr);
    let path = match own {
        Some(set) => set.clone(),
        None if spawn.inherit_environment => std::env::var_os("PATH"),
        None => None,
    };
    let default = || "the system's own".into();
    Some(path.unwrap_or_else(default).to_string_lossy().into_owned())
}
