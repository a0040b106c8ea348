//! The rank score: bets that the canary's outcomes lie in higher bands, the sequential
//! counterpart of the test of Mann and Whitney.
//!
//! Any score that never falls from band to band keeps the e-process valid for the whole null "the
//! canary is stochastically no slower", since then its mean score is no higher either.

use super::eprocess::{Capital, Guess, Pair, Starts};
use super::stats::count;

/// How many bands there are: between and beyond five thresholds.
pub const BANDS: usize = 6;
/// The bands' scores: the middle of the levels 0, 0.5, 0.75, 0.9, 0.95, 0.99, 1.
pub const SCORES: [f64; BANDS] = [0.25, 0.625, 0.825, 0.925, 0.97, 0.995];
/// How boldly is bet, before the share of the traffic is taken off.
pub const BOLDNESS: [f64; 4] = [0.08, 0.2, 0.5, 1.2];
/// No single outcome takes more than this part of a bet's capital.
const RISK_MOST: f64 = 0.95;

/// How many outcomes fell in each band.
pub type Bands = [u64; BANDS];

/// A guess of the baseline's mean score from what it did before.
#[must_use]
pub fn guess(mean: f64, total: f64) -> Guess {
    Guess { sum: mean * total, total }
}

/// Capital for these bets.
#[must_use]
pub fn capital(starts: Starts) -> Capital {
    Capital::new(BOLDNESS.len(), starts)
}

/// The sum of the scores.
#[must_use]
pub fn sum(bands: &Bands) -> f64 {
    bands.iter().zip(SCORES).map(|(n, score)| count(*n) * score).sum()
}

/// How many outcomes there are in all bands.
#[must_use]
pub fn total(bands: &Bands) -> u64 {
    bands.iter().sum()
}

/// ln of what an interval multiplies each bet's capital by; nothing where an arm is empty.
#[must_use]
pub fn ln_factors(guess: &Guess, seen: &Pair<Bands>) -> [f64; BOLDNESS.len()] {
    let (canary, baseline) = (count(total(&seen.canary)), count(total(&seen.baseline)));
    if canary == 0.0 || baseline == 0.0 {
        return [0.0; BOLDNESS.len()];
    }
    let p = guess.rate();
    let per_baseline = canary / baseline;
    let share = canary / (canary + baseline);
    // The scores rise, so the first and the last are the furthest from the mean.
    let lowest = p - SCORES[0];
    let highest = SCORES[BANDS - 1] - p;
    let most = (RISK_MOST / lowest).min(RISK_MOST / per_baseline / highest);
    BOLDNESS.map(|boldness| {
        let bet = (boldness * (1.0 - share)).min(most);
        let ln = |bands: &Bands, bet: f64| -> f64 {
            let scored = bands.iter().zip(SCORES).filter(|(n, _)| **n > 0);
            scored.map(|(n, score)| count(*n) * (bet * (score - p)).ln_1p()).sum()
        };
        ln(&seen.canary, bet) + ln(&seen.baseline, -bet * per_baseline)
    })
}

/// Learns from the baseline's outcomes, after they were bet on.
pub fn learn(guess: &mut Guess, baseline: &Bands) {
    guess.sum += sum(baseline);
    guess.total += count(total(baseline));
}
