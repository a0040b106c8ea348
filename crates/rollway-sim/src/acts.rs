//! What calls do at the target and the proxy, and what comes back.

use rollway_core::engine::{Certainty, Failed, Input};
use rollway_core::ids::{Generation, InstanceId};
use rollway_core::mutant::{self, Mutant};
use rollway_core::plan::Route;
use rollway_core::seen::{Ensured, SeenInstance};
use rollway_core::spec::RestartPolicy;

use crate::faults::Fault;
use crate::happening::{Call, Happening, Look};
use crate::model::{Phase, Process, Target, Temper};
use crate::world::World;

/// A call without an answer is given up after this.
const TIMEOUT: u64 = 3000;
/// A call that failed is reported only after this.
const FAILED_WAIT: u64 = 250;
/// The wait of a shim before it starts its process again.
const RESTART_WAIT: u64 = 100;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    NotDone,
    LostBefore,
    LostAfter,
}

impl Target {
    /// Everything, as the driver shows it.
    #[must_use]
    pub fn seen(&self, now: u64) -> Vec<SeenInstance> {
        self.processes.iter().map(|(id, process)| process.seen(*id, now)).collect()
    }

    /// The fence, in the same critical section as the act.
    fn enter(&mut self, generation: Generation) -> Result<(), Ensured> {
        if generation < self.fence && !mutant::is(Mutant::FenceDropped) {
            return Err(Ensured::Stale { seen: self.fence });
        }
        if !mutant::is(Mutant::FenceNotRaised) {
            self.fence = generation;
        }
        Ok(())
    }
}

fn not_done() -> Failed {
    Failed { how: Certainty::NotDone, why: "the target refused".into() }
}

fn unknown() -> Failed {
    Failed { how: Certainty::Unknown, why: "no answer in time".into() }
}

impl World {
    fn fate(&mut self, call: &Call) -> Fate {
        if self.planes[call.who.0].cut_until > self.now {
            return Fate::LostBefore;
        }
        if self.planes[call.who.0].deaf_until > self.now || self.happens(Fault::UnknownAfter) {
            return Fate::LostAfter;
        }
        if self.happens(Fault::UnknownBefore) {
            return Fate::LostBefore;
        }
        if self.happens(Fault::NotDone) { Fate::NotDone } else { Fate::Fine }
    }

    fn answer(&mut self, call: &Call, after: u64, input: Input) {
        self.agenda.add(self.now + after, Happening::Mail(call.who, input));
    }

    fn no_answer(&mut self, call: &Call, input: Input) {
        self.agenda.add(self.now + TIMEOUT, Happening::Mail(call.who, input));
    }

    /// A start reaches the target, or does not.
    pub fn start_acts(&mut self, call: Call, id: InstanceId) {
        let fate = self.fate(&call);
        match fate {
            Fate::NotDone => {
                return self.answer(&call, FAILED_WAIT, Input::Started(id, Err(not_done())));
            }
            Fate::LostBefore => return self.no_answer(&call, Input::Started(id, Err(unknown()))),
            Fate::Fine | Fate::LostAfter => {}
        }
        let result = self.ensure_started(&call, id);
        if self.happens(Fault::Doubled) {
            self.ensure_started(&Call { doubled: true, ..call }, id);
        }
        if fate == Fate::LostAfter {
            return self.no_answer(&call, Input::Started(id, Err(unknown())));
        }
        let delay = self.latency();
        self.answer(&call, delay, Input::Started(id, Ok(result)));
    }

    fn ensure_started(&mut self, call: &Call, id: InstanceId) -> (Ensured, SeenInstance) {
        let version = self.store.releases.get(&id.release).map(|release| release.version.clone());
        let version = version.unwrap_or_else(|| self.unknown_version.clone());
        if let Err(stale) = self.target.enter(call.generation) {
            self.note(|| format!("target: start {id} by {} is stale", call.generation));
            return (stale, SeenInstance::absent(id, &version));
        }
        self.accepted_call(call, id, "start");
        let old = self.target.processes.get(&id).map(|process| process.phase);
        match old {
            Some(Phase::Running | Phase::Restarting | Phase::Stopping)
                if !mutant::is(Mutant::StartedTwice) =>
            {
                let process = &self.target.processes[&id];
                return (Ensured::NotNeeded, process.seen(id, self.now));
            }
            Some(Phase::Running | Phase::Restarting | Phase::Stopping | Phase::Ended) | None => {}
        }
        self.target.runs += 1;
        let process = Process {
            run: self.target.runs,
            phase: Phase::Running,
            began: self.now,
            restarts: 0,
            generation: call.generation,
            version: version.clone(),
            well_from: 0,
            unwell_until: 0,
            passed: false,
            passed_at: 0,
            ever_passed: false,
            first_passed: u64::MAX,
            answered_until: 0,
        };
        self.target.processes.insert(id, process);
        self.begin_run(id);
        self.started(id, call, old);
        let ensured = if old.is_some() { Ensured::Updated } else { Ensured::Added };
        self.tell_change();
        (ensured, self.target.processes[&id].seen(id, self.now))
    }

    /// A process has just begun to run.
    fn begin_run(&mut self, id: InstanceId) {
        let now = self.now;
        let probed = self.is_probed(id.release);
        let Some(process) = self.target.processes.get_mut(&id) else { return };
        let temper = self.tempers.get(&process.version).copied().unwrap_or(Temper::Good(10));
        let run = process.run;
        (process.began, process.passed, process.passed_at) = (now, !probed, now);
        if !probed {
            process.ever_passed = true;
            process.first_passed = process.first_passed.min(now);
        }
        match temper {
            // Where nothing is probed, whatever runs is well.
            Temper::Good(_) | Temper::NeverReady if !probed => process.well_from = now,
            Temper::Crashes(after) if !probed => {
                process.well_from = now;
                self.agenda.add(now + after, Happening::Die(id, run));
            }
            Temper::Good(after) => process.well_from = now + after,
            Temper::NeverReady => process.well_from = u64::MAX,
            Temper::Crashes(after) => {
                process.well_from = now + after / 2;
                self.agenda.add(now + after, Happening::Die(id, run));
            }
        }
    }

    /// A process ends by itself.
    pub fn die(&mut self, id: InstanceId, run: u64) {
        let policy = self.policy(id.release);
        let Some(process) = self.target.processes.get_mut(&id) else { return };
        let crashes = matches!(self.tempers.get(&process.version), Some(Temper::Crashes(_)));
        if process.run != run || process.phase != Phase::Running || self.healed && !crashes {
            return;
        }
        if process.answers(self.now) {
            process.answered_until = self.now;
        }
        if process.passed {
            self.departed.insert(id, self.now);
        }
        process.passed = false;
        process.phase = Phase::Ended;
        if policy != RestartPolicy::Never {
            process.phase = Phase::Restarting;
            self.agenda.add(self.now + RESTART_WAIT, Happening::Restart(id, run));
        }
        self.note(|| format!("target: {id} ends by itself"));
        self.tell_change();
    }

    /// A shim starts its process again.
    pub fn restart(&mut self, id: InstanceId, run: u64) {
        let Some(process) = self.target.processes.get_mut(&id) else { return };
        if process.run != run || process.phase != Phase::Restarting {
            return;
        }
        self.target.runs += 1;
        (process.run, process.phase) = (self.target.runs, Phase::Running);
        process.restarts += 1;
        self.begin_run(id);
        self.tell_change();
    }

    /// "Look again", to every loop; some of these notes are lost, late or double.
    pub fn tell_change(&mut self) {
        for at in 0..self.planes.len() {
            if self.planes[at].engine.is_none() || self.happens(Fault::Dropped) {
                continue;
            }
            let who = (at, self.planes[at].life);
            let times = if self.happens(Fault::Duplicated) { 2 } else { 1 };
            for _ in 0..times {
                let delay = self.latency();
                self.agenda.add(self.now + delay, Happening::Mail(who, Input::Changed));
            }
        }
    }

    /// A fence reaches the target, or does not.
    pub fn fence_acts(&mut self, call: Call) {
        let generation = call.generation;
        let fate = self.fate(&call);
        let result = match fate {
            Fate::NotDone => Err(not_done()),
            Fate::LostBefore => Err(unknown()),
            Fate::Fine | Fate::LostAfter => match self.target.enter(generation) {
                Err(stale) => Ok(stale),
                Ok(()) => {
                    self.fenced(generation);
                    Ok(Ensured::NotNeeded)
                }
            },
        };
        match fate {
            Fate::Fine => self.answer(&call, 1, Input::Fenced(generation, result)),
            Fate::NotDone => self.answer(&call, FAILED_WAIT, Input::Fenced(generation, result)),
            Fate::LostBefore | Fate::LostAfter => {
                self.no_answer(&call, Input::Fenced(generation, Err(unknown())));
            }
        }
    }

    /// A drain begins: requests in flight get their time.
    pub fn drain(&mut self, call: Call, id: InstanceId) {
        let fate = match self.has_traffic && !self.proxy.is_down {
            // A proxy that is gone has cut what it had.
            false => return self.drained(call, id, 0),
            true => self.fate(&call),
        };
        match fate {
            Fate::NotDone => {
                self.answer(&call, FAILED_WAIT, Input::Retired(id, 0, Err(not_done())));
            }
            Fate::LostBefore | Fate::LostAfter => {
                self.no_answer(&call, Input::Retired(id, 0, Err(unknown())));
            }
            Fate::Fine => {
                let busy = match self.proxy.routes(id) {
                    true => u64::MAX,
                    false => self.proxy.busy.get(&id).copied().unwrap_or(0),
                };
                let drain_ms = if mutant::is(Mutant::DrainSkipped) { 0 } else { self.drain_ms };
                let until = busy.min(self.now + drain_ms);
                let cut = u64::from(
                    busy > until
                        && !mutant::is(Mutant::DrainSkipped)
                        && !mutant::is(Mutant::CutUntold),
                );
                let at = until.max(self.now + 1);
                self.agenda.add(at, Happening::Drained(call, id, cut));
            }
        }
    }

    /// The drain has ended: the stop is sent.
    pub fn drained(&mut self, call: Call, id: InstanceId, cut: u64) {
        let delay = self.latency();
        self.agenda.add(self.now + delay, Happening::Stop(call, id, cut));
    }

    /// A stop reaches the target, or does not.
    pub fn stop_acts(&mut self, call: Call, id: InstanceId, cut: u64) {
        let fate = self.fate(&call);
        match fate {
            Fate::NotDone => {
                return self.answer(&call, FAILED_WAIT, Input::Retired(id, cut, Err(not_done())));
            }
            Fate::LostBefore => {
                return self.no_answer(&call, Input::Retired(id, cut, Err(unknown())));
            }
            Fate::LostAfter => self.no_answer(&call, Input::Retired(id, cut, Err(unknown()))),
            Fate::Fine => {}
        }
        let answers = fate == Fate::Fine;
        if let Err(stale) = self.target.enter(call.generation) {
            self.note(|| format!("target: stop {id} by {} is stale", call.generation));
            if answers {
                self.answer(&call, 1, Input::Retired(id, cut, Ok(stale)));
            }
            return;
        }
        self.accepted_call(&call, id, "stop");
        let Some(process) = self.target.processes.get(&id) else {
            if answers {
                self.answer(&call, 1, Input::Retired(id, cut, Ok(Ensured::NotNeeded)));
            }
            return;
        };
        let run = process.run;
        self.stopping(&call, id, cut);
        let now = self.now;
        if let Some(process) = self.target.processes.get_mut(&id) {
            if process.answers(now) {
                process.answered_until = now;
            }
            process.phase = Phase::Stopping;
        }
        let takes = self.rng.between(2, 400);
        // The run that is asked to end; an answer only where one gets through.
        let call = Call { decided: if answers { call.decided } else { u64::MAX }, ..call };
        self.agenda.add(now + takes, Happening::Stopped(call, id, cut, run));
    }

    /// What was asked to end has ended.
    pub fn stopped(&mut self, call: Call, id: InstanceId, cut: u64, run: u64) {
        if self.target.processes.get(&id).is_some_and(|process| process.run == run) {
            self.target.processes.remove(&id);
            self.tell_change();
        }
        if call.decided != u64::MAX {
            self.answer(&call, 1, Input::Retired(id, cut, Ok(Ensured::Updated)));
        }
    }

    /// A route reaches the proxy, or does not.
    pub fn route_acts(&mut self, call: Call, route: Route, revision: u64) {
        let fate = self.fate(&call);
        if fate == Fate::NotDone || (self.proxy.is_down && fate == Fate::Fine) {
            return self.answer(&call, 5, Input::Routed(route, Err(not_done())));
        }
        if fate == Fate::LostBefore || self.proxy.is_down {
            return self.no_answer(&call, Input::Routed(route, Err(unknown())));
        }
        let given = (call.generation.0, revision);
        let known = self.proxy.table.as_ref();
        let result = if given == self.proxy.seen && known == Some(&route) {
            Ok(revision)
        } else if given <= self.proxy.seen && !mutant::is(Mutant::ProxyTakesStale) {
            self.note(|| format!("proxy: a route by {} is stale", call.generation));
            Err(Failed { how: Certainty::NotDone, why: "the proxy has seen a newer one".into() })
        } else {
            self.apply(&call, &route, given);
            self.proxy.seen = given;
            Ok(revision)
        };
        if fate == Fate::LostAfter {
            return self.no_answer(&call, Input::Routed(route, Err(unknown())));
        }
        let delay = self.latency();
        self.answer(&call, delay, Input::Routed(route, result));
    }

    fn apply(&mut self, call: &Call, route: &Route, given: (u64, u64)) {
        self.applying(call, route, given);
        let members = self.proxy.table.iter().flat_map(|table| &table.members);
        let left: Vec<InstanceId> = members.copied().collect();
        let previous = self.proxy.table.replace(route.clone());
        for id in left {
            let was = previous.as_ref().is_some_and(|table| crate::model::shares(table, id));
            if was && !self.proxy.routes(id) {
                let takes = self.rng.between(0, self.drain_ms * 6 / 5);
                self.proxy.busy.insert(id, self.now + takes);
            }
        }
        for id in &route.members {
            self.proxy.busy.remove(id);
        }
        self.note(|| format!("proxy: {} by {}", route_words(route), call.generation));
    }

    /// An observation is made; its answer may be lost, late or double.
    pub fn observe_acts(&mut self, call: Call, turn: u64, number: u64) {
        let look = Look { number, made: self.now };
        let plane = &self.planes[call.who.0];
        let cut = plane.cut_until > self.now || plane.deaf_until > self.now;
        let seen = match cut || self.happens(Fault::Dropped) {
            true => Err(unknown()),
            false => Ok(self.target.seen(self.now)),
        };
        let input = Input::Seen(seen, turn);
        let times = if self.happens(Fault::Duplicated) { 2 } else { 1 };
        for _ in 0..times {
            let delay = match self.happens(Fault::Reordered) {
                true => self.rng.between(50, 2000),
                false => 1,
            };
            let seen = Happening::Seen(call.who, input.clone(), look);
            self.agenda.add(self.now + delay, seen);
        }
    }
}

/// A route in words.
fn route_words(route: &Route) -> String {
    let members: Vec<String> = route.members.iter().map(ToString::to_string).collect();
    let hold = if route.hold_requests { ", requests are held" } else { "" };
    format!("{} over [{}]{hold}", route.split().words(), members.join(" "))
}
