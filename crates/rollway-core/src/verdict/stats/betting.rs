//! Confidence sequences of a bounded mean by betting (Waudby-Smith and Ramdas, 2023), with the
//! bets of the predictable mixture of empirical Bernstein type.

use super::Range;

/// No bet risks more than this part of what is left.
const RISK_MOST: f64 = 0.5;

/// The bets of one side: what was seen so far decides the next one.
struct Bets {
    ln_wanted: f64,
    time: f64,
    sum: f64,
    squares: f64,
}

impl Bets {
    fn new(alpha: f64) -> Self {
        // One sample of mean 1/2 and variance 1/4 is made up, to begin with.
        Self { ln_wanted: -alpha.ln(), time: 0.0, sum: 0.5, squares: 0.25 }
    }

    /// The next bet, and then what came of it.
    fn next(&mut self, x: f64) -> f64 {
        let variance = self.squares / (self.time + 1.0);
        self.time += 1.0;
        let bet = (2.0 * self.ln_wanted / (self.time * self.time.ln_1p() * variance)).sqrt();
        self.sum += x;
        let mean = (self.sum / (self.time + 1.0)).min(1.0);
        self.squares += (x - mean).powi(2);
        bet
    }
}

/// The means in `[0, 1]` that the hedged capital does not reject at `alpha`, after each value of
/// `x`; on a grid of `breaks` steps, one step wider on each side.
#[must_use]
pub fn hedged(x: &[f64], alpha: f64, breaks: u32) -> Vec<Range> {
    let up = bets(x, alpha / 2.0);
    let ln_wanted = -alpha.ln();
    let ln_half = -std::f64::consts::LN_2;
    sequence(x, breaks, |mean| {
        let (above, below) = (capital(x, &up, mean), capital_below(x, &up, mean));
        let both = above.into_iter().zip(below);
        both.map(|(above, below)| above.max(below) + ln_half <= ln_wanted).collect()
    })
}

/// The lower ends alone, by the bets that the mean is higher.
#[must_use]
pub fn lower(x: &[f64], alpha: f64, breaks: u32) -> Vec<f64> {
    let up = bets(x, alpha);
    let ln_wanted = -alpha.ln();
    let ranges = sequence(x, breaks, |mean| {
        capital(x, &up, mean).into_iter().map(|capital| capital <= ln_wanted).collect()
    });
    ranges.into_iter().map(|range| range.lower).collect()
}

fn bets(x: &[f64], alpha: f64) -> Vec<f64> {
    let mut bets = Bets::new(alpha);
    x.iter().map(|x| bets.next(*x)).collect()
}

/// ln of the capital of bets that the mean is above `mean`, after each value.
fn capital(x: &[f64], bets: &[f64], mean: f64) -> Vec<f64> {
    let factor = |x: f64, bet: f64| 1.0 + bet.min(RISK_MOST / mean) * (x - mean);
    running(x, bets, factor)
}

/// The same of bets that it is below.
fn capital_below(x: &[f64], bets: &[f64], mean: f64) -> Vec<f64> {
    let factor = |x: f64, bet: f64| 1.0 - bet.min(RISK_MOST / (1.0 - mean)) * (x - mean);
    running(x, bets, factor)
}

fn running(x: &[f64], bets: &[f64], factor: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut ln_capital = 0.0f64;
    let step = |(x, bet): (&f64, &f64)| {
        ln_capital += factor(*x, *bet).ln();
        ln_capital
    };
    x.iter().zip(bets).map(step).collect()
}

/// The ends of what is not rejected, for each time.
fn sequence(x: &[f64], breaks: u32, is_in: impl Fn(f64) -> Vec<bool>) -> Vec<Range> {
    let step = 1.0 / f64::from(breaks);
    let mut ranges: Vec<Option<Range>> = vec![None; x.len()];
    for index in 0..=breaks {
        let mean = f64::from(index) * step;
        for (range, is_in) in ranges.iter_mut().zip(is_in(mean)) {
            if is_in {
                let lower = range.map_or(mean, |range| range.lower);
                *range = Some(Range { lower, upper: mean });
            }
        }
    }
    let wider = |range: Option<Range>| match range {
        Some(Range { lower, upper }) => {
            Range { lower: (lower - step).max(0.0), upper: (upper + step).min(1.0) }
        }
        // Nothing on the grid is left: nothing is said.
        None => Range { lower: 0.0, upper: 1.0 },
    };
    ranges.into_iter().map(wider).collect()
}
