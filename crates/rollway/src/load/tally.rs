//! The counts while a load runs.

use super::histogram::Histogram;
use super::record::{FailureSeen, KEPT, NO_VERSION, Outcome, Record};

/// So many failures are kept in words: enough to see what happened.
const FAILURES_MAX: usize = 20;

/// So many versions are told apart; a log record has a byte for it.
const VERSIONS_MAX: usize = 250;

/// The name under which all further versions are counted.
const OTHER_VERSIONS: &str = "(others)";

/// What has happened so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests that were due.
    pub issued: u64,
    /// Those whose outcome is known.
    pub finished: u64,
    /// Connections that were opened.
    pub connections_opened: u64,
    /// Kept connections that the peer closed while they were idle; no failures.
    pub kept_closed_idle: u64,
    /// Answers of whatever status by the version that gave them, in order of appearance.
    pub by_version: Vec<(String, u64)>,
    /// How long requests took, from when they were due.
    pub latency: Histogram,
    /// How long after their due time the generator itself began with them.
    pub lateness: Histogram,
    pub(super) outcomes: [u64; Outcome::ALL.len()],
}

impl Tally {
    /// How many ended this way.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// How many ended in any way but `ok`.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.finished - self.count(Outcome::Ok)
    }

    /// How many are due and not finished.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.issued - self.finished
    }

    /// How many answers of whatever status a version gave.
    #[must_use]
    pub fn of_version(&self, version: &str) -> u64 {
        let found = self.by_version.iter().find(|(name, _)| name == version);
        found.map_or(0, |(_, count)| *count)
    }

    /// What has happened since `earlier`, a snapshot of the same load.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut outcomes = self.outcomes;
        outcomes.iter_mut().zip(earlier.outcomes).for_each(|(now, then)| *now -= then);
        let versions = self.by_version.iter();
        Self {
            issued: self.issued - earlier.issued,
            finished: self.finished - earlier.finished,
            connections_opened: self.connections_opened - earlier.connections_opened,
            kept_closed_idle: self.kept_closed_idle - earlier.kept_closed_idle,
            by_version: versions
                .map(|(name, count)| (name.clone(), count - earlier.of_version(name)))
                .collect(),
            latency: self.latency.since(&earlier.latency),
            lateness: self.lateness.since(&earlier.lateness),
            outcomes,
        }
    }

    /// Counts an answer for a version and says which index it has.
    fn version_index(&mut self, version: Option<&str>) -> u8 {
        let Some(version) = version else { return NO_VERSION };
        let known = self.by_version.iter().position(|(name, _)| name == version);
        let index = known.unwrap_or_else(|| {
            let full = self.by_version.len() >= VERSIONS_MAX;
            if !full {
                let new = self.by_version.len() + 1 == VERSIONS_MAX;
                let name = if new { OTHER_VERSIONS } else { version };
                self.by_version.push((name.to_owned(), 0));
            }
            self.by_version.len() - 1
        });
        self.by_version[index].1 += 1;
        u8::try_from(index).expect("VERSIONS_MAX is below 256")
    }
}

/// All that a load has seen: the counts, the first failures, and the log.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub tally: Tally,
    pub failures: Vec<FailureSeen>,
    pub log: Vec<Record>,
    pub log_max: usize,
}

/// One request that has ended.
pub(super) struct Sample {
    pub number: u64,
    pub due: std::time::Duration,
    pub sent: std::time::Duration,
    pub finished: std::time::Duration,
    pub status: u16,
    pub version: Option<String>,
    pub outcome: Outcome,
    pub kept: bool,
    pub why: String,
}

impl Seen {
    /// Takes note of a request that has ended.
    pub fn add(&mut self, sample: Sample) {
        let tally = &mut self.tally;
        tally.finished += 1;
        tally.outcomes[sample.outcome as usize] += 1;
        tally.lateness.add(sample.sent.saturating_sub(sample.due));
        if sample.outcome.has_latency() {
            tally.latency.add(sample.finished.saturating_sub(sample.due));
        }
        let version = tally.version_index(sample.version.as_deref());
        if self.log.len() < self.log_max {
            let nanoseconds = |d: std::time::Duration| u64::try_from(d.as_nanos());
            self.log.push(Record {
                sent: nanoseconds(sample.sent).unwrap_or(u64::MAX),
                finished: nanoseconds(sample.finished).unwrap_or(u64::MAX),
                number: u32::try_from(sample.number).unwrap_or(u32::MAX),
                status: sample.status,
                version,
                outcome: sample.outcome as u8 | if sample.kept { KEPT } else { 0 },
            });
        }
        if sample.outcome != Outcome::Ok && self.failures.len() < FAILURES_MAX {
            self.failures.push(FailureSeen {
                number: sample.number,
                at_us: u64::try_from(sample.finished.as_micros()).unwrap_or(u64::MAX),
                outcome: sample.outcome,
                why: sample.why,
                kept: sample.kept,
            });
        }
    }
}
