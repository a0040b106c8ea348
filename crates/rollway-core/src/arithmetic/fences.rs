//! The fence posts of a change: how many beyond what is wanted, how many fewer.

use crate::units::{Amount, Rounding};

/// Surge and unavailable for `instances`: surge rounds up, unavailable rounds down, and both 0
/// means unavailable 1 (Kubernetes' `ResolveFenceposts`).
#[must_use]
pub fn fenceposts(max_surge: Amount, max_unavailable: Amount, instances: u32) -> (u32, u32) {
    let surge = max_surge.of(instances, Rounding::Up);
    let unavailable = max_unavailable.of(instances, Rounding::Down);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// How many may be missing: the fence post, but never more than there are (Kubernetes' and Argo
/// Rollouts' `MaxUnavailable`).
#[must_use]
pub fn unavailable_max(max_surge: Amount, max_unavailable: Amount, instances: u32) -> u32 {
    fenceposts(max_surge, max_unavailable, instances).1.min(instances)
}

/// How many must stay available (Kubernetes' `MinAvailable`).
#[must_use]
pub fn available_min(max_surge: Amount, max_unavailable: Amount, instances: u32) -> u32 {
    instances - unavailable_max(max_surge, max_unavailable, instances)
}
