//! The suite as tests of `cargo test`, by libtest-mimic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{Body, Subject, bodies};

/// Runs all bodies on `subject`, as the arguments of the command say: the `main` of a test target
/// with `harness = false`.
#[must_use]
pub fn run(subject: impl Subject + 'static) -> ExitCode {
    let subject: Arc<dyn Subject> = Arc::new(subject);
    let trials = bodies().map(|body| trial(body, &subject)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(body: &'static Body, subject: &Arc<dyn Subject>) -> Trial {
    let name = format!("{}::{}::{}", subject.name(), body.topic(), body.name());
    let is_for = body.is_for(&**subject);
    let subject = Arc::clone(subject);
    Trial::test(name, move || {
        catch_unwind(AssertUnwindSafe(|| body.run(&*subject))).map_err(|payload| {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).into()));
            Failed::from(text.unwrap_or_else(|| "a panic without words".to_owned()))
        })
    })
    .with_ignored_flag(!is_for)
}
