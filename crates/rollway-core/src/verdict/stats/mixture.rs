//! The e-value of Lindon and Malek: two Poisson arms, a beta prior on the canary's share of what
//! went wrong, in closed form.

use super::special::{Share, bisect, ln_beta};
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
        let ln_likelihood = |share: f64| {
            let bad = if x == 0.0 { 0.0 } else { x * share.ln() };
            bad + if y == 0.0 { 0.0 } else { y * (-share).ln_1p() }
        };
        let is_out = |share: f64| ln_likelihood(share) < least;
        let peak = if x + y == 0.0 { self.traffic.of } else { x / (x + y) };
        Range {
            lower: if is_out(0.0) { bisect(0.0, peak, |share| !is_out(share)) } else { 0.0 },
            upper: if is_out(1.0) { bisect(peak, 1.0, is_out) } else { 1.0 },
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
