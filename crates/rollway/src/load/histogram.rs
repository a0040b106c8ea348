//! Durations, counted in buckets that are 3% wide.

use std::time::Duration;

use serde::Serialize;

/// Up to here every microsecond has its bucket.
const EXACT_US: u64 = 64;
/// Buckets for every doubling beyond that.
const PER_DOUBLING: usize = 32;
/// 64, and 32 for each of the 26 doublings up to 2^32 microseconds (71 minutes).
const BUCKETS: usize = 64 + 26 * PER_DOUBLING;

/// Durations, counted in buckets: exact below 64 microseconds, 3% wide above.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum_us: 0 }
    }
}

/// The usual percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Latency {
    /// Of so many.
    pub count: u64,
    /// The arithmetic mean, in microseconds.
    pub mean_us: u64,
    /// Half took at most that long, in microseconds.
    pub p50_us: u64,
    /// 90 of 100.
    pub p90_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1000.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latency {
    /// The exact percentiles of a list, which gets sorted.
    #[must_use]
    pub fn of(micros: &mut [u64]) -> Self {
        micros.sort_unstable();
        let count = micros.len() as u64;
        let (Some(max), sum) = (micros.last(), micros.iter().sum::<u64>()) else {
            return Self::default();
        };
        let at = |per_mille: u64| micros[rank(count, per_mille) as usize - 1];
        Self {
            count,
            mean_us: sum / count,
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: *max,
        }
    }
}

/// Which of `count` in order is the percentile, from 1 (the nearest-rank definition).
fn rank(count: u64, per_mille: u64) -> u64 {
    (count * per_mille).div_ceil(1000).max(1)
}

fn bucket(micros: u64) -> usize {
    let micros = micros.min(u64::from(u32::MAX));
    if micros < EXACT_US {
        return micros as usize;
    }
    let doubling = micros.ilog2() as usize;
    let within = (micros >> (doubling - 5)) as usize & (PER_DOUBLING - 1);
    64 + (doubling - 6) * PER_DOUBLING + within
}

/// The largest value that falls into a bucket.
fn upper_edge(bucket: usize) -> u64 {
    if bucket < 64 {
        return bucket as u64;
    }
    let (doubling, within) = ((bucket - 64) / PER_DOUBLING + 6, (bucket - 64) % PER_DOUBLING);
    ((32 + within as u64 + 1) << (doubling - 5)) - 1
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// What was counted since `earlier`, a copy of this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Self {
            buckets: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            count: self.count.saturating_sub(earlier.count),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// The percentiles, each at most 3% too high.
    #[must_use]
    pub fn latency(&self) -> Latency {
        if self.count == 0 {
            return Latency::default();
        }
        Latency {
            count: self.count,
            mean_us: self.sum_us / self.count,
            p50_us: self.percentile(500),
            p90_us: self.percentile(900),
            p99_us: self.percentile(990),
            p999_us: self.percentile(999),
            max_us: self.percentile(1000),
        }
    }

    fn percentile(&self, per_mille: u64) -> u64 {
        let mut left = rank(self.count, per_mille);
        for (bucket, count) in self.buckets.iter().enumerate() {
            if *count >= left {
                return upper_edge(bucket);
            }
            left -= count;
        }
        upper_edge(BUCKETS - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_at_most_3_percent_above_it() {
        let mut last = 0;
        for micros in (0..5000).chain((13..32).flat_map(|b| [(1 << b) - 1, 1 << b, (1 << b) + 1])) {
            let edge = upper_edge(bucket(micros));
            assert!(edge >= micros && (edge - micros) * 32 <= micros, "{micros}: {edge}");
            assert!(edge >= last, "{micros}");
            last = edge;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let mut list: Vec<u64> = (1..=1000).rev().collect();
        let exact = Latency::of(&mut list);
        assert_eq!((exact.p50_us, exact.p99_us, exact.max_us), (500, 990, 1000));
        let mut counted = Histogram::default();
        list.iter().for_each(|micros| counted.add(Duration::from_micros(*micros)));
        let earlier = counted.clone();
        assert_eq!(counted.latency().mean_us, 500);
        counted.add(Duration::from_micros(7));
        assert_eq!(counted.since(&earlier).latency().max_us, 7);
        assert_eq!(Latency::of(&mut []), Latency::default());
    }
}
