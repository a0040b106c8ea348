//! Proof that a history is whole: from the database, or from an export without it.

use std::io::{BufRead, Read as _, Write};

use rollway_core::ids::ServiceName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::digest::Digest;
use super::model::{BODY_BYTES_MAX, Event};
use super::read::{self, PAGE, Reader};
use super::script::Cell;
use super::{seal, write};
use crate::failure::{Failure, FailureKind};

/// The first word of every export.
const FORMAT: &str = "rollway-history-1";
/// Longest line of an export: a body and what is around it.
const LINE_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + 4096;
/// Faults beyond these say nothing new.
const FAULTS_MAX: usize = 20;

/// Whether the whole store is as it was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryReport {
    /// The chain of every service.
    pub services: Vec<ChainReport>,
    /// The chain of the audit.
    pub audit: ChainReport,
    /// Rows beside the chains that were altered, the first few.
    pub rows: Vec<String>,
}

impl HistoryReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let chains = self.services.iter().chain([&self.audit]);
        self.rows.is_empty() && chains.into_iter().all(|chain| chain.fault.is_none())
    }
}

/// Whether one chain is whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChainReport {
    /// The service, or `audit`.
    pub name: String,
    /// How many links are whole, from the first one on.
    pub whole: u64,
    /// What is wrong with the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Where.
    pub seq: u64,
    /// What, lower case, no full stop.
    pub what: String,
}

/// How far the walk along a chain has come.
struct Walk {
    seq: u64,
    hash: Digest,
}

impl Walk {
    /// Takes one link, or says what is wrong with it.
    fn step(&mut self, seq: u64, links: (Digest, Digest), computed: Digest) -> Result<(), Fault> {
        let expected = self.seq + 1;
        let (prev_hash, hash) = links;
        let fault = |what: &str| Err(Fault { seq: expected, what: what.to_owned() });
        if seq != expected {
            return fault(&format!("it is missing: the next one is {seq}"));
        }
        if prev_hash != self.hash {
            return fault("it does not follow the one before");
        }
        if hash != computed {
            return fault("it was altered: its hash is another");
        }
        *self = Self { seq, hash };
        Ok(())
    }

    /// Compares the end of the walk with where the chain should end.
    fn end(&self, seq: u64, hash: Digest) -> Result<(), Fault> {
        if self.seq != seq {
            let what = format!("the history ends here, and should end with {seq}");
            return Err(Fault { seq: self.seq + 1, what });
        }
        if self.hash != hash {
            return Err(Fault { seq, what: "it is not the last one that was recorded".to_owned() });
        }
        Ok(())
    }

    fn report(&self, name: &str, ended: Result<(), Fault>) -> ChainReport {
        ChainReport { name: name.to_owned(), whole: self.seq, fault: ended.err() }
    }
}

pub(super) async fn verify(reader: &Reader) -> Result<HistoryReport, Failure> {
    let mut report = HistoryReport {
        services: Vec::new(),
        audit: verify_audit(reader).await?,
        rows: Vec::new(),
    };
    for row in reader.rows(read::SERVICES, []).await? {
        let head = sqlx::Row::try_get::<String, _>(&row, 5).map_err(|e| reader.failed(e))?;
        let service = match ServiceName::parse(&head) {
            Ok(service) => service,
            Err(what) => {
                report.rows.push(format!("a service's name was altered: {what}"));
                continue;
            }
        };
        match write::read_head(&reader.instance, service.as_str(), &row) {
            Ok(head) => {
                let chain = verify_service(reader, &service, (head.seq, head.hash)).await?;
                report.services.push(chain);
            }
            Err(what) => report.rows.push(what),
        }
        verify_rows(reader, &service, &mut report.rows).await?;
    }
    report.rows.truncate(FAULTS_MAX);
    Ok(report)
}

async fn verify_service(
    reader: &Reader,
    service: &ServiceName,
    last: (u64, Digest),
) -> Result<ChainReport, Failure> {
    let name = service.as_str();
    let mut walk = Walk { seq: 0, hash: seal::genesis(&reader.instance, name) };
    while walk.seq < last.0 {
        // What is added while we read is not looked at.
        let page = page_of(last.0 - walk.seq);
        let cells = [name.into(), Cell::from(walk.seq), Cell::from(page)];
        let rows = reader.rows(read::EVENTS, cells).await?;
        for row in &rows {
            let (event, body) = match read::event(service, row) {
                Ok(read) => read,
                Err(error) => {
                    let fault = Fault { seq: walk.seq + 1, what: error.to_string() };
                    return Ok(walk.report(name, Err(fault)));
                }
            };
            let links = (event.prev_hash, event.hash);
            let step = walk.step(event.seq, links, seal::event(&event, &body));
            if step.is_err() {
                return Ok(walk.report(name, step));
            }
        }
        if rows.is_empty() {
            break;
        }
    }
    Ok(walk.report(name, walk.end(last.0, last.1)))
}

async fn verify_audit(reader: &Reader) -> Result<ChainReport, Failure> {
    let mut walk = Walk { seq: 0, hash: seal::audit_genesis(&reader.instance) };
    let end = match reader.rows(write::READ_AUDIT_END, []).await?.first() {
        Some(row) => write::read_audit_end(&reader.instance, row),
        None => Ok((walk.seq, walk.hash)),
    };
    let end = match end {
        Ok(end) => end,
        Err(what) => return Ok(walk.report("audit", Err(Fault { seq: 1, what }))),
    };
    // What is added while we read is not looked at.
    while walk.seq < end.0 {
        let cells = [Cell::from(walk.seq), Cell::from(page_of(end.0 - walk.seq))];
        let rows = reader.rows(read::AUDIT, cells).await?;
        for row in &rows {
            let step = match read::audit_entry(row) {
                Ok((entry, detail)) => {
                    let links = (entry.prev_hash, entry.hash);
                    walk.step(entry.seq, links, seal::audit(&entry, &detail))
                }
                Err(error) => Err(Fault { seq: walk.seq + 1, what: error.to_string() }),
            };
            if step.is_err() {
                return Ok(walk.report("audit", step));
            }
        }
        if rows.is_empty() {
            break;
        }
    }
    Ok(walk.report("audit", walk.end(end.0, end.1)))
}

/// How many rows to ask for when so many are left.
fn page_of(left: u64) -> i64 {
    i64::from(PAGE.min(u32::try_from(left).unwrap_or(PAGE)))
}

async fn verify_rows(
    reader: &Reader,
    service: &ServiceName,
    faults: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut note = |checked: Result<(), Failure>| {
        if let Err(failure) = checked {
            faults.push(failure.chain());
        }
    };
    let name = || [Cell::from(service.as_str())];
    for row in reader.rows(DOCUMENTS, name()).await? {
        note(reader.document(&row).map(drop));
    }
    for row in reader.rows(read::RELEASES, name()).await? {
        note(reader.release(service, &row).map(drop));
    }
    for row in reader.rows(DEPLOYMENTS, name()).await? {
        note(reader.deployment(service, &row).map(drop));
    }
    Ok(())
}

/// The first line of an export.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    instance: String,
    service: ServiceName,
    last_seq: u64,
    last_hash: Digest,
}

/// Every other line; the body is kept as it is written, because its bytes are what was hashed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    deployment: Option<u64>,
    at_ms: i64,
    kind: String,
    body: Box<RawValue>,
    prev_hash: Digest,
    hash: Digest,
}

pub(super) async fn export(
    reader: &Reader,
    service: &ServiceName,
    out: &mut (dyn Write + Send),
) -> Result<u64, Failure> {
    let doing = || format!("could not export the history of {service}");
    let rows = reader.rows(HEAD, [service.as_str().into()]).await?;
    let Some(row) = rows.first() else {
        return Err(Failure::because(FailureKind::Missing, doing(), "there is no such service"));
    };
    let head = write::read_head(&reader.instance, service.as_str(), row)
        .map_err(|what| Failure::because(FailureKind::Damaged, doing(), what))?;
    let mut line = |value: serde_json::Result<String>| {
        let written = value.map_err(std::io::Error::from).and_then(|t| writeln!(out, "{t}"));
        written.map_err(|error| Failure::because(FailureKind::NotDone, doing(), error))
    };
    line(serde_json::to_string(&Header {
        format: FORMAT.to_owned(),
        instance: reader.instance.clone(),
        service: service.clone(),
        last_seq: head.seq,
        last_hash: head.hash,
    }))?;
    let mut seq = 0;
    while seq < head.seq {
        let cells = [service.as_str().into(), Cell::from(seq), Cell::from(i64::from(PAGE))];
        let rows = reader.rows(read::EVENTS, cells).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            let (event, body) = read::event(service, row).map_err(|e| reader.failed(e))?;
            seq = event.seq;
            if seq > head.seq {
                break;
            }
            let body = RawValue::from_string(body)
                .map_err(|_| reader.altered(&format!("event {seq} of {service}")))?;
            line(serde_json::to_string(&Line {
                seq,
                deployment: event.deployment,
                at_ms: event.at_ms,
                kind: event.kind,
                body,
                prev_hash: event.prev_hash,
                hash: event.hash,
            }))?;
        }
    }
    Ok(head.seq)
}

/// Checks an export by itself: every event in its place, none altered, missing or cut off.
///
/// Whoever can write the whole file can write another history that is whole in itself: compare the
/// last hash in its first line with one that was noted elsewhere.
pub fn verify_export(mut lines: impl BufRead) -> Result<ChainReport, Failure> {
    let Some(first) = next_line(&mut lines)? else {
        return Err(unreadable(1, "it is empty".to_owned()));
    };
    let header: Header =
        serde_json::from_str(&first).map_err(|error| unreadable(1, error.to_string()))?;
    if header.format != FORMAT {
        return Err(unreadable(1, format!("its format is {:?}, not {FORMAT}", header.format)));
    }
    let name = header.service.as_str();
    let mut walk = Walk { seq: 0, hash: seal::genesis(&header.instance, name) };
    while let Some(text) = next_line(&mut lines)? {
        let line: Line = match serde_json::from_str(&text) {
            Ok(line) => line,
            Err(error) => {
                let fault = Fault { seq: walk.seq + 1, what: format!("unreadable: {error}") };
                return Ok(walk.report(name, Err(fault)));
            }
        };
        let event = Event {
            service: header.service.clone(),
            seq: line.seq,
            deployment: line.deployment,
            at_ms: line.at_ms,
            kind: line.kind,
            body: Value::Null,
            prev_hash: line.prev_hash,
            hash: line.hash,
        };
        let computed = seal::event(&event, line.body.get());
        let step = walk.step(event.seq, (event.prev_hash, event.hash), computed);
        if step.is_err() {
            return Ok(walk.report(name, step));
        }
    }
    Ok(walk.report(name, walk.end(header.last_seq, header.last_hash)))
}

fn next_line(lines: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let mut text = String::new();
    let read = lines.take(LINE_BYTES_MAX).read_line(&mut text);
    let read = read.map_err(|error| {
        Failure::because(FailureKind::NotDone, "could not read the export", error)
    })?;
    Ok((read > 0).then_some(text))
}

fn unreadable(line: u64, what: String) -> Failure {
    let doing = format!("could not read line {line} of the export");
    Failure::because(FailureKind::Damaged, doing, what)
}

const HEAD: &str = "
    SELECT last_seq, last_hash, generation, desired, sum FROM services WHERE name = $1";
const DOCUMENTS: &str = "SELECT service, part, body, sum FROM documents WHERE service = $1";
const DEPLOYMENTS: &str = "
    SELECT number, state, active, body, sum FROM deployments WHERE service = $1 ORDER BY number";
