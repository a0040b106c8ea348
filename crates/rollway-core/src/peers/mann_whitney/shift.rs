//! How far the first sample lies above the second: estimate and interval.

use super::exact::Distribution;
use super::{Alternative, Continuity, Interval, Samples, Solver, correction, float};
use crate::peers::normal;
use crate::problem::Problem;

/// The tolerance of R's search, in whatever the unit is.
const R_TOLERANCE: f64 = 1e-4;
/// So many steps at most.
const STEPS_MAX: u32 = 1000;

impl Samples {
    /// The median of all differences: Hodges and Lehmann's estimate of the shift.
    #[must_use]
    pub fn hodges_lehmann(&self) -> f64 {
        let pairs = self.pairs();
        let upper = self.difference(pairs / 2 + 1);
        if pairs % 2 == 1 { upper } else { f64::midpoint(self.difference(pairs / 2), upper) }
    }

    /// The shift at which the test sees nothing, as R and Kayenta search for it: R without the
    /// correction, Kayenta with it. None if all values are tied at some shift that is tried.
    #[must_use]
    pub fn location(&self, by: Continuity) -> Option<f64> {
        self.root(0.0, Alternative::TwoSided, by).map(|(root, _)| root)
    }

    /// How many deviations `u` is from the middle after a shift, less `quantile`.
    ///
    /// None if all values are then the same.
    #[must_use]
    pub fn standing(&self, shift: f64, quantile: f64, by: Continuity) -> Option<f64> {
        self.standing_against(shift, quantile, Alternative::TwoSided, by)
    }

    fn standing_against(
        &self,
        shift: f64,
        quantile: f64,
        alternative: Alternative,
        by: Continuity,
    ) -> Option<f64> {
        let ranked = self.ranked(shift);
        let from_middle = ranked.above - float(self.pairs()) / 2.0;
        let deviation = self.deviation(ranked.ties)?;
        Some((from_middle - correction(from_middle, alternative, by)) / deviation - quantile)
    }

    /// The interval of the shift by the normal approximation with the correction. One-sided
    /// alternatives leave the other end open: infinite.
    ///
    /// None where [`Solver::R`] comes to a shift at which all values are the same.
    ///
    /// # Errors
    /// A confidence that is not between 0 and 1.
    pub fn interval(
        &self,
        confidence: f64,
        alternative: Alternative,
        solver: Solver,
    ) -> Result<Option<Interval>, Problem> {
        let alpha = alpha(confidence)?;
        let z = -normal::quantile(match alternative {
            Alternative::TwoSided => alpha / 2.0,
            Alternative::Less | Alternative::Greater => alpha,
        });
        let end = |quantile: f64| match solver {
            Solver::R => self.root(quantile, alternative, Continuity::Corrected),
            Solver::Steps => Some(self.step(quantile, alternative)),
        };
        let low = match alternative {
            Alternative::Less => Some((f64::NEG_INFINITY, true)),
            Alternative::TwoSided | Alternative::Greater => end(z),
        };
        let high = match alternative {
            Alternative::Greater => Some((f64::INFINITY, true)),
            Alternative::TwoSided | Alternative::Less => end(-z),
        };
        Ok(low.zip(high).map(|((low, is_low), (high, is_high))| Interval {
            low,
            high,
            is_reached: is_low && is_high,
        }))
    }

    /// The two-sided interval of the shift by the exact distribution.
    ///
    /// # Errors
    /// A confidence that is not between 0 and 1, samples that have ties, too many pairs.
    pub fn interval_exact(&self, confidence: f64) -> Result<Interval, Problem> {
        let alpha = alpha(confidence)?;
        self.can_be_exact()?;
        let distribution = Distribution::of(self.first.len(), self.second.len());
        let quantile = distribution.quantile(alpha / 2.0);
        let rank = quantile.max(1);
        Ok(Interval {
            low: self.difference(rank),
            high: self.difference(self.pairs() - rank + 1),
            // Even the most extreme order is too probable where the quantile is none at all.
            is_reached: quantile > 0,
        })
    }

    /// Where the standing comes down to `quantile`, and whether it does at all.
    fn root(&self, quantile: f64, alternative: Alternative, by: Continuity) -> Option<(f64, bool)> {
        let last = |values: &[f64]| values[values.len() - 1];
        let lower = self.first[0] - last(&self.second);
        let upper = last(&self.first) - self.second[0];
        let at = |shift: f64| self.standing_against(shift, quantile, alternative, by);
        let (at_lower, at_upper) = (at(lower)?, at(upper)?);
        if at_lower <= 0.0 {
            return Some((lower, quantile == 0.0));
        }
        if at_upper >= 0.0 {
            return Some((upper, quantile == 0.0));
        }
        zero((lower, at_lower), (upper, at_upper), at).map(|root| (root, true))
    }

    /// The difference at which the standing passes `quantile`. Between two neighbouring
    /// differences no value of the one sample equals one of the other: `u` is the number of
    /// differences above, and only ties within a sample narrow the deviation.
    fn step(&self, quantile: f64, alternative: Alternative) -> (f64, bool) {
        let ties_within = |values: &[f64]| -> f64 {
            let groups = values.chunk_by(|one, other| one == other).map(<[f64]>::len);
            groups.map(float).map(|tied| tied * tied * tied - tied).sum()
        };
        let pairs = self.pairs();
        let ties = ties_within(&self.first) + ties_within(&self.second);
        let deviation = self.deviation(ties).expect("two groups are never all one group");
        let standing = |below: usize| {
            let from_middle = float(pairs) / 2.0 - float(below);
            let by = Continuity::Corrected;
            (from_middle - correction(from_middle, alternative, by)) / deviation
        };
        // The least number of differences below with which the standing is no longer above.
        let (mut least, mut most) = (0, pairs + 1);
        let is_passed = |below: usize| {
            if quantile > 0.0 { standing(below) <= quantile } else { standing(below) < quantile }
        };
        while least < most {
            let middle = usize::midpoint(least, most);
            if middle > pairs || is_passed(middle) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        (self.difference(least.clamp(1, pairs)), (1..=pairs).contains(&least))
    }

    /// The `rank`-th of all differences, from the smallest, the first being 1: by halving the
    /// numbers that a float can be, so that neither a list of all pairs nor a tolerance is needed.
    fn difference(&self, rank: usize) -> f64 {
        let last = |values: &[f64]| values[values.len() - 1];
        let mut low = key(self.first[0] - last(&self.second));
        let mut high = key(last(&self.first) - self.second[0]);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.differences_up_to(value(middle)) >= rank {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        value(low)
    }

    fn differences_up_to(&self, most: f64) -> usize {
        let mut from = 0;
        let mut count = 0_usize;
        for one in &self.first {
            while self.second.get(from).is_some_and(|other| one - other > most) {
                from += 1;
            }
            count = count.saturating_add(self.second.len() - from);
        }
        count
    }
}

fn alpha(confidence: f64) -> Result<f64, Problem> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(1.0 - confidence);
    }
    let what = format!("expected a share between 0 and 1, found {confidence}");
    Err(Problem::new("confidence", what).hint("98 % is 0.98"))
}

const SIGN: u64 = 1 << 63;

/// A whole number that is ordered as the floats are.
fn key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn value(key: u64) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN }) + 0.0
}

/// Brent's search for a root between two ends, in the steps of R's `uniroot`: Brent, Algorithms
/// for Minimization without Derivatives, 1973, chapter 4.
fn zero(lower: (f64, f64), upper: (f64, f64), at: impl Fn(f64) -> Option<f64>) -> Option<f64> {
    let (mut a, mut b) = (lower, upper);
    let mut c = a;
    for _ in 0..STEPS_MAX {
        let previous = b.0 - a.0;
        if c.1.abs() < b.1.abs() {
            (a, b, c) = (b, c, b);
        }
        let tolerance = 2.0 * f64::EPSILON * b.0.abs() + R_TOLERANCE / 2.0;
        let half = (c.0 - b.0) / 2.0;
        if half.abs() <= tolerance || b.1 == 0.0 {
            return Some(b.0);
        }
        let mut step = half;
        if previous.abs() >= tolerance && a.1.abs() > b.1.abs() {
            let (over, under) = interpolated(a, b, c);
            let width = 1.5 * half * under - (tolerance * under).abs() / 2.0;
            if over < width && over < (previous * under / 2.0).abs() {
                step = over / under;
            }
        }
        if step.abs() < tolerance {
            step = tolerance.copysign(step);
        }
        a = b;
        b.0 += step;
        b.1 = at(b.0)?;
        if (b.1 > 0.0 && c.1 > 0.0) || (b.1 < 0.0 && c.1 < 0.0) {
            c = a;
        }
    }
    Some(b.0)
}

/// A step from `b` as a fraction: by a line where there are two points, else by a parabola.
fn interpolated(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> (f64, f64) {
    let width = c.0 - b.0;
    let second = b.1 / a.1;
    let (over, under) = if a.0.to_bits() == c.0.to_bits() {
        (width * second, 1.0 - second)
    } else {
        let (first, third) = (a.1 / c.1, b.1 / c.1);
        let over = second * (width * first * (first - third) - (b.0 - a.0) * (third - 1.0));
        (over, (first - 1.0) * (third - 1.0) * (second - 1.0))
    };
    if over > 0.0 { (over, -under) } else { (-over, under) }
}
