//! The pooled z-test of two shares at 1 %, one-sided, over all that was seen, at every look.

use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::stats::Outcomes;
use rollway_core::verdict::stats::proportions::pooled_z;
use rollway_core::verdict::stats::special::normal_quantile;

use super::{Answer, Check, Method, Metric, ROWS_MAX, one, slow, slow_bucket};

/// The level of one look.
const LEVEL: f64 = 0.01;

/// What was seen so far.
pub struct ZTest {
    metric: Metric,
    slow_bucket: usize,
    needed: f64,
    totals: Pair<Outcomes>,
}

impl ZTest {
    /// For latencies: the share that is slower than the usual 99th percentile.
    pub fn new(metric: Metric) -> Self {
        let needed = -normal_quantile(LEVEL);
        Self { metric, slow_bucket: slow_bucket(), needed, totals: Pair::default() }
    }
}

impl Method for ZTest {
    fn look(&mut self, check: &Check) -> [Answer; ROWS_MAX] {
        let seen = match self.metric {
            Metric::Errors { .. } => check.seen.errors,
            Metric::Latency => slow(&check.seen.latencies, self.slow_bucket),
        };
        for (all, seen) in
            [(&mut self.totals.canary, seen.canary), (&mut self.totals.baseline, seen.baseline)]
        {
            all.bad += seen.bad;
            all.total += seen.total;
        }
        // Without requests, or where nothing was bad, z is no number.
        let z = pooled_z(self.totals.canary, self.totals.baseline);
        one(if z >= self.needed { Answer::RollBack } else { Answer::GoOn })
    }
}
