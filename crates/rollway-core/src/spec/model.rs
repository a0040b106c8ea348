//! The spec: what `rollway.yaml` says, with every default filled in.
//!
//! These types are what the rest of Rollway works with. They are made by `spec::read`, which
//! checks the text against the shape in `spec::shape` and reports every problem with its place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::quantities::{Room, StatusRange};
use crate::ids::{ServiceName, Version};
use crate::units::{Amount, Bytes, Millis};

/// One service: what to run, how to know that it is well, how to change it, where its traffic is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The name of the service.
    pub service: ServiceName,
    /// The label of the build; `--version` on the command line goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// How many instances serve.
    #[serde(default = "defaults::one")]
    pub instances: u32,
    /// How an instance is run.
    pub run: Run,
    /// The probes that an instance must pass to serve.
    #[serde(default)]
    pub health: Vec<Probe>,
    /// The pace of a change.
    #[serde(default)]
    pub update: Update,
    /// How a change goes.
    #[serde(default)]
    pub strategy: Strategy,
    /// Where requests come in, and how they are spread; absent = the service has no traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Commands at the turning points of a deployment.
    #[serde(default)]
    pub hooks: Hooks,
    /// When to go back without being asked.
    #[serde(default)]
    pub rollback: Rollback,
}

/// How an instance is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Which driver starts instances: `process`, or `null` (nothing is run; only recorded).
    #[serde(default = "defaults::driver")]
    pub driver: String,
    /// Program and arguments; never given to a shell.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment variables, beside the few that Rollway sets (`PORT`, `ROLLWAY_*`).
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A file of `NAME=value` lines, read when a release is made and kept out of the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_file: Option<String>,
    /// The working folder of an instance; relative to the spec's folder, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_folder: Option<String>,
    /// The file that this version is, kept by digest so that a rollback runs exactly it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// The user that an instance runs as; default: the one that Rollway runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What an instance may use.
    #[serde(default)]
    pub limits: Limits,
    /// The signal that asks an instance to end.
    #[serde(default = "defaults::stop_signal")]
    pub stop_signal: String,
    /// How long it may take after that before it is killed with all its children.
    #[serde(default = "defaults::stop_timeout")]
    pub stop_timeout: Millis,
    /// What happens when an instance ends by itself.
    #[serde(default)]
    pub restart: Restart,
    /// How much of its output is kept.
    #[serde(default)]
    pub log: Log,
}

/// A file with its digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Where it is; relative to the spec's folder. `{{artifact}}` in `command` is the kept copy.
    pub path: String,
    /// `sha256:` and 64 hex digits; checked when a release is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What an instance may use; absent = no limit of ours.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of the whole tree (cgroup) or address space (rlimit) where there is no cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processors, such as 0.5; needs a cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Open files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Size of a core file; default none.
    #[serde(default)]
    pub core: Bytes,
}

/// What happens when an instance ends by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// Which ends are followed by a new start.
    pub policy: RestartPolicy,
    /// The wait before the first restart; doubles each time.
    pub backoff: Millis,
    /// The longest wait.
    pub backoff_max: Millis,
}

impl Default for Restart {
    fn default() -> Self {
        let (backoff, backoff_max) = (Millis(100), Millis::seconds(30));
        Self { policy: RestartPolicy::Always, backoff, backoff_max }
    }
}

/// Which ends are followed by a new start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Every end that was not asked for.
    #[default]
    Always,
    /// An exit code other than 0, or a signal.
    OnFailure,
    /// None.
    Never,
}

/// How much output is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A log file is rotated at this size.
    pub max_size: Bytes,
    /// That many rotated files are kept.
    pub keep: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { max_size: Bytes(10 << 20), keep: 3 }
    }
}

/// One health check and when it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// A name for messages; default: the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is checked.
    #[serde(flatten)]
    pub check: Check,
    /// Time between two probes. Until the first healthy verdict probes come faster.
    #[serde(default = "defaults::probe_interval")]
    pub interval: Millis,
    /// A probe that takes longer has failed.
    #[serde(default = "defaults::probe_timeout")]
    pub timeout: Millis,
    /// That many successes in a row make an instance healthy.
    #[serde(default = "defaults::two")]
    pub success_threshold: u32,
    /// That many failures in a row (one an `interval`) make it unhealthy.
    #[serde(default = "defaults::three")]
    pub failure_threshold: u32,
    /// Failures this soon after the start do not count.
    #[serde(default)]
    pub start_period: Millis,
}

impl Probe {
    /// The name that messages use.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.check.kind())
    }
}

/// What a probe checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// An HTTP request to the instance.
    Http(HttpCheck),
    /// A TCP connection to the instance.
    Tcp(TcpCheck),
    /// The gRPC health protocol.
    Grpc(GrpcCheck),
    /// A command that ends well.
    Command(CommandCheck),
    /// Free space on a file system.
    Disk(DiskCheck),
    /// Free memory of the machine.
    Memory(MemoryCheck),
}

impl Check {
    /// The key that the kind has in a spec.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Grpc(_) => "grpc",
            Self::Command(_) => "command",
            Self::Disk(_) => "disk",
            Self::Memory(_) => "memory",
        }
    }
}

/// An HTTP request to the instance; redirects are not followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpCheck {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// Expected statuses: `200`, `2xx` or `200-399`.
    pub expect: Vec<StatusRange>,
    /// A regular expression that the first 64 KiB of the body must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Another port of the instance; default: its `{{port}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            path: "/".into(),
            headers: BTreeMap::new(),
            expect: vec![StatusRange { first: 200, last: 299 }],
            body: None,
            port: None,
        }
    }
}

/// A TCP connection to the instance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcpCheck {
    /// Another port of the instance; default: its `{{port}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// `grpc.health.v1.Health/Check`; the answer must be `SERVING`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcCheck {
    /// The service name to ask for; empty = the server as a whole.
    pub service: String,
    /// Another port of the instance; default: its `{{port}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// A command on this machine, with the instance's environment and working folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandCheck {
    /// Program and arguments; never given to a shell.
    pub argv: Vec<String>,
    /// The exit code that is a success.
    #[serde(default)]
    pub exit_code: i32,
    /// A regular expression that the first 64 KiB of the output must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// Free space on a file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskCheck {
    /// Any path on it.
    pub path: String,
    /// At least that much must be free: `10%` or `2GiB`.
    pub free: Room,
}

/// Free memory of the machine (`MemAvailable`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryCheck {
    /// At least that much must be available: `10%` or `512MiB`.
    pub available: Room,
}

/// The pace of a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// So many instances more than `instances` may run; a percentage rounds up.
    pub max_surge: Amount,
    /// So many instances fewer than `instances` may serve; a percentage rounds down.
    pub max_unavailable: Amount,
    /// At most so many instances are being changed at once; 0 = as many as the two above allow.
    pub max_parallel: u32,
    /// An instance must have been healthy this long before it counts.
    pub min_healthy_time: Millis,
    /// An instance must be healthy this soon after its start.
    pub healthy_deadline: Millis,
    /// A deployment must make progress at least this often; holds and approvals do not count.
    pub progress_deadline: Millis,
    /// So large a share of the started instances may fail before the deployment does: 0 to 1.
    pub max_failure_ratio: f64,
    /// Whether a new instance starts before its predecessor stops, or after.
    pub order: Order,
    /// So many releases without instances are kept for `rollback --to`.
    pub revision_history_limit: u32,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            max_surge: Amount::Percent(25),
            max_unavailable: Amount::Count(0),
            max_parallel: 0,
            min_healthy_time: Millis::ZERO,
            healthy_deadline: Millis::seconds(60),
            progress_deadline: Millis::seconds(600),
            max_failure_ratio: 0.0,
            order: Order::StartFirst,
            revision_history_limit: 10,
        }
    }
}

/// Whether a new instance starts before its predecessor stops, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The new one first: needs room for one more.
    #[default]
    StartFirst,
    /// The old one first: `max_unavailable` must allow it.
    StopFirst,
}

/// How a change goes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Instance by instance, within the pace.
    #[default]
    Rolling,
    /// All new instances beside the old ones, then one switch.
    BlueGreen(BlueGreen),
    /// A growing share of the traffic.
    Canary(Canary),
    /// All old ones stop, then the new ones start; requests are held meanwhile.
    Recreate,
}

impl Strategy {
    /// The name that the strategy has in a spec.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen(_) => "blue_green",
            Self::Canary(_) => "canary",
            Self::Recreate => "recreate",
        }
    }
}

/// All new instances beside the old ones, then one switch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlueGreen {
    /// An address where the new release answers before the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// Whether the switch comes by itself, or waits for `rollway promote`.
    pub auto_promote: bool,
    /// The old release is kept running this long after the switch, for a rollback at once.
    pub scale_down_delay: Millis,
}

impl Default for BlueGreen {
    fn default() -> Self {
        Self { preview: None, auto_promote: true, scale_down_delay: Millis::seconds(30) }
    }
}

/// A growing share of the traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Canary {
    /// The steps; full weight comes by itself after the last.
    pub steps: Vec<CanaryStep>,
    /// The judgement over all steps.
    pub analysis: Analysis,
    /// So long after the last step the old release keeps a small share of the traffic.
    pub bake: Millis,
}

impl Default for Canary {
    fn default() -> Self {
        let hold = CanaryStep::Hold(Millis::seconds(30));
        let steps = [10, 25, 50].into_iter();
        let steps = steps.flat_map(|w| [CanaryStep::Weight(w), hold.clone()]).collect();
        Self { steps, analysis: Analysis::default(), bake: Millis::ZERO }
    }
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryStep {
    /// That many of a hundred requests go to the new release.
    Weight(u32),
    /// Wait that long.
    Hold(Millis),
    /// Wait for `rollway promote`; the text says what to look at.
    Approve(String),
    /// Wait for the judgement.
    Analyse(Box<Analysis>),
}

/// Where requests come in, and how they are spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Addresses to listen on: `127.0.0.1:8080`, `[::1]:8080`, `8080` (all addresses).
    pub listen: Vec<String>,
    /// Serve TLS with these files; they are read again when they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which requests on a shared address are this service's; none = all.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Requests in flight on an instance that leaves get this long.
    #[serde(default = "defaults::drain")]
    pub drain: Millis,
    /// Upgraded connections (WebSocket) and streams get this long instead.
    #[serde(default = "defaults::drain")]
    pub stream_drain: Millis,
    /// Whether a client stays with the release that it met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Requests that always go to the new release while one is being deployed.
    #[serde(default)]
    pub testers: Vec<Tester>,
    /// So many other instances are tried when a connection cannot be made.
    #[serde(default = "defaults::two")]
    pub retries: u32,
    /// How long the steps of a request may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// The largest request body; default no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_max: Option<Bytes>,
    /// New requests are held this long while a service is paused or being recreated.
    #[serde(default = "defaults::pause_max")]
    pub pause_max: Millis,
}

/// A certificate chain and its key, PEM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Which requests are meant: all given parts must match.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The host, exactly or as `*.example.org`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path prefix of whole segments: `/api` is `/api` and `/api/x`, not `/apix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// By what a client stays with the release that it met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// A signed cookie of this name.
    Cookie(String),
    /// A hash of this header's value.
    Header(String),
}

/// Requests with this header go to the new release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tester {
    /// The header's name.
    pub header: String,
    /// Its exact value.
    pub value: String,
}

/// How long the steps of a request may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until a connection to an instance is made.
    pub connect: Millis,
    /// From the request to the head of the answer; 0 = no limit.
    pub response: Millis,
    /// A client connection without a request is closed after this.
    pub idle: Millis,
}

impl Default for Timeouts {
    fn default() -> Self {
        let (connect, response) = (Millis::seconds(1), Millis::ZERO);
        Self { connect, response, idle: Millis::seconds(75) }
    }
}

/// Commands at the turning points of a deployment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Before the first instance of the new release starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_deploy: Option<Hook>,
    /// After the deployment has completed; its failure is reported, nothing is undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_deploy: Option<Hook>,
    /// Before the new release gets all the traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_switch: Option<Hook>,
    /// After that; its failure rolls back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_switch: Option<Hook>,
    /// After a rollback; its failure is reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_rollback: Option<Hook>,
}

/// One command with its time limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Program and arguments; never given to a shell.
    pub command: Vec<String>,
    /// It is killed, and has failed, after this.
    #[serde(default = "defaults::hook_timeout")]
    pub timeout: Millis,
}

/// When to go back without being asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    /// Whether a failed deployment is undone by itself; otherwise it pauses for the operator.
    pub automatic: bool,
}

impl Default for Rollback {
    fn default() -> Self {
        Self { automatic: true }
    }
}

mod defaults {
    use crate::units::Millis;

    pub fn one() -> u32 {
        1
    }
    pub fn two() -> u32 {
        2
    }
    pub fn three() -> u32 {
        3
    }
    pub fn driver() -> String {
        "process".into()
    }
    pub fn stop_signal() -> String {
        "SIGTERM".into()
    }
    pub fn stop_timeout() -> Millis {
        Millis::seconds(10)
    }
    pub fn probe_interval() -> Millis {
        Millis::seconds(1)
    }
    pub fn probe_timeout() -> Millis {
        Millis::seconds(1)
    }
    pub fn drain() -> Millis {
        Millis::seconds(30)
    }
    pub fn pause_max() -> Millis {
        Millis::seconds(30)
    }
    pub fn hook_timeout() -> Millis {
        Millis::seconds(60)
    }
}
