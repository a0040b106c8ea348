//! `canary`: a growing share of the traffic. The old release keeps all its instances until the new
//! one has the whole traffic, so going back is a change of weights only. A service without traffic
//! has no weights: there the share of the new release is its share of the instances.

use std::collections::BTreeMap;

use super::{Goal, HookPoint, Plan, Request, Slots, Split, Stage, goal, only, stage};
use crate::arithmetic::basic::weighted_counts;
use crate::arithmetic::canary_instances;
use crate::ids::ReleaseNumber;
use crate::plan::{Gate, Pace, Watch};
use crate::spec::{Analysis, Canary, CanaryStep, Judge, Source};
use crate::units::Millis;

/// The new release's share while the bake lasts: without a baseline beside it, nothing could be
/// judged any more.
const BAKE_WEIGHT: u32 = 95;

pub(super) fn plan(request: Request<'_>, from: ReleaseNumber, canary: &Canary) -> Plan {
    let mut plan = request.plan("canary");
    let n = request.instances;
    let has_traffic = request.spec.traffic.is_some();
    let pace = Pace::beside(&request.spec.update, n);
    let mut weight = 0;
    for step in &canary.steps {
        let (name, gate) = match step {
            CanaryStep::Weight(percent) => {
                weight = *percent;
                (format!("canary {weight} %"), None)
            }
            CanaryStep::Hold(time) => (format!("hold {time}"), Some(Gate::Hold(*time))),
            CanaryStep::Approve(what) => ("approve".to_owned(), Some(Gate::Approve(what.clone()))),
            CanaryStep::Analyse(by) => {
                plan.watches.push(Watch { stages: (0, 0), is_gate: true, by: (**by).clone() });
                ("analyse".to_owned(), Some(Gate::Analyse(plan.watches.len() - 1)))
            }
        };
        let (goal, pace) = match has_traffic {
            true => (at_weight(&request, from, weight), pace.clone()),
            false => by_count(&request, from, weight),
        };
        // A hold or an approval right after its weight is that stage's gate.
        match plan.stages.last_mut() {
            Some(last) if gate.is_some() && last.gate.is_none() && last.goal == goal => {
                last.gate = gate;
            }
            _ => plan.stages.push(Stage { gate, ..stage(&name, goal, &pace) }),
        }
    }
    if has_traffic && canary.bake > Millis::ZERO {
        let gate = Some(Gate::Hold(canary.bake));
        let goal = at_weight(&request, from, BAKE_WEIGHT.max(weight.min(99)));
        plan.stages.push(Stage { gate, ..stage("bake", goal, &pace) });
    }
    watch(&mut plan, &canary.analysis, has_traffic);
    if has_traffic {
        promote(&mut plan, &request, from, &pace);
    } else {
        let slots = [(request.to, Slots::Exactly(n))];
        let promoted = Goal { settings: Some(request.to), ..goal(&slots, only(request.to)) };
        plan.stages.push(Stage {
            before: vec![HookPoint::BeforeSwitch],
            after: vec![HookPoint::AfterSwitch, HookPoint::AfterDeploy],
            ..stage("promote", promoted, &request.pace())
        });
    }
    if let Some(first) = plan.stages.first_mut() {
        first.before.insert(0, HookPoint::BeforeDeploy);
    }
    plan
}

/// Says which stages each judgement watches, and adds the one over all steps. Without traffic
/// there is nothing that the proxy could count.
fn watch(plan: &mut Plan, over_all: &Analysis, has_traffic: bool) {
    for (place, stage) in plan.stages.iter().enumerate() {
        if let Some(Gate::Analyse(watch)) = stage.gate {
            plan.watches[watch].stages = (place, place);
        }
    }
    let source = match over_all.source {
        Source::EmbeddedProxy => has_traffic,
        Source::Prometheus(_) | Source::Http(_) | Source::Webhook(_) | Source::Command(_) => true,
    };
    if source && over_all.judge != Judge::None && !plan.stages.is_empty() {
        let stages = (0, plan.stages.len() - 1);
        plan.watches.push(Watch { stages, is_gate: false, by: over_all.clone() });
    }
}

/// All instances beside the old ones, the whole traffic, and then the old ones go.
fn promote(plan: &mut Plan, request: &Request<'_>, from: ReleaseNumber, pace: &Pace) {
    let n = request.instances;
    let both = [(from, Slots::Exactly(request.before)), (request.to, Slots::Exactly(n))];
    let promoted = Goal { settings: Some(request.to), ..goal(&both, only(request.to)) };
    plan.stages.push(Stage {
        before: vec![HookPoint::BeforeSwitch],
        after: vec![HookPoint::AfterSwitch],
        ..stage("promote", promoted, pace)
    });
    plan.stages.push(Stage { after: vec![HookPoint::AfterDeploy], ..request.retire(pace) });
}

fn at_weight(request: &Request<'_>, from: ReleaseNumber, weight: u32) -> Goal {
    let count = canary_instances(request.instances, weight);
    let slots = [(from, Slots::Exactly(request.before)), (request.to, Slots::Exactly(count))];
    Goal { settings: Some(from), ..goal(&slots, shares(from, request.to, weight)) }
}

/// The counts that come nearest to the weight, and the pace towards them. Where they are one more
/// than the service has, that one is of the surge.
fn by_count(request: &Request<'_>, from: ReleaseNumber, weight: u32) -> (Goal, Pace) {
    let mut pace = request.pace();
    let n = request.instances;
    let counts = weighted_counts(n, weight.min(100), 100, pace.surge);
    pace.surge -= (counts.canary + counts.stable - n).min(pace.surge);
    let slots =
        [(from, Slots::Exactly(counts.stable)), (request.to, Slots::Exactly(counts.canary))];
    let goal = goal(&slots, shares(from, request.to, weight));
    (Goal { settings: Some(from), ..goal }, pace)
}

fn shares(from: ReleaseNumber, to: ReleaseNumber, weight: u32) -> Split {
    Split::Weights(BTreeMap::from([(from, 100 - weight.min(100)), (to, weight.min(100))]))
}
