//! Mann and Whitney's test of two samples, as R's `wilcox.test` has it: whether values of the one
//! are larger than values of the other, by how much, and how sure that is.
//!
//! Exact for small samples without ties, otherwise by the normal approximation with the variance
//! mended for ties. The interval of the shift has two solvers: [`Solver::R`] finds its ends as R
//! does, by Brent's method with a tolerance of 1e-4 of whatever the unit is; [`Solver::Steps`]
//! finds the very differences at which the test changes its mind, at any scale.

use serde::{Deserialize, Serialize};

use super::normal;
use crate::problem::Problem;

mod exact;
mod shift;

/// R takes the exact distribution below this many values a side, where there are no ties.
pub const EXACT_BELOW: usize = 50;
/// The exact distribution is counted up to this many pairs: 100 values a side.
pub const EXACT_PAIRS_MAX: usize = 10_000;

/// What is to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alternative {
    /// They differ.
    TwoSided,
    /// Values of the first are smaller.
    Less,
    /// Values of the first are larger.
    Greater,
}

/// Whether half a step is taken off, as the approximated distribution has steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuity {
    /// Half a step is taken off.
    Corrected,
    /// None is.
    Plain,
}

/// How the probability is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// As R chooses: exact below [`EXACT_BELOW`] values a side without ties, else normal with
    /// the correction.
    Auto,
    /// By counting all orders.
    Exact,
    /// By the normal approximation.
    Normal(Continuity),
}

/// How the ends of the interval are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// As R does, to 1e-4 absolute: small units are rounded away, and an interval may be inverted.
    R,
    /// At the differences themselves: exact, and the same in every unit.
    Steps,
}

/// What the test comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How many pairs have the larger value in the first sample; ties are halves.
    pub u: f64,
    /// How probable that is, or worse, if the samples were alike.
    pub p: f64,
    /// How `p` was found; never `Auto`.
    pub method: Method,
}

/// How far the first sample lies above the second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The least shift that the samples allow.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// Whether so many samples can give the confidence that was asked for. Where they cannot,
    /// the ends are the extreme differences, and mean nothing.
    pub is_reached: bool,
}

/// Two samples of finite numbers, none of them empty.
#[derive(Debug, Clone)]
pub struct Samples {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Samples {
    /// Takes the samples; their order does not matter.
    ///
    /// # Errors
    /// An empty sample, or a value that is not finite.
    pub fn new(first: &[f64], second: &[f64]) -> Result<Self, Problem> {
        for (path, values) in [("first", first), ("second", second)] {
            if values.is_empty() {
                return Err(Problem::new(path, "expected at least one value, found none"));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                let problem = Problem::new(path, format!("expected finite values, found {value}"));
                return Err(problem.hint("remove or replace them before the test"));
            }
        }
        let sorted = |values: &[f64]| {
            // Adding nothing makes a negative zero a zero.
            let mut values: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        Ok(Self { first: sorted(first), second: sorted(second) })
    }

    /// How many pairs there are.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.first.len().saturating_mul(self.second.len())
    }

    /// How many pairs have the larger value in the first sample; ties are halves. R's `W`.
    #[must_use]
    pub fn u(&self) -> f64 {
        self.ranked(0.0).above
    }

    /// The chance that a value of the first is larger than one of the second: the common
    /// language effect size. Ties are halves.
    #[must_use]
    pub fn common_language_effect(&self) -> f64 {
        self.u() / float(self.pairs())
    }

    /// Whether some value is there twice, in one sample or in both.
    #[must_use]
    pub fn has_ties(&self) -> bool {
        self.ranked(0.0).ties > 0.0
    }

    /// Whether R would take the exact distribution.
    #[must_use]
    pub fn is_exact_in_r(&self) -> bool {
        self.first.len().max(self.second.len()) < EXACT_BELOW && !self.has_ties()
    }

    /// The test.
    ///
    /// # Errors
    /// An exact one of samples that have ties, or of too many pairs. All values the same are no
    /// error: their `p` is 1.
    pub fn test(&self, alternative: Alternative, method: Method) -> Result<Outcome, Problem> {
        match method {
            Method::Auto if self.is_exact_in_r() => self.test(alternative, Method::Exact),
            Method::Auto => self.test(alternative, Method::Normal(Continuity::Corrected)),
            Method::Exact => {
                self.can_be_exact()?;
                let u = self.u();
                let p =
                    exact::Distribution::of(self.first.len(), self.second.len()).p(u, alternative);
                Ok(Outcome { u, p, method })
            }
            Method::Normal(continuity) => {
                let ranked = self.ranked(0.0);
                let p = self.p_normal(&ranked, alternative, continuity);
                Ok(Outcome { u: ranked.above, p, method })
            }
        }
    }

    fn can_be_exact(&self) -> Result<(), Problem> {
        let hint = "take the normal approximation";
        if self.has_ties() {
            let what = "the exact distribution is of samples without ties, and these have some";
            return Err(Problem::new("method", what).hint(hint));
        }
        if self.pairs() > EXACT_PAIRS_MAX {
            let what = format!(
                "the exact distribution is counted up to {EXACT_PAIRS_MAX} pairs, and these are {}",
                self.pairs()
            );
            return Err(Problem::new("method", what).hint(hint));
        }
        Ok(())
    }

    fn p_normal(&self, ranked: &Ranked, alternative: Alternative, by: Continuity) -> f64 {
        let Some(deviation) = self.deviation(ranked.ties) else { return 1.0 };
        let z = (ranked.above
            - float(self.pairs()) / 2.0
            - correction(ranked.above - float(self.pairs()) / 2.0, alternative, by))
            / deviation;
        match alternative {
            Alternative::TwoSided => (2.0 * normal::upper_tail(z.abs())).min(1.0),
            Alternative::Less => normal::upper_tail(-z),
            Alternative::Greater => normal::upper_tail(z),
        }
    }

    /// The standard deviation of `u` if the samples are alike; none if all values are the same.
    fn deviation(&self, ties: f64) -> Option<f64> {
        let all = float(self.first.len() + self.second.len());
        let variance = float(self.pairs()) / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
        (variance > 0.0).then(|| variance.sqrt())
    }

    /// The ranks of the first sample moved down by `shift` among the second.
    fn ranked(&self, shift: f64) -> Ranked {
        let (mut above, mut ties) = (0.0, 0.0);
        let (mut at, mut below) = (0, 0);
        while at < self.first.len() || below < self.second.len() {
            let one = self.first.get(at).map_or(f64::INFINITY, |value| value - shift);
            let other = self.second.get(below).copied().unwrap_or(f64::INFINITY);
            let least = one.min(other);
            let of_first =
                self.first[at..].iter().take_while(|value| **value - shift == least).count();
            let of_second =
                self.second[below..].iter().take_while(|value| **value == least).count();
            above += float(of_first) * (float(below) + float(of_second) / 2.0);
            let tied = float(of_first + of_second);
            ties += tied * tied * tied - tied;
            // Finite values less a huge shift may overflow; they end the count, not the loop.
            if of_first + of_second == 0 {
                break;
            }
            at += of_first;
            below += of_second;
        }
        Ranked { above, ties }
    }
}

/// The value below which a share of `p` of a normal distribution lies; infinite at 0 and 1.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    normal::quantile(p)
}

/// What the ranks of two samples come to.
struct Ranked {
    /// Pairs with the larger value in the first sample.
    above: f64,
    /// The sum of t³ - t over all groups of t equal values.
    ties: f64,
}

fn correction(from_middle: f64, alternative: Alternative, by: Continuity) -> f64 {
    match (by, alternative) {
        (Continuity::Plain, _) => 0.0,
        (Continuity::Corrected, Alternative::Greater) => 0.5,
        (Continuity::Corrected, Alternative::Less) => -0.5,
        (Continuity::Corrected, Alternative::TwoSided) if from_middle == 0.0 => 0.0,
        (Continuity::Corrected, Alternative::TwoSided) => 0.5 * from_middle.signum(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "no two samples have 2^53 pairs")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}
