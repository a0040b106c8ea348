//! The e-process: bets that the canary is worse (or good enough), whose capital is the evidence.
//!
//! Under the null the capital is expected not to grow, whatever the traffic, the split and the
//! drift of both arms' rates, so that it ever reaches 1/alpha has a probability of at most alpha
//! (Ville). For a bad outcome of the canary the capital is multiplied by `1 + L (1 - c)`, for a
//! good one by `1 - L c`, and the other way about for the baseline; `c` is what the null allows
//! the canary, given a guess `p` of the baseline's rate that is made before the outcomes are seen.
//! A wrong guess costs evidence, never validity: the product of the factors' means is at most
//! `exp(L n_C (mean_C - r mean_B - d))`, and that is at most 1 under the null.
//!
//! Everything is in natural logarithms; the caps keep every factor at 0.05 or more.

use serde::{Deserialize, Serialize};

use super::exact;
use super::stats::special::{ln_add, ln_sum};
use super::stats::{Outcomes, count};

/// The most bets that one process holds.
pub const BETS_MAX: usize = 8;
/// Odds ratios that are bet on when the canary is feared to be worse.
pub const ODDS_WORSE: [f64; 7] = [1.2, 1.6, 2.3, 4.0, 7.0, 15.0, 60.0];
/// Odds ratios that are bet on when it is hoped to be good enough.
pub const ODDS_BETTER: [f64; 8] = [0.9, 0.8, 0.67, 0.5, 0.35, 0.2, 0.1, 0.03];
/// No single outcome takes more than this part of a bet's capital.
const RISK_MOST: f64 = 0.95;
/// A guessed rate is kept so far from 0 and 1.
const RATE_LEAST: f64 = 1e-9;

/// How the capital is spread over start times: a regression may begin late.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Starts {
    /// How much of the capital is bet from the beginning on; the rest comes in by and by.
    pub at_once: f64,
    /// In how many equal parts the rest comes in.
    pub later: u32,
}

impl Starts {
    /// All at the beginning: for certificates.
    pub const ONCE: Self = Self { at_once: 1.0, later: 0 };
    /// 0.7 at the beginning, the rest in 24 parts: costs next to nothing, and halves the delay of
    /// regressions that begin late.
    pub const SPREAD: Self = Self { at_once: 0.7, later: 24 };

    /// Without later parts, all of it is bet at the beginning.
    fn first(self) -> f64 {
        if self.later == 0 { 1.0 } else { self.at_once }
    }

    fn part(self) -> f64 {
        if self.later == 0 { 0.0 } else { (1.0 - self.at_once) / f64::from(self.later) }
    }

    /// How many of the later parts are due when `done` of `all` is over: the parts are equally
    /// spaced before the end.
    #[must_use]
    pub fn due(self, done: u64, all: u64) -> u32 {
        let step = all.div_ceil(u64::from(self.later) + 1).max(1);
        u32::try_from(done / step).unwrap_or(u32::MAX).min(self.later)
    }
}

/// The capital of up to [`BETS_MAX`] bets, as logarithms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Capital {
    /// ln of each bet's own capital, as if it had all of it.
    #[serde(with = "exact::many")]
    ln: [f64; BETS_MAX],
    /// What was not bet yet.
    #[serde(with = "exact::one")]
    rest: f64,
    /// The highest ln E so far.
    #[serde(with = "exact::one")]
    ln_e_max: f64,
    /// How many bets there are.
    bets: u8,
    /// How many of the later parts came in.
    parts: u32,
}

impl Capital {
    /// One, spread over this number of bets.
    #[must_use]
    pub fn new(bets: usize, starts: Starts) -> Self {
        let ln = [starts.first().ln(); BETS_MAX];
        let bets = u8::try_from(bets.min(BETS_MAX)).expect("eight at most");
        Self { ln, rest: 1.0 - starts.first(), ln_e_max: 0.0, bets, parts: 0 }
    }

    /// Brings in later parts, up to this many in all. Before the outcomes, or it is cheating.
    pub fn restart(&mut self, starts: Starts, due: u32) {
        let due = due.min(starts.later);
        while self.parts < due {
            let part = starts.part();
            let ln_part = part.ln();
            self.ln.iter_mut().for_each(|ln| *ln = ln_add(*ln, ln_part));
            self.parts += 1;
            let is_last = self.parts == starts.later;
            // The last part is whatever is left, so that rounding leaves nothing behind.
            self.rest = if is_last { 0.0 } else { self.rest - part };
        }
    }

    /// Multiplies each bet's capital, given as logarithms; `temper` >= 1 weakens the factors for
    /// outcomes that come in clusters.
    pub fn grow(&mut self, ln_factors: &[f64], temper: f64) {
        let bets = self.ln.iter_mut().take(usize::from(self.bets));
        for (ln, ln_factor) in bets.zip(ln_factors) {
            *ln += ln_factor / temper;
        }
        self.ln_e_max = self.ln_e_max.max(self.ln_e());
    }

    /// ln of all of the capital: the evidence.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        let bets = f64::from(self.bets);
        let ln = self.ln.get(..usize::from(self.bets)).unwrap_or_default();
        ln_add(ln_sum(ln) - bets.ln(), self.rest.ln())
    }

    /// The highest ln E so far: its inverse is a p-value at any time.
    #[must_use]
    pub fn ln_e_max(&self) -> f64 {
        self.ln_e_max
    }
}

/// What is known of the baseline's rate, to guess the next interval's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// What was bad, or the sum of the scores.
    #[serde(with = "exact::one")]
    pub sum: f64,
    /// Of how many.
    #[serde(with = "exact::one")]
    pub total: f64,
}

impl Guess {
    /// From what the stable version did before; half a bad one of one is added.
    #[must_use]
    pub fn of(history: Outcomes) -> Self {
        Self { sum: count(history.bad) + 0.5, total: count(history.total) + 1.0 }
    }

    /// The rate.
    #[must_use]
    pub fn rate(&self) -> f64 {
        (self.sum / self.total).clamp(RATE_LEAST, 1.0 - RATE_LEAST)
    }

    /// Learns from the baseline's outcomes, after they were bet on.
    pub fn learn(&mut self, baseline: Outcomes) {
        self.sum += count(baseline.bad);
        self.total += count(baseline.total);
    }
}

/// Both arms of one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pair<T> {
    /// The new version.
    pub canary: T,
    /// The old one, at the same time.
    pub baseline: T,
}

/// Which way the bets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hope {
    /// The null is "no worse": evidence speaks for a rollback.
    Worse,
    /// The null is "too bad": evidence speaks for a promotion.
    Better,
}

/// What is bet against: `mean_C <= ratio mean_B + margin`, or `>=` for [`Hope::Better`]. Both
/// means may be anything, at any time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Null {
    /// Which way.
    pub hope: Hope,
    /// How many times the baseline's rate.
    pub ratio: f64,
    /// And how much more.
    pub margin: f64,
}

impl Null {
    /// "The canary is no worse."
    pub const NO_WORSE: Self = Self { hope: Hope::Worse, ratio: 1.0, margin: 0.0 };
    /// "The canary is no better": for thresholds that are shifted already.
    pub const NO_BETTER: Self = Self { hope: Hope::Better, ratio: 1.0, margin: 0.0 };

    /// The odds that are bet on.
    #[must_use]
    pub fn odds(&self) -> &'static [f64] {
        match self.hope {
            Hope::Worse => &ODDS_WORSE,
            Hope::Better => &ODDS_BETTER,
        }
    }

    /// Capital for bets against this.
    #[must_use]
    pub fn capital(&self, starts: Starts) -> Capital {
        Capital::new(self.odds().len(), starts)
    }

    /// The guess, lowered to where the null allows the canary no more than everything.
    ///
    /// Beyond that `c = ratio p + margin` would have to be cut off at 1, and the proof rests on
    /// that equation: cut off, bets against "no worse" win on average where they must not. A
    /// lower guess is a worse guess, and nothing more.
    #[must_use]
    pub fn fair(&self, guess: &Guess) -> Guess {
        let most = (1.0 - RATE_LEAST - self.margin) / self.ratio;
        let rate = guess.rate().min(most.max(0.0));
        Guess { sum: rate * guess.total, total: guess.total }
    }

    /// ln of what an interval multiplies each bet's capital by. Nothing (all zero) where an arm
    /// is empty: there is nothing to compare. The guess must be [`Null::fair`] for nulls with a
    /// ratio above 1 or a margin.
    #[must_use]
    pub fn ln_factors(&self, guess: &Guess, seen: Pair<Outcomes>) -> [f64; BETS_MAX] {
        let mut factors = [0.0; BETS_MAX];
        if seen.canary.total == 0 || seen.baseline.total == 0 {
            return factors;
        }
        let p = guess.rate();
        let c = (self.ratio * p + self.margin).min(1.0 - RATE_LEAST);
        let weight = self.ratio * count(seen.canary.total);
        let per_baseline = weight / count(seen.baseline.total);
        let share = weight / (weight + count(seen.baseline.total));
        let (sign, most) = match self.hope {
            Hope::Worse => (1.0, (RISK_MOST / c).min(RISK_MOST / (per_baseline * (1.0 - p)))),
            Hope::Better => (-1.0, (RISK_MOST / (1.0 - c)).min(RISK_MOST / (per_baseline * p))),
        };
        for (factor, odds) in factors.iter_mut().zip(self.odds()) {
            let best =
                (odds - 1.0) / (1.0 - c + odds * c) * (1.0 - share) / (1.0 - share + share * odds);
            let bet = sign * best.abs().min(most);
            *factor = ln_outcomes(seen.canary, bet, c)
                + ln_outcomes(seen.baseline, -bet * per_baseline, p);
        }
        factors
    }
}

/// ln of `(1 + bet (1 - rate))^bad (1 - bet rate)^good`.
fn ln_outcomes(seen: Outcomes, bet: f64, rate: f64) -> f64 {
    let good = count(seen.total.saturating_sub(seen.bad));
    let good = good * (-bet * rate).ln_1p();
    // Most intervals have nothing bad in one arm, and logarithms are what a check costs.
    if seen.bad == 0 { good } else { good + count(seen.bad) * (bet * (1.0 - rate)).ln_1p() }
}

/// A whole process with a guess of its own: one null, one score of 0 or 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EProcess {
    /// What is bet against.
    pub null: Null,
    /// When the capital comes in.
    pub starts: Starts,
    /// See [`Capital::grow`].
    pub temper: f64,
    /// What the next interval is guessed to bring.
    pub guess: Guess,
    /// The capital.
    pub capital: Capital,
}

impl EProcess {
    /// One that begins with this guess.
    #[must_use]
    pub fn new(null: Null, starts: Starts, temper: f64, guess: Guess) -> Self {
        Self { null, starts, temper, guess, capital: null.capital(starts) }
    }

    /// Takes in an interval: `due` later parts are in play from it on (see [`Starts::due`]).
    /// Answers ln E.
    pub fn observe(&mut self, due: u32, seen: Pair<Outcomes>) -> f64 {
        self.capital.restart(self.starts, due);
        self.capital.grow(&self.null.ln_factors(&self.guess, seen), self.temper);
        self.guess.learn(seen.baseline);
        self.capital.ln_e()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(canary: (u64, u64), baseline: (u64, u64)) -> Pair<Outcomes> {
        let arm = |(bad, total)| Outcomes { bad, total };
        Pair { canary: arm(canary), baseline: arm(baseline) }
    }

    #[test]
    fn a_canary_that_fails_every_request_needs_few_of_them() {
        let guess = Guess::of(Outcomes { bad: 30, total: 30_000 });
        let mut process = EProcess::new(Null::NO_WORSE, Starts::SPREAD, 1.0, guess);
        let mut bad = 0;
        while process.capital.ln_e() < 100f64.ln() {
            process.observe(0, pair((1, 1), (0, 19)));
            bad += 1;
        }
        assert_eq!(bad, 3);
    }

    #[test]
    fn an_empty_arm_says_nothing() {
        let mut process =
            EProcess::new(Null::NO_WORSE, Starts::SPREAD, 1.0, Guess::of(Outcomes::default()));
        process.observe(0, pair((5, 5), (0, 0)));
        process.observe(0, pair((0, 0), (0, 100)));
        assert!(process.capital.ln_e().abs() < 1e-15);
    }

    #[test]
    fn parts_come_in_equally_spaced_before_the_end() {
        let due = |done| Starts::SPREAD.due(done, 60);
        assert_eq!([0, 2, 3, 6, 59, 6000].map(due), [0, 0, 1, 2, 19, 24]);
        assert_eq!(Starts::ONCE.due(10, 60), 0);
        let mut capital = Capital::new(7, Starts::SPREAD);
        capital.restart(Starts::SPREAD, 24);
        assert!(capital.rest == 0.0 && capital.ln_e().abs() < 1e-14, "{capital:?}");
    }
}
