//! The canary judge over simulated traffic, beside Argo, Flagger, Kayenta and a z-test: how often
//! each rolls back a canary that is no worse, how soon one that is, and what a check costs.
//!
//! ```text
//! cargo build --release -p rollway-bench-judge && target/release/rollway-bench-judge
//! ```
//! The tables go to stdout, progress to stderr. The exit code is 1 where a goal is missed.

mod cost;
mod draw;
mod early;
mod figures;
mod goals;
mod methods;
mod panel;
mod say;
mod study;
mod table;
#[cfg(test)]
mod tests;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use crate::figures::Figures;
use crate::panel::Part;
use crate::study::Size;
use crate::world::Traffic;

/// The canary judge and the judgements of others over simulated traffic.
#[derive(Debug, Parser)]
#[command(name = "rollway-bench-judge", version, max_term_width = 100)]
struct Asked {
    /// Hours of every cell whose versions differ.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    replicas: u64,
    /// Hours of every cell whose versions are the same.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    even_replicas: u64,
    /// Kayenta judges one in so many of them, since it is slow.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    kayenta_every: u64,
    /// The same seed is the same study.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads [default: one for each core].
    #[arg(long)]
    threads: Option<usize>,
    /// Only these parts; without it all of them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Asking>,
    /// Only cells of this traffic, such as "100/s 5% 10s".
    #[arg(long)]
    traffic: Option<String>,
    /// One JSON document in place of the tables.
    #[arg(long)]
    json: bool,
}

/// A part that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asking {
    /// Errors, beside the others.
    Errors,
    /// Latency, beside the others.
    Latency,
    /// Errors that come in clusters.
    Clusters,
    /// Errors and latency, by the rules of a plain canary.
    Usual,
    /// Looks after failures of the canary, and canaries that fail every request.
    Early,
    /// What a check costs.
    Cost,
}

fn main() -> ExitCode {
    let asked = Asked::parse();
    let begun = Instant::now();
    let figures = measured(&asked);
    let goals = goals::goals(&figures);
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    if asked.json {
        let mut json = figures.json();
        json["goals"] = goals.iter().map(goals::Goal::json).collect();
        say::line(&json.to_string());
    } else {
        let Size { replicas, even_replicas, kayenta_every, seed, threads } = figures.size;
        say::line(&format!(
            "Seed {seed}; {replicas} hours a cell, {even_replicas} where both versions are the \
             same, Kayenta in one of {kayenta_every}."
        ));
        say::line("");
        table::tables(&figures, &goals).iter().for_each(|line| say::line(line));
        say::note(&format!("{minutes:.1} min on {threads} threads"));
    }
    if goals.iter().all(|goal| goal.is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measured(asked: &Asked) -> Figures {
    let is_asked = |one: Asking| asked.only.is_empty() || asked.only.contains(&one);
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let size = Size {
        replicas: asked.replicas,
        even_replicas: asked.even_replicas,
        kayenta_every: asked.kayenta_every,
        threads: asked.threads.unwrap_or_else(cores).max(1),
        seed: asked.seed,
    };
    // First, while nothing else is going on.
    let cost = is_asked(Asking::Cost).then(|| cost::measure(asked.seed));
    let early = if is_asked(Asking::Early) { early::run(&size) } else { Vec::new() };
    let parts = Part::ALL.into_iter().filter(|part| is_asked(asking(*part)));
    let cells = parts.flat_map(|part| {
        say::note(&format!("{}:", part.name()));
        let is_wanted = |traffic: Traffic| {
            asked.traffic.as_ref().is_none_or(|wanted| *wanted == traffic.words())
        };
        let cells = part.cells().into_iter().filter(|(traffic, _)| is_wanted(*traffic));
        study::run(cells.map(|(traffic, scenario)| (part, traffic, scenario)).collect(), &size)
    });
    Figures { size, cells: cells.collect(), early, cost }
}

fn asking(part: Part) -> Asking {
    match part {
        Part::Errors => Asking::Errors,
        Part::Latency => Asking::Latency,
        Part::Clusters => Asking::Clusters,
        Part::Usual => Asking::Usual,
    }
}
