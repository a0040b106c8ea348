//! `blue_green`: all new instances beside the old ones, then one switch; the old ones stay for
//! `scale_down_delay`, and going back within it is a switch only.

use super::{Goal, HookPoint, Plan, Request, Slots, Stage, goal, only, stage};
use crate::ids::ReleaseNumber;
use crate::plan::{Gate, Pace};
use crate::spec::BlueGreen;
use crate::units::Millis;

pub(super) fn plan(request: Request<'_>, from: ReleaseNumber, settings: &BlueGreen) -> Plan {
    let mut plan = request.plan("blue_green");
    let n = request.instances;
    let pace = Pace::beside(&request.spec.update, n);
    let both = [(from, Slots::Exactly(request.before)), (request.to, Slots::Exactly(n))];
    let preview = Goal {
        settings: Some(from),
        preview: settings.preview.as_ref().map(|_| request.to),
        ..goal(&both, only(from))
    };
    let switched = Goal { settings: Some(request.to), ..goal(&both, only(request.to)) };
    let gate = (!settings.auto_promote).then(|| Gate::Approve(String::new()));
    plan.stages = vec![
        Stage { before: vec![HookPoint::BeforeDeploy], gate, ..stage("preview", preview, &pace) },
        Stage {
            before: vec![HookPoint::BeforeSwitch],
            after: vec![HookPoint::AfterSwitch],
            ..stage("switch", switched, &pace)
        },
    ];
    if settings.scale_down_delay == Millis::ZERO {
        plan.stages.push(request.retire(&pace));
    } else {
        plan.standby = Some(settings.scale_down_delay);
    }
    if let Some(last) = plan.stages.last_mut() {
        last.after.push(HookPoint::AfterDeploy);
    }
    plan
}
