//! How a change goes: each strategy turns a target release into the ordered stages of a plan.

mod blue_green;
mod canary;
mod recreate;
mod rolling;

use std::collections::BTreeMap;

use crate::ids::{ReleaseNumber, ServiceName};
use crate::mutant::{self, Mutant};
use crate::plan::{Goal, HookPoint, Pace, Plan, Slots, Split, Stage};
use crate::spec::{Spec, Strategy};
use crate::units::Millis;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The spec of the release that is to serve.
    pub spec: &'a Spec,
    /// The release that serves now.
    pub from: Option<ReleaseNumber>,
    /// The release that is to serve.
    pub to: ReleaseNumber,
    /// How many instances the service is to have.
    pub instances: u32,
    /// How many it has had.
    pub before: u32,
}

/// The plan of a deployment by the spec's own strategy. A first deployment has nothing to compare
/// with or to switch from, so it is one stage whatever the strategy.
#[must_use]
pub fn deploy(request: Request<'_>) -> Plan {
    let Some(from) = request.from.filter(|from| *from != request.to) else {
        return rolling::plan(request, "start");
    };
    match &request.spec.strategy {
        Strategy::Rolling => rolling::plan(request, "roll"),
        Strategy::Canary(canary) => canary::plan(request, from, canary),
        Strategy::BlueGreen(blue_green) => blue_green::plan(request, from, blue_green),
        Strategy::Recreate => recreate::plan(request),
    }
}

/// The plan of a change to the same spec's instances, one by one: restart, scale, up.
#[must_use]
pub fn roll(request: Request<'_>, name: &str) -> Plan {
    rolling::plan(request, name)
}

/// The plan to go back to a release: all its instances beside the present ones, then one switch.
/// Where they still run it is the switch only.
#[must_use]
pub fn back(request: Request<'_>) -> Plan {
    let Some(from) = request.from.filter(|from| *from != request.to) else {
        return rolling::plan(request, "start");
    };
    if matches!(request.spec.strategy, Strategy::Recreate) {
        return recreate::plan(request);
    }
    let mut plan = request.plan("rollback");
    let pace = Pace::beside(&request.spec.update, request.instances);
    let n = request.instances;
    let both = [(from, Slots::Keep), (request.to, Slots::Exactly(n))];
    let ready = Goal { settings: Some(from), ..goal(&both, only(from)) };
    let switched = Goal { settings: Some(request.to), ..goal(&both, only(request.to)) };
    plan.stages = vec![
        Stage { before: vec![HookPoint::BeforeDeploy], ..stage("start", ready, &pace) },
        Stage {
            before: vec![HookPoint::BeforeSwitch],
            after: vec![HookPoint::AfterSwitch],
            ..stage("switch", switched, &pace)
        },
        Stage { after: vec![HookPoint::AfterDeploy], ..request.retire(&pace) },
    ];
    plan
}

/// The plan to stop everything.
#[must_use]
pub fn down(request: Request<'_>) -> Plan {
    let mut plan = request.plan("down");
    plan.to = None;
    plan.instances = 0;
    plan.automatic_rollback = false;
    let nothing = goal(&[], Split::Nothing);
    plan.stages = vec![stage("stop", nothing, &Pace::at_once(&request.spec.update, 0))];
    plan
}

/// The plan to undo a deployment: traffic first, then the instances. `ready` says how many healthy
/// instances the release to go back to still has.
#[must_use]
pub fn undo(failed: &Plan, spec: &Spec, ready: u32) -> Plan {
    undo_from(failed, spec, ready, &Split::Capacity)
}

/// The same where the traffic is spread like `now`: while the old release is being restored, the
/// new one gets no more than it has.
#[must_use]
pub fn undo_from(failed: &Plan, spec: &Spec, ready: u32, now: &Split) -> Plan {
    let mut plan = failed.clone();
    plan.standby = None;
    plan.watches.clear();
    plan.automatic_rollback = false;
    // Nothing is new any more: no release is favoured by testers or by a growing weight.
    (plan.from, plan.to) = (failed.from, failed.from);
    // The request that failed to raise the count is undone to the count that was.
    if !mutant::is(Mutant::UndoKeepsCount) {
        plan.instances = failed.instances_before;
    }
    let n = plan.instances;
    let pace = Pace {
        failures_allowed: n,
        min_healthy_time: Millis::ZERO,
        max_parallel: 0,
        ..Pace::beside(&spec.update, n)
    };
    let Some(old) = failed.from else {
        plan.stages = vec![stage("clear", goal(&[], Split::Nothing), &pace)];
        return plan;
    };
    let alone = Goal { settings: Some(old), ..goal(&[(old, Slots::Exactly(n))], only(old)) };
    if plan.strategy == "recreate" {
        let nothing =
            Goal { settings: Some(old), hold_requests: true, ..goal(&[], Split::Nothing) };
        let start = Stage { after: vec![HookPoint::OnRollback], ..stage("start", alone, &pace) };
        plan.stages = vec![stage("stop", nothing, &pace), start];
        return plan;
    }
    let mut both = vec![(old, Slots::Exactly(n))];
    both.extend(failed.to.filter(|to| *to != old).map(|to| (to, Slots::Keep)));
    let traffic = Goal { settings: Some(old), ..goal(&both, only(old)) };
    plan.stages.clear();
    if ready < n && !mutant::is(Mutant::UndoWithoutRestore) {
        let split = match now {
            Split::Nothing => only(old),
            Split::Capacity | Split::Weights(_) => now.clone(),
        };
        let restore = Goal { split, ..traffic.clone() };
        plan.stages.push(stage("restore", restore, &pace));
    }
    plan.stages.push(stage("traffic back", traffic, &pace));
    let pace = Pace { surge: failed.instances, ..pace };
    let retire = Stage { after: vec![HookPoint::OnRollback], ..stage("retire", alone, &pace) };
    plan.stages.push(retire);
    plan
}

/// The plan that a service without a deployment is held to.
#[must_use]
pub fn standing(request: Request<'_>, standby: Option<ReleaseNumber>) -> Plan {
    let mut plan = request.plan("standing");
    let mut slots = vec![(request.to, Slots::Exactly(request.instances))];
    slots.extend(standby.map(|old| (old, Slots::Keep)));
    let split = if standby.is_some() { only(request.to) } else { Split::Capacity };
    let goal = Goal { settings: Some(request.to), ..goal(&slots, split) };
    let pace = Pace { failures_allowed: u32::MAX, ..request.pace() };
    plan.stages = vec![stage("serve", goal, &pace)];
    plan
}

impl Request<'_> {
    fn plan(&self, strategy: &str) -> Plan {
        Plan {
            service: self.service().clone(),
            from: self.from,
            to: Some(self.to),
            strategy: strategy.to_owned(),
            instances: self.instances,
            instances_before: self.before,
            stages: Vec::new(),
            watches: Vec::new(),
            standby: None,
            automatic_rollback: self.spec.rollback.automatic,
        }
    }

    fn service(&self) -> &ServiceName {
        &self.spec.service
    }

    fn pace(&self) -> Pace {
        Pace::of(&self.spec.update, self.instances)
    }

    /// The last stage of those that ran both releases. One that dies now is replaced while others
    /// are still to go, so there is room for as many as there were: without it neither the new one
    /// could start nor, as long as they are needed, the others go.
    fn retire(&self, pace: &Pace) -> Stage {
        let pace = &Pace { surge: self.before, ..pace.clone() };
        let slots = [(self.to, Slots::Exactly(self.instances))];
        let goal = Goal { settings: Some(self.to), ..goal(&slots, only(self.to)) };
        stage("retire", goal, pace)
    }
}

fn stage(name: &str, goal: Goal, pace: &Pace) -> Stage {
    let (before, after) = (Vec::new(), Vec::new());
    Stage { name: name.to_owned(), goal, pace: pace.clone(), gate: None, before, after }
}

fn goal(slots: &[(ReleaseNumber, Slots)], split: Split) -> Goal {
    Goal {
        slots: slots.iter().copied().collect(),
        split,
        settings: None,
        preview: None,
        hold_requests: false,
    }
}

fn only(release: ReleaseNumber) -> Split {
    Split::Weights(BTreeMap::from([(release, 100)]))
}
