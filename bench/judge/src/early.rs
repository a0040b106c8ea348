//! Looks before their time: after so many failures of the canary, as the engine has them.
//!
//! A canary that fails everything is found by them within a handful of requests. They end an
//! interval by what was seen in it, and the judge's proof is for intervals that do not; so both
//! versions the same are run too, request by request: after every fourth failure the level holds,
//! after each single one it does not.

use std::sync::Mutex;

use rollway_core::analysis::EARLY_BAD;
use rollway_core::units::Millis;
use rollway_core::verdict::decision::{Decision, Look};
use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::judge::{History, Interval, Judge, Reading};
use rollway_core::verdict::rules::{Metric, Rules};
use rollway_core::verdict::stats::{Outcomes, count};
use rollway_sim::rng::Rng;

use crate::draw::{Table, share};
use crate::methods::ours::LOOKS;
use crate::study::{Size, on_threads};

/// Canaries of each kind that fail everything.
const BROKEN: u64 = 1000;
/// What the stable version served before.
const HISTORY: f64 = 30_000.0;
/// Requests of an hour: 10 a second.
const REQUESTS: u64 = 36_000;
/// Between two looks whatever happens: 10 s.
const REQUESTS_A_LOOK: u64 = 100;

/// A canary and how often it is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kind {
    /// Its share of the traffic.
    pub share_percent: u32,
    /// How much fails on the stable version.
    pub baseline_percent: f64,
    /// How much fails on the canary.
    pub canary_percent: f64,
    /// After so many failures of the canary there is a look.
    pub early_bad: u64,
    /// By which rules.
    pub rules: Ruled,
}

/// By which rules; neither has time to warm up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruled {
    /// Errors alone, with the whole 1 % for the looks before the deadline.
    Alone,
    /// A plain canary's: errors and latency, and the test at the deadline.
    Plain,
}

/// What became of many of a kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Early {
    /// Which.
    pub kind: Kind,
    /// How many.
    pub canaries: u64,
    /// How many were rolled back.
    pub back: u64,
    /// Bad requests of the canary until then, on average.
    pub bad_mean: f64,
    /// Of the one in the middle.
    pub bad_median: u64,
    /// Of the worst of all.
    pub bad_most: u64,
}

/// The shares of canaries that fail everything, and of those that are no worse.
pub const BROKEN_SHARES: [u32; 4] = [1, 5, 25, 50];
const EVEN_SHARES: [u32; 2] = [5, 50];
/// How much fails on the stable version, for both.
pub const BROKEN_BASELINES: [f64; 3] = [0.1, 1.0, 5.0];
const EVEN_BASELINES: [f64; 4] = [0.1, 1.0, 10.0, 30.0];

/// All kinds: those that fail everything, then those that are no worse.
pub fn run(size: &Size) -> Vec<Early> {
    let mut kinds = Vec::new();
    for share_percent in BROKEN_SHARES {
        for baseline_percent in BROKEN_BASELINES {
            for rules in [Ruled::Alone, Ruled::Plain] {
                let (canary_percent, early_bad) = (100.0, EARLY_BAD);
                kinds.push((
                    Kind { share_percent, baseline_percent, canary_percent, early_bad, rules },
                    BROKEN,
                ));
            }
        }
    }
    for early_bad in [EARLY_BAD, 1] {
        for share_percent in EVEN_SHARES {
            for baseline_percent in EVEN_BASELINES {
                let (canary_percent, rules) = (baseline_percent, Ruled::Alone);
                kinds.push((
                    Kind { share_percent, baseline_percent, canary_percent, early_bad, rules },
                    size.replicas,
                ));
            }
        }
    }
    let done = Mutex::new(vec![None; kinds.len()]);
    on_threads(&kinds, size.threads, |at, (kind, canaries)| {
        let early = many(*kind, *canaries, size.seed);
        done.lock().expect("no thread panics while it has it")[at] = Some(early);
    });
    done.into_inner().expect("no thread panicked").into_iter().flatten().collect()
}

fn many(kind: Kind, canaries: u64, seed: u64) -> Early {
    let judge = Judge::new(kind.rules.rules()).expect("rules that make sense");
    let baseline = kind.baseline_percent / 100.0;
    let history = [HISTORY * baseline, HISTORY * (1.0 - baseline)].map(Table::poisson);
    let mut back = 0;
    let mut served = Vec::new();
    for canary in 0..canaries {
        let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(canary));
        let [bad, good] = history.each_ref().map(|table| table.draw(&mut rng));
        let outcomes = Outcomes { bad, total: bad + good };
        let (is_back, bad) = hour(&judge, &kind, outcomes, &mut rng);
        back += u64::from(is_back);
        served.push(bad);
    }
    served.sort_unstable();
    let bad_mean = count(served.iter().sum()) / count(canaries);
    let bad_median = served.get(served.len() / 2).copied().unwrap_or(0);
    Early { kind, canaries, back, bad_mean, bad_median, bad_most: served.pop().unwrap_or(0) }
}

impl Ruled {
    fn rules(self) -> Rules {
        let plain = Rules { warmup: Millis::ZERO, ..Rules::default() };
        match self {
            Self::Plain => plain,
            Self::Alone => {
                let metrics = vec![Metric::errors()];
                Rules { metrics, alpha_rollback: plain.alpha_rollback / LOOKS, ..plain }
            }
        }
    }
}

/// Whether it is rolled back within the hour, and how many bad requests it served.
fn hour(judge: &Judge, kind: &Kind, before: Outcomes, rng: &mut Rng) -> (bool, u64) {
    let history = History { outcomes: before, ..History::default() };
    let histories = [("errors".to_owned(), history)].into();
    let mut state = judge.begin(&histories).expect("the name is its own");
    let share_of_canary = f64::from(kind.share_percent) / 100.0;
    let [canary, baseline] = [kind.canary_percent, kind.baseline_percent].map(|it| it / 100.0);
    let mut seen = Pair::<Outcomes>::default();
    let (mut bad, mut from) = (0, 0);
    for request in 1..REQUESTS {
        let is_canary = share(rng) < share_of_canary;
        let is_bad = share(rng) < if is_canary { canary } else { baseline };
        let arm = if is_canary { &mut seen.canary } else { &mut seen.baseline };
        arm.total += 1;
        arm.bad += u64::from(is_bad);
        bad += u64::from(is_bad && is_canary);
        let is_urgent = is_bad && is_canary && seen.canary.bad >= kind.early_bad;
        if !is_urgent && request - from < REQUESTS_A_LOOK {
            continue;
        }
        let time = |request: u64| Millis(request * 100);
        let readings = [("errors".to_owned(), Reading::Counts(seen))].into();
        let interval = Interval { id: request, from: time(from), until: time(request), readings };
        judge.apply(&mut state, &interval).expect("counts of its own metric");
        let look = Look { elapsed: time(request), step: time(request) };
        let verdict = judge.verdict(&state, look);
        if matches!(verdict.decision, Decision::Rollback { .. }) {
            return (true, bad);
        }
        seen = Pair::default();
        from = request;
    }
    (false, bad)
}
