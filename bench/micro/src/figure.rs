//! A figure: how it is come by, and the line that says it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often each figure is measured. Odd, so that there is one in the middle.
const REPETITIONS: usize = 5;

/// What one kind of work takes.
#[derive(Debug, Serialize)]
pub struct Figure {
    work: String,
    per_second: f64,
    nanoseconds: f64,
    /// Of one repetition.
    operations: u64,
}

impl Figure {
    /// The median of five repetitions, after one that does not count. Each returns the time that all
    /// `operations` took.
    pub(crate) fn measure(
        work: impl Into<String>,
        operations: u64,
        mut repetition: impl FnMut() -> Duration,
    ) -> Self {
        let mut repetitions = Repetitions::of([(work.into(), operations)]);
        while repetitions.are_wanted() {
            repetitions.note([repetition()]);
        }
        let [figure] = repetitions.figures();
        figure
    }

    fn of(work: String, operations: u64, took: Duration) -> Self {
        // A clock may say that nothing has passed, of very little work.
        let seconds = took.as_secs_f64().max(1e-9);
        let rounded = |number: f64| (number * 100.0).round() / 100.0;
        Self {
            work,
            per_second: rounded(operations as f64 / seconds),
            nanoseconds: rounded(seconds * 1e9 / operations as f64).max(0.01),
            operations,
        }
    }
}

/// The repetitions of work of several kinds that is done in one go, and each kind's name and number of
/// operations.
pub(crate) struct Repetitions<const N: usize> {
    works: [(String, u64); N],
    times: Vec<[Duration; N]>,
}

impl<const N: usize> Repetitions<N> {
    pub(crate) fn of(works: [(String, u64); N]) -> Self {
        let times = Vec::new();
        Self { works, times }
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.times.len() < 1 + REPETITIONS
    }

    /// What one repetition took, of each kind.
    pub(crate) fn note(&mut self, times: [Duration; N]) {
        self.times.push(times);
    }

    /// The medians, without the first repetition.
    pub(crate) fn figures(self) -> [Figure; N] {
        let mut nth = 0..;
        self.works.map(|(work, operations)| {
            let nth = nth.next().expect("without end");
            let mut times: Vec<_> = self.times[1..].iter().map(|all| all[nth]).collect();
            times.sort_unstable();
            Figure::of(work, operations, times[REPETITIONS / 2])
        })
    }
}

/// The time that `work` takes.
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Prints one line of JSON, at once.
///
/// # Errors
/// Standard output takes no more.
pub fn print(result: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, result)?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repetition_does_not_count_and_the_middle_one_does() {
        let mut repetitions = Repetitions::of([("one".into(), 100), ("two".into(), 1000)]);
        for micros in [900, 50, 10, 40, 25, 30] {
            assert!(repetitions.are_wanted());
            repetitions.note([micros, 2 * micros].map(Duration::from_micros));
        }
        assert!(!repetitions.are_wanted());
        let [one, two] = repetitions.figures();
        assert_eq!((one.nanoseconds, one.operations), (300.0, 100));
        assert_eq!((two.nanoseconds, two.operations), (60.0, 1000));
        assert_eq!(two.work, "two");
        assert!((two.per_second - 1e9 / 60.0).abs() < 0.01);
    }

    #[test]
    fn what_takes_no_time_has_a_figure_still() {
        let figure = Figure::measure("nothing", 1_000_000, || Duration::ZERO);
        assert!(figure.nanoseconds > 0.0 && figure.per_second.is_finite());
    }
}
