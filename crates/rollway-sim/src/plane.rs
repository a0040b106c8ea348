//! A control plane: the dumb loop around the production engine, as `rollway`'s actor is.
//!
//! It performs effects in their order, writes before it goes on, and can be killed or stopped
//! between any two of them.

use rollway_core::analysis::{Counters, Sample};
use rollway_core::engine::{
    Append, By, Certainty, Effect, Engine, Failed, Input, Next, Tries, Trust, Verb,
};
use rollway_core::event::What;
use rollway_core::health::{Health as Fold, State};
use rollway_core::ids::{Generation, InstanceId};
use rollway_core::observed::Health;
use rollway_core::seen::{Life, SeenInstance};
use rollway_core::units::Millis;
use rollway_core::verdict::eprocess::Pair;

use crate::faults::Fault;
use crate::happening::{Call, Happening, Who};
use crate::model::{Aborted, Mail, Plane, Probing, Wish};
use crate::store::Refused;
use crate::world::World;

/// So much may be done without time passing before it counts as a hot loop.
const PUMP_MAX: usize = 300;
/// After one control plane was overtaken none is for so long.
const CALM_MS: u64 = 3000;
/// The wait before a failed write is tried again, first and at most.
const RETRY_MS: (u64, u64) = (20, 1000);

impl World {
    /// Runs a loop until it waits for something.
    pub fn pump(&mut self, at: usize) {
        let mut decisions = 0;
        while decisions < PUMP_MAX {
            let now = self.now;
            let plane = &mut self.planes[at];
            let stopped = plane.paused_until > now || plane.writing.is_some();
            if plane.engine.is_none() || stopped {
                return;
            }
            let clock = Millis((now.cast_signed() + plane.offset).max(0).cast_unsigned());
            if let Some(effect) = plane.todo.pop_front() {
                self.perform(at, effect);
            } else if let Some(wish) = plane.asking.take() {
                self.accepted(at, &wish);
            } else if let Some(mail) = plane.mail.pop_front() {
                plane.idle = false;
                match mail {
                    Mail::Told(input) => {
                        if let (Some(trace), Input::Health(id, _, health, _)) =
                            (&mut self.trace, &input)
                        {
                            let health = health_words(health);
                            trace.push(format!("{now:>8} cp{at}: hears that {id} is {health}"));
                        }
                        if let Input::Started(_, Ok((_, seen))) = &input {
                            plane.started_at.insert(seen.instance, plane.looks);
                            plane.hears_run(seen, now);
                        }
                        plane.hears_health(&input, now);
                        plane.hears(&input);
                        plane.take(clock, input);
                    }
                    Mail::Looked(input, look) => {
                        if let Input::Seen(Ok(seen), _) = &input {
                            if let Some(trace) = &mut self.trace {
                                let seen: Vec<String> = seen.iter().map(seen_words).collect();
                                let seen = seen.join(" ");
                                trace.push(format!("{now:>8} cp{at}: sees {seen}"));
                            }
                            if look.number >= plane.heard_look {
                                plane.hears_runs(seen, look.number, now);
                                plane.heard_look = look.number;
                            }
                            plane.saw = plane.saw.max(look.made);
                        }
                        plane.hears_look(&input, look.number);
                        plane.take(clock, input);
                    }
                    Mail::Asked(wish) => self.ask(at, wish),
                }
            } else if plane.idle {
                return;
            } else if let Some(engine) = plane.engine.as_mut() {
                decisions += 1;
                let turn = engine.decide(clock);
                plane.todo.extend(turn.effects);
                if let Next::At(time) = turn.next {
                    plane.idle = true;
                    plane.token += 1;
                    let wake = (time.0.cast_signed() - plane.offset).max(0).cast_unsigned();
                    let who = (at, plane.life);
                    let token = plane.token;
                    self.agenda.add(wake.max(now + 1), Happening::Wake(who, token));
                }
            }
        }
        self.wrong("I33", "a loop does not come to rest");
    }

    fn ask(&mut self, at: usize, wish: Wish) {
        let plane = &mut self.planes[at];
        let clock = plane.clock(self.now);
        let Some(engine) = plane.engine.as_mut() else { return };
        let result = match &wish {
            Wish::Deploy(release) => {
                let wanted =
                    engine.refuse_if_active("deploy").and_then(|()| engine.wanted(release));
                wanted.map(|wanted| {
                    engine.deploy(clock, wanted, By { actor: "ann".into(), key: None });
                })
            }
            Wish::Verb(verb, args) => {
                let previous = self.store.previous_serving(engine.progress.serving);
                engine.verb(clock, *verb, args, previous, &|_| Ok(())).map(|_| ())
            }
        };
        let effects = engine.effects();
        plane.todo.extend(effects);
        match result {
            Ok(()) => {
                plane.asking = Some(wish.clone());
                self.note(|| format!("cp{at}: accepts {}", words(&wish)));
            }
            Err(problem) => {
                self.note(|| format!("cp{at}: refuses {}: {}", words(&wish), problem.what));
            }
        }
    }

    /// A request was done, and is durable.
    fn accepted(&mut self, at: usize, wish: &Wish) {
        let Wish::Verb(verb, args) = wish else { return };
        let plane = &mut self.planes[at];
        let Some(engine) = plane.engine.as_mut() else { return };
        let generation = engine.progress.generation;
        let aborted = engine.progress.active.as_ref().filter(|_| *verb == Verb::Abort);
        let aborted = aborted.and_then(|active| {
            let plan = &active.first_plan;
            let release = plan.to.filter(|to| plan.from != Some(*to))?;
            Some(Aborted { deployment: active.number, release, generation })
        });
        if let Some(ticket) = engine.ticket_for(*verb, args) {
            plane.tickets.insert(ticket, aborted);
        }
        plane.idle = false;
    }

    /// What a source says of two releases that are equally good, if it says anything.
    fn counted(&mut self) -> Sample {
        if self.rng.chance(50) {
            return Sample::Missed("it was not told".into());
        }
        let arm = |total: u64| Counters { total, bad: total / 100, ..Counters::default() };
        let (canary, baseline) = (arm(self.now / 100), arm(self.now / 10));
        Sample::Counters(Box::new(Pair { canary, baseline }))
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        let plane = &mut self.planes[at];
        let who = (at, plane.life);
        let (decided, saw) = (self.now, plane.saw);
        let call = move |generation| Call { who, generation, decided, saw, doubled: false };
        match effect {
            Effect::Append(append) => {
                plane.writing = Some(append);
                plane.retry = RETRY_MS.0;
                let delay = self.rng.between(1, 3);
                self.agenda.add(self.now + delay, Happening::Disk(who));
            }
            Effect::Start(ids, generation) => {
                let overtaken = self.is_overtaken(who);
                for id in ids {
                    self.repeats(at, id);
                    let at = self.now + self.latency() + overtaken / 32;
                    self.agenda.add(at, Happening::Start(call(generation), id));
                }
            }
            Effect::Retire(ids, generation) => {
                for id in ids {
                    self.repeats(at, id);
                    let at = self.now + self.latency();
                    self.agenda.add(at, Happening::Drain(call(generation), id));
                }
            }
            Effect::Route(route, generation, revision) => {
                let call = call(generation);
                self.routing(at, &route);
                let at = self.now + self.latency() + self.is_overtaken(who);
                self.agenda.add(at, Happening::Route(call, Box::new(route), revision));
            }
            Effect::Hook(point, ..) => {
                let ok = !self.rng.chance(70) || self.healed;
                let input = Input::Hook(point, ok, "said something".into());
                let delay = self.rng.between(5, 800);
                self.agenda.add(self.now + delay, Happening::Mail(who, input));
            }
            Effect::Fence(generation) => {
                let at = self.now + self.latency();
                self.agenda.add(at, Happening::Fence(call(generation)));
            }
            Effect::Observe(turn) => self.observe(at, turn),
            Effect::Probe(id, number, trust) => self.begin_probing(at, id, number, trust),
            Effect::StopProbing(id) => {
                plane.probings.remove(&id);
            }
            Effect::Sample(ask) => {
                let sample = self.counted();
                let at = self.now + self.latency();
                self.agenda.add(at, Happening::Mail(who, Input::Sampled(ask, sample)));
            }
            Effect::Answer(ticket, unfenced) => {
                let aborted = plane.tickets.remove(&ticket).flatten();
                if let Some(aborted) = aborted.filter(|_| unfenced.is_empty()) {
                    self.acknowledged(aborted);
                }
            }
            Effect::Ended => {}
            Effect::Complain(illegal) => self.wrong("I6", &illegal.to_string()),
        }
    }

    /// Whether the control plane ends with its next breath, and another one takes over while what
    /// it sent is under way: how much later than usual that arrives, at most 2 s.
    fn is_overtaken(&mut self, who: Who) -> u64 {
        if self.now < self.calm_until || !self.happens(Fault::Overtaken) {
            return 0;
        }
        self.calm_until = self.now + CALM_MS;
        self.agenda.add(self.now + 1, Happening::Deposed(who));
        // Somebody who sees that may well intervene.
        let wish = self.now + self.rng.between(30, 1500);
        self.agenda.add(wish, Happening::Wish);
        self.rng.between(0, 2000)
    }

    fn observe(&mut self, at: usize, turn: u64) {
        let plane = &mut self.planes[at];
        plane.looks += 1;
        let (who, look) = ((at, plane.life), plane.looks);
        let (generation, decided, saw) = (Generation(0), self.now, plane.saw);
        let call = Call { who, generation, decided, saw, doubled: false };
        let delay = self.latency();
        self.agenda.add(self.now + delay, Happening::Observe(call, turn, look));
    }

    fn begin_probing(&mut self, at: usize, id: InstanceId, number: u64, trust: Trust) {
        let plane = &mut self.planes[at];
        let release = plane.engine.as_ref().and_then(|engine| engine.releases.get(&id.release));
        let Some(probe) = release.and_then(|release| release.spec.health.first()) else { return };
        let mut fold = Fold::new(probe);
        let mut told = None;
        let mut state = State::Starting;
        if trust == Trust::Proven {
            for _ in 0..probe.success_threshold {
                state = fold.observe(Millis::ZERO, true);
            }
            told = Some(Health::Healthy(Millis::ZERO));
        }
        let probing = Probing { number, began: self.now, fold, state, told };
        plane.probings.insert(id, probing);
        let who = (at, plane.life);
        self.agenda.add(self.now, Happening::Probe(who, id, number));
    }

    /// One probe of an instance, and the next one's time.
    pub fn probe(&mut self, who: Who, id: InstanceId, number: u64) {
        let now = self.now;
        let cut = self.planes[who.0].cut_until > now || self.planes[who.0].deaf_until > now;
        let process = self.target.processes.get_mut(&id);
        let answered = process.as_ref().is_some_and(|process| process.answers(now));
        let ok = answered && !cut;
        let plane = &mut self.planes[who.0];
        let clock = plane.clock(now);
        let Some(probing) = plane.probings.get_mut(&id).filter(|known| known.number == number)
        else {
            return;
        };
        let since = Millis(now - probing.began);
        probing.state = probing.fold.observe(since, ok);
        let health = match probing.state {
            State::Starting => Health::Starting,
            State::Healthy { .. } => Health::Healthy(clock),
            State::Unhealthy { .. } => Health::Unhealthy("does not answer".into()),
        };
        if let (Some(process), true) = (process, answered) {
            process.answered_until = process.answered_until.max(now);
            if matches!(probing.state, State::Healthy { .. }) {
                if !process.passed {
                    process.passed_at = now;
                }
                process.passed = true;
                process.ever_passed = true;
                process.first_passed = process.first_passed.min(now);
            }
        }
        let same = match (&probing.told, &health) {
            (Some(Health::Healthy(_)), Health::Healthy(_)) => true,
            (told, health) => told.as_ref() == Some(health),
        };
        let next = now + probing.fold.next_probe_in(since).0;
        if !same {
            probing.told = Some(health.clone());
            let evidence = match &health {
                Health::Unhealthy(why) => vec![why.clone()],
                Health::Starting | Health::Healthy(_) => Vec::new(),
            };
            // What is told of health comes in its order, however late.
            let told = (now + self.word()).max(self.planes[who.0].told_until);
            self.planes[who.0].told_until = told;
            let input = Input::Health(id, number, health, evidence);
            self.agenda.add(told, Happening::Mail(who, input));
        }
        self.agenda.add(next, Happening::Probe(who, id, number));
    }

    /// The disk does what is being written, or does not.
    pub fn disk(&mut self, at: usize) {
        let plane = &self.planes[at];
        let Some(append) = plane.writing.clone() else { return };
        let who = (at, plane.life);
        let outage = self.now < self.store.broken_until || plane.cut_until > self.now;
        let once = self.happens(Fault::StoreOnce);
        let unknown = self.happens(Fault::StoreUnknown);
        // Perhaps it was written before, and only the answer was lost.
        let seq = self.planes[at].seq;
        let ok = if self.store.holds(seq, &append) {
            !outage
        } else if outage || once {
            false
        } else {
            self.write(at, &append) && !unknown
        };
        let delay = self.rng.between(1, 2);
        self.agenda.add(self.now + delay, Happening::Written(who, ok));
    }

    fn write(&mut self, at: usize, append: &Append) -> bool {
        let plane = &self.planes[at];
        let snapshot = plane.engine.as_ref().and_then(|engine| engine.snapshot.clone());
        match self.store.append(plane.seq, append, snapshot.as_ref()) {
            Ok(_) => {
                self.durable(append);
                true
            }
            Err(Refused::Moved) => {
                // Somebody has taken over: this one is of no use any more until it opens anew.
                let delay = self.rng.between(500, 5000);
                let who = (at, self.planes[at].life);
                self.agenda.add(self.now + delay, Happening::Deposed(who));
                false
            }
        }
    }

    /// The answer of the disk: go on, refuse the request, or try again.
    pub fn written(&mut self, at: usize, ok: bool) {
        let plane = &mut self.planes[at];
        let Some(append) = &plane.writing else { return };
        let held = self.store.holds(plane.seq, append);
        if ok || (held && append.tries == Tries::Once) {
            plane.seq += if held { append.events.len() as u64 } else { 0 };
            plane.writing = None;
            self.pump(at);
            return;
        }
        match append.tries {
            Tries::Once => {
                plane.writing = None;
                plane.asking = None;
                plane.todo.clear();
                if let Some(engine) = plane.engine.as_mut() {
                    engine.withdraw();
                }
                self.note(|| format!("cp{at}: a request was taken back: it could not be written"));
                self.pump(at);
            }
            Tries::UntilWritten => {
                // A loop that waits for its store knows less and less of the world.
                plane.disturbed = plane.disturbed.max(self.now);
                let wait = plane.retry;
                plane.retry = (wait * 2).min(RETRY_MS.1);
                let who = (at, plane.life);
                self.agenda.add(self.now + wait, Happening::Disk(who));
            }
        }
    }

    /// Opens the store: load, fold, observe, take over.
    pub fn open(&mut self, at: usize) {
        self.store.epoch += 1;
        let (progress, seq) = match self.store.fold() {
            Ok(folded) => folded,
            Err(illegal) => return self.wrong("I17", &illegal.to_string()),
        };
        self.same_fold(&progress);
        let offset = match self.happens(Fault::Reboot) {
            // Another boot: the clock goes on from the last event.
            true => progress.clock.0.cast_signed() - self.now.cast_signed(),
            false => self.clock_offset.max(progress.clock.0.cast_signed() - self.now.cast_signed()),
        };
        self.clock_offset = offset;
        let snapshot = self.store.snapshot.clone();
        let mut engine = Engine::resume(self.service.clone(), progress, seq, snapshot);
        engine.releases.clone_from(&self.store.releases);
        let life = self.planes[at].life + 1;
        let mut plane = Plane { life, seq, offset, disturbed: self.now, ..Plane::default() };
        plane.saw = self.now;
        let seen = match self.happens(Fault::Dropped) {
            true => Err(Failed { how: Certainty::Unknown, why: "no answer".into() }),
            false => Ok(self.target.seen(self.now)),
        };
        if let Ok(seen) = &seen {
            let runs = seen.iter().map(|one| (one.instance, one.incarnation.clone()));
            plane.adopted = runs.collect();
        }
        let route = self.proxy.table.clone().filter(|_| !self.proxy.is_down);
        let route = route.map(|route| rollway_core::plan::Route { settings: None, ..route });
        engine.adopt(plane.clock(self.now), self.store.epoch, seen, route);
        plane.todo.extend(engine.effects());
        plane.engine = Some(engine);
        self.planes[at] = plane;
        self.note(|| format!("cp{at}: opens the store"));
        self.pump(at);
    }

    /// Kills a control plane; what it was writing is on disk or not.
    pub fn kill(&mut self, at: usize) {
        if let Some(append) = self.planes[at].writing.clone()
            && self.now >= self.store.broken_until
            && !self.store.holds(self.planes[at].seq, &append)
            && self.rng.chance(500)
        {
            self.write(at, &append);
        }
        let life = self.planes[at].life + 1;
        self.planes[at] = Plane { life, disturbed: self.now, ..Plane::default() };
        self.note(|| format!("cp{at}: is killed"));
    }

    /// What became durable, for those who check.
    fn durable(&mut self, append: &Append) {
        for (deployment, event) in &append.events {
            self.recorded(*deployment, event);
            if let Some(trace) = &mut self.trace {
                let words = event.what.words();
                trace.push(format!("{:>8} history: {words}", self.now));
            }
            if let What::DeploymentBegan { .. } = event.what {
                self.deployments += 1;
            }
        }
    }
}

fn health_words(health: &Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Healthy(_) => "healthy",
        Health::Unhealthy(_) => "unhealthy",
    }
}

/// An instance as it was seen: which run, and how it lives.
fn seen_words(seen: &SeenInstance) -> String {
    let life = match seen.life {
        Life::Starting | Life::Running => "",
        Life::Restarting { .. } => " (restarting)",
        Life::Ended(_) => " (ended)",
        Life::Stopping => " (stopping)",
    };
    format!("{}={}{life}", seen.instance, seen.incarnation)
}

fn words(wish: &Wish) -> String {
    match wish {
        Wish::Deploy(release) => format!("deploy {}", release.version),
        Wish::Verb(verb, _) => format!("{verb:?}").to_lowercase(),
    }
}
