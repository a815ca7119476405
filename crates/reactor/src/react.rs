//! A program that is one operation: a `main` on a reactor.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use ropewalk_core::{Cancelled, Deferred, Failure, IntoDeferred};

use crate::{Handle, Phase, Reactor};

/// Runs a reactor for as long as the result of `main` takes, which may be a value, a `Result` or
/// a Deferred. Gives 0 for a value, and 1 for a failure, which it prints to the standard error.
///
/// SIGINT and SIGTERM cancel what `main` returned and stop the reactor, as
/// [`stop_on_signals`](crate::stop_on_signals) says; to be cancelled so is no failure. If `main`
/// panics, that is logged, and the code is 1.
///
/// ```
/// use ropewalk_core::{Deferred, Failure, defer_later};
/// use ropewalk_reactor::react;
/// use std::{process::ExitCode, time::Duration};
///
/// fn main() -> ExitCode {
///     react(|reactor| {
///         let time = reactor.clone();
///         Deferred::<()>::from_future(reactor, async move {
///             defer_later::<(), _>(&time, Duration::from_millis(1), || ()).await?;
///             println!("done");
///             Ok::<(), Failure>(())
///         })
///     })
/// }
/// ```
pub fn react<R: IntoDeferred<()> + 'static>(main: impl FnOnce(&Handle) -> R + 'static) -> ExitCode {
    match run(main) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            if let Some(backtrace) = failure.backtrace() {
                eprintln!("{backtrace}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run<R: IntoDeferred<()> + 'static>(
    main: impl FnOnce(&Handle) -> R + 'static,
) -> Result<(), Failure> {
    let reactor =
        Reactor::new().map_err(|error| Failure::new(error).context("making the reactor"))?;
    let outcome = Rc::new(Cell::new(Ok(())));
    let (handle, result) = (reactor.handle(), outcome.clone());
    reactor.call_when_running(move || {
        // If `main` panics, this is dropped, and so there is an outcome too.
        let (resolver, returned) = Deferred::<R>::pair();
        let stop = handle.clone();
        let interrupted = Rc::new(Cell::new(false));
        let asked_for = interrupted.clone();
        let ended = returned
            .add_callback::<(), _>(|returned| returned)
            .add_both::<(), _>(move |ended| {
                result.set(ended.or_else(|failure| match failure.check::<Cancelled>() {
                    Some(_) if asked_for.get() => Ok(()),
                    _ => Err(failure),
                }));
                stop.stop();
            });
        handle.add_system_event_trigger(Phase::Before, move || {
            interrupted.set(true);
            ended.cancel();
            ended
        });
        resolver.callback(main(&handle));
    });
    let ran = reactor.run_until_signalled();
    // Why `main` failed comes first: that the shutdown did so too may follow from it.
    outcome.replace(Ok(()))?;
    Ok(ran?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn why_main_failed_is_not_lost_when_the_shutdown_takes_too_long() {
        let failure = run(|reactor: &Handle| {
            reactor.set_shutdown_deadline(Duration::from_millis(5));
            reactor.add_system_event_trigger(Phase::Before, || {
                let (resolver, forever) = Deferred::<()>::pair();
                std::mem::forget(resolver);
                forever
            });
            Err::<(), _>(Failure::msg("meant to fail"))
        });
        assert_eq!(failure.unwrap_err().to_string(), "meant to fail");
    }
}
