//! Going on where the last control plane stopped: a snapshot, the events after it, what runs now.

use serde::{Deserialize, Serialize};

use super::{Engine, Extra, Failed, Rows, Tries, Trust};
use crate::event::What;
use crate::ids::{Generation, ReleaseNumber, ServiceName};
use crate::observed::{Health, Instance, Life};
use crate::plan::Route;
use crate::progress::Progress;
use crate::seen::SeenInstance;
use crate::units::Millis;

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
                seq: self.seq,
                serving: progress.serving,
                instances: progress.instances,
                up: progress.up,
                standby: progress.standby,
                generation: progress.generation,
                deployments: progress.deployments,
                needs_operator: progress.needs_operator,
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
        let generation = Generation(self.progress.generation.0 + 1);
        self.push(What::TookOver { epoch, generation });
        self.renew_snapshot();
        self.append(Tries::UntilWritten, Extra { rows: Rows::State, ..Extra::default() });
    }

    fn adopt_route(&mut self, route: Route) {
        let now = self.now;
        for id in &route.members {
            // It passed its probes under the control plane before, the proxy goes on using it,
            // and the probes go on: it stays in until they say otherwise.
            self.observed.change(*id, |instance| {
                if instance.life == Life::Running {
                    instance.health = Health::Healthy(now);
                }
            });
            if self.observed.get(*id).is_some_and(Instance::is_ready) {
                self.probe(*id, Trust::Proven);
            }
        }
        self.observed.set_route(Some(route));
    }
}
