//! Those who judge: each looks at every interval and says whether the canary goes back.
//!
//! The others' judgements are those of `rollway_core::peers`, as the conformance tests hold them.

pub mod kayenta;
pub mod ours;
pub mod thresholds;
pub mod ztest;

use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::histogram::{self, Histogram};
use rollway_core::verdict::stats::{Outcomes, count};

use crate::draw::Slowness;
use crate::world::{HOUR_SECONDS, Seen};

/// How many rows of the table one of them may have.
pub const ROWS_MAX: usize = 2;

/// A look at an interval.
pub struct Check<'a> {
    /// The first is 1.
    pub number: u64,
    /// When the interval began, in seconds from the canary's start on.
    pub from_seconds: u64,
    /// When it ended, which is now.
    pub until_seconds: u64,
    /// What it brought.
    pub seen: &'a Seen,
}

impl Check<'_> {
    /// Whether it is the last.
    pub fn is_last(&self) -> bool {
        self.until_seconds >= HOUR_SECONDS
    }
}

/// What one of them says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is too early to say.
    GoOn,
    /// Roll back.
    RollBack,
    /// It is proven to be good enough.
    Certified,
    /// At the deadline: it is promoted, not certified.
    PromotedAsClean,
    /// At the deadline: a person has to look.
    Held,
}

/// One who judges: an answer for each of its rows.
pub trait Method {
    /// Looks at the next interval.
    fn look(&mut self, check: &Check) -> [Answer; ROWS_MAX];
}

/// Which of the two metrics is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// The share of failed requests; the baseline's is this one.
    Errors {
        /// As the peers' thresholds are tuned to it.
        usual: f64,
    },
    /// The 99th percentile of the latencies.
    Latency,
}

/// The bucket of the usual 99th percentile: slower is slow.
pub fn slow_bucket() -> usize {
    histogram::bucket(Slowness::USUAL.p99())
}

/// How many are slower than a bucket.
pub fn slow(latencies: &Pair<Histogram>, bucket: usize) -> Pair<Outcomes> {
    let arm =
        |histogram: &Histogram| Outcomes { bad: histogram.above(bucket), total: histogram.total() };
    Pair { canary: arm(&latencies.canary), baseline: arm(&latencies.baseline) }
}

/// The 99th percentile in seconds, on a logarithmic line within its bucket; none without requests.
pub fn p99_seconds(histogram: &Histogram) -> Option<f64> {
    let bucket = histogram.quantile(0.99)?;
    let upper = histogram::upper_seconds(bucket).min(histogram::SECONDS_MOST);
    let own = histogram.counts()[bucket];
    let above = histogram.above(bucket);
    let total = count(histogram.total());
    let below = total - count(own + above);
    let part = ((0.99 * total - below) / count(own)).clamp(0.0, 1.0);
    let lower = histogram::upper_seconds(bucket.saturating_sub(1)).min(upper);
    Some(lower * (upper / lower).powf(part))
}

fn one(answer: Answer) -> [Answer; ROWS_MAX] {
    [answer, Answer::GoOn]
}
