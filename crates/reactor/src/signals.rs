//! Signals that end the program: SIGINT and SIGTERM.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level;

use crate::remote::ReactorRemote;

/// While the guard lives, the first SIGINT or SIGTERM [stops](crate::Handle::stop) the reactors,
/// and the second ends them [at once](crate::Handle::stop_now). A third does what it would have
/// done with no guard, it ends the process: for when a callback never returns.
///
/// A small thread waits for the signals. When the last guard of the process is dropped, both
/// signals end the process again, at once.
///
/// ```
/// use ropewalk_reactor::{Reactor, stop_on_signals};
///
/// let reactor = Reactor::new()?;
/// let _guard = stop_on_signals([reactor.remote()])?;
/// # reactor.stop();
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The operating system gave no descriptor, no thread, or no signals.
pub fn stop_on_signals(
    remotes: impl IntoIterator<Item = ReactorRemote>,
) -> io::Result<SignalGuard> {
    let watch = Watch::begin()?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let handle = signals.handle();
    let remotes: Vec<_> = remotes.into_iter().collect();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let thread = thread.spawn(move || {
        for (signal, count) in signals.forever().zip(1_u32..) {
            match count {
                1 => tracing::info!(signal, "stopping"),
                2 => tracing::warn!(signal, "ending at once"),
                // It comes back only where the system refuses.
                _ => drop(low_level::emulate_default_handler(signal)),
            }
            for remote in &remotes {
                remote.call_from_thread(move |reactor| match count {
                    1 => reactor.stop(),
                    _ => reactor.stop_now(),
                });
            }
        }
    })?;
    Ok(SignalGuard {
        handle,
        thread: Some(thread),
        watch: Some(watch),
    })
}

/// What [`stop_on_signals`] lasts for.
#[must_use = "the signals are watched only as long as it lives"]
pub struct SignalGuard {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    watch: Option<Watch>,
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        // First, so that no signal falls between.
        self.watch = None;
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It does nothing that panics.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SignalGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignalGuard")
    }
}

/// Counts the guards. A handler of signals that was installed stays for the life of the process;
/// so there is one that does what the system would do whenever there is no guard.
struct Watch;

struct Watching {
    guards: usize,
    installed: bool,
}

static WATCHING: Mutex<Watching> = Mutex::new(Watching {
    guards: 0,
    installed: false,
});

static UNGUARDED: AtomicBool = AtomicBool::new(false);

impl Watch {
    fn begin() -> io::Result<Self> {
        let mut watching = watching();
        if !watching.installed {
            for signal in [SIGINT, SIGTERM] {
                flag::register_conditional_default(signal, &UNGUARDED)?;
            }
            watching.installed = true;
        }
        watching.guards += 1;
        UNGUARDED.store(false, Ordering::SeqCst);
        Ok(Self)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watching = watching();
        watching.guards -= 1;
        UNGUARDED.store(watching.guards == 0, Ordering::SeqCst);
    }
}

fn watching() -> MutexGuard<'static, Watching> {
    WATCHING.lock().unwrap_or_else(PoisonError::into_inner)
}
