//! Whether a change is complete, gets on, is late; whether a step has what it wants.

use super::{Count, Counts};

/// What a Deployment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// All instances.
    pub total: u32,
    /// Those of the new release.
    pub updated: u32,
    /// Those that are ready.
    pub ready: u32,
    /// Those that have been ready long enough.
    pub available: u32,
}

/// Whether nothing but the new release is there, all of it available (Kubernetes'
/// `DeploymentComplete`, for a spec that the controller has seen).
#[must_use]
pub fn is_complete(instances: u32, status: Status) -> bool {
    [status.total, status.updated, status.available] == [instances; 3]
}

/// Whether something got better between two looks (Kubernetes' `DeploymentProgressing`).
#[must_use]
pub fn gets_on(before: Status, now: Status) -> bool {
    let old = |status: Status| i64::from(status.total) - i64::from(status.updated);
    now.updated > before.updated
        || old(now) < old(before)
        || now.ready > before.ready
        || now.available > before.available
}

/// Whether the deadline has passed; without one it never does. Any one unit of time (Kubernetes'
/// `DeploymentTimedOut`, for a change that is not complete).
#[must_use]
pub fn is_late(last_progress: u64, deadline: Option<u64>, now: u64) -> bool {
    deadline.is_some_and(|deadline| last_progress.saturating_add(deadline) < now)
}

/// What a step of a canary needs of its new release to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// All of them.
    All,
    /// That many percent of what is wanted; below 0 = all.
    Percent(i64),
    /// That many; below 0 = all.
    Instances(i64),
}

/// Whether all that is wanted is asked for and available (Argo Rollouts'
/// `AreAllDesiredPodsAvailable`).
#[must_use]
pub fn all_available(release: Option<Count>, wanted: u32) -> bool {
    release == Some(Count { spec: wanted, available: wanted })
}

/// Whether enough is available for the step to be over (Argo Rollouts'
/// `replicaProgressThreshold`).
#[must_use]
pub fn is_enough(threshold: Threshold, release: Option<Count>, wanted: u32) -> bool {
    let Some(count) = release else { return false };
    let available = i64::from(count.available);
    match threshold {
        Threshold::Percent(percent) if percent >= 0 => {
            wanted == 0 || available * 100 >= percent * i64::from(wanted)
        }
        Threshold::Instances(least) if least >= 0 => available >= least,
        Threshold::All | Threshold::Percent(_) | Threshold::Instances(_) => {
            all_available(release, wanted)
        }
    }
}

/// Whether a step without a router has its counts: the canary is there and available, the stable
/// release has the right size (it need not be available), and nothing older is left. The stable
/// release's `running` is what exists of it (Argo Rollouts' `AtDesiredReplicaCountsForCanary`).
#[must_use]
pub fn has_counts(
    wanted: Counts,
    canary: Count,
    stable: (Count, u32),
    older_available: u32,
) -> bool {
    let (stable, running) = stable;
    all_available(Some(canary), wanted.canary)
        && [stable.spec, running] == [wanted.stable; 2]
        && older_available == 0
}
