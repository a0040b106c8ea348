//! What a check costs: processor time of one thread, and memory.

use std::hint::black_box;
use std::time::Duration;

use rollway_core::units::Millis;
use rollway_core::verdict::decision::Look;
use rollway_core::verdict::judge::{Interval, Judge, Reading, State};
use rollway_core::verdict::rules::Rules;
use rollway_core::verdict::stats::count;
use rollway_sim::rng::Rng;
use rustix::time::{ClockId, clock_gettime};

use crate::panel::{Part, name};
use crate::world::{Scenario, Traffic, World};

/// Canaries that are judged at the same time.
pub const CANARIES: u64 = 10_000;
/// How often each is judged, in seconds.
pub const EVERY_SECONDS: u64 = 10;
/// Rounds over all of them.
const ROUNDS: u64 = 6;
/// Hours of one canary.
const HOURS: u64 = 40;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// To take in an interval, in microseconds.
    pub apply_micros: f64,
    /// To come to a verdict.
    pub verdict_micros: f64,
    /// The largest state, in bytes.
    pub bytes: usize,
    /// The processor time of [`CANARIES`] checks with states that no cache holds, in seconds.
    pub round_seconds: f64,
}

impl Cost {
    /// The part of one core that all canaries take.
    pub fn core_share(&self) -> f64 {
        self.round_seconds / count(EVERY_SECONDS)
    }
}

/// Measures it: errors and latency by the usual rules, 100 requests a second, 5 %, every 10 s.
pub fn measure(seed: u64) -> Cost {
    let judge = Judge::new(Rules::default()).expect("rules that make sense");
    let scenario = Scenario::errors(name::EVEN, 0.001, 0.001);
    let world = World::new(Traffic::USUAL, scenario, Part::Usual.drawn());
    let mut rng = Rng::new(seed);
    let history = world.history(&mut rng);
    let names = judge.rules().metrics.iter().map(|metric| metric.name.clone());
    let histories = names.map(|name| (name, history.clone())).collect();
    let begun = judge.begin(&histories).expect("the names are its own");
    let hour: Vec<Interval> =
        (1..=world.traffic.checks()).map(|number| interval(&world, number, &mut rng)).collect();
    let checks = count(world.traffic.checks());
    let mut bytes = 0;
    let mut applying = || {
        let mut state = begun.clone();
        for interval in &hour {
            judge.apply(&mut state, black_box(interval)).expect("its own metrics");
        }
        bytes = bytes.max(state.bytes());
    };
    let apply_micros = least(&mut applying) / checks;
    let mut judging = || {
        let mut state = begun.clone();
        for interval in &hour {
            judge.apply(&mut state, black_box(interval)).expect("its own metrics");
            black_box(judge.verdict(&state, look(interval)));
        }
    };
    let verdict_micros = least(&mut judging) / checks - apply_micros;
    let round_seconds = rounds(&judge, &begun, &hour);
    Cost { apply_micros, verdict_micros, bytes, round_seconds }
}

/// The processor time of the quickest of some hours, in microseconds: other work on the machine
/// takes caches and half of a core away, and can only make one slower.
fn least(hour: &mut dyn FnMut()) -> f64 {
    let micros = (0..HOURS).map(|_| {
        let start = processor_time();
        hour();
        (processor_time() - start).as_secs_f64() * 1e6
    });
    micros.fold(f64::INFINITY, f64::min)
}

/// The middle of some rounds over many canaries.
fn rounds(judge: &Judge, begun: &State, hour: &[Interval]) -> f64 {
    let mut canaries: Vec<State> = (0..CANARIES).map(|_| begun.clone()).collect();
    let mut times: Vec<f64> = Vec::new();
    for round in 0..ROUNDS {
        // Past the warm-up, where every metric is compared.
        let interval = &hour[usize::try_from(round + 6).expect("few")];
        let start = processor_time();
        for state in &mut canaries {
            judge.apply(state, black_box(interval)).expect("its own metrics");
            black_box(judge.verdict(state, look(interval)));
        }
        times.push((processor_time() - start).as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn interval(world: &World, number: u64, rng: &mut Rng) -> Interval {
    let step = world.traffic.check_seconds;
    let from = Millis::seconds((number - 1) * step);
    let seen = world.next((number - 1) * step, rng);
    let readings = [
        ("errors".to_owned(), Reading::Counts(seen.errors)),
        ("latency".to_owned(), Reading::Latencies(seen.latencies)),
    ];
    Interval { id: number, from, until: Millis::seconds(number * step), readings: readings.into() }
}

fn look(interval: &Interval) -> Look {
    Look { elapsed: interval.until, step: interval.until }
}

/// Of this thread: other work on the machine does not count.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
