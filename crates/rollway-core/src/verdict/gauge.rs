//! Gauges: memory, processor time, the length of a queue.
//!
//! Samples of a gauge follow each other closely and their unit is the instance, so that no test on
//! raw samples holds. Here: the logarithm of canary over baseline at equal times (which takes out
//! what both share), less a tolerated magnitude, in batches long enough that they no longer
//! follow each other, and a t e-process on the batches' means. Approximate, and by default it only
//! advises: a gauge alone holds a rollout, it does not roll back.

use serde::{Deserialize, Serialize};

use super::exact;

/// Lengths of batches that are tried, in samples; the shortest that fits is used.
pub const LENGTHS: [u32; 5] = [1, 2, 4, 8, 16];
/// Batches follow each other too closely from this correlation on.
pub const CORRELATION_MOST: f64 = 0.2;
/// With fewer batches than this nothing is said.
pub const BATCHES_LEAST: u32 = 8;
/// How much higher a gauge may be.
pub const TOLERANCE: f64 = 0.25;

/// ln of the t e-value of "the mean of `n` normal values is not above 0", for their mean and
/// variance (n - 1 below) and a prior of the weight of `phi` values (Lindon and others); 0 where
/// nothing can be said.
#[must_use]
pub fn ln_t_evalue(n: f64, mean: f64, variance: f64, phi: f64) -> f64 {
    let freedom = n - 1.0;
    let t_square = n * mean * mean / variance;
    let r = phi / (phi + n);
    if t_square.is_nan() {
        return 0.0;
    }
    if t_square.is_infinite() {
        return -0.5 * freedom * r.ln();
    }
    0.5 * r.ln()
        + (freedom + 1.0) / 2.0 * ((t_square / freedom).ln_1p() - (r * t_square / freedom).ln_1p())
}

/// Batches of one length, as running sums.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Batches {
    /// Samples of the batch that is not full yet, and their sum.
    filled: u32,
    #[serde(with = "exact::one")]
    partial: f64,
    /// Full batches: how many, their sum, squares, products of neighbours, the first, the last.
    full: u32,
    #[serde(with = "exact::many")]
    sums: [f64; 5],
}

impl Batches {
    fn add(&mut self, value: f64, length: u32) {
        self.filled += 1;
        self.partial += value;
        if self.filled < length {
            return;
        }
        let mean = self.partial / f64::from(length);
        let [sum, squares, products, first, last] = self.sums;
        let is_first = self.full == 0;
        self.sums = [
            sum + mean,
            squares + mean * mean,
            if is_first { 0.0 } else { products + mean * last },
            if is_first { mean } else { first },
            mean,
        ];
        self.full += 1;
        (self.filled, self.partial) = (0, 0.0);
    }

    fn mean(&self) -> f64 {
        self.sums[0] / f64::from(self.full)
    }

    /// The sum of squares around the mean.
    fn spread(&self) -> f64 {
        (self.sums[1] - self.sums[0] * self.mean()).max(0.0)
    }

    /// The correlation of neighbours, with a correction for few of them.
    fn correlation(&self) -> f64 {
        let (m, mean) = (f64::from(self.full), self.mean());
        let [sum, _, products, first, last] = self.sums;
        let around = products - mean * (2.0 * sum - first - last) + (m - 1.0) * mean * mean;
        let spread = self.spread();
        (if spread > 0.0 { around / spread } else { 0.0 }) + 1.0 / m
    }

    fn is_fit(&self) -> bool {
        self.full >= BATCHES_LEAST && self.correlation() < CORRELATION_MOST
    }
}

/// What a gauge amounts to so far: constant size, whatever the number of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// The tolerance, as ln(1 + tolerance).
    #[serde(with = "exact::one")]
    ln_tolerance: f64,
    samples: u64,
    /// The first difference is taken off all of them, so that the sums keep their digits.
    #[serde(with = "exact::one")]
    shift: f64,
    #[serde(with = "exact::one")]
    ln_e_max: f64,
    lengths: [Batches; LENGTHS.len()],
}

/// What a gauge says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GaugeFinding {
    /// Pairs of samples so far.
    pub samples: u64,
    /// Samples in a batch; nothing while no length fits.
    pub batch: Option<u32>,
    /// Batches of that length.
    pub batches: u32,
    /// Canary over baseline, the mean on the scale of logarithms; nothing without samples.
    pub ratio: Option<f64>,
    /// ln of the evidence that the canary is beyond the tolerance.
    pub ln_e: f64,
    /// ln of the evidence that it is within.
    pub ln_e_within: f64,
}

impl Gauge {
    /// Nothing is known yet; the canary may be this much higher (0.25 is 25 %).
    #[must_use]
    pub fn new(tolerance: f64) -> Self {
        Self {
            ln_tolerance: tolerance.ln_1p(),
            samples: 0,
            shift: 0.0,
            ln_e_max: 0.0,
            lengths: [Batches::default(); LENGTHS.len()],
        }
    }

    /// Takes in both arms' means at one time. Answers whether it could be used: a gauge that is
    /// not above 0 has no ratio, and what is not a number says nothing.
    pub fn observe(&mut self, canary: f64, baseline: f64) -> bool {
        let difference = canary.ln() - baseline.ln();
        if !difference.is_finite() {
            return false;
        }
        if self.samples == 0 {
            self.shift = difference;
        }
        self.samples += 1;
        for (batches, length) in self.lengths.iter_mut().zip(LENGTHS) {
            batches.add(difference - self.shift, length);
        }
        self.ln_e_max = self.ln_e_max.max(self.finding().ln_e);
        true
    }

    /// The highest ln E so far.
    #[must_use]
    pub fn ln_e_max(&self) -> f64 {
        self.ln_e_max
    }

    /// How much higher the canary may be.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        self.ln_tolerance.exp_m1()
    }

    /// What the samples so far say.
    #[must_use]
    pub fn finding(&self) -> GaugeFinding {
        let fit = self.lengths.iter().zip(LENGTHS).find(|(batches, _)| batches.is_fit());
        let all = &self.lengths[0];
        let ratio = (all.full > 0).then(|| (all.mean() + self.shift).exp());
        let Some((batches, length)) = fit else {
            let (samples, ln_e, ln_e_within) = (self.samples, 0.0, 0.0);
            return GaugeFinding { samples, batch: None, batches: 0, ratio, ln_e, ln_e_within };
        };
        let mean = batches.mean() + self.shift - self.ln_tolerance;
        let n = f64::from(batches.full);
        let ln_e = ln_t_evalue(n, mean, batches.spread() / (n - 1.0), 1.0);
        GaugeFinding {
            samples: self.samples,
            batch: Some(length),
            batches: batches.full,
            ratio,
            // The evidence is against "equal to the tolerance"; the side says what it is for.
            ln_e: if mean > 0.0 { ln_e } else { ln_e.min(0.0) },
            ln_e_within: if mean < 0.0 { ln_e } else { ln_e.min(0.0) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cheap repeatable noise in (-1/2, 1/2).
    fn noise(n: u32) -> f64 {
        ((f64::from(n) * 12.989_8).sin() * 43_758.545_3).rem_euclid(1.0) - 0.5
    }

    #[test]
    fn a_gauge_that_doubles_is_found_and_one_a_tenth_higher_is_not() {
        let ln_e = |factor: f64| {
            let mut gauge = Gauge::new(TOLERANCE);
            for n in 0..60 {
                let common = 100.0 * (1.0 + f64::from(n) / 20.0);
                assert!(gauge.observe(common * factor * (0.2 * noise(n)).exp(), common));
            }
            gauge.finding().ln_e
        };
        assert!(ln_e(2.0) > 100f64.ln());
        assert!(ln_e(1.1) <= 0.0);
    }

    #[test]
    fn few_samples_say_nothing_and_unusable_ones_are_refused() {
        let mut gauge = Gauge::new(TOLERANCE);
        for bad in [(0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (-1.0, 2.0)] {
            assert!(!gauge.observe(bad.0, bad.1), "{bad:?}");
        }
        for _ in 0..7 {
            assert!(gauge.observe(9.0, 1.0));
        }
        let finding = gauge.finding();
        assert_eq!((finding.samples, finding.batch, finding.ln_e), (7, None, 0.0));
    }

    #[test]
    fn samples_that_follow_each_other_are_put_in_longer_batches() {
        let mut gauge = Gauge::new(TOLERANCE);
        for n in 0..256 {
            gauge.observe((0.3 * noise(n / 8)).exp(), 1.0);
        }
        let batch = gauge.finding().batch;
        assert!(batch.is_none_or(|batch| batch >= 8), "{batch:?}");
    }
}
