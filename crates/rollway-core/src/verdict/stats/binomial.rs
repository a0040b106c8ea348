//! The binomial distribution: exact tails and tests, and intervals of a proportion.

use super::special::{Share, bisect, ln_beta, ln_beta_lower, normal_quantile};
use super::{Alternative, Outcomes, Range, count};

/// Two outcomes whose probabilities differ by less than this are equally likely (R and scipy use
/// the same, against rounding).
const LIKELY: f64 = 1e-7;

/// ln P(X = k) of n tries with probability `p`.
#[must_use]
pub fn ln_probability(k: u64, n: u64, p: Share) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    let (bad, good) = (count(k), count(n - k));
    let power = |times: f64, share: f64| if times == 0.0 { 0.0 } else { times * share.ln() };
    power(bad, p.of) + power(good, p.rest) - count(n + 1).ln() - ln_beta(bad + 1.0, good + 1.0)
}

/// ln P(X >= k).
#[must_use]
pub fn ln_at_least(k: u64, n: u64, p: Share) -> f64 {
    if k == 0 {
        0.0
    } else if k > n {
        f64::NEG_INFINITY
    } else if k == n {
        count(n) * p.of.ln()
    } else {
        ln_beta_lower(count(k), count(n - k + 1), p)
    }
}

/// ln P(X <= k).
#[must_use]
pub fn ln_at_most(k: u64, n: u64, p: Share) -> f64 {
    if k >= n {
        return 0.0;
    }
    ln_at_least(n - k, n, Share { of: p.rest, rest: p.of })
}

/// The exact test of the probability `p`; the two-sided one adds up all that is no likelier than
/// what was seen (as `binom.test` of R).
#[must_use]
pub fn test(seen: Outcomes, p: f64, alternative: Alternative) -> f64 {
    let (k, n, p) = (seen.bad, seen.total, Share::new(p));
    match alternative {
        Alternative::Greater => ln_at_least(k, n, p).exp(),
        Alternative::Less => ln_at_most(k, n, p).exp(),
        Alternative::TwoSided => two_sided(k, n, p),
    }
}

fn two_sided(k: u64, n: u64, p: Share) -> f64 {
    let limit = ln_probability(k, n, p) + LIKELY.ln_1p();
    let middle = p.of * count(n);
    if count(k) == middle {
        return 1.0;
    }
    let likely = |i: u64| ln_probability(i, n, p) > limit;
    // The likelier ones lie in `lower..upper`, around the middle.
    let (lower, upper) = if count(k) < middle {
        (k + 1, first(0, n + 1, |i| count(i) >= middle && !likely(i)))
    } else {
        (first(0, n + 1, |i| count(i) > middle || likely(i)), k)
    };
    let left = if lower == 0 { 0.0 } else { ln_at_most(lower - 1, n, p).exp() };
    (left + ln_at_least(upper, n, p).exp()).min(1.0)
}

/// The first of `low..high` for which it holds, which then holds for all that follow; `high`
/// where it holds for none.
fn first(low: u64, high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The interval of Clopper and Pearson, which is exact; one-sided for a one-sided alternative.
#[must_use]
pub fn clopper_pearson(seen: Outcomes, level: f64, alternative: Alternative) -> Range {
    let (k, n) = (seen.bad, seen.total);
    let ln_tail = match alternative {
        Alternative::TwoSided => ((1.0 - level) / 2.0).ln(),
        Alternative::Greater | Alternative::Less => (1.0 - level).ln(),
    };
    let share = seen.share();
    let lower = if k == 0 || alternative == Alternative::Less {
        0.0
    } else {
        bisect(0.0, share, |p| ln_at_least(k, n, Share::new(p)) > ln_tail)
    };
    let upper = if k == n || alternative == Alternative::Greater {
        1.0
    } else {
        bisect(share, 1.0, |p| ln_at_most(k, n, Share::new(p)) < ln_tail)
    };
    Range { lower, upper }
}

/// The interval of Wilson: the proportions that a score test does not reject.
#[must_use]
pub fn wilson(seen: Outcomes, level: f64, alternative: Alternative) -> Range {
    let (n, p, z) = (count(seen.total), seen.share(), critical(level, alternative));
    let width = z * (4.0 * n * p * (1.0 - p) + z * z).sqrt();
    around(seen, z, alternative, |_| width)
}

/// The same with the correction for continuity.
#[must_use]
pub fn wilson_corrected(seen: Outcomes, level: f64, alternative: Alternative) -> Range {
    let (n, p, z) = (count(seen.total), seen.share(), critical(level, alternative));
    let q = 1.0 - p;
    around(seen, z, alternative, |side| {
        let inside = z * z - side * 2.0 - 1.0 / n + 4.0 * p * (n * q + side);
        1.0 + z * inside.sqrt()
    })
}

/// Wilson's centre less and more `width(side)`, where side is +1 below and -1 above.
fn around(seen: Outcomes, z: f64, side: Alternative, width: impl Fn(f64) -> f64) -> Range {
    let (n, p) = (count(seen.total), seen.share());
    let scale = 2.0 * (n + z * z);
    let centre = 2.0 * n * p + z * z;
    let is_least = seen.bad == 0 || side == Alternative::Less;
    let is_most = seen.bad == seen.total || side == Alternative::Greater;
    Range {
        lower: if is_least { 0.0 } else { (centre - width(1.0)) / scale },
        upper: if is_most { 1.0 } else { (centre + width(-1.0)) / scale },
    }
}

fn critical(level: f64, alternative: Alternative) -> f64 {
    match alternative {
        Alternative::TwoSided => -normal_quantile((1.0 - level) / 2.0),
        Alternative::Greater | Alternative::Less => -normal_quantile(1.0 - level),
    }
}
