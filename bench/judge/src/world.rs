//! The simulated service: its traffic, how both versions behave, what an interval brings.

use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::histogram::Histogram;
use rollway_core::verdict::judge::History;
use rollway_core::verdict::stats::{Outcomes, count};
use rollway_sim::rng::Rng;

use crate::draw::{Latencies, Slowness, Table, some_of};

/// How long a canary is watched.
pub const HOUR_SECONDS: u64 = 3600;
/// So long before the canary the stable version's outcomes and latencies are known.
const HISTORY_SECONDS: u64 = 300;
/// And so long its bad outcomes of each second.
const CLUSTERS_SECONDS: u64 = 1800;
/// A shared incident: from the 20th to the 25th minute.
const INCIDENT_SECONDS: std::ops::Range<u64> = 1200..1500;
/// So many more of all requests fail in a shared incident.
const INCIDENT_ERRORS: f64 = 0.2;
/// So many times longer they take.
const INCIDENT_SLOWER: f64 = 3.0;

/// How much comes in, who gets it, how often it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Requests a second, to both arms.
    pub per_second: u32,
    /// The canary's share.
    pub share_percent: u32,
    /// From look to look.
    pub check_seconds: u64,
}

impl Traffic {
    /// The study's: 10, 100 and 1000 requests a second, 5 and 50 %, a look every 10 and 60 s.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for per_second in [10, 100, 1000] {
            for share_percent in [5, 50] {
                for check_seconds in [10, 60] {
                    all.push(Self { per_second, share_percent, check_seconds });
                }
            }
        }
        all
    }

    /// The one that times are told of.
    pub const USUAL: Self = Self { per_second: 100, share_percent: 5, check_seconds: 10 };

    /// `100/s 5% 10s`.
    pub fn words(self) -> String {
        format!("{}/s {}% {}s", self.per_second, self.share_percent, self.check_seconds)
    }

    /// How many looks there are.
    pub fn checks(self) -> u64 {
        HOUR_SECONDS / self.check_seconds
    }

    /// Requests of both arms in so many seconds, on average.
    fn means(self, seconds: u64) -> Pair<f64> {
        let all = f64::from(self.per_second) * count(seconds);
        let canary = all * f64::from(self.share_percent) / 100.0;
        Pair { canary, baseline: all - canary }
    }
}

/// How many requests fail together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clusters {
    /// Each by itself.
    None,
    /// So many at a time, on one arm and within a second.
    Of(u64),
    /// So many on average, by a geometric distribution.
    Geometric(f64),
}

impl Clusters {
    fn mean(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Of(size) => count(size),
            Self::Geometric(mean) => mean,
        }
    }
}

/// What happens beside the two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Nothing.
    Calm,
    /// For five minutes both arms fail 20 % more of their requests, and take three times as long.
    SharedIncident,
}

/// How both versions behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// The shares of requests that fail.
    pub errors: Pair<f64>,
    /// How slow the canary is; the baseline is as usual.
    pub slowness: Slowness,
    /// What happens beside.
    pub weather: Weather,
    /// How errors come.
    pub clusters: Clusters,
}

impl Scenario {
    /// Both fail at these rates and are as fast as each other.
    pub fn errors(name: &'static str, canary: f64, baseline: f64) -> Self {
        let errors = Pair { canary, baseline };
        let (slowness, clusters) = (Slowness::USUAL, Clusters::None);
        Self { name, errors, slowness, weather: Weather::Calm, clusters }
    }

    /// The canary is so slow; both fail 0.1 % of their requests.
    pub fn slower(name: &'static str, slowness: Slowness) -> Self {
        Self { slowness, ..Self::errors(name, 0.001, 0.001) }
    }

    /// The same amid a shared incident.
    pub fn amid(self, name: &'static str, weather: Weather) -> Self {
        Self { name, weather, ..self }
    }

    /// Whether both versions are the same.
    pub fn is_even(&self) -> bool {
        self.errors.canary.total_cmp(&self.errors.baseline).is_eq()
            && self.slowness == Slowness::USUAL
    }
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawn {
    /// Errors alone.
    Errors,
    /// Latencies alone.
    Latencies,
    /// Both, of the same requests.
    Both,
}

/// What an interval brought.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Outcomes; with latencies alone there are none.
    pub errors: Pair<Outcomes>,
    /// Latencies; with errors alone there are none.
    pub latencies: Pair<Histogram>,
}

/// One arm in one kind of weather, for an interval of one length.
struct Arm {
    errors: f64,
    requests: Requests,
}

enum Requests {
    /// Counts of clusters and of good requests.
    Counted { clusters: Table, good: Table },
    /// Their latencies, without errors.
    Timed(Latencies),
    /// Their latencies, of which some are errors.
    TimedAndCounted(Latencies),
}

/// A scenario under a traffic, with everything that can be prepared.
pub struct World {
    /// The traffic.
    pub traffic: Traffic,
    /// The scenario.
    pub scenario: Scenario,
    drawn: Drawn,
    size: Option<Table>,
    calm: Pair<Arm>,
    incident: Option<Pair<Arm>>,
    history: Arm,
    clusters_a_second: Table,
}

impl World {
    /// Prepares it.
    pub fn new(traffic: Traffic, scenario: Scenario, drawn: Drawn) -> Self {
        let usual = Slowness::USUAL;
        let size = match scenario.clusters {
            Clusters::None => None,
            Clusters::Of(size) => Some(Table::of(size, &[1.0])),
            Clusters::Geometric(mean) => Some(Table::geometric(mean)),
        };
        let together = scenario.clusters.mean();
        let arm = |mean: f64, errors: f64, slowness: Slowness| {
            let latencies = || Latencies::of(mean, &slowness);
            let requests = match drawn {
                Drawn::Errors => Requests::Counted {
                    clusters: Table::poisson(mean * errors / together),
                    good: Table::poisson(mean * (1.0 - errors)),
                },
                Drawn::Latencies => Requests::Timed(latencies()),
                Drawn::Both => Requests::TimedAndCounted(latencies()),
            };
            Arm { errors, requests }
        };
        let means = traffic.means(traffic.check_seconds);
        let arms = |errors: f64, times: f64| {
            let canary = Slowness { all: scenario.slowness.all * times, ..scenario.slowness };
            Pair {
                canary: arm(means.canary, scenario.errors.canary + errors, canary),
                baseline: arm(means.baseline, scenario.errors.baseline + errors, {
                    Slowness { all: times, ..usual }
                }),
            }
        };
        let history = Pair { canary: 0.0, baseline: scenario.errors.baseline };
        let all = f64::from(traffic.per_second);
        Self {
            traffic,
            scenario,
            drawn,
            size,
            calm: arms(0.0, 1.0),
            incident: (scenario.weather == Weather::SharedIncident)
                .then(|| arms(INCIDENT_ERRORS, INCIDENT_SLOWER)),
            history: arm(all * count(HISTORY_SECONDS), history.baseline, usual),
            clusters_a_second: Table::poisson(all * history.baseline / together),
        }
    }

    /// What the stable version did before the canary, for errors and for latencies.
    pub fn history(&self, rng: &mut Rng) -> History {
        let (outcomes, latencies) = self.arm(&self.history, rng);
        let bad_per_second = match self.drawn {
            Drawn::Latencies => Vec::new(),
            Drawn::Errors | Drawn::Both => {
                let second = |_| self.bad(self.clusters_a_second.draw(rng), rng);
                (0..CLUSTERS_SECONDS).map(second).collect()
            }
        };
        History { outcomes, latencies, bad_per_second, max_cluster: None }
    }

    /// The next interval, which begins so many seconds after the canary's start.
    pub fn next(&self, from_seconds: u64, rng: &mut Rng) -> Seen {
        let is_incident = INCIDENT_SECONDS.contains(&from_seconds);
        let arms = self.incident.as_ref().filter(|_| is_incident).unwrap_or(&self.calm);
        let (canary, canary_latencies) = self.arm(&arms.canary, rng);
        let (baseline, baseline_latencies) = self.arm(&arms.baseline, rng);
        Seen {
            errors: Pair { canary, baseline },
            latencies: Pair { canary: canary_latencies, baseline: baseline_latencies },
        }
    }

    fn arm(&self, arm: &Arm, rng: &mut Rng) -> (Outcomes, Histogram) {
        match &arm.requests {
            Requests::Counted { clusters, good } => {
                let bad = self.bad(clusters.draw(rng), rng);
                let total = bad + good.draw(rng);
                (Outcomes { bad, total }, Histogram::default())
            }
            Requests::Timed(latencies) => (Outcomes::default(), latencies.draw(rng)),
            Requests::TimedAndCounted(latencies) => {
                let latencies = latencies.draw(rng);
                let total = latencies.total();
                (Outcomes { bad: some_of(total, arm.errors, rng), total }, latencies)
            }
        }
    }

    /// So many clusters of bad requests.
    fn bad(&self, clusters: u64, rng: &mut Rng) -> u64 {
        match &self.size {
            None => clusters,
            Some(size) => (0..clusters).map(|_| size.draw(rng)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(world: &World) -> Pair<Outcomes> {
        let mut rng = Rng::new(7);
        let mut totals = Pair::<Outcomes>::default();
        for check in 0..world.traffic.checks() {
            let seen = world.next(check * world.traffic.check_seconds, &mut rng).errors;
            for (all, seen) in
                [(&mut totals.canary, seen.canary), (&mut totals.baseline, seen.baseline)]
            {
                all.bad += seen.bad;
                all.total += seen.total;
            }
        }
        totals
    }

    #[test]
    fn arms_get_their_share_and_fail_at_their_rate_in_both_ways_of_drawing() {
        let scenario = Scenario::errors("test", 0.02, 0.01);
        for drawn in [Drawn::Errors, Drawn::Both] {
            let seen = totals(&World::new(Traffic::USUAL, scenario, drawn));
            let near = |seen: u64, mean: f64| (count(seen) - mean).abs() < 5.0 * mean.sqrt();
            assert!(near(seen.canary.total, 18_000.0), "{seen:?}");
            assert!(near(seen.baseline.total, 342_000.0), "{seen:?}");
            assert!(near(seen.canary.bad, 360.0), "{seen:?}");
            assert!(near(seen.baseline.bad, 3420.0), "{seen:?}");
        }
    }

    #[test]
    fn an_incident_hits_both_arms_for_five_minutes() {
        let scenario = Scenario::errors("test", 0.001, 0.001);
        let scenario = scenario.amid("incident", Weather::SharedIncident);
        let world = World::new(Traffic::USUAL, scenario, Drawn::Both);
        let mut rng = Rng::new(1);
        let mut bad_share = |from| {
            let seen = world.next(from, &mut rng);
            let slow = seen.latencies.baseline.quantile(0.5).expect("950 requests");
            (seen.errors.canary.share(), seen.errors.baseline.share(), slow)
        };
        let (before, amid, after) = (bad_share(1190), bad_share(1200), bad_share(1500));
        assert!(before.0 < 0.05 && before.1 < 0.01, "{before:?}");
        assert!(amid.0 > 0.05 && amid.1 > 0.15 && amid.2 > before.2 + 20, "{amid:?}");
        assert!(after.0 < 0.05 && after.1 < 0.01 && after.2.abs_diff(before.2) <= 1, "{after:?}");
    }

    #[test]
    fn clusters_are_seen_in_the_history() {
        let clusters = Clusters::Of(10);
        let scenario = Scenario { clusters, ..Scenario::errors("test", 0.001, 0.001) };
        let world = World::new(Traffic::USUAL, scenario, Drawn::Errors);
        let history = world.history(&mut Rng::new(1));
        assert!(history.bad_per_second.iter().all(|bad| bad % 10 == 0));
        assert!(history.bad_per_second.iter().any(|bad| *bad > 0));
        assert_eq!(history.outcomes.bad % 10, 0);
    }
}
