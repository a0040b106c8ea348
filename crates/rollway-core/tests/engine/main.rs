//! The loop of one service: outcomes that come late, twice, or never.

use std::collections::BTreeMap;

use rollway_core::engine::{By, Certainty, Effect, Engine, Failed, Input, Next, Trust, Verb};
use rollway_core::event::DeploymentState;
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber, ServiceName, Version};
use rollway_core::mutant;
use rollway_core::observed::{Health, Instance};
use rollway_core::plan::Route;
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
    /// The number of the last probing of each instance.
    probings: BTreeMap<InstanceId, u64>,
    /// What each began with.
    trusts: BTreeMap<InstanceId, Trust>,
    /// The routes that were sent.
    routes: Vec<Route>,
}

impl Loop {
    /// The first deployment, of two instances that are not probed; both may fail.
    fn new() -> Self {
        Self::with("[]")
    }

    /// The same with probes.
    fn with(health: &str) -> Self {
        Self::of(&format!(r#""health": {health}"#))
    }

    /// The same with what a spec says beside the usual.
    fn of(more: &str) -> Self {
        mutant::choose(&std::env::var("ROLLWAY_MUTANT").unwrap_or_default());
        let text = format!(
            r#"{{"service": "shop", "instances": 2, "update": {{"max_failure_ratio": 1.0}},
            {more}, "run": {{"driver": "process", "command": ["shop"]}}}}"#
        );
        let mut spec: Spec = serde_json::from_str(&text).expect("a spec");
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
        let mut one = Self {
            engine: Engine::new(service),
            now: Millis(1000),
            asked: Vec::new(),
            probings: BTreeMap::new(),
            trusts: BTreeMap::new(),
            routes: Vec::new(),
        };
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
                if let Effect::Probe(id, number, trust) = &effect {
                    self.probings.insert(*id, *number);
                    self.trusts.insert(*id, *trust);
                }
                if let Effect::Route(route, ..) = &effect {
                    self.routes.push(route.clone());
                }
                if let Effect::Answer(..) = &effect {
                    self.asked.push("answer".to_owned());
                }
                if let Effect::Fence(generation) = &effect {
                    self.asked.push(format!("fence {generation}"));
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

    /// A probed service that serves.
    fn probed() -> Self {
        let mut one = Self::with(r#"[{"tcp": {}}]"#);
        for slot in 0..2 {
            one.starts(slot);
            one.is_well(slot);
        }
        assert!(one.engine.progress.active.is_none() && one.engine.progress.up);
        one
    }

    /// The last probing of an instance finds it healthy.
    fn is_well(&mut self, slot: u32) -> Vec<String> {
        let number = self.probings[&id(slot)];
        self.told(Input::Health(id(slot), number, Health::Healthy(self.now), Vec::new()))
    }

    fn is_ready(&self, slot: u32) -> bool {
        self.engine.observed.get(id(slot)).is_some_and(Instance::is_ready)
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
    assert_eq!(one.asks(Verb::Abort, 0), ["fence g3", "stop r1-2"]);
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

/// The answer to the start of one that fails at once is overtaken by a look.
#[test]
fn an_end_that_is_seen_before_its_start_is_answered_counts_once() {
    let mut one = Loop::new();
    one.starts(1);
    let looks: Vec<String> = (0..10).flat_map(|_| one.runs(1000)).collect();
    assert_eq!(looks[0], "look 2");
    let life = Life::Ended(Ended { code: Some(1), ..Ended::default() });
    let ended = SeenInstance { life, ..one.seen(id(0)) };
    let seen = vec![ended.clone(), one.seen(id(1))];
    one.told(Input::Seen(Ok(seen), 2));
    one.told(Input::Started(id(0), Ok((Ensured::Added, ended))));
    let active = one.engine.progress.active.as_ref().expect("it goes on");
    assert_eq!((active.failed, active.failures.len()), (1, 1), "{:?}", active.failures);
}

/// While it was being stopped it may have ended by itself and run again, and nobody looked.
#[test]
fn what_could_not_be_stopped_proves_itself_anew() {
    let mut one = Loop::probed();
    assert_eq!(one.asks(Verb::Scale, 1), ["stop r1-0"]);
    assert_eq!(one.asks(Verb::Abort, 0), ["fence g3"]);
    let stale = Ensured::Stale { seen: Generation(9) };
    one.told(Input::Retired(id(0), 0, Ok(stale)));
    assert!(one.is_ready(1) && !one.is_ready(0));
    let before = one.probings[&id(0)];
    let again = SeenInstance { incarnation: "another".into(), ..one.seen(id(0)) };
    let seen = vec![one.seen(id(1)), again];
    one.told(Input::Seen(Ok(seen), 9));
    assert!(one.probings[&id(0)] > before && !one.is_ready(0));
    one.is_well(0);
    assert!(one.is_ready(0));
}

/// One that ended was started anew under its name, and the proxy's table still has that name.
#[test]
fn whoever_takes_over_trusts_no_name_in_the_table() {
    let mut one = Loop::with(r#"[{"tcp": {}}]"#);
    one.starts(0);
    one.starts(1);
    one.is_well(0);
    let (progress, seq) = (one.engine.progress.clone(), one.engine.seq);
    let mut next = Engine::resume(one.engine.service.clone(), progress, seq, None);
    next.releases.clone_from(&one.engine.releases);
    let route = Route {
        weights: BTreeMap::from([(ReleaseNumber(1), 0)]),
        members: vec![id(0), id(1)],
        settings: None,
        newest: None,
        preview: None,
        hold_requests: false,
    };
    let seen = vec![one.seen(id(0)), one.seen(id(1))];
    next.adopt(one.now, 2, Ok(seen), Some(route));
    one.engine = next;
    assert!(one.is_ready(0) && !one.is_ready(1));
}

/// Two looks are under way, and the answer to the first comes last.
#[test]
fn a_look_that_comes_after_a_later_one_says_nothing() {
    let mut one = Loop::new();
    one.starts(0);
    one.starts(1);
    assert!(one.engine.progress.active.is_none());
    let looks: Vec<String> = (0..60).flat_map(|_| one.runs(1000)).collect();
    let turns: Vec<u64> =
        looks.iter().filter_map(|look| look.strip_prefix("look ")?.parse().ok()).collect();
    let [.., earlier, later] = turns[..] else { panic!("it looked once: {looks:?}") };
    let all = vec![one.seen(id(0)), one.seen(id(1))];
    assert_eq!(one.told(Input::Seen(Ok(all), later)), [""; 0]);
    assert_eq!(one.told(Input::Seen(Ok(Vec::new()), earlier)), [""; 0]);
    assert!(one.is_ready(0) && one.is_ready(1));
}

/// Whoever acted before may have acted until it was fenced off.
#[test]
fn whoever_takes_over_looks_again_after_the_fence() {
    let mut one = Loop::serving();
    let (progress, seq) = (one.engine.progress.clone(), one.engine.seq);
    let mut next = Engine::resume(one.engine.service.clone(), progress, seq, None);
    next.releases.clone_from(&one.engine.releases);
    next.adopt(one.now, 2, Ok(vec![one.seen(id(0))]), None);
    one.engine = next;
    assert_eq!(one.runs(0), ["fence g2"]);
    assert_eq!(one.told(Input::Changed), ["look 1"]);
    assert_eq!(one.told(Input::Fenced(Generation(2), Ok(Ensured::Added))), ["look 2"]);
    // This was seen before the fence: the other instance may be on its way.
    let seen = vec![one.seen(id(0))];
    assert_eq!(one.told(Input::Seen(Ok(seen.clone()), 1)), [""; 0]);
    assert_eq!(one.told(Input::Seen(Ok(seen), 2)), ["start r1-1"]);
}

#[test]
fn what_was_started_is_not_trusted() {
    let one = Loop::probed();
    assert_eq!(one.trusts[&id(0)], Trust::Unproven);
    assert_eq!(one.trusts[&id(1)], Trust::Unproven);
}

/// A route that was sent before the abort may still come into effect.
#[test]
fn an_abort_is_acknowledged_when_no_route_is_under_way() {
    let mut one = Loop::of(r#""traffic": {"listen": ["127.0.0.1:1"]}"#);
    one.starts(0);
    one.starts(1);
    let sent = one.routes.clone();
    let [.., first] = &sent[..] else { panic!("nothing was routed") };
    one.engine.verb(one.now, Verb::Abort, &VerbArgs::default(), None, &|_| Ok(())).expect("can");
    one.engine.ticket_for(Verb::Abort, &VerbArgs::default()).expect("an abort is answered");
    let generation = one.engine.progress.generation;
    assert_eq!(one.runs(0), [format!("fence {generation}")]);
    assert_eq!(one.told(Input::Fenced(generation, Ok(Ensured::Added))), [""; 0]);
    assert!(one.told(Input::Routed(first.clone(), Ok(1))).contains(&"answer".to_owned()));
}
