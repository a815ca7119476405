//! What a new process does before its program: between fork and exec, where only calls are allowed
//! that are safe in a handler of signals (signal-safety(7)). No memory is taken or given back.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Decided before the fork.
pub(super) struct Setup {
    /// It leads a session.
    pub(super) session: bool,
    /// Its standard input becomes the terminal of that session.
    pub(super) terminal: bool,
    pub(super) groups: Option<Vec<rustix::process::Gid>>,
    pub(super) gid: Option<rustix::process::Gid>,
    pub(super) uid: Option<rustix::process::Uid>,
    /// What it has beside its standard descriptors, under which number. All stand above the
    /// highest of these numbers.
    pub(super) descriptors: Vec<(OwnedFd, i32)>,
}

/// Lets the processes of `command` begin with `setup`.
#[expect(
    unsafe_code,
    reason = "no safe interface runs code between fork and exec"
)]
pub(super) fn install(command: &mut Command, setup: Setup) {
    let run = move || setup.run();
    // SAFETY: `run` makes system calls only. It takes no lock and no memory, and does not panic:
    // errors are numbers of the system, which are no allocations.
    unsafe {
        command.pre_exec(run);
    }
}

impl Setup {
    fn run(&self) -> io::Result<()> {
        if self.session {
            rustix::process::setsid()?;
        }
        if self.terminal {
            // Standard input is in place already.
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        self.become_user()?;
        heed_signals();
        close_on_exec()?;
        for (descriptor, number) in &self.descriptors {
            put(descriptor, *number)?;
        }
        Ok(())
    }

    /// In this order: the right to change the others goes with the user.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn become_user(&self) -> io::Result<()> {
        if let Some(groups) = &self.groups {
            rustix::thread::set_thread_groups(groups)?;
        }
        if let Some(gid) = self.gid {
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        }
        if let Some(uid) = self.uid {
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        Ok(())
    }

    /// `start` leaves these to the standard library here.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn become_user(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The highest number that a signal has on any system.
const SIGNALS: libc::c_int = 64;

/// Lets signals do what they do by default where this process ignores them, as one does that was
/// started by nohup(1): its programs would ignore them too, and most could not change that. (Those
/// that have a handler get their default by the exec.)
#[expect(
    unsafe_code,
    reason = "no safe crate sets what signals do between fork and exec"
)]
fn heed_signals() {
    for number in 1..=SIGNALS {
        // SAFETY: both calls may be made here. What they read and write is made of integers, for
        // which zero is a value, and lives on the stack; a number that is no signal is an error,
        // which changes nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(number, std::ptr::null(), &mut action) == 0;
            if known && action.sa_sigaction == libc::SIG_IGN {
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(number, &action, std::ptr::null_mut());
            }
        }
    }
}

/// Lets no descriptor but the first three reach the program, whoever has opened it.
#[expect(unsafe_code, reason = "no safe crate offers close_range")]
fn close_on_exec() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let flags = libc::CLOSE_RANGE_CLOEXEC;
        // SAFETY: it sets a flag of descriptors, and closes none.
        let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) };
        if done == 0 {
            return Ok(());
        }
    }
    // A system that has no such call (Linux before 5.11): one by one.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = i32::try_from(limit.unwrap_or(1 << 16)).unwrap_or(i32::MAX);
    for number in 3..limit {
        // SAFETY: it sets a flag of a descriptor; where there is none, it fails and does nothing.
        unsafe {
            libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    Ok(())
}

/// Gives the program `descriptor` as `number`.
#[expect(
    unsafe_code,
    reason = "a number that nobody owns is no safe descriptor"
)]
fn put(descriptor: &OwnedFd, number: i32) -> io::Result<()> {
    // SAFETY: what it may close is a descriptor of this new process, in which nothing but the exec
    // follows; the pipe by which that reports its failure stands elsewhere (`start` sees to that).
    let put = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
    match put {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
