//! `recreate`: all old instances stop, then the new ones start; requests are held meanwhile.

use super::{Goal, HookPoint, Plan, Request, Slots, Split, Stage, goal, stage};
use crate::plan::Pace;

pub(super) fn plan(request: Request<'_>) -> Plan {
    let mut plan = request.plan("recreate");
    let pace = Pace {
        failures_allowed: request.pace().failures_allowed,
        ..Pace::at_once(&request.spec.update, request.instances)
    };
    // Requests are held by the address that they came in on, so the old settings stay for now.
    let stopped = Goal {
        settings: request.from.or(Some(request.to)),
        hold_requests: true,
        ..goal(&[], Split::Nothing)
    };
    let serving = Goal {
        settings: Some(request.to),
        ..goal(&[(request.to, Slots::Exactly(request.instances))], Split::Capacity)
    };
    plan.stages = vec![
        Stage {
            before: vec![HookPoint::BeforeDeploy, HookPoint::BeforeSwitch],
            ..stage("stop", stopped, &pace)
        },
        Stage {
            after: vec![HookPoint::AfterSwitch, HookPoint::AfterDeploy],
            ..stage("start", serving, &pace)
        },
    ];
    plan
}
