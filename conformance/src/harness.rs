//! The suite as tests of `cargo test`, by libtest-mimic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Body, Subject, bodies};

/// Runs all bodies that `subject` has the [`Feature`](crate::Feature)s for, as the arguments of the command say: the `main` of a test target
/// with `harness = false`.
#[must_use]
pub fn run(subject: impl Subject + 'static) -> ExitCode {
    let subject: Arc<dyn Subject> = Arc::new(subject);
    let (run, left): (Vec<_>, Vec<_>) = bodies().partition(|body| body.is_for(&*subject));
    if !left.is_empty() {
        // To the side: what is asked for by a machine is the list alone.
        eprintln!(
            "{} bodies need what the driver {} does not offer",
            left.len(),
            subject.name()
        );
    }
    let trials = run.into_iter().map(|body| trial(body, &subject)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(body: &'static Body, subject: &Arc<dyn Subject>) -> Trial {
    let name = format!("{}::{}::{}", subject.name(), body.topic(), body.name());
    let subject = Arc::clone(subject);
    Trial::test(name, move || {
        catch_unwind(AssertUnwindSafe(|| body.run(&*subject))).map_err(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into()));
            Failed::from(text.unwrap_or_else(|| "a panic without words".to_owned()))
        })
    })
}
