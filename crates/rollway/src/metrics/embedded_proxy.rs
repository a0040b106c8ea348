//! `source: embedded_proxy`: what the proxy has counted of each release.
//!
//! Every request is counted once, when it ends, whatever retries it took; failed are answers of
//! the class 5xx and requests that got no whole answer because of the release.

use std::collections::BTreeMap;

use rollway_core::analysis::{Counters, Sample};
use rollway_core::ids::ReleaseNumber;
use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::histogram::{Histogram, bucket};
use serde::Deserialize;
use serde_json::Value;

/// Indices below this are microseconds themselves; above, each power of two has so many.
const STEPS: u64 = 32;
/// Larger indices are not of this proxy: 19 hours.
const INDEX_MAX: u64 = 1024;

/// What is read of the proxy's report about a service.
#[derive(Debug, Deserialize)]
struct Service {
    releases: BTreeMap<u64, Release>,
}

#[derive(Debug, Default, Deserialize)]
struct Release {
    classes: BTreeMap<String, u64>,
    failed: u64,
    latency: Vec<(u64, u64)>,
}

/// Reads the counters of both releases from the proxy's report.
#[must_use]
pub fn read(report: &Value, service: &str, releases: Pair<ReleaseNumber>) -> Sample {
    let Some(found) = report.pointer("/services").and_then(|all| all.get(service)) else {
        return Sample::Missed("the proxy has counted nothing of the service yet".to_owned());
    };
    let known = match Service::deserialize(found) {
        Ok(known) => known,
        Err(why) => return Sample::Missed(format!("the proxy's report cannot be read: {why}")),
    };
    let counters = |number: ReleaseNumber| {
        // A release that no request has reached has no entry yet.
        known.releases.get(&number.0).map(Release::counters).unwrap_or_default()
    };
    let canary = counters(releases.canary);
    Sample::Counters(Box::new(Pair { canary, baseline: counters(releases.baseline) }))
}

impl Release {
    fn counters(&self) -> Counters {
        let answered: u64 = self.classes.values().sum();
        let mut latency = Histogram::default();
        for (index, count) in &self.latency {
            latency.add(bucket(middle_seconds(*index)), *count);
        }
        let bad = self.failed + self.classes.get("5xx").copied().unwrap_or(0);
        Counters { total: answered + self.failed, bad, latency, value: None }
    }
}

/// The middle of a bucket; its ends are at most 3.2 % apart.
fn middle_seconds(index: u64) -> f64 {
    let index = index.min(INDEX_MAX);
    let microseconds = start(index).midpoint(start(index + 1));
    std::time::Duration::from_micros(microseconds).as_secs_f64()
}

/// The smallest latency of a bucket in microseconds, as the report's formula says.
fn start(index: u64) -> u64 {
    if index < STEPS { index } else { (STEPS + index % STEPS) << (index / STEPS - 1) }
}

#[cfg(test)]
mod tests {
    use rollway_core::verdict::histogram::upper_seconds;
    use serde_json::json;

    use super::*;

    const BOTH: Pair<ReleaseNumber> = Pair { canary: ReleaseNumber(2), baseline: ReleaseNumber(1) };

    #[test]
    fn each_request_counts_once_and_retries_do_not() {
        let release = json!({
            "version": "v2", "in_flight": 0, "finished": 95, "retried": 7, "failed": 5,
            "classes": {"1xx": 0, "2xx": 90, "3xx": 0, "4xx": 2, "5xx": 3},
            "faults": {"connect": 12}, "latency_microseconds": 1, "latency": [[302, 95]],
        });
        let report = json!({"services": {"shop": {"releases": {"2": release}}}});
        let Sample::Counters(both) = read(&report, "shop", BOTH) else { panic!("counters") };
        assert_eq!((both.canary.total, both.canary.bad), (100, 8));
        assert_eq!((both.baseline.total, both.baseline.latency.total()), (0, 0));
        // Index 302 is from 11.776 ms to 12.032 ms.
        let median = both.canary.latency.quantile(0.5).expect("95 of them");
        assert!((0.0119..0.0126).contains(&upper_seconds(median)), "{}", upper_seconds(median));
    }

    #[test]
    fn what_is_no_report_teaches_nothing() {
        let wrong = json!({"services": {"shop": {"releases": {"2": {"classes": 7}}}}});
        for (report, why) in [
            (json!({}), "counted nothing"),
            (json!({"services": {"other": {}}}), "counted nothing"),
            (wrong, "cannot be read"),
        ] {
            match read(&report, "shop", BOTH) {
                Sample::Missed(said) => assert!(said.contains(why), "{said}"),
                Sample::Counters(_) => panic!("counters from {report}"),
            }
        }
    }
}
