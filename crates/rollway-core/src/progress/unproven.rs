//! Who has not passed its probes since it was started, by the history.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::event::What;
use crate::ids::InstanceId;
use crate::mutant::{self, Mutant};
use crate::plan::Action;

/// So many are remembered; those of the oldest releases are forgotten first.
const UNPROVEN_MAX: usize = 20_000;

/// Instances that were to be started, and of which nothing says that they became healthy. Whoever
/// takes over trusts what the proxy uses, but not one that only has the name of what it used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unproven(BTreeSet<InstanceId>);

impl Unproven {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an instance is one of them.
    #[must_use]
    pub fn has(&self, id: InstanceId) -> bool {
        self.0.contains(&id) && !mutant::is(Mutant::NameIsProof)
    }

    /// Takes in an event.
    pub(super) fn take(&mut self, what: &What) {
        match what {
            What::Intended { actions } => {
                for action in actions {
                    let Action::Start(ids) = action else { continue };
                    self.0.extend(ids);
                }
                while self.0.len() > UNPROVEN_MAX {
                    self.0.pop_first();
                }
            }
            What::InstanceHealthy { instance } | What::InstanceRetired { instance, .. } => {
                self.0.remove(instance);
            }
            What::InstancesStarted { instances } | What::InstancesRetired { instances } => {
                // Nothing runs for those that are told together, so there is nothing to prove.
                instances.iter().for_each(|id| {
                    self.0.remove(id);
                });
            }
            What::DeploymentBegan { .. }
            | What::InstanceStarted { .. }
            | What::InstanceFailed(_)
            | What::Routed { .. }
            | What::ActionFailed { .. }
            | What::StageReached { .. }
            | What::StageDone { .. }
            | What::Approved { .. }
            | What::Paused { .. }
            | What::Resumed { .. }
            | What::HookEnded { .. }
            | What::UndoBegan { .. }
            | What::DeploymentEnded { .. }
            | What::StandbyEnded { .. }
            | What::AnalysisBegan { .. }
            | What::AnalysisSample { .. }
            | What::AnalysisVerdict { .. }
            | What::TookOver { .. } => {}
        }
    }
}
