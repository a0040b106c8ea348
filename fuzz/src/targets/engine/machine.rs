//! The world of one engine, made of bytes.

use rollway_core::analysis::{Counters, Sample};
use rollway_core::engine::{By, Certainty, Effect, Engine, Failed, Input, Next, Tries, Verb};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber, ServiceName, Version};
use rollway_core::observed::Health;
use rollway_core::plan::{HookPoint, Route};
use rollway_core::release::Release;
use rollway_core::seen::{Ended, Ensured, Life, SeenInstance};
use rollway_core::spec::{BlueGreen, Canary, CanaryStep, Hook, Spec, Strategy};
use rollway_core::units::Millis;
use rollway_core::verdict::eprocess::Pair;
use rollway_core::verdict::histogram::Histogram;
use rollway_core::view::VerbArgs;

use super::cursor::Cursor;
use super::oracle::Oracle;
use crate::Marks;

/// Most effects that wait for an answer at once; older ones are never answered.
const OPEN_MAX: usize = 64;
/// Most decisions in a row; an engine that wants more does not come to rest.
const TURNS_MAX: usize = 64;

/// One engine and what it is told.
pub struct Machine {
    /// The engine.
    pub engine: Engine,
    /// What must hold.
    pub oracle: Oracle,
    now: u64,
    epoch: u64,
    made: u64,
    open: Vec<Effect>,
    base: Spec,
}

impl Machine {
    /// A service without a history.
    pub fn new() -> Self {
        let text = r#"{"service": "shop", "instances": 2,
            "run": {"driver": "process", "command": ["shop"]},
            "health": [{"tcp": {}, "interval": "1s", "timeout": "1s"}],
            "traffic": {"listen": ["127.0.0.1:1"], "drain": "2s"}}"#;
        let base: Spec = serde_json::from_str(text).expect("the base is a spec");
        let engine = Engine::new(service());
        let (oracle, open) = (Oracle::default(), Vec::new());
        Self { engine, oracle, now: 0, epoch: 0, made: 0, open, base }
    }

    /// One step.
    pub fn step(&mut self, bytes: &mut Cursor<'_>, marks: &mut Marks) -> Result<(), String> {
        match bytes.below(9) {
            0 => self.deploy(bytes, marks),
            1 => self.verb(bytes, marks),
            2 | 8 => self.decide(marks),
            3 => match self.open.is_empty() {
                true => self.decide(marks),
                false => {
                    let at = bytes.below(self.open.len());
                    let effect = match bytes.below(4) {
                        // Now and then an answer comes twice.
                        3 => self.open[at].clone(),
                        _ => self.open.remove(at),
                    };
                    self.answer(&effect, bytes, marks)
                }
            },
            4 => self.tell(bytes, marks),
            5 => {
                let step = bytes.below(64) as u64;
                self.now += step * step * 20;
                Ok(())
            }
            6 => self.healthy(bytes, marks),
            _ => self.crash(bytes, marks),
        }
    }

    fn now(&self) -> Millis {
        Millis(self.now)
    }

    /// Everything that runs is said to be as well as the byte has it.
    fn healthy(&mut self, bytes: &mut Cursor<'_>, marks: &mut Marks) -> Result<(), String> {
        let is_well = bytes.below(4) != 3;
        let probed = |(id, detail): (&InstanceId, &rollway_core::engine::Detail)| {
            detail.probing.map(|number| (*id, number))
        };
        let probed: Vec<_> = self.engine.details.iter().filter_map(probed).collect();
        for (id, number) in probed {
            let health = match is_well {
                true => Health::Healthy(self.now()),
                false => Health::Unhealthy("it does not answer".into()),
            };
            self.take(Input::Health(id, number, health, Vec::new()), bytes, marks)?;
        }
        Ok(())
    }

    fn deploy(&mut self, bytes: &mut Cursor<'_>, marks: &mut Marks) -> Result<(), String> {
        let release = self.release(bytes);
        if self.engine.refuse_if_active("deploy").is_ok()
            && let Ok(wanted) = self.engine.wanted(&release)
        {
            let by = By { actor: "ann".into(), key: None };
            self.engine.deploy(self.now(), wanted, by);
        }
        self.perform(bytes, marks)
    }

    fn release(&mut self, bytes: &mut Cursor<'_>) -> Release {
        let mut spec = self.base.clone();
        spec.strategy = match bytes.below(5) {
            0 => Strategy::Rolling,
            1 => Strategy::Recreate,
            2 => Strategy::BlueGreen(BlueGreen::default()),
            3 => Strategy::Canary(Canary {
                steps: vec![CanaryStep::Weight(10), CanaryStep::Approve("look".into())],
                ..Canary::default()
            }),
            _ => Strategy::Canary(Canary {
                steps: vec![CanaryStep::Weight(50), CanaryStep::Hold(Millis(500))],
                ..Canary::default()
            }),
        };
        let choices = bytes.below(32);
        spec.instances = (choices % 4 + 1) as u32;
        spec.rollback.automatic = choices & 4 == 0;
        if choices & 8 != 0 {
            let hook = || Some(Hook { command: vec!["x".into()], timeout: Millis::seconds(5) });
            spec.hooks.before_deploy = hook();
            spec.hooks.after_switch = hook();
        }
        if choices & 16 != 0 {
            spec.traffic = None;
        }
        // One in four is what was there before.
        if self.made == 0 || bytes.below(4) != 3 {
            self.made += 1;
        }
        let text = format!("v{}", self.made);
        let version = Version::parse(&text).expect("a version");
        spec.version = Some(version.clone());
        let service = self.engine.service.clone();
        let (digest, folder) = (text, "/".to_owned());
        let (artifact, env_file_digest) = (None, None);
        let number = ReleaseNumber(0);
        Release { service, number, version, digest, spec, folder, artifact, env_file_digest }
    }

    fn verb(&mut self, bytes: &mut Cursor<'_>, marks: &mut Marks) -> Result<(), String> {
        let (name, verb) = Verb::ALL[bytes.below(Verb::ALL.len())];
        let choices = bytes.below(16);
        let args = VerbArgs {
            full: choices & 1 != 0,
            wait: choices & 2 != 0,
            to: (choices & 4 != 0).then(|| "1".to_owned()),
            instances: (choices & 8 != 0).then_some((choices % 3) as u32 + 1),
            actor: "ann".into(),
            ..VerbArgs::default()
        };
        let previous = (choices & 2 != 0).then_some(ReleaseNumber(1));
        let now = self.now();
        let done = self.engine.verb(now, verb, &args, previous, &|_| Ok(()));
        marks.mark((name, done.is_ok()));
        self.perform(bytes, marks)?;
        if done.is_ok() {
            self.engine.ticket_for(verb, &args);
        }
        Ok(())
    }

    fn decide(&mut self, marks: &mut Marks) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            let turn = self.engine.decide(self.now());
            let all_written = &mut Cursor::new(&[]);
            self.perform_these(turn.effects, all_written, marks)?;
            match turn.next {
                Next::At(_) => return Ok(()),
                Next::Now => {}
            }
        }
        Err("the engine does not come to rest".to_owned())
    }

    fn take(
        &mut self,
        input: Input,
        bytes: &mut Cursor<'_>,
        marks: &mut Marks,
    ) -> Result<(), String> {
        self.engine.take(self.now(), input);
        self.perform(bytes, marks)
    }

    fn perform(&mut self, bytes: &mut Cursor<'_>, marks: &mut Marks) -> Result<(), String> {
        let effects = self.engine.effects();
        self.perform_these(effects, bytes, marks)
    }

    /// In order; what cannot be written is taken back, with all that follows.
    fn perform_these(
        &mut self,
        effects: Vec<Effect>,
        bytes: &mut Cursor<'_>,
        marks: &mut Marks,
    ) -> Result<(), String> {
        for effect in effects {
            self.oracle.effect(&effect)?;
            if let Effect::Append(append) = &effect {
                if append.tries == Tries::Once && bytes.below(16) == 15 {
                    self.engine.withdraw();
                    break;
                }
                self.oracle.written(append, marks)?;
            } else {
                self.open.push(effect);
            }
        }
        let over = self.open.len().saturating_sub(OPEN_MAX);
        self.open.drain(..over);
        Ok(())
    }

    /// What comes of an effect: well most often, or anything else.
    fn answer(
        &mut self,
        effect: &Effect,
        bytes: &mut Cursor<'_>,
        marks: &mut Marks,
    ) -> Result<(), String> {
        let inputs = match effect {
            Effect::Start(ids, generation) => {
                let start = |id: &InstanceId| {
                    let seen = self.seen(*id, *generation, Life::Running);
                    Input::Started(*id, ensured(bytes).map(|ensured| (ensured, seen)))
                };
                ids.iter().map(start).collect()
            }
            Effect::Retire(ids, _) => {
                ids.iter().map(|id| Input::Retired(*id, 0, ensured(bytes))).collect()
            }
            Effect::Route(route, _, revision) => {
                vec![Input::Routed(route.clone(), ensured(bytes).map(|_| *revision))]
            }
            Effect::Hook(point, ..) => {
                vec![Input::Hook(*point, bytes.below(4) != 3, "said".into())]
            }
            Effect::Fence(generation) => vec![Input::Fenced(*generation, ensured(bytes))],
            Effect::Observe(turn) => {
                let result = ensured(bytes).map(|_| self.all_seen());
                vec![Input::Seen(result, *turn)]
            }
            Effect::Sample(ask) => vec![Input::Sampled(ask.clone(), sample(bytes))],
            Effect::Append(_)
            | Effect::Probe(..)
            | Effect::StopProbing(_)
            | Effect::Answer(..)
            | Effect::Ended
            | Effect::Complain(_) => Vec::new(),
        };
        for input in inputs {
            self.take(input, bytes, marks)?;
        }
        Ok(())
    }

    fn all_seen(&self) -> Vec<SeenInstance> {
        let all = self.engine.observed.fleets().iter();
        let ids = all.flat_map(|(release, fleet)| {
            fleet.iter().map(|(slot, _)| InstanceId { release: *release, slot })
        });
        ids.map(|id| self.seen(id, self.engine.progress.generation, Life::Running)).collect()
    }

    /// Something that nobody asked for, of instances that there may or may not be.
    fn tell(&mut self, bytes: &mut Cursor<'_>, marks: &mut Marks) -> Result<(), String> {
        let id = instance(bytes);
        let input = match bytes.below(10) {
            0 => {
                let life = life(bytes);
                let seen = self.seen(id, Generation(bytes.number()), life);
                Input::Started(id, ensured(bytes).map(|ensured| (ensured, seen)))
            }
            1 => {
                let seen = self.seen(id, Generation(bytes.number()), life(bytes));
                Input::Recorded(vec![(id, ensured(bytes).map(|ensured| (ensured, seen)))])
            }
            2 => Input::Retired(id, bytes.number(), ensured(bytes)),
            3 => Input::Erased(vec![id, instance(bytes)]),
            4 => {
                let members = vec![id];
                let route = Route { members, ..self.empty_route() };
                Input::Routed(route, ensured(bytes).map(|_| bytes.number()))
            }
            5 => Input::Hook(HookPoint::BeforeDeploy, bytes.below(2) == 0, "late".into()),
            6 => {
                let count = bytes.below(4);
                let mut one = || {
                    let id = instance(bytes);
                    let mut seen = self.seen(id, Generation(bytes.number()), life(bytes));
                    seen.restarts = u32::try_from(bytes.number()).unwrap_or(u32::MAX);
                    seen.started_ms_ago = bytes.number();
                    seen
                };
                let seen: Vec<_> = (0..count).map(|_| one()).collect();
                Input::Seen(ensured(bytes).map(|_| seen), bytes.number())
            }
            7 => {
                let health = match bytes.below(3) {
                    0 => Health::Starting,
                    1 => Health::Healthy(Millis(bytes.number())),
                    _ => Health::Unhealthy("so it is said".into()),
                };
                Input::Health(id, bytes.number(), health, vec!["evidence".into()])
            }
            8 => Input::Changed,
            _ => Input::ProxyStarted,
        };
        self.take(input, bytes, marks)
    }

    fn empty_route(&self) -> Route {
        Route {
            weights: std::collections::BTreeMap::new(),
            members: Vec::new(),
            settings: self.engine.progress.serving,
            newest: None,
            preview: None,
            hold_requests: false,
        }
    }

    fn seen(&self, instance: InstanceId, generation: Generation, life: Life) -> SeenInstance {
        let release = self.engine.releases.get(&instance.release);
        let version = release.map(|release| release.version.clone());
        SeenInstance {
            instance,
            version: version.unwrap_or_else(|| Version::parse("v0").expect("a version")),
            address: None,
            life,
            incarnation: format!("1:{}", self.epoch),
            restarts: 0,
            started_ms_ago: 1,
            generation,
        }
    }

    /// The control plane ends, and another one goes on from what is durable.
    fn crash(&mut self, bytes: &mut Cursor<'_>, marks: &mut Marks) -> Result<(), String> {
        self.oracle.replays(&self.engine)?;
        self.epoch += 1;
        self.open.clear();
        let seen = ensured(bytes).map(|_| self.all_seen());
        let seq = self.oracle.log.len() as u64;
        let (progress, snapshot) = (self.oracle.folded()?, self.engine.snapshot.clone());
        let releases = std::mem::take(&mut self.engine.releases);
        self.engine = Engine::resume(service(), progress, seq, snapshot);
        self.engine.releases = releases;
        let route = (bytes.below(2) == 0).then(|| self.empty_route());
        self.engine.adopt(self.now(), self.epoch, seen, route);
        self.perform(bytes, marks)
    }
}

fn service() -> ServiceName {
    ServiceName::parse("shop").expect("a name")
}

fn instance(bytes: &mut Cursor<'_>) -> InstanceId {
    let release = ReleaseNumber(bytes.below(5) as u64);
    let slot = match bytes.below(16) {
        0 => u32::MAX,
        slot => slot as u32 % 5,
    };
    InstanceId { release, slot }
}

fn ensured(bytes: &mut Cursor<'_>) -> Result<Ensured, Failed> {
    match bytes.below(12) {
        8 => Ok(Ensured::NotNeeded),
        9 => Ok(Ensured::Stale { seen: Generation(bytes.number()) }),
        10 => Err(Failed { how: Certainty::Unknown, why: "no answer".into() }),
        11 => Err(Failed { how: Certainty::NotDone, why: "refused".into() }),
        _ => Ok(Ensured::Added),
    }
}

/// What a source says: nothing, or any counters, which may fall.
fn sample(bytes: &mut Cursor<'_>) -> Sample {
    let mut counters = || {
        let total = u64::from(bytes.below(1000) as u32);
        let bad = (bytes.below(8) as u64).min(total);
        let mut latency = Histogram::default();
        latency.add(bytes.below(200), total);
        Counters { total, bad, latency, value: None }
    };
    let both = Pair { canary: counters(), baseline: counters() };
    match bytes.below(4) {
        3 => Sample::Missed("no answer".into()),
        _ => Sample::Counters(Box::new(both)),
    }
}

fn life(bytes: &mut Cursor<'_>) -> Life {
    let ended = Ended { code: Some(1), ..Ended::default() };
    match bytes.below(5) {
        0 => Life::Starting,
        1 => Life::Running,
        2 => Life::Restarting { ended, wait_ms: bytes.number() },
        3 => Life::Ended(ended),
        _ => Life::Stopping,
    }
}
