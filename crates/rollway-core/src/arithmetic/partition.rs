//! A partition: at most so many instances of the new release (OpenKruise Rollouts' Deployments).

use super::whole;
use crate::units::{Amount, Rounding};

/// At most so many of `instances` may be new: rounds up, but a percentage below 100 leaves at
/// least one old where there are two or more (OpenKruise's `NewRSReplicasLimit`).
#[must_use]
pub fn limit(partition: Amount, instances: u32) -> u32 {
    let most = partition.of(instances, Rounding::Up).min(instances);
    match partition {
        Amount::Percent(percent) if instances > 1 && percent != 100 => most.min(instances - 1),
        Amount::Percent(_) | Amount::Count(_) => most,
    }
}

/// The new release's next count under a partition: without old instances it has none to mind, and
/// it never shrinks for it (OpenKruise's `NewRSNewReplicas`).
#[must_use]
pub fn new_count(instances: u32, partition: Amount, surge: u32, new: u32, old: u32) -> u32 {
    let most = if old == 0 { instances } else { limit(partition, instances) };
    let room = i64::from(instances) + i64::from(surge) - i64::from(new) - i64::from(old);
    new + whole(room.min(i64::from(most) - i64::from(new)))
}

/// How many old instances may go, below 0 = so many are missing: what the new release has, or may
/// have, needs no old one (OpenKruise's `ScaleDownLimitForOld`).
#[must_use]
pub fn old_to_go(instances: u32, partition: Amount, new: u32, old: u32) -> i64 {
    let new = new.max(limit(partition, instances));
    i64::from(old) + i64::from(new) - i64::from(instances)
}
