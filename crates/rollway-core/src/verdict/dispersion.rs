//! How strongly bad outcomes come in clusters: the temper of the tests.
//!
//! Retry storms and sticky sessions make outcomes fail together. Untempered, a test takes a
//! cluster of ten for ten independent failures, and is wrong most of the time. Where they come in
//! clusters of at most `phi` on one arm, dividing the evidence by `phi` keeps it valid (the
//! generalised inequality of Hoelder).

use super::stats::{count, length};

/// Less than this is taken for no clusters at all.
pub const DISPERSION_LEAST: f64 = 1.25;

/// The Fano factor of counts a second: half the mean square of the differences of neighbours,
/// over the mean, which a slow drift of the rate does not change. Nothing where nothing was bad.
#[must_use]
pub fn dispersion(bad_per_second: &[u64]) -> Option<f64> {
    let square = |pair: &[u64]| match pair {
        [before, after] => (count(*after) - count(*before)).powi(2),
        _ => 0.0,
    };
    let sum: f64 = bad_per_second.iter().map(|n| count(*n)).sum();
    let squares: f64 = bad_per_second.windows(2).map(square).sum();
    (sum > 0.0 && length(bad_per_second) > 1.0).then(|| squares / (2.0 * sum))
}

/// The temper that follows from it: 1 where there are no clusters to speak of, or nothing known.
#[must_use]
pub fn temper(bad_per_second: &[u64]) -> f64 {
    dispersion(bad_per_second).filter(|phi| *phi > DISPERSION_LEAST).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_measured_by_their_size() {
        let spread: Vec<u64> = (0..1800).map(|n| u64::from(n % 10 == 0)).collect();
        assert_eq!(temper(&spread), 1.0);
        let clusters: Vec<u64> = (0..1800).map(|n| if n % 100 == 0 { 10 } else { 0 }).collect();
        assert!((temper(&clusters) - 10.0).abs() < 0.5);
        assert_eq!(dispersion(&[0, 0]), None);
        assert_eq!(temper(&[]), 1.0);
    }
}
