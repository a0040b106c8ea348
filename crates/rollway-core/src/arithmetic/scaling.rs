//! Another number of instances in the middle of a rollout: each release keeps its proportion
//! (Kubernetes' proportional scaling, `sync.go`).

use std::cmp::Reverse;

use super::whole;

/// A release that is to keep its proportion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// How many it has.
    pub size: u32,
    /// How many are available.
    pub available: u32,
    /// How many releases are newer.
    pub age: u32,
    /// Whether it is the one that is being rolled out.
    pub is_new: bool,
    /// What was wanted of the service when it got its size.
    pub wanted_then: u32,
    /// The most that all releases might have had when it got its size; absent or 0 = not known.
    pub most_then: Option<u32>,
}

/// The change that keeps a release's proportion: rounded half away from zero. `running` stands in
/// where the most of that time is not known (Kubernetes' `getReplicaSetFraction`).
#[must_use]
pub fn fraction(instances: u32, surge: u32, running: u32, share: &Share) -> i64 {
    let size = i64::from(share.size);
    if instances == 0 {
        return -size;
    }
    let then = i64::from(share.most_then.filter(|most| *most > 0).unwrap_or(running));
    if then == 0 {
        return 0;
    }
    let product = size * (i64::from(instances) + i64::from(surge));
    (2 * product + then) / (2 * then) - size
}

/// The sizes of all releases after the service's number changed, in the order given (Kubernetes'
/// `scale`).
#[must_use]
pub fn proportional(instances: u32, surge: u32, running: u32, shares: &[Share]) -> Vec<u32> {
    let mut sizes: Vec<u32> = shares.iter().map(|share| share.size).collect();
    if let Some(only) = active_or_latest(shares) {
        sizes[only] = instances;
        return sizes;
    }
    let is_saturated = |share: &Share| {
        let is_full = [share.size, share.wanted_then, share.available];
        share.is_new && is_full == [instances; 3]
    };
    if shares.iter().any(is_saturated) {
        return shares.iter().map(|share| if share.is_new { share.size } else { 0 }).collect();
    }
    let most = if instances == 0 { 0 } else { i64::from(instances) + i64::from(surge) };
    let total: i64 = shares.iter().map(|share| i64::from(share.size)).sum();
    let missing = most - total;
    let mut order: Vec<usize> = (0..shares.len()).filter(|i| shares[*i].size > 0).collect();
    // The largest first; then the newest when it grows, the oldest when it shrinks.
    order.sort_by_key(|i| {
        let age = i64::from(shares[*i].age);
        (Reverse(shares[*i].size), if missing > 0 { age } else { -age })
    });
    let mut left = missing;
    let mut wanted: Vec<i64> = shares.iter().map(|share| i64::from(share.size)).collect();
    for i in &order {
        let change = fraction(instances, surge, running, &shares[*i]);
        let change = if missing > 0 { change.min(left) } else { change.max(left) };
        let change = if left == 0 { 0 } else { change };
        left -= change;
        wanted[*i] += change;
    }
    if let Some(largest) = order.first() {
        wanted[*largest] += left;
    }
    wanted.into_iter().map(whole).collect()
}

/// The one release that has instances; where none has, the newest.
fn active_or_latest(shares: &[Share]) -> Option<usize> {
    let mut active = (0..shares.len()).filter(|i| shares[*i].size > 0);
    match (active.next(), active.next()) {
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) => None,
        (None, _) => (0..shares.len()).min_by_key(|i| (!shares[*i].is_new, shares[*i].age)),
    }
}
