//! The next step of one service: a function of what Git wants, what is recorded, what is seen and
//! what time it is.

use super::name::Oid;
use super::state::{Applied, Held, Operation, ServiceHealth, ServiceRecord, Sync, Wish};
use crate::event::{DeploymentKind, DeploymentState};

/// The first wait after a refused try, in milliseconds; each next one is twice as long.
pub const RETRY_FIRST_MS: i64 = 5_000;
/// No wait is longer, in milliseconds.
pub const RETRY_MAX_MS: i64 = 600_000;

/// A deployment, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDeployment {
    /// Its number.
    pub number: u64,
    /// What was asked for.
    pub kind: DeploymentKind,
    /// Where it stands.
    pub state: DeploymentState,
    /// The release that it brings.
    pub to: u64,
    /// Who asked.
    pub actor: String,
    /// Why it ended as it did.
    pub why: String,
    /// Whether it is being undone.
    pub is_undone: bool,
}

/// A service as the engine shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Whether it should run.
    pub is_up: bool,
    /// The release that serves.
    pub serving: Option<u64>,
    /// What of Git that release is, where it is of Git.
    pub content: Option<String>,
    /// How many instances are wanted.
    pub instances: u32,
    /// How many are ready.
    pub ready: u32,
    /// Whether a person must look.
    pub needs_operator: bool,
    /// The last deployment.
    pub last: Option<SeenDeployment>,
    /// The deployment that is recorded as running, wherever it stands now.
    pub ours: Option<SeenDeployment>,
}

/// What holds for all services of a source at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
    /// Who is the asker of our own deployments.
    pub actor: String,
    /// Why nothing may begin: suspended, or a window.
    pub stopped: Option<String>,
    /// Whether what was changed by hand is changed back.
    pub self_heal: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing is to be done.
    Rest,
    /// Wait until this time, in milliseconds since 1970.
    WaitUntil(i64),
    /// Wait for the end of this deployment.
    Watch(u64),
    /// Record that what is wanted serves already.
    Adopt(Applied, u64),
    /// Ask for a deployment with this key.
    Deploy(String),
    /// Undo our deployment: this commit is newer.
    Abort(u64, Oid),
    /// Record how our deployment ended.
    Settle(Operation, Option<Applied>, Option<Held>, u64),
    /// Leave the service as it is; deployments up to this one are accounted for.
    Hold(Held, u64),
    /// The hold is over.
    Unhold,
    /// Deployments up to this one are accounted for.
    Account(u64),
}

/// A step, and how the service stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is next.
    pub step: Step,
    /// Whether it is what Git says.
    pub sync: Sync,
    /// Why.
    pub reason: String,
}

fn say(step: Step, sync: Sync, reason: impl Into<String>) -> Decision {
    Decision { step, sync, reason: reason.into() }
}

/// The wait before the next try, in milliseconds.
#[must_use]
pub fn backoff_ms(tries: u32) -> i64 {
    RETRY_FIRST_MS.saturating_mul(1 << tries.saturating_sub(1).min(16)).min(RETRY_MAX_MS)
}

/// Decides. `blocked` says which service before this one is not well yet.
#[must_use]
pub fn decide(
    wish: Option<&Wish>,
    record: &ServiceRecord,
    seen: &Seen,
    terms: &Terms,
    blocked: Option<&str>,
) -> Decision {
    if let Some(decision) = under_way(wish, record, seen, terms) {
        return decision;
    }
    if let Some(decision) = by_others(wish, record, seen, terms) {
        return decision;
    }
    if let Some(held) = &record.held {
        return match is_over(held, wish, terms.now_ms) {
            true => say(Step::Unhold, Sync::OutOfSync, "the hold is over"),
            false => {
                let wait = held.until_ms.map_or(Step::Rest, Step::WaitUntil);
                say(wait, Sync::Held, format!("{} (by {})", held.reason, held.by))
            }
        };
    }
    let Some(wish) = wish else { return vanished(record) };
    let Some(why) = difference(wish, record, seen) else {
        return match &record.applied {
            Some(applied) if applied.content == wish.content => {
                say(Step::Rest, Sync::Synced, format!("{} serves", wish.version))
            }
            Some(_) | None => adopted(wish, seen, terms),
        };
    };
    let is_drift = record.applied.as_ref().is_some_and(|applied| applied.content == wish.content);
    if is_drift && !terms.self_heal {
        return say(Step::Rest, Sync::OutOfSync, format!("{why}; it is not healed by itself"));
    }
    if let Some(stopped) = &terms.stopped {
        return say(Step::Rest, Sync::OutOfSync, format!("{why}; {stopped}"));
    }
    if let Some(Operation::WaitingRetry { content, until_ms, why, .. }) = &record.operation
        && *content == wish.content
        && *until_ms > terms.now_ms
    {
        // A clock that was set back must not make the wait longer than it ever is.
        let until = (*until_ms).min(terms.now_ms.saturating_add(RETRY_MAX_MS));
        return say(Step::WaitUntil(until), Sync::OutOfSync, format!("waits after: {why}"));
    }
    if let Some(before) = blocked {
        return say(Step::Rest, Sync::OutOfSync, format!("waits for {before}"));
    }
    let key = format!("gitops-{}-{}", &wish.content, record.attempts + 1);
    say(Step::Deploy(key), Sync::OutOfSync, why)
}

/// What is under way for us, or was when we last looked.
fn under_way(
    wish: Option<&Wish>,
    record: &ServiceRecord,
    seen: &Seen,
    terms: &Terms,
) -> Option<Decision> {
    match record.operation.as_ref()? {
        Operation::Pending { revision, key, .. } => {
            let reason = format!("{} is about to be deployed", revision.short());
            Some(say(Step::Deploy(key.clone()), Sync::OutOfSync, reason))
        }
        Operation::Running { revision, content, deployment } => {
            let Some(ours) = &seen.ours else {
                let why = format!("deployment {deployment} is not known any more");
                let revision = revision.clone();
                let failed = Operation::Failed { revision, deployment: *deployment, why };
                let settle = Step::Settle(failed, None, None, *deployment);
                return Some(say(settle, Sync::Unknown, "the deployment is not known any more"));
            };
            if ours.state.is_terminal() {
                return Some(settled((revision, content), ours, terms));
            }
            let is_paused = ours.state == DeploymentState::Paused;
            // Whoever paused it, holds the service or suspended the source decides first.
            let is_ours = !is_paused && record.held.is_none() && terms.stopped.is_none();
            let newer = wish.filter(|wish| wish.content != *content && !ours.is_undone);
            let reason = match is_paused {
                true => format!("deployment {deployment} is paused; resume or abort it"),
                false => format!("{} is being deployed", revision.short()),
            };
            let step = match newer.filter(|_| is_ours) {
                Some(wish) => Step::Abort(*deployment, wish.revision.clone()),
                None => Step::Watch(*deployment),
            };
            Some(say(step, Sync::OutOfSync, reason))
        }
        Operation::Terminating { revision, deployment, by } => {
            let is_over = seen.ours.as_ref().is_none_or(|ours| ours.state.is_terminal());
            if !is_over {
                let reason = format!("makes room for {}", by.short());
                return Some(say(Step::Watch(*deployment), Sync::OutOfSync, reason));
            }
            let (revision, by) = (revision.clone(), by.clone());
            let superseded = Operation::Superseded { revision, by };
            let settle = Step::Settle(superseded, None, None, *deployment);
            Some(say(settle, Sync::OutOfSync, "something newer came"))
        }
        Operation::WaitingRetry { .. }
        | Operation::Succeeded { .. }
        | Operation::Failed { .. }
        | Operation::Superseded { .. } => None,
    }
}

fn settled((revision, content): (&Oid, &String), ours: &SeenDeployment, terms: &Terms) -> Decision {
    let (revision, deployment) = (revision.clone(), ours.number);
    if ours.state == DeploymentState::Completed {
        let applied = Applied {
            revision: revision.clone(),
            content: content.clone(),
            release: ours.to,
            at_ms: terms.now_ms,
        };
        let done = Operation::Succeeded { revision, deployment };
        return say(Step::Settle(done, Some(applied), None, deployment), Sync::Synced, "it serves");
    }
    let held = Held {
        revision: Some(revision.clone()),
        content: Some(content.clone()),
        reason: format!("deployment {deployment} {}: {}", ours.state.name(), ours.why),
        by: terms.actor.clone(),
        since_ms: terms.now_ms,
        until_ms: None,
    };
    let failed = Operation::Failed { revision, deployment, why: ours.why.clone() };
    let reason = held.reason.clone();
    say(Step::Settle(failed, None, Some(held), deployment), Sync::Held, reason)
}

/// What people have done since.
fn by_others(
    wish: Option<&Wish>,
    record: &ServiceRecord,
    seen: &Seen,
    terms: &Terms,
) -> Option<Decision> {
    let last = seen.last.as_ref().filter(|last| last.number > record.accounted)?;
    let who = format!("deployment {} by {}", last.number, last.actor);
    if !last.state.is_terminal() {
        return Some(say(Step::Watch(last.number), Sync::OutOfSync, format!("{who} is under way")));
    }
    let is_rollback =
        last.kind == DeploymentKind::Rollback && last.state == DeploymentState::Completed;
    if let Some(wish) = wish.filter(|wish| {
        is_rollback && last.actor != terms.actor && seen.content.as_ref() != Some(&wish.content)
    }) {
        let held = Held {
            revision: Some(wish.revision.clone()),
            content: Some(wish.content.clone()),
            reason: format!("rolled back to release {} by hand", last.to),
            by: last.actor.clone(),
            since_ms: terms.now_ms,
            until_ms: None,
        };
        let reason = held.reason.clone();
        return Some(say(Step::Hold(held, last.number), Sync::Held, reason));
    }
    Some(say(Step::Account(last.number), Sync::OutOfSync, who))
}

/// Whether a hold ends: its time is over, or Git has moved on.
fn is_over(held: &Held, wish: Option<&Wish>, now_ms: i64) -> bool {
    if held.until_ms.is_some_and(|until| until <= now_ms) {
        return true;
    }
    match (&held.content, wish) {
        (Some(content), Some(wish)) => wish.content != *content,
        (Some(_) | None, _) => false,
    }
}

fn vanished(record: &ServiceRecord) -> Decision {
    let reason = match &record.gone {
        Some(gone) if gone.stopped => {
            return say(Step::Rest, Sync::Synced, "not in Git any more; it was stopped");
        }
        Some(gone) => match &gone.refused {
            Some(refused) => format!("not in Git any more, and not stopped: {refused}"),
            None => format!("not in Git any more since {}", gone.revision.short()),
        },
        None => "not in Git".to_owned(),
    };
    say(Step::Rest, Sync::OutOfSync, reason)
}

/// In what the service is not what Git says; nothing = it is.
fn difference(wish: &Wish, record: &ServiceRecord, seen: &Seen) -> Option<String> {
    let Some(serving) = seen.serving else {
        return Some(format!("{} is to be deployed", wish.version));
    };
    let is_wanted = seen.content.as_ref() == Some(&wish.content);
    if !is_wanted {
        return Some(match &record.applied {
            Some(applied) if applied.content == wish.content => {
                format!("release {serving} serves, not {}", applied.release)
            }
            Some(_) | None => format!("{} is to be deployed", wish.version),
        });
    }
    if !seen.is_up {
        return Some("it was taken down by hand".to_owned());
    }
    if seen.instances != wish.instances {
        let (has, wanted) = (seen.instances, wish.instances);
        return Some(format!("it was scaled by hand to {has}, not {wanted}"));
    }
    None
}

fn adopted(wish: &Wish, seen: &Seen, terms: &Terms) -> Decision {
    let applied = Applied {
        revision: wish.revision.clone(),
        content: wish.content.clone(),
        release: seen.serving.unwrap_or_default(),
        at_ms: terms.now_ms,
    };
    let accounted = seen.last.as_ref().map_or(0, |last| last.number);
    say(Step::Adopt(applied, accounted), Sync::Synced, "it serves already")
}

/// How a service is.
#[must_use]
pub fn health(seen: &Seen) -> ServiceHealth {
    let is_active = seen.last.as_ref().is_some_and(|last| !last.state.is_terminal());
    if seen.needs_operator {
        return ServiceHealth::Degraded;
    }
    if is_active {
        return ServiceHealth::Progressing;
    }
    match seen.serving {
        None => ServiceHealth::Missing,
        Some(_) if !seen.is_up => ServiceHealth::Suspended,
        Some(_) if seen.ready >= seen.instances => ServiceHealth::Healthy,
        Some(_) => ServiceHealth::Degraded,
    }
}
