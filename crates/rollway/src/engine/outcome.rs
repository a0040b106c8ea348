//! What came of actions and probes, and what the loop notes of it.

use rollway_core::event::{FailureNote, What};
use rollway_core::ids::InstanceId;
use rollway_core::observed::{Health, Instance, Life};
use rollway_core::plan::{Action, HookPoint, Route, Split};
use rollway_core::units::Millis;

use super::actor::Actor;
use crate::driver::{Ensured, SeenInstance};
use crate::failure::{Failure, FailureKind};

/// What came of a start.
pub(super) type StartResult = Result<(Ensured, SeenInstance), Failure>;

/// What came of something that was under way.
pub(super) enum Outcome {
    /// A start.
    Started(InstanceId, StartResult),
    /// Starts of instances that nothing runs for.
    Recorded(Vec<(InstanceId, StartResult)>),
    /// A drain and stop.
    Retired(InstanceId, u64, Result<Ensured, Failure>),
    /// Removals of instances that nothing runs for.
    Erased(Vec<InstanceId>),
    /// A route.
    Routed(Route, Result<u64, Failure>),
    /// A hook.
    Hook(HookPoint, bool, String),
    /// An observation, and the turn at which it was asked for.
    Seen(Result<Vec<SeenInstance>, Failure>, u64),
    /// A verdict, by the number of the task that found it, with the evidence if it is not good.
    Health(InstanceId, u64, Health, Vec<String>),
}

impl Actor {
    pub fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Started(id, result) => self.started(id, result),
            Outcome::Recorded(results) => self.recorded(results),
            Outcome::Retired(id, cut, result) => self.retired(id, cut, result),
            Outcome::Erased(ids) => {
                for id in &ids {
                    self.observed.remove(*id);
                }
                self.journal.push(What::InstancesRetired { instances: ids });
            }
            Outcome::Routed(route, result) => self.routed(route, result),
            Outcome::Hook(hook, ok, detail) => {
                self.observed.hooking = None;
                self.journal.push(What::HookEnded { hook, ok, detail });
            }
            Outcome::Seen(seen, asked) => self.seen(seen, asked),
            Outcome::Health(id, number, health, evidence) => {
                let probing = self.details.get(&id).and_then(|known| known.probing.as_ref());
                if probing.is_some_and(|probing| probing.number == number) {
                    self.health(id, health, evidence);
                }
                // Else it is about a process, or of a task, that is not there any more.
            }
        }
    }

    fn started(&mut self, id: InstanceId, result: StartResult) {
        self.starts_under_way = self.starts_under_way.saturating_sub(1);
        self.touch(id);
        match result {
            Ok((Ensured::Stale { seen }, _)) => {
                let why = format!("the target has seen the newer generation {seen}");
                self.not_started(id, &why);
            }
            Ok((Ensured::Added | Ensured::Updated | Ensured::NotNeeded, seen)) => {
                let incarnation = seen.incarnation.clone();
                let address = seen.address.map(|address| address.to_string());
                self.journal.push(What::InstanceStarted { instance: id, incarnation, address });
                let now = self.journal.clock.now();
                self.seen_one(&seen, now);
            }
            Err(failure) if failure.kind == FailureKind::Unknown => {
                let why = failure.chain();
                self.journal.push(What::ActionFailed { action: Action::Start(vec![id]), why });
                self.observed.remove(id);
                self.look();
            }
            Err(failure) => self.not_started(id, &failure.chain()),
        }
        self.answer_fenced();
    }

    fn not_started(&mut self, id: InstanceId, why: &str) {
        self.observed.remove(id);
        let action = Action::Start(vec![id]);
        self.journal.push(What::ActionFailed { action, why: why.to_owned() });
        let active = self.journal.progress.active.as_ref();
        if active.is_some_and(|active| active.plan.to == Some(id.release)) {
            self.journal.push(What::InstanceFailed(FailureNote {
                instance: id,
                ends: 0,
                why: "could not be started".to_owned(),
                evidence: vec![why.to_owned()],
            }));
        }
    }

    fn recorded(&mut self, results: Vec<(InstanceId, StartResult)>) {
        let now = self.journal.clock.now();
        let mut instances = Vec::with_capacity(results.len());
        for (id, result) in results {
            self.starts_under_way = self.starts_under_way.saturating_sub(1);
            match result {
                Ok(_) => {
                    let mut instance = Instance::starting(now);
                    (instance.life, instance.health) = (Life::Running, Health::Healthy(now));
                    self.observed.put(id, instance);
                    instances.push(id);
                }
                Err(failure) => self.not_started(id, &failure.chain()),
            }
        }
        self.journal.push(What::InstancesStarted { instances });
    }

    fn retired(&mut self, id: InstanceId, cut: u64, result: Result<Ensured, Failure>) {
        match result {
            Ok(Ensured::Added | Ensured::Updated | Ensured::NotNeeded) => {
                self.touch(id);
                self.observed.remove(id);
                if let Some(mut detail) = self.details.remove(&id) {
                    detail.stop_probing();
                }
                self.journal.push(What::InstanceRetired { instance: id, cut });
            }
            Ok(Ensured::Stale { seen }) => {
                let why = format!("the target has seen the newer generation {seen}");
                self.not_retired(id, why);
            }
            Err(failure) => self.not_retired(id, failure.chain()),
        }
    }

    fn not_retired(&mut self, id: InstanceId, why: String) {
        self.journal.push(What::ActionFailed { action: Action::Retire(vec![id]), why });
        self.observed.change(id, |instance| instance.life = Life::Running);
        self.look();
    }

    fn routed(&mut self, route: Route, result: Result<u64, Failure>) {
        self.observed.routing = false;
        match result {
            Ok(revision) => {
                self.route_wait = super::actor::ROUTE_MS.0;
                let split = route.split();
                let members = u32::try_from(route.members.len()).unwrap_or(u32::MAX);
                self.journal.push(What::Routed { split, members, revision });
                self.observed.set_route(Some(route));
                let reached = |(wanted, _): &mut (Split, _)| self.observed.splits_as(wanted);
                for (_, answer) in self.switched.extract_if(.., reached) {
                    // The caller may have gone.
                    let _ = answer.send(());
                }
            }
            Err(failure) => {
                let now = self.journal.clock.now();
                self.route_after = Millis(now.0 + self.route_wait);
                self.route_wait = (self.route_wait * 2).min(super::actor::ROUTE_MS.1);
                let why = failure.chain();
                self.journal.push(What::ActionFailed { action: Action::Route(route), why });
            }
        }
    }

    fn health(&mut self, id: InstanceId, health: Health, evidence: Vec<String>) {
        if let Some(detail) = self.details.get_mut(&id) {
            detail.reason = evidence.first().cloned();
        }
        let was = self.observed.get(id).map(Instance::is_ready);
        self.observed.change(id, |instance| {
            instance.evidence = evidence;
            instance.health = health;
        });
        let is = self.observed.get(id).map(Instance::is_ready);
        if (was, is) == (Some(false), Some(true)) {
            self.journal.push(What::InstanceHealthy { instance: id });
        }
    }
}
