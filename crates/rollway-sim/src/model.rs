//! What the simulated world is made of: a target with processes, a proxy, control planes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rollway_core::engine::{Append, Effect, Engine, Input, Ticket, Verb};
use rollway_core::health::{Health as Fold, State};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber, Version};
use rollway_core::observed::Health;
use rollway_core::plan::Route;
use rollway_core::release::Release;
use rollway_core::seen::{Ended, Life, SeenInstance};
use rollway_core::units::Millis;
use rollway_core::view::VerbArgs;

use crate::happening::Look;

/// How the instances of a release behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// They answer probes this long after their start.
    Good(u64),
    /// They never do.
    NeverReady,
    /// They end this long after their start.
    Crashes(u64),
}

/// How a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It runs.
    Running,
    /// It ended, and its shim starts it again.
    Restarting,
    /// It ended.
    Ended,
    /// It was asked to end.
    Stopping,
}

/// One instance at the target.
#[derive(Debug, Clone)]
pub struct Process {
    /// Which run it is, of all runs of the world.
    pub run: u64,
    /// How it lives.
    pub phase: Phase,
    /// When this run began.
    pub began: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// Who started it.
    pub generation: Generation,
    /// The label of its build.
    pub version: Version,
    /// From when on it answers.
    pub well_from: u64,
    /// It does not answer until then.
    pub unwell_until: u64,
    /// Whether this run has passed as many probes in a row as are wanted.
    pub passed: bool,
    /// When it did.
    pub passed_at: u64,
    /// Whether any run of this instance has.
    pub ever_passed: bool,
    /// When the first of them did; without an end if none has.
    pub first_passed: u64,
    /// When it last stopped answering, or the last time that it was seen to answer.
    pub answered_until: u64,
}

impl Process {
    /// Whether it answers a probe.
    #[must_use]
    pub fn answers(&self, now: u64) -> bool {
        let runs = matches!(self.phase, Phase::Running | Phase::Stopping);
        runs && now >= self.well_from && now >= self.unwell_until
    }

    /// Whether it has been well for long enough that everybody knows, and still is.
    #[must_use]
    pub fn is_known_well(&self, since: u64, now: u64) -> bool {
        let before = self.passed_at.max(self.unwell_until);
        self.passed && before < since && self.answers(now)
    }

    /// Whether it was fit to serve at some time since then.
    #[must_use]
    pub fn was_fit(&self, since: u64, now: u64) -> bool {
        self.ever_passed && (self.answers(now) || self.answered_until >= since)
    }

    /// Which run it is, as the driver names it.
    #[must_use]
    pub fn run(&self) -> String {
        format!("{}:{}", self.run, self.began)
    }

    /// As the driver shows it.
    #[must_use]
    pub fn seen(&self, instance: InstanceId, now: u64) -> SeenInstance {
        let life = match self.phase {
            Phase::Running => Life::Running,
            Phase::Restarting => {
                let ended = Ended { code: Some(1), ..Ended::default() };
                Life::Restarting { ended, wait_ms: 100 }
            }
            Phase::Ended => Life::Ended(Ended { code: Some(1), ..Ended::default() }),
            Phase::Stopping => Life::Stopping,
        };
        SeenInstance {
            instance,
            version: self.version.clone(),
            address: None,
            life,
            incarnation: self.run(),
            restarts: self.restarts,
            started_ms_ago: now - self.began,
            generation: self.generation,
        }
    }
}

/// The machine that instances run on.
#[derive(Debug, Default)]
pub struct Target {
    /// The newest generation that acted.
    pub fence: Generation,
    /// What runs.
    pub processes: BTreeMap<InstanceId, Process>,
    /// Runs so far.
    pub runs: u64,
}

/// The data plane.
#[derive(Debug, Default)]
pub struct Proxy {
    /// Whether it runs.
    pub is_down: bool,
    /// The newest generation and revision that it was told.
    pub seen: (u64, u64),
    /// The table; it outlives a crash.
    pub table: Option<Route>,
    /// Until when requests are in flight at an instance that gets no new ones.
    pub busy: BTreeMap<InstanceId, u64>,
}

impl Proxy {
    /// Whether new requests go to an instance.
    #[must_use]
    pub fn routes(&self, id: InstanceId) -> bool {
        self.table.as_ref().is_some_and(|route| shares(route, id))
    }
}

/// Whether a route gives an instance new requests.
#[must_use]
pub fn shares(route: &Route, id: InstanceId) -> bool {
    let by_capacity = route.weights.values().all(|weight| *weight == 0);
    let weight = route.weights.get(&id.release).copied().unwrap_or(0);
    let previewed = route.preview == Some(id.release);
    (by_capacity || weight > 0 || previewed) && route.members.contains(&id)
}

/// What a person asks for.
#[derive(Debug, Clone)]
pub enum Wish {
    /// To deploy this.
    Deploy(Box<Release>),
    /// A verb.
    Verb(Verb, VerbArgs),
}

/// What waits for a control plane's loop.
#[derive(Debug, Clone)]
pub enum Mail {
    /// Something happened.
    Told(Input),
    /// An observation was made.
    Looked(Input, Look),
    /// Somebody asks.
    Asked(Wish),
}

/// One probing of one instance.
#[derive(Debug)]
pub struct Probing {
    /// Its number.
    pub number: u64,
    /// When it began.
    pub began: u64,
    /// What its probes amount to.
    pub fold: Fold,
    /// The same in short.
    pub state: State,
    /// What the loop was told last.
    pub told: Option<Health>,
}

/// What an abort was about, so that its acknowledgement can be held to it.
#[derive(Debug, Clone, Copy)]
pub struct Aborted {
    /// The deployment.
    pub deployment: u64,
    /// The release that must not start any more.
    pub release: ReleaseNumber,
    /// The generation under which it is undone.
    pub generation: Generation,
}

/// One control plane: the production loop, and the dumb part around it.
#[derive(Debug, Default)]
pub struct Plane {
    /// Counts its lives: what was meant for an earlier one is not heard.
    pub life: u64,
    /// Its loop, if it runs.
    pub engine: Option<Engine>,
    /// Effects that are still to be performed.
    pub todo: VecDeque<Effect>,
    /// The append that is being written: nothing else goes on meanwhile.
    pub writing: Option<Append>,
    /// The wait before the next try.
    pub retry: u64,
    /// What waits for the loop.
    pub mail: VecDeque<Mail>,
    /// Whether the loop has said when it wants to be woken.
    pub idle: bool,
    /// The wake that counts.
    pub token: u64,
    /// The events that it knows to be written.
    pub seq: u64,
    /// What its service's clock is ahead of the world's.
    pub offset: i64,
    /// It is stopped until then.
    pub paused_until: u64,
    /// Nothing gets through until then.
    pub cut_until: u64,
    /// Answers do not get through until then.
    pub deaf_until: u64,
    /// When its view of the world was last disturbed.
    pub disturbed: u64,
    /// The request that the append under way is for.
    pub asking: Option<Wish>,
    /// The answers that wait.
    pub tickets: BTreeMap<Ticket, Option<Aborted>>,
    /// The probings.
    pub probings: BTreeMap<InstanceId, Probing>,
    /// Instances whose last call had no answer, and that have not been observed since.
    pub unknown: BTreeSet<InstanceId>,
    /// How many looks it had asked for when it heard of the start of an instance: what those show
    /// of it may be older.
    pub started_at: BTreeMap<InstanceId, u64>,
    /// The runs that it has heard of, and since when.
    pub runs: BTreeMap<InstanceId, (String, u64)>,
    /// The runs that it saw when it took over.
    pub adopted: BTreeMap<InstanceId, String>,
    /// Until when it was not told that an instance is well; without an end if it still was not.
    pub unsure: BTreeMap<InstanceId, u64>,
    /// The latest observation that it has heard of: earlier ones say nothing any more.
    pub heard_look: u64,
    /// When the last observation was made that it has heard of.
    pub saw: u64,
    /// When the last word on the health of an instance arrives.
    pub told_until: u64,
    /// The observations asked for, by their number, in order.
    pub looks: u64,
    /// The number of looks when each instance became unknown.
    pub unknown_at: BTreeMap<InstanceId, u64>,
}

impl Plane {
    /// What a loop was told of the health of an instance.
    pub fn hears_health(&mut self, input: &Input, now: u64) {
        let Input::Health(id, _, health, _) = input else { return };
        let is_well = matches!(health, Health::Healthy(_));
        let until = if is_well { now } else { u64::MAX };
        let known = self.unsure.entry(*id).or_insert(until);
        // Who is told twice was sure the first time.
        *known = if is_well { until.min(*known) } else { until };
    }

    /// Takes note of the runs that an observation shows; `look` is its number.
    pub fn hears_runs(&mut self, seen: &[SeenInstance], look: u64, now: u64) {
        for one in seen {
            if self.started_at.get(&one.instance).is_none_or(|asked| *asked < look) {
                self.hears_run(one, now);
            }
        }
    }

    /// Takes note of which run an instance is in.
    pub fn hears_run(&mut self, seen: &SeenInstance, now: u64) {
        let known = self.runs.get(&seen.instance);
        if known.is_some_and(|(run, _)| *run == seen.incarnation) {
            return;
        }
        self.runs.insert(seen.instance, (seen.incarnation.clone(), now));
        let release = seen.instance.release;
        let known = self.engine.as_ref().and_then(|engine| engine.releases.get(&release));
        if known.is_some_and(|release| !release.spec.health.is_empty()) {
            // Another run has to prove itself.
            self.unsure.insert(seen.instance, u64::MAX);
        }
    }

    /// Whether it knew at some time that an instance is well, by what it was told.
    #[must_use]
    pub fn is_sure(&self, id: InstanceId, then: u64) -> bool {
        self.unsure.get(&id).is_none_or(|until| *until < then)
    }

    /// The loop takes note of something.
    pub fn take(&mut self, clock: Millis, input: Input) {
        if let Some(engine) = &mut self.engine {
            engine.take(clock, input);
            self.todo.extend(engine.effects());
        }
    }

    /// The service's clock.
    #[must_use]
    pub fn clock(&self, now: u64) -> Millis {
        Millis((now.cast_signed() + self.offset).max(0).cast_unsigned())
    }
}
