//! The absolute guard: one arm against a limit, where there is no baseline (blue-green at 100 %,
//! a first deployment).

use serde::{Deserialize, Serialize};

use super::eprocess::{Capital, ODDS_WORSE, Starts};
use super::exact;
use super::stats::{Outcomes, count};

/// Bets that an arm fails more often than a limit allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// The share that may be bad: 0.05 is 5 %.
    #[serde(with = "exact::one")]
    limit: f64,
    starts: Starts,
    capital: Capital,
    seen: Outcomes,
}

impl Guard {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(limit: f64, starts: Starts) -> Self {
        let limit = limit.clamp(1e-9, 1.0 - 1e-9);
        Self {
            limit,
            starts,
            capital: Capital::new(ODDS_WORSE.len(), starts),
            seen: Outcomes::default(),
        }
    }

    /// Takes in an interval; `due` later parts are in play from it on. Answers ln E.
    pub fn observe(&mut self, due: u32, seen: Outcomes) -> f64 {
        let (bad, good) = (count(seen.bad), count(seen.total.saturating_sub(seen.bad)));
        let factors = ODDS_WORSE.map(|odds| {
            // A bad one counts odds / (1 - c + odds c), a good one 1 / (1 - c + odds c).
            bad * odds.ln() - (bad + good) * ((odds - 1.0) * self.limit).ln_1p()
        });
        self.capital.restart(self.starts, due);
        self.capital.grow(&factors, 1.0);
        self.seen.bad += seen.bad;
        self.seen.total += seen.total;
        self.capital.ln_e()
    }

    /// ln of the evidence that the limit is broken.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.capital.ln_e()
    }

    /// The highest ln E so far.
    #[must_use]
    pub fn ln_e_max(&self) -> f64 {
        self.capital.ln_e_max()
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// All that was seen.
    #[must_use]
    pub fn seen(&self) -> Outcomes {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_limit_is_found_and_a_kept_one_is_not() {
        let ln_e = |bad| {
            let mut guard = Guard::new(0.05, Starts::ONCE);
            (0..60).map(|_| guard.observe(0, Outcomes { bad, total: 100 })).last().expect("sixty")
        };
        assert!(ln_e(10) > 100f64.ln());
        assert!(ln_e(4) < 0.0);
    }
}
