//! Carrying out actions: each becomes a task whose outcome comes back to the loop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rollway_core::event::What;
use rollway_core::ids::InstanceId;
use rollway_core::observed::{Instance, Life};
use rollway_core::plan::{Action, HookPoint, Route};
use rollway_core::release::Release;
use rollway_core::template::{self, Values};

use super::actor::Actor;
use super::hooks;
use super::journal::Extra;
use super::outcome::Outcome;
use crate::driver::{Driver, Fence, Launch, StopOrder};
use crate::failure::{Failure, FailureKind};

/// An action that failed is reported only after this, so that trying again is not a hot loop.
const FAILED_WAIT: Duration = Duration::from_millis(250);

impl Actor {
    /// Writes the intent down, then begins.
    pub async fn act(&mut self, actions: Vec<Action>) {
        self.journal.push(What::Intended { actions: actions.clone() });
        self.journal.commit(Extra::default()).await;
        for action in actions {
            match action {
                Action::Start(ids) => self.start(ids),
                Action::Retire(ids) => self.retire(ids),
                Action::Route(route) => self.route(route),
                Action::Hook(hook) => self.hook(hook),
            }
        }
    }

    fn fence(&self) -> Fence {
        let generation = self.journal.progress.generation;
        Fence { service: self.service.clone(), generation }
    }

    fn start(&mut self, ids: Vec<InstanceId>) {
        let now = self.journal.clock.now();
        for id in &ids {
            self.observed.put(*id, Instance::starting(now));
        }
        self.starts_under_way += u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let Some(release) = ids.first().and_then(|id| self.releases.get(&id.release)) else {
            return;
        };
        let release = Arc::clone(release);
        let (outcomes, fence) = (self.outcomes.clone(), self.fence());
        let state_dir = self.shared.state_dir.clone();
        let driver = self.shared.driver(&release);
        if release.spec.run.driver == "null" {
            tokio::spawn(async move {
                let mut results = Vec::with_capacity(ids.len());
                for id in ids {
                    let launch = launch(&release, id, BTreeMap::new());
                    results.push((id, driver.start(&fence, &launch).await));
                }
                let _ = outcomes.send(Outcome::Recorded(results)).await;
            });
            return;
        }
        tokio::spawn(async move {
            let secrets = match env_file(&state_dir, &release) {
                Ok(secrets) => secrets,
                Err(failure) => {
                    let text = failure.chain();
                    for id in ids {
                        let failure = Failure::new(FailureKind::NotDone, text.clone());
                        let _ = outcomes.send(Outcome::Started(id, Err(failure))).await;
                    }
                    return;
                }
            };
            let begin = |id| {
                let launch = launch(&release, id, secrets.clone());
                let (driver, fence) = (&driver, &fence);
                async move { (id, driver.start(fence, &launch).await) }
            };
            let mut starts: FuturesUnordered<_> = ids.into_iter().map(begin).collect();
            while let Some((id, result)) = starts.next().await {
                if result.is_err() {
                    tokio::time::sleep(FAILED_WAIT).await;
                }
                let _ = outcomes.send(Outcome::Started(id, result)).await;
            }
        });
    }

    fn retire(&mut self, ids: Vec<InstanceId>) {
        for id in &ids {
            self.observed.change(*id, |instance| instance.life = Life::Leaving);
        }
        let Some(release) = ids.first().and_then(|id| self.releases.get(&id.release)).cloned()
        else {
            return;
        };
        let (outcomes, fence) = (self.outcomes.clone(), self.fence());
        if release.spec.run.driver == "null" {
            let driver = self.shared.driver(&release);
            let order = stop_order(&release);
            tokio::spawn(async move {
                for id in &ids {
                    // Nothing runs, so nothing can fail to stop.
                    let _ = driver.stop(&fence, *id, &order).await;
                }
                let _ = outcomes.send(Outcome::Erased(ids)).await;
            });
            return;
        }
        for id in ids {
            let Some(release) = self.releases.get(&id.release).cloned() else { continue };
            let (outcomes, fence) = (outcomes.clone(), fence.clone());
            let driver = self.shared.driver(&release);
            let proxy = Arc::clone(&self.shared.proxy);
            tokio::spawn(async move {
                let drained = match &release.spec.traffic {
                    Some(traffic) => {
                        let graces = (traffic.drain, traffic.stream_drain);
                        proxy.drain(&fence.service, id, graces).await
                    }
                    None => Ok(0),
                };
                let cut = drained.as_ref().copied().unwrap_or(0);
                let result = match drained {
                    Ok(_) => driver.stop(&fence, id, &stop_order(&release)).await,
                    // It may still get requests: it is not stopped under them.
                    Err(failure) => Err(failure),
                };
                if result.is_err() {
                    tokio::time::sleep(FAILED_WAIT).await;
                }
                let _ = outcomes.send(Outcome::Retired(id, cut, result)).await;
            });
        }
    }

    fn route(&mut self, route: Route) {
        self.observed.routing = true;
        self.revision += 1;
        let (fence, revision) = (self.fence(), self.revision);
        let table = self.table(&route, &fence, revision);
        let listen = table.as_ref().map(|table| table.listen.clone()).unwrap_or_default();
        self.shared
            .listening
            .lock()
            .expect("nobody panics with it")
            .insert(self.service.clone(), listen);
        let (outcomes, proxy) = (self.outcomes.clone(), Arc::clone(&self.shared.proxy));
        tokio::spawn(async move {
            let result = match table {
                Some(table) => proxy.apply(&table).await,
                None => proxy.remove(&fence.service, fence.generation).await,
            };
            let _ = outcomes.send(Outcome::Routed(route, result.map(|()| revision))).await;
        });
    }

    fn hook(&mut self, point: HookPoint) {
        let progress = &self.journal.progress;
        let Some(active) = &progress.active else { return };
        // The hooks of a deployment are those of the release that it is about, also in its undo.
        let about = active.first_plan.to.or(active.first_plan.from);
        let Some(release) = about.and_then(|number| self.releases.get(&number)).cloned() else {
            return;
        };
        let Some(hook) = point.hook(&release.spec.hooks).cloned() else {
            let none = "no such hook in the spec".to_owned();
            self.journal.push(What::HookEnded { hook: point, ok: true, detail: none });
            return;
        };
        self.observed.hooking = Some(point);
        let told = hooks::Told {
            variables: vec![
                ("ROLLWAY_SERVICE", self.service.to_string()),
                ("ROLLWAY_VERSION", release.version.to_string()),
                ("ROLLWAY_RELEASE", release.number.0.to_string()),
                ("ROLLWAY_DEPLOYMENT", active.number.to_string()),
                ("ROLLWAY_HOOK", point.name().to_owned()),
            ],
        };
        let outcomes = self.outcomes.clone();
        let mut hook = hook;
        let values = Values { release: Some(release.number.0.to_string()), ..Values::default() };
        for word in &mut hook.command {
            // The texts were checked when the release was made.
            *word = template::render_last(word, &values).unwrap_or_else(|_| word.clone());
        }
        tokio::spawn(async move {
            let folder = PathBuf::from(&release.folder);
            let (ok, detail) = hooks::run(&hook, &folder, &told).await;
            let _ = outcomes.send(Outcome::Hook(point, ok, detail)).await;
        });
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
