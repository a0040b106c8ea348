//! `canary`: a growing share of the traffic. The old release keeps all its instances until the new
//! one has the whole traffic, so going back is a change of weights only.

use std::collections::BTreeMap;

use super::{Goal, HookPoint, Plan, Request, Slots, Split, Stage, goal, only, stage};
use crate::arithmetic::canary_instances;
use crate::ids::ReleaseNumber;
use crate::plan::{Gate, Pace};
use crate::spec::{Canary, CanaryStep};

pub(super) fn plan(request: Request<'_>, from: ReleaseNumber, canary: &Canary) -> Plan {
    let mut plan = request.plan("canary");
    let n = request.instances;
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
        };
        let goal = at_weight(&request, from, weight);
        // A hold or an approval right after its weight is that stage's gate.
        match plan.stages.last_mut() {
            Some(last) if gate.is_some() && last.gate.is_none() && last.goal == goal => {
                last.gate = gate;
            }
            _ => plan.stages.push(Stage { gate, ..stage(&name, goal, &pace) }),
        }
    }
    let both = [(from, Slots::Exactly(request.before)), (request.to, Slots::Exactly(n))];
    let promoted = Goal { settings: Some(request.to), ..goal(&both, only(request.to)) };
    plan.stages.push(Stage {
        before: vec![HookPoint::BeforeSwitch],
        after: vec![HookPoint::AfterSwitch],
        ..stage("promote", promoted, &pace)
    });
    plan.stages.push(Stage { after: vec![HookPoint::AfterDeploy], ..request.retire(&pace) });
    if let Some(first) = plan.stages.first_mut() {
        first.before.insert(0, HookPoint::BeforeDeploy);
    }
    plan
}

fn at_weight(request: &Request<'_>, from: ReleaseNumber, weight: u32) -> Goal {
    let count = canary_instances(request.instances, weight);
    let slots = [(from, Slots::Exactly(request.before)), (request.to, Slots::Exactly(count))];
    let weights = BTreeMap::from([(from, 100 - weight.min(100)), (request.to, weight.min(100))]);
    Goal { settings: Some(from), ..goal(&slots, Split::Weights(weights)) }
}
