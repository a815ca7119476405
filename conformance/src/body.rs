//! A behaviour, as a test body; and the table of those of a file.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use crate::bare::Bare;
use crate::case::Case;
use crate::{Feature, Subject, panics};

/// Held by all bodies together, or by one that leaves nothing for others.
static PROCESS: RwLock<()> = RwLock::new(());

/// One behaviour that a driver is held to.
pub struct Body {
    topic: &'static str,
    name: &'static str,
    needs: &'static [Feature],
    run: Run,
}

/// What it runs on.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// A reactor on the driver.
    Reactor(fn(&Case<'_>)),
    /// The driver alone.
    Driver(fn(&Bare<'_>)),
}

impl Body {
    pub(crate) const fn new(
        topic: &'static str,
        name: &'static str,
        needs: &'static [Feature],
        run: Run,
    ) -> Self {
        Self {
            topic,
            name,
            needs,
            run,
        }
    }

    /// What it is about.
    #[must_use]
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// The behaviour: a sentence, with `_` for blanks.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What a driver must have for it.
    #[must_use]
    pub fn needs(&self) -> &'static [Feature] {
        self.needs
    }

    /// Whether `subject` has all that it needs.
    #[must_use]
    pub fn is_for(&self, subject: &dyn Subject) -> bool {
        self.needs.iter().all(|feature| subject.offers(*feature))
    }

    /// Runs it.
    ///
    /// # Panics
    /// When the driver behaves otherwise, with what it did.
    pub fn run(&self, subject: &dyn Subject) {
        // Where there are no descriptors left, there are none for anybody in the process.
        let (_alone, _among_others);
        if self.needs.contains(&Feature::DescriptorLimit) {
            _alone = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
        } else {
            _among_others = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
        }
        panics::watch();
        match self.run {
            Run::Reactor(body) => {
                let case = Case::new(subject);
                body(&case);
                case.check();
            }
            Run::Driver(body) => {
                let bare = Bare::new(subject);
                body(&bare);
                bare.check();
            }
        }
        let panics = panics::noted();
        assert!(panics.is_empty(), "within callbacks: {panics:#?}");
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({}::{})", self.topic, self.name)
    }
}

/// The table of a file: its functions are bodies for a reactor, or after `driver` for a bare
/// driver.
macro_rules! topic {
    ($topic:ident: $($name:ident $([$($feature:ident),+])?,)+) => {
        topic!(@table Reactor, $topic: $($name $([$($feature),+])?,)+);
    };
    (driver $topic:ident: $($name:ident $([$($feature:ident),+])?,)+) => {
        topic!(@table Driver, $topic: $($name $([$($feature),+])?,)+);
    };
    (@table $kind:ident, $topic:ident: $($name:ident $([$($feature:ident),+])?,)+) => {
        pub(super) static BODIES: &[$crate::Body] = &[$(
            $crate::Body::new(
                stringify!($topic),
                stringify!($name),
                &[$($($crate::Feature::$feature),+)?],
                $crate::body::Run::$kind($name),
            ),
        )+];
    };
}
pub(crate) use topic;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::boom;
    use ropewalk_reactor::PollDriver;
    use ropewalk_reactor::driver::Driver;
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    struct Poll;

    impl Subject for Poll {
        fn name(&self) -> &str {
            "poll"
        }

        fn driver(&self) -> io::Result<Rc<dyn Driver>> {
            Ok(Rc::new(PollDriver::new()?))
        }

        fn offers(&self, _: Feature) -> bool {
            true
        }
    }

    fn passes(run: fn(&Case<'_>)) -> bool {
        let body = Body::new("a topic", "a body", &[], Run::Reactor(run));
        catch_unwind(AssertUnwindSafe(|| body.run(&Poll))).is_ok()
    }

    fn after(case: &Case<'_>, call: fn()) {
        let log = case.log();
        let noted = log.clone();
        case.reactor().call_when_running(call);
        case.reactor()
            .call_when_running(move || noted.note("later"));
        case.until_noted(&log, "later");
    }

    #[test]
    fn an_assertion_that_fails_within_a_callback_fails_its_body_and_no_other() {
        assert!(!passes(|case| after(case, || assert_eq!(1 + 1, 3))));
        assert!(passes(|case| after(case, || boom())));
        assert!(passes(|case| after(case, || ())));
    }
}
