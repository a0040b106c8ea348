//! `rolling`: instance by instance, within the pace. One stage, however many instances.

use super::{Goal, HookPoint, Plan, Request, Slots, Split, Stage, goal, stage};

pub(super) fn plan(request: Request<'_>, name: &str) -> Plan {
    let mut plan = request.plan("rolling");
    let goal = Goal {
        settings: Some(request.to),
        ..goal(&[(request.to, Slots::Exactly(request.instances))], Split::Capacity)
    };
    plan.stages = vec![Stage {
        before: vec![HookPoint::BeforeDeploy, HookPoint::BeforeSwitch],
        after: vec![HookPoint::AfterSwitch, HookPoint::AfterDeploy],
        ..stage(name, goal, &request.pace())
    }];
    plan
}
