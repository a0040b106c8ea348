//! A share of requests that went wrong: the evidence for a rollback, the certificate for a
//! promotion, and what the practical floor looks at.

use serde::{Deserialize, Serialize};

use super::deadline::Tested;
use super::eprocess::{Capital, Guess, Hope, Null, Pair, Starts};
use super::interval::Ratios;
use super::recent::Recent;
use super::stats::{Outcomes, count};

/// What counts as worse, and what is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorRules {
    /// A rollback needs proof that the canary's rate is above so many times the baseline's.
    pub worse_ratio: f64,
    /// And so much more: 0.002 is 0.2 points of a hundred.
    pub worse_margin: f64,
    /// A promotion needs proof that it is below so many times the baseline's.
    pub promote_ratio: f64,
    /// And so much more.
    pub promote_margin: f64,
    /// Differences smaller than this never roll back, whatever the proof.
    pub floor_points: f64,
    /// Nor do those smaller than this part of the baseline's rate.
    pub floor_ratio: f64,
}

impl Default for ErrorRules {
    fn default() -> Self {
        Self {
            worse_ratio: 1.0,
            worse_margin: 0.0,
            promote_ratio: 1.25,
            promote_margin: 0.002,
            floor_points: 0.0005,
            floor_ratio: 0.1,
        }
    }
}

/// What is known of it so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    guess: Guess,
    worse: Capital,
    better: Capital,
    ratios: Ratios,
    totals: Pair<Outcomes>,
    recent: Recent<4>,
    /// What the deadline test is weighed with.
    tested: Tested,
    /// Intervals in which one arm had no request, kept for the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    carried: Option<Box<Pair<Outcomes>>>,
}

impl Errors {
    /// Begins with what the stable version did before the canary.
    #[must_use]
    pub fn new(rules: &ErrorRules, history: Outcomes) -> Self {
        Self {
            guess: Guess::of(history),
            worse: rules.worse().capital(Starts::SPREAD),
            better: rules.better().capital(Starts::ONCE),
            ratios: Ratios::default(),
            totals: Pair::default(),
            recent: Recent::default(),
            tested: Tested::default(),
            carried: None,
        }
    }

    /// Takes in an interval that ends in this minute; `due` later parts of the capital are in
    /// play from it on.
    pub fn observe(&mut self, rules: &ErrorRules, at: At, seen: Pair<Outcomes>) {
        let seen = sum(seen, self.carried.take().map_or_else(Pair::default, |carried| *carried));
        if seen.canary.total == 0 || seen.baseline.total == 0 {
            // Depends on the numbers of requests only, so that the proof stands.
            self.carried = (seen != Pair::default()).then(|| Box::new(seen));
            return;
        }
        let factors = |null: Null| null.ln_factors(&null.fair(&self.guess), seen);
        let (worse, better) = (factors(rules.worse()), factors(rules.better()));
        self.worse.restart(Starts::SPREAD, at.due);
        self.worse.grow(&worse, at.temper);
        self.better.grow(&better, at.temper);
        self.guess.learn(seen.baseline);
        self.ratios.observe(seen);
        self.tested.observe(rules.worse_ratio, seen);
        self.totals = sum(self.totals, seen);
        let Pair { canary, baseline } = seen;
        self.recent.add(at.minute, [canary.bad, canary.total, baseline.bad, baseline.total]);
    }

    /// The capital of the bets that it is worse.
    #[must_use]
    pub fn worse(&self) -> &Capital {
        &self.worse
    }

    /// The capital of the bets that it is good enough.
    #[must_use]
    pub fn better(&self) -> &Capital {
        &self.better
    }

    /// All that was seen and compared.
    #[must_use]
    pub fn totals(&self) -> Pair<Outcomes> {
        self.totals
    }

    /// The ratio of the rates.
    #[must_use]
    pub fn ratios(&self) -> &Ratios {
        &self.ratios
    }

    /// ln of the p-value of the deadline's test; nothing where the rules allow a margin, for
    /// which there is no exact test.
    #[must_use]
    pub fn ln_p(&self, rules: &ErrorRules, temper: f64) -> Option<f64> {
        (rules.worse_margin == 0.0).then(|| {
            let Pair { canary, baseline } = self.totals;
            self.tested.ln_p(canary.bad, baseline.bad, temper)
        })
    }

    /// Whether the difference matters in practice: over all, or over the last minutes.
    #[must_use]
    pub fn is_above_floor(&self, rules: &ErrorRules) -> bool {
        let [bad, total, baseline_bad, baseline_total] = self.recent.sums();
        let recent = Pair {
            canary: Outcomes { bad, total },
            baseline: Outcomes { bad: baseline_bad, total: baseline_total },
        };
        [self.totals, recent].iter().any(|seen| {
            let least = rules.floor_points.max(rules.floor_ratio * seen.baseline.share());
            // Without requests the shares are not numbers, and nothing is above anything.
            seen.canary.share() - seen.baseline.share() >= least
        })
    }

    /// Whether the estimate is inside of the promotion's margin; nothing without requests.
    #[must_use]
    pub fn is_inside_margin(&self, rules: &ErrorRules) -> Option<bool> {
        let Pair { canary, baseline } = self.totals;
        let most = rules.promote_ratio * baseline.share() + rules.promote_margin;
        (canary.total > 0 && baseline.total > 0).then(|| canary.share() <= most)
    }
}

impl ErrorRules {
    /// What a rollback must disprove.
    #[must_use]
    pub fn worse(&self) -> Null {
        Null { hope: Hope::Worse, ratio: self.worse_ratio, margin: self.worse_margin }
    }

    /// What a promotion must disprove.
    #[must_use]
    pub fn better(&self) -> Null {
        Null { hope: Hope::Better, ratio: self.promote_ratio, margin: self.promote_margin }
    }
}

/// When an interval is, as far as the tests care.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    /// How many later parts of the capital are due.
    pub due: u32,
    /// The minute that it ends in.
    pub minute: u64,
    /// See [`Capital::grow`].
    pub temper: f64,
}

fn sum(one: Pair<Outcomes>, other: Pair<Outcomes>) -> Pair<Outcomes> {
    let arm = |one: Outcomes, other: Outcomes| Outcomes {
        bad: one.bad + other.bad,
        total: one.total + other.total,
    };
    Pair { canary: arm(one.canary, other.canary), baseline: arm(one.baseline, other.baseline) }
}

/// The canary's rate over the baseline's; nothing where that cannot be told.
#[must_use]
pub fn ratio(seen: Pair<Outcomes>) -> Option<f64> {
    let ratio = count(seen.canary.bad) / count(seen.canary.total) / seen.baseline.share();
    ratio.is_finite().then_some(ratio)
}
