//! What came of actions and probes, and what is noted of it.

use super::{Certainty, Doubt, Effect, Engine, Failed, Input, ROUTE_MS, StartResult};
use crate::event::{FailureNote, What};
use crate::ids::InstanceId;
use crate::mutant::{self, Mutant};
use crate::observed::{Health, Instance, Life};
use crate::plan::{Action, Route, Split};
use crate::seen::Ensured;
use crate::units::Millis;

impl Engine {
    /// Takes note of what has happened. What follows from it is for [`Engine::decide`] to say;
    /// a few effects come up at once.
    pub fn take(&mut self, now: Millis, input: Input) {
        self.now = now;
        match input {
            Input::Started(id, result) => self.started(id, result),
            Input::Recorded(results) => self.recorded(results),
            Input::Retired(id, cut, result) => self.retired(id, cut, result),
            Input::Erased(ids) => {
                for id in &ids {
                    self.observed.remove(*id);
                }
                self.push(What::InstancesRetired { instances: ids });
            }
            Input::Routed(route, result) => self.routed(route, result),
            Input::Hook(hook, ok, detail) => {
                self.observed.hooking = None;
                let active = self.progress.active.as_ref();
                let now = active.map(|active| (active.number, active.undo.is_some()));
                // The hook of what is over says nothing of what is under way now, and one that
                // is told twice says nothing the second time.
                let of = self.hook_of.take();
                if of.is_some() && of == now {
                    self.push(What::HookEnded { hook, ok, detail });
                }
            }
            Input::Seen(seen, asked) => self.seen(seen, asked),
            Input::Health(id, number, health, evidence) => {
                let probing = self.details.get(&id).and_then(|known| known.probing);
                if probing == Some(number) || mutant::is(Mutant::OldVerdictHeard) {
                    self.health(id, health, evidence);
                }
                // Else it is about a process, or of a task, that is not there any more.
            }
            Input::Fenced(generation, result) => self.was_fenced(generation, &result),
            Input::Changed => self.changed(),
            // Its last members are still the last that are known to have served.
            Input::ProxyStarted => self.observed.lose_route(),
            Input::Sampled(ask, sample) => self.sampled(&ask, sample),
        }
    }

    fn started(&mut self, id: InstanceId, result: StartResult) {
        self.start_ended(id);
        self.touch(id);
        match result {
            Ok((Ensured::Stale { seen }, _)) => {
                let why = format!("the target has seen the newer generation {seen}");
                self.not_started(id, &why);
            }
            Ok((Ensured::Added | Ensured::Updated | Ensured::NotNeeded, seen)) => {
                let incarnation = seen.incarnation.clone();
                let address = seen.address.map(|address| address.to_string());
                self.push(What::InstanceStarted { instance: id, incarnation, address });
                self.seen_one(&seen);
            }
            Err(Failed { how: Certainty::Unknown, why })
                if !mutant::is(Mutant::DoubtedStartRemoved) =>
            {
                // It stays as it is until it has been looked at.
                self.push(What::ActionFailed { action: Action::Start(vec![id]), why });
                if !mutant::is(Mutant::DoubtedStartForgotten) {
                    self.doubts.entry(id).or_insert(Doubt::Start);
                }
                self.look();
            }
            Err(Failed { how: Certainty::NotDone | Certainty::Unknown, why }) => {
                self.not_started(id, &why);
            }
        }
        self.answer_fenced();
    }

    pub(super) fn is_leaving(&self, id: InstanceId) -> bool {
        self.observed.get(id).is_some_and(|instance| instance.life == Life::Leaving)
    }

    /// One start less is under way.
    fn start_ended(&mut self, id: InstanceId) {
        if let Some((count, _)) = self.starting.get_mut(&id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.starting.remove(&id);
            }
        }
    }

    fn not_started(&mut self, id: InstanceId, why: &str) {
        let action = Action::Start(vec![id]);
        self.push(What::ActionFailed { action, why: why.to_owned() });
        let runs = self.observed.get(id).is_some_and(|known| {
            matches!(known.life, Life::Running | Life::Restarting | Life::Ended)
        });
        let doubted = runs || self.starting.contains_key(&id);
        if doubted && !mutant::is(Mutant::FailedStartRemoves) {
            // It was asked for twice, and the other time it may have been done.
            self.doubts.entry(id).or_insert(Doubt::Start);
            return self.look();
        }
        if !self.is_leaving(id) {
            self.observed.remove(id);
        }
        let active = self.progress.active.as_ref();
        if active.is_some_and(|active| active.plan.to == Some(id.release)) {
            self.push(What::InstanceFailed(FailureNote {
                instance: id,
                ends: 0,
                why: "could not be started".to_owned(),
                evidence: vec![why.to_owned()],
            }));
        }
    }

    fn recorded(&mut self, results: Vec<(InstanceId, StartResult)>) {
        let mut instances = Vec::with_capacity(results.len());
        for (id, result) in results {
            self.start_ended(id);
            match result {
                Ok(_) => {
                    let mut instance = Instance::starting(self.now);
                    (instance.life, instance.health) = (Life::Running, Health::Healthy(self.now));
                    self.observed.put(id, instance);
                    instances.push(id);
                }
                Err(failed) => self.not_started(id, &failed.why),
            }
        }
        self.push(What::InstancesStarted { instances });
    }

    fn retired(&mut self, id: InstanceId, cut: u64, result: Result<Ensured, Failed>) {
        match result {
            Ok(Ensured::Added | Ensured::Updated | Ensured::NotNeeded) => {
                self.touch(id);
                self.is_gone(id, cut);
            }
            Ok(Ensured::Stale { seen }) => {
                let why = format!("the target has seen the newer generation {seen}");
                self.not_retired(id, why);
            }
            Err(Failed { how: Certainty::Unknown, why }) => {
                self.push(What::ActionFailed { action: Action::Retire(vec![id]), why });
                self.touch(id);
                if mutant::is(Mutant::DoubtedStopIsGone) {
                    return self.is_gone(id, 0);
                }
                self.doubts.insert(id, Doubt::Stop);
                self.look();
            }
            Err(Failed { how: Certainty::NotDone, why }) => self.not_retired(id, why),
        }
    }

    /// An instance was retired.
    pub(super) fn is_gone(&mut self, id: InstanceId, cut: u64) {
        self.observed.remove(id);
        if self.details.remove(&id).is_some_and(|detail| detail.probing.is_some()) {
            self.effects.push(Effect::StopProbing(id));
        }
        self.push(What::InstanceRetired { instance: id, cut });
    }

    fn not_retired(&mut self, id: InstanceId, why: String) {
        self.push(What::ActionFailed { action: Action::Retire(vec![id]), why });
        // What it did since it was asked to go is not known: it proves itself anew, from now on.
        if !mutant::is(Mutant::RefusedStopTrusted) {
            let now = self.now;
            self.observed.change(id, |instance| {
                (instance.health, instance.started) = (Health::Starting, now);
            });
            self.forget_probing(id);
        }
        self.observed.change(id, |instance| instance.life = Life::Running);
        self.look();
    }

    fn routed(&mut self, route: Route, result: Result<u64, Failed>) {
        self.observed.routing = false;
        match result {
            Ok(revision) => {
                self.route_wait = ROUTE_MS.0;
                let split = route.split();
                let members = u32::try_from(route.members.len()).unwrap_or(u32::MAX);
                self.push(What::Routed { split, members, revision });
                self.observed.set_route(Some(route));
                let reached = |(wanted, _): &mut (Split, _)| self.observed.splits_as(wanted);
                let answers = self.switched.extract_if(.., reached);
                self.effects.extend(answers.map(|(_, ticket)| Effect::Answer(ticket, Vec::new())));
            }
            Err(failed) => {
                match failed.how {
                    Certainty::NotDone => self.observed.route_not_done(),
                    Certainty::Unknown if mutant::is(Mutant::DoubtedRouteBelieved) => {
                        self.observed.route_not_done();
                    }
                    Certainty::Unknown => self.observed.doubt_route(),
                }
                self.route_after = Millis(self.now.0 + self.route_wait);
                self.route_wait = (self.route_wait * 2).min(ROUTE_MS.1);
                let (action, why) = (Action::Route(route), failed.why);
                self.push(What::ActionFailed { action, why });
            }
        }
        self.answer_fenced();
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
            self.push(What::InstanceHealthy { instance: id });
        }
    }
}
