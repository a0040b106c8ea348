//! Latencies in logarithmic buckets from 1 ms to 60 s: mergeable, and small when written.
//!
//! A bucket is `1.2^(1/4)` (1.047) times as wide as the one before, so that a tolerance of 20 % is
//! a shift of exactly four buckets, and one of 5 % is about one.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::stats::count;

/// Below this everything is in the first bucket.
pub const SECONDS_LEAST: f64 = 0.001;
/// Above this everything is in the last.
pub const SECONDS_MOST: f64 = 60.0;
/// So many buckets make 20 %.
const BUCKETS_A_FIFTH: f64 = 4.0;
/// From 1 ms to 60 s, one below and one above: `2 + ceil(4 ln 60000 / ln 1.2)`.
pub const BUCKETS: usize = 244;

/// How often each latency was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]) }
    }
}

/// The bucket of a latency; what is not a number is the slowest, since nobody saw it end.
#[must_use]
pub fn bucket(seconds: f64) -> usize {
    if seconds <= SECONDS_LEAST {
        return 0;
    }
    if seconds.is_nan() || seconds >= SECONDS_MOST {
        return BUCKETS - 1;
    }
    let place = (seconds / SECONDS_LEAST).ln() / ln_step();
    // 60 s are at 241.4, and the first bucket is below the ladder.
    usize::try_from(floor(place)).map_or(BUCKETS - 2, |place| (place + 1).min(BUCKETS - 2))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in the ladder is between 0 and 242"
)]
fn floor(place: f64) -> u32 {
    place.floor() as u32
}

/// The upper end of a bucket, in seconds; infinite for the last.
#[must_use]
pub fn upper_seconds(bucket: usize) -> f64 {
    if bucket >= BUCKETS - 1 {
        return f64::INFINITY;
    }
    let steps = f64::from(u32::try_from(bucket).expect("below 244"));
    SECONDS_LEAST * (steps * ln_step()).exp()
}

/// How many buckets a tolerance is (0.2 is 20 %): the nearest number that is not above it, so
/// that what is proven holds for the tolerance too.
#[must_use]
pub fn shift(tolerance: f64) -> usize {
    // Rounding must not take the fourth bucket from 20 %.
    let steps = tolerance.max(0.0).ln_1p() / ln_step() + 1e-9;
    usize::try_from(floor(steps.min(count(BUCKETS as u64)))).unwrap_or(BUCKETS)
}

fn ln_step() -> f64 {
    0.2f64.ln_1p() / BUCKETS_A_FIFTH
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, seconds: f64) {
        self.add(bucket(seconds), 1);
    }

    /// Counts `n` in a bucket; the last takes whatever is beyond it.
    pub fn add(&mut self, bucket: usize, n: u64) {
        let place = &mut self.buckets[bucket.min(BUCKETS - 1)];
        *place = place.saturating_add(n);
    }

    /// From a histogram of other buckets: how many took up to each edge, in seconds, as
    /// Prometheus' `le` has it; the last edge is infinite. Each request counts as one at the upper
    /// edge of its bucket, and beyond the last finite edge as twice that: more is not known. That
    /// keeps their order, and so whatever is found of two histograms with the same edges holds.
    ///
    /// # Errors
    /// Edges that do not rise to an infinite one, or counts that fall, in words.
    pub fn from_cumulative(up_to: &[(f64, u64)]) -> Result<Self, String> {
        let finite = up_to.iter().filter(|(edge, _)| edge.is_finite()).count();
        if finite == 0 || up_to.last().is_none_or(|(edge, _)| *edge != f64::INFINITY) {
            let edges: Vec<String> = up_to.iter().map(|(edge, _)| edge.to_string()).collect();
            return Err(format!(
                "its buckets are up to {}; at least one and the one without an end are needed",
                edges.join(", ")
            ));
        }
        let (mut histogram, mut below) = (Self::default(), (f64::NEG_INFINITY, 0));
        for (edge, count) in up_to.iter().copied() {
            if edge.is_nan() || edge <= below.0 {
                return Err(format!("its buckets do not rise: {edge} comes after {}", below.0));
            }
            let here = count.checked_sub(below.1).ok_or_else(|| {
                format!("{} took up to {} s, and {count} up to {edge} s", below.1, below.0)
            })?;
            let seconds = if edge.is_finite() { edge } else { below.0 * 2.0 };
            histogram.add(bucket(seconds), here);
            below = (edge, count);
        }
        Ok(histogram)
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        for (own, other) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *own = own.saturating_add(*other);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many are slower than the upper end of a bucket.
    #[must_use]
    pub fn above(&self, bucket: usize) -> u64 {
        self.buckets.iter().skip(bucket + 1).sum()
    }

    /// How many are slower than the upper end of each bucket: all of [`Histogram::above`] in one
    /// pass.
    #[must_use]
    pub fn all_above(&self) -> [u64; BUCKETS] {
        let mut above = [0; BUCKETS];
        let mut sum = 0;
        for (above, own) in above.iter_mut().zip(self.buckets.iter()).rev() {
            *above = sum;
            sum += own;
        }
        above
    }

    /// How many are in each bucket.
    #[must_use]
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    /// The bucket that the quantile is in; nothing in an empty histogram.
    #[must_use]
    pub fn quantile(&self, level: f64) -> Option<usize> {
        let wanted = level * count(self.total());
        let mut sum = 0u64;
        let mut seen = self.buckets.iter().enumerate().filter(|(_, n)| **n > 0);
        let found = seen.find(|(_, n)| {
            sum += **n;
            count(sum) >= wanted
        });
        found.map(|(bucket, _)| bucket)
    }
}

/// Only buckets with something in them are written: `{"17": 3, "40": 1}`.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.buckets.iter().enumerate().filter(|(_, n)| **n > 0))
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut histogram = Self::default();
        for (bucket, n) in BTreeMap::<usize, u64>::deserialize(deserializer)? {
            if bucket >= BUCKETS {
                let last = BUCKETS - 1;
                let text = format!("there is no bucket {bucket}; the last is {last}");
                return Err(serde::de::Error::custom(text));
            }
            histogram.add(bucket, n);
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_reaches_from_a_millisecond_to_a_minute() {
        assert_eq!([0.0, 0.001, 0.00101, 59.9, 60.0, 1e9].map(bucket), [0, 0, 1, 242, 243, 243]);
        assert_eq!(bucket(f64::NAN), 243);
        for at in 1..BUCKETS - 2 {
            assert_eq!(bucket(upper_seconds(at) * 0.999), at);
            assert_eq!(bucket(upper_seconds(at) * 1.001), at + 1);
        }
        assert_eq!([0.0, 0.04, 0.05, 0.2, 0.25].map(shift), [0, 0, 1, 4, 4]);
    }

    #[test]
    fn quantiles_and_what_is_above() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=100).for_each(|n| histogram.record(f64::from(n) / 100.0));
        let median = histogram.quantile(0.5).expect("a hundred");
        assert!((0.5..0.53).contains(&upper_seconds(median)));
        let above = histogram.above(median);
        assert!((47..=50).contains(&above), "{above}");
        assert_eq!(histogram.all_above()[median], above);
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!((twice.total(), twice.above(median)), (200, 2 * above));
        let text = serde_json::to_string(&twice).expect("JSON");
        assert_eq!(serde_json::from_str::<Histogram>(&text).expect("JSON"), twice);
        assert!(serde_json::from_str::<Histogram>(r#"{"244":1}"#).is_err());
    }

    #[test]
    fn other_buckets_are_read_by_their_upper_edges() {
        let edges = |all: &[(f64, u64)]| Histogram::from_cumulative(all);
        let inf = f64::INFINITY;
        let found = edges(&[(0.1, 90), (0.5, 97), (inf, 100)]).expect("a histogram");
        assert_eq!(found.total(), 100);
        assert_eq!(found.quantile(0.9), Some(bucket(0.1)));
        assert_eq!(found.quantile(0.95), Some(bucket(0.5)));
        assert_eq!(found.quantile(0.99), Some(bucket(1.0)));
        for (wrong, said) in [
            (vec![], "at least one"),
            (vec![(inf, 3)], "at least one"),
            (vec![(0.1, 3), (0.5, 3)], "up to 0.1, 0.5;"),
            (vec![(0.1, 3), (0.1, 3), (inf, 3)], "do not rise"),
            (vec![(0.1, 3), (0.5, 2), (inf, 3)], "3 took up to 0.1 s, and 2 up to 0.5 s"),
        ] {
            let why = edges(&wrong).expect_err(said);
            assert!(why.contains(said), "{why}");
        }
    }
}
