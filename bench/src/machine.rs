//! The machine that is measured on: its cores and who has which, and what else it is doing.
//!
//! Servers get one core, or two; the load gets the others. What the hypervisor took (steal) and
//! what other programs used is read from the kernel's counters, so that a burst that others
//! disturbed can be thrown away.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How the cores are shared out, as lists for `taskset`.
#[derive(Clone, Debug)]
pub struct Cores {
    pub server: String,
    pub load: String,
    /// How many cores the load has.
    pub load_count: usize,
}

impl Cores {
    /// `servers` cores for the server, and the rest for the load. `None` if nothing would be left.
    pub fn share(servers: usize) -> Option<Self> {
        let all = std::thread::available_parallelism().map_or(1, usize::from);
        // The first core serves the interrupts of most machines: the load has it.
        let first = all.checked_sub(servers).filter(|load| *load > 0)?;
        Some(Self {
            server: range(first, all),
            load: range(0, first),
            load_count: first,
        })
    }
}

fn range(from: usize, to: usize) -> String {
    format!("{from}-{}", to - 1)
}

/// What a reader of the figures has to know of the machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub system: String,
    pub memory_mib: u64,
}

impl Machine {
    pub fn look() -> io::Result<Self> {
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = fs::read_to_string("/proc/meminfo")?;
        let memory = field(&memory, "MemTotal").unwrap_or_default();
        let kib: u64 = memory
            .trim_end_matches(" kB")
            .parse()
            .map_err(io::Error::other)?;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field(&cpu, "model name").unwrap_or_else(|| "unknown".to_owned()),
            system: format!("Linux {}", release.trim()),
            memory_mib: kib / 1024,
        })
    }
}

/// The counters of all cores at one moment, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    busy: f64,
    stolen: f64,
}

/// What happened on the machine between two moments, in cores: 1 is one core all the time.
#[derive(Clone, Copy, Debug)]
pub struct Disturbance {
    pub stolen: f64,
    pub foreign: f64,
}

impl Usage {
    pub fn now() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        // user, nice, system, idle, iowait, irq, softirq, steal.
        let [user, nice, system, _, _, irq, soft_irq, stolen, ..] = ticks[..] else {
            return Err(io::Error::other("/proc/stat does not look as expected"));
        };
        Ok(Self {
            at: Instant::now(),
            busy: (user + nice + system + irq + soft_irq) / TICKS_A_SECOND,
            stolen: stolen / TICKS_A_SECOND,
        })
    }

    /// What was done since then beside the `ours` seconds of processor time that were wanted.
    pub fn since(self, ours: Duration) -> io::Result<Disturbance> {
        let now = Self::now()?;
        let seconds = now.at.duration_since(self.at).as_secs_f64();
        Ok(Disturbance {
            stolen: (now.stolen - self.stolen) / seconds,
            foreign: ((now.busy - self.busy - ours.as_secs_f64()) / seconds).max(0.0),
        })
    }
}

/// `USER_HZ`, which is 100 on all that Linux runs on today (proc(5)).
pub const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_can_be_read() {
        let machine = Machine::look().unwrap();
        assert!(machine.cores >= 1 && machine.memory_mib > 0);
        let before = Usage::now().unwrap();
        let disturbance = before.since(Duration::ZERO).unwrap();
        assert!(disturbance.foreign >= 0.0);
    }

    #[test]
    fn the_load_always_has_a_core() {
        let all = std::thread::available_parallelism().unwrap().get();
        assert!(Cores::share(all).is_none());
        if let Some(cores) = Cores::share(1) {
            assert_eq!(cores.load_count, all - 1);
        }
    }
}
