//! Progress: what the events add up to. After a crash: load, fold, observe, go on.

mod unproven;

use std::collections::{BTreeMap, BTreeSet};

pub use unproven::Unproven;

use crate::analysis::Trial;
use crate::event::{DeploymentKind, DeploymentState, Event, FORMAT, FailureNote, What};
use crate::ids::{Generation, InstanceId, ReleaseNumber};
use crate::mutant::{self, Mutant};
use crate::observed::{Health, Life, Observed};
use crate::plan::{HookPoint, Plan, Stage};
use crate::units::Millis;
use crate::verdict::decision::{Decision, Then, Verdict};

/// So many failures are kept with their evidence; more are only counted.
pub const FAILURES_KEPT_MAX: usize = 10;

/// An event that cannot follow what came before: a bug of ours, or a damaged history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} cannot follow: {why}")]
pub struct Illegal {
    /// The kind of the event.
    pub event: String,
    /// Why not.
    pub why: String,
}

/// What the events of one service add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// The release that serves.
    pub serving: Option<ReleaseNumber>,
    /// How many instances are wanted.
    pub instances: u32,
    /// Whether the service should run.
    pub up: bool,
    /// The release that is kept running after a switch, and until when.
    pub standby: Option<(ReleaseNumber, Millis)>,
    /// The fence.
    pub generation: Generation,
    /// The number of the last deployment.
    pub deployments: u64,
    /// The deployment under way.
    pub active: Option<Active>,
    /// How the last one ended.
    pub last: Option<Outcome>,
    /// Whether a person must look.
    pub needs_operator: bool,
    /// Who has not passed its probes since it was started.
    pub unproven: Unproven,
    /// The clock of the last event.
    pub clock: Millis,
}

/// The deployment under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Active {
    /// Its number.
    pub number: u64,
    /// What was asked for.
    pub request: DeploymentKind,
    /// Who asked.
    pub actor: String,
    /// The plan that is being carried out: the undo's, once it is being undone.
    pub plan: Plan,
    /// The plan that was made first.
    pub first_plan: Plan,
    /// Why it is being undone.
    pub undo: Option<Undo>,
    /// The stage.
    pub stage: usize,
    /// When the stage began.
    pub stage_began: Millis,
    /// When its goal was reached.
    pub reached: Option<Millis>,
    /// Whether its gate was opened by a person.
    pub approved: bool,
    /// Whether all gates are open.
    pub full: bool,
    /// Since when it is paused.
    pub paused: Option<Millis>,
    /// Why it is paused, if not by the operator's wish.
    pub pause_reasons: Vec<String>,
    /// The hooks that ended, and whether well.
    pub hooks: BTreeMap<HookPoint, bool>,
    /// The exit of the last hook that failed, with the last lines of its output.
    pub hook_failure: Option<String>,
    /// Instances started.
    pub started: u32,
    /// Instances that failed.
    pub failed: u32,
    /// The first of them with their evidence.
    pub failures: Vec<FailureNote>,
    /// How many ends of each instance have been counted.
    pub counted: BTreeMap<InstanceId, u32>,
    /// Instances that run but were given up.
    pub condemned: BTreeSet<InstanceId>,
    /// When it last got on.
    pub last_progress: Millis,
    /// When it began.
    pub began: Millis,
    /// How long each finished stage took.
    pub stage_times: Vec<Millis>,
    /// The judgements that have begun, by their places among the plan's watches.
    pub trials: BTreeMap<usize, Trial>,
}

/// Why a deployment is being undone.
#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    /// The outcome first, then the causes.
    pub reasons: Vec<String>,
    /// Whether a person asked.
    pub by_operator: bool,
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The deployment as it was at the end.
    pub deployment: Active,
    /// How.
    pub state: DeploymentState,
    /// Why.
    pub reasons: Vec<String>,
    /// When.
    pub ended: Millis,
}

impl Active {
    /// The stage that is being carried out; absent = all are done.
    #[must_use]
    pub fn current(&self) -> Option<&Stage> {
        self.plan.stages.get(self.stage)
    }

    /// Why a judge rolls it back: the outcome first, then the causes.
    #[must_use]
    pub fn condemned_by_judge(&self) -> Option<Vec<String>> {
        if self.full || self.undo.is_some() {
            return None;
        }
        let worse = |verdict: &&Verdict| match &verdict.decision {
            Decision::Rollback { .. } => true,
            Decision::Inconclusive { then, .. } => *then == Then::Rollback,
            Decision::Advance | Decision::Continue { .. } => false,
        };
        let verdict =
            self.trials.values().filter_map(|trial| trial.verdict.as_ref()).find(worse)?;
        let mut reasons = vec!["the judge found the new release worse".to_owned()];
        reasons.extend(verdict.reasons());
        Some(reasons)
    }

    /// Whether a judgement beside the steps has come to its deadline without a decision, so that
    /// a person must say how it goes on.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let held = |(place, trial): (&usize, &Trial)| {
            let watch = self.plan.watches.get(*place);
            watch.is_some_and(|watch| !watch.is_gate && watch.stages.1 >= self.stage)
                && trial.holds()
        };
        self.trials.iter().any(held)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> DeploymentState {
        match (self.paused, self.started, self.stage) {
            (Some(_), _, _) => DeploymentState::Paused,
            (None, 0, 0) => DeploymentState::Pending,
            (None, _, _) => DeploymentState::InProgress,
        }
    }
}

impl Progress {
    /// Takes one event. An event that cannot follow changes nothing and is an error.
    pub fn apply(&mut self, event: &Event) -> Result<(), Illegal> {
        let illegal = |why: &str| Illegal { event: event.what.kind().into(), why: why.into() };
        let now = event.clock;
        match &event.what {
            What::DeploymentBegan { .. } => self.begin(event, &illegal)?,
            What::TookOver { generation, .. } => {
                self.fence(*generation, &illegal)?;
                self.generation = *generation;
            }
            What::StandbyEnded { .. } => self.standby = None,
            What::DeploymentEnded { .. } => self.end(event, &illegal)?,
            What::Intended { .. } | What::ActionFailed { .. } => {}
            What::InstanceStarted { .. }
            | What::InstancesStarted { .. }
            | What::InstanceHealthy { .. }
            | What::InstanceFailed(_)
            | What::InstanceRetired { .. }
            | What::InstancesRetired { .. }
            | What::Routed { .. } => {
                if let Some(active) = &mut self.active {
                    active.instance_event(event);
                }
            }
            What::UndoBegan { generation, .. } => {
                self.fence(*generation, &illegal)?;
                let active = self.active.as_mut().ok_or_else(|| illegal("nothing is active"))?;
                active.undo(event);
                self.generation = *generation;
            }
            What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. } => {
                let active = self.active.as_mut().ok_or_else(|| illegal("nothing is active"))?;
                active.judged(event).map_err(|why| illegal(&why))?;
            }
            What::StageReached { .. }
            | What::StageDone { .. }
            | What::Approved { .. }
            | What::Paused { .. }
            | What::Resumed { .. }
            | What::HookEnded { .. } => {
                let active = self.active.as_mut().ok_or_else(|| illegal("nothing is active"))?;
                active.step(event, &illegal)?;
            }
        }
        self.unproven.take(&event.what);
        self.clock = self.clock.max(now);
        Ok(())
    }

    /// The fence never goes back: targets that saw the newer one would refuse everything.
    fn fence(&self, next: Generation, illegal: &dyn Fn(&str) -> Illegal) -> Result<(), Illegal> {
        match next < self.generation {
            true => Err(illegal(&format!("{next} is older than {}", self.generation))),
            false => Ok(()),
        }
    }

    fn begin(&mut self, event: &Event, illegal: &dyn Fn(&str) -> Illegal) -> Result<(), Illegal> {
        let What::DeploymentBegan { deployment, format, request, actor, plan, generation } =
            &event.what
        else {
            return Err(illegal("not a begin"));
        };
        if *format > FORMAT {
            // A newer Rollway wrote it: to read only what is known here would decide otherwise.
            return Err(illegal(&format!(
                "its events have the format {format}, and this version of rollway reads up to \
                 {FORMAT}; use the newer one"
            )));
        }
        if self.active.is_some() && !mutant::is(Mutant::TwoDeployments) {
            return Err(illegal("another deployment is active"));
        }
        if *deployment <= self.deployments {
            return Err(illegal(&format!("deployment {} was before it", self.deployments)));
        }
        self.fence(*generation, illegal)?;
        self.deployments = *deployment;
        self.generation = *generation;
        self.active = Some(Active {
            number: *deployment,
            request: *request,
            actor: actor.clone(),
            plan: plan.clone(),
            first_plan: plan.clone(),
            undo: None,
            stage: 0,
            stage_began: event.clock,
            reached: None,
            approved: false,
            full: false,
            paused: None,
            pause_reasons: Vec::new(),
            hooks: BTreeMap::new(),
            hook_failure: None,
            started: 0,
            failed: 0,
            failures: Vec::new(),
            counted: BTreeMap::new(),
            condemned: BTreeSet::new(),
            last_progress: event.clock,
            began: event.clock,
            stage_times: Vec::new(),
            trials: BTreeMap::new(),
        });
        Ok(())
    }

    fn end(&mut self, event: &Event, illegal: &dyn Fn(&str) -> Illegal) -> Result<(), Illegal> {
        let What::DeploymentEnded { state, reasons, serving, standby, needs_operator } =
            &event.what
        else {
            return Err(illegal("not an end"));
        };
        let deployment = self.active.take().ok_or_else(|| illegal("nothing is active"))?;
        self.serving = *serving;
        self.standby = *standby;
        self.needs_operator = *needs_operator;
        let undone = deployment.undo.is_some();
        self.up = serving.is_some()
            && (undone
                || mutant::is(Mutant::DownStaysUp)
                || deployment.request != DeploymentKind::Down);
        if serving.is_some() {
            let plan = &deployment.first_plan;
            self.instances = if undone { plan.instances_before } else { plan.instances };
        }
        if deployment.request == DeploymentKind::Down && !undone {
            // What was desired before is what `up` brings back.
            self.instances = deployment.first_plan.instances_before;
        }
        let (state, reasons, ended) = (*state, reasons.clone(), event.clock);
        self.last = Some(Outcome { deployment, state, reasons, ended });
        Ok(())
    }
}

impl Active {
    fn instance_event(&mut self, event: &Event) {
        self.last_progress = event.clock;
        match &event.what {
            What::InstanceStarted { instance, .. } => {
                self.started += 1;
                self.counted.remove(instance);
                self.condemned.remove(instance);
            }
            What::InstancesStarted { instances } => self.started += instances.len() as u32,
            What::InstanceFailed(note) => {
                self.failed += 1;
                if !mutant::is(Mutant::FailureCountedTwice) {
                    self.counted.insert(note.instance, note.ends);
                }
                self.condemned.insert(note.instance);
                if self.failures.len() < FAILURES_KEPT_MAX {
                    self.failures.push(note.clone());
                }
            }
            What::InstanceRetired { instance, .. } => {
                self.counted.remove(instance);
                self.condemned.remove(instance);
            }
            What::InstanceHealthy { .. } | What::InstancesRetired { .. } | What::Routed { .. } => {}
            What::DeploymentBegan { .. }
            | What::Intended { .. }
            | What::ActionFailed { .. }
            | What::StageReached { .. }
            | What::StageDone { .. }
            | What::Approved { .. }
            | What::Paused { .. }
            | What::Resumed { .. }
            | What::HookEnded { .. }
            | What::UndoBegan { .. }
            | What::DeploymentEnded { .. }
            | What::StandbyEnded { .. }
            | What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. }
            | What::TookOver { .. } => unreachable!("only events of instances and routes"),
        }
    }

    /// Takes in what a judgement has learned or decided.
    fn judged(&mut self, event: &Event) -> Result<(), String> {
        match &event.what {
            What::AnalysisBegan { watch, sample } => {
                let known = self.plan.watches.get(*watch);
                let by = &known.ok_or_else(|| format!("there is no watch {watch}"))?.by;
                let trial = Trial::begin(by, event.clock, sample)?;
                self.trials.insert(*watch, trial);
                Ok(())
            }
            What::AnalysisSample { watch, id, sample } => {
                let trial = self.trials.get_mut(watch);
                let trial = trial.ok_or_else(|| format!("watch {watch} has not begun"))?;
                trial.take(*id, event.clock, sample)
            }
            What::AnalysisVerdict { watch, verdict } => {
                let trial = self.trials.get_mut(watch);
                let trial = trial.ok_or_else(|| format!("watch {watch} has not begun"))?;
                trial.verdict = Some((**verdict).clone());
                Ok(())
            }
            What::DeploymentBegan { .. }
            | What::Intended { .. }
            | What::InstanceStarted { .. }
            | What::InstancesStarted { .. }
            | What::InstanceHealthy { .. }
            | What::InstanceFailed(_)
            | What::InstanceRetired { .. }
            | What::InstancesRetired { .. }
            | What::Routed { .. }
            | What::ActionFailed { .. }
            | What::StageReached { .. }
            | What::StageDone { .. }
            | What::Approved { .. }
            | What::Paused { .. }
            | What::Resumed { .. }
            | What::HookEnded { .. }
            | What::UndoBegan { .. }
            | What::DeploymentEnded { .. }
            | What::StandbyEnded { .. }
            | What::TookOver { .. } => unreachable!("only events of a judgement"),
        }
    }

    fn undo(&mut self, event: &Event) {
        let What::UndoBegan { reasons, by_operator, plan, .. } = &event.what else { return };
        self.undo = Some(Undo { reasons: reasons.clone(), by_operator: *by_operator });
        self.plan = plan.clone();
        if !mutant::is(Mutant::UndoKeepsFailures) {
            self.failed = 0;
        }
        self.counted.clear();
        self.paused = None;
        self.hooks.clear();
        self.enter(0, event.clock);
    }

    fn enter(&mut self, stage: usize, now: Millis) {
        self.stage = stage;
        self.stage_began = now;
        self.reached = None;
        self.approved &= mutant::is(Mutant::ApprovalStays);
        self.last_progress = now;
    }

    fn step(&mut self, event: &Event, illegal: &dyn Fn(&str) -> Illegal) -> Result<(), Illegal> {
        let now = event.clock;
        match &event.what {
            What::StageReached { stage } if *stage == self.stage => {
                self.reached = Some(now);
                self.last_progress = now;
            }
            What::StageDone { stage } if *stage == self.stage => {
                self.stage_times.push(Millis(now.0.saturating_sub(self.stage_began.0)));
                self.enter(stage + 1, now);
            }
            What::Approved { stage, full, .. } if *stage == self.stage => {
                if !self.approved || *full && !self.full {
                    // Opening what is open puts no deadline off.
                    self.last_progress = now;
                }
                self.approved = true;
                self.full |= full;
            }
            What::Paused { reasons, .. } => {
                self.paused = self.paused.or(Some(now));
                self.pause_reasons.clone_from(reasons);
            }
            What::Resumed { .. } => {
                // Time that was paused counts neither for a hold nor for a deadline.
                let since = self.paused.take().ok_or_else(|| illegal("it is not paused"))?;
                let lost = match mutant::is(Mutant::PauseCountsForHold) {
                    true => 0,
                    false => now.0.saturating_sub(since.0),
                };
                self.reached = self.reached.map(|at| Millis(at.0.saturating_add(lost)));
                self.last_progress = now;
                self.pause_reasons.clear();
            }
            What::HookEnded { hook, ok, detail } => {
                self.hooks.insert(*hook, *ok);
                if !ok {
                    self.hook_failure = Some(detail.clone());
                }
                self.last_progress = now;
            }
            What::StageReached { .. } | What::StageDone { .. } | What::Approved { .. } => {
                return Err(illegal("it is about another stage"));
            }
            What::DeploymentBegan { .. }
            | What::Intended { .. }
            | What::InstanceStarted { .. }
            | What::InstancesStarted { .. }
            | What::InstanceHealthy { .. }
            | What::InstanceFailed(_)
            | What::InstanceRetired { .. }
            | What::InstancesRetired { .. }
            | What::Routed { .. }
            | What::ActionFailed { .. }
            | What::UndoBegan { .. }
            | What::DeploymentEnded { .. }
            | What::StandbyEnded { .. }
            | What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. }
            | What::TookOver { .. } => unreachable!("only events of a stage"),
        }
        Ok(())
    }
}

/// The failures of new instances that have not been counted yet.
#[must_use]
pub fn notices(active: &Active, observed: &Observed, now: Millis) -> Vec<FailureNote> {
    let (Some(release), Some(stage)) = (active.plan.to, active.current()) else {
        return Vec::new();
    };
    let Some(fleet) = observed.fleet(release) else { return Vec::new() };
    let deadline = stage.pace.healthy_deadline;
    let mut notes = Vec::new();
    for slot in fleet.waiting_slots().chain(fleet.ended_slots()) {
        let id = InstanceId { release, slot };
        let Some(instance) = observed.get(id).filter(|seen| seen.started >= active.began) else {
            continue;
        };
        let counted = active.counted.get(&id).copied();
        let age = Millis(now.0.saturating_sub(instance.started.0));
        let (ends, why) = match (&instance.health, instance.life) {
            _ if instance.ends > counted.unwrap_or(0) => {
                let how = instance.evidence.first().map_or("ended by itself", String::as_str);
                (instance.ends, how.to_owned())
            }
            _ if counted.is_some() || instance.life == Life::Restarting => continue,
            (Health::Unhealthy(reason), _) => (0, format!("is not healthy: {reason}")),
            (Health::Starting, _) if age >= deadline => {
                (0, format!("was not healthy {deadline} after its start"))
            }
            (Health::Starting | Health::Healthy(_), _) => continue,
        };
        notes.push(FailureNote { instance: id, ends, why, evidence: instance.evidence.clone() });
    }
    notes
}
