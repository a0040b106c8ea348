//! Targets that a caller updates by itself, one after another: which ones belong together, how far
//! a stage goes, and whether what came of it is good enough.
//!
//! This is what the Python classes `RollingDeployment`, `CanaryDeployment` and `CanaryAnalyzer`
//! promise.

use std::ops::Range;

/// The batches of a rolling deployment, in order; the last one may be smaller. A size of 0 is 1.
pub fn batches(total: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let size = size.max(1);
    (0..total).step_by(size).map(move |start| start..start.saturating_add(size).min(total))
}

/// How many of `total` targets are on the new version when a stage of `percent` is reached:
/// `floor(total * percent / 100)`, and never more than there are.
#[must_use]
pub fn stage_targets(total: usize, percent: f64) -> usize {
    let count = (total as f64 * percent / 100.0).floor();
    // Not a number and below 0 are 0 in this conversion; what is too large is cut.
    (count as usize).min(total)
}

/// The share of `attempted` that went well: 0 to 1. Where nothing was tried, nothing went wrong.
#[must_use]
pub fn success_rate(well: usize, attempted: usize) -> f64 {
    if attempted == 0 { 1.0 } else { well as f64 / attempted as f64 }
}

/// Whether a rate is good enough; one that is not a number never is.
#[must_use]
pub fn holds(rate: f64, threshold: f64) -> bool {
    rate >= threshold
}

/// A rate as people read it: `66.7%`.
#[must_use]
pub fn percent(rate: f64) -> String {
    format!("{:.1}%", rate * 100.0)
}

/// A metric of the new version beside the same one of the old; lower is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rise {
    /// Relative to the old one's value: 0.5 is half as much again.
    Relative(f64),
    /// The old one was 0: the value itself counts.
    Absolute(f64),
}

impl Rise {
    /// How far `canary` is above `baseline`.
    #[must_use]
    pub fn of(baseline: f64, canary: f64) -> Self {
        if baseline == 0.0 {
            return Self::Absolute(canary);
        }
        Self::Relative((canary - baseline) / baseline.abs())
    }

    /// Whether it stays within the threshold. Without a number it does not: no data is not health.
    #[must_use]
    pub fn is_within(self, threshold: f64) -> bool {
        match self {
            Self::Relative(rise) | Self::Absolute(rise) => rise <= threshold,
        }
    }
}

/// What a comparison of several metrics comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Good enough to go on to the end.
    Promote,
    /// So bad that it has to go.
    Rollback,
    /// Neither: go on looking.
    Continue,
}

/// The decision at a share of metrics that passed: 0 to 1.
#[must_use]
pub fn decide(pass_rate: f64, promote: f64, rollback: f64) -> Decision {
    if pass_rate >= promote {
        Decision::Promote
    } else if pass_rate < rollback {
        Decision::Rollback
    } else {
        Decision::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stages_round_down() {
        let counts = |total| [10.0, 25.0, 50.0, 100.0].map(|it| stage_targets(total, it));
        assert_eq!(counts(10), [1, 2, 5, 10]);
        assert_eq!(counts(3), [0, 0, 1, 3]);
        assert_eq!(counts(0), [0; 4]);
        assert_eq!(stage_targets(5, f64::NAN), 0);
        assert_eq!(stage_targets(5, -1.0), 0);
        assert_eq!(stage_targets(5, 250.0), 5);
    }

    #[test]
    fn no_number_is_not_within() {
        assert!(!Rise::of(1.0, f64::NAN).is_within(0.1));
        assert!(!Rise::of(f64::NAN, 1.0).is_within(0.1));
        assert!(!Rise::of(0.0, f64::NAN).is_within(0.1));
        assert!(!holds(f64::NAN, 0.5));
        assert!(Rise::of(-2.0, -2.0).is_within(0.0));
        assert_eq!(Rise::of(-2.0, -1.0), Rise::Relative(0.5));
    }

    #[test]
    fn decisions_have_their_bounds() {
        assert_eq!(decide(0.9, 0.9, 0.5), Decision::Promote);
        assert_eq!(decide(0.5, 0.9, 0.5), Decision::Continue);
        assert_eq!(decide(0.49, 0.9, 0.5), Decision::Rollback);
    }

    proptest! {
        #[test]
        fn batches_cover_everything_once_in_order(total in 0usize..500, size in 0usize..60) {
            let all: Vec<usize> = batches(total, size).flatten().collect();
            prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
            let most = size.max(1);
            prop_assert!(batches(total, size).all(|batch| (1..=most).contains(&batch.len())));
        }

        #[test]
        fn later_stages_never_go_back(total in 0usize..5000, a in 0.0..100.0, b in 0.0..100.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(stage_targets(total, low) <= stage_targets(total, high));
            prop_assert!(stage_targets(total, high) <= total);
            prop_assert_eq!(stage_targets(total, 100.0), total);
        }
    }
}
