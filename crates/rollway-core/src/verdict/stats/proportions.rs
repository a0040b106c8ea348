//! Two proportions: the tests and the interval that other tools use, for comparison.

use super::binomial::{ln_at_least, wilson};
use super::special::{Share, ln_beta, ln_normal_upper, ln_sum};
use super::{Alternative, Outcomes, Range, count};

/// The pooled z statistic of "the first proportion is larger"; not a number where neither or
/// both arms have nothing but one kind of outcome.
#[must_use]
pub fn pooled_z(first: Outcomes, second: Outcomes) -> f64 {
    let (n1, n2) = (count(first.total), count(second.total));
    let pooled = count(first.bad + second.bad) / (n1 + n2);
    let variance = pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2);
    (first.share() - second.share()) / variance.sqrt()
}

/// P(Z >= z).
#[must_use]
pub fn z_p_value(z: f64) -> f64 {
    ln_normal_upper(z).exp()
}

/// Fisher's exact test of "the first proportion is larger".
#[must_use]
pub fn fisher_greater(first: Outcomes, second: Outcomes) -> f64 {
    let all = first.bad + second.bad;
    let most = all.min(first.total);
    let least = all.saturating_sub(second.total);
    if first.bad <= least {
        return 1.0;
    }
    // Beyond the mode the terms fall, so that the shorter sum is the tail on this side of it.
    let mode = count(first.total + 1) * count(all + 1) / count(first.total + second.total + 2);
    if count(first.bad) > mode {
        return upper_tail(first, second, first.bad, most).exp();
    }
    let lower = lower_tail(first, second, first.bad - 1, least);
    (1.0 - lower.exp()).clamp(0.0, 1.0)
}

fn upper_tail(first: Outcomes, second: Outcomes, from: u64, most: u64) -> f64 {
    let all = first.bad + second.bad;
    let (mut ratio, mut sum) = (1.0, 1.0);
    for k in from..most {
        let up = count(all - k) * count(first.total - k);
        let down = count(k + 1) * count(second.total + k + 1 - all);
        ratio *= up / down;
        sum += ratio;
        if ratio < sum * f64::EPSILON / 8.0 {
            break;
        }
    }
    ln_hypergeometric(from, first.total, second.total, all) + f64::ln(sum)
}

fn lower_tail(first: Outcomes, second: Outcomes, from: u64, least: u64) -> f64 {
    let all = first.bad + second.bad;
    let (mut ratio, mut sum) = (1.0, 1.0);
    for k in (least + 1..=from).rev() {
        let down = count(k) * count(second.total + k - all);
        let up = count(all - k + 1) * count(first.total - k + 1);
        ratio *= down / up;
        sum += ratio;
        if ratio < sum * f64::EPSILON / 8.0 {
            break;
        }
    }
    ln_hypergeometric(from, first.total, second.total, all) + f64::ln(sum)
}

/// ln of C(n1, k) C(n2, all - k) / C(n1 + n2, all).
fn ln_hypergeometric(k: u64, n1: u64, n2: u64, all: u64) -> f64 {
    let ln_choose =
        |n: u64, k: u64| -count(n + 1).ln() - ln_beta(count(k) + 1.0, count(n - k) + 1.0);
    ln_choose(n1, k) + ln_choose(n2, all - k) - ln_choose(n1 + n2, all)
}

/// Newcombe's hybrid score interval of the first proportion less the second (his method 10).
#[must_use]
pub fn newcombe(first: Outcomes, second: Outcomes, level: f64) -> Range {
    let (p1, p2) = (first.share(), second.share());
    let one = wilson(first, level, Alternative::TwoSided);
    let two = wilson(second, level, Alternative::TwoSided);
    let difference = p1 - p2;
    Range {
        lower: difference - (p1 - one.lower).hypot(two.upper - p2),
        upper: difference + (one.upper - p1).hypot(p2 - two.lower),
    }
}

/// ln P(Bin(bad of both, `share`) >= bad of the first): given how many were bad in all, would so
/// many of them have fallen on the first arm? With `share = n1/(n1+n2)` this is the exact test
/// of two Poisson rates.
#[must_use]
pub fn ln_conditional_binomial(first_bad: u64, second_bad: u64, share: Share) -> f64 {
    ln_at_least(first_bad, first_bad + second_bad, share)
}

/// The share of the traffic that the first arm has.
#[must_use]
pub fn traffic_share(first: u64, second: u64) -> Share {
    let all = count(first) + count(second);
    Share { of: count(first) / all, rest: count(second) / all }
}

/// ln of the mean of `exp(values)`.
#[must_use]
pub fn ln_mean(values: &[f64]) -> f64 {
    ln_sum(values) - super::length(values).ln()
}
