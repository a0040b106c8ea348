//! One simulated world: a service on a target behind a proxy, one to three control planes on one
//! store, people who ask for things, and faults. It owns time.
//!
//! A run has two phases. In the first everything may go wrong, and nothing that must never happen
//! does. In the second all is mended, and everything must end well.

use std::collections::{BTreeMap, BTreeSet};

use rollway_core::ids::{InstanceId, ReleaseNumber, ServiceName, Version};
use rollway_core::spec::RestartPolicy;

use crate::check::Checks;
use crate::faults::{Counts, Fault, Rates};
use crate::happening::{Agenda, Happening, Who};
use crate::model::{Mail, Plane, Proxy, Target, Temper};
use crate::rng::Rng;
use crate::specs::Specs;
use crate::store::Store;

/// How long things go wrong.
const SAFETY_MS: u64 = 240_000;
/// How long everything may take to end afterwards.
const LIVENESS_MS: u64 = 400_000;
/// The end is looked for this often, and must hold so many times in a row.
const SLICE_MS: u64 = 5000;
const QUIET_SLICES: u32 = 4;
/// How long before the end everything must have ended.
const QUIET_MS: u64 = 45_000;

/// One simulated world.
pub struct World {
    /// The time, in milliseconds.
    pub now: u64,
    pub(crate) rng: Rng,
    pub(crate) rates: Rates,
    /// How often each kind of fault came.
    pub faults: Counts,
    pub(crate) agenda: Agenda,
    pub(crate) service: ServiceName,
    pub(crate) specs: Specs,
    pub(crate) store: Store,
    pub(crate) target: Target,
    pub(crate) proxy: Proxy,
    pub(crate) planes: Vec<Plane>,
    pub(crate) tempers: BTreeMap<Version, Temper>,
    pub(crate) unknown_version: Version,
    /// Instances that ended by themselves, and when.
    pub(crate) departed: BTreeMap<InstanceId, u64>,
    pub(crate) has_traffic: bool,
    pub(crate) drain_ms: u64,
    pub(crate) clock_offset: i64,
    pub(crate) healed: bool,
    /// No control plane is overtaken until then.
    pub(crate) calm_until: u64,
    /// Deployments that were begun.
    pub deployments: u64,
    /// What must never happen and did: the invariant, and what.
    pub violations: Vec<(&'static str, String)>,
    pub(crate) checks: Checks,
    /// The trace, if one is kept.
    pub trace: Option<Vec<String>>,
}

impl World {
    /// The world of a seed.
    #[must_use]
    pub fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let rates = Rates::of(&mut rng);
        let specs = Specs::of(&mut rng);
        let planes = (0..rates.planes).map(|_| Plane::default()).collect();
        let has_traffic = specs.has_traffic();
        Self {
            now: 1000,
            rng,
            rates,
            faults: Counts::default(),
            agenda: Agenda::default(),
            service: ServiceName::parse("shop").expect("a name"),
            specs,
            store: Store::default(),
            target: Target::default(),
            proxy: Proxy::default(),
            planes,
            tempers: BTreeMap::new(),
            unknown_version: Version::parse("unknown").expect("a version"),
            departed: BTreeMap::new(),
            has_traffic,
            drain_ms: 2000,
            clock_offset: 0,
            healed: false,
            calm_until: 0,
            deployments: 0,
            violations: Vec::new(),
            checks: Checks::default(),
            trace: traced.then(Vec::new),
        }
    }

    /// Which event followed which.
    pub fn transitions(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.checks.transitions.iter().copied()
    }

    /// Which state of a deployment followed which.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.checks.states.iter().copied()
    }

    /// Runs both phases.
    pub fn run(&mut self) {
        self.checks.epochs.push(0);
        self.open(0);
        self.agenda.add(self.now + 10, Happening::Operate);
        self.agenda.add(self.now + 3000, Happening::Trouble);
        self.run_until(SAFETY_MS);
        if !self.violations.is_empty() {
            return;
        }
        self.heal();
        let mut quiet = 0;
        let mut until = SAFETY_MS;
        while until < SAFETY_MS + LIVENESS_MS - QUIET_MS && quiet < QUIET_SLICES {
            until += SLICE_MS;
            self.run_until(until);
            quiet = if self.is_over() { quiet + 1 } else { 0 };
        }
        self.ended();
        self.run_until(until + SLICE_MS);
        self.at_the_end();
    }

    fn run_until(&mut self, end: u64) {
        self.agenda.add(end, Happening::Wake((usize::MAX, 0), 0));
        while let Some((at, what)) = self.agenda.pop() {
            self.now = self.now.max(at);
            if let Happening::Wake((usize::MAX, _), _) = what {
                return;
            }
            self.happen(what);
            if !self.violations.is_empty() {
                return;
            }
        }
    }

    fn happen(&mut self, what: Happening) {
        let what = match self.put_off(what) {
            Some(what) => what,
            None => return,
        };
        match what {
            Happening::Wake(who, token) => {
                let plane = &mut self.planes[who.0];
                if plane.token == token {
                    plane.idle = false;
                    self.pump(who.0);
                }
            }
            Happening::Mail(who, input) => {
                self.planes[who.0].mail.push_back(Mail::Told(input));
                self.pump(who.0);
            }
            Happening::Seen(who, input, look) => {
                self.planes[who.0].mail.push_back(Mail::Looked(input, look));
                self.pump(who.0);
            }
            Happening::Disk(who) => self.disk(who.0),
            Happening::Written(who, ok) => self.written(who.0, ok),
            Happening::Start(call, id) => self.start_acts(call, id),
            Happening::Drain(call, id) => self.drain(call, id),
            Happening::Drained(call, id, cut) => self.drained(call, id, cut),
            Happening::Stop(call, id, cut) => self.stop_acts(call, id, cut),
            Happening::Stopped(call, id, cut, run) => self.stopped(call, id, cut, run),
            Happening::Route(call, route, revision) => self.route_acts(call, *route, revision),
            Happening::Fence(call) => self.fence_acts(call),
            Happening::Observe(call, turn, look) => self.observe_acts(call, turn, look),
            Happening::Probe(who, id, number) => self.probe(who, id, number),
            Happening::Restart(id, run) => self.restart(id, run),
            Happening::Die(id, run) => self.die(id, run),
            Happening::ProxyUp => self.proxy_up(),
            Happening::Open(at) => self.open_again(at),
            Happening::Deposed(who) => {
                self.kill(who.0);
                self.agenda.add(self.now + 10, Happening::Open(who.0));
            }
            Happening::Trouble => self.trouble(),
            Happening::Operate => self.operate(),
            Happening::Wish => self.wish(),
        }
    }

    /// What a control plane does itself waits while it is stopped, and is lost with it. What is on
    /// its way to the target or the proxy arrives.
    fn put_off(&mut self, what: Happening) -> Option<Happening> {
        let who: Who = match &what {
            Happening::Wake(who, _)
            | Happening::Mail(who, _)
            | Happening::Seen(who, ..)
            | Happening::Disk(who)
            | Happening::Written(who, _)
            | Happening::Deposed(who)
            | Happening::Probe(who, ..) => *who,
            Happening::Drained(call, ..) => call.who,
            Happening::Start(..)
            | Happening::Drain(..)
            | Happening::Stop(..)
            | Happening::Stopped(..)
            | Happening::Route(..)
            | Happening::Fence(..)
            | Happening::Observe(..)
            | Happening::Restart(..)
            | Happening::Die(..)
            | Happening::ProxyUp
            | Happening::Open(_)
            | Happening::Trouble
            | Happening::Operate
            | Happening::Wish => return Some(what),
        };
        let plane = &self.planes[who.0];
        if plane.life != who.1 {
            return None;
        }
        if plane.paused_until > self.now {
            let until = plane.paused_until;
            self.agenda.add(until, what);
            return None;
        }
        Some(what)
    }

    /// How long a call takes to where it goes.
    pub(crate) fn latency(&mut self) -> u64 {
        if self.happens(Fault::Slow) {
            self.rng.between(100, 2500)
        } else {
            self.rng.between(1, 12)
        }
    }

    /// How long a word takes inside of a control plane.
    pub(crate) fn word(&mut self) -> u64 {
        if self.happens(Fault::Slow) { self.rng.between(100, 1000) } else { 1 }
    }

    /// Whether a fault comes now; if so it is counted.
    pub(crate) fn happens(&mut self, fault: Fault) -> bool {
        let rate = self.rates.of_fault(fault);
        let comes = rate > 0 && !self.healed && self.rng.chance(rate);
        if comes {
            self.faults.add(fault);
        }
        comes
    }

    /// Notes a line of the trace.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>8} {}", self.now, line()));
        }
    }

    /// Notes that an invariant does not hold.
    pub(crate) fn wrong(&mut self, invariant: &'static str, what: &str) {
        self.note(|| format!("!! {invariant}: {what}"));
        self.violations.push((invariant, format!("at {}: {what}", self.now)));
    }

    pub(crate) fn is_probed(&self, release: ReleaseNumber) -> bool {
        self.store.releases.get(&release).is_none_or(|release| !release.spec.health.is_empty())
    }

    pub(crate) fn policy(&self, release: ReleaseNumber) -> RestartPolicy {
        let release = self.store.releases.get(&release);
        release.map_or(RestartPolicy::Always, |release| release.spec.run.restart.policy)
    }

    /// The control plane that took over last, if it runs.
    pub(crate) fn newest(&self) -> Option<usize> {
        let running = |at: &usize| self.planes[*at].engine.is_some();
        let last = self.checks.epochs.last().copied();
        last.filter(running)
    }

    /// The instances that are there and fit since then.
    pub(crate) fn fit(&self, since: u64) -> BTreeSet<InstanceId> {
        let now = self.now;
        let processes = self.target.processes.iter();
        let fit = processes.filter(|(_, process)| process.was_fit(since, now)).map(|(id, _)| *id);
        let died = self.departed.iter().filter(|(_, at)| **at >= since).map(|(id, _)| *id);
        fit.chain(died).collect()
    }
}
