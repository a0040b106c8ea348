//! The special functions that the tests need, in logarithms, so that a tail never underflows.
//!
//! The standard library has none of these. Each is a classic: Stirling's series with a shift, and
//! the continued fractions and series of NIST's handbook (DLMF 5.11, 8.7, 8.9, 8.17). Held to
//! reference values of scipy and Boost by the conformance test.

use std::f64::consts::PI;

/// ln sqrt(2 pi).
const LN_SQRT_TAU: f64 = 0.918_938_533_204_672_741_780_329_736_406;
/// From here on Stirling's series is exact to the last bit.
const STIRLING_FROM: f64 = 16.0;
/// A fraction needs some `sqrt(a + b)` steps; this is enough for counts up to 2^53.
const STEPS_MAX: u32 = 2_000_000;
/// What keeps a denominator of Lentz's method from being zero.
const TINY: f64 = 1e-300;

/// The natural logarithm of the gamma function of `x > 0` (DLMF 5.11.1).
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    let mut shifted = x;
    let mut product = 1.0;
    while shifted < STIRLING_FROM {
        product *= shifted;
        shifted += 1.0;
    }
    stirling(shifted) + stirling_error(shifted) - product.ln()
}

fn stirling(x: f64) -> f64 {
    (x - 0.5) * x.ln() - x + LN_SQRT_TAU
}

/// What Stirling's formula lacks, for `x >= STIRLING_FROM`.
fn stirling_error(x: f64) -> f64 {
    let square = 1.0 / (x * x);
    let series = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
    ];
    series.iter().rev().fold(0.0, |sum, term| sum * square + term) / x
}

/// The natural logarithm of the beta function, without the cancellation of three gammas where an
/// argument is large.
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    let (small, large) = if a <= b { (a, b) } else { (b, a) };
    let share = small / (small + large);
    if small >= STIRLING_FROM {
        let error = stirling_error(small) + stirling_error(large) - stirling_error(small + large);
        return LN_SQRT_TAU - 0.5 * large.ln()
            + error
            + (small - 0.5) * share.ln()
            + large * (-share).ln_1p();
    }
    if large >= STIRLING_FROM {
        let error = stirling_error(large) - stirling_error(small + large);
        return ln_gamma(small) + error + small - small * (small + large).ln()
            + (large - 0.5) * (-share).ln_1p();
    }
    ln_gamma(small) + ln_gamma(large) - ln_gamma(small + large)
}

/// A share and what is left of one, both exact: `1 - x` loses its digits for a small `x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// The share.
    pub of: f64,
    /// One less the share.
    pub rest: f64,
}

impl Share {
    /// From the share alone.
    #[must_use]
    pub fn new(of: f64) -> Self {
        Self { of, rest: 1.0 - of }
    }

    fn swapped(self) -> Self {
        Self { of: self.rest, rest: self.of }
    }
}

/// ln I_x(a, b), the regularised incomplete beta function (DLMF 8.17.22).
#[must_use]
pub fn ln_beta_lower(a: f64, b: f64, x: Share) -> f64 {
    if x.of <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if x.rest <= 0.0 {
        return 0.0;
    }
    if x.of > (a + 1.0) / (a + b + 2.0) {
        return ln_one_less(ln_beta_fraction(b, a, x.swapped()));
    }
    ln_beta_fraction(a, b, x)
}

/// ln (1 - exp(ln_p)): the logarithm of the other side.
#[must_use]
pub fn ln_one_less(ln_p: f64) -> f64 {
    if ln_p >= 0.0 {
        f64::NEG_INFINITY
    } else if ln_p > -std::f64::consts::LN_2 {
        (-ln_p.exp_m1()).ln()
    } else {
        (-ln_p.exp()).ln_1p()
    }
}

fn ln_beta_fraction(a: f64, b: f64, x: Share) -> f64 {
    // ln x is exact from whichever of the two is known better.
    let ln_x = if x.of < 0.5 { x.of.ln() } else { (-x.rest).ln_1p() };
    let ln_rest = if x.rest < 0.5 { x.rest.ln() } else { (-x.of).ln_1p() };
    let front = a * ln_x + b * ln_rest - ln_beta(a, b) - a.ln();
    let term = |step: u32| {
        let m = f64::from(step / 2);
        if step.is_multiple_of(2) {
            m * (b - m) * x.of / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x.of / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        }
    };
    front - lentz(1.0, |step| (term(step), 1.0)).ln()
}

/// A continued fraction `first + n1/(d1 + n2/(d2 + ...))`, by Lentz's method as Thompson and
/// Barnett changed it; `terms` gives `(n, d)` of steps 1, 2, ...
fn lentz(first: f64, terms: impl Fn(u32) -> (f64, f64)) -> f64 {
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut value = away(first);
    let (mut c, mut d) = (value, 0.0);
    for step in 1..=STEPS_MAX {
        let (numerator, denominator) = terms(step);
        d = 1.0 / away(denominator + numerator * d);
        c = away(denominator + numerator / c);
        let change = c * d;
        value *= change;
        if (change - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    value
}

/// ln P(a, x), the lower regularised incomplete gamma function (DLMF 8.7.1, 8.9.2).
#[must_use]
pub fn ln_gamma_lower(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        f64::NEG_INFINITY
    } else if x < a + 1.0 {
        ln_gamma_series(a, x)
    } else {
        ln_one_less(ln_gamma_fraction(a, x))
    }
}

/// ln Q(a, x) = ln (1 - P(a, x)), the upper one.
#[must_use]
pub fn ln_gamma_upper(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        0.0
    } else if x < a + 1.0 {
        ln_one_less(ln_gamma_series(a, x))
    } else {
        ln_gamma_fraction(a, x)
    }
}

fn ln_gamma_front(a: f64, x: f64) -> f64 {
    a * x.ln() - x - ln_gamma(a)
}

fn ln_gamma_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut at) = (1.0 / a, 1.0 / a, a);
    for _ in 0..STEPS_MAX {
        at += 1.0;
        term *= x / at;
        sum += term;
        if term < sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    ln_gamma_front(a, x) + sum.ln()
}

fn ln_gamma_fraction(a: f64, x: f64) -> f64 {
    let fraction = lentz(x + 1.0 - a, |step| {
        let n = f64::from(step);
        (-n * (n - a), x + 2.0 * n + 1.0 - a)
    });
    ln_gamma_front(a, x) - fraction.ln()
}

/// ln of the standard normal distribution function at `z`.
#[must_use]
pub fn ln_normal_lower(z: f64) -> f64 {
    let half = z * z / 2.0;
    if z < 0.0 {
        ln_gamma_upper(0.5, half) - std::f64::consts::LN_2
    } else {
        ln_gamma_lower(0.5, half).exp().ln_1p() - std::f64::consts::LN_2
    }
}

/// ln of the standard normal upper tail at `z`.
#[must_use]
pub fn ln_normal_upper(z: f64) -> f64 {
    ln_normal_lower(-z)
}

/// The standard normal quantile of `p` in (0, 1).
///
/// Newton's method on ln Phi, which is concave: begun left of the root it comes nearer from the
/// left only. The start is left of it because Phi(-t) <= exp(-t^2/2)/2.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    let wanted = p.ln();
    let mut z = -(-2.0 * wanted).sqrt();
    for _ in 0..100 {
        let ln_lower = ln_normal_lower(z);
        let ln_slope = -z * z / 2.0 - 0.5 * (2.0 * PI).ln() - ln_lower;
        let step = (wanted - ln_lower) / ln_slope.exp();
        z += step;
        if step.abs() <= z.abs() * f64::EPSILON {
            break;
        }
    }
    z
}

/// ln P(T >= t) of Student's distribution with `freedom` degrees of freedom, for `t >= 0`.
#[must_use]
pub fn ln_student_upper(t: f64, freedom: f64) -> f64 {
    let square = t * t;
    let x = Share { of: freedom / (freedom + square), rest: square / (freedom + square) };
    ln_beta_lower(freedom / 2.0, 0.5, x) - std::f64::consts::LN_2
}

/// The `t >= 0` with P(T >= t) = `tail`, for a tail below one half.
#[must_use]
pub fn student_upper_quantile(tail: f64, freedom: f64) -> f64 {
    let wanted = tail.ln();
    let mut high = 1.0;
    while ln_student_upper(high, freedom) > wanted && high < 1e300 {
        high *= 2.0;
    }
    bisect(0.0, high, |t| ln_student_upper(t, freedom) <= wanted)
}

/// The place in `[low, high]` where `is_beyond` turns from false to true, to the last bit.
#[must_use]
pub fn bisect(low: f64, high: f64, is_beyond: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (low, high);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if is_beyond(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
}

/// The least value of a convex `f` in `[low, high]`, and where it is (golden section).
#[must_use]
pub fn least(low: f64, high: f64, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (low, high);
    let (mut left, mut right) = (high - golden * (high - low), low + golden * (high - low));
    let (mut f_left, mut f_right) = (f(left), f(right));
    // Each step keeps 0.618 of the range; 80 of them leave less than 1e-16 of it.
    for _ in 0..80 {
        if f_left <= f_right {
            (high, right, f_right) = (right, left, f_left);
            left = high - golden * (high - low);
            f_left = f(left);
        } else {
            (low, left, f_left) = (left, right, f_right);
            right = low + golden * (high - low);
            f_right = f(right);
        }
    }
    if f_left <= f_right { (left, f_left) } else { (right, f_right) }
}

/// The zeta function of Riemann for `s > 1` (Euler and Maclaurin, from the tenth term on).
#[must_use]
pub fn zeta(s: f64) -> f64 {
    let n = 10.0f64;
    let head: f64 = (1..10).map(|k| f64::from(k).powf(-s)).sum();
    let power = n.powf(-s);
    let mut tail = n * power / (s - 1.0) + power / 2.0;
    // Bernoulli's numbers over factorials: B2/2!, B4/4!, ...
    let numbers =
        [1.0 / 12.0, -1.0 / 720.0, 1.0 / 30_240.0, -1.0 / 1_209_600.0, 1.0 / 47_900_160.0];
    let mut rising = s * power / n;
    for (index, number) in numbers.iter().enumerate() {
        tail += number * rising;
        let at = s + 2.0 * f64::from(u32::try_from(index).expect("five of them")) + 1.0;
        rising *= at * (at + 1.0) / (n * n);
    }
    head + tail
}

/// ln(exp(a) + exp(b)).
#[must_use]
pub fn ln_add(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// ln of the sum of the exponentials.
#[must_use]
pub fn ln_sum(values: &[f64]) -> f64 {
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    // The sum is at least 1, where a double changes by no less than 1e-16: smaller parts than
    // exp(-60) of it are not there, and their exponentials are the slow ones.
    let parts = values.iter().map(|value| value - most).filter(|part| *part > -60.0);
    most + parts.map(f64::exp).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(ours: f64, known: f64) {
        assert!((ours - known).abs() <= 2e-14 * known.abs().max(1.0), "{ours} is not {known}");
    }

    #[test]
    fn known_values() {
        near(ln_gamma(1.0), 0.0);
        near(ln_gamma(0.5), PI.sqrt().ln());
        near(ln_gamma(171.0), 706.573_062_245_787_3);
        near(ln_beta(2.0, 3.0), (1.0f64 / 12.0).ln());
        near(ln_beta(20.0, 30.0), ln_gamma(20.0) + ln_gamma(30.0) - ln_gamma(50.0));
        near(ln_beta(2.0, 30.0), -(30.0f64 * 31.0).ln());
        near(zeta(2.0), PI * PI / 6.0);
        near(normal_quantile(0.5), 0.0);
        near(normal_quantile(0.995), 2.575_829_303_548_900_4);
        near(normal_quantile(1e-12), -7.034_483_825_301_132);
        near(ln_normal_upper(40.0), -804.608_442_013_754_1);
        near(student_upper_quantile(0.025, 1.0), 12.706_204_736_174_705);
        near(ln_beta_lower(1.0, 1.0, Share::new(0.25)), 0.25f64.ln());
    }

    #[test]
    fn the_two_sides_add_up_to_one() {
        for (a, x) in [(0.5, 0.1), (3.0, 10.0), (1000.0, 990.0), (1e5, 1.01e5)] {
            near(ln_gamma_lower(a, x).exp() + ln_gamma_upper(a, x).exp(), 1.0);
        }
        for (a, b, x) in [(0.5, 7.0, 0.3), (1000.0, 2e4, 0.05), (3.0, 2.0, 0.9)] {
            let (x, rest) = (Share::new(x), Share { of: 1.0 - x, rest: x });
            near(ln_beta_lower(a, b, x).exp() + ln_beta_lower(b, a, rest).exp(), 1.0);
        }
    }
}
