//! `rollway-sim run --seeds N --from S --threads K`, `replay SEED`, `hunt SEEDS` and `mutants`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rollway_core::mutant::{self, Mutant};
use rollway_sim::report::Report;
use rollway_sim::world::World;

const USAGE: &str = "usage: rollway-sim run [--seeds N] [--from S] [--threads K]
       rollway-sim replay SEED
       rollway-sim hunt SEEDS        until the first violation
       rollway-sim mutants           the names of the planted mutants";
/// Seeds between two lines of progress.
const PROGRESS: u64 = 5000;

fn main() -> ExitCode {
    mutant::choose(&std::env::var("ROLLWAY_MUTANT").unwrap_or_default());
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["run", options @ ..] => run(options),
        ["replay", seed] => replay(seed),
        ["hunt", seeds] => hunt(seeds),
        ["mutants"] => mutants(),
        _ => Err(io::Error::other(USAGE)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // Without a place to write to there is nothing more to say.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(2)
        }
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(format!("{text:?} is no number\n{USAGE}")))
}

fn run(options: &[&str]) -> io::Result<ExitCode> {
    let (mut seeds, mut from) = (1000, 0);
    let mut threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    for pair in options.chunks(2) {
        match pair {
            ["--seeds", count] => seeds = number(count)?,
            ["--from", seed] => from = number(seed)?,
            ["--threads", count] => threads = number(count)?.max(1),
            _ => return Err(io::Error::other(USAGE)),
        }
    }
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let sum = Mutex::new(Report::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut report = Report::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        break;
                    }
                    if seed > from && (seed - from).is_multiple_of(PROGRESS) {
                        let seconds = began.elapsed().as_secs_f64();
                        // Progress is a courtesy: whoever does not listen misses nothing.
                        let line = format!("{} of {seeds} seeds, {seconds:.0} s", seed - from);
                        let _ = writeln!(io::stderr(), "{line}");
                    }
                    report.run(seed);
                }
                sum.lock().expect("no thread panics with it").merge(report);
            });
        }
    });
    let mut report = sum.into_inner().expect("no thread panics with it");
    report.violations.sort();
    let seconds = began.elapsed().as_secs_f64();
    let rate = report.deployments as f64 / seconds / threads as f64;
    let mut out = io::stdout().lock();
    write!(out, "{report}")?;
    writeln!(out, "{seconds:.1} s on {threads} threads: {rate:.0} deployments/s on each")?;
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn replay(seed: &str) -> io::Result<ExitCode> {
    let mut world = World::new(number(seed)?, true);
    world.run();
    let mut out = io::stdout().lock();
    for line in world.trace.iter().flatten() {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "{} deployments", world.deployments)?;
    for (invariant, what) in &world.violations {
        writeln!(out, "violated: {invariant} {what}")?;
    }
    Ok(if world.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs seeds until the first violation, and tells it.
fn hunt(seeds: &str) -> io::Result<ExitCode> {
    for seed in 0..number(seeds)? {
        let mut world = World::new(seed, false);
        world.run();
        if let Some((invariant, what)) = world.violations.first() {
            writeln!(io::stdout(), "{invariant} in seed {seed} {what}")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn mutants() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    for (name, _, what) in Mutant::ALL {
        writeln!(out, "{name}\t{what}")?;
    }
    Ok(ExitCode::SUCCESS)
}
