//! The journal of one service: events are applied to the progress as they are made, and are
//! durable before any action that follows from them.

use std::sync::Arc;
use std::time::Duration;

use rollway_core::event::{Event, What};
use rollway_core::ids::ServiceName;
use rollway_core::progress::Progress;
use serde_json::Value;
use tokio::sync::watch;

use super::clock::{Clock, wall_ms};
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
    pub progress: Progress,
    pub last_seq: u64,
    /// Tells readers that there is more to read.
    pub seq: watch::Sender<u64>,
    /// Tells readers the number of the last deployment that has ended.
    pub ended: watch::Sender<u64>,
    /// Set while writes fail: nothing is begun, nothing goes on.
    pub alarm: watch::Sender<Option<String>>,
    pending: Vec<(Option<u64>, Event)>,
}

/// What goes into the store together with the pending events.
#[derive(Default)]
pub(super) struct Extra {
    pub state: Option<Value>,
    pub spec: Option<Value>,
    pub release: Option<crate::store::NewRelease>,
    pub deployment: Option<DeploymentRow>,
    pub idempotency: Option<crate::store::IdempotencyKey>,
    pub audit: Option<crate::store::AuditRecord>,
}

impl Journal {
    pub fn new(store: Arc<Store>, service: ServiceName, clock: Clock, progress: Progress) -> Self {
        let (seq, _) = watch::channel(0);
        let (alarm, _) = watch::channel(None);
        let under_way = u64::from(progress.active.is_some());
        let (ended, _) = watch::channel(progress.deployments.saturating_sub(under_way));
        let pending = Vec::new();
        Self { store, service, clock, progress, last_seq: 0, seq, ended, alarm, pending }
    }

    /// Notes an event; it is durable only after `commit`.
    pub fn push(&mut self, what: What) {
        let event = Event { clock: self.clock.now().max(self.progress.clock), what };
        let before = self.progress.active.as_ref().map(|active| active.number);
        if let Err(illegal) = self.progress.apply(&event) {
            // A decision that cannot follow is dropped, and said loudly: it is a bug of ours.
            tracing::error!(service = %self.service, "{illegal}");
            return;
        }
        let deployment = before.or_else(|| self.progress.active.as_ref().map(|a| a.number));
        self.pending.push((deployment, event));
    }

    /// The sequence number that the last pending event will have.
    pub fn seq_after_pending(&self) -> u64 {
        self.last_seq + self.pending.len() as u64
    }

    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Makes the pending events durable. A store that fails stops the service here: nothing further
    /// is done to it until the store works again.
    pub async fn commit(&mut self, extra: Extra) {
        let mut extra = Some(extra);
        let mut wait = RETRY_MS.0;
        while !self.pending.is_empty() || extra.is_some() {
            let count = self.pending.len().min(EVENTS_MAX);
            let batch = self.batch(count, extra.as_ref().unwrap_or(&Extra::default()));
            match self.store.commit(batch).await {
                Ok(done) => {
                    self.written(done.last_seq, count);
                    extra = None;
                    continue;
                }
                Err(failure) => self.failed(&failure),
            }
            tokio::time::sleep(Duration::from_millis(wait)).await;
            wait = (wait * 2).min(RETRY_MS.1);
            // Perhaps it was written and only the answer was lost.
            if let Ok(Some(seq)) = self.stored_seq().await
                && seq == self.last_seq + count as u64
                && count > 0
            {
                self.written(seq, count);
                extra = None;
            }
        }
    }

    /// One try, for a request that can be refused: nothing is kept if it fails.
    pub async fn try_commit(&mut self, before: Progress, extra: Extra) -> Result<(), Failure> {
        let count = self.pending.len();
        let batch = self.batch(count, &extra);
        match self.store.commit(batch).await {
            Ok(done) => {
                self.written(done.last_seq, count);
                Ok(())
            }
            Err(failure) => {
                if failure.kind == FailureKind::Unknown
                    && self.stored_seq().await.ok().flatten() == Some(self.last_seq + count as u64)
                {
                    let seq = self.last_seq + count as u64;
                    self.written(seq, count);
                    return Ok(());
                }
                self.pending.clear();
                self.progress = before;
                Err(failure)
            }
        }
    }

    fn written(&mut self, seq: u64, count: usize) {
        self.last_seq = seq;
        self.pending.drain(..count);
        self.seq.send_replace(seq);
        self.alarm.send_if_modified(|alarm| alarm.take().is_some());
    }

    fn failed(&self, failure: &Failure) {
        let text = failure.chain();
        tracing::error!(service = %self.service, "the history cannot be written: {text}");
        self.alarm.send_replace(Some(text));
    }

    async fn stored_seq(&self) -> Result<Option<u64>, Failure> {
        let services = self.store.services().await?;
        Ok(services.iter().find(|row| row.name == self.service).map(|row| row.last_seq))
    }

    fn batch(&self, count: usize, extra: &Extra) -> Batch {
        let mut batch = Batch::new(self.service.clone(), self.last_seq, wall_ms());
        batch.events = self.pending[..count].iter().map(stored).collect();
        batch.put_generation = Some(self.progress.generation);
        batch.put_state.clone_from(&extra.state);
        batch.put_spec.clone_from(&extra.spec);
        batch.new_release.clone_from(&extra.release);
        batch.put_deployment.clone_from(&extra.deployment);
        batch.idempotency.clone_from(&extra.idempotency);
        batch.audit.clone_from(&extra.audit);
        batch
    }
}

fn stored((deployment, event): &(Option<u64>, Event)) -> NewEvent {
    let body = serde_json::to_value(event).expect("an event is plain data");
    NewEvent { deployment: *deployment, kind: event.what.kind().to_owned(), body }
}
