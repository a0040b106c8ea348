//! Counts and percentages as the field's systems compute them.

use crate::units::{Amount, Rounding};

/// Surge and unavailable for `instances`: surge rounds up, unavailable rounds down, and both 0
/// means unavailable 1 (Kubernetes' `ResolveFenceposts`).
#[must_use]
pub fn fenceposts(max_surge: Amount, max_unavailable: Amount, instances: u32) -> (u32, u32) {
    let surge = max_surge.of(instances, Rounding::Up);
    let unavailable = max_unavailable.of(instances, Rounding::Down);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// Instances that a canary of `weight` percent has: rounds up, so that a weight above 0 has one
/// (Argo Rollouts, routed canary).
#[must_use]
pub fn canary_instances(instances: u32, weight: u32) -> u32 {
    Amount::Percent(weight).of(instances, Rounding::Up)
}
