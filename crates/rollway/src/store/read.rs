//! Queries; every row that comes out was checked against its hash.

use std::path::{Path, PathBuf};

use rollway_core::ids::{ReleaseNumber, ServiceName};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::digest::Digest;
use super::model::{
    AuditEntry, AuditRecord, DeploymentRow, EVENTS_LIMIT_MAX, EVENTS_OF_MAX, Event, KeyUse,
    ReleaseRow, ServiceRow, Verdict,
};
use super::script::{Answer, Cell, Script};
use super::{open, seal, write};
use crate::failure::{Failure, FailureKind};

/// Events read at once when there are many.
pub(super) const PAGE: u32 = 1000;

/// What reads need.
pub(super) struct Reader {
    pub(super) database: PathBuf,
    pub(super) instance: String,
    pub(super) pool: SqlitePool,
}

impl Reader {
    pub(super) async fn services(&self) -> Result<Vec<ServiceRow>, Failure> {
        // Both in one transaction, so that heads and documents are of one moment.
        let mut script = Script::default();
        script.add("BEGIN", []);
        script.add(SERVICES, []);
        script.add("SELECT service, part, body, sum FROM documents ORDER BY service, part", []);
        script.add("COMMIT", []);
        let answers = self.run(script).await?;
        let mut services = Vec::with_capacity(answers[1].rows.len());
        for row in &answers[1].rows {
            services.push(self.service(row)?);
        }
        for row in &answers[2].rows {
            let (service, part, body) = self.document(row)?;
            let found = services.binary_search_by(|known| known.name.as_str().cmp(&service));
            let found = found.map_err(|_| self.altered(&format!("the {part} of {service}")))?;
            match part.as_str() {
                "spec" => services[found].spec = Some(body),
                "state" => services[found].state = Some(body),
                _ => return Err(self.altered(&format!("the {part} of {service}"))),
            }
        }
        Ok(services)
    }

    pub(super) async fn events(
        &self,
        service: &ServiceName,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<Event>, Failure> {
        let cells = [
            service.as_str().into(),
            Cell::from(after_seq),
            Cell::from(i64::from(limit.min(EVENTS_LIMIT_MAX))),
        ];
        let rows = self.rows(EVENTS, cells).await?;
        rows.iter().map(|row| self.event(service, row)).collect()
    }

    pub(super) async fn events_of(
        &self,
        service: &ServiceName,
        deployment: u64,
    ) -> Result<Vec<Event>, Failure> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event.seq);
            let cells = [
                service.as_str().into(),
                deployment.into(),
                Cell::from(after),
                Cell::from(i64::from(PAGE)),
            ];
            let rows = self.rows(EVENTS_OF, cells).await?;
            for row in &rows {
                events.push(self.event(service, row)?);
            }
            if rows.len() < PAGE as usize {
                return Ok(events);
            }
            if events.len() > EVENTS_OF_MAX {
                let doing = format!(
                    "could not read {service}-{deployment}: it has more than {EVENTS_OF_MAX} events"
                );
                return Err(Failure::new(FailureKind::NotDone, doing));
            }
        }
    }

    pub(super) async fn releases(&self, service: &ServiceName) -> Result<Vec<ReleaseRow>, Failure> {
        let rows = self.rows(RELEASES, [service.as_str().into()]).await?;
        rows.iter().map(|row| self.release(service, row)).collect()
    }

    pub(super) async fn one_release(
        &self,
        service: &ServiceName,
        number: ReleaseNumber,
    ) -> Result<Option<ReleaseRow>, Failure> {
        let cells = [service.as_str().into(), Cell::from(number.0)];
        let rows = self.rows(ONE_RELEASE, cells).await?;
        rows.first().map(|row| self.release(service, row)).transpose()
    }

    pub(super) async fn deployments(
        &self,
        service: &ServiceName,
        limit: u32,
    ) -> Result<Vec<DeploymentRow>, Failure> {
        let limit = i64::from(limit.min(EVENTS_LIMIT_MAX));
        let rows = self.rows(DEPLOYMENTS, [service.as_str().into(), Cell::from(limit)]).await?;
        rows.iter().map(|row| self.deployment(service, row)).collect()
    }

    pub(super) async fn one_deployment(
        &self,
        service: &ServiceName,
        number: u64,
    ) -> Result<Option<DeploymentRow>, Failure> {
        let cells = [service.as_str().into(), Cell::from(number)];
        let rows = self.rows(ONE_DEPLOYMENT, cells).await?;
        rows.first().map(|row| self.deployment(service, row)).transpose()
    }

    pub(super) async fn key_use(
        &self,
        service: &ServiceName,
        key: &str,
    ) -> Result<Option<KeyUse>, Failure> {
        let rows = self.rows(KEY_USE, [service.as_str().into(), key.into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let read = || -> Result<KeyUse, sqlx::Error> {
            Ok(KeyUse { deployment: count(row, 0)?, request: row.try_get(1)? })
        };
        read().map(Some).map_err(|error| self.failed(error))
    }

    pub(super) async fn audit(
        &self,
        after_seq: u64,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, Failure> {
        let limit = i64::from(limit.min(EVENTS_LIMIT_MAX));
        let rows = self.rows(AUDIT, [Cell::from(after_seq), Cell::from(limit)]).await?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let (entry, detail) = audit_entry(row).map_err(|error| self.failed(error))?;
            if seal::audit(&entry, &detail) != entry.hash {
                return Err(self.altered(&format!("audit record {}", entry.seq)));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The rows of one query.
    pub(super) async fn rows(
        &self,
        sql: &'static str,
        cells: impl IntoIterator<Item = Cell>,
    ) -> Result<Vec<SqliteRow>, Failure> {
        let mut script = Script::default();
        script.add(sql, cells);
        Ok(self.run(script).await?.swap_remove(0).rows)
    }

    async fn run(&self, script: Script) -> Result<Vec<Answer>, Failure> {
        let mut connection = self.pool.acquire().await.map_err(|error| self.failed(error))?;
        match script.run(&mut connection).await {
            Ok(answers) => Ok(answers),
            Err(stopped) => {
                // It may have stopped inside a transaction: the next reader gets another one.
                // A connection that cannot write has nothing to lose when it goes.
                let _ = connection.close().await;
                Err(self.failed(stopped.error))
            }
        }
    }

    pub(super) fn failed(&self, error: sqlx::Error) -> Failure {
        open::failed_reading(&self.database, error)
    }

    pub(super) fn altered(&self, what: &str) -> Failure {
        altered(&self.database, what)
    }

    fn service(&self, row: &SqliteRow) -> Result<ServiceRow, Failure> {
        let name: &str = row.try_get(5).map_err(|error| self.failed(error))?;
        let parsed = ServiceName::parse(name).map_err(|what| self.altered(&what))?;
        let head = write::read_head(&self.instance, name, row)
            .map_err(|what| open::damaged(&self.database, what))?;
        Ok(ServiceRow {
            name: parsed,
            spec: None,
            state: None,
            generation: head.generation,
            desired: head.desired,
            last_seq: head.seq,
            last_hash: head.hash,
        })
    }

    pub(super) fn document(&self, row: &SqliteRow) -> Result<(String, String, Value), Failure> {
        let read = || -> Result<(String, String, String, Digest), sqlx::Error> {
            Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, digest(row, 3)?))
        };
        let (service, part, body, sum) = read().map_err(|error| self.failed(error))?;
        let expected = seal::document(&self.instance, &service, &part, &body);
        let value = parsed(&body).filter(|_| expected == sum);
        let value = value.ok_or_else(|| self.altered(&format!("the {part} of {service}")))?;
        Ok((service, part, value))
    }

    fn event(&self, service: &ServiceName, row: &SqliteRow) -> Result<Event, Failure> {
        let (mut event, body) = event(service, row).map_err(|error| self.failed(error))?;
        let value = parsed(&body).filter(|_| seal::event(&event, &body) == event.hash);
        let seq = event.seq;
        event.body = value.ok_or_else(|| self.altered(&format!("event {seq} of {service}")))?;
        Ok(event)
    }

    pub(super) fn release(
        &self,
        service: &ServiceName,
        row: &SqliteRow,
    ) -> Result<ReleaseRow, Failure> {
        let read = || -> Result<(ReleaseRow, String, Digest), sqlx::Error> {
            let release = ReleaseRow {
                number: ReleaseNumber(count(row, 0)?),
                digest: row.try_get(1)?,
                version: row.try_get(2)?,
                body: Value::Null,
                at_ms: row.try_get(4)?,
            };
            Ok((release, row.try_get(3)?, digest(row, 5)?))
        };
        let (mut release, body, sum) = read().map_err(|error| self.failed(error))?;
        let expected = seal::release(&self.instance, service.as_str(), &release, &body);
        let value = parsed(&body).filter(|_| expected == sum);
        let number = release.number;
        release.body =
            value.ok_or_else(|| self.altered(&format!("release {number} of {service}")))?;
        Ok(release)
    }

    pub(super) fn deployment(
        &self,
        service: &ServiceName,
        row: &SqliteRow,
    ) -> Result<DeploymentRow, Failure> {
        let read = || -> Result<(DeploymentRow, String, Digest), sqlx::Error> {
            let deployment = DeploymentRow {
                number: count(row, 0)?,
                state: row.try_get(1)?,
                active: row.try_get::<i64, _>(2)? == 1,
                body: Value::Null,
            };
            Ok((deployment, row.try_get(3)?, digest(row, 4)?))
        };
        let (mut deployment, body, sum) = read().map_err(|error| self.failed(error))?;
        let expected = seal::deployment(&self.instance, service.as_str(), &deployment, &body);
        let value = parsed(&body).filter(|_| expected == sum);
        let number = deployment.number;
        deployment.body =
            value.ok_or_else(|| self.altered(&format!("deployment {service}-{number}")))?;
        Ok(deployment)
    }
}

pub(super) fn altered(database: &Path, what: &str) -> Failure {
    let doing = format!("could not read from {}", database.display());
    Failure::because(FailureKind::Damaged, doing, format!("{what} was altered"))
}

fn parsed(body: &str) -> Option<Value> {
    serde_json::from_str(body).ok()
}

/// A column with a number that was counted, which is never negative.
pub(super) fn count(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    u64::try_from(row.try_get::<i64, _>(column)?)
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A column with a digest.
pub(super) fn digest(row: &SqliteRow, column: usize) -> Result<Digest, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map(Digest).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// An event as it is in the table, unchecked, and its body as text.
pub(super) fn event(
    service: &ServiceName,
    row: &SqliteRow,
) -> Result<(Event, String), sqlx::Error> {
    let deployment: Option<i64> = row.try_get(1)?;
    let event = Event {
        service: service.clone(),
        seq: count(row, 0)?,
        deployment: deployment.map(|_| count(row, 1)).transpose()?,
        at_ms: row.try_get(2)?,
        kind: row.try_get(3)?,
        body: Value::Null,
        prev_hash: digest(row, 5)?,
        hash: digest(row, 6)?,
    };
    Ok((event, row.try_get(4)?))
}

/// An audit entry as it is in the table, unchecked, and its detail as text.
pub(super) fn audit_entry(row: &SqliteRow) -> Result<(AuditEntry, String), sqlx::Error> {
    let detail: String = row.try_get(8)?;
    let verdict: &str = row.try_get(6)?;
    let allowed = verdict == Verdict::Allowed.as_str();
    let record = AuditRecord {
        at_ms: row.try_get(1)?,
        actor: row.try_get(2)?,
        request: row.try_get(3)?,
        action: row.try_get(4)?,
        object: row.try_get(5)?,
        // Any other word than the two shows in the hash.
        verdict: if allowed { Verdict::Allowed } else { Verdict::Denied },
        reason: row.try_get(7)?,
        detail: parsed(&detail).unwrap_or(Value::Null),
    };
    let entry = AuditEntry {
        seq: count(row, 0)?,
        record,
        prev_hash: digest(row, 9)?,
        hash: digest(row, 10)?,
    };
    Ok((entry, detail))
}

pub(super) const SERVICES: &str = "
    SELECT last_seq, last_hash, generation, desired, sum, name FROM services ORDER BY name";
pub(super) const EVENTS: &str = "
    SELECT seq, deployment, at_ms, kind, body, prev_hash, hash FROM events
    WHERE service = $1 AND seq > $2 ORDER BY seq LIMIT $3";
const EVENTS_OF: &str = "
    SELECT seq, deployment, at_ms, kind, body, prev_hash, hash FROM events
    WHERE service = $1 AND deployment = $2 AND seq > $3 ORDER BY seq LIMIT $4";
pub(super) const RELEASES: &str = "
    SELECT number, digest, version, body, at_ms, sum FROM releases
    WHERE service = $1 ORDER BY number";
const ONE_RELEASE: &str = "
    SELECT number, digest, version, body, at_ms, sum FROM releases
    WHERE service = $1 AND number = $2";
const DEPLOYMENTS: &str = "
    SELECT number, state, active, body, sum FROM deployments
    WHERE service = $1 ORDER BY number DESC LIMIT $2";
const ONE_DEPLOYMENT: &str = "
    SELECT number, state, active, body, sum FROM deployments
    WHERE service = $1 AND number = $2";
const KEY_USE: &str = "SELECT deployment, request FROM idempotency WHERE service = $1 AND key = $2";
pub(super) const AUDIT: &str = "
    SELECT seq, at_ms, actor, request, action, object, verdict, reason, detail, prev_hash, hash
    FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
