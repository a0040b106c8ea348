//! Latencies: evidence that the canary is slower anywhere, and certificates that its quantiles
//! are not.
//!
//! Thresholds are quantiles of the stable version before the canary. The evidence for a rollback
//! is the mean of three e-processes: slower than the 90th percentile, slower than the 99th, and
//! the rank score over the bands between all thresholds. A tolerance in time is a shift of the
//! canary's buckets.

use serde::{Deserialize, Serialize};

use super::deadline::Tested;
use super::eprocess::{Capital, Guess, Null, Pair, Starts};
use super::errors::At;
use super::exact;
use super::histogram::{self, BUCKETS, Histogram};
use super::rank::{self, Bands};
use super::recent::Recent;
use super::stats::special::{Share, ln_sum};
use super::stats::{Outcomes, count};

/// The levels of the thresholds.
pub const LEVELS: [f64; 5] = [0.5, 0.75, 0.9, 0.95, 0.99];
/// Which of them are compared one by one: 0.5, 0.9 and 0.99.
pub const CERTIFIED: [usize; 3] = [0, 2, 4];
/// Which of those speak for a rollback: 0.9 and 0.99.
const FEARED: [usize; 2] = [1, 2];
/// Without a history, thresholds are taken from so many of the baseline's first requests.
pub const LEARNED_FROM: u64 = 1000;

/// What counts as slower, and what is fast enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyRules {
    /// A rollback needs proof that the canary is slower by more than this: 0.05 is 5 %.
    pub tolerance: f64,
    /// A promotion needs proof that its quantiles are within this.
    pub promote_margin: f64,
    /// A canary that is slower by less than this is never rolled back.
    pub floor: f64,
}

impl Default for LatencyRules {
    fn default() -> Self {
        Self { tolerance: 0.0, promote_margin: 0.2, floor: 0.05 }
    }
}

/// What one interval, or all of them, come to at the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Tally {
    bands: Pair<Bands>,
    /// The canary's beyond each threshold and the promotion's margin, for [`CERTIFIED`].
    beyond_margin: [u64; 3],
    /// The canary's beyond each threshold and the floor.
    beyond_floor: [u64; 5],
}

impl Tally {
    fn of(rules: &LatencyRules, thresholds: &[u16; 5], seen: &Pair<Histogram>) -> Self {
        let (slower, base) = (seen.canary.all_above(), seen.baseline.all_above());
        let canary = |tolerance| above(&slower, thresholds, tolerance);
        let bands = |total: u64, [a, b, c, d, e]: [u64; 5]| -> Bands {
            [total - a, a - b, b - c, c - d, d - e, e]
        };
        let margin = canary(rules.promote_margin);
        Self {
            bands: Pair {
                canary: bands(seen.canary.total(), canary(rules.tolerance)),
                baseline: bands(seen.baseline.total(), above(&base, thresholds, 0.0)),
            },
            beyond_margin: CERTIFIED.map(|level| margin[level]),
            beyond_floor: canary(rules.floor),
        }
    }

    fn add(&mut self, other: &Self) {
        let plus = |own: &mut [u64], other: &[u64]| {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        };
        plus(&mut self.bands.canary, &other.bands.canary);
        plus(&mut self.bands.baseline, &other.bands.baseline);
        plus(&mut self.beyond_margin, &other.beyond_margin);
        plus(&mut self.beyond_floor, &other.beyond_floor);
    }

    /// Both arms beyond a threshold.
    fn beyond(&self, level: usize) -> Pair<Outcomes> {
        let arm = |bands: &Bands| Outcomes {
            bad: bands.iter().skip(level + 1).sum(),
            total: rank::total(bands),
        };
        Pair { canary: arm(&self.bands.canary), baseline: arm(&self.bands.baseline) }
    }

    /// The same with the canary's margin.
    fn beyond_margin(&self, certificate: usize) -> Pair<Outcomes> {
        let Pair { canary, baseline } = self.beyond(CERTIFIED[certificate]);
        let bad = self.beyond_margin[certificate];
        Pair { canary: Outcomes { bad, total: canary.total }, baseline }
    }
}

/// How many are beyond each threshold, moved by a tolerance.
fn above(all_above: &[u64; BUCKETS], thresholds: &[u16; 5], tolerance: f64) -> [u64; 5] {
    let shift = histogram::shift(tolerance);
    thresholds.map(|threshold| {
        // Beyond the ladder there is nothing.
        all_above.get(usize::from(threshold) + shift).copied().unwrap_or(0)
    })
}

/// What is known of it so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Buckets whose upper ends are the thresholds; nothing while they are learned.
    thresholds: Option<[u16; 5]>,
    /// The baseline's first requests, while the thresholds are learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learning: Option<Histogram>,
    guesses: [Guess; 3],
    rank_guess: Guess,
    feared: [Capital; 2],
    rank: Capital,
    certificates: [Capital; 3],
    #[serde(with = "exact::one")]
    ln_e_max: f64,
    totals: Tally,
    /// Canary beyond the floor and baseline beyond the threshold, for each level; both totals.
    recent: Recent<12>,
    tested: [Tested; 2],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    carried: Option<Box<Tally>>,
}

impl Latency {
    /// Begins with what the stable version did before the canary; an empty history is made up for
    /// by the baseline's first [`LEARNED_FROM`] requests, which are then not compared.
    #[must_use]
    pub fn new(history: &Histogram) -> Self {
        let mut latency = Self {
            thresholds: None,
            learning: Some(Histogram::default()),
            guesses: [Guess::of(Outcomes::default()); 3],
            rank_guess: Guess { sum: 0.0, total: 0.0 },
            feared: [Null::NO_WORSE.capital(Starts::SPREAD); 2],
            rank: rank::capital(Starts::SPREAD),
            certificates: [Null::NO_BETTER.capital(Starts::ONCE); 3],
            ln_e_max: 0.0,
            totals: Tally::default(),
            recent: Recent::default(),
            tested: [Tested::default(); 2],
            carried: None,
        };
        latency.learn(history);
        latency
    }

    fn learn(&mut self, baseline: &Histogram) {
        let mut learned = self.learning.take().unwrap_or_default();
        learned.merge(baseline);
        if learned.total() < LEARNED_FROM {
            self.learning = Some(learned);
            return;
        }
        let last = BUCKETS - 1;
        let threshold = |level| u16::try_from(learned.quantile(level).unwrap_or(last));
        let thresholds = LEVELS.map(|level| threshold(level).expect("a bucket fits 16 bits"));
        let both = Pair { canary: Histogram::default(), baseline: learned };
        let tally = Tally::of(&LatencyRules::default(), &thresholds, &both);
        self.guesses = CERTIFIED.map(|level| Guess::of(tally.beyond(level).baseline));
        rank::learn(&mut self.rank_guess, &tally.bands.baseline);
        self.thresholds = Some(thresholds);
    }

    /// Takes in an interval.
    pub fn observe(&mut self, rules: &LatencyRules, at: At, seen: &Pair<Histogram>) {
        let Some(thresholds) = self.thresholds else {
            self.learn(&seen.baseline);
            return;
        };
        let mut tally = Tally::of(rules, &thresholds, seen);
        if let Some(carried) = self.carried.take() {
            tally.add(&carried);
        }
        let Pair { canary, baseline } = tally.beyond(0);
        if canary.total == 0 || baseline.total == 0 {
            self.carried = (canary.total + baseline.total > 0).then(|| Box::new(tally));
            return;
        }
        self.bet(at, &tally);
        self.rank.restart(Starts::SPREAD, at.due);
        self.rank.grow(&rank::ln_factors(&self.rank_guess, &tally.bands), at.temper);
        rank::learn(&mut self.rank_guess, &tally.bands.baseline);
        self.ln_e_max = self.ln_e_max.max(self.ln_e());
        self.totals.add(&tally);
        let base: [u64; 5] = std::array::from_fn(|level| tally.beyond(level).baseline.bad);
        let ([a, b, c, d, e], [f, g, h, i, j]) = (tally.beyond_floor, base);
        let counts = [a, b, c, d, e, canary.total, f, g, h, i, j, baseline.total];
        self.recent.add(at.minute, counts);
    }

    /// The bets on single thresholds.
    fn bet(&mut self, at: At, tally: &Tally) {
        let feared = self.feared.iter_mut().zip(&mut self.tested).zip(FEARED);
        for ((capital, tested), certificate) in feared {
            let seen = tally.beyond(CERTIFIED[certificate]);
            capital.restart(Starts::SPREAD, at.due);
            let factors = Null::NO_WORSE.ln_factors(&self.guesses[certificate], seen);
            capital.grow(&factors, at.temper);
            tested.observe(1.0, seen);
        }
        for (place, capital) in self.certificates.iter_mut().enumerate() {
            let seen = tally.beyond_margin(place);
            let factors = Null::NO_BETTER.ln_factors(&self.guesses[place], seen);
            capital.grow(&factors, at.temper);
            self.guesses[place].learn(seen.baseline);
        }
    }

    /// ln of the evidence that it is slower.
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        let [p90, p99] = &self.feared;
        ln_sum(&[p90.ln_e(), p99.ln_e(), self.rank.ln_e()]) - 3f64.ln()
    }

    /// The highest of it so far.
    #[must_use]
    pub fn ln_e_max(&self) -> f64 {
        self.ln_e_max
    }

    /// ln of the evidence that it is fast enough: the weakest certificate's.
    #[must_use]
    pub fn ln_e_promote(&self) -> f64 {
        self.certificates.iter().map(Capital::ln_e).fold(f64::INFINITY, f64::min)
    }

    /// The same at its highest: every certificate at its own time.
    #[must_use]
    pub fn ln_e_promote_max(&self) -> f64 {
        self.certificates.iter().map(Capital::ln_e_max).fold(f64::INFINITY, f64::min)
    }

    /// Requests of both arms beyond the baseline's 99th percentile, out of all.
    #[must_use]
    pub fn slow(&self) -> Pair<Outcomes> {
        self.totals.beyond(CERTIFIED[2])
    }

    /// The thresholds, in seconds; nothing while they are learned.
    #[must_use]
    pub fn thresholds_seconds(&self) -> Option<[f64; 5]> {
        let seconds = |bucket: u16| histogram::upper_seconds(usize::from(bucket));
        self.thresholds.map(|thresholds| thresholds.map(seconds))
    }

    /// The canary's mean share of the traffic, weighted by what was slow; nothing where nothing
    /// was.
    #[must_use]
    pub fn slow_share(&self) -> Option<Share> {
        self.tested[1].share()
    }

    /// ln of the p-value of the deadline's tests: of both thresholds, each at half the level.
    #[must_use]
    pub fn ln_p(&self, temper: f64) -> f64 {
        let both = self.tested.iter().zip(FEARED).map(|(tested, certificate)| {
            let Pair { canary, baseline } = self.totals.beyond(CERTIFIED[certificate]);
            tested.ln_p(canary.bad, baseline.bad, temper)
        });
        (both.fold(0.0, f64::min) + std::f64::consts::LN_2).min(0.0)
    }

    /// Whether it is slower by more than the floor at any level: over all, or over the last
    /// minutes.
    #[must_use]
    pub fn is_above_floor(&self) -> bool {
        let Pair { canary, baseline } = self.totals.beyond(0);
        let [a, b, c, d, e, recent_canary, f, g, h, i, j, recent_baseline] = self.recent.sums();
        let is_above = |slow: u64, of: u64, base: u64, of_base: u64| {
            count(slow) / count(of) > count(base) / count(of_base)
        };
        let recent = [(a, f), (b, g), (c, h), (d, i), (e, j)];
        (0..LEVELS.len()).any(|level| {
            let base = self.totals.beyond(level).baseline.bad;
            let slow = self.totals.beyond_floor[level];
            is_above(slow, canary.total, base, baseline.total)
                || is_above(recent[level].0, recent_canary, recent[level].1, recent_baseline)
        })
    }

    /// Whether all three quantiles are within the promotion's margin, as far as can be seen;
    /// nothing without requests.
    #[must_use]
    pub fn is_inside_margin(&self) -> Option<bool> {
        let Pair { canary, baseline } = self.totals.beyond(0);
        (canary.total > 0 && baseline.total > 0).then(|| {
            (0..CERTIFIED.len()).all(|certificate| {
                let seen = self.totals.beyond_margin(certificate);
                seen.canary.share() <= seen.baseline.share()
            })
        })
    }
}
