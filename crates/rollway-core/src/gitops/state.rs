//! What is recorded of a source and its services: four fields that never stand for each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::Oid;
use super::write_back::Told;
use crate::ids::ServiceName;
use crate::problem::Problem;

/// How the repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceStatus {
    /// The last look went well.
    Ready,
    /// It is being looked at.
    Fetching,
    /// The last look failed; it is tried again by itself.
    FetchFailed,
    /// It was read, and cannot be used until somebody acts.
    Stalled,
}

/// Why it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Nothing is wrong.
    Succeeded,
    /// There is another commit.
    NewRevision,
    /// The repository does not believe us.
    AuthenticationFailed,
    /// The host's key is not among the known ones.
    HostKeyUnknown,
    /// The host has another key than the known one.
    HostKeyChanged,
    /// The certificate or its negotiation failed.
    TlsFailed,
    /// The host's name has no address.
    DnsFailed,
    /// No answer in time.
    Timeout,
    /// The host asks for patience.
    RateLimited,
    /// The host failed.
    ServerError,
    /// There is no such repository.
    RepoNotFound,
    /// There is no such ref.
    RefNotFound,
    /// The answer names no refs at all: perhaps not from a repository.
    EmptyAdvertisement,
    /// The repository has no commit.
    EmptyRepository,
    /// A branch that we would write to is not what we left.
    RefRejected,
    /// The last commit is no longer in the history.
    HistoryRewritten,
    /// The tag points elsewhere.
    TagMoved,
    /// The commit is not signed.
    SignatureMissing,
    /// The signature is not of this commit.
    SignatureInvalid,
    /// The signer is not among the allowed ones, or no longer.
    SignerNotAllowed,
    /// The folder is not in the commit.
    PathMissing,
    /// The path is no folder.
    PathInvalid,
    /// The folder has a link, a submodule, a pointer to LFS, or too much.
    TreeUnsafe,
    /// A spec has a mistake.
    ParseFailed,
    /// Our copy is damaged.
    LocalStoreCorrupt,
    /// There is no room for our copy.
    DiskFull,
    /// An operator said so.
    Suspended,
}

/// Whether a service is what Git says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sync {
    /// It is.
    Synced,
    /// It is not, or not yet.
    OutOfSync,
    /// It cannot be told.
    Unknown,
    /// It is not, on purpose.
    Held,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceHealth {
    /// All instances are ready.
    Healthy,
    /// It was taken down on purpose.
    Suspended,
    /// A deployment is under way.
    Progressing,
    /// It is not there.
    Missing,
    /// Instances are missing, or an operator is needed.
    Degraded,
    /// It cannot be told.
    Unknown,
}

/// What is being done to a service, or was last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase")]
pub enum Operation {
    /// About to be asked for; the key makes it the same one after a crash.
    Pending {
        /// The commit.
        revision: Oid,
        /// What is deployed of it.
        content: String,
        /// The key of the request.
        key: String,
    },
    /// Under way.
    Running {
        /// The commit.
        revision: Oid,
        /// What is deployed of it.
        content: String,
        /// The deployment.
        deployment: u64,
    },
    /// Being undone because there is something newer.
    Terminating {
        /// The commit.
        revision: Oid,
        /// The deployment.
        deployment: u64,
        /// The newer commit.
        by: Oid,
    },
    /// It was refused, and is tried again.
    WaitingRetry {
        /// The commit.
        revision: Oid,
        /// What was to be deployed of it.
        content: String,
        /// When, in milliseconds since 1970.
        until_ms: i64,
        /// How often it was tried.
        tries: u32,
        /// Why.
        why: String,
    },
    /// It serves.
    Succeeded {
        /// The commit.
        revision: Oid,
        /// The deployment; 0 = it served already.
        deployment: u64,
    },
    /// It was undone, or could not be.
    Failed {
        /// The commit.
        revision: Oid,
        /// The deployment.
        deployment: u64,
        /// Why.
        why: String,
    },
    /// Something newer came first.
    Superseded {
        /// The commit.
        revision: Oid,
        /// The newer commit.
        by: Oid,
    },
}

impl Operation {
    /// The operation in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Pending { revision, .. } => format!("Pending {}", revision.short()),
            Self::Running { revision, deployment, .. } => {
                format!("Running {} as deployment {deployment}", revision.short())
            }
            Self::Terminating { deployment, by, .. } => {
                format!("Terminating deployment {deployment}, superseded by {}", by.short())
            }
            Self::WaitingRetry { tries, why, .. } => {
                format!("WaitingRetry after {tries} tries: {why}")
            }
            Self::Succeeded { revision, .. } => format!("Succeeded {}", revision.short()),
            // Why is what the service is held for.
            Self::Failed { revision, .. } => format!("Failed {}", revision.short()),
            Self::Superseded { revision, by } => {
                format!("Superseded {} by {}", revision.short(), by.short())
            }
        }
    }
}

/// What was last brought to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The commit.
    pub revision: Oid,
    /// What was deployed of it.
    pub content: String,
    /// The release.
    pub release: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// A service that is left as it is, on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The commit that was rejected; none = whatever comes.
    pub revision: Option<Oid>,
    /// What was rejected of it: other content is not held.
    pub content: Option<String>,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Until when; none = until Git moves on, or somebody says so.
    pub until_ms: Option<i64>,
}

/// A service that is no longer in Git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// The first commit without it.
    pub revision: Oid,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// How many looks at the repository have confirmed it since.
    pub looks: u32,
    /// Why it is not stopped without being asked.
    pub refused: Option<String>,
    /// Whether it was stopped.
    pub stopped: bool,
}

/// What is recorded of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRecord {
    /// What was last brought to serve.
    pub applied: Option<Applied>,
    /// Whether it is left as it is.
    pub held: Option<Held>,
    /// What is being done, or was last.
    pub operation: Option<Operation>,
    /// How many deployments were asked for; part of their keys.
    pub attempts: u64,
    /// Deployments up to this one are accounted for.
    pub accounted: u64,
    /// Whether it is no longer in Git.
    pub gone: Option<Gone>,
    /// What the repository is told of its last rollback.
    pub told: Option<Told>,
}

/// One service of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// The commit.
    pub revision: Oid,
    /// A digest of everything that it depends on.
    pub content: String,
    /// The folder in the repository, for people.
    pub folder: String,
    /// The resolved spec, as JSON.
    pub spec: String,
    /// The version.
    pub version: String,
    /// How many instances.
    pub instances: u32,
    /// Which services must be well before.
    pub after: Vec<ServiceName>,
}

/// What is recorded of a source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// What it is.
    pub config: super::config::SourceConfig,
    /// How the repository is.
    pub status: SourceStatus,
    /// Why.
    pub reason: Reason,
    /// The particulars, in words.
    pub message: String,
    /// What the ref pointed at when last seen, be it a tag or a commit.
    #[serde(default)]
    pub tip: Option<Oid>,
    /// The commit that the services below were read from.
    #[serde(default)]
    pub revision: Option<Oid>,
    /// The folder of that commit.
    #[serde(default)]
    pub tree: Option<Oid>,
    /// Who signed it.
    #[serde(default)]
    pub signer: Option<String>,
    /// When the repository was last seen well, in milliseconds since 1970.
    #[serde(default)]
    pub seen_ms: Option<i64>,
    /// How many looks in a row have failed.
    #[serde(default)]
    pub failures: u32,
    /// Until when the host asks not to be asked, in milliseconds since 1970.
    #[serde(default)]
    pub patience_until_ms: Option<i64>,
    /// Who has suspended it.
    #[serde(default)]
    pub suspended: Option<String>,
    /// The commit that an operator confirmed: unrelated history, a moved tag, or many services
    /// gone are taken from it.
    #[serde(default)]
    pub confirmed: Option<Oid>,
    /// What is wrong with the newest commit.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// The services of the revision.
    #[serde(default)]
    pub wishes: BTreeMap<ServiceName, Wish>,
    /// What is recorded of each service that this source ever made.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, ServiceRecord>,
}

impl SourceRecord {
    /// A source that was never looked at.
    #[must_use]
    pub fn new(config: super::config::SourceConfig) -> Self {
        Self {
            config,
            status: SourceStatus::Fetching,
            reason: Reason::NewRevision,
            message: "not looked at yet".to_owned(),
            tip: None,
            revision: None,
            tree: None,
            signer: None,
            seen_ms: None,
            failures: 0,
            patience_until_ms: None,
            suspended: None,
            confirmed: None,
            problems: Vec::new(),
            wishes: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

/// A service of a source, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service.
    pub service: String,
    /// Whether it is what Git says.
    pub sync: Sync,
    /// Why.
    pub reason: String,
    /// How it is.
    pub health: ServiceHealth,
    /// What is being done, or was last.
    pub operation: Option<Operation>,
    /// The version that Git has.
    pub version: Option<String>,
    /// The commit that serves.
    pub applied: Option<Applied>,
    /// Whether it is left as it is.
    pub held: Option<Held>,
    /// What the repository was told of its last rollback.
    #[serde(default)]
    pub told: Option<Told>,
}

/// A source, as people see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceView {
    /// What it is.
    pub config: super::config::SourceConfig,
    /// How the repository is.
    pub source: SourceStatus,
    /// Why.
    pub reason: Reason,
    /// The particulars, in words.
    pub message: String,
    /// The commit that is wanted.
    pub revision: Option<Oid>,
    /// Who signed it.
    pub signer: Option<String>,
    /// When the repository was last seen well, in milliseconds since 1970.
    pub seen_ms: Option<i64>,
    /// Who has suspended it.
    pub suspended: Option<String>,
    /// What is wrong with the newest commit.
    pub problems: Vec<Problem>,
    /// The services.
    pub services: Vec<ServiceStatus>,
}

/// The body of `POST /v1/gitops/{source}/{verb}`; each verb reads what it knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GitopsArgs {
    /// `hold`, `unhold`: which service.
    pub service: Option<String>,
    /// `hold`, `suspend`: why.
    pub reason: Option<String>,
    /// `hold`: for how long.
    pub duration_ms: Option<u64>,
    /// `sync`: take what the guard refuses from this commit on.
    pub confirm: bool,
    /// `remove`: nothing but the name; services go on running.
    pub actor: String,
}
