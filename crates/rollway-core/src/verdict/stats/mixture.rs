//! The e-value of Lindon and Malek: two Poisson arms, a beta prior on the canary's share of what
//! went wrong, in closed form.

use super::special::{Share, ln_beta, ln_one_less};
use super::{Range, count};

/// What the e-value is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture {
    /// The canary's share of the traffic, the same all the time.
    pub traffic: Share,
    /// How strongly the prior is concentrated around that share.
    pub concentration: f64,
}

impl Mixture {
    /// ln of the e-value against "the canary's share of the bad ones is its share of the
    /// traffic".
    #[must_use]
    pub fn ln_e(&self, canary_bad: u64, baseline_bad: u64) -> f64 {
        let (x, y) = (count(canary_bad), count(baseline_bad));
        self.ln_evidence(x, y) - x * self.traffic.of.ln() - y * self.traffic.rest.ln()
    }

    /// The shares of the bad ones that are not rejected at `alpha`, at any time.
    #[must_use]
    pub fn share_interval(&self, canary_bad: u64, baseline_bad: u64, alpha: f64) -> Range {
        let (x, y) = (count(canary_bad), count(baseline_bad));
        let least = self.ln_evidence(x, y) + alpha.ln();
        if x + y == 0.0 {
            return Range { lower: 0.0, upper: 1.0 };
        }
        // ln likelihood = x ln s + y ln(1 - s): the two ends are the same search, mirrored.
        Range {
            lower: if x == 0.0 { 0.0 } else { ln_root(x, y, least).exp() },
            upper: if y == 0.0 { 1.0 } else { -ln_root(y, x, least).exp_m1() },
        }
    }

    /// The same as a range of ln(canary's rate / baseline's rate).
    #[must_use]
    pub fn ln_ratio_interval(&self, canary_bad: u64, baseline_bad: u64, alpha: f64) -> Range {
        let shares = self.share_interval(canary_bad, baseline_bad, alpha);
        let centre = self.traffic.of.ln() - self.traffic.rest.ln();
        let logit = |share: f64| share.ln() - (-share).ln_1p();
        Range { lower: logit(shares.lower) - centre, upper: logit(shares.upper) - centre }
    }

    /// ln of the prior's mean likelihood of `x` and `y`.
    fn ln_evidence(&self, x: f64, y: f64) -> f64 {
        let (a, b) = (self.concentration * self.traffic.of, self.concentration * self.traffic.rest);
        ln_beta(a + x, b + y) - ln_beta(a, b)
    }
}

/// Steps until a root stands still; five or six are usual.
const STEPS_MAX: u32 = 100;

/// ln of the least share `s` with `x ln s + y ln(1 - s) = least`, for `x > 0`.
///
/// Newton's method in `u = ln s`, in which the left side is concave: begun where it is too low it
/// comes nearer from that side only. At `least / x` it is, since `ln(1 - s)` is never above 0.
fn ln_root(x: f64, y: f64, least: f64) -> f64 {
    let mut u = least / x;
    for _ in 0..STEPS_MAX {
        let rest = if y == 0.0 { 0.0 } else { y * ln_one_less(u) };
        let slope = x - y / (-u).exp_m1();
        let step = (least - x * u - rest) / slope;
        u += step;
        // Nearer than rounding lets it come.
        if step <= u.abs() * f64::EPSILON {
            break;
        }
    }
    u
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_an_interval_are_where_the_evidence_is_what_was_asked_for() {
        let mixture = Mixture { traffic: Share::new(0.05), concentration: 10.0 };
        for (canary, baseline) in [(1, 1), (80, 1500), (3, 0), (0, 4), (1, 1_000_000), (900, 100)] {
            let Range { lower, upper } = mixture.share_interval(canary, baseline, 0.01);
            let (x, y) = (count(canary), count(baseline));
            let least = mixture.ln_evidence(x, y) + 0.01f64.ln();
            let is_end = |share: f64| {
                let ln = x * share.ln() + if y == 0.0 { 0.0 } else { y * (-share).ln_1p() };
                (ln - least).abs() <= 1e-9 * least.abs()
            };
            let ends = (canary == 0 || is_end(lower), baseline == 0 || is_end(upper));
            assert_eq!(ends, (true, true), "{canary} {baseline}: {lower} to {upper}");
            assert!(lower <= x / (x + y) && x / (x + y) <= upper, "{lower} to {upper}");
            assert_eq!((lower == 0.0, upper == 1.0), (canary == 0, baseline == 0));
        }
        assert_eq!(mixture.share_interval(0, 0, 0.01), Range { lower: 0.0, upper: 1.0 });
    }
}
