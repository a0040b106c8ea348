//! What a deployment that failed has left over, and who of too many goes first.

use super::*;

const LEFT: ReleaseNumber = ReleaseNumber(7);

/// Healthy instances of the releases, of which the proxy uses some with these weights.
fn healthy(
    ids: &[InstanceId],
    members: &[InstanceId],
    weights: &[(ReleaseNumber, u32)],
) -> Observed {
    let mut observed = Observed::default();
    for id in ids {
        let mut instance = Instance::starting(Millis(0));
        (instance.life, instance.health) = (Life::Running, Health::Healthy(Millis(5)));
        observed.put(*id, instance);
    }
    observed.set_route(Some(Route {
        weights: weights.iter().copied().collect(),
        members: members.to_vec(),
        settings: Some(OLD),
        newest: None,
        preview: None,
        hold_requests: false,
    }));
    observed
}

fn all(release: ReleaseNumber, count: u32) -> Vec<InstanceId> {
    (0..count).map(|slot| InstanceId { release, slot }).collect()
}

fn actions(plan: &Plan, observed: &Observed) -> Vec<Action> {
    let (active, now, stage) = (None, Millis(10), &plan.stages[0]);
    let situation = Situation { plan, stage, active, observed, has_traffic: true, now };
    let Decision::Act(actions) = converge(&situation) else { return Vec::new() };
    actions
}

fn members(actions: &[Action]) -> Vec<InstanceId> {
    let routes = actions.iter().find_map(|action| match action {
        Action::Route(route) => Some(route.members.clone()),
        Action::Start(_) | Action::Retire(_) | Action::Hook(_) => None,
    });
    routes.unwrap_or_else(|| panic!("no route in {actions:?}"))
}

/// Three of the old release and three that an aborted deployment has left over; the new release is
/// to take over by rolling, so that whoever is a member gets its share.
fn next(weights: [(ReleaseNumber, u32); 2]) -> Vec<Action> {
    let spec = spec(Update::default(), Way::Rolling);
    let request = Request { spec: &spec, from: Some(OLD), to: NEW, instances: 3, before: 3 };
    let ids = [all(OLD, 3), all(LEFT, 3)].concat();
    actions(&strategy::deploy(request), &healthy(&ids, &ids, &weights))
}

#[test]
fn what_is_left_over_gets_no_requests_from_the_next_deployment() {
    let members = members(&next([(OLD, 100), (LEFT, 0)]));
    assert_eq!(members, all(OLD, 3), "the three of the old release serve, and nobody else");
}

#[test]
fn what_is_left_over_goes_before_what_was_good() {
    // Both share the requests, because nobody else could serve at that time.
    let members = members(&next([(OLD, 0), (LEFT, 0)]));
    let gone: Vec<_> = all(LEFT, 3).into_iter().filter(|id| !members.contains(id)).collect();
    assert!(!gone.is_empty(), "three of six may go: {members:?}");
    assert!(all(OLD, 3).iter().all(|id| members.contains(id)), "{members:?}");
}

#[test]
fn of_too_many_those_that_get_no_requests_go_first() {
    let spec = spec(Update::default(), Way::Rolling);
    let request = Request { spec: &spec, from: Some(OLD), to: OLD, instances: 1, before: 1 };
    let routed = [InstanceId { release: OLD, slot: 0 }];
    let observed = healthy(&all(OLD, 2), &routed, &[(OLD, 0)]);
    let actions = actions(&strategy::standing(request, None), &observed);
    let other = InstanceId { release: OLD, slot: 1 };
    assert_eq!(actions, vec![Action::Retire(vec![other])]);
}

/// The proxy was told to let go of the second, and did not answer.
#[test]
fn of_too_many_those_that_the_proxy_was_told_of_last_stay() {
    let spec = spec(Update::default(), Way::Rolling);
    let request = Request { spec: &spec, from: Some(OLD), to: OLD, instances: 1, before: 1 };
    let ids = all(OLD, 3);
    let mut observed = healthy(&ids, &ids[..2], &[(OLD, 0)]);
    let confirmed = observed.route().cloned().expect("it was set");
    observed.send_route(&Route { members: vec![ids[1]], ..confirmed });
    observed.doubt_route();
    observed.routing = false;
    let actions = actions(&strategy::standing(request, None), &observed);
    assert_eq!(members(&actions), vec![ids[1]]);
    assert!(actions.contains(&Action::Retire(vec![ids[2]])), "{actions:?}");
}

#[test]
fn who_was_in_a_route_without_an_answer_beats_nobody() {
    let spec = spec(Update::default(), Way::Rolling);
    let request = Request { spec: &spec, from: Some(OLD), to: OLD, instances: 1, before: 1 };
    let id = InstanceId { release: OLD, slot: 0 };
    let mut observed = healthy(&[id], &[], &[]);
    let confirmed = observed.route().cloned().expect("it was set");
    observed.send_route(&Route { members: vec![id], ..confirmed });
    observed.doubt_route();
    observed.routing = false;
    observed.change(id, |instance| instance.health = Health::Starting);
    let plan = strategy::standing(request, None);
    assert_eq!(members(&actions(&plan, &observed)), vec![id]);
    // Another one of that name did not serve.
    observed.remove(id);
    observed.put(id, Instance::starting(Millis(9)));
    assert_eq!(members(&actions(&plan, &observed)), vec![]);
}
