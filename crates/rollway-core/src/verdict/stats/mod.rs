//! Statistics that the judge rests on, and those it is compared with: one file a subject.
//!
//! Everything here is a function from numbers to numbers, and each is held to reference values
//! (scipy, statsmodels, confseq, gbstats, mpmath) by `tests/verdict`.

pub mod betting;
pub mod binomial;
pub mod boundaries;
pub mod descriptive;
pub mod mixture;
pub mod multiplicity;
pub mod proportions;
pub mod quantile;
pub mod special;
pub mod student;

use serde::{Deserialize, Serialize};

/// Which way the alternative points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    /// The truth is above the null.
    Greater,
    /// It is below.
    Less,
    /// It is elsewhere.
    TwoSided,
}

/// Counts of one arm: how many of how many were bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// How many were bad.
    pub bad: u64,
    /// How many there were.
    pub total: u64,
}

impl Outcomes {
    /// The share of bad ones; not a number where there were none at all.
    #[must_use]
    pub fn share(self) -> f64 {
        count(self.bad) / count(self.total)
    }
}

/// A range with both ends in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

/// A count as a float: exact up to 2^53, and nobody serves more requests than that.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53, where a float is exact")]
#[must_use]
pub fn count(n: u64) -> f64 {
    n as f64
}

/// How many there are, as a float.
#[must_use]
pub(crate) fn length<T>(values: &[T]) -> f64 {
    count(u64::try_from(values.len()).expect("a length fits 64 bits"))
}
