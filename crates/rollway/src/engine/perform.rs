//! Carrying out actions: each becomes a task whose outcome comes back to the loop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rollway_core::engine::{
    Append, Audited, Certainty, Effect, Extra, Failed, Input, Rows as Renewed, Tries,
};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber};
use rollway_core::plan::{HookPoint, Route};
use rollway_core::release::Release;
use rollway_core::template::{self, Values};
use rollway_core::units::Millis;

use super::actor::Actor;
use super::hooks;
use super::journal::{Entry, Rows};
use super::number::release_row;
use crate::crash;
use crate::driver::{Driver, Ensured, Fence, Launch, StopOrder};
use crate::failure::{Failure, FailureKind};
use crate::store::{AuditRecord, IdempotencyKey, Verdict};

/// An instance that never was: releases are counted from 1.
const NOBODY: InstanceId = InstanceId { release: ReleaseNumber(0), slot: 0 };
/// An action that failed is reported only after this, so that trying again is not a hot loop.
const FAILED_WAIT: Duration = Duration::from_millis(250);

impl Actor {
    /// Does what the core says, in its order. A failure is that of an append that was tried once:
    /// the request that it was for is taken back.
    pub async fn perform(&mut self, effects: Vec<Effect>) -> Result<(), Failure> {
        for effect in effects {
            match effect {
                Effect::Append(append) => self.append(append).await?,
                Effect::Start(ids, generation) => self.start(ids, self.fence(generation)),
                Effect::Retire(ids, generation) => self.retire(ids, self.fence(generation)),
                Effect::Route(route, generation, revision) => {
                    self.route(route, self.fence(generation), revision);
                }
                Effect::Hook(point, release, deployment) => self.hook(point, release, deployment),
                Effect::Fence(generation) => self.let_see(self.fence(generation)),
                Effect::Observe(turn) => self.observe(turn),
                Effect::Probe(id, number, trust) => self.probe(id, number, trust),
                Effect::StopProbing(id) => {
                    if let Some(task) = self.probes.remove(&id) {
                        task.abort();
                    }
                }
                Effect::Sample(ask) => self.sample(ask),
                Effect::Answer(ticket, unfenced) => {
                    crash::point("engine.answer.before");
                    // The caller may have gone.
                    let _ = self.answers.remove(&ticket).map(|answer| answer.send(unfenced));
                }
                Effect::Ended => {
                    self.tell_ended();
                    self.shared.ended.send_replace(());
                }
                Effect::Complain(illegal) => {
                    tracing::error!(service = %self.engine.service, "{illegal}");
                }
            }
        }
        Ok(())
    }

    /// Wakes those who wait for the end of a deployment.
    pub fn tell_ended(&self) {
        let progress = &self.engine.progress;
        let under_way = u64::from(progress.active.is_some());
        self.journal.ended.send_replace(progress.deployments.saturating_sub(under_way));
    }

    /// The same for what nobody is waiting for.
    pub async fn perform_all(&mut self, effects: Vec<Effect>) {
        if let Err(failure) = self.perform(effects).await {
            tracing::error!(service = %self.engine.service, "{}", failure.chain());
        }
    }

    async fn append(&mut self, append: Append) -> Result<(), Failure> {
        crash::point("engine.append.before");
        let entry = Entry::new(&append, self.rows(&append.extra));
        match append.tries {
            Tries::UntilWritten => self.journal.commit(entry).await,
            Tries::Once => {
                if let Err(failure) = self.journal.try_commit(entry).await {
                    self.engine.withdraw();
                    return Err(failure);
                }
            }
        }
        crash::point("engine.append.after");
        Ok(())
    }

    fn rows(&self, extra: &Extra) -> Rows {
        let plain = |release: &Arc<Release>| {
            serde_json::to_value(&release.spec).expect("a spec is plain data")
        };
        Rows {
            state: (extra.rows != Renewed::None).then(|| self.state_to_store()),
            deployment: match extra.rows {
                Renewed::Deployment => self.deployment_row(),
                Renewed::None | Renewed::State => None,
            },
            spec: extra.spec.as_ref().map(plain),
            release: extra.release.as_deref().map(release_row),
            idempotency: extra.key.as_ref().map(|keyed| IdempotencyKey {
                key: keyed.key.clone(),
                request: keyed.request.clone(),
            }),
            audit: extra.audit.as_ref().map(|audited| self.audit(audited)),
        }
    }

    /// One record a request that changes something, in the transaction of its effect.
    fn audit(&self, audited: &Audited) -> AuditRecord {
        let service = &self.engine.service;
        AuditRecord {
            at_ms: super::clock::wall_ms(),
            actor: audited.actor.clone(),
            request: format!("{service}-{}", audited.deployment),
            action: audited.action.clone(),
            object: format!("service:{service}"),
            verdict: Verdict::Allowed,
            reason: String::new(),
            detail: serde_json::Value::Null,
        }
    }

    fn fence(&self, generation: Generation) -> Fence {
        Fence { service: self.engine.service.clone(), generation }
    }

    /// Lets the targets see a generation by ending what never was: it changes nothing else.
    fn let_see(&self, fence: Fence) {
        let mut drivers: Vec<Arc<dyn Driver>> = Vec::new();
        for release in self.engine.releases.values() {
            let driver = self.shared.driver(release);
            if !drivers.iter().any(|known| Arc::ptr_eq(known, &driver)) {
                drivers.push(driver);
            }
        }
        let order = StopOrder { signal: "SIGTERM".to_owned(), timeout: Millis::ZERO };
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
            let mut result = Ok(Ensured::NotNeeded);
            for driver in drivers {
                match driver.stop(&fence, NOBODY, &order).await {
                    Ok(ensured @ Ensured::Stale { .. }) => result = Ok(ensured),
                    Ok(Ensured::Added | Ensured::Updated | Ensured::NotNeeded) => {}
                    Err(failure) => result = Err(Failed::from(failure)),
                }
            }
            let _ = outcomes.send(Input::Fenced(fence.generation, result)).await;
        });
    }

    /// Asks the driver; the answer comes as an input.
    fn observe(&self, turn: u64) {
        let driver = Arc::clone(&self.shared.process);
        let (service, outcomes) = (self.engine.service.clone(), self.outcomes.clone());
        tokio::spawn(async move {
            let seen = driver.observe(&service).await.map_err(Failed::from);
            // The loop may have ended.
            let _ = outcomes.send(Input::Seen(seen, turn)).await;
        });
    }

    fn start(&self, ids: Vec<InstanceId>, fence: Fence) {
        let known = ids.first().and_then(|id| self.engine.releases.get(&id.release));
        let Some(release) = known.cloned() else { return };
        let outcomes = self.outcomes.clone();
        let state_dir = self.shared.state_dir.clone();
        let driver = self.shared.driver(&release);
        if release.spec.run.driver == "null" {
            tokio::spawn(async move {
                let mut results = Vec::with_capacity(ids.len());
                for id in ids {
                    let launch = launch(&release, id, BTreeMap::new());
                    let result = driver.start(&fence, &launch).await;
                    results.push((id, result.map_err(Failed::from)));
                }
                let _ = outcomes.send(Input::Recorded(results)).await;
            });
            return;
        }
        tokio::spawn(async move {
            let secrets = match env_file(&state_dir, &release) {
                Ok(secrets) => secrets,
                Err(failure) => {
                    let failed = Failed { how: Certainty::NotDone, why: failure.chain() };
                    for id in ids {
                        let _ = outcomes.send(Input::Started(id, Err(failed.clone()))).await;
                    }
                    return;
                }
            };
            let begin = |id| {
                let launch = launch(&release, id, secrets.clone());
                let (driver, fence) = (&driver, &fence);
                async move {
                    crash::point("engine.start.before");
                    let result = driver.start(fence, &launch).await;
                    crash::point("engine.start.after");
                    // Its own wait: what became of the others is told at once.
                    if result.is_err() {
                        tokio::time::sleep(FAILED_WAIT).await;
                    }
                    (id, result)
                }
            };
            let mut starts: FuturesUnordered<_> = ids.into_iter().map(begin).collect();
            while let Some((id, result)) = starts.next().await {
                let result = result.map_err(Failed::from);
                let _ = outcomes.send(Input::Started(id, result)).await;
            }
        });
    }

    fn retire(&self, ids: Vec<InstanceId>, fence: Fence) {
        let releases = &self.engine.releases;
        let Some(release) = ids.first().and_then(|id| releases.get(&id.release)).cloned() else {
            return;
        };
        let outcomes = self.outcomes.clone();
        if release.spec.run.driver == "null" {
            let driver = self.shared.driver(&release);
            let order = stop_order(&release);
            tokio::spawn(async move {
                for id in &ids {
                    // Nothing runs, so nothing can fail to stop.
                    let _ = driver.stop(&fence, *id, &order).await;
                }
                let _ = outcomes.send(Input::Erased(ids)).await;
            });
            return;
        }
        for id in ids {
            let Some(release) = releases.get(&id.release).cloned() else { continue };
            let (outcomes, fence) = (outcomes.clone(), fence.clone());
            let driver = self.shared.driver(&release);
            let proxy = Arc::clone(&self.shared.proxy);
            tokio::spawn(async move {
                crash::point("engine.retire.before");
                let drained = match &release.spec.traffic {
                    Some(traffic) => {
                        let graces = (traffic.drain, traffic.stream_drain);
                        proxy.drain(&fence.service, id, graces).await
                    }
                    None => Ok(0),
                };
                crash::point("engine.retire.drained");
                let cut = drained.as_ref().copied().unwrap_or(0);
                let result = match drained {
                    Ok(_) => driver.stop(&fence, id, &stop_order(&release)).await,
                    // It may still get requests: it is not stopped under them.
                    Err(failure) => Err(failure),
                };
                crash::point("engine.retire.after");
                if result.is_err() {
                    tokio::time::sleep(FAILED_WAIT).await;
                }
                let result = result.map_err(Failed::from);
                let _ = outcomes.send(Input::Retired(id, cut, result)).await;
            });
        }
    }

    fn route(&self, route: Route, fence: Fence, revision: u64) {
        let table = self.table(&route, &fence, revision);
        let listen = table.as_ref().map(|table| table.listen.clone()).unwrap_or_default();
        self.shared
            .listening
            .lock()
            .expect("nobody panics with it")
            .insert(self.engine.service.clone(), listen);
        let (outcomes, proxy) = (self.outcomes.clone(), Arc::clone(&self.shared.proxy));
        tokio::spawn(async move {
            crash::point("engine.route.before");
            let result = match table {
                Some(table) => proxy.apply(&table).await,
                None => proxy.remove(&fence.service, fence.generation).await,
            };
            crash::point("engine.route.after");
            let result = result.map(|()| revision).map_err(Failed::from);
            let _ = outcomes.send(Input::Routed(route, result)).await;
        });
    }

    fn hook(&self, point: HookPoint, release: ReleaseNumber, deployment: u64) {
        let Some(release) = self.engine.releases.get(&release).cloned() else { return };
        let Some(mut hook) = point.hook(&release.spec.hooks).cloned() else { return };
        let told = hooks::Told {
            variables: vec![
                ("ROLLWAY_SERVICE", self.engine.service.to_string()),
                ("ROLLWAY_VERSION", release.version.to_string()),
                ("ROLLWAY_RELEASE", release.number.0.to_string()),
                ("ROLLWAY_DEPLOYMENT", deployment.to_string()),
                ("ROLLWAY_HOOK", point.name().to_owned()),
            ],
        };
        let outcomes = self.outcomes.clone();
        let values = Values { release: Some(release.number.0.to_string()), ..Values::default() };
        for word in &mut hook.command {
            // The texts were checked when the release was made.
            *word = template::render_last(word, &values).unwrap_or_else(|_| word.clone());
        }
        tokio::spawn(async move {
            let folder = PathBuf::from(&release.folder);
            crash::point("engine.hook.before");
            let (ok, detail) = hooks::run(&hook, &folder, &told).await;
            crash::point("engine.hook.after");
            let _ = outcomes.send(Input::Hook(point, ok, detail)).await;
        });
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let how = match failure.kind {
            FailureKind::Unknown => Certainty::Unknown,
            FailureKind::NotDone
            | FailureKind::Stale
            | FailureKind::Missing
            | FailureKind::Damaged => Certainty::NotDone,
        };
        Self { how, why: failure.chain() }
    }
}

fn stop_order(release: &Release) -> StopOrder {
    let run = &release.spec.run;
    StopOrder { signal: run.stop_signal.clone(), timeout: run.stop_timeout }
}

fn env_file(
    state_dir: &std::path::Path,
    release: &Release,
) -> Result<BTreeMap<String, String>, Failure> {
    let Some(digest) = &release.env_file_digest else { return Ok(BTreeMap::new()) };
    let digest = crate::store::Digest::parse(digest).map_err(|why| {
        let doing = format!("could not read the environment of {}", release.number);
        Failure::because(FailureKind::Damaged, doing, why)
    })?;
    let bytes = crate::store::read_blob(state_dir, digest)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(super::intake::env_lines(&text).filter_map(Result::ok).collect())
}

/// Everything that is needed to run one instance; only `{{port}}` is left in it.
pub(super) fn launch(
    release: &Release,
    id: InstanceId,
    secrets: BTreeMap<String, String>,
) -> Launch {
    let run = &release.spec.run;
    let values = Values {
        instance: Some(id.to_string()),
        release: Some(release.number.0.to_string()),
        ..Values::default()
    };
    // The texts were checked when the release was made; a text that cannot be filled in stays.
    let fill = |text: &String| template::render(text, &values).unwrap_or_else(|_| text.clone());
    // What is in the environment file is no template: its braces are meant.
    let literal = |(name, value): (String, String)| (name, value.replace("{{", "{{{{"));
    let mut env: BTreeMap<String, String> = secrets.into_iter().map(literal).collect();
    env.extend(run.env.iter().map(|(name, value)| (name.clone(), fill(value))));
    let folder = run.working_folder.as_deref().unwrap_or(".");
    Launch {
        instance: id,
        version: release.version.clone(),
        command: run.command.iter().map(fill).collect(),
        env,
        working_folder: PathBuf::from(&release.folder).join(folder),
        user: run.user.clone(),
        limits: run.limits.clone(),
        stop_signal: run.stop_signal.clone(),
        restart: run.restart.clone(),
        log: run.log.clone(),
        port: run.driver == "process",
    }
}

impl super::Shared {
    /// The driver of a release.
    pub fn driver(&self, release: &Release) -> Arc<dyn Driver> {
        match release.spec.run.driver.as_str() {
            "null" => Arc::clone(&self.null),
            _ => Arc::clone(&self.process),
        }
    }
}
