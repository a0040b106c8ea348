//! What goes into the store and what comes out.

use rollway_core::ids::{Generation, ReleaseNumber, ServiceName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;

/// Most bytes of one JSON text: a fact, a spec, a release. More is a mistake of ours, and SQLite's
/// own limit of 1 GiB is far too late to notice it.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Most events of one batch: a step of the engine has a handful.
pub const BATCH_EVENTS_MAX: usize = 1000;
/// Longest name of an event's kind, of an idempotency key or of an actor, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Most events that one call to `events` answers.
pub const EVENTS_LIMIT_MAX: u32 = 10_000;
/// Most events of one deployment that are read at once: a folder of 10,000 targets with a few
/// events each; a fold must never silently see fewer than all.
pub const EVENTS_OF_MAX: usize = 200_000;
/// How many idempotency keys are remembered per service, the newest ones.
pub const IDEMPOTENCY_KEYS_MAX: u64 = 1000;

/// Everything that one step of the engine makes durable, in one transaction or not at all.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The service that this is about.
    pub service: ServiceName,
    /// The last sequence number that the caller knows; 0 for a service that never was.
    pub expect_seq: u64,
    /// The time of the wall clock, for people: nothing is decided by it.
    pub at_ms: i64,
    /// What happened, or is about to.
    pub events: Vec<NewEvent>,
    /// The engine's own small state of the service.
    pub put_state: Option<Value>,
    /// The service's spec.
    pub put_spec: Option<Value>,
    /// The service's generation, which never falls.
    pub put_generation: Option<Generation>,
    /// Whether the service is wanted.
    pub put_desired: Option<Desired>,
    /// A release, which never changes afterwards.
    pub new_release: Option<NewRelease>,
    /// A deployment, new or as it is now.
    pub put_deployment: Option<DeploymentRow>,
    /// The caller's key for `put_deployment`: a second request with it finds the first one's.
    pub idempotency: Option<IdempotencyKey>,
    /// The record of the request that led to this.
    pub audit: Option<AuditRecord>,
}

impl Batch {
    /// A batch that changes nothing yet.
    #[must_use]
    pub fn new(service: ServiceName, expect_seq: u64, at_ms: i64) -> Self {
        Self {
            service,
            expect_seq,
            at_ms,
            events: Vec::new(),
            put_state: None,
            put_spec: None,
            put_generation: None,
            put_desired: None,
            new_release: None,
            put_deployment: None,
            idempotency: None,
            audit: None,
        }
    }
}

/// Something that happened, before it has a place in the history.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The deployment that it belongs to.
    pub deployment: Option<u64>,
    /// What kind of thing: `instance_started`.
    pub kind: String,
    /// The particulars.
    pub body: Value,
}

/// Something that happened, in its place in the history of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The service.
    pub service: ServiceName,
    /// Its place, counted per service from 1 without a gap.
    pub seq: u64,
    /// The deployment that it belongs to.
    pub deployment: Option<u64>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What kind of thing.
    pub kind: String,
    /// The particulars.
    pub body: Value,
    /// The hash of the event before; of the first one, the hash of the chain's beginning.
    pub prev_hash: Digest,
    /// The hash of all the above.
    pub hash: Digest,
}

/// What a commit led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The service's last sequence number from now on.
    pub last_seq: u64,
    /// The events in their places.
    pub events: Vec<Event>,
}

/// Whether a service is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It is to be there.
    Present,
    /// It was removed; its history stays.
    Removed,
}

impl Desired {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Removed => "removed",
        }
    }
}

/// A service as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRow {
    /// Its name.
    pub name: ServiceName,
    /// Its spec, once there is one.
    pub spec: Option<Value>,
    /// The engine's own small state of it.
    pub state: Option<Value>,
    /// Its generation.
    pub generation: Generation,
    /// Whether it is wanted.
    pub desired: Desired,
    /// The sequence number of its last event.
    pub last_seq: u64,
    /// The hash of its last event.
    pub last_hash: Digest,
}

/// A release on its way into the store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRelease {
    /// Its number.
    pub number: ReleaseNumber,
    /// The digest of its artifact, as the engine writes it.
    pub digest: String,
    /// The user's label.
    pub version: String,
    /// Everything else.
    pub body: Value,
}

/// A release: one that is in the store never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseRow {
    /// Its number.
    pub number: ReleaseNumber,
    /// The digest of its artifact, as the engine writes it.
    pub digest: String,
    /// The user's label.
    pub version: String,
    /// Everything else.
    pub body: Value,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A deployment as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentRow {
    /// Its number.
    pub number: u64,
    /// The word for its state.
    pub state: String,
    /// Whether it may still act: at most one of a service is.
    pub active: bool,
    /// Everything else.
    pub body: Value,
}

/// A caller's key for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// What was asked for, as a digest of the request, so that a key used twice for different
    /// things is noticed.
    pub request: String,
}

/// What a key was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The deployment that it led to.
    pub deployment: u64,
    /// The digest of the request.
    pub request: String,
}

/// Who asked for what, and what was said to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who: `uid:1000`, `token:ci`.
    pub actor: String,
    /// The request's own id.
    pub request: String,
    /// What was asked for: `deploy`, `abort`.
    pub action: String,
    /// Of what: `service:shop`.
    pub object: String,
    /// What was said to it.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// The particulars: address, token id, digests before and after.
    pub detail: Value,
}

/// What was said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may happen.
    Allowed,
    /// It may not.
    Denied,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
        }
    }
}

/// An audit record in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place, counted from 1 without a gap.
    pub seq: u64,
    /// The record.
    #[serde(flatten)]
    pub record: AuditRecord,
    /// The hash of the entry before; of the first one, the hash of the chain's beginning.
    pub prev_hash: Digest,
    /// The hash of all the above.
    pub hash: Digest,
}
