//! Counts and percentages as the field's systems compute them: one arithmetic, which the planner
//! uses and the conformance tests hold against Kubernetes, Argo Rollouts and OpenKruise.

pub mod basic;
pub mod blue_green;
pub mod direct;
pub mod fences;
pub mod history;
pub mod partition;
pub mod progress;
pub mod rolling;
pub mod routed;
pub mod scaling;

pub use fences::fenceposts;
pub use routed::canary_instances;

/// The instances of one release, as a controller counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// How many there are to be by its last decision.
    pub spec: u32,
    /// How many of them, or of those still to go, are available.
    pub available: u32,
}

/// How many instances the two releases of a canary have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Of the new release.
    pub canary: u32,
    /// Of the release that serves.
    pub stable: u32,
}

/// A computed count as an unsigned one; below nothing is nothing.
fn whole(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}
