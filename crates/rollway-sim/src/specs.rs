//! Releases to deploy: every strategy, pace, gate and hook that a spec can ask for, in small times.

use rollway_core::ids::{ReleaseNumber, Version};
use rollway_core::release::Release;
use rollway_core::spec::{
    BlueGreen, Canary, CanaryStep, Hook, Order, RestartPolicy, Spec, Strategy, Update,
};
use rollway_core::units::{Amount, Millis};

use crate::faults::{Fault, Rates};
use crate::model::Temper;
use crate::rng::Rng;

/// What all specs of a seed have in common.
#[derive(Debug)]
pub struct Specs {
    base: Spec,
    made: u64,
}

impl Specs {
    /// The base of a seed: one seed in eight has no traffic, one in eight no probes.
    pub fn of(rng: &mut Rng) -> Self {
        let text = r#"{"service": "shop", "run": {"driver": "process", "command": ["shop"]},
            "health": [{"tcp": {}, "interval": "1s", "timeout": "1s"}],
            "traffic": {"listen": ["127.0.0.1:1"], "drain": "2s"}}"#;
        let mut base: Spec = serde_json::from_str(text).expect("the base is a spec");
        if rng.chance(125) {
            base.traffic = None;
        }
        if rng.chance(125) {
            base.health.clear();
        }
        let policies = [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never];
        base.run.restart.policy = *rng.pick(&policies);
        base.instances = rng.between(1, 5) as u32;
        Self { base, made: 0 }
    }

    /// Whether there is traffic.
    #[must_use]
    pub fn has_traffic(&self) -> bool {
        self.base.traffic.is_some()
    }

    /// The next release, and how its instances will behave.
    pub fn release(&mut self, rng: &mut Rng, rates: &Rates) -> (Release, Temper, bool) {
        self.made += 1;
        let mut spec = self.base.clone();
        if rng.chance(300) {
            spec.instances = rng.between(1, 6) as u32;
        }
        spec.update = update(rng);
        spec.strategy = strategy(rng);
        spec.rollback.automatic = rng.chance(850);
        let hook = Hook { command: vec!["hook".into()], timeout: Millis::seconds(5) };
        let points = &mut spec.hooks;
        let all = [
            &mut points.before_deploy,
            &mut points.before_switch,
            &mut points.after_switch,
            &mut points.after_deploy,
            &mut points.on_rollback,
        ];
        for point in all {
            *point = rng.chance(100).then(|| hook.clone());
        }
        let version = Version::parse(&format!("v{}", self.made)).expect("a version");
        spec.version = Some(version.clone());
        let is_bad = rng.chance(rates.of_fault(Fault::BadRelease));
        let temper = match (is_bad, rng.chance(500)) {
            (false, _) => Temper::Good(rng.between(5, 1500)),
            (true, true) => Temper::NeverReady,
            (true, false) => Temper::Crashes(rng.between(5, 1000)),
        };
        let release = Release {
            service: spec.service.clone(),
            number: ReleaseNumber(0),
            version,
            // Equal content has an equal digest; every version here differs.
            digest: format!("v{}", self.made),
            folder: "/".into(),
            artifact: None,
            env_file_digest: None,
            spec,
        };
        (release, temper, is_bad)
    }
}

fn update(rng: &mut Rng) -> Update {
    Update {
        max_surge: *rng.pick(&[Amount::Percent(25), Amount::Count(1), Amount::Count(2)]),
        max_unavailable: *rng.pick(&[Amount::Count(0), Amount::Count(1), Amount::Percent(34)]),
        max_parallel: *rng.pick(&[0, 0, 1, 2]),
        min_healthy_time: *rng.pick(&[Millis::ZERO, Millis::ZERO, Millis(700)]),
        healthy_deadline: Millis::seconds(10),
        progress_deadline: Millis::seconds(40),
        max_failure_ratio: *rng.pick(&[0.0, 0.0, 0.4]),
        order: *rng.pick(&[Order::StartFirst, Order::StartFirst, Order::StopFirst]),
        revision_history_limit: 10,
    }
}

fn strategy(rng: &mut Rng) -> Strategy {
    match rng.below(8) {
        0..=2 => Strategy::Rolling,
        3 | 4 => Strategy::BlueGreen(BlueGreen {
            preview: rng.chance(300).then(|| "127.0.0.1:2".to_owned()),
            auto_promote: rng.chance(800),
            scale_down_delay: *rng.pick(&[Millis::ZERO, Millis::seconds(4)]),
        }),
        5 | 6 => Strategy::Canary(Canary { steps: steps(rng), ..Canary::default() }),
        _ => Strategy::Recreate,
    }
}

fn steps(rng: &mut Rng) -> Vec<CanaryStep> {
    let mut steps = Vec::new();
    for weight in [10, 35, 70] {
        if rng.chance(600) {
            steps.push(CanaryStep::Weight(weight));
            match rng.below(4) {
                0 => steps.push(CanaryStep::Hold(Millis(rng.between(100, 3000)))),
                1 if rng.chance(300) => steps.push(CanaryStep::Approve("look".into())),
                _ => {}
            }
        }
    }
    if steps.is_empty() {
        steps.push(CanaryStep::Weight(20));
    }
    steps
}
