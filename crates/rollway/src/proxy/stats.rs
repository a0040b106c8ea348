//! Counts and latencies per release, kept apart for each worker so that workers never wait.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::Serialize;

/// Sub-buckets of each power of two: neighbours differ by 1/32, that is 3.2 %.
const STEPS: u64 = 32;
/// Enough buckets for 2^36 microseconds, 19 hours; what is longer counts as that.
const BUCKETS: usize = 1024;
/// What the indices mean, for whoever reads them.
pub const FORMULA: &str = "index i of microseconds: i < 32: i; else from \
                           (32 + i % 32) << (i / 32 - 1), up to the next index's";

/// What we answered ourselves, or cut, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No instance to send it to.
    NoMember,
    /// No connection to any instance.
    Connect,
    /// The instance did not answer in time.
    Timeout,
    /// The instance closed the connection, or answered nonsense.
    Broken,
    /// A drain's grace ended.
    Cut,
    /// Held longer than a pause may last, or too many were held.
    PauseOverflow,
    /// Refused while in maintenance.
    Maintenance,
    /// The request made no sense.
    BadRequest,
    /// The request's body is larger than allowed.
    TooLarge,
    /// The client went away first.
    ClientGone,
}

impl Fault {
    /// Every kind with its name in metrics.
    pub const ALL: [(Self, &str); 10] = [
        (Self::NoMember, "no_member"),
        (Self::Connect, "connect"),
        (Self::Timeout, "timeout"),
        (Self::Broken, "broken"),
        (Self::Cut, "cut"),
        (Self::PauseOverflow, "pause_overflow"),
        (Self::Maintenance, "maintenance"),
        (Self::BadRequest, "bad_request"),
        (Self::TooLarge, "too_large"),
        (Self::ClientGone, "client_gone"),
    ];
}

/// The counts of one release, or of a service's requests that reached none.
pub struct Stats {
    shards: Box<[Shard]>,
}

// Two cache lines: neighbouring shards belong to other cores.
#[repr(align(128))]
struct Shard {
    finished: AtomicU64,
    classes: [AtomicU64; 6],
    faults: [AtomicU64; Fault::ALL.len()],
    failed: AtomicU64,
    retried: AtomicU64,
    microseconds: AtomicU64,
    latency: Box<[AtomicU64]>,
}

/// The sum over all workers.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Counts {
    /// Exchanges that came to an end.
    pub finished: u64,
    /// How many answers of each class instances gave: `2xx`.
    pub classes: BTreeMap<String, u64>,
    /// Requests that clients saw fail because of the release, after all attempts: no answer, or
    /// only a part of one. Answers with an error status are in `classes`.
    pub failed: u64,
    /// What went wrong in each attempt, by kind; a further attempt may have mended it.
    pub faults: BTreeMap<String, u64>,
    /// Further attempts on another instance or connection.
    pub retried: u64,
    /// The sum of all latencies.
    pub latency_microseconds: u64,
    /// How many answers took how long: `[index, count]`, see `formula`.
    pub latency: Vec<(usize, u64)>,
}

impl Stats {
    /// Empty counts for so many workers.
    pub fn new(workers: usize) -> Self {
        let shard = |_| Shard {
            finished: AtomicU64::new(0),
            classes: std::array::from_fn(|_| AtomicU64::new(0)),
            faults: std::array::from_fn(|_| AtomicU64::new(0)),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
            latency: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { shards: (0..workers.max(1)).map(shard).collect() }
    }

    fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % self.shards.len()]
    }

    /// An instance's answer came to its end.
    pub fn finish(&self, worker: usize, status: u16, took: Duration) {
        let shard = self.shard(worker);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        bump(&shard.finished);
        bump(&shard.classes[usize::from(status / 100).min(5)]);
        bump(&shard.latency[bucket(microseconds)]);
        add(&shard.microseconds, microseconds);
    }

    /// A client saw its request fail.
    pub fn fail(&self, worker: usize) {
        bump(&self.shard(worker).failed);
    }

    /// Something went wrong in an attempt.
    pub fn fault(&self, worker: usize, fault: Fault) {
        bump(&self.shard(worker).faults[fault as usize]);
    }

    /// Another attempt is made.
    pub fn retry(&self, worker: usize) {
        bump(&self.shard(worker).retried);
    }

    /// The sum over all workers.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let mut latency = vec![0; BUCKETS];
        for shard in &self.shards {
            counts.finished += shard.finished.load(Relaxed);
            counts.failed += shard.failed.load(Relaxed);
            counts.retried += shard.retried.load(Relaxed);
            counts.latency_microseconds += shard.microseconds.load(Relaxed);
            for (class, count) in shard.classes.iter().enumerate().skip(1) {
                *counts.classes.entry(format!("{class}xx")).or_default() += count.load(Relaxed);
            }
            for ((_, name), count) in Fault::ALL.iter().zip(&shard.faults) {
                *counts.faults.entry((*name).to_owned()).or_default() += count.load(Relaxed);
            }
            for (sum, count) in latency.iter_mut().zip(&shard.latency) {
                *sum += count.load(Relaxed);
            }
        }
        counts.latency = latency.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        counts
    }
}

/// A shard has one writing worker in practice, but the last workers may share one: so a real
/// addition, which costs little while no other core has the line.
fn bump(count: &AtomicU64) {
    add(count, 1);
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Relaxed);
}

fn bucket(microseconds: u64) -> usize {
    if microseconds < STEPS {
        return usize::try_from(microseconds).unwrap_or(BUCKETS - 1);
    }
    let shift = u64::from(microseconds.ilog2()) - 5;
    let index = STEPS * (shift + 1) + ((microseconds >> shift) - STEPS);
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The smallest latency of a bucket, in microseconds.
pub fn bucket_start(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS { index } else { (STEPS + index % STEPS) << (index / STEPS - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_within_five_percent() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(bucket_start(index)), index);
            if index > 32 {
                assert!(bucket_start(index) * 100 <= bucket_start(index - 1) * 105, "{index}");
                assert_eq!(bucket(bucket_start(index) - 1), index - 1);
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn shards_add_up() {
        let stats = Stats::new(2);
        stats.finish(0, 200, Duration::from_micros(100));
        stats.finish(1, 503, Duration::from_micros(100));
        stats.fault(1, Fault::Connect);
        let counts = stats.counts();
        assert_eq!((counts.finished, counts.latency_microseconds), (2, 200));
        assert_eq!((counts.classes["2xx"], counts.classes["5xx"]), (1, 1));
        assert_eq!(counts.faults["connect"], 1);
        assert_eq!(counts.latency, [(bucket(100), 2)]);
    }
}
