//! The one exact test at the deadline: given how much went wrong in all, could so much of it have
//! fallen on the canary by chance?

use serde::{Deserialize, Serialize};

use super::eprocess::Pair;
use super::exact;
use super::stats::proportions::ln_conditional_binomial;
use super::stats::special::Share;
use super::stats::{Outcomes, count};

/// The mean share of the canary, weighted by what went wrong. For shares that vary the binomial
/// of their mean is on the safe side (Hoeffding 1956).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tested {
    #[serde(with = "exact::one")]
    weighted: f64,
    #[serde(with = "exact::one")]
    bad: f64,
}

impl Tested {
    /// Takes in an interval; the null allows the canary `ratio` times the baseline's rate.
    pub fn observe(&mut self, ratio: f64, seen: Pair<Outcomes>) {
        let weight = ratio * count(seen.canary.total);
        let bad = count(seen.canary.bad + seen.baseline.bad);
        self.weighted += bad * weight / (weight + count(seen.baseline.total));
        self.bad += bad;
    }

    /// The mean share; nothing where nothing went wrong.
    #[must_use]
    pub fn share(&self) -> Option<Share> {
        (self.bad > 0.0).then(|| Share::new(self.weighted / self.bad))
    }

    /// ln of the p-value. Outcomes that come in clusters of `temper` count as so many fewer.
    #[must_use]
    pub fn ln_p(&self, canary_bad: u64, baseline_bad: u64, temper: f64) -> f64 {
        let Some(share) = self.share() else { return 0.0 };
        let (canary, all) = (count(canary_bad), count(canary_bad + baseline_bad));
        // Whole clusters: the canary's rounded down, all of them rounded up.
        let canary = whole((canary / temper).floor());
        let all = whole((all / temper).ceil()).max(canary);
        ln_conditional_binomial(canary, all - canary, share)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count over a temper of at least one: not negative, and below 2^53"
)]
fn whole(n: f64) -> u64 {
    n as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_split_is_no_evidence_and_clusters_weaken_it() {
        let arm = |bad, total| Outcomes { bad, total };
        let mut tested = Tested::default();
        assert_eq!(tested.ln_p(0, 0, 1.0), 0.0);
        tested.observe(1.0, Pair { canary: arm(20, 1000), baseline: arm(10, 1000) });
        let (plain, tempered) = (tested.ln_p(20, 10, 1.0), tested.ln_p(20, 10, 5.0));
        assert!((plain.exp() - 0.049_368_5).abs() < 1e-6, "{}", plain.exp());
        assert!(tempered > plain);
    }
}
