//! What anybody outside sees: the only form in which CLI, page, API and Python know the state.

use serde::{Deserialize, Serialize};

use crate::event::{DeploymentKind, DeploymentState, FailureNote};
use crate::plan::{Plan, Waiting};
use crate::problem::Problem;

/// A release by number and label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// The number.
    pub number: u64,
    /// The user's label.
    pub version: String,
}

/// A service as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// The name.
    pub service: String,
    /// Whether it should run: `up` or `down`.
    pub desired: String,
    /// The release that last completed.
    pub serving: Option<ReleaseRef>,
    /// How many instances are wanted.
    pub instances_wanted: u32,
    /// How many are healthy and get traffic (of any release).
    pub instances_ready: u32,
    /// The split that is in effect, one row a release that has instances or weight.
    pub arms: Vec<ArmView>,
    /// The addresses that it listens on.
    pub listen: Vec<String>,
    /// The old release that is kept running for a rollback at once.
    pub standby: Option<StandbyView>,
    /// The deployment under way, or the last one.
    pub deployment: Option<DeploymentView>,
    /// Whether a person must look: an undo failed.
    pub needs_operator: bool,
    /// The sequence number of the last event.
    pub last_seq: u64,
}

/// One release in the split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmView {
    /// The release.
    pub release: ReleaseRef,
    /// Its share of the traffic in percent.
    pub weight: u32,
    /// Instances that exist.
    pub instances: u32,
    /// Instances that are healthy.
    pub ready: u32,
}

/// The old release that is kept running after a switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandbyView {
    /// The release.
    pub release: ReleaseRef,
    /// It is retired after this many milliseconds.
    pub left_ms: u64,
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// `shop-7`.
    pub id: String,
    /// The number, counted per service from 1.
    pub number: u64,
    /// The service.
    pub service: String,
    /// What was asked for.
    pub kind: DeploymentKind,
    /// `rolling`, `blue_green`, `canary` or `recreate`.
    pub strategy: String,
    /// The release that served before.
    pub from: Option<ReleaseRef>,
    /// The release that is to serve.
    pub to: ReleaseRef,
    /// Where it stands.
    pub state: DeploymentState,
    /// Whether it is being undone.
    pub undoing: bool,
    /// The stages, done and to come (those of the undo, once it is being undone).
    pub stages: Vec<StageView>,
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// Instances started so far.
    pub instances_started: u32,
    /// Instances that failed so far.
    pub instances_failed: u32,
    /// Why it ended as it did: the outcome first, then the causes.
    pub reasons: Vec<String>,
    /// The failures with their evidence, the first ten.
    pub failures: Vec<FailureNote>,
    /// Who asked for it.
    pub actor: String,
    /// When, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// How long it has taken (the holds of a stopped control plane included).
    pub elapsed_ms: u64,
    /// Milliseconds to go as far as holds tell; absent where a person or a metric decides.
    pub eta_ms: Option<u64>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageView {
    /// Its name: `canary 10 %`.
    pub name: String,
    /// `pending`, `active` or `done`.
    pub state: String,
    /// The goal in words: `r1 x3 90 %, r2 x1 10 %; then hold 30s`.
    pub goal: String,
    /// How long it took, or has taken so far.
    pub elapsed_ms: Option<u64>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceView {
    /// `r3-0`.
    pub instance: String,
    /// The release.
    pub release: ReleaseRef,
    /// Where it answers.
    pub address: Option<String>,
    /// `starting`, `running`, `restarting`, `ended`, `stopping`.
    pub life: String,
    /// `starting`, `healthy`, `unhealthy`.
    pub health: String,
    /// The last probe's reason where it is not healthy.
    pub reason: Option<String>,
    /// Whether new requests go to it.
    pub routed: bool,
    /// The process: `pid:start time`.
    pub incarnation: String,
    /// How often it was restarted in place.
    pub restarts: u32,
    /// How long ago it started.
    pub age_ms: u64,
    /// Its log file.
    pub log: Option<String>,
}

/// What a deployment would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    /// The stages; empty = nothing to do.
    pub plan: Plan,
    /// The release that it would make (it may exist already).
    pub to: ReleaseRef,
    /// The release that serves.
    pub from: Option<ReleaseRef>,
    /// What differs from the serving release.
    pub changes: Vec<crate::release::Change>,
    /// The goal of each stage in words.
    pub stages: Vec<StageView>,
    /// What the linter remarked.
    pub warnings: Vec<Problem>,
    /// How long the judgements will take, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forecast: Vec<String>,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Counts per service from 1 without gaps.
    pub seq: u64,
    /// The deployment it belongs to.
    pub deployment: Option<u64>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The kind: `instance_started`.
    pub kind: String,
    /// In words.
    pub text: String,
    /// The event as stored.
    pub body: serde_json::Value,
    /// The hash that chains it to its predecessor.
    pub hash: String,
}

/// The body of `POST /v1/deployments` and `POST /v1/plan`, the flags of `rollway deploy`, the
/// arguments in Python.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployArgs {
    /// The text of the spec.
    pub spec: String,
    /// Its form: `yaml`, `toml` or `json`.
    pub format: String,
    /// The file it is from, for messages.
    pub file: String,
    /// The folder that its relative paths start from.
    pub folder: String,
    /// Goes before `version` in the spec.
    pub version: Option<String>,
    /// Goes before `strategy` in the spec; a name, with that strategy's defaults.
    pub strategy: Option<String>,
    /// Values for `{{env.NAME}}`, those that the spec names.
    pub env: std::collections::BTreeMap<String, String>,
    /// Who asks.
    pub actor: String,
    /// The same key again is the same deployment, not another one.
    pub idempotency_key: Option<String>,
}

/// The body of `POST /v1/services/{service}/{verb}`; each verb reads what it knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerbArgs {
    /// `promote`: skip all the gates that are left.
    pub full: bool,
    /// `rollback`: the release to go back to, a number (`3`, `r3`) or a version.
    pub to: Option<String>,
    /// `scale`: how many instances.
    pub instances: Option<u32>,
    /// `abort`: why, for the history.
    pub reason: Option<String>,
    /// Answer only when the split that follows is in effect.
    pub wait: bool,
    /// Who asks.
    pub actor: String,
}

/// The answer to a verb.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VerbAnswer {
    /// What was done, in words.
    pub message: String,
    /// The deployment that was begun or is meant.
    pub deployment: Option<u64>,
    /// Targets that could not be told; the verb does not hold there yet.
    #[serde(default)]
    pub unfenced: Vec<String>,
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// What is wrong with the request; exit code 2.
    pub problems: Vec<Problem>,
    /// What the world did to us; exit code 1.
    pub failure: Option<String>,
    /// The file that the places in `problems` are in.
    pub file: Option<String>,
}
