//! A canary without a router: the share of the new release is its share of the instances (Argo
//! Rollouts' basic canary, `utils/replicaset/canary.go`).

use super::{Count, Counts, whole};

/// The counts that come nearest to `weight` of `weight_max`. Together they are `instances`, or one
/// more where surge allows; a weight between the ends never leaves either release without an
/// instance where there are two (Argo Rollouts' `approximateWeightedCanaryStableReplicaCounts`).
#[must_use]
pub fn weighted_counts(instances: u32, weight: u32, weight_max: u32, surge: u32) -> Counts {
    if instances == 0 || weight_max == 0 {
        return Counts::default();
    }
    let (n, w, whole_weight) = (u64::from(instances), u64::from(weight), u64::from(weight_max));
    let above = (n * w).div_ceil(whole_weight);
    let below = n * w / whole_weight;
    // Half way between two counts the larger one is taken.
    let is_tied = |total: u64| 2 * (total * w % whole_weight) == whole_weight;
    let may_be_none = weight == 0 || weight == weight_max || (instances == 1 && surge == 0);
    let may_be_below = below != 0 || may_be_none;
    let mut options = Vec::with_capacity(4);
    if above < n || may_be_none {
        options.push((above, n));
    }
    if !is_tied(n) && may_be_below {
        options.push((below, n));
    }
    if surge > 0 {
        options.push((above, n + 1));
        if !is_tied(n + 1) && may_be_below {
            options.push((below, n + 1));
        }
    }
    let mut best = options.first().copied().unwrap_or((0, n));
    // |c·W/total − w| without fractions: the products are compared instead.
    let off = |(canary, total): (u64, u64)| (canary * whole_weight).abs_diff(w * total);
    for option in options {
        if u128::from(off(option)) * u128::from(best.1)
            < u128::from(off(best)) * u128::from(option.1)
        {
            best = option;
        }
    }
    let canary = whole(best.0 as i64);
    Counts { canary, stable: whole(best.1 as i64 - best.0 as i64) }
}

/// The bounds within which a canary without a router moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many instances the service has.
    pub instances: u32,
    /// Beyond that.
    pub surge: u32,
    /// Fewer than that.
    pub unavailable: u32,
}

/// The releases of a canary as they are; absent = there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Releases {
    /// The new one.
    pub canary: Option<Count>,
    /// The one that serves.
    pub stable: Option<Count>,
    /// The counts of all older ones together.
    pub older: u32,
}

/// How many of a release count when something is to be stopped: what is available, unless its
/// availability is not minded, and never more than it is to have (Argo Rollouts'
/// `GetReplicasForScaleDown`).
#[must_use]
pub fn counted(release: Option<Count>, ignores_availability: Availability) -> u32 {
    let Some(Count { spec, available }) = release else { return 0 };
    match ignores_availability {
        Availability::Minded => available.min(spec),
        Availability::Ignored => spec,
    }
}

/// Whether instances that are not available count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// They do not.
    Minded,
    /// They do: the release is on its way out, and may be broken.
    Ignored,
}

/// What one round makes of the two releases on the way to `target`: the stable one grows first,
/// older releases are drained before anything shrinks, and what shrinks leaves enough available
/// (Argo Rollouts' `CalculateReplicaCountsForBasicCanary`).
#[must_use]
pub fn step(bounds: Bounds, target: Counts, releases: Releases) -> Counts {
    let Releases { canary, stable, older } = releases;
    let spec = |release: Option<Count>| release.map_or(0, |count| i64::from(count.spec));
    let most = i64::from(bounds.instances) + i64::from(bounds.surge);
    let least = i64::from(bounds.instances.saturating_sub(bounds.unavailable));
    let mut room = (most - spec(canary) - spec(stable) - i64::from(older)).max(0);
    let mut grown = |release: Option<Count>, target: u32| {
        let missing = release.map_or(0, |_| i64::from(target) - spec(release));
        let more = missing.clamp(0, room);
        room -= more;
        spec(release) + more
    };
    let new_stable = grown(stable, target.stable);
    let new_canary = grown(canary, target.canary);
    let unchanged = Counts { canary: whole(new_canary), stable: whole(new_stable) };
    if older > 0 {
        return unchanged;
    }
    let increases = i64::from(target.canary) >= spec(canary);
    let (of_canary, of_stable) = match increases {
        true => (Availability::Minded, Availability::Ignored),
        false => (Availability::Ignored, Availability::Minded),
    };
    let budget =
        i64::from(counted(canary, of_canary)) + i64::from(counted(stable, of_stable)) - least;
    if budget <= 0 {
        return unchanged;
    }
    let shrunk = |release: Option<Count>, target: u32, now: i64| {
        let is_surplus = spec(release) > i64::from(target);
        if is_surplus { i64::from(target).max(spec(release) - budget) } else { now }
    };
    let available = |release: Option<Count>| release.map_or(0, |count| i64::from(count.available));
    if increases {
        let drained = (shrunk(stable, target.stable, new_stable), available(stable));
        let (stable, canary) = fit(drained, (new_canary, available(canary)), most, least);
        Counts { canary: whole(canary), stable: whole(stable) }
    } else {
        let drained = (shrunk(canary, target.canary, new_canary), available(canary));
        let (canary, stable) = fit(drained, (new_stable, available(stable)), most, least);
        Counts { canary: whole(canary), stable: whole(stable) }
    }
}

/// Two counts with their available ones, cut to fit: the other side gives way first, gets back
/// what availability needs, and the drained side gives the rest (`adjustReplicaWithinLimits`).
fn fit(drained: (i64, i64), other: (i64, i64), most: i64, least: i64) -> (i64, i64) {
    let ((mut drained, drained_available), (mut other, other_available)) = (drained, other);
    other -= (drained + other - most).max(0);
    let available = drained_available.min(drained) + other_available.min(other);
    let lost = (other_available - other).max(0);
    other += lost.min((least - available).max(0));
    drained -= (drained + other - most).max(0);
    (drained, other)
}
