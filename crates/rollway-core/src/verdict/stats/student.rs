//! Means of two arms with Student's t, once at a fixed time and once at any time (the asymptotic
//! confidence sequence of Waudby-Smith and others, as GrowthBook has it).

use super::special::{ln_student_upper, student_upper_quantile};
use super::{Outcomes, Range, count};

/// A mean with its variance and the size of its sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// How many there were.
    pub n: f64,
    /// Their mean.
    pub mean: f64,
    /// The variance of one of them.
    pub variance: f64,
}

impl Estimate {
    /// From the sums of the values and of their squares.
    #[must_use]
    pub fn of_sums(n: u64, sum: f64, squares: f64) -> Self {
        let n = count(n);
        Self { n, mean: sum / n, variance: (squares - sum * sum / n) / (n - 1.0) }
    }

    /// Of a proportion.
    #[must_use]
    pub fn of_outcomes(outcomes: Outcomes) -> Self {
        let share = outcomes.share();
        Self { n: count(outcomes.total), mean: share, variance: share * (1.0 - share) }
    }
}

/// The canary's mean less the baseline's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    canary: Estimate,
    baseline: Estimate,
}

impl Difference {
    /// Of these two.
    #[must_use]
    pub fn new(canary: Estimate, baseline: Estimate) -> Self {
        Self { canary, baseline }
    }

    /// The difference itself.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        self.canary.mean - self.baseline.mean
    }

    fn variance(&self) -> f64 {
        self.canary.variance / self.canary.n + self.baseline.variance / self.baseline.n
    }

    /// Degrees of freedom after Welch and Satterthwaite.
    fn freedom(&self) -> f64 {
        let part = |arm: &Estimate| (arm.variance / arm.n).powi(2) / (arm.n - 1.0);
        self.variance().powi(2) / (part(&self.canary) + part(&self.baseline))
    }

    /// The interval at one time that was fixed before.
    #[must_use]
    pub fn fixed_interval(&self, alpha: f64) -> Range {
        let t = student_upper_quantile(alpha / 2.0, self.freedom());
        self.around(t * self.variance().sqrt())
    }

    /// The two-sided p-value at one time that was fixed before.
    #[must_use]
    pub fn fixed_p_value(&self) -> f64 {
        let t = self.estimate().abs() / self.variance().sqrt();
        2.0 * ln_student_upper(t, self.freedom()).exp()
    }

    /// The interval that holds at all times (arXiv 2103.06476, equation 9); it is narrowest
    /// around `tuning` samples.
    #[must_use]
    pub fn sequential_interval(&self, alpha: f64, tuning: f64) -> Range {
        let (n, square) = (self.size(), rho_square(alpha, tuning));
        let grown = n * square + 1.0;
        let spread = 2.0 * grown * (grown.sqrt() / alpha).ln() / (n * n * square);
        self.around((self.variance() * n * spread).sqrt())
    }

    /// The two-sided p-value that holds at all times (the same paper, equation 155).
    #[must_use]
    pub fn sequential_p_value(&self, alpha: f64, tuning: f64) -> f64 {
        let (n, square) = (self.size(), rho_square(alpha, tuning));
        let grown = n * square + 1.0;
        let sum_square = self.estimate().powi(2) * n / self.variance();
        let ln_e = square * sum_square / (2.0 * grown) - 0.5 * grown.ln();
        (-ln_e).exp().min(1.0)
    }

    fn size(&self) -> f64 {
        self.canary.n + self.baseline.n
    }

    fn around(&self, width: f64) -> Range {
        Range { lower: self.estimate() - width, upper: self.estimate() + width }
    }
}

/// The square of the mixture's parameter that makes the interval narrow at `tuning` samples (the
/// same paper, equation 161).
fn rho_square(alpha: f64, tuning: f64) -> f64 {
    let twice = -2.0 * alpha.ln();
    (twice + (twice + 1.0).ln()) / tuning
}
