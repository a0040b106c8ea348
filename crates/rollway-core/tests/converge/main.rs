//! Plans and convergence over a small world: actions end in any order, instances die, and what
//! must never happen does not.

mod golden;
mod left_over;
mod shares;
mod waits;

use std::collections::BTreeMap;

use proptest::prelude::*;
use rollway_core::converge::{Decision, Situation, converge};
use rollway_core::event::{DeploymentKind, Event, FORMAT, What};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber};
use rollway_core::mutant;
use rollway_core::observed::{Health, Instance, Life, Observed};
use rollway_core::plan::{Action, Plan, Route};
use rollway_core::progress::{Progress, notices};
use rollway_core::spec::{BlueGreen, Canary, CanaryStep, Order, Spec, Strategy as Way, Update};
use rollway_core::strategy::{self, Request};
use rollway_core::units::{Amount, Millis};

const OLD: ReleaseNumber = ReleaseNumber(1);
const NEW: ReleaseNumber = ReleaseNumber(2);
/// Rounds after which a deployment that has not ended hangs.
const ROUNDS_MAX: usize = 3000;

fn spec(update: Update, strategy: Way) -> Spec {
    mutant::choose(&std::env::var("ROLLWAY_MUTANT").unwrap_or_default());
    let text = r#"{"service": "shop", "version": "v1", "run": {"driver": "null"},
        "traffic": {"listen": ["127.0.0.1:1"]}}"#;
    let mut spec: Spec = serde_json::from_str(text).expect("a spec");
    (spec.update, spec.strategy) = (update, strategy);
    spec
}

/// What is under way in the world.
#[derive(Debug, Clone)]
enum Task {
    Start(InstanceId),
    Healthy(InstanceId),
    Retire(InstanceId),
    Route(Route),
}

struct World {
    progress: Progress,
    observed: Observed,
    tasks: Vec<Task>,
    now: Millis,
    log: String,
    /// Instances of the new release that never become healthy.
    bad: Vec<u32>,
    /// After so many ended tasks each an old instance dies.
    deaths: Vec<usize>,
    ended: usize,
    died: u32,
    has_traffic: bool,
    /// What the progress was before the first event, and the events since.
    before: Progress,
    events: Vec<Event>,
    /// A line an event, where a history is recorded.
    recorded: Option<Vec<String>>,
    /// After so many events the operator aborts.
    aborts_after: Option<usize>,
}

impl World {
    fn new(instances: u32) -> Self {
        let mut observed = Observed::default();
        let members: Vec<_> =
            (0..instances).map(|slot| InstanceId { release: OLD, slot }).collect();
        for id in &members {
            let mut instance = Instance::starting(Millis(0));
            (instance.life, instance.health) = (Life::Running, Health::Healthy(Millis(0)));
            observed.put(*id, instance);
        }
        observed.set_route(Some(Route {
            weights: BTreeMap::from([(OLD, 0)]),
            members,
            settings: Some(OLD),
            newest: None,
            preview: None,
            hold_requests: false,
        }));
        let progress = Progress {
            serving: Some(OLD),
            instances,
            up: true,
            generation: Generation(1),
            ..Progress::default()
        };
        Self {
            before: progress.clone(),
            progress,
            observed,
            tasks: Vec::new(),
            now: Millis(10),
            log: String::new(),
            bad: Vec::new(),
            deaths: Vec::new(),
            ended: 0,
            died: 0,
            has_traffic: true,
            events: Vec::new(),
            recorded: None,
            aborts_after: None,
        }
    }

    /// The same without a proxy.
    fn without_traffic(instances: u32) -> Self {
        let mut world = Self::new(instances);
        world.observed.set_route(None);
        world.has_traffic = false;
        world
    }

    fn push(&mut self, what: What) {
        self.log.push_str(&format!("{:>6} {}\n", self.now.0, what.words()));
        let event = Event { clock: self.now, what };
        self.progress.apply(&event).expect("events that follow");
        let text = serde_json::to_string(&event).expect("an event is data");
        let back: Event = serde_json::from_str(&text).expect("an event reads back");
        assert_eq!(back, event);
        if let Some(lines) = &mut self.recorded {
            lines.push(golden::line(&event, &self.progress, &self.observed, self.has_traffic));
        }
        self.events.push(event);
    }

    fn undo(&mut self, spec: &Spec, reasons: Vec<String>, by_operator: bool) {
        let first = &self.progress.active.as_ref().expect("active").first_plan;
        let ready = self.observed.fleet(OLD).map_or(0, |fleet| fleet.ready());
        let (plan, generation) = (strategy::undo(first, spec, ready), Generation(3));
        self.push(What::UndoBegan { reasons, by_operator, plan, generation });
    }

    /// What a control plane that starts now would know.
    fn replayed(&self) -> Progress {
        let mut progress = self.before.clone();
        for event in &self.events {
            progress.apply(event).expect("events that follow");
        }
        progress
    }

    fn begin(&mut self, plan: Plan) {
        let (request, generation) = (DeploymentKind::Deploy, Generation(2));
        let actor = String::new();
        self.push(What::DeploymentBegan {
            deployment: 1,
            format: FORMAT,
            request,
            actor,
            plan,
            generation,
        });
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start(ids) => {
                for id in ids {
                    assert!(self.observed.get(id).is_none(), "{id} exists already\n{}", self.log);
                    self.observed.put(id, Instance::starting(self.now));
                    self.tasks.push(Task::Start(id));
                }
            }
            Action::Retire(ids) => {
                for id in ids {
                    // One that is dead answers nobody: it may be removed at once.
                    let is_dead =
                        self.observed.get(id).is_some_and(|seen| seen.life == Life::Ended);
                    let is_free = is_dead || !self.observed.is_routed(id);
                    assert!(is_free, "{id} still has traffic\n{}", self.log);
                    self.observed.change(id, |instance| instance.life = Life::Leaving);
                    self.tasks.push(Task::Retire(id));
                }
            }
            Action::Route(route) => {
                let sum: u32 = route.weights.values().sum();
                assert!(sum == 0 || sum == 100, "weights sum to {sum}\n{}", self.log);
                for (release, weight) in &route.weights {
                    let has = route.members.iter().any(|id| id.release == *release);
                    assert!(*weight == 0 || has, "weight without members\n{}", self.log);
                }
                self.check_share(&route);
                self.observed.routing = true;
                self.tasks.push(Task::Route(route));
            }
            Action::Hook(hook) => {
                self.push(What::HookEnded { hook, ok: true, detail: String::new() });
            }
        }
    }

    /// The new release has no more weight than its ready share, as long as an old one serves too.
    fn check_share(&self, route: &Route) {
        let active = self.progress.active.as_ref().expect("active");
        let of = |release| route.members.iter().filter(|id| id.release == release).count() as u32;
        let weight = route.weights.get(&NEW).copied().unwrap_or(0);
        if active.undo.is_none() && of(OLD) > 0 {
            let share = 100 * of(NEW) / active.plan.instances;
            assert!(weight <= share, "{weight} % on {share} %\n{}", self.log);
        }
    }

    /// An old instance dies, if it is due and one is ready.
    fn perhaps_die(&mut self) {
        self.ended += 1;
        if !self.deaths.contains(&self.ended) {
            return;
        }
        let fleet = self.observed.fleet(OLD);
        if let Some(slot) = fleet.and_then(|fleet| fleet.ready_slots().next()) {
            self.died += 1;
            self.log.push_str(&format!("{:>6} r1-{slot} dies\n", self.now.0));
            let id = InstanceId { release: OLD, slot };
            self.observed.change(id, |instance| instance.life = Life::Ended);
        }
    }

    fn finish(&mut self, task: Task) {
        self.perhaps_die();
        match task {
            Task::Start(id) => {
                self.observed.change(id, |instance| instance.life = Life::Running);
                let (incarnation, address) = ("1:1".to_owned(), None);
                self.push(What::InstanceStarted { instance: id, incarnation, address });
                if id.release == OLD || !self.bad.contains(&id.slot) {
                    self.tasks.push(Task::Healthy(id));
                }
            }
            Task::Healthy(id) => {
                let now = self.now;
                self.observed.change(id, |instance| {
                    if instance.life == Life::Running {
                        instance.health = Health::Healthy(now);
                    }
                });
            }
            Task::Retire(id) => {
                self.observed.remove(id);
                self.push(What::InstanceRetired { instance: id, cut: 0 });
            }
            Task::Route(route) => {
                self.observed.routing = false;
                let members = route.members.len() as u32;
                let split = rollway_core::plan::Split::Weights(route.weights.clone());
                self.push(What::Routed { split, members, revision: 1 });
                self.observed.set_route(Some(route));
            }
        }
    }

    fn decide(&self, plan: &Plan) -> Decision {
        let active = self.progress.active.as_ref().expect("active");
        let stage = active.current().expect("a stage");
        converge(&Situation {
            plan,
            stage,
            active: Some(active),
            observed: &self.observed,
            has_traffic: self.has_traffic,
            now: self.now,
        })
    }

    /// Healthy instances that requests go to; without traffic all that are healthy.
    fn serving(&self) -> u32 {
        if !self.has_traffic {
            return self.observed.fleets().values().map(|fleet| fleet.ready()).sum();
        }
        let members = self.observed.route().map_or(&[][..], |route| &route.members);
        let ready = |id: &&InstanceId| self.observed.get(**id).is_some_and(Instance::is_ready);
        members.iter().filter(ready).count() as u32
    }

    /// Runs to the end; `choices` picks what ends next.
    fn run(&mut self, spec: &Spec, choices: &[u8], least: u32, most: u32) {
        let mut choices = choices.iter().copied().cycle();
        for _ in 0..ROUNDS_MAX {
            let Some(active) = self.progress.active.clone() else { return };
            for note in notices(&active, &self.observed, self.now) {
                self.push(What::InstanceFailed(note));
            }
            let active = self.progress.active.clone().expect("active");
            let Some(_) = active.current() else { return };
            if self.aborts_after.is_some_and(|count| self.events.len() >= count) {
                self.aborts_after = None;
                self.undo(spec, vec!["aborted".to_owned()], true);
                continue;
            }
            let stage = active.stage;
            let decision = self.decide(&active.plan);
            if self.events.len().is_multiple_of(5) {
                let known = std::mem::replace(&mut self.progress, self.before.clone());
                self.progress = self.replayed();
                assert_eq!(self.progress, known, "a replay knows the same");
                assert_eq!(self.decide(&active.plan), decision, "a replay decides the same");
            }
            match decision {
                Decision::Act(actions) => {
                    self.push(What::Intended { actions: actions.clone() });
                    for action in actions {
                        self.act(action);
                    }
                }
                Decision::Reached => self.push(What::StageReached { stage }),
                Decision::Done => {
                    self.push(What::StageDone { stage });
                    if stage + 1 == active.plan.stages.len() {
                        return;
                    }
                }
                Decision::Failed(reasons) => {
                    assert!(active.undo.is_none(), "the undo failed: {reasons:?}\n{}", self.log);
                    self.undo(spec, reasons, false);
                }
                Decision::Wait(waiting) => {
                    if self.tasks.is_empty() {
                        let until = waiting
                            .until
                            .unwrap_or_else(|| panic!("it hangs: {}\n{}", waiting.what, self.log));
                        let deadline = active.last_progress.0 + 60_000;
                        self.now = Millis(until.0.min(deadline).max(self.now.0 + 1000));
                    } else {
                        let pick = choices.next().unwrap_or(0) as usize % self.tasks.len();
                        let task = self.tasks.swap_remove(pick);
                        self.now = Millis(self.now.0 + 1);
                        self.finish(task);
                    }
                }
            }
            let least = least.saturating_sub(self.died);
            assert!(self.serving() >= least, "{} serve, not {least}\n{}", self.serving(), self.log);
            let total = self.observed.total();
            let undo = self.progress.active.as_ref().is_some_and(|active| active.undo.is_some());
            // An undo keeps what serves of the new release until the old one is back in full.
            let most = if undo { most + active.plan.instances_before } else { most };
            assert!(total <= most, "{total} exist, at most {most}\n{}", self.log);
        }
        panic!("it does not end\n{}", self.log);
    }
}

fn ways() -> impl Strategy<Value = Way> {
    let weights = proptest::collection::btree_set(1u32..100, 1..4);
    let canary = weights.prop_map(|weights| {
        let step = |weight| [CanaryStep::Weight(weight), CanaryStep::Hold(Millis::seconds(5))];
        Way::Canary(Canary {
            steps: weights.into_iter().flat_map(step).collect(),
            ..Canary::default()
        })
    });
    prop_oneof![
        Just(Way::Rolling),
        Just(Way::BlueGreen(BlueGreen::default())),
        Just(Way::BlueGreen(BlueGreen { scale_down_delay: Millis::ZERO, ..BlueGreen::default() })),
        canary,
    ]
}

fn updates() -> impl Strategy<Value = Update> {
    let amount =
        || prop_oneof![(0u32..4).prop_map(Amount::Count), (0u32..101).prop_map(Amount::Percent)];
    (amount(), amount(), 0u32..4, any::<bool>()).prop_map(|(surge, unavailable, parallel, stop)| {
        Update {
            max_surge: surge,
            max_unavailable: unavailable,
            max_parallel: parallel,
            order: if stop { Order::StopFirst } else { Order::StartFirst },
            ..Update::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn deployments_end_within_their_bounds(
        update in updates(),
        way in ways(),
        before in 1u32..9,
        instances in 1u32..9,
        bad in proptest::collection::vec(0u32..9, 0..2),
        deaths in proptest::collection::vec(1usize..40, 0..3),
        choices in proptest::collection::vec(any::<u8>(), 1..60),
    ) {
        let spec = spec(update, way.clone());
        let mut world = World::new(before);
        (world.bad, world.deaths) = (bad, deaths);
        let request = Request { spec: &spec, from: Some(OLD), to: NEW, instances, before };
        let plan = strategy::deploy(request);
        let fences = rollway_core::plan::Pace::of(&spec.update, instances);
        let (least, most) = match way {
            Way::Rolling => (
                before.min(instances).saturating_sub(fences.unavailable),
                before.max(instances + fences.surge),
            ),
            Way::BlueGreen(_) | Way::Canary(_) | Way::Recreate => {
                (before.min(instances), before + instances)
            }
        };
        world.begin(plan);
        world.run(&spec, &choices, least, most);
        let active = world.progress.active.as_ref();
        let undone = active.is_some_and(|active| active.undo.is_some());
        let standby = !undone && active.is_some_and(|active| active.plan.standby.is_some());
        let (wanted, other) = if undone { (OLD, NEW) } else { (NEW, OLD) };
        let count = if undone { before } else { instances };
        prop_assert_eq!(world.observed.fleet(wanted).map_or(0, |fleet| fleet.ready()), count);
        if !standby {
            prop_assert!(world.observed.fleet(other).is_none(), "{}", world.log);
        }
        let failed = world.bad.iter().any(|slot| *slot < instances);
        prop_assert_eq!(undone, failed, "{}", world.log);
    }

    /// Without a proxy the share is the count, and the bounds are those of a rolling update.
    #[test]
    fn a_canary_without_traffic_goes_by_counts(
        update in updates(),
        weights in proptest::collection::btree_set(1u32..100, 1..4),
        instances in 1u32..12,
        bad in proptest::collection::vec(0u32..12, 0..2),
        choices in proptest::collection::vec(any::<u8>(), 1..60),
    ) {
        let steps = weights.into_iter().map(CanaryStep::Weight).collect();
        let mut spec = spec(update, Way::Canary(Canary { steps, ..Canary::default() }));
        spec.traffic = None;
        let mut world = World::without_traffic(instances);
        world.bad = bad;
        let request =
            Request { spec: &spec, from: Some(OLD), to: NEW, instances, before: instances };
        let fences = rollway_core::plan::Pace::of(&spec.update, instances);
        world.begin(strategy::deploy(request));
        let least = instances.saturating_sub(fences.unavailable);
        world.run(&spec, &choices, least, instances + fences.surge);
        let undone = world.progress.active.as_ref().is_some_and(|active| active.undo.is_some());
        let (wanted, other) = if undone { (OLD, NEW) } else { (NEW, OLD) };
        prop_assert_eq!(world.observed.fleet(wanted).map_or(0, |fleet| fleet.ready()), instances);
        prop_assert!(world.observed.fleet(other).is_none(), "{}", world.log);
        prop_assert_eq!(undone, world.bad.iter().any(|slot| *slot < instances), "{}", world.log);
    }

    /// A deployment of what serves starts nothing and stops nothing, and an event of the plan
    /// that is over moves nothing.
    #[test]
    fn after_success_there_is_nothing_to_do(
        update in updates(),
        way in ways(),
        instances in 1u32..9,
        choices in proptest::collection::vec(any::<u8>(), 1..60),
    ) {
        let spec = spec(update, way);
        let mut world = World::new(instances);
        let request =
            Request { spec: &spec, from: Some(OLD), to: NEW, instances, before: instances };
        world.begin(strategy::deploy(request));
        world.run(&spec, &choices, 0, 2 * instances + 200);
        let stage = world.progress.active.as_ref().map_or(0, |active| active.stage);
        for stale in 0..stage {
            let event = Event { clock: world.now, what: What::StageDone { stage: stale } };
            let known = world.progress.clone();
            prop_assert!(world.progress.apply(&event).is_err());
            prop_assert_eq!(&world.progress, &known);
        }
        let standby = world.observed.fleet(OLD).is_some().then_some(OLD);
        let again = Request { from: Some(NEW), ..request };
        for plan in [strategy::deploy(again), strategy::standing(again, standby)] {
            let stage = &plan.stages[0];
            let observed = &world.observed;
            // What is kept running after a switch goes by its own clock, not by this plan.
            if standby.is_some() && plan.strategy != "standing" {
                continue;
            }
            let (now, active) = (Millis(world.now.0 + 3_600_000), None);
            let situation =
                Situation { plan: &plan, stage, active, observed, has_traffic: true, now };
            if let Decision::Act(actions) = converge(&situation) {
                let routes = actions.iter().all(|action| matches!(action, Action::Route(_)));
                prop_assert!(routes, "{actions:?}\n{}", world.log);
            }
        }
    }
}
