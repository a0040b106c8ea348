//! What must always hold. The checks go by what targets and proxies saw and by the history on
//! disk; what an engine believes is never asked.

mod end;
mod history;
mod rules;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};

use rollway_core::engine::{Certainty, Failed, Input};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber};
use rollway_core::progress::Progress;

use self::history::Bound;
use self::rules::Rules;
use crate::happening::Call;
use crate::model::{Aborted, Phase, Plane};
use crate::world::World;

/// What the checks remember.
#[derive(Debug, Default)]
pub struct Checks {
    /// The control planes in the order in which they took over.
    pub epochs: Vec<usize>,
    /// The fold of the history on disk.
    progress: Progress,
    rules: Rules,
    /// The bounds on the number of instances, with the time from which each held.
    bounds: Vec<(u64, Bound)>,
    accepted: Generation,
    /// How often each act was intended, and accepted.
    intended: BTreeMap<(&'static str, InstanceId), (u64, u64)>,
    barriers: BTreeMap<ReleaseNumber, u64>,
    /// Whether a person has opened the gate of the stage, and all gates of the deployment.
    opened: bool,
    all_open: bool,
    /// The newest generation and revision that the proxy has taken.
    routed: (u64, u64),
    last_kind: &'static str,
    /// When an instance that was unwell was stopped, and until when it had answered.
    unwell_stopped: Vec<(u64, u64)>,
    /// Which event followed which.
    pub transitions: BTreeSet<(&'static str, &'static str)>,
    /// Which state followed which.
    pub states: BTreeSet<(&'static str, &'static str)>,
}

impl World {
    /// A control plane acts on an instance: not again before an observation, if it does not know
    /// what came of the last time.
    pub(crate) fn repeats(&mut self, at: usize, id: InstanceId) {
        if self.planes[at].unknown.contains(&id) {
            self.wrong("I23", &format!("cp{at} acts on {id} again before it has observed it"));
        }
    }

    /// The target has seen a generation.
    pub(crate) fn fenced(&mut self, generation: Generation) {
        self.note(|| format!("target: sees {generation}"));
        self.checks.accepted = self.checks.accepted.max(generation);
    }

    /// The target has let a call in.
    pub(crate) fn accepted_call(&mut self, call: &Call, id: InstanceId, kind: &'static str) {
        if call.doubled {
            return;
        }
        if call.generation < self.checks.accepted {
            let accepted = self.checks.accepted;
            let what = format!("{kind} {id} by {} after {accepted}", call.generation);
            self.wrong("I1", &what);
        }
        self.checks.accepted = call.generation;
        let counts = self.checks.intended.entry((kind, id)).or_default();
        counts.1 += 1;
        if counts.1 > counts.0 {
            self.wrong("I18", &format!("{kind} {id} without an intent on disk"));
        }
    }

    /// The target has started an instance.
    pub(crate) fn started(&mut self, id: InstanceId, call: &Call, old: Option<Phase>) {
        if old.is_some_and(|phase| phase != Phase::Ended) {
            self.wrong("I21", &format!("{id} is started while it runs"));
        }
        self.note(|| format!("target: starts {id} by {}", call.generation));
        if let Some(since) = self.checks.barriers.get(&id.release) {
            let what = format!("{id} starts although its abort was acknowledged at {since}");
            self.wrong("I4", &what);
        }
        let bounds = &self.checks.bounds;
        let first = bounds.iter().rposition(|(from, _)| *from <= call.decided).unwrap_or(0);
        let there = |release: &ReleaseNumber| {
            self.target.processes.keys().filter(|id| id.release == *release).count() as u32
        };
        let stages = bounds[first..].iter().flat_map(|(_, bound)| &bound.stages);
        let most = stages.map(|(exact, keeps)| exact + keeps.iter().map(there).sum::<u32>()).max();
        let total = self.target.processes.len() as u32;
        if most.is_some_and(|most| total > most) {
            let all: Vec<_> = self.target.processes.keys().map(ToString::to_string).collect();
            let what = format!("{total} instances, {most:?} are allowed: {}", all.join(" "));
            self.wrong("I9", &what);
        }
    }

    /// An abort was acknowledged: from now on its release does not start any more.
    pub(crate) fn acknowledged(&mut self, aborted: Aborted) {
        self.note(|| format!("abort of deployment {} is acknowledged", aborted.deployment));
        let (wanted, seen) = (aborted.generation, self.checks.accepted);
        if seen < wanted {
            let what = format!("an abort is acknowledged at {wanted}, the target has seen {seen}");
            self.wrong("I4", &what);
        }
        if self.checks.progress.deployments == aborted.deployment {
            self.checks.barriers.insert(aborted.release, self.now);
        }
    }
}

impl Plane {
    /// A control plane hears what came of a call.
    pub(crate) fn hears(&mut self, input: &Input) {
        let (Input::Started(id, Err(Failed { how: Certainty::Unknown, .. }))
        | Input::Retired(id, _, Err(Failed { how: Certainty::Unknown, .. }))) = input
        else {
            return;
        };
        self.unknown.insert(*id);
        self.unknown_at.insert(*id, self.looks);
    }

    /// A control plane hears what was observed; only what was asked for later counts.
    pub(crate) fn hears_look(&mut self, input: &Input, look: u64) {
        let Input::Seen(Ok(_), _) = input else { return };
        let at = &self.unknown_at;
        self.unknown.retain(|id| at.get(id).is_some_and(|asked| *asked >= look));
    }
}
