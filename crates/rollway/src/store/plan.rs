//! What a group of orders writes, decided from the heads that were read: no disk, no clock.

use std::collections::HashMap;

use rollway_core::ids::{Generation, ServiceName};

use super::digest::Digest;
use super::model::{
    AuditEntry, AuditRecord, BATCH_EVENTS_MAX, BODY_BYTES_MAX, Batch, Committed, Desired, Event,
    IDEMPOTENCY_KEYS_MAX, NAME_BYTES_MAX, ReleaseRow,
};
use super::script::{Cell, Script};
use super::seal::{self, Head};
use crate::failure::{Failure, FailureKind};

/// What is asked of the writer at once: a step, a record of a request, or both.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) batch: Option<Batch>,
    pub(super) audit: Option<AuditRecord>,
}

/// What it led to.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) committed: Option<Committed>,
    pub(super) audit: Option<AuditEntry>,
}

impl Order {
    pub(super) fn doing(&self) -> String {
        match &self.batch {
            Some(batch) => format!("could not record the step of {}", batch.service),
            None => "could not record the request".to_owned(),
        }
    }
}

/// The ends of the chains, as far as a group of orders has come.
pub(super) struct Heads {
    pub(super) instance: String,
    pub(super) services: HashMap<ServiceName, Option<Head>>,
    /// None if no order needs it.
    pub(super) audit: Option<(u64, Digest)>,
}

/// One JSON text, checked for its size.
pub(super) fn json(value: &serde_json::Value, what: &str) -> Result<String, Failure> {
    let text = value.to_string();
    if text.len() > BODY_BYTES_MAX {
        let doing =
            format!("could not record {what}: {} bytes, at most {BODY_BYTES_MAX}", text.len());
        return Err(Failure::new(FailureKind::NotDone, doing));
    }
    Ok(text)
}

fn name<'a>(text: &'a str, what: &str) -> Result<&'a str, Failure> {
    if text.len() > NAME_BYTES_MAX {
        let doing = format!("could not record {what}: longer than {NAME_BYTES_MAX} bytes");
        return Err(Failure::new(FailureKind::NotDone, doing));
    }
    Ok(text)
}

/// Adds what the order writes to the script and moves the heads on; on failure neither changed.
pub(super) fn add(
    order: &Order,
    heads: &mut Heads,
    script: &mut Script,
) -> Result<Written, Failure> {
    // Everything that can be refused is looked at before the first statement is added.
    let prepared = match &order.batch {
        Some(batch) => Some(prepare(batch, heads)?),
        None => None,
    };
    let audit = match &order.audit {
        Some(record) => Some(audit_entry(record, heads)?),
        None => None,
    };
    let audit = audit.map(|(entry, detail)| {
        script.add(ADD_AUDIT, audit_cells(&entry, detail));
        let sum = |seq, hash| Cell::from(seal::audit_end(&heads.instance, seq, hash));
        let before = if entry.seq == 1 { Cell::Null } else { sum(entry.seq - 1, entry.prev_hash) };
        let cells = [entry.seq.into(), entry.hash.into(), sum(entry.seq, entry.hash), before];
        script.add(PUT_AUDIT_END, cells);
        heads.audit = Some((entry.seq, entry.hash));
        entry
    });
    let committed = match (&order.batch, prepared) {
        (Some(batch), Some(prepared)) => Some(add_batch(batch, prepared, heads, script)),
        (Some(_) | None, Some(_) | None) => None,
    };
    Ok(Written { committed, audit })
}

/// A batch that may be written.
struct Prepared {
    /// None: the service is new.
    before: Option<Head>,
    head: Head,
    events: Vec<(Event, String)>,
    documents: Vec<(&'static str, String)>,
    release: Option<String>,
    deployment: Option<String>,
}

fn prepare(batch: &Batch, heads: &Heads) -> Result<Prepared, Failure> {
    let service = &batch.service;
    let known = heads.services.get(service).and_then(Option::as_ref);
    let seq = known.map_or(0, |head| head.seq);
    if seq != batch.expect_seq {
        let expected = batch.expect_seq;
        let doing = format!("{service} is at event {seq}, not at {expected}: look again");
        return Err(Failure::new(FailureKind::Stale, doing));
    }
    let generation = known.map_or(Generation(0), |head| head.generation);
    if batch.put_generation.is_some_and(|put| put < generation) {
        let doing = format!("{service} is at {generation}, which does not fall: look again");
        return Err(Failure::new(FailureKind::Stale, doing));
    }
    if batch.events.len() > BATCH_EVENTS_MAX {
        let doing = format!("could not record more than {BATCH_EVENTS_MAX} events at once");
        return Err(Failure::new(FailureKind::NotDone, doing));
    }
    let hash =
        known.map_or_else(|| seal::genesis(&heads.instance, service.as_str()), |head| head.hash);
    let (events, hash) = chain(batch, seq, hash)?;
    let mut documents = Vec::new();
    for (part, value) in [("spec", &batch.put_spec), ("state", &batch.put_state)] {
        if let Some(value) = value {
            documents.push((part, json(value, part)?));
        }
    }
    let head = Head {
        seq: seq + events.len() as u64,
        hash,
        generation: batch.put_generation.unwrap_or(generation),
        desired: batch.put_desired.or(known.map(|h| h.desired)).unwrap_or(Desired::Present),
    };
    let release = batch.new_release.as_ref().map(|r| json(&r.body, "a release")).transpose()?;
    let deployment = batch.put_deployment.as_ref();
    let deployment = deployment.map(|d| json(&d.body, "a deployment")).transpose()?;
    if let Some(key) = &batch.idempotency {
        name(&key.key, "an idempotency key")?;
        name(&key.request, "the digest of a request")?;
    }
    Ok(Prepared { before: known.cloned(), head, events, documents, release, deployment })
}

fn chain(
    batch: &Batch,
    seq: u64,
    mut prev_hash: Digest,
) -> Result<(Vec<(Event, String)>, Digest), Failure> {
    let mut events = Vec::with_capacity(batch.events.len());
    for (new, seq) in batch.events.iter().zip(seq + 1..) {
        let body = json(&new.body, "an event")?;
        let mut event = Event {
            service: batch.service.clone(),
            seq,
            deployment: new.deployment,
            at_ms: batch.at_ms,
            kind: name(&new.kind, "the kind of an event")?.to_owned(),
            body: new.body.clone(),
            prev_hash,
            hash: prev_hash,
        };
        event.hash = seal::event(&event, &body);
        prev_hash = event.hash;
        events.push((event, body));
    }
    Ok((events, prev_hash))
}

fn audit_entry(record: &AuditRecord, heads: &Heads) -> Result<(AuditEntry, String), Failure> {
    let detail = json(&record.detail, "a request's particulars")?;
    let texts = [&record.actor, &record.request, &record.action, &record.object, &record.reason];
    for text in texts {
        name(text, "a request")?;
    }
    let (seq, prev_hash) = heads.audit.expect("an order with a record had its chain's end read");
    let record = record.clone();
    let mut entry = AuditEntry { seq: seq + 1, record, prev_hash, hash: prev_hash };
    entry.hash = seal::audit(&entry, &detail);
    Ok((entry, detail))
}

fn audit_cells(entry: &AuditEntry, detail: String) -> Vec<Cell> {
    let record = &entry.record;
    vec![
        entry.seq.into(),
        record.at_ms.into(),
        record.actor.as_str().into(),
        record.request.as_str().into(),
        record.action.as_str().into(),
        record.object.as_str().into(),
        record.verdict.as_str().into(),
        record.reason.as_str().into(),
        detail.into(),
        entry.prev_hash.into(),
        entry.hash.into(),
    ]
}

fn add_batch(
    batch: &Batch,
    prepared: Prepared,
    heads: &mut Heads,
    script: &mut Script,
) -> Committed {
    let service = batch.service.as_str();
    add_head(service, &prepared, &heads.instance, script);
    let mut events = Vec::with_capacity(prepared.events.len());
    for (event, body) in prepared.events {
        script.add(ADD_EVENT, event_cells(&event, body));
        events.push(event);
    }
    for (part, body) in prepared.documents {
        let sum = seal::document(&heads.instance, service, part, &body);
        script.add(PUT_DOCUMENT, [service.into(), part.into(), body.into(), sum.into()]);
    }
    if let (Some(new), Some(body)) = (&batch.new_release, prepared.release) {
        let row = ReleaseRow {
            number: new.number,
            digest: new.digest.clone(),
            version: new.version.clone(),
            body: serde_json::Value::Null,
            at_ms: batch.at_ms,
        };
        let sum = seal::release(&heads.instance, service, &row, &body);
        let cells = [
            service.into(),
            row.number.0.into(),
            row.digest.into(),
            row.version.into(),
            body.into(),
            row.at_ms.into(),
            sum.into(),
        ];
        script.add(ADD_RELEASE, cells);
    }
    if let (Some(row), Some(body)) = (&batch.put_deployment, prepared.deployment) {
        let sum = seal::deployment(&heads.instance, service, row, &body);
        let cells = [
            service.into(),
            row.number.into(),
            row.state.as_str().into(),
            i64::from(row.active).into(),
            body.into(),
            sum.into(),
        ];
        script.add(PUT_DEPLOYMENT, cells);
        add_key(batch, row.number, script);
    }
    let last_seq = prepared.head.seq;
    heads.services.insert(batch.service.clone(), Some(prepared.head));
    Committed { last_seq, events }
}

fn add_head(service: &str, prepared: &Prepared, instance: &str, script: &mut Script) {
    let head = &prepared.head;
    let mut cells = vec![
        service.into(),
        head.seq.into(),
        head.hash.into(),
        head.generation.0.into(),
        head.desired.as_str().into(),
        seal::head(instance, service, head).into(),
    ];
    match &prepared.before {
        None => script.add(ADD_SERVICE, cells),
        Some(before) => {
            cells.extend([
                seal::head(instance, service, before).into(),
                before.seq.into(),
                before.hash.into(),
                before.generation.0.into(),
                before.desired.as_str().into(),
            ]);
            script.add(PUT_SERVICE, cells);
        }
    }
}

fn event_cells(event: &Event, body: String) -> [Cell; 8] {
    [
        event.service.as_str().into(),
        event.seq.into(),
        event.deployment.into(),
        event.at_ms.into(),
        event.kind.as_str().into(),
        body.into(),
        event.prev_hash.into(),
        event.hash.into(),
    ]
}

fn add_key(batch: &Batch, deployment: u64, script: &mut Script) {
    let Some(key) = &batch.idempotency else { return };
    let service = batch.service.as_str();
    let forgotten = deployment.saturating_sub(IDEMPOTENCY_KEYS_MAX);
    script.add(FORGET_KEYS, [service.into(), forgotten.into()]);
    let cells =
        [service.into(), key.key.as_str().into(), deployment.into(), key.request.as_str().into()];
    script.add(ADD_KEY, cells);
}

const ADD_SERVICE: &str = "
    INSERT INTO services (name, last_seq, last_hash, generation, desired, sum)
    VALUES ($1, $2, $3, $4, $5, $6)";
/// The sum of a head that is not the one we know becomes NULL, which the table refuses: a
/// compare-and-set that fails the whole transaction without a further look at it.
const PUT_SERVICE: &str = "
    UPDATE services SET last_seq = $2, last_hash = $3, generation = $4, desired = $5,
        sum = CASE WHEN sum = $7 AND last_seq = $8 AND last_hash = $9 AND generation = $10
            AND desired = $11 THEN $6 END
    WHERE name = $1";
const ADD_EVENT: &str = "
    INSERT INTO events (service, seq, deployment, at_ms, kind, body, prev_hash, hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const PUT_DOCUMENT: &str = "
    INSERT INTO documents (service, part, body, sum) VALUES ($1, $2, $3, $4)
    ON CONFLICT (service, part) DO UPDATE SET body = excluded.body, sum = excluded.sum";
const ADD_RELEASE: &str = "
    INSERT INTO releases (service, number, digest, version, body, at_ms, sum)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const PUT_DEPLOYMENT: &str = "
    INSERT INTO deployments (service, number, state, active, body, sum)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (service, number) DO UPDATE SET state = excluded.state, active = excluded.active,
        body = excluded.body, sum = excluded.sum";
const ADD_KEY: &str = "
    INSERT INTO idempotency (service, key, deployment, request) VALUES ($1, $2, $3, $4)";
const FORGET_KEYS: &str = "DELETE FROM idempotency WHERE service = $1 AND deployment <= $2";
const PUT_AUDIT_END: &str = "
    INSERT INTO ends (chain, seq, hash, sum) VALUES ('audit', $1, $2, $3)
    ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
        sum = CASE WHEN ends.sum = $4 AND ends.seq = excluded.seq - 1 THEN excluded.sum END";
const ADD_AUDIT: &str = "
    INSERT INTO audit (seq, at_ms, actor, request, action, object, verdict, reason, detail,
        prev_hash, hash)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
