//! Who gets requests, and how many are left: checked when the proxy takes a route and when the
//! target ends an instance.

use std::collections::BTreeSet;

use rollway_core::ids::InstanceId;
use rollway_core::plan::{Pace, Plan, Route, Stage};

use crate::happening::Call;
use crate::model::{Phase, Process, shares};
use crate::world::World;

/// An observation may be this old: three probes a second apart fail, and the word gets round.
const SLACK_MS: u64 = 8000;
/// So long it takes until a control plane has heard that an instance is well.
const WORD_MS: u64 = 4000;
/// After this long a control plane that was stopped, cut off or new knows the world again.
const RECOVERY_MS: u64 = 15_000;

impl World {
    /// A control plane is about to route: every new member has passed its probes.
    pub(crate) fn routing(&mut self, at: usize, route: &Route) {
        let fit = self.fit(self.now.saturating_sub(SLACK_MS));
        if !route.members.iter().any(|id| fit.contains(id)) {
            // Nobody is well: whoever lives beats nobody.
            return;
        }
        let plane = &self.planes[at];
        let passes = |id: &InstanceId| {
            let process = self.target.processes.get(id);
            process.is_some_and(|one| one.passed) && plane.is_sure(*id, self.now)
        };
        let some_pass = route.members.iter().any(passes);
        let mut wrong = Vec::new();
        for id in &route.members {
            let known = self.proxy.table.as_ref().is_some_and(|table| table.members.contains(id));
            let process = self.target.processes.get(id);
            // What another one has started meanwhile is not what this one means.
            let mine = plane.engine.as_ref().map(|engine| engine.progress.generation);
            let Some(process) = process.filter(|one| Some(one.generation) <= mine) else {
                continue;
            };
            let run = process.run();
            let is_heard = process.phase == Phase::Running
                && plane.runs.get(id).is_some_and(|(heard, _)| *heard == run);
            let is_adopted = plane.adopted.get(id) == Some(&run);
            if !known && !process.ever_passed {
                wrong.push(format!("cp{at} routes to {id}, which was never healthy"));
            } else if some_pass && is_heard && !is_adopted && !process.passed {
                // A run that is known to be another one has to prove itself anew.
                wrong.push(format!("cp{at} routes to a run of {id} that was never healthy"));
            }
        }
        wrong.iter().for_each(|what| self.wrong("I10", what));
    }

    /// The instances that whoever made a call may take for fit: by the freshest observation that it
    /// had, which its target may have kept from it, and by probes, which take their time.
    fn fit_for(&self, call: &Call) -> BTreeSet<InstanceId> {
        self.fit(call.decided.saturating_sub(SLACK_MS).min(call.saw))
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
        let fit = self.fit_for(call);
        let (now, known) = (self.now, call.decided.saturating_sub(WORD_MS));
        let serves = |id: &&InstanceId| {
            let process = self.target.processes.get(*id);
            let plane = &self.planes[call.who.0];
            process.is_some_and(|one| {
                one.is_known_well(known, now) && plane.is_sure(**id, call.decided)
            })
        };
        let members = old.iter().flat_map(|table| &table.members);
        let sharing = members.filter(|id| old.as_ref().is_some_and(|table| shares(table, **id)));
        let before = sharing.filter(serves).count() as u32;
        let sharing = route.members.iter().filter(|id| shares(route, **id));
        let after = sharing.filter(|id| fit.contains(*id)).count() as u32;
        let goal_is_none = self.goal_is_none();
        if !self.is_disturbed(call) {
            self.standing(call, route);
            self.last_members(call, route, old.as_ref());
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

    /// While nothing is being deployed, who is well goes on serving.
    fn standing(&mut self, call: &Call, route: &Route) {
        let progress = &self.checks.progress;
        let Some(serving) = progress.serving.filter(|_| progress.up) else { return };
        let since = self.checks.bounds.last().map_or(0, |(from, _)| *from);
        if progress.active.is_some() || since > call.decided {
            return;
        }
        let (now, known) = (self.now, call.decided.saturating_sub(WORD_MS));
        let plane = &self.planes[call.who.0];
        let all = self.target.processes.iter();
        let of_serving = all.filter(|(id, _)| id.release == serving);
        let well = of_serving.filter(|(id, one)| {
            let was_routed = self.proxy.routes(**id);
            was_routed && one.is_known_well(known, now) && plane.is_sure(**id, call.decided)
        });
        let (stay, go): (Vec<_>, Vec<_>) = well.partition(|(id, _)| shares(route, **id));
        // Those that are too many go.
        if let (true, Some((id, _))) = (stay.len() < progress.instances as usize, go.first()) {
            let what = format!("{id} loses its requests although it is well");
            self.wrong("I29", &what);
        }
    }

    /// When nobody is well, whoever lives of those that served last beats nobody.
    fn last_members(&mut self, call: &Call, route: &Route, old: Option<&Route>) {
        let nobody = !route.members.iter().any(|id| shares(route, *id));
        if !nobody || route.hold_requests || self.goal_is_none() {
            return;
        }
        let lives = |id: &&InstanceId| {
            let process = self.target.processes.get(*id);
            // A run that began after the call was made could not be meant by it.
            process.is_some_and(|one| {
                one.phase == Phase::Running && one.ever_passed && one.began < call.decided
            })
        };
        let served = old.iter().flat_map(|route| &route.members);
        let last = served.filter(|id| old.is_some_and(|route| shares(route, **id))).find(lives);
        if let Some(id) = last {
            let what = format!("nobody gets requests although {id} lives, which did before");
            self.wrong("I12", &what);
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
            // What is left over of a deployment that failed goes by the pace of what serves.
            None => progress.serving.filter(|_| progress.up).is_none_or(|serving| {
                self.store.releases.get(&serving).is_some_and(|release| {
                    let pace = Pace::of(&release.spec.update, progress.instances);
                    pace.surge == 0 && pace.unavailable >= progress.instances
                })
            }),
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
        let (process, now) = (&self.target.processes[&id], self.now);
        if !self.has_traffic {
            let fit = self.fit_for(call);
            // Who was found unwell and stopped since may have been thought fit then.
            let since = call.decided.saturating_sub(SLACK_MS);
            let gone = &self.checks.unwell_stopped;
            let gone = gone.iter().filter(|(at, until)| *at > call.decided && *until >= since);
            let after = (fit.iter().filter(|other| **other != id).count() + gone.count()) as u32;
            let all = self.target.processes.iter();
            let known = call.decided.saturating_sub(WORD_MS);
            let plane = &self.planes[call.who.0];
            let was = |(id, one): &(&InstanceId, &Process)| {
                one.is_known_well(known, now) && plane.is_sure(**id, call.decided)
            };
            let before = all.filter(was).count() as u32;
            if process.answers(now) && after < self.least().min(before) && !self.is_disturbed(call)
            {
                self.wrong("I8", &format!("{after} are left after {id} stops"));
            } else if process.ever_passed && !process.answers(now) {
                let until = process.answered_until;
                self.checks.unwell_stopped.retain(|(at, _)| at + SLACK_MS > now);
                self.checks.unwell_stopped.push((now, until));
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
}
