//! Blue-green: how many instances the new release has before the switch.

use crate::units::{Amount, Rounding};

/// Where a blue-green deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether another release serves.
    pub another_serves: bool,
    /// Whether the new release is the one that the controller has taken note of.
    pub is_current: bool,
    /// Whether the preview has been judged good: from then on it has its full size.
    pub is_checked: bool,
    /// Whether all gates are open.
    pub is_full: bool,
}

/// How many instances the new release has: `preview` until it has been checked, all of them where
/// there is nothing to preview beside (Argo Rollouts' `NewRSNewReplicas`). A plan of ours has no
/// smaller preview: the new release has its full size from the start.
#[must_use]
pub fn preview_instances(instances: u32, preview: Option<u32>, standing: Standing) -> u32 {
    let Standing { another_serves, is_current, is_checked, is_full } = standing;
    match preview {
        Some(count) if another_serves && !is_full && !(is_current && is_checked) => count,
        Some(_) | None => instances,
    }
}

/// How many may be missing: rounds down, and nothing is forced where it comes to 0 (Argo Rollouts'
/// `MaxUnavailable` for blue-green). Its surge is always 0.
#[must_use]
pub fn unavailable_max(max_unavailable: Amount, instances: u32) -> u32 {
    max_unavailable.of(instances, Rounding::Down).min(instances)
}
