//! What is counted: the window of time, a thread's tally, and the result that all tallies make.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use serde::Serialize;

use crate::{args::Load, failure::Failure};

/// Latencies above are counted as this one.
const HIGHEST: u64 = 120 * 1_000_000_000;

/// The time of a run in nanoseconds since its start: first the warm-up, then the window that counts.
pub(crate) struct Clock {
    start: Instant,
    pub(crate) warm: u64,
    pub(crate) end: u64,
    stopped: AtomicBool,
}

impl Clock {
    pub(crate) fn start(load: &Load) -> Self {
        Self {
            start: Instant::now(),
            warm: load.warmup.as_nanos() as u64,
            end: (load.warmup + load.seconds).as_nanos() as u64,
            stopped: AtomicBool::new(false),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// What is left until `time`.
    pub(crate) fn until(&self, time: u64) -> Duration {
        Duration::from_nanos(time.saturating_sub(self.now()))
    }

    /// Whether what happens at `time` counts.
    pub(crate) fn counts(&self, time: u64) -> bool {
        (self.warm..self.end).contains(&time)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.now() >= self.end
    }

    /// Ends the run early, for all threads.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// User and system time of this process so far, in seconds.
pub(crate) fn cpu_seconds() -> Result<f64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)
        .map_err(|error| Failure::doing("reading the CPU time of this process")(error.into()))?;
    let both = usage.user_time() + usage.system_time();
    Ok(both.num_microseconds() as f64 / 1e6)
}

/// What one thread counted.
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) latency: Histogram<u64>,
    /// Only of datagrams.
    pub(crate) lost: Option<u64>,
    /// Only of downloads: connections that the server ended as it had said.
    pub(crate) reconnects: Option<u64>,
    /// Only of an open loop.
    pub(crate) open: Option<OpenLoop>,
}

pub(crate) struct OpenLoop {
    /// The bound of what may be in flight was reached.
    pub(crate) overload: bool,
    /// In flight at the end. Their age then is among the latencies.
    pub(crate) unanswered: u64,
    /// From due to written: what of the latency is the generator's own.
    pub(crate) late: Histogram<u64>,
}

impl Default for OpenLoop {
    fn default() -> Self {
        Self {
            overload: false,
            unanswered: 0,
            late: histogram(),
        }
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            requests: 0,
            bytes: 0,
            errors: 0,
            first_error: None,
            latency: histogram(),
            lost: None,
            reconnects: None,
            open: None,
        }
    }

    pub(crate) fn error(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }

    /// Takes over what another thread counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latency += other.latency;
        self.lost = sum(self.lost, other.lost);
        self.reconnects = sum(self.reconnects, other.reconnects);
        match (&mut self.open, other.open) {
            (Some(open), Some(other)) => {
                open.overload |= other.overload;
                open.unanswered += other.unanswered;
                open.late += other.late;
            }
            (open, other) => *open = open.take().or(other),
        }
    }

    /// The result, when the window was `seconds` long.
    pub(crate) fn measured(&self, seconds: f64, cpu_seconds: f64) -> Measured {
        let per_second = |number: u64| {
            if seconds > 0.0 {
                round(number as f64 / seconds)
            } else {
                0.0
            }
        };
        Measured {
            requests: self.requests,
            bytes: self.bytes,
            seconds,
            per_second: per_second(self.requests),
            bytes_per_second: per_second(self.bytes),
            errors: self.errors,
            cpu_seconds: (cpu_seconds * 1e6).round() / 1e6,
            latency_us: Percentiles::of(&self.latency),
            lost: self.lost,
            reconnects: self.reconnects,
            overload: self.open.as_ref().map(|open| open.overload),
            unanswered: self.open.as_ref().map(|open| open.unanswered),
            late_us: self.open.as_ref().map(|open| Percentiles::of(&open.late)),
        }
    }
}

/// Of what only some loads count.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

/// The line that a run prints. All is of the window, but `errors` and `reconnects` are of the whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// Answers that came whole: messages, lines, cycles, bodies, datagrams.
    requests: u64,
    /// Their bytes; of a download only the bodies'.
    bytes: u64,
    /// The window; shorter than asked for when no connection was left.
    seconds: f64,
    /// Requests.
    per_second: f64,
    bytes_per_second: f64,
    /// Connections that were lost or refused, and socket calls that failed.
    errors: u64,
    /// User and system time of all threads. Near `seconds` times threads, the generator was the limit; an open
    /// loop spins, so there `late_us` says it.
    cpu_seconds: f64,
    latency_us: Percentiles,
    // Below: what only some loads have.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reconnects: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overload: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unanswered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_us: Option<Percentiles>,
}

/// In microseconds.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Percentiles {
    /// Of nanoseconds.
    fn of(times: &Histogram<u64>) -> Self {
        let at = |quantile| round(times.value_at_quantile(quantile) as f64 / 1000.0);
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

/// Three digits, for times in nanoseconds.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST, 3).expect("bounds that a histogram can have")
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Prints one line of JSON, at once.
pub(crate) fn print(result: &impl Serialize) -> Result<(), Failure> {
    let print = || -> io::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, result)?;
        out.write_all(b"\n")?;
        out.flush()
    };
    print().map_err(Failure::doing("writing the result to standard output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut times = histogram();
        for micros in 1..=1000 {
            times.saturating_record(micros * 1000);
        }
        let said = Percentiles::of(&times);
        for (is, must) in [
            (said.p50, 500.0),
            (said.p90, 900.0),
            (said.p99, 990.0),
            (said.p999, 999.0),
            (said.max, 1000.0),
        ] {
            assert!((is - must).abs() <= must / 1000.0 + 0.1, "{is} for {must}");
        }
    }

    #[test]
    fn no_latency_at_all_is_zero() {
        assert_eq!(Percentiles::of(&histogram()).max, 0.0);
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally::new();
        for (latency, overload) in [(1000, false), (3000, true)] {
            let mut tally = Tally::new();
            tally.requests = 2;
            tally.bytes = 128;
            tally.lost = Some(3);
            tally.latency.saturating_record(latency);
            tally.error(format!("error {latency}"));
            tally.open = Some(OpenLoop {
                overload,
                unanswered: 4,
                ..OpenLoop::default()
            });
            sum.add(tally);
        }
        assert_eq!(sum.first_error.as_deref(), Some("error 1000"));
        let result = serde_json::to_value(sum.measured(2.0, 0.5)).unwrap();
        assert_eq!(result["requests"], 4);
        assert_eq!(result["per_second"], 2.0);
        assert_eq!(result["bytes_per_second"], 128.0);
        assert_eq!(result["errors"], 2);
        assert_eq!(result["lost"], 6);
        assert_eq!(result["overload"], true);
        assert_eq!(result["unanswered"], 8);
        assert_eq!(result["latency_us"]["max"], 3.0);
    }
}
