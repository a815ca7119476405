//! Reports of failures that nothing handled.

use std::panic::Location;

use super::Cancelled;
use crate::Failure;

/// Reports a failure that ended in a Deferred made at `made`, unless it is a cancellation: that
/// was asked for.
#[cold]
pub(super) fn report(failure: &Failure, made: &'static Location<'static>) {
    if failure.check::<Cancelled>().is_some() {
        return;
    }
    tracing::error!(
        target: "ropewalk::unhandled",
        failure = &*failure.to_error(),
        failed_at = %failure.location(),
        made_at = %made,
        backtrace = failure.backtrace().map(tracing::field::display),
        "a Deferred failed and nothing handled it: add an errback where it was made",
    );
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Deferred;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `action` logs.
    pub(crate) fn logged_by(action: impl FnOnce()) -> String {
        // An event that another test meets first, with nobody listening, would be taken for one
        // that nobody ever wants.
        static LISTEN: std::sync::Once = std::sync::Once::new();
        LISTEN.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry()).unwrap();
        });
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, action);
        let bytes = log.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn lost() -> Failure {
        Failure::msg("lost")
    }

    #[test]
    fn dropping_a_failure_reports_it_with_both_places() {
        let failed_at = line!() + 1;
        let failure = Failure::msg("lost");
        let made_at = line!() + 1;
        let deferred: Deferred<()> = Deferred::fail(failure);

        let log = logged_by(|| drop(deferred));

        assert!(log.contains("ERROR ropewalk::unhandled"), "{log}");
        assert!(log.contains("failure=lost"), "{log}");
        assert!(
            log.contains(&format!("failed_at={}:{failed_at}:", file!())),
            "{log}"
        );
        assert!(
            log.contains(&format!("made_at={}:{made_at}:", file!())),
            "{log}"
        );
        assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    }

    #[test]
    fn a_failure_that_comes_after_the_drop_is_reported_when_it_comes() {
        let (resolver, deferred) = Deferred::<()>::pair();
        drop(deferred);
        let log = logged_by(|| resolver.errback(lost()));
        assert!(log.contains("failure=lost"), "{log}");
    }

    #[test]
    fn a_failure_that_came_before_the_drop_is_reported_at_the_drop() {
        let (resolver, deferred) = Deferred::<()>::pair();
        assert_eq!(logged_by(|| resolver.errback(lost())), "");
        let log = logged_by(|| drop(deferred));
        assert!(log.contains("failure=lost"), "{log}");
    }

    #[test]
    fn the_place_of_a_chain_is_its_last_link() {
        let (resolver, deferred) = Deferred::<()>::pair();
        let line = line!() + 1;
        drop(deferred.add_callback(|()| 1));
        let log = logged_by(|| resolver.errback(lost()));
        assert!(
            log.contains(&format!("made_at={}:{line}:", file!())),
            "{log}"
        );
        assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    }

    #[test]
    fn the_place_of_a_link_on_a_fired_deferred_is_the_link() {
        let deferred = Deferred::succeed(());
        let line = line!() + 1;
        let deferred: Deferred<()> = deferred.add_callback(|()| Err::<(), _>(lost()));
        let log = logged_by(|| drop(deferred));
        assert!(
            log.contains(&format!("made_at={}:{line}:", file!())),
            "{log}"
        );
    }

    #[test]
    fn a_dropped_resolver_is_reported_where_nobody_waits() {
        let (resolver, deferred) = Deferred::<()>::pair();
        drop(deferred);
        let log = logged_by(|| drop(resolver));
        assert!(log.contains("no result will come"), "{log}");
    }

    #[test]
    fn handled_failures_are_not_reported() {
        let log = logged_by(|| {
            for fired_first in [true, false] {
                let (resolver, deferred) = Deferred::<()>::pair();
                if fired_first {
                    resolver.errback(lost());
                    drop(deferred.add_errback(|_| ()));
                } else {
                    drop(deferred.add_errback(|_| ()));
                    resolver.errback(lost());
                }
            }
            drop(Deferred::<()>::fail(lost()).add_both(|_| 1));
        });
        assert_eq!(log, "");
    }

    #[test]
    fn cancelling_is_not_reported_nor_a_failure_that_comes_after_it() {
        let log = logged_by(|| {
            let (resolver, deferred) = Deferred::<()>::pair();
            deferred.cancel();
            resolver.errback(lost());
            drop(deferred);
        });
        assert_eq!(log, "");
    }
}
