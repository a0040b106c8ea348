//! The loop of one service: outcomes that come late, twice, or never.

use rollway_core::engine::{By, Certainty, Effect, Engine, Failed, Input, Next, Verb};
use rollway_core::event::DeploymentState;
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber, ServiceName, Version};
use rollway_core::observed::Instance;
use rollway_core::release::Release;
use rollway_core::seen::{Ended, Ensured, Life, SeenInstance};
use rollway_core::spec::Spec;
use rollway_core::units::Millis;
use rollway_core::view::VerbArgs;

fn id(slot: u32) -> InstanceId {
    InstanceId { release: ReleaseNumber(1), slot }
}

/// A loop, its time, and the starts and stops that it asked for.
struct Loop {
    engine: Engine,
    now: Millis,
    asked: Vec<String>,
}

impl Loop {
    /// The first deployment, of two instances that are not probed; both may fail.
    fn new() -> Self {
        let text = r#"{"service": "shop", "instances": 2, "update": {"max_failure_ratio": 1.0},
            "run": {"driver": "process", "command": ["shop"]}}"#;
        let mut spec: Spec = serde_json::from_str(text).expect("a spec");
        let version = Version::parse("v1").expect("a version");
        spec.version = Some(version.clone());
        let service = ServiceName::parse("shop").expect("a name");
        let release = Release {
            service: service.clone(),
            number: ReleaseNumber(0),
            version,
            digest: "v1".into(),
            folder: "/".into(),
            artifact: None,
            env_file_digest: None,
            spec,
        };
        let mut one = Self { engine: Engine::new(service), now: Millis(1000), asked: Vec::new() };
        let wanted = one.engine.wanted(&release).expect("it is new");
        one.engine.deploy(one.now, wanted, By { actor: "ann".into(), key: None });
        assert_eq!(one.runs(0), ["start r1-0", "start r1-1"]);
        one
    }

    /// The same when it has completed.
    fn serving() -> Self {
        let mut one = Self::new();
        for slot in 0..2 {
            one.starts(slot);
        }
        assert!(one.engine.progress.active.is_none() && one.engine.progress.up);
        one
    }

    /// Lets time pass, then decides until there is nothing to do; answers what was asked for.
    fn runs(&mut self, time: u64) -> Vec<String> {
        self.now = Millis(self.now.0 + time);
        loop {
            let turn = self.engine.decide(self.now);
            for effect in turn.effects {
                if let Effect::Start(ids, _) = &effect {
                    self.asked.extend(ids.iter().map(|id| format!("start {id}")));
                }
                if let Effect::Retire(ids, _) = &effect {
                    self.asked.extend(ids.iter().map(|id| format!("stop {id}")));
                }
                if let Effect::Observe(turn) = &effect {
                    self.asked.push(format!("look {turn}"));
                }
                if let Effect::Complain(illegal) = &effect {
                    panic!("{illegal}");
                }
            }
            if let Next::At(_) = turn.next {
                return std::mem::take(&mut self.asked);
            }
        }
    }

    fn told(&mut self, input: Input) -> Vec<String> {
        self.engine.take(self.now, input);
        self.runs(0)
    }

    /// A start went well.
    fn starts(&mut self, slot: u32) -> Vec<String> {
        let seen = self.seen(id(slot));
        self.told(Input::Started(id(slot), Ok((Ensured::Added, seen))))
    }

    /// A start was refused.
    fn is_refused(&mut self, slot: u32) -> Vec<String> {
        let failed = Failed { how: Certainty::NotDone, why: "no room".into() };
        self.told(Input::Started(id(slot), Err(failed)))
    }

    fn asks(&mut self, verb: Verb, instances: u32) -> Vec<String> {
        let args = VerbArgs { instances: Some(instances), ..VerbArgs::default() };
        self.engine.verb(self.now, verb, &args, None, &|_| Ok(())).expect("it can be done");
        self.runs(0)
    }

    fn seen(&self, id: InstanceId) -> SeenInstance {
        SeenInstance {
            instance: id,
            version: Version::parse("v1").expect("a version"),
            address: None,
            life: Life::Running,
            incarnation: format!("{id}:1"),
            restarts: 0,
            started_ms_ago: 0,
            generation: Generation(1),
        }
    }
}

#[test]
fn what_is_being_started_again_is_not_stopped() {
    let mut one = Loop::new();
    // It failed, so it was given up; but the one that is started now is another one.
    assert_eq!(one.is_refused(0), ["start r1-0"]);
    assert_eq!(one.runs(100), [""; 0]);
    one.starts(0);
    one.starts(1);
    let last = one.engine.progress.last.as_ref().expect("it has ended");
    assert_eq!(last.state, DeploymentState::Completed, "{:?}", last.reasons);
}

#[test]
fn a_start_that_failed_says_nothing_of_another_one() {
    let mut one = Loop::serving();
    assert_eq!(one.asks(Verb::Scale, 3), ["start r1-2"]);
    assert_eq!(one.asks(Verb::Abort, 0), ["stop r1-2"]);
    one.told(Input::Retired(id(2), 0, Ok(Ensured::NotNeeded)));
    assert_eq!(one.asks(Verb::Scale, 3), ["start r1-2"]);
    one.starts(2);
    // Only now comes what became of the first start.
    assert_eq!(one.is_refused(2), ["look 6"]);
    assert!(one.engine.observed.get(id(2)).is_some());
    let seen = (0..3).map(|slot| one.seen(id(slot))).collect();
    assert_eq!(one.told(Input::Seen(Ok(seen), 6)), [""; 0]);
    assert_eq!(one.engine.observed.total(), 3);
}

#[test]
fn while_a_deployment_is_under_way_a_note_of_a_change_may_be_lost() {
    let mut one = Loop::new();
    one.starts(0);
    // Nothing says that this one has ended; that is found before the rest is decided.
    let looks = (0..10).flat_map(|_| one.runs(1000)).collect::<Vec<_>>();
    assert_eq!(looks, ["look 2", "look 3"]);
    // Of a look without an answer nothing is learned: there is another one soon.
    let failed = Failed { how: Certainty::Unknown, why: "no answer".into() };
    assert_eq!(one.told(Input::Seen(Err(failed), 3)), ["look 4"]);
    let seen = Life::Ended(Ended { code: Some(1), ..Ended::default() });
    let ended = SeenInstance { life: seen, ..one.seen(id(0)) };
    one.told(Input::Seen(Ok(vec![ended]), 4));
    assert_eq!(one.engine.observed.get(id(0)).map(Instance::is_ready), Some(false));
}
