//! The normal distribution: its tail and its quantiles, to twelve digits and better.

use std::f64::consts::PI;

/// From here on the continued fraction is the more precise one, and converges quickly.
const SERIES_UNTIL: f64 = 2.5;
/// More terms than either needs at any argument.
const TERMS_MAX: u32 = 400;

/// The probability of a value above `z`.
pub(super) fn upper_tail(z: f64) -> f64 {
    if z < 0.0 { 1.0 - upper_tail(-z) } else { upper_tail_of_positive(z) }
}

fn upper_tail_of_positive(z: f64) -> f64 {
    if z < SERIES_UNTIL { 0.5 - density(z) * series(z) } else { density(z) / fraction(z) }
}

fn density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * PI).sqrt()
}

/// z + z³/3 + z⁵/(3·5) + …: Abramowitz and Stegun 26.2.11.
fn series(z: f64) -> f64 {
    let (mut term, mut sum) = (z, z);
    for step in 1..TERMS_MAX {
        term *= z * z / f64::from(2 * step + 1);
        sum += term;
        if term < sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    sum
}

/// z + 1/(z + 2/(z + 3/(z + …))): Abramowitz and Stegun 26.2.14, from the innermost outwards.
fn fraction(z: f64) -> f64 {
    (1..TERMS_MAX).rev().fold(z, |inner, step| z + f64::from(step) / inner)
}

/// The value below which a share of `p` lies; infinite at 0 and 1.
pub(super) fn quantile(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return if p >= 1.0 { f64::INFINITY } else { f64::NEG_INFINITY };
    }
    if p > 0.5 { above(1.0 - p) } else { -above(p) }
}

/// The value above which a share of `tail` <= 0.5 lies.
fn above(tail: f64) -> f64 {
    // Abramowitz and Stegun 26.2.23, good to 4.5e-4, and then Halley's steps, each of which
    // triples the digits.
    let t = (-2.0 * tail.ln()).sqrt();
    let over = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let under = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let mut z = (t - over / under).max(0.0);
    for _ in 0..4 {
        let error = (upper_tail(z) - tail) / density(z);
        z += error / (1.0 - z * error / 2.0);
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_and_the_quantiles_are_those_of_the_tables() {
        let near = |ours: f64, theirs: f64| (ours - theirs).abs() <= 1e-12 * theirs.abs();
        assert!(near(upper_tail(1.0), 0.158_655_253_931_457_05));
        assert!(near(upper_tail(2.4), 0.008_197_535_924_596_131));
        assert!(near(upper_tail(6.0), 9.865_876_450_376_946e-10));
        assert!(near(upper_tail(-1.0), 0.841_344_746_068_542_9));
        assert!(near(quantile(0.99), 2.326_347_874_040_840_8));
        assert!(near(quantile(0.025), -1.959_963_984_540_054));
        assert!(near(quantile(1e-9), -5.997_807_015_007_686));
    }
}
