//! What can be done to a process: signals, the size of its terminal, and reaping it.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use ropewalk_core::{ChildControl, ExitStatus, Signal, WindowSize};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{self, Pid, WaitId, WaitIdOptions, WaitIdStatus};
use rustix::termios::Winsize;

/// A process that was started and is not reaped: so nobody else has its number.
pub(super) struct ChildHandle {
    pid: Pid,
    /// `None` where the system has no such thing, or no descriptor left.
    descriptor: Option<Rc<OwnedFd>>,
    /// It leads a process group.
    leads_group: bool,
    /// Its terminal, until the connection over it is closed.
    terminal: RefCell<Option<OwnedFd>>,
}

/// What a thread needs to reap it.
pub(super) struct Left {
    pid: Pid,
    descriptor: Option<OwnedFd>,
}

impl ChildHandle {
    pub(super) fn new(pid: Pid, leads_group: bool, terminal: Option<OwnedFd>) -> Self {
        Self {
            pid,
            descriptor: open(pid).map(Rc::new),
            leads_group,
            terminal: RefCell::new(terminal),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn descriptor(&self) -> Option<Rc<OwnedFd>> {
        self.descriptor.clone()
    }

    /// How it has ended, if it has.
    pub(super) fn reap(&self) -> Option<ExitStatus> {
        let descriptor = self.descriptor.as_deref();
        reap(self.pid, descriptor, WaitIdOptions::NOHANG)
    }

    pub(super) fn kill(&self) {
        // It fails on one that has ended, which is what is wanted.
        let _ = self.signal(Signal::Kill, true);
    }

    /// Ends and reaps one that nobody has heard of.
    pub(super) fn discard(&self) {
        self.kill();
        reap_in_background(vec![self.left()]);
    }

    pub(super) fn left(&self) -> Left {
        let descriptor = self.descriptor.as_deref();
        Left {
            pid: self.pid,
            descriptor: descriptor.and_then(|descriptor| descriptor.try_clone().ok()),
        }
    }

    /// Calls `ended` on a thread when it has ended, and leaves it to be reaped.
    pub(super) fn wait_in_thread(&self, ended: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let pid = self.pid;
        let thread = thread::Builder::new().name(format!("wait {}", self.pid()));
        thread.spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let wait = || process::waitid(WaitId::Pid(pid), options);
            while matches!(wait(), Err(rustix::io::Errno::INTR)) {}
            ended();
        })?;
        Ok(())
    }
}

/// What its transport and its handles may do to it.
pub(super) struct Control(pub(super) Rc<ChildHandle>);

impl ChildControl for Control {
    fn signal(&self, signal: Signal, group: bool) -> io::Result<()> {
        self.0.signal(signal, group)
    }

    fn set_window_size(&self, size: WindowSize) -> io::Result<()> {
        match &*self.0.terminal.borrow() {
            Some(terminal) => set_window_size(terminal, size),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn closed(&self, descriptor: u32) {
        if descriptor == 1 {
            self.0.terminal.take();
        }
    }
}

impl ChildHandle {
    fn signal(&self, signal: Signal, group: bool) -> io::Result<()> {
        let number = number(signal).ok_or(io::ErrorKind::Unsupported)?;
        if group && self.leads_group {
            return Ok(process::kill_process_group(self.pid, number)?);
        }
        #[cfg(target_os = "linux")]
        if let Some(descriptor) = &self.descriptor {
            return Ok(process::pidfd_send_signal(descriptor, number)?);
        }
        Ok(process::kill_process(self.pid, number)?)
    }
}

pub(super) fn set_window_size(terminal: impl AsFd, size: WindowSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Reaps each as it ends, on a thread.
pub(super) fn reap_in_background(mut left: Vec<Left>) {
    left.retain(|child| child.reap(WaitIdOptions::NOHANG).is_none());
    if left.is_empty() {
        return;
    }
    let shared = Arc::new(std::sync::Mutex::new(left));
    let thread = thread::Builder::new().name("reaper".to_owned());
    let reaping = Arc::clone(&shared);
    let spawned = thread.spawn(move || {
        let mut left = std::mem::take(&mut *lock(&reaping));
        while !left.is_empty() {
            let waited = wait_for_any(&left);
            left.retain(|child| {
                let options = match waited {
                    true => WaitIdOptions::NOHANG,
                    false => WaitIdOptions::empty(),
                };
                child.reap(options).is_none()
            });
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, count = lock(&shared).len(),
            "no thread is left to reap processes; they stay as zombies until this process ends");
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits until one of them may have ended. `false` where that cannot be waited for.
fn wait_for_any(left: &[Left]) -> bool {
    let descriptors = left.iter().map(|child| child.descriptor.as_ref());
    let Some(descriptors) = descriptors.collect::<Option<Vec<_>>>() else {
        return false;
    };
    let mut polled: Vec<_> = descriptors
        .into_iter()
        .map(|descriptor| PollFd::new(descriptor, PollFlags::IN))
        .collect();
    matches!(
        poll(&mut polled, None),
        Ok(_) | Err(rustix::io::Errno::INTR)
    )
}

impl Left {
    fn reap(&self, options: WaitIdOptions) -> Option<ExitStatus> {
        reap(self.pid, self.descriptor.as_ref(), options)
    }
}

/// How it has ended. `None` if it has not.
fn reap(pid: Pid, descriptor: Option<&OwnedFd>, options: WaitIdOptions) -> Option<ExitStatus> {
    #[cfg(target_os = "linux")]
    let id = descriptor.map_or(WaitId::Pid(pid), |descriptor| {
        WaitId::PidFd(descriptor.as_fd())
    });
    #[cfg(not(target_os = "linux"))]
    let id = {
        let _ = descriptor;
        WaitId::Pid(pid)
    };
    loop {
        return match process::waitid(id.clone(), options | WaitIdOptions::EXITED) {
            Ok(status) => status.map(|status| read(&status)),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => Some(ExitStatus::Unknown),
        };
    }
}

fn read(status: &WaitIdStatus) -> ExitStatus {
    if let Some(code) = status.exit_status() {
        return ExitStatus::Exited(code);
    }
    match status.terminating_signal() {
        Some(signal) => ExitStatus::Killed {
            signal: named(signal),
            core_dumped: status.dumped(),
        },
        None => ExitStatus::Unknown,
    }
}

#[cfg(target_os = "linux")]
fn open(pid: Pid) -> Option<OwnedFd> {
    process::pidfd_open(pid, process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn open(_: Pid) -> Option<OwnedFd> {
    None
}

/// A signal as this system numbers it.
fn number(signal: Signal) -> Option<process::Signal> {
    use process::Signal as Os;
    Some(match signal {
        Signal::Hup => Os::HUP,
        Signal::Int => Os::INT,
        Signal::Quit => Os::QUIT,
        Signal::Term => Os::TERM,
        Signal::Kill => Os::KILL,
        Signal::Abrt => Os::ABORT,
        Signal::Segv => Os::SEGV,
        Signal::Bus => Os::BUS,
        Signal::Ill => Os::ILL,
        Signal::Fpe => Os::FPE,
        Signal::Pipe => Os::PIPE,
        Signal::Alrm => Os::ALARM,
        Signal::Xcpu => Os::XCPU,
        Signal::Xfsz => Os::XFSZ,
        Signal::Usr1 => Os::USR1,
        Signal::Usr2 => Os::USR2,
        Signal::Cont => Os::CONT,
        Signal::Stop => Os::STOP,
        Signal::Tstp => Os::TSTP,
        Signal::Ttin => Os::TTIN,
        Signal::Ttou => Os::TTOU,
        Signal::Winch => Os::WINCH,
        Signal::Number(number) => return Os::from_named_raw(number).or_else(|| real_time(number)),
        _ => return None,
    })
}

/// One of those that have numbers alone.
#[cfg(target_os = "linux")]
fn real_time(number: i32) -> Option<process::Signal> {
    if !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) {
        return None;
    }
    #[expect(unsafe_code, reason = "rustix does not ask libc for the range")]
    // SAFETY: it is a valid number, and none that libc has reserved for itself.
    let signal = unsafe { process::Signal::from_raw_unchecked(number) };
    Some(signal)
}

#[cfg(not(target_os = "linux"))]
fn real_time(_: i32) -> Option<process::Signal> {
    None
}

/// The name of a signal by its number.
fn named(raw: i32) -> Signal {
    let mut all = Signal::NAMED.iter().copied();
    all.find(|signal| number(*signal).is_some_and(|known| known.as_raw() == raw))
        .unwrap_or(Signal::Number(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_number_of_its_own_and_is_found_by_it() {
        for signal in Signal::NAMED {
            let known = number(*signal).unwrap();
            assert_eq!(named(known.as_raw()), *signal);
            let by_number = number(Signal::Number(known.as_raw()));
            assert_eq!(by_number, Some(known));
        }
        assert_eq!(number(Signal::Number(0)), None);
        assert_eq!(number(Signal::Number(4711)), None);
    }
}
