//! What a load has shown, with exact answers to questions of time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::histogram::Latency;
use super::plan::LoadPlan;
use super::record::{Answer, FailureSeen, KEPT, Outcome, Record};
use super::tally::{Seen, Tally};

/// What a load has shown.
#[derive(Debug)]
pub struct Report {
    /// When request 0 was due.
    pub started: Instant,
    /// The same on the machine's monotonic clock, to compare with what other processes logged.
    pub started_mono_ns: u64,
    /// All counts.
    pub tally: Tally,
    /// The first 20 failures.
    pub failures: Vec<FailureSeen>,
    plan: LoadPlan,
    log: Vec<Record>,
}

/// The start, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    pub at: Instant,
    pub mono_ns: u64,
}

impl Started {
    pub fn now() -> Self {
        let mono = clock_gettime(ClockId::Monotonic);
        let mono_ns = mono.tv_sec.unsigned_abs() * 1_000_000_000 + mono.tv_nsec.unsigned_abs();
        Self { at: Instant::now(), mono_ns }
    }
}

/// The requests that were due within one second.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Window {
    /// Which second after the start, from 0.
    pub second: u64,
    /// Those that ended well.
    pub ok: u64,
    /// Those that did not.
    pub failed: u64,
    /// Answers of whatever status by version.
    pub by_version: BTreeMap<String, u64>,
    /// How long they took from when they were due.
    pub latency: Latency,
}

/// A report in a few numbers; `Display` is the text for people, `Serialize` the JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// How many requests were due.
    pub requests: u64,
    /// How many ended in any way but `ok`.
    pub failed: u64,
    /// How many ended how; only what happened.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Answers of whatever status by version, in order of appearance.
    pub by_version: Vec<(String, u64)>,
    /// How long requests took from when they were due.
    pub latency: Latency,
    /// How late the generator itself was: the 99th percentile, in microseconds.
    pub lateness_p99_us: u64,
    /// The longest time without an `ok` answer, in microseconds.
    pub longest_gap_us: u64,
    /// Connections that were opened.
    pub connections_opened: u64,
    /// Kept connections that the peer closed while they were idle; no failures.
    pub kept_closed_idle: u64,
}

impl Report {
    pub(super) fn new(plan: LoadPlan, started: Started, seen: Seen) -> Self {
        let Seen { tally, failures, log, .. } = seen;
        Self { started: started.at, started_mono_ns: started.mono_ns, tally, failures, plan, log }
    }

    /// Whether every request is in the log, so that the answers below are about all of them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.log.len() as u64 == self.tally.finished
    }

    /// All requests in the log, in the order in which they ended.
    pub fn answers(&self) -> impl Iterator<Item = Answer<'_>> {
        self.log.iter().map(|record| Answer {
            number: record.number,
            due: self.plan.due(u64::from(record.number)),
            sent: Duration::from_nanos(record.sent),
            finished: Duration::from_nanos(record.finished),
            status: (record.status != 0).then_some(record.status),
            version: self.version_of(record),
            outcome: record.outcome(),
            kept: record.outcome & KEPT != 0,
        })
    }

    /// When the first answer of a version was whole.
    #[must_use]
    pub fn first_answer_of(&self, version: &str) -> Option<Instant> {
        let mut of_version = self.answers().filter(|answer| answer.version == Some(version));
        of_version.next().map(|answer| self.started + answer.finished)
    }

    /// When the last answer of a version was whole.
    #[must_use]
    pub fn last_answer_of(&self, version: &str) -> Option<Instant> {
        let of_version = self.answers().filter(|answer| answer.version == Some(version));
        of_version.last().map(|answer| self.started + answer.finished)
    }

    /// How many requests that were *sent* at or after a moment a version has answered. A request
    /// that was under way at that moment may rightly be answered by the old version.
    #[must_use]
    pub fn answers_of(&self, version: &str, sent_after: Instant) -> u64 {
        let of_version = self.answers().filter(|answer| answer.version == Some(version));
        of_version.filter(|answer| self.started + answer.sent >= sent_after).count() as u64
    }

    /// How many requests failed that were on their way at some time between the two moments.
    #[must_use]
    pub fn failures_between(&self, from: Instant, to: Instant) -> u64 {
        let failed = self.answers().filter(|answer| answer.outcome != Outcome::Ok);
        let meets = |answer: &Answer<'_>| {
            self.started + answer.finished >= from && self.started + answer.due <= to
        };
        failed.filter(meets).count() as u64
    }

    /// How long the requests took that were due from one moment until before another.
    #[must_use]
    pub fn latency_between(&self, from: Instant, to: Instant) -> Latency {
        let due = |answer: &Answer<'_>| (from..to).contains(&(self.started + answer.due));
        Latency::of(&mut self.answers().filter(due).filter_map(micros).collect::<Vec<_>>())
    }

    /// How long all requests took: exactly when the log is complete, otherwise to 3%.
    #[must_use]
    pub fn latency(&self) -> Latency {
        if !self.is_complete() {
            return self.tally.latency.latency();
        }
        Latency::of(&mut self.answers().filter_map(micros).collect::<Vec<_>>())
    }

    /// The longest time between two `ok` answers, counting from the start.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        let mut last = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for answer in self.answers().filter(|answer| answer.outcome == Outcome::Ok) {
            longest = longest.max(answer.finished.saturating_sub(last));
            last = answer.finished;
        }
        longest
    }

    /// What happened second by second, of the requests in the log.
    #[must_use]
    pub fn windows(&self) -> Vec<Window> {
        let mut windows: BTreeMap<u64, (Window, Vec<u64>)> = BTreeMap::new();
        for answer in self.answers() {
            let second = answer.due.as_secs();
            let (window, latencies) = windows.entry(second).or_default();
            let count = match answer.outcome == Outcome::Ok {
                true => &mut window.ok,
                false => &mut window.failed,
            };
            *count += 1;
            if let Some(version) = answer.version {
                match window.by_version.get_mut(version) {
                    Some(count) => *count += 1,
                    None => drop(window.by_version.insert(version.to_owned(), 1)),
                }
            }
            latencies.extend(micros(answer));
        }
        let finish = |(second, (window, mut latencies)): (u64, (Window, Vec<u64>))| Window {
            second,
            latency: Latency::of(&mut latencies),
            ..window
        };
        windows.into_iter().map(finish).collect()
    }

    /// The report in a few numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let counts = Outcome::ALL.map(|outcome| (outcome.name(), self.tally.count(outcome)));
        Summary {
            requests: self.tally.issued,
            failed: self.tally.failed(),
            outcomes: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            by_version: self.tally.by_version.clone(),
            latency: self.latency(),
            lateness_p99_us: self.tally.lateness.latency().p99_us,
            longest_gap_us: u64::try_from(self.longest_gap().as_micros()).unwrap_or(u64::MAX),
            connections_opened: self.tally.connections_opened,
            kept_closed_idle: self.tally.kept_closed_idle,
        }
    }

    fn version_of(&self, record: &Record) -> Option<&str> {
        let version = self.tally.by_version.get(usize::from(record.version));
        version.map(|(name, _)| name.as_str())
    }
}

fn micros(answer: Answer<'_>) -> Option<u64> {
    let micros = u64::try_from(answer.latency().as_micros()).unwrap_or(u64::MAX);
    answer.outcome.has_latency().then_some(micros)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |list: Vec<(&str, u64)>| {
            let words: Vec<_> = list.iter().map(|(name, n)| format!("{n} {name}")).collect();
            words.join(", ")
        };
        let ms = |micros: u64| micros as f64 / 1000.0;
        let (latency, versions) = (&self.latency, self.by_version.iter());
        writeln!(f, "requests  {}, {} failed", self.requests, self.failed)?;
        let outcomes = self.outcomes.iter().map(|(name, count)| (*name, *count)).collect();
        writeln!(f, "outcomes  {}", counts(outcomes))?;
        let versions = versions.map(|(name, count)| (name.as_str(), *count)).collect();
        writeln!(f, "versions  {}", counts(versions))?;
        writeln!(
            f,
            "latency   p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            ms(latency.p50_us),
            ms(latency.p90_us),
            ms(latency.p99_us),
            ms(latency.p999_us),
            ms(latency.max_us)
        )?;
        write!(
            f,
            "longest time without an answer {:.1} ms; generator late by {:.2} ms (p99)",
            ms(self.longest_gap_us),
            ms(self.lateness_p99_us)
        )
    }
}
