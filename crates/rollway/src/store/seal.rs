//! The hash of every kind of row: what chains the history, and what shows that a row was altered.
//!
//! Every hash includes the instance's id, or begins from a hash that does, so that rows of another
//! database (a write-ahead log put beside the wrong file, say) are not taken for our own.

use rollway_core::ids::Generation;

use super::digest::{Digest, Fields};
use super::model::{AuditEntry, DeploymentRow, Desired, Event, ReleaseRow};

/// Where the chain of a service begins.
pub(super) fn genesis(instance: &str, service: &str) -> Digest {
    Fields::of("rollway history 1").text(instance).text(service).digest()
}

/// Where the chain of the audit begins.
pub(super) fn audit_genesis(instance: &str) -> Digest {
    Fields::of("rollway audit history 1").text(instance).digest()
}

/// The hash of an event, its body as the bytes of its JSON text.
pub(super) fn event(event: &Event, body: &str) -> Digest {
    Fields::of("rollway event 1")
        .bytes(&event.prev_hash.0)
        .text(event.service.as_str())
        .count(event.seq)
        .maybe(event.deployment)
        .time(event.at_ms)
        .text(&event.kind)
        .text(body)
        .digest()
}

/// The hash of an audit entry, its detail as the bytes of its JSON text.
pub(super) fn audit(entry: &AuditEntry, detail: &str) -> Digest {
    let record = &entry.record;
    Fields::of("rollway audit 1")
        .bytes(&entry.prev_hash.0)
        .count(entry.seq)
        .time(record.at_ms)
        .text(&record.actor)
        .text(&record.request)
        .text(&record.action)
        .text(&record.object)
        .text(record.verdict.as_str())
        .text(&record.reason)
        .text(detail)
        .digest()
}

/// The end of a service's chain and what is decided with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) seq: u64,
    pub(super) hash: Digest,
    pub(super) generation: Generation,
    pub(super) desired: Desired,
}

/// The sum of a service's head.
pub(super) fn head(instance: &str, service: &str, head: &Head) -> Digest {
    Fields::of("rollway service 1")
        .text(instance)
        .text(service)
        .count(head.seq)
        .bytes(&head.hash.0)
        .count(head.generation.0)
        .text(head.desired.as_str())
        .digest()
}

/// The sum of the place where the audit ends.
pub(super) fn audit_end(instance: &str, seq: u64, hash: Digest) -> Digest {
    Fields::of("rollway audit end 1").text(instance).count(seq).bytes(&hash.0).digest()
}

/// The sum of one JSON text of a service: `part` is `spec` or `state`.
pub(super) fn document(instance: &str, service: &str, part: &str, body: &str) -> Digest {
    Fields::of("rollway document 1").text(instance).text(service).text(part).text(body).digest()
}

/// The sum of a release.
pub(super) fn release(instance: &str, service: &str, row: &ReleaseRow, body: &str) -> Digest {
    Fields::of("rollway release 1")
        .text(instance)
        .text(service)
        .count(row.number.0)
        .text(&row.digest)
        .text(&row.version)
        .time(row.at_ms)
        .text(body)
        .digest()
}

/// The sum of a deployment.
pub(super) fn deployment(instance: &str, service: &str, row: &DeploymentRow, body: &str) -> Digest {
    Fields::of("rollway deployment 1")
        .text(instance)
        .text(service)
        .count(row.number)
        .text(&row.state)
        .count(u64::from(row.active))
        .text(body)
        .digest()
}

/// The sum of the instance's own row.
pub(super) fn instance(instance: &str, epoch: u64) -> Digest {
    Fields::of("rollway instance 1").text(instance).count(epoch).digest()
}
