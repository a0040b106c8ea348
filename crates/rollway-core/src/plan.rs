//! Plans: the ordered stages of a deployment, and the actions that carry them out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::arithmetic::routed::carried_weight;
use crate::ids::{InstanceId, ReleaseNumber, ServiceName};
use crate::spec::{Analysis, Order, Update};
use crate::units::{Amount, Millis};

/// The ordered stages of a deployment; made once, stored, never edited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The service.
    pub service: ServiceName,
    /// The release that served when the plan was made.
    pub from: Option<ReleaseNumber>,
    /// The release that is to serve; absent = none (the service goes down).
    pub to: Option<ReleaseNumber>,
    /// `rolling`, `blue_green`, `canary`, `recreate`; for people.
    pub strategy: String,
    /// How many instances the service should have at the end.
    pub instances: u32,
    /// How many it had when the plan was made; an undo goes back to that.
    pub instances_before: u32,
    /// The stages.
    pub stages: Vec<Stage>,
    /// The judgements, by the stages that they watch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watches: Vec<Watch>,
    /// After success `from` is kept running this long; absent = it is retired in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Millis>,
    /// Whether a failure is undone by itself; otherwise it pauses for the operator.
    pub automatic_rollback: bool,
}

/// One stage: a goal, the pace towards it, and the gates after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// A name for people: `canary 10 %`.
    pub name: String,
    /// What must be the case.
    pub goal: Goal,
    /// How fast.
    pub pace: Pace,
    /// What must hold before the next stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The hooks that must succeed before anything of this stage is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<HookPoint>,
    /// The hooks that run after the goal is reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<HookPoint>,
}

/// What must be the case at the end of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// How many instances each release has; a release that is not named has none.
    pub slots: BTreeMap<ReleaseNumber, Slots>,
    /// How the traffic is spread.
    pub split: Split,
    /// The release whose traffic settings (addresses, rules, limits) are in effect.
    pub settings: Option<ReleaseNumber>,
    /// The release that answers on the preview address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<ReleaseNumber>,
    /// Whether new requests are held meanwhile.
    #[serde(default)]
    pub hold_requests: bool,
}

/// How many instances a release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slots {
    /// That many.
    Exactly(u32),
    /// Those that serve: none is started, and none that is healthy is stopped.
    Keep,
}

/// How traffic is spread over releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Every ready instance gets the same.
    Capacity,
    /// Percentages that sum to 100.
    Weights(BTreeMap<ReleaseNumber, u32>),
    /// None: nothing serves.
    Nothing,
}

/// How fast a stage goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Instances beyond what is wanted.
    pub surge: u32,
    /// Instances fewer than wanted that may serve.
    pub unavailable: u32,
    /// At most so many being changed at once; 0 = no further bound.
    pub max_parallel: u32,
    /// Healthy for this long to count.
    pub min_healthy_time: Millis,
    /// Healthy this soon after the start.
    pub healthy_deadline: Millis,
    /// Progress at least this often.
    pub progress_deadline: Millis,
    /// So many instances may fail before the deployment does.
    pub failures_allowed: u32,
}

impl Pace {
    /// The pace that `update` means for `instances`. Surge rounds up, unavailable rounds down;
    /// both 0 means unavailable 1 (Kubernetes' `ResolveFenceposts`).
    #[must_use]
    pub fn of(update: &Update, instances: u32) -> Self {
        let (mut surge, mut unavailable) =
            crate::arithmetic::fenceposts(update.max_surge, update.max_unavailable, instances);
        if update.order == Order::StopFirst && surge > 0 {
            surge = 0;
            unavailable = unavailable.max(1).min(instances.max(1));
        }
        let allowed = (update.max_failure_ratio * f64::from(instances)).floor();
        Self {
            surge,
            unavailable,
            max_parallel: update.max_parallel,
            min_healthy_time: update.min_healthy_time,
            healthy_deadline: update.healthy_deadline,
            progress_deadline: update.progress_deadline,
            failures_allowed: allowed as u32,
        }
    }

    /// For goals that name both releases in full: nothing beyond the goal, nothing less.
    #[must_use]
    pub fn beside(update: &Update, instances: u32) -> Self {
        Self { surge: 0, unavailable: 0, ..Self::of(update, instances) }
    }

    /// All at once, for going back.
    #[must_use]
    pub fn at_once(update: &Update, instances: u32) -> Self {
        let all = Amount::Count(instances.max(1));
        let update = Update { max_surge: all, max_parallel: 0, ..update.clone() };
        Self { failures_allowed: instances, ..Self::of(&update, instances) }
    }
}

/// What must hold before the next stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// That long.
    Hold(Millis),
    /// A person's word; the text says what to look at.
    Approve(String),
    /// A judgement, by its place among the plan's watches.
    Analyse(usize),
}

/// A judgement of the new release beside the old one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The stages that it watches: the first, and the last.
    pub stages: (usize, usize),
    /// Whether a stage's gate waits for it; else it only rolls back, or holds at its deadline.
    pub is_gate: bool,
    /// How it is judged.
    pub by: Analysis,
}

/// The turning points that hooks hang on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// Before the first instance of the new release starts.
    BeforeDeploy,
    /// Before the new release gets all the traffic.
    BeforeSwitch,
    /// After that.
    AfterSwitch,
    /// After the deployment completed.
    AfterDeploy,
    /// After it was rolled back.
    OnRollback,
}

/// One idempotent act upon the world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Ensure that these run.
    Start(Vec<InstanceId>),
    /// Ensure that the proxy uses this.
    Route(Route),
    /// Ensure that these, which get no new requests, are drained, stopped and removed.
    Retire(Vec<InstanceId>),
    /// Run the hook.
    Hook(HookPoint),
}

/// What the proxy should do for a service; addresses are filled in by the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The share of each release: percentages that sum to 100; all 0 = by capacity.
    pub weights: BTreeMap<ReleaseNumber, u32>,
    /// The instances that get new requests.
    pub members: Vec<InstanceId>,
    /// The release whose traffic settings are in effect.
    pub settings: Option<ReleaseNumber>,
    /// The release that testers and growing weights are about.
    pub newest: Option<ReleaseNumber>,
    /// The release that answers on the preview address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<ReleaseNumber>,
    /// Whether new requests are held.
    pub hold_requests: bool,
}

impl Route {
    /// The split that this is.
    #[must_use]
    pub fn split(&self) -> Split {
        if self.members.is_empty() {
            return Split::Nothing;
        }
        match self.weights.values().all(|weight| *weight == 0) {
            true => Split::Capacity,
            false => Split::Weights(self.weights.clone()),
        }
    }

    /// The share of each release in percent, rounded down: its weight or, by capacity, its part of
    /// the members.
    #[must_use]
    pub fn shares(&self) -> BTreeMap<ReleaseNumber, u32> {
        if let Split::Weights(weights) = self.split() {
            return weights;
        }
        let mut shares = BTreeMap::new();
        for id in &self.members {
            *shares.entry(id.release).or_default() += 1;
        }
        let all: u32 = shares.values().sum();
        shares.values_mut().for_each(|share| *share = carried_weight(*share, all));
        shares
    }
}

/// What a deployment waits for; nothing waits without saying so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// For what, in words.
    pub what: String,
    /// Since when, on the service's clock.
    pub since: Millis,
    /// Until when at the latest; absent = until a person says so.
    pub until: Option<Millis>,
}

impl Plan {
    /// The same without the hooks that a spec does not have.
    #[must_use]
    pub fn with_hooks_of(mut self, hooks: &crate::spec::Hooks) -> Self {
        for stage in &mut self.stages {
            stage.before.retain(|point| point.hook(hooks).is_some());
            stage.after.retain(|point| point.hook(hooks).is_some());
        }
        self
    }
}

impl HookPoint {
    /// The hook that hangs on this point.
    #[must_use]
    pub fn hook(self, hooks: &crate::spec::Hooks) -> Option<&crate::spec::Hook> {
        match self {
            Self::BeforeDeploy => hooks.before_deploy.as_ref(),
            Self::BeforeSwitch => hooks.before_switch.as_ref(),
            Self::AfterSwitch => hooks.after_switch.as_ref(),
            Self::AfterDeploy => hooks.after_deploy.as_ref(),
            Self::OnRollback => hooks.on_rollback.as_ref(),
        }
    }
}

impl Goal {
    /// The goal in words: `r1 x3 90 %, r2 x1 10 %`.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = String::new();
        for (release, slots) in &self.slots {
            if !text.is_empty() {
                text.push_str(", ");
            }
            let count = match slots {
                Slots::Exactly(count) => format!("x{count}"),
                Slots::Keep => "as it is".to_owned(),
            };
            write!(text, "{release} {count}").expect("a String takes every write");
            if let Split::Weights(weights) = &self.split {
                let weight = weights.get(release).copied().unwrap_or(0);
                write!(text, " {weight} %").expect("a String takes every write");
            }
        }
        if text.is_empty() {
            text.push_str("nothing runs");
        }
        text
    }
}

impl Stage {
    /// The goal and the gates in words.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = self.goal.words();
        match &self.gate {
            None => Ok(()),
            Some(Gate::Hold(time)) => write!(text, "; hold {time}"),
            Some(Gate::Approve(what)) if what.is_empty() => write!(text, "; wait for promote"),
            Some(Gate::Approve(what)) => write!(text, "; wait for promote ({what})"),
            Some(Gate::Analyse(_)) => write!(text, "; wait for the judge"),
        }
        .expect("a String takes every write");
        text
    }
}
