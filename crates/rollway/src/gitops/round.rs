//! One round over the services that may have something to do: see, let the core decide, write
//! down, ask the engine, write down.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use rollway_core::gitops::decide::{Seen, SeenDeployment, Step, Terms, backoff_ms, decide, health};
use rollway_core::gitops::state::{Operation, ServiceHealth, ServiceStatus, Sync, Wish};
use rollway_core::ids::{ReleaseNumber, ServiceName};
use rollway_core::view::{DeployArgs, DeploymentView, PlanView, VerbArgs};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::follow::{Ask, Follower};
use super::now_ms;
use crate::engine::{EVENTS_WAIT_MAX, Refusal, Verb};
use crate::failure::FailureKind;

/// A record that is settled may lead to a next step; more than so many in a row wait for a clock.
const PASSES_MAX: usize = 6;
/// So many deployments are asked for at once.
const DEPLOYS_AT_ONCE: usize = 16;
/// A service that waits for another looks at it this often.
const BLOCKED_LOOK: Duration = Duration::from_secs(1);
/// A service whose loop is busy for longer is looked at later, so that others do not wait for it.
const SEE_WAIT_MAX: Duration = Duration::from_secs(2);
/// After an answer that did not come, the same is asked again this soon.
const AGAIN: Duration = Duration::from_secs(5);

/// What would be done to a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diff {
    /// The service and how it stands.
    pub status: ServiceStatus,
    /// The plan; nothing = nothing is to be done, or it cannot be planned.
    pub plan: Option<PlanView>,
    /// Why there is no plan.
    pub refused: Option<String>,
}

impl Follower {
    /// Does what is to be done for the services that are marked.
    pub async fn round(&mut self) {
        for _ in 0..PASSES_MAX {
            if self.dirty.is_empty() {
                return;
            }
            let names = std::mem::take(&mut self.dirty);
            let mut is_changed = false;
            let (mut deploys, mut aborts) = (Vec::new(), Vec::new());
            for name in names {
                match self.decide(&name).await {
                    Some(Step::Deploy(key)) => deploys.push((name, key)),
                    Some(Step::Abort(number, by)) => aborts.push((name, number, by)),
                    Some(step) => is_changed |= self.note(&name, step),
                    None => {
                        self.timers.insert(name, Instant::now() + AGAIN);
                    }
                }
            }
            if is_changed && let Err(failure) = self.save().await {
                // What is not written down is not acted upon, and decided anew later.
                tracing::error!("{}", failure.chain());
                self.next_try(deploys.into_iter().map(|(name, _)| name));
                return;
            }
            self.abort(aborts).await;
            self.deploy(deploys).await;
        }
    }

    fn next_try(&mut self, names: impl Iterator<Item = ServiceName>) {
        let at = Instant::now() + AGAIN;
        self.timers.extend(names.map(|name| (name, at)));
    }

    async fn decide(&mut self, name: &ServiceName) -> Option<Step> {
        let seen = tokio::time::timeout(SEE_WAIT_MAX, self.see(name)).await;
        let Ok(Ok(seen)) = seen else {
            let known = self.statuses.get_mut(name)?;
            known.sync = Sync::Unknown;
            "the engine does not answer".clone_into(&mut known.reason);
            return None;
        };
        let terms = Terms {
            now_ms: now_ms(),
            actor: self.actor.clone(),
            stopped: self.stopped(),
            self_heal: self.record.config.self_heal,
        };
        let wish = self.record.wishes.get(name);
        let blocked = wish.and_then(|wish| self.blocked(wish));
        let known = self.record.services.get(name).cloned().unwrap_or_default();
        let decision = decide(wish, &known, &seen, &terms, blocked.as_deref());
        if blocked.is_some() && decision.sync == Sync::OutOfSync {
            self.timers.insert(name.clone(), Instant::now() + BLOCKED_LOOK);
        }
        let status = ServiceStatus {
            service: name.to_string(),
            sync: decision.sync,
            reason: decision.reason,
            health: health(&seen),
            operation: known.operation,
            version: wish.map(|wish| wish.version.clone()),
            applied: known.applied,
            held: known.held,
        };
        self.statuses.insert(name.clone(), status);
        Some(decision.step)
    }

    /// The first service that must be well before, and is not.
    fn blocked(&self, wish: &Wish) -> Option<String> {
        let is_well = |name: &ServiceName| {
            self.statuses.get(name).is_some_and(|status| {
                status.sync == Sync::Synced && status.health == ServiceHealth::Healthy
            })
        };
        let before = wish.after.iter().find(|name| !is_well(name))?;
        Some(before.to_string())
    }

    async fn see(&mut self, name: &ServiceName) -> Result<Seen, Refusal> {
        let view = match self.engine.view(name).await {
            Ok(view) => view,
            // The engine has never heard of it.
            Err(Refusal::Problems(_)) => return Ok(Seen::default()),
            Err(refusal) => return Err(refusal),
        };
        let last = view.deployment.as_ref().map(seen_deployment);
        let operation = self.record.services.get(name).and_then(|one| one.operation.as_ref());
        let ours = match operation {
            Some(
                Operation::Running { deployment, .. } | Operation::Terminating { deployment, .. },
            ) => Some(*deployment),
            Some(
                Operation::Pending { .. }
                | Operation::WaitingRetry { .. }
                | Operation::Succeeded { .. }
                | Operation::Failed { .. }
                | Operation::Superseded { .. },
            )
            | None => None,
        };
        let ours = match ours {
            Some(number) if last.as_ref().is_some_and(|last| last.number == number) => last.clone(),
            Some(number) => match self.engine.deployment(name, number, Duration::ZERO).await {
                Ok(view) => Some(seen_deployment(&view)),
                Err(Refusal::Problems(_)) => None,
                Err(refusal) => return Err(refusal),
            },
            None => None,
        };
        let serving = view.serving.as_ref().map(|release| release.number);
        let content = match serving {
            Some(number) => self.content(name, number).await?,
            None => None,
        };
        Ok(Seen {
            is_up: view.desired == "up",
            serving,
            content,
            instances: view.instances_wanted,
            ready: view.instances_ready,
            needs_operator: view.needs_operator,
            last,
            ours,
        })
    }

    /// What of Git a release is: its folder says so.
    async fn content(
        &mut self,
        name: &ServiceName,
        number: u64,
    ) -> Result<Option<String>, Refusal> {
        let key = (name.clone(), number);
        if let Some(known) = self.contents.get(&key) {
            return Ok(known.clone());
        }
        let release = self.engine.release(name, ReleaseNumber(number)).await?;
        let inner = Path::new(&release.folder).strip_prefix(self.trees()).ok();
        let content = inner.map(|inner| inner.display().to_string());
        self.contents.insert(key, content.clone());
        Ok(content)
    }

    /// Takes a step that is only written down; answers whether it is to be.
    fn note(&mut self, name: &ServiceName, step: Step) -> bool {
        let one = self.record.services.entry(name.clone()).or_default();
        match step {
            Step::Rest => return false,
            // Those are not only written down.
            Step::Deploy(_) | Step::Abort(..) => return false,
            Step::WaitUntil(until_ms) => {
                let wait = u64::try_from(until_ms.saturating_sub(now_ms())).unwrap_or(0);
                let at = Instant::now() + Duration::from_millis(wait);
                self.timers.insert(name.clone(), at);
                return false;
            }
            Step::Watch(number) => {
                self.watch(name, number);
                return false;
            }
            Step::Adopt(applied, accounted) => {
                let revision = applied.revision.clone();
                one.operation = Some(Operation::Succeeded { revision, deployment: 0 });
                one.applied = Some(applied);
                one.accounted = one.accounted.max(accounted);
            }
            Step::Settle(operation, applied, held, accounted) => {
                one.operation = Some(operation);
                one.applied = applied.or(one.applied.take());
                // What an operator holds stays held, whatever ends.
                one.held = one.held.take().or(held);
                one.accounted = one.accounted.max(accounted);
            }
            Step::Hold(held, accounted) => {
                one.held = Some(held);
                one.accounted = one.accounted.max(accounted);
            }
            Step::Unhold => one.held = None,
            Step::Account(accounted) => one.accounted = one.accounted.max(accounted),
        }
        self.dirty.insert(name.clone());
        let waiting = self.record.wishes.iter().filter(|(_, wish)| wish.after.contains(name));
        self.dirty.extend(waiting.map(|(name, _)| name.clone()));
        true
    }

    /// Has the loop told when a deployment is over.
    fn watch(&mut self, name: &ServiceName, number: u64) {
        if self.watched.insert(name.clone(), number) == Some(number) {
            return;
        }
        let (engine, asks, name) = (self.engine.clone(), self.asks.clone(), name.clone());
        tokio::spawn(async move {
            loop {
                match engine.deployment(&name, number, EVENTS_WAIT_MAX).await {
                    Ok(view) if !view.state.is_terminal() => {}
                    Ok(_) | Err(Refusal::Problems(_)) => break,
                    Err(Refusal::Failure(_)) => tokio::time::sleep(AGAIN).await,
                }
                if asks.is_closed() {
                    return;
                }
            }
            // A loop that has ended wants to know nothing more.
            let _ = asks.send(Ask::Ended(name)).await;
        });
    }

    async fn abort(&mut self, aborts: Vec<(ServiceName, u64, rollway_core::gitops::name::Oid)>) {
        let is_empty = aborts.is_empty();
        for (name, deployment, by) in aborts {
            let reason = Some(format!("superseded by {}", by.short()));
            let args = VerbArgs { reason, actor: self.actor.clone(), ..VerbArgs::default() };
            let done = self.engine.verb(&name, Verb::Abort, args).await;
            let one = self.record.services.entry(name.clone()).or_default();
            if let Some(Operation::Running { revision, .. }) = &one.operation
                && done.is_ok()
            {
                let revision = revision.clone();
                one.operation = Some(Operation::Terminating { revision, deployment, by });
            }
            // One that could not be undone any more has ended, or will.
            self.watch(&name, deployment);
        }
        if !is_empty && let Err(failure) = self.save().await {
            tracing::error!("{}", failure.chain());
        }
    }

    async fn deploy(&mut self, deploys: Vec<(ServiceName, String)>) {
        let mut orders = Vec::with_capacity(deploys.len());
        let stopped = self.stopped();
        for (name, key) in deploys {
            let one = self.record.services.entry(name.clone()).or_default();
            let Some(wish) = self.record.wishes.get(&name) else {
                one.operation = None;
                continue;
            };
            let is_pending = match &one.operation {
                Some(Operation::Pending { content, .. }) => {
                    if *content != wish.content || stopped.is_some() {
                        // Whether the engine has heard of it shows in what it has under way.
                        one.operation = None;
                        self.dirty.insert(name);
                        continue;
                    }
                    true
                }
                _ => false,
            };
            let tries = tries(one.operation.as_ref(), &wish.content);
            if !is_pending {
                one.attempts += 1;
                one.operation = Some(Operation::Pending {
                    revision: wish.revision.clone(),
                    content: wish.content.clone(),
                    key: key.clone(),
                });
            }
            orders.push((name, self.args(wish, key), tries));
        }
        if orders.is_empty() {
            return;
        }
        if let Err(failure) = self.save().await {
            tracing::error!("{}", failure.chain());
            self.next_try(orders.into_iter().map(|(name, ..)| name));
            return;
        }
        let engine = self.engine.clone();
        let asked = futures_util::stream::iter(orders).map(|(name, args, tries)| {
            let engine = engine.clone();
            async move { (name, engine.deploy(args).await, tries) }
        });
        let answers: Vec<_> = asked.buffer_unordered(DEPLOYS_AT_ONCE).collect().await;
        for (name, answer, tries) in answers {
            self.answered(name, answer, tries);
        }
        if let Err(failure) = self.save().await {
            // The keys make the same requests the same deployments when they are sent again.
            tracing::error!("{}", failure.chain());
        }
    }

    fn answered(&mut self, name: ServiceName, answer: Result<DeploymentView, Refusal>, tries: u32) {
        let one = self.record.services.entry(name.clone()).or_default();
        let Some(Operation::Pending { revision, content, .. }) = one.operation.clone() else {
            return;
        };
        let why = match answer {
            Ok(view) => {
                let deployment = view.number;
                one.operation = Some(Operation::Running { revision, content, deployment });
                self.dirty.insert(name);
                return;
            }
            Err(Refusal::Failure(failure)) if failure.kind == FailureKind::Unknown => {
                self.timers.insert(name, Instant::now() + AGAIN);
                return;
            }
            Err(Refusal::Failure(failure)) => failure.chain(),
            Err(Refusal::Problems(problems)) => {
                let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
                all.join("; ")
            }
        };
        tracing::warn!("source {}: {name} was refused: {why}", self.name());
        let one = self.record.services.entry(name.clone()).or_default();
        let until_ms = now_ms().saturating_add(backoff_ms(tries));
        one.operation = Some(Operation::WaitingRetry { revision, content, until_ms, tries, why });
        self.dirty.insert(name);
    }

    /// A request as anybody else would send it.
    fn args(&self, wish: &Wish, key: String) -> DeployArgs {
        let folder = self.trees().join(&wish.content);
        DeployArgs {
            spec: wish.spec.clone(),
            format: "json".to_owned(),
            file: Path::new(&wish.folder).join("rollway.yaml").display().to_string(),
            folder: folder.display().to_string(),
            actor: self.actor.clone(),
            idempotency_key: Some(key),
            ..DeployArgs::default()
        }
    }

    /// Stops what is no longer in Git, where that is wanted, allowed, and confirmed by a later
    /// look.
    pub async fn stop_gone(&mut self) {
        if !self.record.config.prune || self.stopped().is_some() {
            return;
        }
        let is_due = |one: &rollway_core::gitops::state::ServiceRecord| {
            let gone = one.gone.as_ref();
            let is_due =
                gone.is_some_and(|gone| gone.looks > 0 && gone.refused.is_none() && !gone.stopped);
            is_due && one.held.is_none()
        };
        let services = self.record.services.iter();
        let due: Vec<ServiceName> =
            services.filter(|(_, one)| is_due(one)).map(|(name, _)| name.clone()).collect();
        for name in due {
            let args = VerbArgs { actor: self.actor.clone(), ..VerbArgs::default() };
            let refused = match self.engine.verb(&name, Verb::Down, args).await {
                Ok(_) => None,
                // It is down, or was never there: that is what was wanted.
                Err(Refusal::Problems(_)) => match self.see(&name).await {
                    Ok(seen) if !seen.is_up => None,
                    Ok(_) | Err(_) => Some(()),
                },
                Err(Refusal::Failure(_)) => Some(()),
            };
            let one = self.record.services.entry(name).or_default();
            if let (Some(gone), None) = (&mut one.gone, refused) {
                gone.stopped = true;
            }
        }
    }

    /// What would be done to each service.
    pub async fn diff(&self) -> Vec<Diff> {
        let mut all = Vec::new();
        for (name, status) in &self.statuses {
            let (mut plan, mut refused) = (None, None);
            let wish = self.record.wishes.get(name).filter(|_| status.sync != Sync::Synced);
            if let Some(wish) = wish {
                let args = DeployArgs { idempotency_key: None, ..self.args(wish, String::new()) };
                match self.engine.plan(args).await {
                    Ok(view) => plan = Some(view),
                    Err(Refusal::Failure(failure)) => refused = Some(failure.chain()),
                    Err(Refusal::Problems(problems)) => {
                        refused = problems.first().map(ToString::to_string);
                    }
                }
            }
            all.push(Diff { status: status.clone(), plan, refused });
        }
        all
    }
}

/// Which try the next one is.
fn tries(operation: Option<&Operation>, wanted: &str) -> u32 {
    match operation {
        Some(Operation::WaitingRetry { content, tries, .. }) if content == wanted => {
            tries.saturating_add(1)
        }
        _ => 1,
    }
}

fn seen_deployment(view: &DeploymentView) -> SeenDeployment {
    let lines: Vec<&str> =
        view.reasons.iter().map(String::as_str).filter(|line| !line.starts_with("| ")).collect();
    SeenDeployment {
        number: view.number,
        kind: view.kind,
        state: view.state,
        to: view.to.number,
        actor: view.actor.clone(),
        why: lines.join(": "),
        is_undone: view.undoing,
    }
}
