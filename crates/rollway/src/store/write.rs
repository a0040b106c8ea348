//! The one writer: takes the orders that wait, writes them as one transaction, and answers.
//!
//! After any failure that is not a refusal of SQL the connection is given up; before the next
//! order it is opened anew and the write-ahead log is emptied into the database. Only then is it
//! certain what the file holds: a log whose last fsync failed may otherwise come back to life
//! after a crash (and the commit with it that was reported as failed).

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::sync::{mpsc, oneshot};

use super::digest::Digest;
use super::model::Desired;
use super::plan::{self, Heads, Order, Written};
use super::read;
use super::script::{Answer, Cell, Script, Stopped};
use super::seal::{self, Head};
use super::{open, place};
use crate::crash;
use crate::failure::{Failure, FailureKind};
use rollway_core::ids::{Generation, ServiceName};

/// Most orders that wait; those who bring more wait themselves.
pub(super) const ORDERS_MAX: usize = 256;
/// Most orders written as one transaction: enough to share an fsync, few enough that the first of
/// them does not wait long for the last.
const GROUP_MAX: usize = 32;
/// SQLite's primary result codes for a constraint that does not hold, and for another writer.
const CONSTRAINT: i32 = 19;
const BUSY: i32 = 5;

/// What can be asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    Write(Box<Order>, Reply<Written>),
    Epoch(Reply<u64>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, Failure>>;

pub(super) struct Writer {
    pub(super) database: PathBuf,
    pub(super) instance: String,
    /// None after a failure, until it is opened anew.
    pub(super) connection: Option<SqliteConnection>,
    /// Only after a commit; nothing after a failure.
    pub(super) known: Known,
    /// Device and number of the file that was opened: a file under the same name may be another.
    pub(super) file: (u64, u64),
    /// Whether a file was removed or replaced: only a start from anew can tell what there is.
    pub(super) is_lost: bool,
}

/// The heads as they are after the last commit, so that the usual step needs no look at them.
/// Another process may have moved on from them: the statements compare, and refuse.
#[derive(Default)]
pub(super) struct Known {
    services: HashMap<ServiceName, Head>,
    audit: Option<(u64, Digest)>,
}

impl Known {
    /// What the orders need to know, if all of it is known.
    fn heads(&self, instance: &str, orders: &[Order]) -> Option<Heads> {
        let mut services = HashMap::with_capacity(orders.len());
        for batch in orders.iter().filter_map(|order| order.batch.as_ref()) {
            let head = self.services.get(&batch.service)?;
            services.insert(batch.service.clone(), Some(head.clone()));
        }
        let audited = orders.iter().any(|order| order.audit.is_some());
        let audit = if audited { Some(self.audit?) } else { None };
        Some(Heads { instance: instance.to_owned(), services, audit })
    }

    fn learn(&mut self, heads: Heads) {
        let known = heads.services.into_iter();
        self.services.extend(known.filter_map(|(service, head)| Some((service, head?))));
        self.audit = heads.audit.or(self.audit);
    }
}

/// Why a group was not written.
enum Trouble {
    /// One of the orders is at fault (it breaks a constraint, or its service's head was altered),
    /// and nothing was written.
    Refused(Failure),
    /// It certainly was not written.
    NotWritten(Failure),
    /// It may have been.
    Uncertain(sqlx::Error),
}

impl Writer {
    /// Serves until nobody can ask any more, then closes the database.
    pub(super) async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = None;
        loop {
            let next = match waiting.take() {
                Some(request) => Some(request),
                None => requests.recv().await,
            };
            match next {
                None => break,
                Some(Request::Epoch(reply)) => {
                    let answer = self.next_epoch().await;
                    // Whoever asked may have gone; what was asked is done all the same.
                    let _ = reply.send(answer);
                }
                Some(Request::Write(order, reply)) => {
                    let mut group = vec![(*order, reply)];
                    while group.len() < GROUP_MAX && waiting.is_none() {
                        match requests.try_recv() {
                            Ok(Request::Write(order, reply)) => group.push((*order, reply)),
                            Ok(other) => waiting = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.serve_group(group).await;
                }
            }
        }
        if let Some(connection) = self.connection.take() {
            close(connection).await;
        }
    }

    async fn serve_group(&mut self, group: Vec<(Order, Reply<Written>)>) {
        let (orders, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let mut answers = self.write(&orders).await;
        if answers.is_none() && orders.len() > 1 {
            // One of them is at fault: alone, each one answers for itself.
            let mut alone = Vec::with_capacity(orders.len());
            for order in &orders {
                alone.extend(self.write(std::slice::from_ref(order)).await.into_iter().flatten());
            }
            answers = Some(alone);
        }
        let answers = answers.expect("an order written alone always has an answer");
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Whoever asked may have gone; what was asked is done all the same.
            let _ = reply.send(answer);
        }
    }

    /// Writes the orders as one transaction. None: several were given and one of them is at fault.
    async fn write(&mut self, orders: &[Order]) -> Option<Vec<Result<Written, Failure>>> {
        let mut written = Vec::with_capacity(orders.len());
        match self.try_write(orders, &mut written).await {
            Ok(()) => Some(written),
            Err(Trouble::Refused(_)) if orders.len() > 1 => None,
            Err(Trouble::Refused(failure)) => {
                let doing = orders[0].doing();
                Some(vec![Err(Failure { doing, ..failure })])
            }
            Err(Trouble::NotWritten(failure)) => {
                Some(replace_done(orders, written, failure.kind, &failure.chain()))
            }
            Err(Trouble::Uncertain(error)) => Some(self.resolve(orders, written, error).await),
        }
    }

    /// Goes by the heads that are known, and if anything is at odds with them by those that are
    /// read: nobody is refused because of what we remember.
    async fn try_write(
        &mut self,
        orders: &[Order],
        written: &mut Vec<Result<Written, Failure>>,
    ) -> Result<(), Trouble> {
        crash::point("store.commit.before_begin");
        self.ready().await.map_err(Trouble::NotWritten)?;
        if let Some(mut heads) = self.known.heads(&self.instance, orders) {
            let mut script = Script::default();
            script.add("BEGIN IMMEDIATE", []);
            *written = plan_all(orders, &mut heads, &mut script);
            if written.iter().all(Result::is_ok) {
                match self.finish(script, heads).await {
                    Err(Trouble::Refused(_)) => {}
                    ended => return ended,
                }
            }
            self.ready().await.map_err(Trouble::NotWritten)?;
        }
        let mut heads = self.begin(orders).await?;
        let mut script = Script::default();
        *written = plan_all(orders, &mut heads, &mut script);
        self.finish(script, heads).await
    }

    /// Runs the statements of a transaction that was begun, or begins with them, and ends it.
    async fn finish(&mut self, mut script: Script, heads: Heads) -> Result<(), Trouble> {
        // When all were refused nothing needs to be durable.
        let end = if script.len() == 0 { "ROLLBACK" } else { "COMMIT" };
        if crash::is_armed() {
            script = self.run_apart(script).await?;
            crash::point("store.commit.before_commit");
        }
        script.add(end, []);
        let before_commit = script.len() - 1;
        let connection = self.connection.as_mut().expect("it was made ready");
        let Err(stopped) = script.run(connection).await else {
            crash::point("store.commit.after");
            self.known.learn(heads);
            return Ok(());
        };
        self.known = Known::default();
        let crashed = matches!(stopped.error, sqlx::Error::WorkerCrashed);
        if stopped.ended < before_commit && !crashed {
            return Err(self.undo(stopped).await);
        }
        self.drop_connection().await;
        Err(Trouble::Uncertain(stopped.error))
    }

    /// Runs the statements of a transaction without its end, so that a test can let us die between
    /// them; what is left of the script is empty.
    async fn run_apart(&mut self, script: Script) -> Result<Script, Trouble> {
        let connection = self.connection.as_mut().expect("it was made ready");
        if script.len() > 0
            && let Err(stopped) = script.run(connection).await
        {
            self.known = Known::default();
            return Err(self.undo(stopped).await);
        }
        Ok(Script::default())
    }

    /// Begins the transaction and reads the heads of all that the orders are about.
    async fn begin(&mut self, orders: &[Order]) -> Result<Heads, Trouble> {
        let mut names: Vec<&ServiceName> =
            orders.iter().filter_map(|order| Some(&order.batch.as_ref()?.service)).collect();
        names.sort_unstable();
        names.dedup();
        let audited = orders.iter().any(|order| order.audit.is_some());
        let mut script = Script::default();
        script.add("BEGIN IMMEDIATE", []);
        for name in &names {
            script.add(READ_HEAD, [Cell::from(name.as_str())]);
        }
        if audited {
            script.add(READ_AUDIT_END, []);
        }
        let connection = self.connection.as_mut().expect("ready left it open");
        let answers = match script.run(connection).await {
            Ok(answers) => answers,
            Err(stopped) => return Err(self.undo(stopped).await),
        };
        match heads(&self.instance, &names, &answers[1..]) {
            Ok(heads) => Ok(heads),
            Err(what) => {
                self.roll_back().await;
                let doing = "could not go on from what was recorded";
                Err(Trouble::Refused(Failure::because(FailureKind::Damaged, doing, what)))
            }
        }
    }

    /// Takes back a transaction that stopped before its commit.
    async fn undo(&mut self, stopped: Stopped) -> Trouble {
        let code = open::code(&stopped.error);
        if code == Some(CONSTRAINT) {
            self.roll_back().await;
            let doing = "could not keep the rules of the tables";
            return Trouble::Refused(Failure::because(FailureKind::NotDone, doing, stopped.error));
        }
        let waited_in_vain = code == Some(BUSY) && stopped.ended == 0;
        if !waited_in_vain {
            self.drop_connection().await;
        }
        Trouble::NotWritten(open::failed_writing(&self.database, stopped.error))
    }

    async fn roll_back(&mut self) {
        let connection = self.connection.as_mut().expect("a transaction has a connection");
        if let Err(error) = connection.execute("ROLLBACK").await {
            tracing::warn!(%error, "could not take back a transaction: giving up its connection");
            self.drop_connection().await;
        }
    }

    /// After a commit that may or may not have been: looks into the database.
    async fn resolve(
        &mut self,
        orders: &[Order],
        written: Vec<Result<Written, Failure>>,
        error: sqlx::Error,
    ) -> Vec<Result<Written, Failure>> {
        let cause = error.to_string();
        tracing::warn!(error = %cause, "a commit failed: reading the database anew");
        if let Err(failure) = self.ready().await {
            let why = format!("{cause}; then {}", failure.chain());
            return replace_done(orders, written, FailureKind::Unknown, &why);
        }
        match self.was_written(&written).await {
            Ok(Some(true)) => written,
            Ok(Some(false)) => replace_done(orders, written, FailureKind::NotDone, &cause),
            Ok(None) => replace_done(orders, written, FailureKind::Unknown, &cause),
            Err(error) => {
                self.drop_connection().await;
                let why = format!("{cause}; then {error}");
                replace_done(orders, written, FailureKind::Unknown, &why)
            }
        }
    }

    /// Whether the transaction is in the database; None if it left nothing to know it by.
    async fn was_written(
        &mut self,
        written: &[Result<Written, Failure>],
    ) -> Result<Option<bool>, sqlx::Error> {
        let mut script = Script::default();
        for one in written.iter().flatten() {
            let last = one.committed.as_ref().and_then(|committed| committed.events.last());
            if let Some(event) = last {
                let cells =
                    [event.service.as_str().into(), Cell::from(event.seq), event.hash.into()];
                script.add(FIND_EVENT, cells);
            } else if let Some(entry) = &one.audit {
                script.add(FIND_AUDIT, [Cell::from(entry.seq), entry.hash.into()]);
            }
        }
        if script.len() == 0 {
            return Ok(None);
        }
        let connection = self.connection.as_mut().expect("ready left it open");
        let answers = script.run(connection).await.map_err(|stopped| stopped.error)?;
        Ok(Some(answers.iter().all(|answer| !answer.rows.is_empty())))
    }

    async fn next_epoch(&mut self) -> Result<u64, Failure> {
        crash::point("store.epoch.before");
        self.ready().await?;
        let epoch = match self.try_next_epoch().await {
            Ok(epoch) => epoch,
            Err(error) => {
                self.drop_connection().await;
                // A number that is skipped does no harm, so it does not matter which it was.
                return Err(open::failed_writing(&self.database, error));
            }
        };
        crash::point("store.epoch.committed");
        let identity = place::Identity { instance: self.instance.clone(), epoch };
        let state_dir = crate::files::folder_of(&self.database).to_owned();
        let written = tokio::task::spawn_blocking(move || identity.write(&state_dir)).await;
        written.map_err(|error| {
            let doing = "could not write the instance's id";
            Failure::because(FailureKind::Unknown, doing, error)
        })??;
        crash::point("store.epoch.after");
        Ok(epoch)
    }

    async fn try_next_epoch(&mut self) -> Result<u64, sqlx::Error> {
        let connection = self.connection.as_mut().expect("ready left it open");
        let mut script = Script::default();
        script.add("BEGIN IMMEDIATE", []);
        script.add("SELECT epoch FROM instance", []);
        let answers = script.run(connection).await.map_err(|stopped| stopped.error)?;
        let row = answers[1].rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let epoch = read::count(row, 0)? + 1;
        let mut script = Script::default();
        let sum = seal::instance(&self.instance, epoch);
        script.add("UPDATE instance SET epoch = $1, sum = $2", [epoch.into(), Cell::from(sum)]);
        script.add("COMMIT", []);
        script.run(connection).await.map_err(|stopped| stopped.error)?;
        Ok(epoch)
    }

    /// Makes sure that there is a connection, and that it leads to the file under its name.
    async fn ready(&mut self) -> Result<(), Failure> {
        if self.connection.is_some() {
            return match self.check_files() {
                Ok(()) => Ok(()),
                Err(failure) => {
                    self.is_lost = true;
                    // The closing moves what it can from a log that was removed to the database.
                    self.drop_connection().await;
                    Err(failure)
                }
            };
        }
        if self.is_lost || file_id(&self.database).ok() != Some(self.file) {
            self.is_lost = true;
            return Err(replaced(&self.database));
        }
        let mut connection = open::writer(&self.database).await?;
        let emptied = empty_log(&mut connection, &self.database).await;
        match emptied {
            Ok(()) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(failure) => {
                close(connection).await;
                Err(failure)
            }
        }
    }

    /// What is written into a file that was removed is gone with the process.
    fn check_files(&self) -> Result<(), Failure> {
        let same = file_id(&self.database).is_ok_and(|id| id == self.file);
        // The write-ahead log is there from the first write after the opening, which reads it.
        if same && file_id(&place::log_path(&self.database)).is_ok() {
            return Ok(());
        }
        Err(replaced(&self.database))
    }

    async fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            close(connection).await;
        }
    }
}

/// The device and number of a file.
pub(super) fn file_id(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn replaced(database: &Path) -> Failure {
    let what = "it or its write-ahead log was removed or replaced while it was open; hint: stop \
                every rollway on this folder, restore rollway.db and instance-id from the same \
                backup if they are not there, and start again";
    let doing = format!("could not write to {}", database.display());
    Failure::because(FailureKind::Damaged, doing, what)
}

/// Moves what the log holds into the database, with fsync, and cuts the log to nothing.
async fn empty_log(connection: &mut SqliteConnection, database: &Path) -> Result<(), Failure> {
    let failed = |error| open::failed_writing(database, error);
    let row = connection.fetch_one("PRAGMA wal_checkpoint(TRUNCATE)").await.map_err(failed)?;
    if row.try_get::<i64, _>(0).map_err(failed)? == 0 {
        return Ok(());
    }
    let doing = format!("could not empty the write-ahead log of {}", database.display());
    Err(Failure::because(FailureKind::NotDone, doing, "a reader holds on to it"))
}

async fn close(connection: SqliteConnection) {
    // What matters was committed, and what was not is rolled back by the closing.
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "could not close a connection to the history");
    }
}

/// The answers of a group that was not written: who was refused stays refused.
fn replace_done(
    orders: &[Order],
    written: Vec<Result<Written, Failure>>,
    kind: FailureKind,
    why: &str,
) -> Vec<Result<Written, Failure>> {
    let mut refused = written.into_iter().map(Result::err);
    let answer = |order: &Order| match refused.next().flatten() {
        Some(failure) => Err(failure),
        None => Err(Failure::because(kind, order.doing(), why)),
    };
    orders.iter().map(answer).collect()
}

fn plan_all(
    orders: &[Order],
    heads: &mut Heads,
    script: &mut Script,
) -> Vec<Result<Written, Failure>> {
    orders.iter().map(|order| plan::add(order, heads, script)).collect()
}

fn heads(instance: &str, names: &[&ServiceName], answers: &[Answer]) -> Result<Heads, String> {
    let mut services = HashMap::with_capacity(names.len());
    for (name, answer) in names.iter().zip(answers) {
        let head = match answer.rows.first() {
            Some(row) => Some(read_head(instance, name.as_str(), row)?),
            None => None,
        };
        services.insert((*name).clone(), head);
    }
    let audit = match answers.get(names.len()).map(|answer| answer.rows.first()) {
        Some(Some(row)) => Some(read_audit_end(instance, row)?),
        Some(None) => Some((0, seal::audit_genesis(instance))),
        None => None,
    };
    Ok(Heads { instance: instance.to_owned(), services, audit })
}

/// Reads a row of `READ_AUDIT_END`.
pub(super) fn read_audit_end(instance: &str, row: &SqliteRow) -> Result<(u64, Digest), String> {
    let read = || -> Result<(u64, Digest, Digest), sqlx::Error> {
        Ok((read::count(row, 0)?, read::digest(row, 1)?, read::digest(row, 2)?))
    };
    let (seq, hash, sum) = read().map_err(|error| format!("the end of the audit: {error}"))?;
    if seal::audit_end(instance, seq, hash) != sum {
        return Err("the end of the audit was altered".to_owned());
    }
    Ok((seq, hash))
}

/// Reads a row of `last_seq, last_hash, generation, desired, sum`.
pub(super) fn read_head(instance: &str, service: &str, row: &SqliteRow) -> Result<Head, String> {
    let read = || -> Result<(Head, Digest), sqlx::Error> {
        let desired: &str = row.try_get(3)?;
        let head = Head {
            seq: read::count(row, 0)?,
            hash: read::digest(row, 1)?,
            generation: Generation(read::count(row, 2)?),
            desired: if desired == Desired::Removed.as_str() {
                Desired::Removed
            } else {
                Desired::Present
            },
        };
        Ok((head, read::digest(row, 4)?))
    };
    let (head, sum) = read().map_err(|error| format!("the head of {service}: {error}"))?;
    // An unknown word for `desired` was read as `present`, and shows here too.
    if seal::head(instance, service, &head) != sum {
        return Err(format!("the head of {service} was altered"));
    }
    Ok(head)
}

pub(super) const READ_AUDIT_END: &str = "SELECT seq, hash, sum FROM ends WHERE chain = 'audit'";
const READ_HEAD: &str = "
    SELECT last_seq, last_hash, generation, desired, sum FROM services WHERE name = $1";
const FIND_EVENT: &str = "SELECT 1 FROM events WHERE service = $1 AND seq = $2 AND hash = $3";
const FIND_AUDIT: &str = "SELECT 1 FROM audit WHERE seq = $1 AND hash = $2";
