//! The store: what is recorded here stays, in order, and shows if anyone altered it.
//!
//! One SQLite database in the state folder, with one writer that shares an fsync among the orders
//! that wait, and a few readers. When `commit` returns, what it recorded survives a power cut:
//! write-ahead log, `synchronous=FULL`, both read back at every opening.

mod digest;
mod files;
mod model;
mod open;
mod place;
mod plan;
mod read;
pub mod records;
mod schema;
mod script;
mod seal;
mod verify;
mod write;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rollway_core::ids::{ReleaseNumber, ServiceName};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use digest::{DIGEST_BYTES, Digest};
pub use files::{
    Kept, Removed, UNREFERENCED_AGE_MIN, keep_artifact, keep_blob, read_blob, remove_unreferenced,
};
pub use model::*;
pub use place::{FILE_MODE, FOLDER_MODE, StateLock, lock, prepare_folder};
pub use verify::{ChainReport, Fault, HistoryReport, verify_export};

use crate::failure::{Failure, FailureKind};
use plan::{Order, Written};
use read::Reader;
use write::{Request, Writer};

/// How long a caller waits for the disk. A commit takes less than a millisecond; a disk that takes
/// this long is one that an operator has to hear of.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The history and state of every service of one control plane.
pub struct Store {
    reader: Reader,
    requests: mpsc::Sender<Request>,
    writer: JoinHandle<()>,
}

impl Store {
    /// Opens the store of a state folder; makes it if the folder never had one. What is damaged,
    /// someone else's, or newer than this program is left as it is.
    ///
    /// Two processes on one folder keep the history whole, but step on each other: take `lock`
    /// first.
    pub async fn open(state_dir: &Path) -> Result<Self, Failure> {
        let (identity, connection) = open::open(state_dir).await?;
        let database = place::database_path(state_dir);
        let file = write::file_id(&database)
            .map_err(|error| open::failed_reading(&database, sqlx::Error::Io(error)))?;
        let instance = identity.instance;
        let pool = open::readers(&database);
        let reader = Reader { database: database.clone(), instance: instance.clone(), pool };
        let connection = Some(connection);
        let known = write::Known::default();
        let writer = Writer { database, instance, connection, known, file, is_lost: false };
        let (requests, orders) = mpsc::channel(write::ORDERS_MAX);
        let writer = tokio::spawn(writer.serve(orders));
        Ok(Self { reader, requests, writer })
    }

    /// Writes what waits to be written and closes the database.
    pub async fn close(self) {
        drop(self.requests);
        self.reader.pool.close().await;
        if let Err(error) = self.writer.await {
            tracing::error!(%error, "the writer of the history did not end well");
        }
    }

    /// The id that the store was given when it was made.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.reader.instance
    }

    /// A number that no earlier start of a control plane had; durable when it is returned.
    pub async fn next_epoch(&self) -> Result<u64, Failure> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Epoch(reply), answer, "could not count the start").await
    }

    /// Records one step of one service, all of it or nothing.
    ///
    /// Failures: `Stale`, the service is not at `expect_seq`, or at a newer generation; `NotDone`,
    /// it certainly was not recorded; `Unknown`, it may have been: nothing else is recorded until
    /// the store has found out, so the next commit with the same `expect_seq` settles it.
    pub async fn commit(&self, mut batch: Batch) -> Result<Committed, Failure> {
        let audit = batch.audit.take();
        let order = Order { batch: Some(batch), audit };
        let written = self.write(order).await?;
        Ok(written.committed.expect("an order with a batch is answered with its commit"))
    }

    /// Records a request that leads to no step: one that was denied, say.
    pub async fn audit(&self, record: AuditRecord) -> Result<AuditEntry, Failure> {
        let written = self.write(Order { batch: None, audit: Some(record) }).await?;
        Ok(written.audit.expect("an order with a record is answered with its entry"))
    }

    /// Marks a service as removed, with an event `service_removed`; its history stays.
    pub async fn delete_service(
        &self,
        service: &ServiceName,
        expect_seq: u64,
        at_ms: i64,
        audit: Option<AuditRecord>,
    ) -> Result<Committed, Failure> {
        let mut batch = Batch::new(service.clone(), expect_seq, at_ms);
        batch.put_desired = Some(Desired::Removed);
        let kind = "service_removed".to_owned();
        batch.events.push(NewEvent { deployment: None, kind, body: json!({}) });
        batch.audit = audit;
        self.commit(batch).await
    }

    /// Every service that ever was, by name.
    pub async fn services(&self) -> Result<Vec<ServiceRow>, Failure> {
        self.reader.services().await
    }

    /// The events of a service after a place, in order, at most `limit` (and `EVENTS_LIMIT_MAX`).
    pub async fn events(
        &self,
        service: &ServiceName,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<Event>, Failure> {
        self.reader.events(service, after_seq, limit).await
    }

    /// All events of a deployment, in order; a failure if there are more than `EVENTS_OF_MAX`.
    pub async fn events_of(
        &self,
        service: &ServiceName,
        deployment: u64,
    ) -> Result<Vec<Event>, Failure> {
        self.reader.events_of(service, deployment).await
    }

    /// The releases of a service, the first one first.
    pub async fn releases(&self, service: &ServiceName) -> Result<Vec<ReleaseRow>, Failure> {
        self.reader.releases(service).await
    }

    /// One release of a service.
    pub async fn release(
        &self,
        service: &ServiceName,
        number: ReleaseNumber,
    ) -> Result<Option<ReleaseRow>, Failure> {
        self.reader.one_release(service, number).await
    }

    /// The deployments of a service, the last one first, at most `limit`.
    pub async fn deployments(
        &self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<DeploymentRow>, Failure> {
        self.reader.deployments(service, limit).await
    }

    /// One deployment of a service.
    pub async fn deployment(
        &self,
        service: &ServiceName,
        number: u64,
    ) -> Result<Option<DeploymentRow>, Failure> {
        self.reader.one_deployment(service, number).await
    }

    /// What an idempotency key was used for, if it is among the last `IDEMPOTENCY_KEYS_MAX`.
    pub async fn key_use(
        &self,
        service: &ServiceName,
        key: &str,
    ) -> Result<Option<KeyUse>, Failure> {
        self.reader.key_use(service, key).await
    }

    /// The audit records after a place, in order, at most `limit`.
    pub async fn audit_entries(
        &self,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, Failure> {
        self.reader.audit(after_seq, limit).await
    }

    /// Reads everything and checks every chain and every hash.
    pub async fn verify(&self) -> Result<HistoryReport, Failure> {
        verify::verify(&self.reader).await
    }

    /// Writes the history of a service as JSON lines that `verify_export` can check anywhere, and
    /// says how many events they hold.
    pub async fn export(
        &self,
        service: &ServiceName,
        out: &mut (dyn Write + Send),
    ) -> Result<u64, Failure> {
        verify::export(&self.reader, service, out).await
    }

    async fn write(&self, order: Order) -> Result<Written, Failure> {
        let doing = order.doing();
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Write(Box::new(order), reply), answer, &doing).await
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, Failure>>,
        doing: &str,
    ) -> Result<T, Failure> {
        let asked = async {
            if self.requests.send(request).await.is_err() {
                let what = "the writer of the history has ended";
                return Err(Failure::because(FailureKind::NotDone, doing, what));
            }
            answer.await.unwrap_or_else(|_| {
                let what = "the writer of the history ended over it";
                Err(Failure::because(FailureKind::Unknown, doing, what))
            })
        };
        tokio::time::timeout(ANSWER_WAIT, asked).await.unwrap_or_else(|_| {
            let what = format!("no answer from the disk for {} seconds", ANSWER_WAIT.as_secs());
            Err(Failure::because(FailureKind::Unknown, doing, what))
        })
    }
}
