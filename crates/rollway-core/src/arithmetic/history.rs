//! The history: which old releases are forgotten, and how far back a way back is short.

/// A release in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Its revision; absent counts as 0, the oldest.
    pub revision: Option<u64>,
    /// When it was made; any unit.
    pub created: i64,
    /// Whether it has instances, or is to have any.
    pub has_instances: bool,
    /// Whether it is being forgotten already.
    pub is_leaving: bool,
}

/// The releases to forget, as places in `past`, oldest first. Of those not leaving already, all
/// but `limit` are looked at; one with instances stays, but counts (Kubernetes'
/// `cleanupDeployment`).
#[must_use]
pub fn to_forget(past: &[Past], limit: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..past.len()).filter(|i| !past[*i].is_leaving).collect();
    order.sort_by_key(|i| (past[*i].revision.unwrap_or(0), past[*i].created));
    order.truncate(order.len().saturating_sub(limit));
    order.retain(|i| !past[*i].has_instances);
    order
}

/// Whether going from the release made at `stable` back to that made at `target` is short enough
/// to go without the steps: fewer than `revisions` lie between; `others` says when the others
/// were made, experiments left out (Argo Rollouts' `rollbackWindow`).
#[must_use]
pub fn is_within_window(target: i64, stable: i64, others: &[i64], revisions: usize) -> bool {
    let between = others.iter().filter(|made| **made > target && **made < stable).count();
    target < stable && between < revisions
}
