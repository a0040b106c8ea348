//! The rolling update of Kubernetes' Deployment controller: what each round starts and stops.

use super::{Count, whole};

/// The new release's next count. Of all releases `total` exist at most `instances + surge`, and
/// the new one never grows beyond `instances` (Kubernetes' `NewRSNewReplicas`, which it shrinks to
/// when it has more: `reconcileNewReplicaSet`).
#[must_use]
pub fn new_count(instances: u32, surge: u32, new: u32, total: u32) -> u32 {
    let room = (i64::from(instances) + i64::from(surge) - i64::from(total)).max(0);
    let missing = i64::from(instances) - i64::from(new);
    if room == 0 { new } else { whole(i64::from(new) + room.min(missing)) }
}

/// What a round makes of the new release: fewer if it has too many, else [`new_count`]
/// (Kubernetes' `reconcileNewReplicaSet`).
#[must_use]
pub fn reconcile_new(instances: u32, surge: u32, new: u32, total: u32) -> u32 {
    if new > instances { instances } else { new_count(instances, surge, new, total) }
}

/// What a round makes of the old releases, oldest first: the unhealthy ones go first, then those
/// that availability can spare (Kubernetes' `reconcileOldReplicaSets`).
#[must_use]
pub fn reconcile_old(instances: u32, unavailable: u32, new: Count, old: &[Count]) -> Vec<u32> {
    let least = instances.saturating_sub(unavailable);
    let total: i64 = old.iter().map(|count| i64::from(count.spec)).sum();
    let all = total + i64::from(new.spec);
    // New ones that are not available yet stand in for old ones that are gone already.
    let not_yet = i64::from(new.spec) - i64::from(new.available);
    let most = all - i64::from(least) - not_yet;
    if total == 0 || most <= 0 {
        return old.iter().map(|count| count.spec).collect();
    }
    let healthy = remove_unhealthy(old, whole(most));
    let available: u32 = new.available + old.iter().map(|count| count.available).sum::<u32>();
    shrink(&healthy, available.saturating_sub(least))
}

/// The old releases' counts, oldest first, after at most `most` that are not available are gone
/// (Kubernetes' `cleanupUnhealthyReplicas`).
#[must_use]
pub fn remove_unhealthy(old: &[Count], most: u32) -> Vec<u32> {
    let mut left = most;
    let rest = |count: &Count| {
        let gone = count.spec.saturating_sub(count.available).min(left);
        left -= gone;
        count.spec - gone
    };
    old.iter().map(rest).collect()
}

/// The old releases' counts, oldest first, after `spare` are gone: what is available beyond the
/// least (Kubernetes' `scaleDownOldReplicaSetsForRollingUpdate`).
#[must_use]
pub fn shrink(old: &[u32], spare: u32) -> Vec<u32> {
    let mut left = spare;
    let rest = |count: &u32| {
        let gone = (*count).min(left);
        left -= gone;
        count - gone
    };
    old.iter().map(rest).collect()
}
