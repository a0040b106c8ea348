//! The cells, run one after another; a panic in one is a violation, and the next gets a new world.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use crate::bench::{Bench, Ran};
use crate::cell::{self, Cell, Prelude};

/// An ordinary run is a sample of this length.
const SAMPLE: Duration = Duration::from_secs(12);
/// All cells are run in so many worlds at once.
const WORLDS: usize = 2;

/// What came of a cell.
struct Result {
    cell: Cell,
    ran: std::result::Result<Ran, String>,
}

fn slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}

/// Which cells: all, or those whose text contains `ROLLWAY_CELLS`.
fn wanted(cells: Vec<Cell>) -> Vec<Cell> {
    let Ok(filter) = std::env::var("ROLLWAY_CELLS") else { return cells };
    cells.into_iter().filter(|cell| cell.to_string().contains(&filter)).collect()
}

/// Runs cells in one world until there are none or it is late.
async fn run_some(cells: &Mutex<VecDeque<Cell>>, results: &Mutex<Vec<Result>>, until: Instant) {
    let next = || cells.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut bench = None;
    while Instant::now() < until {
        let Some(cell) = next() else { break };
        if cell.prelude() == Prelude::Fresh {
            let outcome = AssertUnwindSafe(Bench::run_first(&cell)).catch_unwind().await;
            note(results, cell, outcome.map_err(|panic| text_of(&*panic)));
            continue;
        }
        let mut current = match bench.take() {
            Some(bench) => bench,
            None => Bench::new().await,
        };
        let outcome = AssertUnwindSafe(run_one(&mut current, cell)).catch_unwind().await;
        let ran = outcome.map_err(|panic| {
            let log = current.world.log();
            let tail = log.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            format!("{}\n---- its log ----\n{}", text_of(&*panic), &log[tail..])
        });
        if ran.is_ok() {
            bench = Some(current);
        }
        note(results, cell, ran);
    }
    if let Some(bench) = bench {
        bench.world.ends_in_order().await;
    }
}

/// What a panic said.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn note(results: &Mutex<Vec<Result>>, cell: Cell, ran: std::result::Result<Ran, String>) {
    say(&cell, &ran);
    results.lock().unwrap_or_else(PoisonError::into_inner).push(Result { cell, ran });
}

/// Runs a cell; if the place is passed less often than it wants, once more for the first passing.
async fn run_one(bench: &mut Bench, cell: Cell) -> Ran {
    let mut ran = bench.run(&cell).await;
    bench.go_on().await;
    if !ran.reached && ran.passed > 0 && cell.nth > 1 {
        ran = bench.run(&Cell { nth: 1, ..cell }).await;
        bench.go_on().await;
    }
    ran
}

#[expect(clippy::print_stderr, reason = "a run of minutes shows where it is")]
fn say(cell: &Cell, ran: &std::result::Result<Ran, String>) {
    match ran {
        Ok(ran) if slow() => {
            let Ran { reached, requests, in_hand, away, .. } = ran;
            let how = if *reached { "died there" } else { "not passed" };
            eprintln!("{cell}: {how}; {requests} requests, {in_hand} in hand, {away} away");
        }
        Ok(_) => {}
        Err(why) => eprintln!("{cell}: VIOLATION: {why}"),
    }
}

/// Runs all these cells, in several worlds; what came of them.
fn run_all(cells: Vec<Cell>, worlds: usize, until: Instant) -> Vec<Result> {
    let (cells, results) = (Mutex::new(VecDeque::from(cells)), Mutex::default());
    std::thread::scope(|scope| {
        for _ in 0..worlds {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(run_some(&cells, &results, until));
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The table: a row a place, with the cells in which somebody died there.
#[expect(clippy::print_stderr, reason = "the table is to be seen")]
fn print(results: &[Result]) -> Vec<&'static str> {
    let mut rows: BTreeMap<&str, (u32, u32, u32)> = BTreeMap::new();
    let mut total = Ran::default();
    for Result { cell, ran } in results {
        let row = rows.entry(cell.point).or_default();
        row.0 += 1;
        match ran {
            Ok(ran) => {
                row.1 += u32::from(ran.reached);
                total.requests += ran.requests;
                total.in_hand += ran.in_hand;
                total.away += ran.away;
                total.away_ms = total.away_ms.max(ran.away_ms);
            }
            Err(_) => row.2 += 1,
        }
    }
    eprintln!("{:<28} {:>5} {:>8} {:>10}", "place", "cells", "reached", "violations");
    for (point, (cells, reached, violations)) in &rows {
        eprintln!("{point:<28} {cells:>5} {reached:>8} {violations:>10}");
    }
    let sum = |of: fn(&(u32, u32, u32)) -> u32| rows.values().map(of).sum::<u32>();
    let reached = rows.values().filter(|row| row.1 > 0).count();
    let not_on_the_way = sum(|row| row.0 - row.1 - row.2);
    if slow() {
        eprintln!("{not_on_the_way} cells whose place is not on the way of their operation");
    }
    eprintln!(
        "{reached} of {} places reached; {} cells, {} deaths, {} violations; {} requests",
        rows.len(),
        sum(|row| row.0),
        sum(|row| row.1),
        sum(|row| row.2),
        total.requests
    );
    eprintln!(
        "of a proxy that died: {} requests in hand, {} until the next one was there \
         (at most {} ms)",
        total.in_hand, total.away, total.away_ms
    );
    rows.iter().filter(|(_, row)| row.1 + row.2 == 0).map(|(point, _)| *point).collect()
}

#[test]
fn a_crash_at_any_place_leaves_one_version_and_no_trace() {
    let seed = match std::env::var("ROLLWAY_SEED") {
        Ok(seed) => seed.parse().expect("ROLLWAY_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cells = wanted(cell::all());
    random.shuffle(&mut cells);
    for cell in &mut cells {
        // One cell in three dies at a later passing than the first.
        cell.nth = 1 + random.u64(0..3) / 2 * random.u64(1..3);
    }
    let hour = Duration::from_secs(3600);
    let (worlds, time) = if slow() { (WORLDS, hour) } else { (1, SAMPLE) };
    let results = run_all(cells, worlds, Instant::now() + time);
    let never = print(&results);
    let violations: Vec<String> = results
        .iter()
        .filter_map(|Result { cell, ran }| Some(format!("{cell}: {}", ran.as_ref().err()?)))
        .collect();
    assert!(violations.is_empty(), "seed {seed}:\n{}", violations.join("\n\n"));
    assert!(!results.is_empty(), "no cell was run");
    let filtered = std::env::var_os("ROLLWAY_CELLS").is_some();
    assert!(!slow() || filtered || never.is_empty(), "never reached: {never:?}");
}
