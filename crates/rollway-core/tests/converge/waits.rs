//! What is waited for, how long, and how much is done at once.

use rollway_core::plan::Stage;

use super::*;

/// A deployment that begins now.
fn begun(update: Update, way: Way, instances: u32) -> World {
    let spec = spec(update, way);
    let before = instances;
    let request = Request { spec: &spec, from: Some(OLD), to: NEW, instances, before };
    let mut world = World::new(instances);
    world.begin(strategy::deploy(request));
    while let Decision::Act(actions) = decided(&world)
        && matches!(actions[..], [Action::Hook(_)])
    {
        does(&mut world);
    }
    world
}

/// Begins what is decided on.
fn does(world: &mut World) -> Vec<Action> {
    let Decision::Act(actions) = decided(world) else { return Vec::new() };
    world.push(What::Intended { actions: actions.clone() });
    actions.iter().for_each(|action| world.act(action.clone()));
    actions
}

fn decided(world: &World) -> Decision {
    let plan = &world.progress.active.as_ref().expect("active").plan;
    world.decide(plan)
}

#[test]
fn a_deployment_without_progress_fails_at_its_deadline() {
    let deadline = Millis::seconds(40);
    let update = Update { progress_deadline: deadline, ..Update::default() };
    let mut world = begun(update, Way::BlueGreen(BlueGreen::default()), 2);
    let actions = does(&mut world);
    assert!(matches!(actions[..], [.., Action::Start(_)]), "{actions:?}");
    // The starts never end.
    let due = world.now.0 + deadline.0;
    world.now = Millis(due - 1);
    assert!(matches!(decided(&world), Decision::Wait(_)));
    world.now = Millis(due);
    let Decision::Failed(reasons) = decided(&world) else { panic!("it waits for ever") };
    assert_eq!(reasons[0], "no progress for 40s (progress_deadline)");
}

#[test]
fn time_that_was_paused_does_not_count_for_a_hold() {
    let steps = vec![CanaryStep::Hold(Millis::seconds(5)), CanaryStep::Weight(50)];
    let way = Way::Canary(Canary { steps, ..Canary::default() });
    let mut world = begun(Update::default(), way, 2);
    while !does(&mut world).is_empty() {
        std::mem::take(&mut world.tasks).into_iter().for_each(|task| world.finish(task));
    }
    assert_eq!(decided(&world), Decision::Reached);
    world.push(What::StageReached { stage: 0 });
    world.now = Millis(world.now.0 + 2000);
    world.push(What::Paused { actor: String::new(), reasons: Vec::new() });
    world.now = Millis(world.now.0 + 60_000);
    world.push(What::Resumed { actor: String::new() });
    world.now = Millis(world.now.0 + 2999);
    assert!(matches!(decided(&world), Decision::Wait(_)), "{:?}", decided(&world));
    world.now = Millis(world.now.0 + 1);
    assert_eq!(decided(&world), Decision::Done);
}

#[test]
fn no_more_start_at_once_than_max_parallel() {
    let surge = Amount::Count(4);
    let update = Update { max_surge: surge, max_parallel: 2, ..Update::default() };
    let mut world = begun(update, Way::Rolling, 4);
    let start = |slots: &[u32]| {
        let ids = slots.iter().map(|slot| InstanceId { release: NEW, slot: *slot });
        Action::Start(ids.collect())
    };
    assert_eq!(does(&mut world).last(), Some(&start(&[0, 1])));
    // One is well, so there is room for one more.
    world.finish(Task::Start(InstanceId { release: NEW, slot: 0 }));
    world.finish(Task::Healthy(InstanceId { release: NEW, slot: 0 }));
    let actions = does(&mut world);
    assert!(actions.contains(&start(&[2])), "{actions:?}");
}

/// While the old release is restored the split stays what it was.
#[test]
fn traffic_goes_back_only_when_the_old_release_is_whole() {
    use rollway_core::plan::Split;
    let world = begun(Update::default(), Way::Rolling, 3);
    let (plan, now) = (
        &world.progress.active.as_ref().expect("active").plan,
        Split::Weights(BTreeMap::from([(OLD, 90), (NEW, 10)])),
    );
    let names = |undo: &Plan| undo.stages.iter().map(|s: &Stage| s.name.clone()).collect();
    let spec = spec(Update::default(), Way::Rolling);
    let undo = strategy::undo_from(plan, &spec, 2, &now);
    let stages: Vec<String> = names(&undo);
    assert_eq!(stages, ["restore", "traffic back", "retire"]);
    assert_eq!(undo.stages[0].goal.split, now);
    let whole: Vec<String> = names(&strategy::undo_from(plan, &spec, 3, &now));
    assert_eq!(whole, ["traffic back", "retire"]);
}
