//! The judge on two series from files, without a deployment: what was counted of either version,
//! as CSV or JSON.
//!
//! ```csv
//! time,total,bad        or      time,latency,bad
//! 10,480,1                      0.02,0.135,0
//! 20,512,0                      0.05,0.094,1
//! ```
//! `time` is in seconds and rises. `total` are the requests since the line before, `bad` those of
//! them that failed. Or each line is one request: how many seconds it took, and, if that is
//! known, whether it failed.

pub mod picture;
mod read;

use serde::Serialize;

pub use read::{Layout, read};

use crate::analysis::{Counters, Sample, Trial};
use crate::problem::Problem;
use crate::spec::{Analysis, Judge, Measure, Sequential};
use crate::units::Millis;
use crate::verdict::decision::Verdict;
use crate::verdict::eprocess::Pair;
use crate::verdict::histogram::{Histogram, upper_seconds};
use crate::verdict::stats::Outcomes;

/// More intervals are not judged in one go: ten weeks of one a minute.
const INTERVALS_MAX: u64 = 100_000;

/// What one version did.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the lines tell.
    pub of: Of,
    /// The lines, in the order of time; there is one at least.
    pub rows: Vec<Row>,
}

/// What the lines of a series tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Requests, and how many of them failed.
    Counts,
    /// One request each: how long it took.
    Latencies,
    /// One request each: how long it took, and whether it failed.
    LatenciesAndErrors,
}

impl Of {
    fn words(self) -> &'static str {
        match self {
            Self::Counts => "time,total,bad",
            Self::Latencies => "time,latency",
            Self::LatenciesAndErrors => "time,latency,bad",
        }
    }

    fn measures(self) -> Vec<Measure> {
        match self {
            Self::Counts => vec![Measure::Errors],
            Self::Latencies => vec![Measure::Latency],
            Self::LatenciesAndErrors => vec![Measure::Errors, Measure::Latency],
        }
    }
}

/// One line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// When, in milliseconds.
    pub at: Millis,
    /// Requests.
    pub total: u64,
    /// Those that failed.
    pub bad: u64,
    /// How long it took, in seconds.
    pub latency: Option<f64>,
}

/// What the judge found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// When the first decision came, from the beginning on.
    pub decided_after: Option<Millis>,
    /// That decision.
    pub decided: Option<Verdict>,
    /// How it stands at the end of the series.
    pub last: Verdict,
    /// Interval by interval.
    pub points: Vec<Point>,
}

/// An interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Its end, from the beginning on.
    pub until: Millis,
    /// What both versions did in it.
    pub counts: Pair<Outcomes>,
    /// The latency below which nine in ten requests were, in seconds; nothing without latencies.
    pub p90_seconds: Pair<Option<f64>>,
    /// The evidence after it, by metric.
    pub evidence: Vec<EvidencePoint>,
}

/// The evidence of a metric after an interval, in natural logarithms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvidencePoint {
    /// Which metric.
    pub metric: String,
    /// That the canary is worse.
    pub ln_worse: f64,
    /// What rolls back.
    pub ln_worse_needed: f64,
    /// That it is good enough.
    pub ln_good: Option<f64>,
    /// What certifies.
    pub ln_good_needed: Option<f64>,
}

impl Tried {
    /// The verdict that counts: the first decision, or how it stands.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        self.decided.as_ref().unwrap_or(&self.last)
    }
}

/// Judges two series. The judge and the metrics follow from the series; interval, deadline,
/// warm-up and what follows without a decision are as `by` has them.
///
/// # Errors
/// Series that tell different things, or too many intervals.
pub fn try_series(by: &Analysis, both: &Pair<Series>) -> Result<Tried, Problem> {
    let of = both.canary.of;
    if both.baseline.of != of {
        let (canary, baseline) = (of.words(), both.baseline.of.words());
        let what = format!("the canary's columns are {canary}, the baseline's {baseline}");
        return Err(Problem::new("", what).hint("give both the same columns"));
    }
    let edges = Edges::of(by.interval, both)?;
    let judge = Sequential { metrics: of.measures(), ..Sequential::default() };
    let by = Analysis { judge: Judge::Sequential(judge), ..by.clone() };
    let mut arms = Pair { canary: Arm::new(&both.canary), baseline: Arm::new(&both.baseline) };
    let begin = Trial::begin(&by, Millis::ZERO, &sample(&arms));
    let mut trial = begin.map_err(|why| Problem::new("", why))?;
    let (mut points, mut decided) = (Vec::new(), None);
    for number in 1..=edges.count {
        let end = Millis(edges.start.0 + number * edges.interval.0);
        let interval = Pair { canary: arms.canary.until(end), baseline: arms.baseline.until(end) };
        let until = Millis(number * edges.interval.0);
        trial.take(number, until, &sample(&arms)).map_err(|why| Problem::new("", why))?;
        if decided.is_none() {
            decided = trial.news(Millis::ZERO);
        }
        points.push(Point::new(until, &interval, &trial.look(Millis::ZERO)));
    }
    let decided_after = decided.as_ref().map(|verdict| verdict.elapsed);
    Ok(Tried { decided_after, decided, last: trial.look(Millis::ZERO), points })
}

/// Intervals that both series share.
struct Edges {
    start: Millis,
    interval: Millis,
    count: u64,
}

impl Edges {
    fn of(interval: Millis, both: &Pair<Series>) -> Result<Self, Problem> {
        let interval = Millis(interval.0.max(1));
        let rows = || both.canary.rows.iter().chain(&both.baseline.rows).map(|row| row.at.0);
        let (first, last) = (rows().min().unwrap_or(0), rows().max().unwrap_or(0));
        // A line tells of what was before it: the first one's interval ends with it, or later.
        let start = (first.div_ceil(interval.0).max(1) - 1) * interval.0;
        let count = (last - start).div_ceil(interval.0).max(1);
        if count > INTERVALS_MAX {
            let what =
                format!("these are {count} intervals of {interval}; at most {INTERVALS_MAX}");
            let hint = "a longer --interval does; are the times in seconds?";
            return Err(Problem::new("", what).hint(hint));
        }
        Ok(Self { start: Millis(start), interval, count })
    }
}

/// A series that is read from its beginning on.
struct Arm<'a> {
    rest: &'a [Row],
    counters: Counters,
}

impl<'a> Arm<'a> {
    fn new(series: &'a Series) -> Self {
        Self { rest: &series.rows, counters: Counters::default() }
    }

    /// Reads on until then; what was new.
    fn until(&mut self, end: Millis) -> Counters {
        let count = self.rest.iter().take_while(|row| row.at <= end).count();
        let (now, rest) = self.rest.split_at(count);
        self.rest = rest;
        let mut new = Counters::default();
        for row in now {
            new.total = new.total.saturating_add(row.total);
            new.bad = new.bad.saturating_add(row.bad);
            row.latency.iter().for_each(|seconds| new.latency.record(*seconds));
        }
        self.counters.total = self.counters.total.saturating_add(new.total);
        self.counters.bad = self.counters.bad.saturating_add(new.bad);
        self.counters.latency.merge(&new.latency);
        new
    }
}

fn sample(arms: &Pair<Arm<'_>>) -> Sample {
    let canary = arms.canary.counters.clone();
    Sample::Counters(Box::new(Pair { canary, baseline: arms.baseline.counters.clone() }))
}

impl Point {
    fn new(until: Millis, of: &Pair<Counters>, verdict: &Verdict) -> Self {
        let counts = |of: &Counters| Outcomes { bad: of.bad, total: of.total };
        let p90 = |of: &Histogram| of.quantile(0.9).map(upper_seconds);
        let evidence = verdict.findings.iter().map(|finding| EvidencePoint {
            metric: finding.metric.clone(),
            ln_worse: finding.worse.ln_e,
            ln_worse_needed: finding.worse.ln_needed,
            ln_good: finding.good.map(|good| good.ln_e),
            ln_good_needed: finding.good.map(|good| good.ln_needed),
        });
        Self {
            until,
            counts: Pair { canary: counts(&of.canary), baseline: counts(&of.baseline) },
            p90_seconds: Pair {
                canary: p90(&of.canary.latency),
                baseline: p90(&of.baseline.latency),
            },
            evidence: evidence.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::verdict::decision::Decision;

    /// A version at 50 req/s of which one in so many requests fails.
    fn counts(bad_in: u64) -> Series {
        let mut text = "time,total,bad\n".to_owned();
        for n in 1..=300 {
            let bad = n * 500 / bad_in - (n - 1) * 500 / bad_in;
            writeln!(text, "{},500,{bad}", n * 10).expect("a String takes every write");
        }
        read(&text, Layout::Csv).expect("a good series")
    }

    /// A version whose requests take so much longer than others'.
    fn latencies(times: f64) -> Series {
        let line = |n: u32| {
            let slow = times * 0.05 * 1.02f64.powi((n * 37 % 100) as i32);
            format!(r#"{{"time": {}, "latency": {slow}}}"#, f64::from(n) / 20.0)
        };
        let lines: Vec<String> = (0..4000).map(line).collect();
        read(&format!("[{}]", lines.join(",\n")), Layout::Json).expect("a good series")
    }

    fn tried(canary: Series, baseline: Series) -> Tried {
        let by = Analysis { warmup: Millis::ZERO, min_bake: Millis::ZERO, ..Analysis::default() };
        try_series(&by, &Pair { canary, baseline }).expect("series that go together")
    }

    #[test]
    fn a_worse_version_is_found_and_an_equal_one_certified() {
        let worse = tried(counts(20), counts(1000));
        assert!(matches!(worse.verdict().decision, Decision::Rollback { .. }), "{worse:?}");
        assert!(worse.decided_after < Some(Millis::seconds(60)), "{:?}", worse.decided_after);
        assert_eq!(worse.points.len(), 300);
        assert_eq!(worse.points[3].counts.canary, Outcomes { bad: 25, total: 500 });
        let equal = tried(counts(1000), counts(1000));
        assert_eq!(equal.verdict().decision, Decision::Advance);
        let slow = tried(latencies(3.0), latencies(1.0));
        assert!(matches!(slow.verdict().decision, Decision::Rollback { .. }), "{:?}", slow.last);
        let p90 = slow.points[5].p90_seconds;
        assert!(p90.canary > p90.baseline, "{p90:?}");
    }

    #[test]
    fn times_may_be_those_of_a_clock() {
        let mut late = Pair { canary: counts(20), baseline: counts(1000) };
        for row in late.canary.rows.iter_mut().chain(&mut late.baseline.rows) {
            row.at = Millis(row.at.0 + 1_700_000_000_000);
        }
        let early = tried(counts(20), counts(1000));
        assert_eq!(tried(late.canary, late.baseline), early);
    }

    #[test]
    fn series_that_do_not_go_together_are_refused() {
        let by = Analysis::default();
        let both = Pair { canary: latencies(1.0), baseline: counts(10) };
        let wrong = try_series(&by, &both).expect_err("columns differ");
        assert!(wrong.what.contains("time,latency, the baseline's time,total,bad"), "{wrong}");
        let mut far = Pair { canary: counts(10), baseline: counts(10) };
        far.canary.rows[59].at = Millis(u64::MAX / 2);
        let wrong = try_series(&by, &far).expect_err("too long");
        assert!(wrong.what.contains("intervals of 10s; at most 100000"), "{wrong}");
    }
}
