//! The journal of one service: what the core hands out to be written, and how hard it is tried.

use std::sync::Arc;
use std::time::Duration;

use rollway_core::engine::Append;
use rollway_core::event::Event;
use rollway_core::ids::{Generation, ServiceName};
use serde_json::Value;
use tokio::sync::watch;

use super::clock::{Clock, wall_ms};
use crate::crash;
use crate::failure::{Failure, FailureKind};
use crate::store::{Batch, DeploymentRow, NewEvent, Store};

/// The wait before a failed write is tried again, first and at most.
const RETRY_MS: (u64, u64) = (20, 1000);
/// Events in one transaction; more are written in several.
const EVENTS_MAX: usize = 500;

/// The journal of one service.
pub(super) struct Journal {
    pub store: Arc<Store>,
    pub service: ServiceName,
    pub clock: Clock,
    pub last_seq: u64,
    /// Tells readers that there is more to read.
    pub seq: watch::Sender<u64>,
    /// Tells readers the number of the last deployment that has ended.
    pub ended: watch::Sender<u64>,
    /// Set while writes fail: nothing is begun, nothing goes on.
    pub alarm: watch::Sender<Option<String>>,
}

/// What goes into the store together with events.
#[derive(Default)]
pub(super) struct Rows {
    pub state: Option<Value>,
    pub spec: Option<Value>,
    pub release: Option<crate::store::NewRelease>,
    pub deployment: Option<DeploymentRow>,
    pub idempotency: Option<crate::store::IdempotencyKey>,
    pub audit: Option<crate::store::AuditRecord>,
}

/// Events that are to be written, and the rows that go with the first of them.
pub(super) struct Entry {
    events: Vec<NewEvent>,
    generation: Generation,
    rows: Option<Rows>,
}

impl Entry {
    pub fn new(append: &Append, rows: Rows) -> Self {
        let events = append.events.iter().map(stored).collect();
        Self { events, generation: append.generation, rows: Some(rows) }
    }
}

impl Journal {
    pub fn new(store: Arc<Store>, service: ServiceName, clock: Clock, last_seq: u64) -> Self {
        let (seq, _) = watch::channel(last_seq);
        let (ended, _) = watch::channel(0);
        let (alarm, _) = watch::channel(None);
        Self { store, service, clock, last_seq, seq, ended, alarm }
    }

    /// Makes an entry durable. A store that fails stops the service here: nothing further is done
    /// to it until the store works again.
    pub async fn commit(&mut self, mut entry: Entry) {
        let mut wait = RETRY_MS.0;
        while !entry.events.is_empty() || entry.rows.is_some() {
            let count = entry.events.len().min(EVENTS_MAX);
            match self.store.commit(self.batch(count, &entry)).await {
                Ok(done) => {
                    self.written(done.last_seq, count, &mut entry);
                    continue;
                }
                Err(failure) => self.failed(&failure),
            }
            crash::point("engine.journal.retry");
            tokio::time::sleep(Duration::from_millis(wait)).await;
            wait = (wait * 2).min(RETRY_MS.1);
            // Perhaps it was written and only the answer was lost.
            if self.holds(&entry.events[..count]).await {
                self.written(self.last_seq + count as u64, count, &mut entry);
            }
        }
    }

    /// One try, for a request that can be refused: nothing is kept if it fails.
    pub async fn try_commit(&mut self, mut entry: Entry) -> Result<(), Failure> {
        let count = entry.events.len();
        let seq = match self.store.commit(self.batch(count, &entry)).await {
            Ok(done) => done.last_seq,
            Err(failure) => {
                if failure.kind != FailureKind::Unknown || !self.holds(&entry.events).await {
                    return Err(failure);
                }
                self.last_seq + count as u64
            }
        };
        self.written(seq, count, &mut entry);
        Ok(())
    }

    fn written(&mut self, seq: u64, count: usize, entry: &mut Entry) {
        self.last_seq = seq;
        entry.events.drain(..count);
        entry.rows = None;
        self.seq.send_replace(seq);
        self.alarm.send_if_modified(|alarm| alarm.take().is_some());
    }

    fn failed(&self, failure: &Failure) {
        let text = failure.chain();
        tracing::error!(service = %self.service, "the history cannot be written: {text}");
        self.alarm.send_replace(Some(text));
    }

    /// Whether these are what follows in the store. Their number alone would not tell: somebody
    /// else may have written as many.
    async fn holds(&self, events: &[NewEvent]) -> bool {
        let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let Ok(stored) = self.store.events(&self.service, self.last_seq, count).await else {
            return false;
        };
        let same = |(new, old): (&NewEvent, &crate::store::Event)| {
            (new.deployment, &new.kind, &new.body) == (old.deployment, &old.kind, &old.body)
        };
        !events.is_empty() && stored.len() == events.len() && events.iter().zip(&stored).all(same)
    }

    fn batch(&self, count: usize, entry: &Entry) -> Batch {
        let mut batch = Batch::new(self.service.clone(), self.last_seq, wall_ms());
        batch.events = entry.events[..count].to_vec();
        batch.put_generation = Some(entry.generation);
        let Some(rows) = &entry.rows else { return batch };
        batch.put_state.clone_from(&rows.state);
        batch.put_spec.clone_from(&rows.spec);
        batch.new_release.clone_from(&rows.release);
        batch.put_deployment.clone_from(&rows.deployment);
        batch.idempotency.clone_from(&rows.idempotency);
        batch.audit.clone_from(&rows.audit);
        batch
    }
}

fn stored((deployment, event): &(Option<u64>, Event)) -> NewEvent {
    let body = serde_json::to_value(event).expect("an event is plain data");
    NewEvent { deployment: *deployment, kind: event.what.kind().to_owned(), body }
}
