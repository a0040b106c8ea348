//! Convergence: from a stage's goal and what was observed to what is to be done next.
//!
//! Level-triggered: it is asked again after every change, computes what is missing against the goal
//! within the pace, and names just that. An instance that dies on the way is simply missing again.

mod retire;
mod weights;

use std::collections::{BTreeMap, BTreeSet};

use weights::Shares;

use crate::analysis::Trial;
use crate::ids::{InstanceId, ReleaseNumber};
use crate::mutant::{self, Mutant};
use crate::observed::{Fleet, Observed};
use crate::plan::{Action, Gate, HookPoint, Plan, Route, Slots, Split, Stage, Waiting};
use crate::progress::Active;
use crate::units::Millis;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Do these, then ask again.
    Act(Vec<Action>),
    /// Nothing to do until something changes, or until then.
    Wait(Waiting),
    /// The goal is reached; the gate begins.
    Reached,
    /// The stage is done.
    Done,
    /// The deployment cannot go on; why: the outcome first, then the causes.
    Failed(Vec<String>),
}

/// What a decision is made from.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The stage of it.
    pub stage: &'a Stage,
    /// The deployment; absent = the service is only held to what serves.
    pub active: Option<&'a Active>,
    /// What was seen.
    pub observed: &'a Observed,
    /// Whether the service has traffic at all.
    pub has_traffic: bool,
    /// The service's clock.
    pub now: Millis,
}

/// What is to be done next in a stage.
#[must_use]
pub fn converge(situation: &Situation<'_>) -> Decision {
    if let Some(active) = situation.active {
        if active.paused.is_some() && !mutant::is(Mutant::PauseIgnored) {
            return Decision::Wait(Waiting {
                what: "paused; rollway resume, or rollway abort".into(),
                since: active.paused.unwrap_or(situation.now),
                until: None,
            });
        }
        let allowed = situation.stage.pace.failures_allowed;
        let allowed = allowed.saturating_add(u32::from(mutant::is(Mutant::FailureBudgetOffByOne)));
        if active.failed > allowed && !mutant::is(Mutant::FailureBudgetForgotten) {
            return Decision::Failed(failure_reasons(active, situation.stage));
        }
        if let Some(reasons) = active.condemned_by_judge() {
            return Decision::Failed(reasons);
        }
        if let Some(decision) = situation.hooks(active, &situation.stage.before) {
            return decision;
        }
    }
    let moves = situation.moves();
    let actions = moves.actions(situation);
    if !actions.is_empty() {
        return Decision::Act(actions);
    }
    match situation.missing(&moves) {
        Some(what) => situation.wait_for(what),
        None => situation.gate(),
    }
}

fn failure_reasons(active: &Active, stage: &Stage) -> Vec<String> {
    let mut reasons = vec![match stage.pace.failures_allowed {
        0 => "an instance of the new release failed".to_owned(),
        allowed => format!("{} instances failed, {allowed} are allowed", active.failed),
    }];
    reasons.extend(active.failures.iter().map(|note| format!("{} {}", note.instance, note.why)));
    reasons
}

/// What a pass over the fleets found to do.
#[derive(Default)]
struct Moves {
    starts: Vec<InstanceId>,
    retires: Vec<InstanceId>,
    /// To be retired as soon as the proxy has let go of them.
    leaving_route: BTreeSet<InstanceId>,
    route: Option<Route>,
}

impl Moves {
    fn actions(&self, situation: &Situation<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(route) = &self.route {
            let observed = situation.observed;
            if !observed.uses(route) && !observed.routing {
                actions.push(Action::Route(route.clone()));
            }
        }
        if !self.retires.is_empty() {
            actions.push(Action::Retire(self.retires.clone()));
        }
        if !self.starts.is_empty() {
            actions.push(Action::Start(self.starts.clone()));
        }
        actions
    }
}

impl Situation<'_> {
    fn hooks(&self, active: &Active, hooks: &[HookPoint]) -> Option<Decision> {
        for hook in hooks {
            match active.hooks.get(hook) {
                Some(true) => {}
                Some(false) if mutant::is(Mutant::HookSkipped) => {}
                // What has happened is not undone for these; their failure is in the history.
                Some(false) if matches!(hook, HookPoint::AfterDeploy | HookPoint::OnRollback) => {}
                Some(false) => {
                    let mut reasons = vec![format!("the hook {} failed", hook.name())];
                    reasons.extend(active.hook_failure.clone());
                    return Some(Decision::Failed(reasons));
                }
                None if self.observed.hooking.is_some() => {
                    return Some(self.wait_for(format!("the hook {}", hook.name())));
                }
                None => return Some(Decision::Act(vec![Action::Hook(*hook)])),
            }
        }
        None
    }

    fn moves(&self) -> Moves {
        let mut moves = Moves::default();
        self.find_starts(&mut moves);
        self.find_retires(&mut moves);
        if self.has_traffic {
            moves.route = Some(self.route(&moves));
        }
        moves
    }

    /// The least and the most instances that a release is to have.
    fn bounds(&self, release: ReleaseNumber) -> (u32, u32) {
        match self.stage.goal.slots.get(&release) {
            None => (0, 0),
            Some(Slots::Exactly(count)) => (*count, *count),
            // Those that serve stay; those that do not are of no use to anybody.
            Some(Slots::Keep) => (0, self.observed.fleet(release).map_or(0, Fleet::ready)),
        }
    }

    fn wanted(&self) -> u32 {
        self.stage.goal.slots.keys().map(|release| self.bounds(*release).0).sum()
    }

    /// At most so many may exist at once, of all releases and in every state of life.
    fn total_max(&self) -> u32 {
        let slots = &self.stage.goal.slots;
        let kept = slots.iter().filter(|(_, slots)| **slots == Slots::Keep);
        let kept: u32 = kept.filter_map(|(r, _)| self.observed.fleet(*r)).map(Fleet::total).sum();
        self.wanted()
            .saturating_add(kept)
            .saturating_add(self.stage.pace.surge)
            .saturating_add(u32::from(mutant::is(Mutant::SurgeExceeded)))
    }

    fn find_starts(&self, moves: &mut Moves) {
        let pace = &self.stage.pace;
        let mut room = self.total_max().saturating_sub(self.observed.total());
        if pace.max_parallel > 0 && !mutant::is(Mutant::ParallelIgnored) {
            room = room.min(pace.max_parallel.saturating_sub(self.changing()));
        }
        for release in self.stage.goal.slots.keys() {
            let fleet = self.observed.fleet(*release);
            let live = fleet.map_or(0, Fleet::live);
            let missing = self.bounds(*release).0.saturating_sub(live).min(room);
            if missing == 0 {
                continue;
            }
            let free = fleet.map_or_else(|| (0..missing).collect(), |f| f.free_slots(missing));
            room -= missing;
            moves
                .starts
                .extend(free.into_iter().map(|slot| InstanceId { release: *release, slot }));
        }
    }

    /// Instances that are between two states.
    fn changing(&self) -> u32 {
        let fleets = self.observed.fleets();
        let waiting: usize = self
            .stage
            .goal
            .slots
            .keys()
            .filter_map(|release| fleets.get(release))
            .map(|fleet| fleet.waiting_slots().count())
            .sum();
        let leaving: usize = fleets.values().map(|fleet| fleet.leaving_slots().count()).sum();
        (waiting + leaving) as u32
    }

    /// What the proxy should do: all ready instances that are to stay, by the split.
    fn route(&self, moves: &Moves) -> Route {
        let goal = &self.stage.goal;
        let retiring: BTreeSet<InstanceId> = moves.retires.iter().copied().collect();
        let shares = self.observed.least_shares();
        let (mut members, mut late) = (Vec::new(), Vec::new());
        for (release, fleet) in self.observed.fleets() {
            let kept = goal.slots.get(release) == Some(&Slots::Keep);
            let kept = kept && self.plan.from != Some(*release);
            let waiting = fleet.waiting_slots().filter(|_| mutant::is(Mutant::UnreadyRouted));
            for slot in fleet.ready_slots().chain(waiting) {
                let id = InstanceId { release: *release, slot };
                if moves.leaving_route.contains(&id) || retiring.contains(&id) {
                    continue;
                }
                // What is kept until it can go keeps what it has, and gets no more.
                let keeps = self.observed.is_surely_routed(id);
                let gets_some = keeps && shares.get(release).is_some_and(|share| *share > 0);
                let is_late = kept && !keeps && !mutant::is(Mutant::KeptGetsMore)
                    || self.is_left_over(*release) && !gets_some;
                if is_late { late.push(id) } else { members.push(id) }
            }
        }
        if members.is_empty() {
            members = late;
        }
        let mut ready: BTreeMap<ReleaseNumber, u32> = BTreeMap::new();
        for id in &members {
            *ready.entry(id.release).or_default() += 1;
        }
        if members.is_empty()
            && self.wanted() > 0
            && !goal.hold_requests
            && !mutant::is(Mutant::LastMembersDropped)
        {
            // Nobody is well: the last known members, as long as they live, beat nobody.
            members = self.last_members(&retiring);
            for id in &members {
                *ready.entry(id.release).or_default() += 1;
            }
        }
        if goal.hold_requests || goal.split == Split::Nothing {
            members.clear();
            ready.clear();
        }
        let newest = self.plan.to.filter(|to| self.plan.from.is_some_and(|from| from != *to));
        // Requests that are held go on being held until there is somebody to answer them.
        let held = !mutant::is(Mutant::HeldLetGo)
            && self.observed.route().is_some_and(|route| route.hold_requests);
        let still_held = held && members.is_empty() && self.wanted() > 0;
        let (plan, observed) = (self.plan, self.observed);
        let shares = Shares { plan, goal, ready: &ready, newest, observed };
        Route {
            weights: shares.weights(),
            members,
            settings: goal.settings,
            newest: newest.filter(|release| ready.contains_key(release)),
            preview: goal.preview.filter(|release| ready.contains_key(release)),
            hold_requests: goal.hold_requests || still_held,
        }
    }

    /// Whether a release is none of those that a plan without weights is about: what a deployment
    /// that failed has left over keeps the requests that it gets until it goes, and gets no others
    /// unless nobody else can serve.
    fn is_left_over(&self, release: ReleaseNumber) -> bool {
        self.stage.goal.split == Split::Capacity && !self.is_meant(release)
    }

    fn last_members(&self, retiring: &BTreeSet<InstanceId>) -> Vec<InstanceId> {
        let fleets = self.observed.fleets().iter();
        let waiting = fleets.flat_map(|(release, fleet)| {
            fleet.waiting_slots().map(|slot| InstanceId { release: *release, slot })
        });
        waiting.filter(|id| !retiring.contains(id) && self.observed.served_last(*id)).collect()
    }

    /// What the goal still lacks, in words.
    fn missing(&self, moves: &Moves) -> Option<String> {
        let pace = &self.stage.pace;
        let before = Millis(self.now.0.saturating_sub(pace.min_healthy_time.0));
        for release in self.stage.goal.slots.keys() {
            let (least, _) = self.bounds(*release);
            let fleet = self.observed.fleet(*release);
            let have = fleet.map_or(0, |fleet| match pace.min_healthy_time {
                Millis::ZERO => fleet.ready(),
                _ if mutant::is(Mutant::MinHealthyIgnored) => fleet.ready(),
                _ => fleet.ready_since(before),
            });
            if have < least {
                let ready = fleet.map_or(0, Fleet::ready);
                if ready >= least {
                    let time = pace.min_healthy_time;
                    return Some(format!("{least} of {release} to be healthy for {time}"));
                }
                return Some(format!("{} of {least} {release} to become healthy", least - ready));
            }
        }
        for (release, fleet) in self.observed.fleets() {
            let surplus = fleet.total().saturating_sub(self.bounds(*release).1);
            if surplus > 0 {
                return Some(format!("{surplus} of {release} to drain and stop"));
            }
        }
        let settled = |route: &Route| self.observed.uses(route) && !self.observed.routing;
        if !moves.route.as_ref().is_none_or(settled) || self.observed.routing {
            return Some("the proxy to use the split".into());
        }
        None
    }

    fn wait_for(&self, what: String) -> Decision {
        let Some(active) = self.active else {
            return Decision::Wait(Waiting { what, since: self.now, until: None });
        };
        let deadline = self.stage.pace.progress_deadline;
        let until = Millis(active.last_progress.0.saturating_add(deadline.0));
        if self.now >= until && !mutant::is(Mutant::DeadlineForgotten) {
            let reason = format!("no progress for {deadline} (progress_deadline)");
            return Decision::Failed(vec![reason, format!("it was waiting for {what}")]);
        }
        Decision::Wait(Waiting { what, since: active.last_progress, until: Some(until) })
    }

    fn gate(&self) -> Decision {
        let Some(active) = self.active else {
            let what = "something to change".to_owned();
            return Decision::Wait(Waiting { what, since: self.now, until: None });
        };
        let Some(reached) = active.reached else { return Decision::Reached };
        if let Some(decision) = self.hooks(active, &self.stage.after) {
            return decision;
        }
        if active.is_held() && !active.approved && !active.full {
            return self.wait_for_promote("the judge came to no decision", reached);
        }
        match &self.stage.gate {
            None => Decision::Done,
            Some(_) if active.approved || active.full => Decision::Done,
            Some(Gate::Approve(_)) if mutant::is(Mutant::ApprovalSkipped) => Decision::Done,
            Some(Gate::Analyse(watch)) => self.judgement(active.trials.get(watch), reached),
            Some(Gate::Hold(time)) => {
                let until = Millis(reached.0.saturating_add(time.0));
                if self.now >= until || mutant::is(Mutant::HoldSkipped) {
                    return Decision::Done;
                }
                let what = format!("the hold of {time} to pass");
                Decision::Wait(Waiting { what, since: reached, until: Some(until) })
            }
            Some(Gate::Approve(text)) => self.wait_for_promote(text, reached),
        }
    }

    fn wait_for_promote(&self, text: &str, since: Millis) -> Decision {
        let mut what = "rollway promote, or rollway abort".to_owned();
        if !text.is_empty() {
            what = format!("{what} ({text})");
        }
        Decision::Wait(Waiting { what, since, until: None })
    }

    /// A gate that a judge opens.
    fn judgement(&self, trial: Option<&Trial>, reached: Millis) -> Decision {
        let Some(trial) = trial else {
            let what = "the judge to begin".to_owned();
            return Decision::Wait(Waiting { what, since: reached, until: None });
        };
        if trial.advances() {
            return Decision::Done;
        }
        if trial.holds() {
            return self.wait_for_promote("the judge came to no decision", reached);
        }
        let mut what = format!("the judge: {}", trial.look(reached).decided());
        if let Some(why) = &trial.missed {
            what = format!("{what}; the last check taught nothing: {why}");
        }
        // After it, the next sample decides.
        let until = Some(trial.deadline()).filter(|until| *until > self.now);
        Decision::Wait(Waiting { what, since: reached, until })
    }
}

/// When to ask again at the latest although nothing has changed: a healthy deadline passes, or an
/// instance has been healthy long enough to count.
#[must_use]
pub fn wake(situation: &Situation<'_>) -> Option<Millis> {
    let pace = &situation.stage.pace;
    let mut times = Vec::new();
    for (release, fleet) in situation.observed.fleets() {
        let seen = |slot| situation.observed.get(InstanceId { release: *release, slot });
        let starts = fleet.waiting_slots().filter_map(seen).map(|instance| instance.started);
        times.extend(starts.map(|started| started.0.saturating_add(pace.healthy_deadline.0)));
        if pace.min_healthy_time > Millis::ZERO {
            let since = fleet.youngest(situation.now, pace.min_healthy_time);
            times.extend(since.map(|since| since.0.saturating_add(pace.min_healthy_time.0)));
        }
    }
    times.into_iter().filter(|at| *at > situation.now.0).min().map(Millis)
}

impl HookPoint {
    /// The key that the hook has in a spec.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeDeploy => "before_deploy",
            Self::BeforeSwitch => "before_switch",
            Self::AfterSwitch => "after_switch",
            Self::AfterDeploy => "after_deploy",
            Self::OnRollback => "on_rollback",
        }
    }
}
