//! Who gets which share of the traffic when instances fail and come back.

use rollway_core::plan::Stage;

use super::*;

/// Healthy instances of the old and of the new release, three of each wanted.
#[derive(Debug, Clone, Copy)]
struct Healthy {
    old: u32,
    new: u32,
}

/// The weights that are decided on in a stage where `weights` and members are in effect now.
fn shares(plan: &Plan, stage: &Stage, healthy: Healthy, (old, new): (u32, u32)) -> (u32, u32) {
    let mut observed = Observed::default();
    let mut members = Vec::new();
    for (release, ready, weight) in [(OLD, healthy.old, old), (NEW, healthy.new, new)] {
        for slot in 0..3 {
            let id = InstanceId { release, slot };
            let mut instance = Instance::starting(Millis(0));
            instance.life = Life::Running;
            if slot < ready {
                instance.health = Health::Healthy(Millis(5));
            }
            observed.put(id, instance);
            // Whoever is healthy only since the last route is no member of it.
            if weight > 0 || old + new == 0 {
                members.push(id);
            }
        }
    }
    let weights = BTreeMap::from([(OLD, old), (NEW, new)]);
    let (settings, newest, preview) = (Some(OLD), None, None);
    let hold_requests = false;
    observed.set_route(Some(Route { weights, members, settings, newest, preview, hold_requests }));
    let (active, observed, now) = (None, &observed, Millis(10));
    let decision = converge(&Situation { plan, stage, active, observed, has_traffic: true, now });
    let Decision::Act(actions) = decision else { return (old, new) };
    let routes = actions.iter().find_map(|action| match action {
        Action::Route(route) => Some(&route.weights),
        Action::Start(_) | Action::Retire(_) | Action::Hook(_) => None,
    });
    let of = |release| routes.and_then(|weights| weights.get(&release)).copied().unwrap_or(0);
    (of(OLD), of(NEW))
}

fn preview(instances: u32, before: u32) -> Plan {
    let preview = Some("127.0.0.1:2".into());
    let scale_down_delay = Millis::ZERO;
    let blue_green = BlueGreen { preview, scale_down_delay, ..BlueGreen::default() };
    let spec = spec(Update::default(), Way::BlueGreen(blue_green));
    strategy::deploy(Request { spec: &spec, from: Some(OLD), to: NEW, instances, before })
}

#[test]
fn who_comes_back_takes_over_only_what_it_carries() {
    let plan = preview(3, 3);
    let stage = &plan.stages[0];
    let at = |old, now| shares(&plan, stage, Healthy { old, new: 3 }, now);
    // The old release has nobody: the new one helps out.
    assert_eq!(at(0, (100, 0)), (0, 100));
    // It comes back one by one, and goes again.
    assert_eq!(at(1, (0, 100)), (33, 67));
    assert_eq!(at(1, (33, 67)), (33, 67));
    assert_eq!(at(2, (33, 67)), (66, 34));
    assert_eq!(at(1, (66, 34)), (66, 34));
    assert_eq!(at(3, (66, 34)), (100, 0));
}

#[test]
fn a_preview_is_not_promoted_because_some_of_the_old_are_unwell() {
    let plan = preview(3, 3);
    let one = Healthy { old: 1, new: 3 };
    assert_eq!(shares(&plan, &plan.stages[0], one, (100, 0)), (100, 0));
}

#[test]
fn the_old_release_is_whole_with_as_many_as_it_had() {
    let plan = preview(9, 3);
    let whole = Healthy { old: 3, new: 3 };
    assert_eq!(shares(&plan, &plan.stages[0], whole, (0, 100)), (100, 0));
}

#[test]
fn going_back_takes_no_more_than_the_old_release_carries() {
    let spec = spec(Update::default(), Way::Rolling);
    let request = Request { spec: &spec, from: Some(OLD), to: NEW, instances: 3, before: 3 };
    let undo = strategy::undo(&strategy::deploy(request), &spec, 3);
    let back = &undo.stages[0];
    assert_eq!(back.name, "traffic back");
    let at = |old, new, now| shares(&undo, back, Healthy { old, new }, now);
    assert_eq!(at(1, 3, (0, 100)), (33, 67));
    // What went by capacity was half and half.
    assert_eq!(at(1, 3, (0, 0)), (50, 50));
    assert_eq!(at(3, 3, (33, 67)), (100, 0));
    // The new one keeps no more than it can carry, and what it has lost it gets no more.
    assert_eq!(at(2, 1, (0, 100)), (67, 33));
    assert_eq!(at(1, 3, (80, 20)), (80, 20));
}

/// An undo that is at its last stage, and an old instance that dies then: the new one, which serves
/// with it, can go only when it has been replaced.
#[test]
fn who_dies_while_the_others_go_is_replaced() {
    let spec = spec(Update::default(), Way::Rolling);
    let request = Request { spec: &spec, from: Some(OLD), to: NEW, instances: 2, before: 2 };
    let deploy = strategy::deploy(request);
    let switch = preview(2, 2);
    for plan in [strategy::undo(&deploy, &spec, 2), switch] {
        let (stays, goes) = if plan.to == Some(OLD) { (OLD, NEW) } else { (NEW, OLD) };
        let Some(stage) = plan.stages.iter().find(|stage| stage.name == "retire") else {
            panic!("{:?} has no such stage", plan.strategy);
        };
        let mut observed = Observed::default();
        for id in [(stays, 0), (goes, 0)].map(|(release, slot)| InstanceId { release, slot }) {
            let mut instance = Instance::starting(Millis(0));
            (instance.life, instance.health) = (Life::Running, Health::Healthy(Millis(5)));
            observed.put(id, instance);
        }
        let (active, observed, now) = (None, &observed, Millis(10));
        let situation = Situation { plan: &plan, stage, active, observed, has_traffic: false, now };
        let id = InstanceId { release: stays, slot: 1 };
        let decision = converge(&situation);
        assert_eq!(decision, Decision::Act(vec![Action::Start(vec![id])]), "{}", plan.strategy);
    }
}
