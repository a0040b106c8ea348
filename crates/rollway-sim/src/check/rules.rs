//! Rules on the history that are kept here a second time: the fold of the engine is part of what
//! is checked, so it is not asked.

use std::collections::BTreeMap;

use rollway_core::event::{DeploymentKind, Event, FailureNote, What};
use rollway_core::ids::{InstanceId, ReleaseNumber};
use rollway_core::plan::{Action, HookPoint, Plan};
use rollway_core::units::Millis;

/// An invariant, and what does not hold.
pub(super) type Wrong = (&'static str, String);

/// The deployment under way.
#[derive(Debug)]
struct Active {
    request: DeploymentKind,
    first_plan: Plan,
    undone: bool,
    plan: Plan,
    stage: usize,
    /// When the goal of the stage was reached, and how long it was paused since then.
    reached: Option<Millis>,
    paused: Option<Millis>,
    paused_for: u64,
    /// A hook that failed, after which nothing may go on.
    hook_failed: Option<HookPoint>,
    failures: u32,
    /// When something came of what was done, at the latest.
    last: Millis,
    /// The failures that were told: how often each instance had ended by itself.
    told: BTreeMap<InstanceId, u32>,
}

/// What the history says so far.
#[derive(Debug, Default)]
pub(super) struct Rules {
    active: Option<Active>,
    /// The release that is to run.
    pub(super) serving: Option<ReleaseNumber>,
    /// Whether it is to run.
    pub(super) up: bool,
    /// How many of it.
    pub(super) instances: u32,
}

impl Rules {
    /// Takes in an event; what it says must be allowed by those before it.
    pub(super) fn take(&mut self, event: &Event) -> Option<Wrong> {
        let now = event.clock;
        match &event.what {
            What::DeploymentBegan { request, plan, deployment, .. } => {
                let before = self.active.replace(Active::new(*request, plan, now));
                before.map(|_| {
                    ("I2", format!("deployment {deployment} begins while another is under way"))
                })
            }
            What::DeploymentEnded { serving, needs_operator, .. } => {
                let wrong = self
                    .active
                    .as_ref()
                    .and_then(|active| needs_operator.then(|| active.may_give_up(now)).flatten());
                wrong.or(self.ends(*serving))
            }
            What::UndoBegan { .. }
            | What::Paused { .. }
            | What::Resumed { .. }
            | What::StageReached { .. }
            | What::StageDone { .. }
            | What::HookEnded { .. }
            | What::Intended { .. }
            | What::InstanceStarted { .. }
            | What::InstanceFailed(_)
            | What::InstanceRetired { .. } => self.active.as_mut()?.take(&event.what, now),
            What::InstancesStarted { .. }
            | What::InstanceHealthy { .. }
            | What::InstancesRetired { .. }
            | What::Routed { .. }
            | What::ActionFailed { .. }
            | What::Approved { .. }
            | What::StandbyEnded { .. }
            | What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. }
            | What::TookOver { .. } => None,
        }
    }

    /// Since when the goal of the stage is reached, without the time that was paused.
    pub(super) fn held_since(&self) -> Option<Millis> {
        let active = self.active.as_ref()?;
        active.reached.map(|at| Millis(at.0 + active.paused_for))
    }

    fn ends(&mut self, serving: Option<ReleaseNumber>) -> Option<Wrong> {
        let active = self.active.take()?;
        let is_down = active.request == DeploymentKind::Down && !active.undone;
        self.serving = serving;
        self.up = serving.is_some() && !is_down;
        let plan = &active.first_plan;
        if serving.is_some() {
            let as_before = active.undone || is_down;
            self.instances = if as_before { plan.instances_before } else { plan.instances };
        }
        let failed = active.hook_failed.filter(|_| !active.undone);
        failed.map(|hook| ("I4", format!("it completes although {} failed", hook.name())))
    }
}

impl Active {
    fn new(request: DeploymentKind, plan: &Plan, now: Millis) -> Self {
        Self {
            request,
            first_plan: plan.clone(),
            undone: false,
            plan: plan.clone(),
            stage: 0,
            reached: None,
            paused: None,
            paused_for: 0,
            hook_failed: None,
            failures: 0,
            last: now,
            told: BTreeMap::new(),
        }
    }

    fn take(&mut self, what: &What, now: Millis) -> Option<Wrong> {
        if !matches!(what, What::Intended { .. }) {
            self.last = now;
        }
        match what {
            What::UndoBegan { plan, .. } => {
                let undo = Self::new(self.request, &self.first_plan, now);
                *self = Self { plan: plan.clone(), undone: true, ..undo };
                None
            }
            What::Paused { .. } => {
                self.paused = self.paused.or(Some(now));
                None
            }
            What::Resumed { .. } => {
                let since = self.paused.take().unwrap_or(now);
                self.paused_for += now.0.saturating_sub(since.0);
                None
            }
            What::StageReached { .. } => {
                (self.reached, self.paused_for) = (Some(now), 0);
                None
            }
            What::StageDone { stage } => {
                self.reached = None;
                self.stage = stage + 1;
                let hook = self.hook_failed;
                hook.map(|hook| {
                    ("I4", format!("stage {stage} ends although {} failed", hook.name()))
                })
            }
            What::HookEnded { hook, ok, .. } => {
                // What has happened is not undone for these.
                let matters = !matches!(hook, HookPoint::AfterDeploy | HookPoint::OnRollback);
                if !ok && matters {
                    self.hook_failed = Some(*hook);
                }
                None
            }
            What::Intended { actions } => self.goes_on().or_else(|| self.at_once(actions)),
            What::InstanceStarted { instance, .. } | What::InstanceRetired { instance, .. } => {
                self.told.remove(instance);
                None
            }
            What::InstanceFailed(note) => self.fails(note),
            What::DeploymentBegan { .. }
            | What::DeploymentEnded { .. }
            | What::InstancesStarted { .. }
            | What::InstanceHealthy { .. }
            | What::InstancesRetired { .. }
            | What::Routed { .. }
            | What::ActionFailed { .. }
            | What::Approved { .. }
            | What::StandbyEnded { .. }
            | What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. }
            | What::TookOver { .. } => None,
        }
    }

    /// An undo is given up, and a person must look.
    fn may_give_up(&self, now: Millis) -> Option<Wrong> {
        let pace = &self.plan.stages.get(self.stage)?.pace;
        let (failed, allowed) = (self.failures, pace.failures_allowed);
        let is_late = now.0 >= self.last.0 + pace.progress_deadline.0;
        (!is_late && failed <= allowed && self.hook_failed.is_none()).then(|| {
            ("I22", format!("an undo is given up with {failed} failures; {allowed} may be"))
        })
    }

    /// Something is done: not after more failures than are allowed.
    fn goes_on(&self) -> Option<Wrong> {
        let allowed = self.plan.stages.get(self.stage)?.pace.failures_allowed;
        let failed = self.failures;
        (failed > allowed).then(|| {
            ("I4", format!("it goes on although {failed} instances failed; {allowed} may"))
        })
    }

    /// No more instances start at once than may be changed at once.
    fn at_once(&self, actions: &[Action]) -> Option<Wrong> {
        let most = self.plan.stages.get(self.stage)?.pace.max_parallel;
        let started = |action: &Action| match action {
            Action::Start(ids) => ids.len() as u32,
            Action::Retire(_) | Action::Route(_) | Action::Hook(_) => 0,
        };
        let starts: u32 = actions.iter().map(started).sum();
        (most > 0 && starts > most)
            .then(|| ("I9", format!("{starts} instances start at once; {most} may")))
    }

    /// One failure is told once: the same number of ends is the same failure.
    fn fails(&mut self, note: &FailureNote) -> Option<Wrong> {
        self.failures += 1;
        let before = self.told.insert(note.instance, note.ends);
        // A start that failed has not ended, and there may be several.
        let again = before == Some(note.ends) && note.why != "could not be started";
        again.then(|| ("I29", format!("a failure of {} is told twice", note.instance)))
    }
}
