//! The timers that live while some are added, cancelled and reset.
//!
//! Which ones, and by how much, is drawn before the time is taken, so that only the timers' own cost is
//! in it. The ones drawn are moved to the end, so that the handles are read in order: where a program
//! keeps its handles is no matter of the timers.

use std::time::Duration;

use crate::Sizes;
use crate::generator::Generator;

/// Live timers of a kind, each with the delay that it was last given.
pub(crate) struct Population<T> {
    live: Vec<(T, Duration)>,
    generator: Generator,
    /// How many are added, cancelled or reset in one turn of the loop.
    batch: usize,
}

impl<T> Population<T> {
    pub(crate) fn new(live: usize, mut add: impl FnMut(Duration) -> T) -> Self {
        let batch = batch(live);
        let mut generator = Generator::new(live as u64);
        let mut timers = Vec::with_capacity(live + batch);
        for _ in 0..live {
            let delay = generator.delay();
            timers.push((add(delay), delay));
        }
        Self {
            live: timers,
            generator,
            batch,
        }
    }

    /// Delays for the next ones to be added.
    pub(crate) fn draw_delays(&mut self) -> Vec<Duration> {
        (0..self.batch).map(|_| self.generator.delay()).collect()
    }

    /// Random ones, to be cancelled. They are still in the population.
    pub(crate) fn draw(&mut self) {
        let len = self.live.len();
        for end in (len - self.batch..len).rev() {
            self.live.swap(end, self.generator.below(end + 1));
        }
    }

    /// Random ones, with the longer delays that they are to be given.
    pub(crate) fn draw_longer(&mut self) -> &mut [(T, Duration)] {
        self.draw();
        let from = self.live.len() - self.batch;
        for (_, delay) in &mut self.live[from..] {
            *delay += self.generator.step();
        }
        &mut self.live[from..]
    }

    pub(crate) fn push(&mut self, timer: T, delay: Duration) {
        self.live.push((timer, delay));
    }

    /// Takes out those that were drawn.
    pub(crate) fn drain_drawn(&mut self) -> impl Iterator<Item = T> {
        let from = self.live.len() - self.batch;
        self.live.drain(from..).map(|(timer, _)| timer)
    }
}

/// As many as a busy turn touches: enough to make the cost of the turn small among them, and so few that
/// what one turn frees is still at hand when the next one adds.
fn batch(live: usize) -> usize {
    live.min(2000)
}

/// How many batches make a repetition.
pub(crate) fn rounds(sizes: &Sizes, live: usize) -> usize {
    sizes.timers.div_ceil(batch(live))
}

/// The figures of a population, by name and number of operations: of adding, cancelling, resetting.
pub(crate) fn works(sizes: &Sizes, live: usize) -> [(String, u64); 3] {
    let operations = (rounds(sizes, live) * batch(live)) as u64;
    ["add", "cancel", "reset"].map(|what| {
        let work = format!("timers {what}, {} live", count(live));
        (work, operations)
    })
}

/// A round number, in short.
fn count(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        1000..1_000_000 => format!("{} k", number / 1000),
        _ => format!("{} M", number / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_cancelling_keeps_the_population() {
        let mut next = 0..;
        let mut population = Population::new(10_000, |_| next.next());
        for delay in population.draw_delays() {
            population.push(next.next(), delay);
        }
        population.draw();
        let gone: Vec<_> = population.drain_drawn().collect();
        assert_eq!(population.live.len(), 10_000);
        let mut all: Vec<_> = gone
            .iter()
            .copied()
            .chain(population.live.iter().map(|(id, _)| *id))
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 12_000);
        // Old and new, in no order.
        assert!(
            gone.iter().any(|id| *id < Some(9000)) && gone.iter().any(|id| *id >= Some(10_000))
        );
        assert!(!gone.is_sorted());
    }

    #[test]
    fn delays_only_grow() {
        let mut population = Population::new(5000, |delay| delay);
        let drawn = population.draw_longer();
        assert_eq!(drawn.len(), 2000);
        assert!(drawn.iter().all(|(before, after)| before <= after));
    }

    #[test]
    fn names_say_how_many_live() {
        let works = works(&Sizes::full(), 1_000_000);
        assert_eq!(works[0], ("timers add, 1 M live".to_owned(), 2_000_000));
        assert_eq!(works[2].0, "timers reset, 1 M live");
        assert_eq!(
            [100, 10_000, 10_000_000].map(count),
            ["100", "10 k", "10 M"]
        );
    }
}
