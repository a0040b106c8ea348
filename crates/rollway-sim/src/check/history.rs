//! What the history on disk may say: each event must be allowed by those before it.

use rollway_core::analysis::Trial;
use rollway_core::event::{DeploymentKind, Event, What};
use rollway_core::ids::ReleaseNumber;
use rollway_core::plan::{Action, Gate, Plan, Slots, Stage};
use rollway_core::progress::Progress;
use rollway_core::units::Millis;

use crate::world::World;

/// How many instances there may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Bound {
    pub(super) stages: Vec<(u32, Vec<ReleaseNumber>)>,
}

impl Bound {
    fn add(&mut self, plan: &Plan) {
        self.stages.extend(plan.stages.iter().map(|stage| {
            let slots = &stage.goal.slots;
            let exact: u32 = slots
                .values()
                .map(|slots| match slots {
                    Slots::Exactly(count) => *count,
                    Slots::Keep => 0,
                })
                .sum();
            let keeps = slots.iter().filter(|(_, slots)| **slots == Slots::Keep);
            (exact + stage.pace.surge, keeps.map(|(release, _)| *release).collect())
        }));
    }
}

impl World {
    /// An event is on disk.
    pub(crate) fn recorded(&mut self, deployment: Option<u64>, event: &Event) {
        self.follows(event);
        if let Some((invariant, what)) = self.checks.rules.take(event) {
            self.wrong(invariant, &what);
        }
        let before = state(&self.checks.progress);
        let was = self.checks.progress.active.as_ref().map(|active| active.number);
        if let Err(illegal) = self.checks.progress.apply(event) {
            return self.wrong("I6", &illegal.to_string());
        }
        let checks = &mut self.checks;
        let is = checks.progress.active.as_ref().map(|active| active.number);
        let kind = event.what.kind();
        checks.transitions.insert((checks.last_kind, kind));
        checks.last_kind = kind;
        checks.states.insert((before, state(&checks.progress)));
        match &event.what {
            What::Intended { actions } => self.intends(actions),
            What::DeploymentBegan { plan, .. } => {
                if let Some(to) = plan.to {
                    checks.barriers.remove(&to);
                }
                self.renew_bound();
            }
            What::UndoBegan { .. }
            | What::DeploymentEnded { .. }
            | What::StandbyEnded { .. }
            | What::TookOver { .. } => self.renew_bound(),
            What::InstanceStarted { .. }
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
            | What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. } => {}
        }
        if deployment.is_some() && deployment != was && deployment != is {
            self.wrong(
                "I6",
                &format!("{kind} is said of deployment {deployment:?}, which is over"),
            );
        }
    }

    /// What an event says must be allowed by those before it.
    fn follows(&mut self, event: &Event) {
        let progress = &self.checks.progress;
        let now = event.clock;
        let newest = progress.generation;
        let active = progress.active.as_ref();
        let stage = active.and_then(|active| active.current());
        let wrong = match &event.what {
            What::DeploymentBegan { generation, .. }
            | What::UndoBegan { generation, .. }
            | What::TookOver { generation, .. } => {
                (*generation <= newest).then_some(("I1", "a generation is used again"))
            }
            What::StandbyEnded { .. } => {
                let early = progress.standby.is_none_or(|(_, until)| now < until);
                early.then_some(("I12", "what stands by ends before its time"))
            }
            What::Intended { actions } => {
                let starts = |action: &Action| matches!(action, Action::Start(_));
                let paused = active.is_some_and(|active| active.paused.is_some());
                (paused && actions.iter().any(starts))
                    .then_some(("I4", "a deployment that is paused starts instances"))
            }
            What::StageDone { .. } => self
                .is_shut(event.clock)
                .then_some(("I33", "a stage ends although its gate is shut")),
            What::DeploymentEnded { serving, .. } => {
                let expected = active.map(|active| match (&active.undo, active.request) {
                    (Some(_), _) => active.first_plan.from,
                    (None, DeploymentKind::Down) => progress.serving,
                    (None, _) => active.first_plan.to,
                });
                (expected != Some(*serving)).then_some(("I5", "another release is to serve"))
            }
            What::InstanceStarted { .. }
            | What::InstancesStarted { .. }
            | What::InstanceHealthy { .. }
            | What::InstanceFailed(_)
            | What::InstanceRetired { .. }
            | What::InstancesRetired { .. }
            | What::Routed { .. }
            | What::ActionFailed { .. }
            | What::StageReached { .. }
            | What::Approved { .. }
            | What::Paused { .. }
            | What::Resumed { .. }
            | What::HookEnded { .. }
            | What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. } => None,
        };
        let is_reached = matches!(event.what, What::StageReached { .. });
        let young = stage.filter(|_| is_reached).and_then(|stage| self.too_young(stage));
        if let Some((invariant, what)) = wrong {
            self.wrong(invariant, what);
        }
        if let Some(what) = young {
            self.wrong("I10", &what);
        }
        self.gates(event);
    }

    /// Whether the gate of the stage under way is shut.
    fn is_shut(&self, now: Millis) -> bool {
        let active = self.checks.progress.active.as_ref();
        let stage = active.and_then(|active| active.current());
        let opened = self.checks.opened;
        match stage.and_then(|stage| stage.gate.as_ref()) {
            None => false,
            Some(Gate::Approve(_)) => !opened,
            Some(Gate::Analyse(watch)) => {
                let trial = active.and_then(|active| active.trials.get(watch));
                !opened && !trial.is_some_and(Trial::advances)
            }
            Some(Gate::Hold(time)) => {
                let held = self.checks.rules.held_since();
                !opened && held.is_none_or(|at| now.0 < at.0 + time.0)
            }
        }
    }

    /// Whether a goal is said to be reached while too many of its instances have not been healthy
    /// for long enough.
    fn too_young(&self, stage: &Stage) -> Option<String> {
        let time = stage.pace.min_healthy_time.0;
        for (release, slots) in &stage.goal.slots {
            let Slots::Exactly(wanted) = slots else { continue };
            let all = self.target.processes.iter().filter(|(id, _)| id.release == *release);
            let (young, old): (Vec<_>, Vec<_>) =
                all.partition(|(_, one)| one.first_passed.saturating_add(time) > self.now);
            let (young, old) = (young.len() as u32, old.len() as u32);
            if old < *wanted && young + old >= *wanted {
                return Some(format!("{old} of {wanted} {release} are healthy for {time} ms"));
            }
        }
        None
    }

    /// Which gates a person has opened.
    fn gates(&mut self, event: &Event) {
        let checks = &mut self.checks;
        if let What::Approved { full, .. } = &event.what {
            checks.opened = true;
            checks.all_open |= full;
        }
        if matches!(event.what, What::StageDone { .. } | What::UndoBegan { .. }) {
            checks.opened = checks.all_open;
        }
        if let What::DeploymentBegan { .. } = event.what {
            (checks.opened, checks.all_open) = (false, false);
        }
    }

    fn intends(&mut self, actions: &[Action]) {
        for action in actions {
            let (kind, ids) = match action {
                Action::Start(ids) => ("start", ids),
                Action::Retire(ids) => ("stop", ids),
                Action::Route(_) | Action::Hook(_) => continue,
            };
            for id in ids {
                self.checks.intended.entry((kind, *id)).or_default().0 += 1;
            }
        }
    }

    fn renew_bound(&mut self) {
        let mut bound = Bound::default();
        let progress = &self.checks.progress;
        if let Some(active) = &progress.active {
            bound.add(&active.plan);
            bound.add(&active.first_plan);
        }
        let serving = progress.serving.filter(|_| progress.up);
        if let Some(release) = serving.and_then(|number| self.store.releases.get(&number)) {
            bound.add(&rollway_core::strategy::standing(
                rollway_core::strategy::Request {
                    spec: &release.spec,
                    from: Some(release.number),
                    to: release.number,
                    instances: progress.instances,
                    before: progress.instances,
                },
                progress.standby.map(|(old, _)| old),
            ));
        }
        self.checks.bounds.push((self.now, bound));
    }

    /// A control plane that opens the store folds what everybody folds.
    pub(crate) fn same_fold(&mut self, folded: &Progress) {
        let all = &self.checks.progress;
        let same = folded.active == all.active
            && folded.serving == all.serving
            && folded.instances == all.instances
            && folded.up == all.up
            && folded.standby == all.standby
            && folded.generation == all.generation
            && folded.deployments == all.deployments
            && folded.needs_operator == all.needs_operator;
        if !same {
            self.wrong("I17", "the snapshot and the events after it are not the history");
        }
    }
}

fn state(progress: &Progress) -> &'static str {
    match (&progress.active, &progress.last) {
        (Some(active), _) if active.undo.is_some() => "undoing",
        (Some(active), _) => active.state().name(),
        (None, Some(last)) => last.state.name(),
        (None, None) => "none",
    }
}
