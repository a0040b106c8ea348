//! A share of the simulation that every test run makes. Its seeds are the same everywhere, so that
//! whoever breaks something is who sees it; `make simulate FROM=...` runs any others.

use rollway_sim::report::Report;
use rollway_sim::world::World;

/// The seeds in which everything that may happen must happen.
const FIXED: u64 = 40;
/// The seeds after those, about half a minute on two cores.
const MORE: u64 = 400;

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
fn more_seeds_break_nothing() {
    let halves = [FIXED..FIXED + MORE / 2, FIXED + MORE / 2..FIXED + MORE];
    let threads = halves.map(|seeds| {
        std::thread::spawn(move || {
            let mut report = Report::default();
            seeds.for_each(|seed| report.run(seed));
            report
        })
    });
    for thread in threads {
        check(&thread.join().expect("a seed panics"));
    }
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
