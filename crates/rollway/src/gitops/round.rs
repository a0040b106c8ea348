//! One round over the services that may have something to do: see, let the core decide, write
//! down, ask the engine, write down.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use rollway_core::gitops::config::WriteBack;
use rollway_core::gitops::decide::{Seen, Step, Terms, backoff_ms, decide, health};
use rollway_core::gitops::state::{Operation, ServiceHealth, ServiceStatus, Sync, Wish};
use rollway_core::gitops::write_back::Told;
use rollway_core::ids::ServiceName;
use rollway_core::view::{DeployArgs, DeploymentView, PlanView, VerbArgs};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::follow::{Ask, Follower};
use super::{now_ms, see};
use crate::engine::{EVENTS_WAIT_MAX, Refusal, Verb};
use crate::failure::FailureKind;

/// A record that is settled may lead to a next step; more than so many in a row wait for a clock.
const PASSES_MAX: usize = 6;
/// So much is asked of the engine at once.
const ASKED_AT_ONCE: usize = 16;
/// A service that waits for another looks at it this often.
const BLOCKED_LOOK: Duration = Duration::from_secs(1);
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

/// A deployment that is to be asked for.
struct Order {
    name: ServiceName,
    args: DeployArgs,
    /// Which try it is.
    tries: u32,
}

impl Follower {
    /// Does what is to be done for the services that are marked. One whose deployment is being
    /// asked for is marked again by the answer.
    pub async fn round(&mut self) {
        for _ in 0..PASSES_MAX {
            let marked = std::mem::take(&mut self.dirty);
            let names = marked.into_iter().filter(|name| !self.asking.contains(name));
            let names: Vec<_> = names.map(|name| (self.under_way(&name), name)).collect();
            if names.is_empty() {
                break;
            }
            let names = names.into_iter().map(|(ours, name)| (name, ours)).collect();
            let (mut deploys, mut aborts) = (Vec::new(), Vec::new());
            for (name, seen) in self.eyes.see_all(names).await {
                match self.decide(&name, seen) {
                    Some(Step::Deploy(key)) => deploys.push((name, key)),
                    Some(Step::Abort(number, by)) => aborts.push((name, number, by)),
                    Some(step) => self.is_unsaved |= self.note(&name, step),
                    None => {
                        self.timers.insert(name, Instant::now() + AGAIN);
                    }
                }
            }
            let orders = self.prepare(deploys);
            let is_urgent = !orders.is_empty() || self.asking.is_empty();
            if self.is_unsaved && is_urgent && !self.save_all().await {
                // What is not written down is not acted upon, and decided anew later.
                let at = Instant::now() + AGAIN;
                self.timers.extend(orders.into_iter().map(|order| (order.name, at)));
                return;
            }
            self.ask_for(orders);
            self.abort(aborts).await;
        }
        // The answers alone need not be written at once: the keys make the same requests the same
        // deployments when they are sent again.
        if self.is_unsaved && self.asking.is_empty() {
            self.save_all().await;
        }
    }

    /// Writes the record; answers whether it is durable.
    async fn save_all(&mut self) -> bool {
        match self.save().await {
            Ok(()) => self.is_unsaved = false,
            Err(failure) => tracing::error!("{}", failure.chain()),
        }
        !self.is_unsaved
    }

    fn under_way(&self, name: &ServiceName) -> Option<u64> {
        see::under_way(self.record.services.get(name)?.operation.as_ref())
    }

    fn decide(&mut self, name: &ServiceName, seen: Option<Seen>) -> Option<Step> {
        let Some(seen) = seen else {
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
            told: known.told,
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
                let writes = self.record.config.write_back != WriteBack::None;
                if let Some(held) = held.as_ref().filter(|_| writes) {
                    one.told = Told::new(held, one.applied.as_ref());
                }
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

    /// Undoes what is under way for something older.
    async fn abort(&mut self, aborts: Vec<(ServiceName, u64, rollway_core::gitops::name::Oid)>) {
        if aborts.is_empty() {
            return;
        }
        let (engine, actor) = (self.engine.clone(), self.actor.clone());
        let asked = futures_util::stream::iter(aborts).map(async |(name, deployment, by)| {
            let reason = Some(format!("superseded by {}", by.short()));
            let args = VerbArgs { reason, actor: actor.clone(), ..VerbArgs::default() };
            let done = engine.verb(&name, Verb::Abort, args).await;
            (name, deployment, by, done)
        });
        let answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
        for (name, deployment, by, done) in answers {
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
        self.save_all().await;
    }

    /// Makes what is to be deployed ready to be asked for, and records that it will be; drops what
    /// may not begin any more.
    fn prepare(&mut self, deploys: Vec<(ServiceName, String)>) -> Vec<Order> {
        let mut orders = Vec::with_capacity(deploys.len());
        let stopped = self.stopped();
        for (name, key) in deploys {
            let one = self.record.services.entry(name.clone()).or_default();
            let Some(wish) = self.record.wishes.get(&name) else {
                (one.operation, self.is_unsaved) = (None, true);
                continue;
            };
            let is_pending = match &one.operation {
                Some(Operation::Pending { content, .. }) => {
                    if *content != wish.content || stopped.is_some() {
                        // Whether the engine has heard of it shows in what it has under way.
                        (one.operation, self.is_unsaved) = (None, true);
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
                self.is_unsaved = true;
            }
            let args = self.args(wish, key);
            orders.push(Order { name, args, tries });
        }
        orders
    }

    /// Asks for deployments, some at a time, while the loop goes on; the answers come as asks.
    fn ask_for(&mut self, orders: Vec<Order>) {
        if orders.is_empty() {
            return;
        }
        self.asking.extend(orders.iter().map(|order| order.name.clone()));
        let (engine, asks) = (self.engine.clone(), self.asks.clone());
        tokio::spawn(async move {
            let asked = futures_util::stream::iter(orders).map(async |order| {
                let answer = engine.deploy(order.args).await;
                // A loop that has ended wants to know nothing more.
                let _ = asks.send(Ask::Asked(order.name, Box::new(answer), order.tries)).await;
            });
            asked.buffer_unordered(ASKED_AT_ONCE).collect::<()>().await;
        });
    }

    /// Records what became of a request.
    pub fn answered(
        &mut self,
        name: ServiceName,
        answer: Result<DeploymentView, Refusal>,
        tries: u32,
    ) {
        self.asking.remove(&name);
        self.dirty.insert(name.clone());
        let one = self.record.services.entry(name.clone()).or_default();
        let Some(Operation::Pending { revision, content, .. }) = one.operation.clone() else {
            return;
        };
        let why = match answer {
            Ok(view) => {
                let deployment = view.number;
                one.operation = Some(Operation::Running { revision, content, deployment });
                self.is_unsaved = true;
                return;
            }
            Err(Refusal::Failure(failure)) if failure.kind == FailureKind::Unknown => {
                self.dirty.remove(&name);
                self.timers.insert(name, Instant::now() + AGAIN);
                return;
            }
            Err(Refusal::Failure(failure)) => failure.chain(),
            Err(Refusal::Problems(problems)) => {
                let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
                all.join("; ")
            }
        };
        let until_ms = now_ms().saturating_add(backoff_ms(tries));
        one.operation =
            Some(Operation::WaitingRetry { revision, content, until_ms, tries, why: why.clone() });
        self.is_unsaved = true;
        tracing::warn!("source {}: {name} was refused: {why}", self.name());
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
                Err(Refusal::Problems(_)) => match self.eyes.see(&name, None).await {
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

    /// What would be done to each service; told when the plans are made, while the loop goes on.
    pub fn diff(&self, answer: oneshot::Sender<Vec<Diff>>) {
        let plans = self.statuses.iter().map(|(name, status)| {
            let wish = self.record.wishes.get(name).filter(|_| status.sync != Sync::Synced);
            let args = wish
                .map(|wish| DeployArgs { idempotency_key: None, ..self.args(wish, String::new()) });
            (status.clone(), args)
        });
        let (plans, engine) = (plans.collect::<Vec<_>>(), self.engine.clone());
        tokio::spawn(async move {
            let planned = futures_util::stream::iter(plans).map(async |(status, args)| {
                let (mut plan, mut refused) = (None, None);
                if let Some(args) = args {
                    match engine.plan(args).await {
                        Ok(view) => plan = Some(view),
                        Err(Refusal::Failure(failure)) => refused = Some(failure.chain()),
                        Err(Refusal::Problems(problems)) => {
                            refused = problems.first().map(ToString::to_string);
                        }
                    }
                }
                Diff { status, plan, refused }
            });
            // Whoever asked may have gone.
            let _ = answer.send(planned.buffered(ASKED_AT_ONCE).collect().await);
        });
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
