//! One-line cases: what happens is noted in a log, and the log is compared.

use std::cell::{Cell, RefCell};
use std::fmt::{Debug, Display};
use std::rc::Rc;
use std::sync::Once;

use ropewalk_core::{
    Abandoned, Cancelled, Deferred, Failure, FailureGroup, FirstError, Resolver, TimedOut,
};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

pub(crate) type D = Deferred<i32>;

/// What happened, in words.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn say(&self, what: impl Display) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// A callback that notes its name and the value, and passes the value on.
    pub(crate) fn ok(&self, name: &'static str) -> impl FnOnce(i32) -> i32 + use<> {
        self.plus(name, 0)
    }

    /// The same, and it adds to the value.
    pub(crate) fn plus(&self, name: &'static str, n: i32) -> impl FnOnce(i32) -> i32 + use<> {
        let log = self.clone();
        move |value| {
            log.say(format!("{name}{value}"));
            value + n
        }
    }

    /// A callback that fails, with its name.
    pub(crate) fn fails(
        &self,
        name: &'static str,
    ) -> impl FnOnce(i32) -> Result<i32, Failure> + use<> {
        let log = self.clone();
        move |value| {
            log.say(format!("{name}{value}"));
            Err(Failure::msg(name))
        }
    }

    /// A callback that returns a Deferred.
    pub(crate) fn gives(&self, name: &'static str, inner: D) -> impl FnOnce(i32) -> D + use<> {
        let log = self.clone();
        move |value| {
            log.say(format!("{name}{value}"));
            inner
        }
    }

    /// An errback that passes the failure on.
    pub(crate) fn err(
        &self,
        name: &'static str,
    ) -> impl FnOnce(Failure) -> Result<i32, Failure> + use<> {
        let log = self.clone();
        move |failure| {
            log.say(format!("{name}:{}", words(&failure)));
            Err(failure)
        }
    }

    /// An errback that makes a value of it.
    pub(crate) fn heal(
        &self,
        name: &'static str,
        value: i32,
    ) -> impl FnOnce(Failure) -> i32 + use<> {
        let log = self.clone();
        move |failure| {
            log.say(format!("{name}:{}", words(&failure)));
            value
        }
    }

    /// A function that notes its name: a canceller, a timed call.
    pub(crate) fn note(&self, name: &'static str) -> impl Fn() + 'static + use<> {
        let log = self.clone();
        move || log.say(name)
    }

    /// A source whose canceller notes its name.
    pub(crate) fn source(&self, name: &'static str) -> (Resolver<i32>, D) {
        Deferred::with_canceller(self.note(name))
    }

    /// Notes how it ends: `=value` or `!failure`.
    pub(crate) fn end<T: Debug + 'static>(&self, deferred: Deferred<T>) {
        let log = self.clone();
        drop(deferred.add_both(move |result| match result {
            Ok(value) => log.say(format!("={value:?}")),
            Err(failure) => log.say(format!("!{}", words(&failure))),
        }));
    }

    pub(crate) fn take(&self) -> String {
        self.0.take().join(" ")
    }
}

/// A failure that can be told apart in a log.
pub(crate) fn fail(name: &'static str) -> Failure {
    Failure::msg(name)
}

/// One word for each failure that has a type of its own.
pub(crate) fn words(failure: &Failure) -> String {
    if let Some(first) = failure.check::<FirstError>() {
        format!("first[{}]:{}", first.index(), words(first.failure()))
    } else if let Some(group) = failure.check::<FailureGroup>() {
        let all: Vec<_> = group.failures().iter().map(words).collect();
        format!("group[{}]", all.join(","))
    } else if failure.check::<Cancelled>().is_some() {
        "cancelled".to_owned()
    } else if failure.check::<Abandoned>().is_some() {
        "abandoned".to_owned()
    } else if failure.check::<TimedOut>().is_some() {
        "timed-out".to_owned()
    } else {
        failure.to_string()
    }
}

/// The cases of a table.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) count: usize,
    wrong: Vec<String>,
}

impl Table {
    /// Runs a case. Failures that nobody handled are in its log too, as `?failure`.
    pub(crate) fn case(&mut self, name: &str, run: impl FnOnce(&Log), expected: &str) {
        self.count += 1;
        let log = Log::default();
        unhandled_go_to(Some(log.clone()));
        run(&log);
        unhandled_go_to(None);
        let got = log.take();
        if got != expected {
            self.wrong
                .push(format!("{name}\n  expected: {expected}\n  got:      {got}"));
        }
    }

    pub(crate) fn finish(self) {
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
    }
}

thread_local! {
    static UNHANDLED: Cell<Option<Log>> = const { Cell::new(None) };
}

fn unhandled_go_to(log: Option<Log>) {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Unhandled);
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    UNHANDLED.set(log);
}

/// Notes the reports of failures that nobody handled.
pub(crate) struct Unhandled;

impl<S: tracing::Subscriber> Layer<S> for Unhandled {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "ropewalk::unhandled"
            && let Some(log) = UNHANDLED.take()
        {
            event.record(&mut Report(&log));
            UNHANDLED.set(Some(log));
        }
    }
}

struct Report<'a>(&'a Log);

impl Visit for Report<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "failure" {
            let text = format!("{value:?}");
            let short = match text.starts_with("no result will come") {
                true => "abandoned",
                false => &text,
            };
            self.0.say(format!("?{short}"));
        }
    }
}
