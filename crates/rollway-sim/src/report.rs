//! What many seeds came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::faults::{Counts, Fault};
use crate::world::World;

/// The sum over seeds.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Deployments that were begun.
    pub deployments: u64,
    /// Simulated milliseconds.
    pub simulated_ms: u64,
    /// Faults by kind.
    pub faults: Counts,
    /// Which event followed which in a history.
    pub transitions: BTreeSet<(&'static str, &'static str)>,
    /// Which state of a deployment followed which.
    pub states: BTreeSet<(&'static str, &'static str)>,
    /// What was violated: seed, invariant and what.
    pub violations: Vec<(u64, &'static str, String)>,
}

impl Report {
    /// Runs one seed and adds it.
    pub fn run(&mut self, seed: u64) {
        let mut world = World::new(seed, false);
        world.run();
        self.seeds += 1;
        self.deployments += world.deployments;
        self.simulated_ms += world.now;
        self.faults.merge(&world.faults);
        self.transitions.extend(world.transitions());
        self.states.extend(world.states());
        let found = world.violations.into_iter();
        self.violations.extend(found.map(|(invariant, what)| (seed, invariant, what)));
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.deployments += other.deployments;
        self.simulated_ms += other.simulated_ms;
        self.faults.merge(&other.faults);
        self.transitions.extend(other.transitions);
        self.states.extend(other.states);
        self.violations.extend(other.violations);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated_ms / 3_600_000;
        let (seeds, deployments) = (self.seeds, self.deployments);
        writeln!(f, "{seeds} seeds, {deployments} deployments, {hours} simulated hours")?;
        writeln!(f, "faults:")?;
        for fault in Fault::ALL {
            writeln!(f, "  {fault:<14} {:>10}", self.faults.of_fault(fault))?;
        }
        let states: Vec<String> = self
            .states
            .iter()
            .filter(|(from, to)| from != to)
            .map(|(from, to)| format!("{from} -> {to}"))
            .collect();
        writeln!(f, "states: {}", states.join(", "))?;
        writeln!(f, "events that followed each other: {} pairs", self.transitions.len())?;
        writeln!(f, "violations: {}", self.violations.len())?;
        let mut by: BTreeMap<&str, Vec<&(u64, &str, String)>> = BTreeMap::new();
        for found in &self.violations {
            by.entry(found.1).or_default().push(found);
        }
        for (invariant, found) in by {
            writeln!(f, "  {invariant}: {} seeds", found.len())?;
            for (seed, _, what) in found.iter().take(5) {
                writeln!(f, "    seed {seed} {what}")?;
            }
        }
        Ok(())
    }
}
