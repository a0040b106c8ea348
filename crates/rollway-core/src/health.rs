//! When an instance is healthy: a fold over the outcomes of one probe.
//!
//! ```text
//! Starting ── success_threshold successes in a row ──> Healthy
//! Starting ── failure_threshold counted failures ────> Unhealthy
//! Healthy ─── failure_threshold failures in a row ───> Unhealthy
//! Unhealthy ─ success_threshold successes in a row ──> Healthy
//! ```
//! Until the first verdict probes come fast, so that a quick start is noticed quickly; but a
//! failure counts only once an `interval`, and only after `start_period`, so that a slow start is
//! no failure. Whatever never succeeds is unhealthy `failure_threshold` intervals after its
//! `start_period`, give or take one probe.

use serde::{Deserialize, Serialize};

use crate::spec::Probe;
use crate::units::Millis;

/// The first probe comes this soon after the start.
pub const FIRST_PROBE: Millis = Millis(1);
/// While an instance starts, two probes are at most this far apart: what it costs (some 50 us of
/// processor time each) is small, and what it saves is the mean wait of half an interval.
pub const STARTING_INTERVAL_MAX: Millis = Millis(50);

/// What the probes so far amount to; times are counted from the instance's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No verdict yet.
    Starting,
    /// It is well.
    Healthy {
        /// Since when.
        since: Millis,
    },
    /// It is not.
    Unhealthy {
        /// Since when.
        since: Millis,
    },
}

/// The fold over one instance's probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    interval: Millis,
    success_threshold: u32,
    failure_threshold: u32,
    state: State,
    successes: u32,
    failures: u32,
    /// The next failure counts from here on.
    counts_from: Millis,
    wait: Millis,
}

impl Health {
    /// Nothing is known yet; of the probe, only its times and thresholds matter here.
    #[must_use]
    pub fn new(probe: &Probe) -> Self {
        // A threshold of 0 would be a verdict without a probe.
        Self {
            interval: Millis(probe.interval.0.max(1)),
            success_threshold: probe.success_threshold.max(1),
            failure_threshold: probe.failure_threshold.max(1),
            state: State::Starting,
            successes: 0,
            failures: 0,
            counts_from: Millis(probe.start_period.0.saturating_add(probe.interval.0.max(1))),
            wait: FIRST_PROBE,
        }
    }

    /// What the probes so far amount to.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes in one outcome; `now` is the time since the instance's start.
    pub fn observe(&mut self, now: Millis, ok: bool) -> State {
        if ok {
            self.successes = self.successes.saturating_add(1);
            self.failures = 0;
        } else {
            self.successes = 0;
            self.fail(now);
        }
        self.state = match self.state {
            State::Healthy { since } if self.failures < self.failure_threshold => {
                State::Healthy { since }
            }
            State::Unhealthy { since } if self.successes < self.success_threshold => {
                State::Unhealthy { since }
            }
            State::Starting | State::Unhealthy { .. }
                if self.successes >= self.success_threshold =>
            {
                State::Healthy { since: now }
            }
            State::Starting if self.failures < self.failure_threshold => State::Starting,
            State::Starting | State::Healthy { .. } | State::Unhealthy { .. } => {
                State::Unhealthy { since: now }
            }
        };
        self.wait = self.next_wait(now, ok);
        self.state
    }

    /// How long until the next probe.
    #[must_use]
    pub fn next_probe_in(&self, now: Millis) -> Millis {
        match self.state {
            // The failure that decides is not put off to the end of a longer wait.
            State::Starting if now < self.counts_from => {
                Millis(self.wait.0.min(self.counts_from.0 - now.0))
            }
            State::Starting | State::Healthy { .. } | State::Unhealthy { .. } => self.wait,
        }
    }

    fn fail(&mut self, now: Millis) {
        match self.state {
            State::Starting if now < self.counts_from => {}
            State::Starting => {
                self.failures = self.failures.saturating_add(1);
                // On the grid of intervals, so that late probes add no delay of their own.
                let missed = (now.0 - self.counts_from.0) / self.interval.0;
                let next = self.interval.0.saturating_mul(missed + 1);
                self.counts_from = Millis(self.counts_from.0.saturating_add(next));
            }
            State::Healthy { .. } | State::Unhealthy { .. } => {
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    fn next_wait(&self, now: Millis, ok: bool) -> Millis {
        let fast = Millis(self.interval.0.min(STARTING_INTERVAL_MAX.0));
        match self.state {
            // The first success is soon followed by the others that are wanted.
            State::Starting if ok => Millis(FIRST_PROBE.0.min(fast.0)),
            // A quarter of its age: a start is noticed late by a quarter of what it took at most.
            State::Starting => Millis((now.0 / 4).max(FIRST_PROBE.0).min(fast.0)),
            State::Healthy { .. } | State::Unhealthy { .. } => self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Check, TcpCheck};
    use proptest::prelude::*;

    fn probe(interval: u64, start_period: u64, successes: u32, failures: u32) -> Probe {
        Probe {
            name: None,
            check: Check::Tcp(TcpCheck::default()),
            interval: Millis(interval),
            timeout: Millis(1000),
            success_threshold: successes,
            failure_threshold: failures,
            start_period: Millis(start_period),
        }
    }

    /// Probes until `until`, each answered at once by `answer`; tells the probes and the verdicts.
    fn run(probe: &Probe, until: u64, answer: impl Fn(u64) -> bool) -> (Vec<u64>, Vec<State>) {
        let mut health = Health::new(probe);
        let (mut at, mut times, mut states) = (0, Vec::new(), vec![State::Starting]);
        loop {
            at += health.next_probe_in(Millis(at)).0;
            if at > until {
                return (times, states);
            }
            times.push(at);
            let state = health.observe(Millis(at), answer(at));
            if states.last() != Some(&state) {
                states.push(state);
            }
        }
    }

    #[test]
    fn a_quick_start_is_healthy_within_milliseconds() {
        let (times, states) = run(&probe(1000, 0, 2, 3), 10, |at| at >= 3);
        assert_eq!(times, [1, 2, 3, 4]);
        assert_eq!(states, [State::Starting, State::Healthy { since: Millis(4) }]);
    }

    #[test]
    fn probes_come_slower_while_nothing_answers_and_at_the_interval_when_healthy() {
        let (times, _) = run(&probe(1000, 0, 2, 3), 3_000, |at| at >= 200);
        assert_eq!(times[..12], [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18]);
        assert_eq!(times[20..], [121, 151, 188, 235, 236, 1236, 2236]);
    }

    #[test]
    fn what_never_answers_is_unhealthy_after_the_start_period_and_all_intervals() {
        let (_, states) = run(&probe(1000, 5_000, 2, 3), 20_000, |_| false);
        assert_eq!(states, [State::Starting, State::Unhealthy { since: Millis(8_000) }]);
    }

    #[test]
    fn one_failure_harms_no_healthy_instance_and_one_success_cures_no_unhealthy_one() {
        let mut health = Health::new(&probe(100, 0, 2, 3));
        let outcomes = "++-+--+---+-++";
        let told: String = outcomes
            .chars()
            .enumerate()
            .map(|(at, outcome)| match health.observe(Millis(at as u64), outcome == '+') {
                State::Starting => 's',
                State::Healthy { .. } => 'h',
                State::Unhealthy { .. } => 'u',
            })
            .collect();
        assert_eq!(told, "shhhhhhhhuuuuh");
    }

    proptest! {
        #[test]
        fn never_healthy_is_declared_in_time(
            interval in 1u64..5_000, start in 0u64..20_000, good in 1u32..5, bad in 1u32..8,
        ) {
            let due = start + u64::from(bad) * interval;
            let (_, states) = run(&probe(interval, start, good, bad), due + 10_000, |_| false);
            prop_assert_eq!(states.len(), 2);
            prop_assert_eq!(states[1], State::Unhealthy { since: Millis(due) });
        }

        #[test]
        fn an_instance_that_comes_up_in_its_start_period_is_never_unhealthy(
            interval in 1u64..2_000, start in 0u64..5_000, good in 1u32..4, bad in 1u32..4,
            share in 0u64..=100,
        ) {
            let up = start * share / 100;
            let probe = probe(interval, start, good, bad);
            let (_, states) = run(&probe, start + 20_000, |at| at >= up);
            let soon = up + STARTING_INTERVAL_MAX.0 * u64::from(good) + FIRST_PROBE.0;
            prop_assert_eq!(states.len(), 2);
            let healthy = matches!(states[1], State::Healthy { since } if since.0 <= soon);
            prop_assert!(healthy, "{:?} is not healthy by {}", states[1], soon);
        }

        #[test]
        fn the_verdict_follows_the_last_run_of_equal_outcomes(
            outcomes in proptest::collection::vec(any::<bool>(), 1..200),
            good in 1u32..4, bad in 1u32..4,
        ) {
            let mut health = Health::new(&probe(10, 0, good, bad));
            for (number, ok) in outcomes.iter().enumerate() {
                let state = health.observe(Millis(10 * (number as u64 + 1)), *ok);
                let run = outcomes[..=number].iter().rev().take_while(|one| *one == ok).count();
                if *ok && run >= good as usize {
                    let healthy = matches!(state, State::Healthy { .. });
                    prop_assert!(healthy);
                }
                if !*ok && run >= bad as usize {
                    let unhealthy = matches!(state, State::Unhealthy { .. });
                    prop_assert!(unhealthy);
                }
            }
        }

        #[test]
        fn a_probe_is_always_due_and_never_later_than_the_interval(
            interval in 1u64..5_000, outcomes in proptest::collection::vec(any::<bool>(), 0..100),
        ) {
            let mut health = Health::new(&probe(interval, 50, 2, 3));
            let mut now = 0;
            for ok in outcomes {
                let wait = health.next_probe_in(Millis(now)).0;
                prop_assert!((1..=interval.max(1)).contains(&wait));
                now += wait;
                health.observe(Millis(now), ok);
            }
        }
    }
}
