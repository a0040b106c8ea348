//! Events: what the log remembers. `Progress` is a fold over them.

use serde::{Deserialize, Serialize};

use crate::analysis::Sample;
use crate::ids::{Generation, InstanceId, ReleaseNumber};
use crate::plan::{Action, HookPoint, Plan, Split};
use crate::units::Millis;
use crate::verdict::decision::Verdict;

/// The version of the event format; it is stored with every deployment.
pub const FORMAT: u32 = 2;

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Accepted, nothing done yet.
    Pending,
    /// On its way.
    InProgress,
    /// Stopped by the operator; what runs goes on running.
    Paused,
    /// The new release serves.
    Completed,
    /// It failed, and what was could not be brought back, or was not to be.
    Failed,
    /// It failed or was aborted, and the old release serves.
    RolledBack,
}

impl DeploymentState {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::RolledBack)
    }

    /// The name that users see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// A new release.
    Deploy,
    /// An earlier release again.
    Rollback,
    /// The same release with fresh instances.
    Restart,
    /// Another number of instances.
    Scale,
    /// Bring back what was desired.
    Up,
    /// Stop everything.
    Down,
}

/// One thing that has been decided or has happened. The clock is the service's own: milliseconds
/// that never go back, whatever the wall clock does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, on the service's clock.
    pub clock: Millis,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What has been decided or has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A deployment was accepted, with its plan.
    DeploymentBegan {
        /// Its number.
        deployment: u64,
        /// The format of its events.
        format: u32,
        /// What was asked for.
        request: DeploymentKind,
        /// Who asked.
        actor: String,
        /// The plan; never edited.
        plan: Plan,
        /// The fence that its actions carry.
        generation: Generation,
    },
    /// These actions are about to be done.
    Intended {
        /// The actions.
        actions: Vec<Action>,
    },
    /// An instance runs.
    InstanceStarted {
        /// Which.
        instance: InstanceId,
        /// Its process.
        incarnation: String,
        /// Where it answers.
        address: Option<String>,
    },
    /// Many instances run (targets that are not managed, in batches).
    InstancesStarted {
        /// Which.
        instances: Vec<InstanceId>,
    },
    /// An instance has passed its probes.
    InstanceHealthy {
        /// Which.
        instance: InstanceId,
    },
    /// An instance of the new release has failed; counts towards `max_failure_ratio`.
    InstanceFailed(FailureNote),
    /// An instance was drained, stopped and removed.
    InstanceRetired {
        /// Which.
        instance: InstanceId,
        /// Requests that had to be cut at the end of the drain.
        cut: u64,
    },
    /// Many instances were removed.
    InstancesRetired {
        /// Which.
        instances: Vec<InstanceId>,
    },
    /// The proxy uses this split.
    Routed {
        /// The split in effect.
        split: Split,
        /// How many members have traffic.
        members: u32,
        /// The proxy's revision.
        revision: u64,
    },
    /// An action did not do what it should; it will be tried again after an observation.
    ActionFailed {
        /// The action.
        action: Action,
        /// Why, with causes.
        why: String,
    },
    /// The goal of the stage is reached; its gates begin.
    StageReached {
        /// Which.
        stage: usize,
    },
    /// The gates of the stage hold.
    StageDone {
        /// Which.
        stage: usize,
    },
    /// A gate was opened by a person.
    Approved {
        /// Which stage.
        stage: usize,
        /// Who.
        actor: String,
        /// Whether all the gates to come are open too.
        full: bool,
    },
    /// The deployment stops where it is: an operator said so, or it failed and may not be undone
    /// without being asked.
    Paused {
        /// Who.
        actor: String,
        /// Why, if it was a failure.
        reasons: Vec<String>,
    },
    /// The operator let it go on.
    Resumed {
        /// Who.
        actor: String,
    },
    /// A hook ended.
    HookEnded {
        /// Where.
        hook: HookPoint,
        /// Whether it did well.
        ok: bool,
        /// Its exit and the last lines of its output.
        detail: String,
    },
    /// The deployment cannot go on; it is undone if there is something to go back to.
    UndoBegan {
        /// Why: the outcome first, then the causes.
        reasons: Vec<String>,
        /// Whether a person asked.
        by_operator: bool,
        /// The plan of the undo.
        plan: Plan,
        /// The fence from now on.
        generation: Generation,
    },
    /// The deployment is over.
    DeploymentEnded {
        /// How.
        state: DeploymentState,
        /// Why: the outcome first, then the causes.
        reasons: Vec<String>,
        /// The release that serves now.
        serving: Option<ReleaseNumber>,
        /// The release that is kept running, until this time on the service's clock.
        standby: Option<(ReleaseNumber, Millis)>,
        /// Whether a person must look.
        needs_operator: bool,
    },
    /// The release that was kept running is retired.
    StandbyEnded {
        /// Which.
        release: ReleaseNumber,
    },
    /// A judgement begins, with what the counters say before it.
    AnalysisBegan {
        /// Its place among the plan's watches.
        watch: usize,
        /// The counters of both releases.
        sample: Sample,
    },
    /// What a check found; it is taken in exactly once, since it is an event.
    AnalysisSample {
        /// The judgement.
        watch: usize,
        /// Rises from check to check.
        id: u64,
        /// What was found.
        sample: Sample,
    },
    /// A judgement has come to a decision, by the samples so far.
    AnalysisVerdict {
        /// The judgement.
        watch: usize,
        /// The decision, with its reasons and all numbers.
        verdict: Box<Verdict>,
    },
    /// Another control plane acts from now on.
    TookOver {
        /// Its epoch.
        epoch: u64,
        /// The fence from now on.
        generation: Generation,
    },
}

impl What {
    /// The kind as it is stored: `instance_started`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DeploymentBegan { .. } => "deployment_began",
            Self::Intended { .. } => "intended",
            Self::InstanceStarted { .. } => "instance_started",
            Self::InstancesStarted { .. } => "instances_started",
            Self::InstanceHealthy { .. } => "instance_healthy",
            Self::InstanceFailed(_) => "instance_failed",
            Self::InstanceRetired { .. } => "instance_retired",
            Self::InstancesRetired { .. } => "instances_retired",
            Self::Routed { .. } => "routed",
            Self::ActionFailed { .. } => "action_failed",
            Self::StageReached { .. } => "stage_reached",
            Self::StageDone { .. } => "stage_done",
            Self::Approved { .. } => "approved",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::HookEnded { .. } => "hook_ended",
            Self::UndoBegan { .. } => "undo_began",
            Self::DeploymentEnded { .. } => "deployment_ended",
            Self::StandbyEnded { .. } => "standby_ended",
            Self::AnalysisBegan { .. } => "analysis_began",
            Self::AnalysisSample { .. } => "analysis_sample",
            Self::AnalysisVerdict { .. } => "analysis_verdict",
            Self::TookOver { .. } => "took_over",
        }
    }
}

/// An instance that failed, with the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    /// Which.
    pub instance: InstanceId,
    /// How often it had ended by itself, this time included, so that one end counts once;
    /// 0 = it runs, but is not healthy.
    pub ends: u32,
    /// What happened: `exited with code 1 after 12ms`.
    pub why: String,
    /// The last probe's answer and the last lines of output.
    pub evidence: Vec<String>,
}

impl What {
    /// The event in words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::DeploymentBegan { request, plan, actor, .. } => {
                let request = format!("{request:?}").to_lowercase();
                let to = plan.to.map_or_else(|| "nothing".to_owned(), |to| to.to_string());
                let stages: Vec<_> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
                let by = if actor.is_empty() { String::new() } else { format!(" by {actor}") };
                format!("{request} to {to}{by}, {}: {}", plan.strategy, stages.join(", "))
            }
            Self::Intended { actions } => {
                let words: Vec<_> = actions.iter().map(Action::words).collect();
                words.join("; ")
            }
            Self::InstanceStarted { instance, incarnation, address } => match address {
                Some(address) => format!("{instance} runs at {address} (process {incarnation})"),
                None => format!("{instance} runs (process {incarnation})"),
            },
            Self::InstancesStarted { instances } => format!("{} run", few(instances)),
            Self::InstanceHealthy { instance } => format!("{instance} is healthy"),
            Self::InstanceFailed(note) => format!("{} {}", note.instance, note.why),
            Self::InstanceRetired { instance, cut: 0 } => format!("{instance} is retired"),
            Self::InstanceRetired { instance, cut } => {
                format!("{instance} is retired; {cut} requests were cut at the end of the drain")
            }
            Self::InstancesRetired { instances } => format!("{} are retired", few(instances)),
            Self::Routed { split, members, .. } => {
                format!("traffic: {} over {members} instances", split.words())
            }
            Self::ActionFailed { action, why } => format!("could not {}: {why}", action.words()),
            Self::StageReached { stage } => format!("stage {} has reached its goal", stage + 1),
            Self::StageDone { stage } => format!("stage {} is done", stage + 1),
            Self::Approved { actor, full: false, .. } => format!("promoted by {}", who(actor)),
            Self::Approved { actor, full: true, .. } => {
                format!("promoted in full by {}", who(actor))
            }
            Self::Paused { actor, reasons } if reasons.is_empty() => {
                format!("paused by {}", who(actor))
            }
            Self::Paused { reasons, .. } => format!("paused: {}", chain(reasons)),
            Self::Resumed { actor } => format!("resumed by {}", who(actor)),
            Self::HookEnded { hook, ok: true, .. } => format!("hook {} succeeded", hook.name()),
            Self::HookEnded { hook, ok: false, detail } => {
                format!("hook {} failed: {detail}", hook.name())
            }
            Self::UndoBegan { reasons, .. } => format!("undoing: {}", chain(reasons)),
            Self::DeploymentEnded { state, reasons, .. } if reasons.is_empty() => {
                state.name().to_owned()
            }
            Self::DeploymentEnded { state, reasons, .. } => {
                format!("{}: {}", state.name(), chain(reasons))
            }
            Self::StandbyEnded { release } => format!("{release} is no longer kept running"),
            Self::AnalysisBegan { sample, .. } => format!("the judge begins: {}", sample.words()),
            Self::AnalysisSample { id, sample, .. } => format!("check {id}: {}", sample.words()),
            Self::AnalysisVerdict { verdict, .. } => {
                format!("the judge: {}", verdict.decided())
            }
            Self::TookOver { epoch, .. } => format!("control plane {epoch} took over"),
        }
    }
}

/// The reasons without the lines of evidence, which begin with a bar.
fn chain(reasons: &[String]) -> String {
    let reasons: Vec<_> =
        reasons.iter().filter(|line| !line.starts_with("| ")).map(String::as_str).collect();
    reasons.join(": ")
}

fn who(actor: &str) -> &str {
    if actor.is_empty() { "somebody" } else { actor }
}

/// The first few names, and how many more.
fn few(instances: &[InstanceId]) -> String {
    let names: Vec<_> = instances.iter().take(4).map(ToString::to_string).collect();
    match instances.len().saturating_sub(4) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

impl Action {
    /// The action in words: `start r2-0`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Start(ids) => format!("start {}", few(ids)),
            Self::Retire(ids) => format!("retire {}", few(ids)),
            Self::Route(route) if route.members.is_empty() => "route to nobody".to_owned(),
            Self::Route(route) => format!("route to {}", few(&route.members)),
            Self::Hook(hook) => format!("run the hook {}", hook.name()),
        }
    }
}

impl Split {
    /// The split in words: `r1 90 %, r2 10 %`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Capacity => "by capacity".to_owned(),
            Self::Nothing => "none".to_owned(),
            Self::Weights(weights) => {
                let arms: Vec<_> = weights.iter().map(|(r, w)| format!("{r} {w} %")).collect();
                arms.join(", ")
            }
        }
    }
}
