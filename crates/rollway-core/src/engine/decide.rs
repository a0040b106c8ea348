//! Deciding: what is to be done now, and when to ask again.

use std::borrow::Cow;

use super::{Append, Effect, Engine, Extra, HEAL_MS, Rows, Tries};
use crate::converge::{Decision, Situation, converge, wake};
use crate::event::{DeploymentKind, DeploymentState, What};
use crate::ids::{Generation, InstanceId, ReleaseNumber};
use crate::mutant::{self, Mutant};
use crate::observed::{Fleet, Instance, Life};
use crate::plan::{Action, HookPoint, Plan, Route, Split};
use crate::progress::{Active, notices};
use crate::strategy;
use crate::units::Millis;

/// Without any reason to look again, look again after this.
const IDLE: Millis = Millis::seconds(30);

/// A note that nothing follows from is written this late at most, most often with the next intent.
const NOTE_WAIT: Millis = Millis(20);

/// What one decision came to.
#[derive(Debug)]
pub struct Turn {
    /// What is to be done, in this order.
    pub effects: Vec<Effect>,
    /// When to decide again.
    pub next: Next,
}

/// When to decide again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// As soon as the effects are performed.
    Now,
    /// At this time, or when something is told.
    At(Millis),
}

impl Engine {
    /// Makes one decision.
    pub fn decide(&mut self, now: Millis) -> Turn {
        self.now = now;
        self.end_standby();
        self.note_failures();
        self.look_at_doubts();
        if !self.has_grip() {
            self.waiting = None;
            let next = self.rest(Some(self.look_after.min(self.fence_after)));
            return Turn { effects: self.effects(), next };
        }
        self.ask_sources();
        let next = match self.decision() {
            None => self.rest(None),
            Some((Decision::Wait(waiting), wake)) => {
                let standby = self.progress.standby.map(|(_, until)| until);
                let standby = standby.filter(|until| *until > self.now);
                let until =
                    [waiting.until, wake, standby, self.next_ask()].into_iter().flatten().min();
                self.waiting = self.progress.active.is_some().then_some(waiting);
                self.rest(until)
            }
            Some((Decision::Act(actions), _)) => self.paced(actions),
            Some((Decision::Reached, _)) => {
                self.step(|stage| What::StageReached { stage });
                Next::Now
            }
            Some((Decision::Done, _)) => {
                self.stage_done();
                Next::Now
            }
            Some((Decision::Failed(reasons), _)) => {
                self.fail(reasons, false);
                Next::Now
            }
        };
        Turn { effects: self.effects(), next }
    }

    fn step(&mut self, what: impl FnOnce(usize) -> What) {
        if let Some(active) = &self.progress.active {
            let stage = active.stage;
            self.push(what(stage));
        }
    }

    /// The decision of the core, and when a wait is over although nothing changes.
    fn decision(&self) -> Option<(Decision, Option<Millis>)> {
        let (plan, stage) = self.plan_now()?;
        let situation = Situation {
            plan: &plan,
            stage: plan.stages.get(stage)?,
            active: self.progress.active.as_ref(),
            observed: &self.observed,
            has_traffic: self.has_traffic(&plan),
            now: self.now,
        };
        let decision = converge(&situation);
        let wakes = matches!(decision, Decision::Wait(_)).then(|| wake(&situation)).flatten();
        Some((decision, wakes))
    }

    /// Hands out what is left to be written, and says how long to wait.
    fn rest(&mut self, until: Option<Millis>) -> Next {
        let write = self.write_later();
        if write.is_none() {
            self.flush();
        }
        self.answer_fenced();
        let look = Some(self.next_look());
        let until = until.into_iter().chain(look).chain(write).min();
        let idle = Millis(self.now.0 + IDLE.0);
        Next::At(until.map_or(idle, |until| until.max(Millis(self.now.0 + 1)).min(idle)))
    }

    /// When to write what is noted, if it can wait: that an instance started or became healthy is
    /// seen again after a crash, so it need not be durable before something follows from it.
    fn write_later(&self) -> Option<Millis> {
        let seen_again = |what: &What| {
            matches!(what, What::InstanceStarted { .. } | What::InstanceHealthy { .. })
        };
        let (_, oldest) = self.pending.first()?;
        let due = Millis(oldest.clock.0 + NOTE_WAIT.0);
        let waits = self.pending.iter().all(|(_, event)| seen_again(&event.what));
        (waits && self.now < due).then_some(due)
    }

    pub(super) fn answer_fenced(&mut self) {
        let starts = !self.starting.is_empty();
        let routes = self.observed.routing && !mutant::is(Mutant::AbortIgnoresRoutes);
        if starts || routes {
            return;
        }
        let mut unfenced = Vec::new();
        if self.unfenced && !mutant::is(Mutant::AbortHidesUnfenced) {
            unfenced.push(format!("the target of {}", self.service));
        }
        if self.observed.is_in_doubt() {
            // A route that was sent before may still come into effect.
            unfenced.push(format!("the proxy of {}", self.service));
        }
        let told =
            if mutant::is(Mutant::AbortAckedUnfenced) { Generation(u64::MAX) } else { self.told };
        let answers = self.fenced.extract_if(.., |(_, generation)| *generation <= told);
        self.effects.extend(answers.map(|(ticket, _)| Effect::Answer(ticket, unfenced.clone())));
    }

    /// The plan that holds now: the deployment's, or the one that keeps what serves as it is.
    fn plan_now(&self) -> Option<(Cow<'_, Plan>, usize)> {
        if let Some(active) = &self.progress.active {
            return Some((Cow::Borrowed(&active.plan), active.stage));
        }
        let progress = &self.progress;
        let release = progress.serving.and_then(|number| self.releases.get(&number));
        if let (true, Some(release)) = (progress.up, release) {
            let request = strategy::Request {
                spec: &release.spec,
                from: Some(release.number),
                to: release.number,
                instances: progress.instances,
                before: progress.instances,
            };
            let standby = progress.standby.map(|(old, _)| old);
            let mut plan = strategy::standing(request, standby);
            let others = self.observed.fleets().keys().any(|other| *other != release.number);
            if let Some(stage) = plan.stages.first_mut().filter(|_| others) {
                // What is left over from a deployment that failed serves only if nobody else can.
                stage.goal.split = Split::Weights([(release.number, 100)].into());
            }
            return Some((Cow::Owned(plan), 0));
        }
        // Nothing should run: what is left over from a crash goes.
        let any = self.observed.fleets().keys().find_map(|number| self.releases.get(number))?;
        let request = strategy::Request {
            spec: &any.spec,
            from: None,
            to: any.number,
            instances: 0,
            before: 0,
        };
        Some((Cow::Owned(strategy::down(request)), 0))
    }

    fn has_traffic(&self, plan: &Plan) -> bool {
        let traffic = |number: ReleaseNumber| {
            self.releases.get(&number).is_some_and(|release| release.spec.traffic.is_some())
        };
        // Whoever still runs may still get requests.
        let fleets = self.observed.fleets().keys().copied();
        self.observed.route().is_some()
            || fleets.into_iter().any(traffic)
            || plan.from.is_some_and(traffic)
            || plan.to.is_some_and(traffic)
    }

    fn end_standby(&mut self) {
        let serving = self.progress.serving.and_then(|number| self.observed.fleet(number));
        if self.progress.up && serving.map_or(0, Fleet::ready) < self.progress.instances {
            // As long as what serves is not whole, what stands by may be needed.
            return;
        }
        if let Some((release, until)) = self.progress.standby
            && (self.now >= until || mutant::is(Mutant::StandbyEndsEarly))
            && self.progress.active.is_none()
            && !mutant::is(Mutant::StandbyNeverEnds)
        {
            self.push(What::StandbyEnded { release });
        }
    }

    fn note_failures(&mut self) {
        let Some(active) = &self.progress.active else { return };
        if active.paused.is_some() {
            return;
        }
        for note in notices(active, &self.observed, self.now) {
            if note.ends > 0 && self.starting.contains_key(&note.instance) {
                // It was seen to end before its start was answered: that comes first, or the same
                // end counts again after it.
                continue;
            }
            self.push(What::InstanceFailed(note));
        }
    }

    /// Acts, but a service that just serves replaces instances with growing waits, and a route
    /// that failed is tried again with growing waits: neither is a hot loop.
    fn paced(&mut self, mut actions: Vec<Action>) -> Next {
        let now = self.now;
        actions.retain_mut(|action| match action {
            Action::Start(ids) => {
                ids.retain(|id| !self.doubts.contains_key(id));
                !ids.is_empty()
            }
            Action::Retire(ids) => {
                ids.retain(|id| !self.doubts.contains_key(id) && !self.may_start_later(*id));
                !ids.is_empty()
            }
            Action::Route(_) | Action::Hook(_) => true,
        });
        actions.retain(|action| now >= self.route_after || !matches!(action, Action::Route(_)));
        let starts = |action: &Action| matches!(action, Action::Start(_));
        if self.progress.active.is_none() && actions.iter().any(starts) {
            if now < self.heal_after {
                actions.retain(|action| !starts(action));
            } else {
                if now.0 > self.heal_after.0 + HEAL_MS.1 {
                    self.heal_wait = HEAL_MS.0;
                }
                self.heal_after = Millis(now.0 + self.heal_wait);
                self.heal_wait = (self.heal_wait * 2).min(HEAL_MS.1);
            }
        }
        if actions.is_empty() {
            let after = [self.heal_after, self.route_after];
            let next = after.into_iter().filter(|at| *at > now).min();
            return self.rest(next);
        }
        self.act(actions);
        Next::Now
    }

    /// Whether a start is under way that a stop could overtake: one of an older generation is
    /// refused after the stop, one of the same generation is not.
    fn may_start_later(&self, id: InstanceId) -> bool {
        let newest = self.starting.get(&id).map(|(_, generation)| *generation);
        newest == Some(self.progress.generation) && !mutant::is(Mutant::StopOvertakesStart)
    }

    /// Writes the intent down, then begins.
    fn act(&mut self, actions: Vec<Action>) {
        self.push(What::Intended { actions: actions.clone() });
        if !mutant::is(Mutant::IntentNotWritten) {
            self.append(Tries::UntilWritten, Extra::default());
        }
        for action in actions {
            match action {
                Action::Start(ids) => self.start(ids),
                Action::Retire(ids) => self.retire(ids),
                Action::Route(route) => self.route(route),
                Action::Hook(point) => self.hook(point),
            }
        }
    }

    fn start(&mut self, ids: Vec<InstanceId>) {
        for id in &ids {
            // Whoever served under this name before was another one.
            self.observed.remove(*id);
            self.observed.put(*id, Instance::starting(self.now));
            let (count, generation) = self.starting.entry(*id).or_default();
            (*count, *generation) = (*count + 1, self.progress.generation);
        }
        self.effects.push(Effect::Start(ids, self.progress.generation));
    }

    fn retire(&mut self, ids: Vec<InstanceId>) {
        for id in &ids {
            self.observed.change(*id, |instance| instance.life = Life::Leaving);
        }
        self.effects.push(Effect::Retire(ids, self.progress.generation));
    }

    fn route(&mut self, route: Route) {
        self.observed.send_route(&route);
        self.revision += u64::from(!mutant::is(Mutant::RevisionKept));
        self.effects.push(Effect::Route(route, self.progress.generation, self.revision));
    }

    fn hook(&mut self, point: HookPoint) {
        let Some(active) = &self.progress.active else { return };
        // The hooks of a deployment are those of the release that it is about, also in its undo.
        let about = active.first_plan.to.or(active.first_plan.from);
        let Some(release) = about.and_then(|number| self.releases.get(&number)) else { return };
        let (release, deployment) = match point.hook(&release.spec.hooks) {
            Some(_) => (release.number, active.number),
            None => {
                let detail = "no such hook in the spec".to_owned();
                self.push(What::HookEnded { hook: point, ok: true, detail });
                return;
            }
        };
        self.hook_of = self.progress.active.as_ref().map(|one| (one.number, one.undo.is_some()));
        self.observed.hooking = Some(point);
        self.effects.push(Effect::Hook(point, release, deployment));
    }

    fn stage_done(&mut self) {
        self.close_trials();
        let Some(active) = &self.progress.active else { return };
        let (stage, last) = (active.stage, active.stage + 1 >= active.plan.stages.len());
        self.push(What::StageDone { stage });
        let Some(active) = self.progress.active.as_ref().filter(|_| last) else { return };
        let what = match &active.undo {
            Some(undo) => What::DeploymentEnded {
                state: match active.first_plan.from {
                    Some(_) => DeploymentState::RolledBack,
                    None => DeploymentState::Failed,
                },
                reasons: undo.reasons.clone(),
                serving: match mutant::is(Mutant::UndoServesNew) {
                    true => active.first_plan.to,
                    false => active.first_plan.from,
                },
                standby: None,
                needs_operator: false,
            },
            None => {
                let standby = active.plan.from.zip(active.plan.standby);
                What::DeploymentEnded {
                    state: DeploymentState::Completed,
                    reasons: Vec::new(),
                    serving: self.serving_after(active),
                    standby: standby.map(|(old, time)| (old, Millis(self.now.0 + time.0))),
                    needs_operator: false,
                }
            }
        };
        self.end(what);
    }

    fn serving_after(&self, active: &Active) -> Option<ReleaseNumber> {
        // A service that was taken down still knows what `up` brings back.
        match active.request {
            DeploymentKind::Down => self.progress.serving,
            DeploymentKind::Deploy
            | DeploymentKind::Rollback
            | DeploymentKind::Restart
            | DeploymentKind::Scale
            | DeploymentKind::Up => match mutant::is(Mutant::CompletedServesOld) {
                true => active.first_plan.from,
                false => active.first_plan.to,
            },
        }
    }

    /// The deployment cannot go on: traffic back first, then the instances.
    pub(super) fn fail(&mut self, reasons: Vec<String>, by_operator: bool) {
        let Some(active) = &self.progress.active else { return };
        let reasons = with_evidence(active, reasons);
        if active.undo.is_some() {
            let mut all = vec!["the undo failed; a person must look".to_owned()];
            all.extend(reasons);
            all.extend(active.undo.iter().flat_map(|undo| undo.reasons.clone()));
            let serving = active.first_plan.from;
            self.end(What::DeploymentEnded {
                state: DeploymentState::Failed,
                reasons: all,
                serving,
                standby: None,
                needs_operator: true,
            });
            return;
        }
        if !by_operator && !active.plan.automatic_rollback && active.first_plan.from.is_some() {
            self.push(What::Paused { actor: "rollway".into(), reasons });
            return;
        }
        let spec_of = active.first_plan.from.or(active.first_plan.to);
        let Some(release) = spec_of.and_then(|number| self.releases.get(&number)) else { return };
        let ready = active.first_plan.from.and_then(|from| self.observed.fleet(from));
        let ready = ready.map_or(0, Fleet::ready);
        let about = active.first_plan.to.and_then(|number| self.releases.get(&number));
        let hooks = about.map(|about| about.spec.hooks.clone()).unwrap_or_default();
        // While the old release is restored, the new one gets no more than it has.
        let by_capacity = active.current().is_some_and(|s| s.goal.split == Split::Capacity);
        let split = match self.observed.route().map_or(Split::Capacity, Route::split) {
            Split::Capacity if !by_capacity => Split::Nothing,
            split @ (Split::Capacity | Split::Weights(_) | Split::Nothing) => split,
        };
        let plan = strategy::undo_from(&active.first_plan, &release.spec, ready, &split);
        let plan = plan.with_hooks_of(&hooks);
        let more = u64::from(!mutant::is(Mutant::UndoKeepsGeneration));
        let generation = Generation(self.progress.generation.0 + more);
        self.push(What::UndoBegan { reasons, by_operator, plan, generation });
    }

    fn end(&mut self, what: What) {
        self.push(what);
        self.asked.clear();
        self.waiting = None;
        self.renew_snapshot();
        self.append(Tries::UntilWritten, Extra { rows: Rows::Deployment, ..Extra::default() });
        let switched = std::mem::take(&mut self.switched);
        self.effects
            .extend(switched.into_iter().map(|(_, ticket)| Effect::Answer(ticket, Vec::new())));
        self.effects.push(Effect::Ended);
    }
}

impl Append {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.extra.rows == Rows::None && self.extra.audit.is_none()
    }
}

fn with_evidence(active: &Active, mut reasons: Vec<String>) -> Vec<String> {
    if let Some(first) = active.failures.first() {
        // What a reason says already is not evidence for it.
        let new = |line: &&String| !first.why.contains(line.as_str());
        reasons.extend(first.evidence.iter().filter(new).map(|line| format!("| {line}")));
    }
    reasons
}
