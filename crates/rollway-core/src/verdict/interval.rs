//! The interval of the ratio of two rates, for people to look at: it holds at every look.
//!
//! Given how much went wrong in all, the canary's part of it is a draw with its share of the
//! traffic, tilted by the ratio. The likelihood of each ratio of a grid is kept over intervals
//! with shares of their own; a ratio is left out when the mean likelihood of the grid is `1/alpha`
//! times its own. Exact where bad outcomes are rare; at a ratio of 1 always valid.

use serde::{Deserialize, Serialize};

use super::eprocess::Pair;
use super::exact;
use super::stats::special::ln_sum;
use super::stats::{Outcomes, Range, count};

/// How many ratios are held; they reach from `exp(-4.6)` (1 %) to `exp(4.6)` (a hundred times).
pub const RATIOS: usize = 93;
/// ln of the largest.
const LN_RATIO_MOST: f64 = 4.6;

/// The likelihoods of the ratios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    /// Less the highest of them. Half as exact as everything else, to save space: what is near
    /// the highest, and so near the ends of the interval, keeps six digits, and no decision
    /// rests on it.
    #[serde(with = "exact::many_small")]
    ln_likelihood: [f32; RATIOS],
}

impl Default for Ratios {
    fn default() -> Self {
        Self { ln_likelihood: [0.0; RATIOS] }
    }
}

/// ln of each ratio of the grid.
fn ln_ratios() -> impl Iterator<Item = f64> {
    let step = 2.0 * LN_RATIO_MOST / count(RATIOS as u64 - 1);
    (0..RATIOS as u64).map(move |place| count(place) * step - LN_RATIO_MOST)
}

impl Ratios {
    /// Takes in an interval; one with an empty arm or nothing bad says nothing.
    pub fn observe(&mut self, seen: Pair<Outcomes>) {
        let (canary, baseline) = (count(seen.canary.total), count(seen.baseline.total));
        let (x, y) = (count(seen.canary.bad), count(seen.baseline.bad));
        if canary == 0.0 || baseline == 0.0 || x + y == 0.0 {
            return;
        }
        let ln_odds = (canary / baseline).ln();
        let mut grown = self.ln_likelihood.map(f64::from);
        // From ratio to ratio by a factor: 93 exponentials would be most of a check's time.
        let mut tilted = (ln_odds - LN_RATIO_MOST).exp();
        let factor = (2.0 * LN_RATIO_MOST / count(RATIOS as u64 - 1)).exp();
        for (ln, ln_ratio) in grown.iter_mut().zip(ln_ratios()) {
            // theta = odds r / (1 + odds r), and one less that is 1 / (1 + odds r).
            *ln += x * (ln_odds + ln_ratio) - (x + y) * tilted.ln_1p();
            tilted *= factor;
        }
        let most = grown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.ln_likelihood = grown.map(|ln| exact::small(ln - most));
    }

    /// The ratios that are not left out at `alpha`. An end at the end of the grid is open: 0 or
    /// infinite.
    #[must_use]
    pub fn interval(&self, alpha: f64) -> Range {
        let ln_likelihood = self.ln_likelihood.map(f64::from);
        let least = ln_sum(&ln_likelihood) - count(RATIOS as u64).ln() + alpha.ln();
        let inside = || ln_ratios().zip(&ln_likelihood).filter(|(_, ln)| **ln > least);
        let lower = inside().map(|(ratio, _)| ratio).fold(f64::INFINITY, f64::min);
        let upper = inside().map(|(ratio, _)| ratio).fold(f64::NEG_INFINITY, f64::max);
        // Out to the next ratio of the grid, which is the first that is left out.
        let step = 2.0 * LN_RATIO_MOST / count(RATIOS as u64 - 1);
        Range {
            lower: if lower <= -LN_RATIO_MOST { 0.0 } else { (lower - step).exp() },
            upper: if upper >= LN_RATIO_MOST { f64::INFINITY } else { (upper + step).exp() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::stats::mixture::Mixture;
    use crate::verdict::stats::special::Share;

    #[test]
    fn it_holds_the_truth_and_agrees_with_the_closed_form() {
        let mut ratios = Ratios::default();
        assert_eq!(ratios.interval(0.01), Range { lower: 0.0, upper: f64::INFINITY });
        for _ in 0..100 {
            let arm = |bad, total| Outcomes { bad, total };
            ratios.observe(Pair { canary: arm(5, 1000), baseline: arm(19, 19_000) });
        }
        let grid = ratios.interval(0.01);
        assert!(grid.lower < 5.0 && 5.0 < grid.upper && grid.lower > 3.5, "{grid:?}");
        let mixture = Mixture { traffic: Share::new(0.05), concentration: 10.0 };
        let closed = mixture.ln_ratio_interval(500, 1900, 0.01);
        assert!((grid.lower.ln() - closed.lower).abs() < 0.25, "{grid:?} {closed:?}");
        assert!((grid.upper.ln() - closed.upper).abs() < 0.25, "{grid:?} {closed:?}");
    }
}
