//! The order of bursts, and the ratios that come of them.
//!
//! The machines are noisy, and drift. So each burst of a server stands between two bursts of the
//! reference, and is divided by their mean: what slows both down falls out. The order of the
//! servers is drawn anew in each round, so that none has a neighbour that always helps it.

use serde::{Deserialize, Serialize};

/// The order of one round: the reference (0) first, last, and between the others.
pub fn round(servers: usize, random: &mut fastrand::Rng) -> Vec<usize> {
    let mut others: Vec<usize> = (1..servers).collect();
    random.shuffle(&mut others);
    let mut order = vec![0];
    for other in others {
        order.extend([other, 0]);
    }
    order
}

/// A burst that was good enough to count: whose it was, and its figure.
pub type Burst = (usize, Option<f64>);

/// Each server's figures in `bursts`, with their ratios to the neighbouring bursts of the
/// reference. A burst that was dropped has no figure; if both its neighbours were dropped, a
/// burst has no ratio.
pub fn pair(bursts: &[Burst], servers: usize) -> Vec<Series> {
    let mut all = vec![Series::default(); servers];
    for (at, (server, figure)) in bursts.iter().enumerate() {
        let Some(figure) = *figure else {
            all[*server].dropped += 1;
            continue;
        };
        all[*server].figures.push(figure);
        if *server == 0 {
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| bursts.get(at));
        let neighbours: Vec<f64> = [before, bursts.get(at + 1)]
            .into_iter()
            .flatten()
            .filter(|(server, _)| *server == 0)
            .filter_map(|(_, figure)| *figure)
            .collect();
        if !neighbours.is_empty() {
            let mean = neighbours.iter().sum::<f64>() / neighbours.len() as f64;
            all[*server].ratios.push(figure / mean);
        }
    }
    all
}

/// What one server's bursts gave.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Series {
    pub figures: Vec<f64>,
    /// To the reference, in pairs.
    pub ratios: Vec<f64>,
    /// Bursts that others disturbed, or that failed.
    pub dropped: usize,
}

impl Series {
    pub fn figure(&self) -> Option<f64> {
        median(&self.figures)
    }

    pub fn ratio(&self) -> Option<f64> {
        median(&self.ratios)
    }

    /// The least and the greatest ratio.
    pub fn spread(&self) -> Option<(f64, f64)> {
        let least = self.ratios.iter().copied().reduce(f64::min)?;
        let greatest = self.ratios.iter().copied().reduce(f64::max)?;
        Some((least, greatest))
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_stands_once_between_two_of_the_reference() {
        let mut random = fastrand::Rng::with_seed(7);
        let order = round(5, &mut random);
        assert_eq!(order.len(), 9);
        assert!(order.iter().step_by(2).all(|server| *server == 0));
        let mut others: Vec<_> = order.iter().skip(1).step_by(2).collect();
        others.sort();
        assert_eq!(others, [&1, &2, &3, &4]);
    }

    #[test]
    fn a_ratio_is_to_the_mean_of_the_neighbours_that_count() {
        let bursts = [
            (0, Some(100.0)),
            (1, Some(300.0)),
            (0, Some(200.0)),
            (2, Some(50.0)),
            (0, None),
            (1, Some(100.0)),
            (0, None),
        ];
        let all = pair(&bursts, 3);
        assert_eq!(all[1].ratios, [2.0]);
        assert_eq!(all[1].figures, [300.0, 100.0]);
        assert_eq!(all[2].ratios, [0.25]);
        assert_eq!((all[0].dropped, all[0].figure()), (2, Some(150.0)));
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
