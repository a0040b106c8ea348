//! A p-value, valid at any time, of "both arms have the same quantile" (Howard and Ramdas).

use super::boundaries::{Best, Martingale, Sides};
use super::special::least;
use super::{count, length};

/// The test of one quantile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileTest {
    /// Which quantile, in (0, 1).
    pub quantile: f64,
    /// It is the most powerful around so many samples an arm.
    pub best_total: f64,
    /// At this level.
    pub best_alpha: f64,
}

/// One arm, sorted, with what its mixture is at each proportion below.
struct Arm<'a> {
    sorted: &'a [f64],
    test: QuantileTest,
    mixture: Martingale,
    /// The proportion at which the mixture is the least, and the values around it.
    least_at: f64,
    from: f64,
    to: f64,
}

impl QuantileTest {
    /// The p-value; 1 where an arm is empty.
    #[must_use]
    pub fn p_value(&self, first: &[f64], second: &[f64]) -> f64 {
        let sorted = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            values
        };
        let (first, second) = (sorted(first), sorted(second));
        let (Some(first), Some(second)) = (Arm::new(&first, *self), Arm::new(&second, *self))
        else {
            return 1.0;
        };
        // Both are constant between the values, so that the least is at one of them.
        let values = first.sorted.iter().chain(second.sorted);
        let least = values.map(|x| first.ln_e(*x) + second.ln_e(*x)).fold(f64::INFINITY, f64::min);
        (-least).exp().min(1.0)
    }
}

impl<'a> Arm<'a> {
    fn new(sorted: &'a [f64], test: QuantileTest) -> Option<Self> {
        let (p, last) = (test.quantile, sorted.last()?);
        let best = Best { v: test.best_total * p * (1.0 - p), alpha: test.best_alpha };
        let mixture = Martingale::beta_binomial(best, p, 1.0 - p, Sides::Two);
        let mut arm = Self { sorted, test, mixture, least_at: 0.0, from: *last, to: *last };
        arm.least_at = least(0.0, 1.0, |share| arm.of_share(share)).0;
        let place = arm.least_at * length(sorted);
        // The values whose ranks are the place rounded up, and rounded down and one more.
        let at_least = |rank: f64| {
            let ranked = sorted.iter().zip(1u64..);
            ranked.filter(|(_, own)| count(*own) >= rank).map(|(value, _)| *value).next()
        };
        arm.from = at_least(place.ceil()).unwrap_or(*last);
        arm.to = at_least(place.floor() + 1.0).unwrap_or(*last);
        Some(arm)
    }

    fn of_share(&self, share: f64) -> f64 {
        let (n, p) = (length(self.sorted), self.test.quantile);
        self.mixture.ln_value((share - p) * n, p * (1.0 - p) * n)
    }

    /// ln of the least e-value of "the quantile is x".
    fn ln_e(&self, x: f64) -> f64 {
        let n = length(self.sorted);
        let below = if x < self.from {
            length(&self.sorted[..self.sorted.partition_point(|value| *value <= x)]) / n
        } else if x > self.to {
            length(&self.sorted[..self.sorted.partition_point(|value| *value < x)]) / n
        } else {
            self.least_at
        };
        self.of_share(below)
    }
}
