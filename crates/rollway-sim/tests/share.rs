//! A share of the simulation that every test run makes: the first seeds, which are the same
//! everywhere, and a few fresh ones, which are named when they fail.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rollway_sim::report::Report;
use rollway_sim::world::World;

/// Seeds that are the same everywhere.
const FIXED: u64 = 40;
/// How long fresh seeds are tried.
const FRESH: Duration = Duration::from_secs(25);

fn check(report: &Report) {
    let lines: Vec<String> = report
        .violations
        .iter()
        .map(|(seed, invariant, what)| format!("seed {seed}: {invariant} {what}"))
        .collect();
    let replay = "see `make replay SEED=...`";
    assert!(lines.is_empty(), "{}\n{replay}\n", lines.join("\n"));
}

#[test]
fn the_first_seeds_break_nothing() {
    let mut report = Report::default();
    (0..FIXED).for_each(|seed| report.run(seed));
    check(&report);
    let ends: Vec<&str> = report.states.iter().map(|(_, to)| *to).collect();
    for state in ["completed", "failed", "rolled_back", "paused", "undoing"] {
        assert!(ends.contains(&state), "nothing was ever {state}: {ends:?}");
    }
}

#[test]
fn fresh_seeds_break_nothing() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let first = since.as_millis() as u64 * 1000;
    let began = Instant::now();
    let mut report = Report::default();
    for seed in first.. {
        if began.elapsed() > FRESH {
            break;
        }
        report.run(seed);
    }
    check(&report);
    assert!(report.seeds > 0, "there was no time for a single seed");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..6 {
        let run = || {
            let mut world = World::new(seed, true);
            world.run();
            world.trace
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}
