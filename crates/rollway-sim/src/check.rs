//! What must always hold. The checks go by what targets and proxies saw and by the history on
//! disk; what an engine believes is never asked.

use std::collections::{BTreeMap, BTreeSet};

use rollway_core::engine::{Certainty, Failed, Input};
use rollway_core::event::{DeploymentKind, Event, What};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber};
use rollway_core::plan::{Action, Gate, Plan, Route, Slots, Stage};
use rollway_core::progress::Progress;

use crate::happening::Call;
use crate::model::{Aborted, Phase, Plane, Process, shares};
use crate::world::World;

/// An observation may be this old: three probes a second apart fail, and the word gets round.
const SLACK_MS: u64 = 8000;
/// So long it takes until a control plane has heard that an instance is well.
const WORD_MS: u64 = 4000;
/// After this long a control plane that was stopped, cut off or new knows the world again.
const RECOVERY_MS: u64 = 15_000;

/// What the checks remember.
#[derive(Debug, Default)]
pub struct Checks {
    /// The control planes in the order in which they took over.
    pub epochs: Vec<usize>,
    /// The fold of the history on disk.
    progress: Progress,
    /// The bounds on the number of instances, with the time from which each held.
    bounds: Vec<(u64, Bound)>,
    accepted: Generation,
    /// How often each act was intended, and accepted.
    intended: BTreeMap<(&'static str, InstanceId), (u64, u64)>,
    barriers: BTreeMap<ReleaseNumber, u64>,
    /// Whether a person has opened the gate of the stage, and all gates of the deployment.
    opened: bool,
    all_open: bool,
    /// The newest generation and revision that the proxy has taken.
    routed: (u64, u64),
    last_kind: &'static str,
    /// Which event followed which.
    pub transitions: BTreeSet<(&'static str, &'static str)>,
    /// Which state followed which.
    pub states: BTreeSet<(&'static str, &'static str)>,
}

/// How many instances there may be.
#[derive(Debug, Clone, Default)]
struct Bound {
    stages: Vec<(u32, Vec<ReleaseNumber>)>,
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
            | What::HookEnded { .. } => {}
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
            What::StageDone { .. } => {
                let opened = self.checks.opened;
                let shut = match stage.and_then(|stage| stage.gate.as_ref()) {
                    None => false,
                    Some(Gate::Approve(_)) => !opened,
                    Some(Gate::Hold(time)) => {
                        let held = active.and_then(|active| active.reached);
                        !opened && held.is_none_or(|at| now.0 < at.0 + time.0)
                    }
                };
                shut.then_some(("I33", "a stage ends although its gate is shut"))
            }
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
            | What::HookEnded { .. } => None,
        };
        if let Some((invariant, what)) = wrong {
            self.wrong(invariant, what);
        }
        self.gates(event);
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

    /// A control plane acts on an instance: not again before an observation, if it does not know
    /// what came of the last time.
    pub(crate) fn repeats(&mut self, at: usize, id: InstanceId) {
        if self.planes[at].unknown.contains(&id) {
            self.wrong("I23", &format!("cp{at} acts on {id} again before it has observed it"));
        }
    }

    /// The target has seen a generation.
    pub(crate) fn fenced(&mut self, generation: Generation) {
        self.note(|| format!("target: sees {generation}"));
        self.checks.accepted = self.checks.accepted.max(generation);
    }

    /// The target has let a call in.
    pub(crate) fn accepted_call(&mut self, call: &Call, id: InstanceId, kind: &'static str) {
        if call.generation < self.checks.accepted {
            let accepted = self.checks.accepted;
            let what = format!("{kind} {id} by {} after {accepted}", call.generation);
            self.wrong("I1", &what);
        }
        self.checks.accepted = call.generation;
        let counts = self.checks.intended.entry((kind, id)).or_default();
        counts.1 += 1;
        if counts.1 > counts.0 {
            self.wrong("I18", &format!("{kind} {id} without an intent on disk"));
        }
    }

    /// The target has started an instance.
    pub(crate) fn started(&mut self, id: InstanceId, call: &Call, old: Option<Phase>) {
        if old.is_some_and(|phase| phase != Phase::Ended) {
            self.wrong("I21", &format!("{id} is started while it runs"));
        }
        self.note(|| format!("target: starts {id} by {}", call.generation));
        if let Some(since) = self.checks.barriers.get(&id.release) {
            let what = format!("{id} starts although its abort was acknowledged at {since}");
            self.wrong("I4", &what);
        }
        let bounds = &self.checks.bounds;
        let first = bounds.iter().rposition(|(from, _)| *from <= call.decided).unwrap_or(0);
        let there = |release: &ReleaseNumber| {
            self.target.processes.keys().filter(|id| id.release == *release).count() as u32
        };
        let stages = bounds[first..].iter().flat_map(|(_, bound)| &bound.stages);
        let most = stages.map(|(exact, keeps)| exact + keeps.iter().map(there).sum::<u32>()).max();
        let total = self.target.processes.len() as u32;
        if most.is_some_and(|most| total > most) {
            let all: Vec<_> = self.target.processes.keys().map(ToString::to_string).collect();
            let what = format!("{total} instances, {most:?} are allowed: {}", all.join(" "));
            self.wrong("I9", &what);
        }
    }

    /// A control plane is about to route: every new member has passed its probes.
    pub(crate) fn routing(&mut self, at: usize, route: &Route) {
        let fit = self.fit(self.now.saturating_sub(SLACK_MS));
        if !route.members.iter().any(|id| fit.contains(id)) {
            // Nobody is well: whoever lives beats nobody.
            return;
        }
        for id in &route.members {
            let known = self.proxy.table.as_ref().is_some_and(|table| table.members.contains(id));
            let process = self.target.processes.get(id);
            if !known && process.is_some_and(|process| !process.ever_passed) {
                self.wrong("I10", &format!("cp{at} routes to {id}, which was never healthy"));
            }
        }
    }

    fn is_disturbed(&self, call: &Call) -> bool {
        self.planes[call.who.0].disturbed + RECOVERY_MS > self.now
    }

    /// The least that must go on serving.
    fn least(&self) -> u32 {
        let progress = &self.checks.progress;
        let least = |plan: &Plan| {
            let unavailable = plan.stages.iter().map(|stage: &Stage| stage.pace.unavailable);
            let wanted = plan.instances.min(plan.instances_before);
            match plan.from.is_none() || plan.to.is_none() || plan.strategy == "recreate" {
                true => 0,
                false => wanted.saturating_sub(unavailable.max().unwrap_or(0)),
            }
        };
        match &progress.active {
            // Back to what was good comes before how many there are of it.
            Some(active) if active.undo.is_some() => 0,
            Some(active) => least(&active.plan),
            None => 0,
        }
    }

    /// The proxy is about to use another route.
    pub(crate) fn applying(&mut self, call: &Call, route: &Route, given: (u64, u64)) {
        if given <= self.checks.routed {
            let what = format!("a route {given:?} comes after {:?}", self.checks.routed);
            self.wrong("I1", &what);
        }
        self.checks.routed = given;
        let old = self.proxy.table.clone();
        let fit = self.fit(call.decided.saturating_sub(SLACK_MS));
        let (now, known) = (self.now, call.decided.saturating_sub(WORD_MS));
        let serves = |id: &&InstanceId| {
            let process = self.target.processes.get(*id);
            let plane = &self.planes[call.who.0];
            process.is_some_and(|one| one.is_known_well(known, now) && !plane.unsure.contains(*id))
        };
        let members = old.iter().flat_map(|table| &table.members);
        let sharing = members.filter(|id| old.as_ref().is_some_and(|table| shares(table, **id)));
        let before = sharing.filter(serves).count() as u32;
        let sharing = route.members.iter().filter(|id| shares(route, **id));
        let after = sharing.filter(|id| fit.contains(*id)).count() as u32;
        let goal_is_none = self.goal_is_none();
        if !self.is_disturbed(call) {
            if after < self.least().min(before) {
                let what = format!("{after} serve after a route, {before} did before");
                self.wrong("I8", &what);
            }
            if after == 0 && before > 0 && !goal_is_none {
                self.wrong("I12", "nobody serves after a route");
            }
        }
        self.newest_weight(route);
        for (release, since) in self.checks.barriers.clone() {
            let gets = |route: &Route| {
                route.members.iter().any(|id| id.release == release && shares(route, *id))
            };
            let others = route.members.iter().any(|id| id.release != release);
            let news = !old.as_ref().is_some_and(gets);
            if gets(route) && others && news && !self.is_disturbed(call) {
                let what = format!("{release} gets requests although it was aborted at {since}");
                self.wrong("I4", &what);
            }
        }
    }

    fn goal_is_none(&self) -> bool {
        let progress = &self.checks.progress;
        match &progress.active {
            Some(active) => {
                let stages = active.plan.stages.iter().chain(&active.first_plan.stages);
                let least = active.plan.instances.min(active.first_plan.instances);
                let mut empty = stages.filter(|stage| {
                    let (goal, pace) = (&stage.goal, &stage.pace);
                    // Without room for another one, and where all may be missing, all go first.
                    goal.slots.is_empty() || pace.surge == 0 && pace.unavailable >= least
                });
                empty.next().is_some()
            }
            None => !progress.up,
        }
    }

    /// The newest release gets no more than its share of the capacity, while there is another.
    fn newest_weight(&mut self, route: &Route) {
        let (Some(newest), Some(active)) = (route.newest, &self.checks.progress.active) else {
            return;
        };
        let weight = route.weights.get(&newest).copied().unwrap_or(0);
        let (new, old): (Vec<&InstanceId>, Vec<&InstanceId>) =
            route.members.iter().partition(|id| id.release == newest);
        let needed = active.plan.instances.min(active.first_plan.instances);
        if !old.is_empty() && weight * needed > 100 * new.len() as u32 {
            let what = format!("{newest} gets {weight} % with {} of {needed}", new.len());
            self.wrong("I11", &what);
        }
        let sum: u32 = route.weights.values().sum();
        if sum != 0 && sum != 100 {
            self.wrong("I11", &format!("the weights sum to {sum}"));
        }
    }

    /// The target is about to end an instance.
    pub(crate) fn stopping(&mut self, call: &Call, id: InstanceId, cut: u64) {
        self.note(|| format!("target: stops {id} by {}", call.generation));
        let process = &self.target.processes[&id];
        if !self.has_traffic {
            let fit = self.fit(call.decided.saturating_sub(SLACK_MS));
            let after = fit.iter().filter(|other| **other != id).count() as u32;
            let now = self.now;
            let all = self.target.processes.iter();
            let known = call.decided.saturating_sub(WORD_MS);
            let plane = &self.planes[call.who.0];
            let was = |(id, one): &(&InstanceId, &Process)| {
                one.is_known_well(known, now) && !plane.unsure.contains(*id)
            };
            let before = all.filter(was).count() as u32;
            if process.answers(now) && after < self.least().min(before) && !self.is_disturbed(call)
            {
                self.wrong("I8", &format!("{after} are left after {id} stops"));
            }
            return;
        }
        if self.proxy.is_down || process.phase != Phase::Running || !process.passed {
            return;
        }
        if self.proxy.routes(id) {
            self.wrong("I13", &format!("{id} is stopped while it gets new requests"));
        } else if self.proxy.busy.get(&id).is_some_and(|until| *until > self.now) && cut == 0 {
            self.wrong("I13", &format!("{id} is stopped with requests in flight"));
        }
    }

    /// An abort was acknowledged: from now on its release does not start any more.
    pub(crate) fn acknowledged(&mut self, aborted: Aborted) {
        self.note(|| format!("abort of deployment {} is acknowledged", aborted.deployment));
        if self.checks.progress.deployments == aborted.deployment {
            self.checks.barriers.insert(aborted.release, self.now);
        }
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

    /// In time everything has ended.
    pub(crate) fn ended(&mut self) {
        if !self.violations.is_empty() {
            return;
        }
        if let Some(active) = &self.checks.progress.active {
            let number = active.number;
            let at = self.newest().and_then(|at| self.planes[at].engine.as_ref());
            let waits = at.and_then(|engine| engine.waiting.clone());
            let what = format!("deployment {number} does not end; it waits for {waits:?}");
            self.wrong("I19", &what);
        }
    }

    /// Whether all is as `at_the_end` wants it.
    pub(crate) fn is_over(&self) -> bool {
        let progress = &self.checks.progress;
        let serving = progress.serving.filter(|_| progress.up);
        let wanted = serving.map_or(0, |_| progress.instances) as usize;
        let all = &self.target.processes;
        let fine = all.iter().all(|(id, one)| {
            let routed = !self.has_traffic || self.proxy.routes(*id);
            routed && Some(id.release) == serving && one.passed && one.answers(self.now)
        });
        progress.active.is_none() && all.len() == wanted && fine && self.is_settled()
    }

    /// At the end the service is in one version, whole, and nothing else is left.
    pub(crate) fn at_the_end(&mut self) {
        if !self.violations.is_empty() {
            return;
        }
        let progress = &self.checks.progress;
        let serving = progress.serving.filter(|_| progress.up);
        let wanted = serving.map_or(0, |_| progress.instances) as usize;
        let now = self.now;
        let ids: Vec<InstanceId> = self.target.processes.keys().copied().collect();
        let well = self.target.processes.values().all(|one| one.passed && one.answers(now));
        let mut routed: Vec<InstanceId> =
            ids.iter().filter(|id| self.proxy.routes(**id)).copied().collect();
        routed.sort_unstable();
        let one = ids.iter().all(|id| Some(id.release) == serving);
        if !one || ids.len() != wanted || !well || !self.is_settled() {
            let what = format!("{ids:?} run (well: {well}), {wanted} of {serving:?} are wanted");
            return self.wrong("I19", &what);
        }
        if self.has_traffic && routed != ids {
            self.wrong("I19", &format!("{routed:?} are routed, {ids:?} run"));
        }
        let fold = self.store.fold_all();
        if fold.as_ref() != Ok(&self.checks.progress) {
            self.wrong("I17", "the history does not fold to what it folded to");
        }
    }
}

impl Plane {
    /// A control plane hears what came of a call.
    pub(crate) fn hears(&mut self, input: &Input) {
        let (Input::Started(id, Err(Failed { how: Certainty::Unknown, .. }))
        | Input::Retired(id, _, Err(Failed { how: Certainty::Unknown, .. }))) = input
        else {
            return;
        };
        self.unknown.insert(*id);
        self.unknown_at.insert(*id, self.looks);
    }

    /// A control plane hears what was observed; only what was asked for later counts.
    pub(crate) fn hears_look(&mut self, input: &Input, look: u64) {
        let Input::Seen(Ok(_), _) = input else { return };
        let at = &self.unknown_at;
        self.unknown.retain(|id| at.get(id).is_some_and(|asked| *asked >= look));
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
