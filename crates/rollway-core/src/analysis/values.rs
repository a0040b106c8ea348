//! One number of a release for the time since the last one: what the judges of other systems look
//! at.

use super::Counters;
use crate::spec::judges::Measured;
use crate::verdict::histogram::{Histogram, SECONDS_LEAST, SECONDS_MOST, upper_seconds};

/// The number, by what was counted meanwhile.
///
/// # Errors
/// Why there is none: without requests there is neither a share nor a latency.
pub(super) fn value(of: Measured, counted: &Counters) -> Result<f64, String> {
    let share = |count: u64| match counted.total {
        0 => Err("there were no requests".to_owned()),
        total => Ok(float(count) / float(total)),
    };
    let quantile = |level: f64| {
        let bucket = counted.latency.quantile(level);
        let seconds = bucket.map(|bucket| upper_seconds(bucket).min(SECONDS_MOST));
        seconds.ok_or_else(|| "there were no latencies".to_owned())
    };
    match of {
        Measured::ErrorRate => share(counted.bad),
        Measured::SuccessRate => share(counted.total.saturating_sub(counted.bad)),
        Measured::LatencyMean => mean(&counted.latency),
        Measured::LatencyP50 => quantile(0.5),
        Measured::LatencyP90 => quantile(0.9),
        Measured::LatencyP95 => quantile(0.95),
        Measured::LatencyP99 => quantile(0.99),
        Measured::Requests => Ok(float(counted.total)),
        Measured::Value => counted.value.ok_or_else(|| "the source gave no number".to_owned()),
    }
}

/// The mean, each request taken to be in the middle of its bucket: at most 2.4 % off.
fn mean(of: &Histogram) -> Result<f64, String> {
    let total = of.total();
    if total == 0 {
        return Err("there were no latencies".to_owned());
    }
    let seconds = |(bucket, count): (usize, &u64)| {
        let middle = match (bucket, upper_seconds(bucket)) {
            (0, _) => SECONDS_LEAST,
            (_, upper) if upper.is_infinite() => SECONDS_MOST,
            (_, upper) => (upper_seconds(bucket - 1) * upper).sqrt(),
        };
        middle * float(*count)
    };
    Ok(of.counts().iter().enumerate().map(seconds).sum::<f64>() / float(total))
}

#[expect(clippy::cast_precision_loss, reason = "nobody counts 2^53 requests between two checks")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_was_counted_meanwhile() {
        let mut latency = Histogram::default();
        (0..90).for_each(|_| latency.record(0.1));
        (0..10).for_each(|_| latency.record(2.0));
        let counted = Counters { total: 100, bad: 4, latency, value: Some(7.5) };
        let near = |of, expected: f64| {
            let found = value(of, &counted).expect("there is one");
            assert!((found / expected - 1.0).abs() < 0.05, "{of:?}: {found}, not {expected}");
        };
        near(Measured::ErrorRate, 0.04);
        near(Measured::SuccessRate, 0.96);
        near(Measured::Requests, 100.0);
        near(Measured::LatencyP50, 0.1);
        near(Measured::LatencyP90, 0.1);
        near(Measured::LatencyP95, 2.0);
        near(Measured::LatencyP99, 2.0);
        near(Measured::LatencyMean, 0.29);
        near(Measured::Value, 7.5);
    }

    #[test]
    fn without_requests_there_is_no_number() {
        let nothing = Counters::default();
        for of in [Measured::ErrorRate, Measured::SuccessRate, Measured::LatencyP99] {
            let why = value(of, &nothing).expect_err("nothing was counted");
            assert!(why.starts_with("there were no "), "{why}");
        }
        assert_eq!(value(Measured::Requests, &nothing), Ok(0.0));
        assert!(value(Measured::Value, &nothing).is_err());
    }
}
