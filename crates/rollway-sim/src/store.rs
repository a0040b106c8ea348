//! The store: one history, appended to by comparing its length, durable when it is acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use rollway_core::engine::{Append, Rows, Snapshot};
use rollway_core::event::{DeploymentState, Event, What};
use rollway_core::ids::ReleaseNumber;
use rollway_core::mutant::{self, Mutant};
use rollway_core::progress::{Illegal, Progress};
use rollway_core::release::Release;

/// What is on disk.
#[derive(Debug, Default)]
pub struct Store {
    /// The history.
    pub events: Vec<(Option<u64>, Event)>,
    /// The last snapshot.
    pub snapshot: Option<Snapshot>,
    /// The releases.
    pub releases: BTreeMap<ReleaseNumber, Arc<Release>>,
    /// How many control planes have opened it.
    pub epoch: u64,
    /// Until when every write fails.
    pub broken_until: u64,
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Somebody else has written meanwhile.
    Moved,
}

impl Store {
    /// Writes, if nobody has written since `seq`.
    pub fn append(
        &mut self,
        seq: u64,
        append: &Append,
        snapshot: Option<&Snapshot>,
    ) -> Result<u64, Refused> {
        if self.events.len() as u64 != seq && !mutant::is(Mutant::StoreTakesAny) {
            return Err(Refused::Moved);
        }
        let kept = append.events.len()
            - usize::from(mutant::is(Mutant::StoreLosesEvents) && append.events.len() > 1);
        self.events.extend(append.events.iter().take(kept).cloned());
        if append.extra.rows != Rows::None {
            self.snapshot = snapshot.cloned();
        }
        if let Some(release) = &append.extra.release {
            self.releases.insert(release.number, Arc::clone(release));
        }
        Ok(self.events.len() as u64)
    }

    /// Whether these events are what follows `seq`: an append whose answer was lost was done.
    #[must_use]
    pub fn holds(&self, seq: u64, append: &Append) -> bool {
        let after = self.events.get(seq as usize..).unwrap_or_default();
        !append.events.is_empty() && after.starts_with(&append.events)
    }

    /// The progress as a control plane that opens the store folds it.
    pub fn fold(&self) -> Result<(Progress, u64), Illegal> {
        let snapshot = self.snapshot.clone();
        let seq = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let mut progress = snapshot.map(Snapshot::progress).unwrap_or_default();
        for (_, event) in self.events.get(seq as usize..).unwrap_or_default() {
            progress.apply(event)?;
        }
        Ok((progress, self.events.len() as u64))
    }

    /// The progress from the first event on.
    pub fn fold_all(&self) -> Result<Progress, Illegal> {
        let mut progress = Progress::default();
        for (_, event) in &self.events {
            progress.apply(event)?;
        }
        Ok(progress)
    }

    /// The release that served before the one that serves.
    #[must_use]
    pub fn previous_serving(&self, serving: Option<ReleaseNumber>) -> Option<ReleaseNumber> {
        let mut plan = None;
        let mut previous = None;
        for (_, event) in &self.events {
            if let What::DeploymentBegan { plan: began, .. } = &event.what {
                plan = Some(began);
            }
            let completed = DeploymentState::Completed;
            if let What::DeploymentEnded { state, .. } = &event.what
                && *state == completed
            {
                let plan = plan.filter(|plan| plan.to == serving && plan.from != serving);
                previous = plan.map_or(previous, |plan| plan.from);
            }
        }
        previous
    }
}
