//! Stops a thread that computes for a moment, so that its stack can be read.
//!
//! The thread gets a signal, and its handler waits until it is let go, in a system call that shows
//! where its stack is. The handler does nothing else: it looks at an atomic, and calls `futex(2)`.
//! It has an end of its own too, so whoever halts it may be held up, even by it.
//!
//! The signal is SIGURG, which does nothing unless a program asks for it, and whose other handlers
//! are called as before. It is sent only to a thread that was just seen computing. If that enters a
//! system call in between, the call is begun anew (`SA_RESTART`), or ends with `EINTR` if it is one
//! of those that never are (signal(7)).

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};
use signal_hook::consts::SIGURG;

/// A thread is let go after this, in any case.
const MOST_NANOS: i64 = 500_000_000;

/// It has to stand still within so many milliseconds: on a busy machine it has to get its turn first.
const LOOKS: u32 = 250;

/// The thread that is to stand still: 0 for none.
static HALTED: AtomicU32 = AtomicU32::new(0);

/// A thread stands still while this lives, or for half a second.
pub(crate) struct Halt(());

impl Halt {
    /// Stops `thread` of this process. `None` if it cannot be.
    pub(crate) fn begin(thread: i32) -> Option<Self> {
        let number = u32::try_from(thread).ok()?;
        if !is_registered() || HALTED.compare_exchange(0, number, SeqCst, SeqCst).is_err() {
            return None;
        }
        let halt = Self(());
        send(thread).then_some(())?;
        for _ in 0..LOOKS {
            if waits_here(thread) {
                return Some(halt);
            }
            // That a thread has come to wait in a call is told to nobody: it can only be looked at.
            thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

impl Drop for Halt {
    fn drop(&mut self) {
        HALTED.store(0, SeqCst);
        // It may have gone on by itself.
        let _ = futex::wake(&HALTED, Flags::PRIVATE, 1);
    }
}

fn is_registered() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // SAFETY: the handler must be async-signal-safe. It allocates nothing, takes no lock, does not
        // panic, and makes system calls without touching `errno`.
        #[expect(unsafe_code, reason = "no safe crate lets a handler wait")]
        let registered = unsafe { signal_hook::low_level::register(SIGURG, stand_still) };
        registered.is_ok()
    })
}

/// The handler.
fn stand_still() {
    let halted = HALTED.load(SeqCst);
    let number = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned();
    if halted == number {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: MOST_NANOS,
        };
        // However this ends, the thread goes on.
        let _ = futex::wait(&HALTED, Flags::PRIVATE, halted, Some(&timeout));
    }
}

fn send(thread: i32) -> bool {
    let process = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the call takes three numbers. A thread that has ended, or is another process's, is an
    // error.
    #[expect(unsafe_code, reason = "no safe crate offers tgkill(2)")]
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, SIGURG) };
    result == 0
}

/// Whether `thread` waits in the handler (proc(5), `syscall`: the number of the call, and its first
/// argument).
fn waits_here(thread: i32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/self/task/{thread}/syscall")) else {
        return false;
    };
    let mut fields = text.split(' ');
    fields.next() == Some(&libc::SYS_futex.to_string())
        && fields.next() == Some(&format!("{:#x}", HALTED.as_ptr() as usize))
}
