//! Going on where the last control plane stopped: a snapshot, the events after it, what runs now.

use serde::{Deserialize, Serialize};

use super::{Effect, Engine, Extra, Failed, Grip, Rows, Tries, Trust};
use crate::event::What;
use crate::ids::{Generation, InstanceId, ReleaseNumber, ServiceName};
use crate::mutant::{self, Mutant};
use crate::observed::{Health, Instance, Life};
use crate::plan::Route;
use crate::progress::{Progress, Unproven};
use crate::seen::{Ensured, SeenInstance};
use crate::units::Millis;

/// A target that could not be told of a generation is told again after this.
const FENCE_MS: u64 = 1000;

/// The progress at the end of a deployment, so that earlier events need not be folded again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The number of the last event that is in it.
    pub seq: u64,
    /// The release that serves.
    pub serving: Option<ReleaseNumber>,
    /// How many instances are wanted.
    pub instances: u32,
    /// Whether the service should run.
    pub up: bool,
    /// The release that is kept running after a switch, and until when.
    pub standby: Option<(ReleaseNumber, Millis)>,
    /// The fence.
    pub generation: Generation,
    /// The number of the last deployment.
    pub deployments: u64,
    /// Whether a person must look.
    pub needs_operator: bool,
    /// Who has not passed its probes since it was started.
    #[serde(default, skip_serializing_if = "Unproven::is_empty")]
    pub unproven: Unproven,
    /// The clock of the last event.
    pub clock: Millis,
}

impl Snapshot {
    /// The progress that it was made from.
    #[must_use]
    pub fn progress(self) -> Progress {
        Progress {
            serving: self.serving,
            instances: self.instances,
            up: self.up,
            standby: self.standby,
            generation: self.generation,
            deployments: self.deployments,
            needs_operator: self.needs_operator,
            unproven: self.unproven,
            clock: self.clock,
            active: None,
            last: None,
        }
    }
}

impl Engine {
    /// A service as its history left it: `progress` is the fold up to the event `seq`.
    #[must_use]
    pub fn resume(
        service: ServiceName,
        progress: Progress,
        seq: u64,
        snapshot: Option<Snapshot>,
    ) -> Self {
        Self { progress, seq, snapshot, ..Self::new(service) }
    }

    /// Remembers the progress between two deployments.
    pub(super) fn renew_snapshot(&mut self) {
        let progress = &self.progress;
        if progress.active.is_none() {
            self.snapshot = Some(Snapshot {
                seq: self.seq + u64::from(mutant::is(Mutant::SnapshotOffByOne)),
                serving: progress.serving,
                instances: progress.instances,
                up: progress.up,
                standby: progress.standby.filter(|_| !mutant::is(Mutant::SnapshotForgetsStandby)),
                generation: progress.generation,
                deployments: progress.deployments,
                needs_operator: progress.needs_operator,
                unproven: progress.unproven.clone(),
                clock: progress.clock,
            });
        }
    }

    /// Takes over with what was seen of the targets and of the proxy: whoever acted before is
    /// fenced off from now on.
    pub fn adopt(
        &mut self,
        now: Millis,
        epoch: u64,
        seen: Result<Vec<SeenInstance>, Failed>,
        route: Option<Route>,
    ) {
        self.now = now;
        self.seen(seen, self.turn);
        if let Some(route) = route {
            self.adopt_route(route);
        }
        // Who acted before may have sent another route, or more starts and stops, meanwhile.
        if !mutant::is(Mutant::AdoptedRouteBelieved) {
            self.observed.lose_route();
        }
        self.grip = if mutant::is(Mutant::TakeOverUnfenced) { Grip::Firm } else { Grip::Fencing };
        let more = u64::from(!mutant::is(Mutant::TakeOverKeepsGeneration));
        let generation = Generation(self.progress.generation.0 + more);
        self.push(What::TookOver { epoch, generation });
        self.renew_snapshot();
        self.append(Tries::UntilWritten, Extra { rows: Rows::State, ..Extra::default() });
        self.fence();
    }

    /// Lets the target see the generation.
    pub(super) fn fence(&mut self) {
        self.fence_after = Millis(self.now.0 + FENCE_MS);
        self.effects.push(Effect::Fence(self.progress.generation));
    }

    /// The target has seen a generation, or could not be told.
    pub(super) fn was_fenced(&mut self, generation: Generation, result: &Result<Ensured, Failed>) {
        let told = matches!(result, Ok(Ensured::Added | Ensured::Updated | Ensured::NotNeeded));
        self.told = self.told.max(generation);
        self.unfenced = !told;
        if told && self.grip == Grip::Fencing {
            self.grip = if mutant::is(Mutant::TakeOverUnseen) { Grip::Firm } else { Grip::Looking };
            // What was seen before that is old.
            self.taken_over = self.turn + 1;
            self.look();
        }
        self.answer_fenced();
    }

    /// Whether it is known who acts and what there is; if not, that is asked again now and then.
    pub(super) fn has_grip(&mut self) -> bool {
        match self.grip {
            Grip::Fencing if self.now >= self.fence_after => self.fence(),
            Grip::Looking if self.now >= self.look_after => self.look(),
            Grip::Fencing | Grip::Looking | Grip::Firm => {}
        }
        self.grip == Grip::Firm
    }

    fn adopt_route(&mut self, route: Route) {
        let now = self.now;
        // One that only has the name of what the proxy used must prove itself first.
        let members = route.members.iter().copied();
        let (unproven, proven): (Vec<InstanceId>, Vec<InstanceId>) =
            members.partition(|id| self.progress.unproven.has(*id));
        for id in proven {
            // It passed its probes under the control plane before, the proxy goes on using it,
            // and the probes go on: it stays in until they say otherwise.
            self.observed.change(id, |instance| {
                if instance.life == Life::Running {
                    instance.health = Health::Healthy(now);
                }
            });
            if self.observed.get(id).is_some_and(Instance::is_ready) {
                self.probe(id, Trust::Proven);
            }
        }
        self.observed.set_route(Some(route));
        unproven.into_iter().for_each(|id| self.observed.note_another(id));
    }
}
