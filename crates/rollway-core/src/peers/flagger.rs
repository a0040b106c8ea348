//! Flagger's analysis, tick by tick: weights, phases, readiness.
//!
//! What Flagger does, with its habits: failed checks only add up, a good check never takes one
//! away; a primary that is not ready while it is promoted gives all traffic to the canary.

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const ALL: u32 = 100;

/// How the canary's weight grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Weighting", into = "Weighting")]
pub struct Weights {
    given: Weighting,
}

/// The keys of Flagger's analysis that make [`Weights`], in percent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weighting {
    /// By how much it grows each time.
    pub step_weight: u32,
    /// From where on it is promoted; 0 is all.
    pub max_weight: u32,
    /// The weights themselves, in place of the two above.
    pub step_weights: Vec<u32>,
    /// By how much it shrinks each time while it is promoted; 0 is all at once.
    pub step_weight_promotion: u32,
    /// Whether the first step mirrors the traffic, and shifts none.
    pub mirror: bool,
}

impl TryFrom<Weighting> for Weights {
    type Error = Problem;

    fn try_from(given: Weighting) -> Result<Self, Problem> {
        let grows = given.step_weights.is_sorted_by(|one, other| one < other);
        if !grows || given.step_weights.first() == Some(&0) {
            let what = "expected weights that grow from step to step";
            return Err(Problem::new("step_weights", what).hint("such as: [1, 5, 20, 50]"));
        }
        if given.step_weights.is_empty() && given.step_weight == 0 {
            let what = "expected a weight above 0: with 0 the canary would never grow";
            return Err(Problem::new("step_weight", what).hint("or give step_weights"));
        }
        Ok(Self { given })
    }
}

impl From<Weights> for Weighting {
    fn from(weights: Weights) -> Self {
        weights.given
    }
}

impl Weights {
    /// From where on the canary is promoted.
    #[must_use]
    pub fn max(&self) -> u32 {
        match (self.given.step_weights.last(), self.given.max_weight) {
            (Some(last), _) => (*last).min(ALL),
            (None, 0) => ALL,
            (None, most) => most.min(ALL),
        }
    }

    /// The weight after this one; none where the canary is to be promoted.
    #[must_use]
    pub fn after(&self, canary: u32) -> Option<u32> {
        if canary >= self.max() {
            return None;
        }
        let listed = self.given.step_weights.iter().find(|weight| **weight > canary);
        let next = listed.copied().unwrap_or(canary.saturating_add(self.given.step_weight));
        Some(next.min(ALL))
    }

    /// All weights of the canary from nothing to the last before it is promoted.
    #[must_use]
    pub fn sequence(&self) -> Vec<u32> {
        std::iter::successors(Some(0), |canary| self.after(*canary)).collect()
    }
}

/// How the canary is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// By a weight that grows.
    Canary(Weights),
    /// So many checks with traffic for chosen requests.
    AbTesting(u32),
    /// So many checks without traffic, and then all of it at once.
    BlueGreen(u32),
}

/// Where a canary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The primary serves; nothing is tried.
    Initialized,
    /// A revision is being tried.
    Progressing,
    /// It is being copied to the primary.
    Promoting,
    /// Traffic is back at the primary; the canary is being ended.
    Finalising,
    /// The revision serves.
    Succeeded,
    /// It was given up.
    Failed,
}

/// All that Flagger remembers of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it is.
    pub phase: Phase,
    /// The share of the canary, in percent; the rest is the primary's.
    pub canary_weight: u32,
    /// Whether the canary gets copies of requests.
    pub is_mirrored: bool,
    /// How many checks of its strategy are done.
    pub iterations: u32,
    /// How many checks failed since the revision came.
    pub failed_checks: u32,
}

impl State {
    /// A service whose primary serves.
    pub const INITIALIZED: Self = Self {
        phase: Phase::Initialized,
        canary_weight: 0,
        is_mirrored: false,
        iterations: 0,
        failed_checks: 0,
    };
}

/// What a tick finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tick {
    /// The canary is suspended: nothing is looked at.
    Suspended,
    /// Another revision than the one that was tried.
    NewRevision,
    /// All is ready, and every check and metric is good.
    Good,
    /// A check failed, or a metric was bad or had no value.
    Bad,
    /// The canary is not ready, and may still become so.
    Waiting,
    /// The canary will not become ready.
    Stuck,
    /// The primary is not ready.
    PrimaryNotReady,
}

/// The state after a tick; `threshold` is how many failed checks give the revision up.
#[must_use]
pub fn after(state: State, tick: Tick, strategy: &Strategy, threshold: u32) -> State {
    let failed = State { phase: Phase::Failed, ..State::INITIALIZED };
    match (state.phase, tick) {
        (_, Tick::Suspended) => state,
        (Phase::Promoting | Phase::Finalising, Tick::PrimaryNotReady) => {
            State { canary_weight: ALL, ..failed }
        }
        (_, Tick::PrimaryNotReady) => state,
        (_, Tick::NewRevision) => State { phase: Phase::Progressing, ..State::INITIALIZED },
        (Phase::Initialized | Phase::Succeeded | Phase::Failed, _) => state,
        (Phase::Progressing, Tick::Stuck) => State { failed_checks: state.failed_checks, ..failed },
        (_, Tick::Waiting | Tick::Stuck) => state,
        (Phase::Progressing, Tick::Good | Tick::Bad) if state.failed_checks >= threshold => {
            State { failed_checks: state.failed_checks, ..failed }
        }
        (Phase::Progressing, Tick::Bad) => {
            State { failed_checks: state.failed_checks.saturating_add(1), ..state }
        }
        (Phase::Progressing, Tick::Good) => progressed(state, strategy),
        (Phase::Promoting, Tick::Good | Tick::Bad) => promoted(state, strategy),
        (Phase::Finalising, Tick::Good | Tick::Bad) => {
            State { phase: Phase::Succeeded, canary_weight: 0, ..state }
        }
    }
}

fn progressed(state: State, strategy: &Strategy) -> State {
    let promoting = State { phase: Phase::Promoting, is_mirrored: false, ..state };
    let iterations = state.iterations.saturating_add(1);
    match strategy {
        Strategy::Canary(weights) => {
            let is_first = state.canary_weight == 0 && !state.is_mirrored;
            if weights.given.mirror && is_first {
                return State { is_mirrored: true, ..state };
            }
            weights.after(state.canary_weight).map_or(promoting, |canary_weight| State {
                canary_weight,
                is_mirrored: false,
                ..state
            })
        }
        Strategy::AbTesting(checks) if state.iterations < *checks => {
            State { iterations, canary_weight: ALL, ..state }
        }
        Strategy::AbTesting(_) => promoting,
        Strategy::BlueGreen(checks) if state.iterations < *checks => State { iterations, ..state },
        Strategy::BlueGreen(checks) if state.iterations == *checks => {
            State { iterations, canary_weight: ALL, ..state }
        }
        Strategy::BlueGreen(_) => promoting,
    }
}

fn promoted(state: State, strategy: &Strategy) -> State {
    let step = match strategy {
        Strategy::Canary(weights) => weights.given.step_weight_promotion,
        Strategy::AbTesting(_) | Strategy::BlueGreen(_) => 0,
    };
    let canary_weight = if step == 0 { 0 } else { state.canary_weight.saturating_sub(step) };
    let phase = if canary_weight == 0 { Phase::Finalising } else { Phase::Promoting };
    State { phase, canary_weight, ..state }
}

/// What was seen of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seen {
    /// Whether its present spec was not yet taken up.
    pub is_generation_pending: bool,
    /// Wanted.
    pub wanted: u32,
    /// There.
    pub replicas: u32,
    /// Of the present spec.
    pub updated: u32,
    /// Available.
    pub available: u32,
    /// Whether its own progress deadline has passed.
    pub is_progress_deadline_exceeded: bool,
    /// How long it has had too few available replicas, in seconds; none if it has enough.
    pub unavailable_seconds: Option<u64>,
}

/// Whether a deployment is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it is.
    pub is_ready: bool,
    /// Whether it may still become so.
    pub is_retriable: bool,
    /// Why it is not.
    pub reason: Option<String>,
}

/// Whether a deployment is ready: at least `threshold` percent of its updated replicas are
/// available, and no old one is left. `deadline_seconds` is how long it may have too few.
#[must_use]
pub fn readiness(seen: &Seen, deadline_seconds: u64, threshold: u32) -> Readiness {
    let is_late = seen.unavailable_seconds.is_some_and(|seconds| seconds > deadline_seconds);
    let not_ready = |is_retriable: bool, reason: String| Readiness {
        is_ready: false,
        is_retriable,
        reason: Some(reason),
    };
    let Seen { wanted, replicas, updated, available, .. } = *seen;
    // Cut to a whole replica, as Flagger does.
    let enough = u64::from(updated) * u64::from(threshold) / 100;
    if seen.is_generation_pending {
        let reason = "the observed generation is older than the spec's generation";
        not_ready(true, reason.to_owned())
    } else if seen.is_progress_deadline_exceeded {
        not_ready(false, "the deployment exceeded its progress deadline".to_owned())
    } else if updated < wanted {
        not_ready(!is_late, format!("{updated} of {wanted} new replicas have been updated"))
    } else if replicas > updated {
        let old = replicas - updated;
        not_ready(!is_late, format!("{old} old replicas pending termination"))
    } else if u64::from(available) < enough {
        let reason = format!("{available} of {updated} updated replicas are available");
        not_ready(!is_late, reason)
    } else {
        Readiness { is_ready: true, is_retriable: true, reason: None }
    }
}
