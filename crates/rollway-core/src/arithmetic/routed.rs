//! A canary behind a router: its share is the router's, so its count only has to carry it (Argo
//! Rollouts' traffic routed canary, `utils/replicaset/canary.go`).

use super::{Count, Counts};

/// Instances that a canary of `weight` percent has: rounds up, so that a weight above 0 has one
/// (Argo Rollouts, routed canary).
#[must_use]
pub fn canary_instances(instances: u32, weight: u32) -> u32 {
    weight_instances(instances, weight, 100)
}

/// Instances that carry `weight` of `weight_max`; rounds up (Argo Rollouts'
/// `trafficWeightToReplicas`).
#[must_use]
pub fn weight_instances(instances: u32, weight: u32, weight_max: u32) -> u32 {
    let product = u64::from(instances) * u64::from(weight);
    u32::try_from(product.div_ceil(u64::from(weight_max.max(1)))).unwrap_or(u32::MAX)
}

/// The weight in percent that `ready` of `instances` can carry: rounds down, at most 100 (Argo
/// Rollouts' weight of a promotion in full).
#[must_use]
pub fn carried_weight(ready: u32, instances: u32) -> u32 {
    let carried = 100 * u64::from(ready) / u64::from(instances.max(1));
    carried.min(100) as u32
}

/// At least `least` where there is one at all, at most `instances` (`minPodsPerReplicaSet`).
#[must_use]
pub fn at_least(count: u32, least: u32, instances: u32) -> u32 {
    if count == 0 { 0 } else { count.max(least.min(instances)) }
}

/// What is wanted of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// That many instances, whatever the weight.
    Instances(u32),
    /// Enough for that many percent.
    Weight(u32),
}

/// A step as far as the counts know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The weight from here on (`setWeight`).
    Weight(u32),
    /// The canary's size, apart from its weight (`setCanaryScale`).
    Scale(Wish),
    /// The size follows the weight again (`matchTrafficWeight`).
    MatchWeight,
    /// Anything else.
    Other,
}

/// What brought a canary to where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// It goes its steps.
    Forward,
    /// It is promoted in full, or there is nothing else that serves.
    Full,
    /// It is aborted; a size of its own is forgotten.
    Aborted,
    /// It is aborted, and the canary is to stay as it is.
    AbortedAndKept,
}

/// What is wanted at a step: the last size or weight up to it; after the last step everything
/// (Argo Rollouts' `GetCanaryReplicasOrWeight`; sizes are for routed canaries).
#[must_use]
pub fn wish(steps: &[Step], current: usize, course: Course) -> Wish {
    let done = steps.get(..=current).unwrap_or_default();
    let scale = done.iter().rev().find_map(|step| match step {
        Step::Scale(wish) => Some(Some(*wish)),
        Step::MatchWeight => Some(None),
        Step::Weight(_) | Step::Other => None,
    });
    let scale = scale.flatten();
    let weight = match course {
        Course::Full => return Wish::Weight(100),
        Course::Aborted => return Wish::Weight(0),
        Course::AbortedAndKept => 0,
        Course::Forward if done.is_empty() => 100,
        Course::Forward => done
            .iter()
            .rev()
            .find_map(|step| match step {
                Step::Weight(weight) => Some(*weight),
                Step::Scale(_) | Step::MatchWeight | Step::Other => None,
            })
            .unwrap_or(0),
    };
    scale.unwrap_or(Wish::Weight(weight))
}

/// The weights that the router has in effect, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weights {
    /// Of the new release.
    pub canary: u32,
    /// Of the release that serves.
    pub stable: u32,
}

/// The size of a routed canary beside a stable release that stays whole. `least` is the floor of
/// a release that has any instance.
#[must_use]
pub fn counts(instances: u32, wish: Wish, least: u32) -> Counts {
    let canary = match wish {
        Wish::Instances(count) => count,
        Wish::Weight(weight) => at_least(canary_instances(instances, weight), least, instances),
    };
    Counts { canary, stable: instances }
}

/// The sizes when the stable release shrinks as the canary grows (`dynamicStableScale`): each is
/// large enough for the weight that is wanted and, where it is to shrink, for that in effect.
#[must_use]
pub fn dynamic_counts(
    instances: u32,
    wish: Wish,
    least: u32,
    in_effect: Weights,
    course: Course,
) -> Counts {
    let mut canary = counts(instances, wish, least).canary;
    let weight = match wish {
        Wish::Instances(_) => 0,
        Wish::Weight(weight) => weight,
    };
    let wanted = canary_instances(instances, 100 - weight.min(100));
    let stable = wanted.max(canary_instances(instances, in_effect.stable));
    if matches!(course, Course::Aborted | Course::AbortedAndKept) {
        canary = canary.max(canary_instances(instances, in_effect.canary));
    }
    let floor = |count| at_least(count, least, instances);
    Counts { canary: floor(canary), stable: floor(stable) }
}

/// How a canary that is aborted gives back its traffic where the stable release had shrunk: the
/// last step whose size is below what the stable release still lacks, else nothing. While the
/// canary is drained by its size it also holds the weight up, unless a delay lets it stay as it
/// is (Argo Rollouts' step-down of `dynamicStableScale`).
#[must_use]
pub fn step_down_weight(
    instances: u32,
    weights: &[u32],
    canary: Count,
    stable: Count,
    drain: Drain,
) -> u32 {
    let lacking = instances.saturating_sub(stable.available);
    let held = match drain {
        Drain::BySize => lacking.max(canary.available),
        Drain::AfterDelay => lacking,
    };
    let below = |weight: &&u32| canary_instances(instances, **weight) < held;
    weights.iter().rev().find(below).copied().unwrap_or(0)
}

/// When the instances of an aborted canary go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// With its weight.
    BySize,
    /// All at once after a delay that was asked for.
    AfterDelay,
}
