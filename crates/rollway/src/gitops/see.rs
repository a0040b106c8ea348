//! What the engine knows of a source's services, seen many at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use rollway_core::gitops::decide::{Seen, SeenDeployment};
use rollway_core::gitops::state::Operation;
use rollway_core::ids::{ReleaseNumber, ServiceName};
use rollway_core::view::DeploymentView;

use crate::engine::{Engine, Refusal};

/// So many services are looked at together: most of them wait for a disk that they share.
const SEEN_AT_ONCE: usize = 64;
/// A service whose loop is busy for longer is looked at later, so that others do not wait for it.
const SEE_WAIT_MAX: Duration = Duration::from_secs(2);

/// What of Git the releases of services are; releases never change.
type Contents = Mutex<HashMap<(ServiceName, u64), Option<String>>>;

/// Sees services.
pub(super) struct Eyes {
    engine: Arc<Engine>,
    /// Where the files of services are.
    trees: PathBuf,
    contents: Contents,
}

impl Eyes {
    pub fn new(engine: Arc<Engine>, trees: PathBuf) -> Self {
        Self { engine, trees, contents: Mutex::default() }
    }

    /// Sees these services, each with the deployment of ours that is under way, in this order;
    /// nothing of one that the engine does not tell about in time.
    pub async fn see_all(
        &self,
        services: Vec<(ServiceName, Option<u64>)>,
    ) -> Vec<(ServiceName, Option<Seen>)> {
        let seen = futures_util::stream::iter(services).map(async |(name, ours)| {
            let seen = tokio::time::timeout(SEE_WAIT_MAX, self.see(&name, ours)).await;
            (name, seen.ok().and_then(Result::ok))
        });
        seen.buffered(SEEN_AT_ONCE).collect().await
    }

    /// Sees one service.
    pub async fn see(&self, name: &ServiceName, ours: Option<u64>) -> Result<Seen, Refusal> {
        let Some(view) = self.engine.view_if_any(name).await? else {
            return Ok(Seen::default());
        };
        let last = view.deployment.as_ref().map(seen_deployment);
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
    async fn content(&self, name: &ServiceName, number: u64) -> Result<Option<String>, Refusal> {
        let key = (name.clone(), number);
        let known = self.contents.lock().expect("nobody panics with it").get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let release = self.engine.release(name, ReleaseNumber(number)).await?;
        let inner = Path::new(&release.folder).strip_prefix(&self.trees).ok();
        let content = inner.map(|inner| inner.display().to_string());
        self.contents.lock().expect("nobody panics with it").insert(key, content.clone());
        Ok(content)
    }
}

/// Our deployment that is under way, as it is recorded.
pub(super) fn under_way(operation: Option<&Operation>) -> Option<u64> {
    match operation? {
        Operation::Running { deployment, .. } | Operation::Terminating { deployment, .. } => {
            Some(*deployment)
        }
        Operation::Pending { .. }
        | Operation::WaitingRetry { .. }
        | Operation::Succeeded { .. }
        | Operation::Failed { .. }
        | Operation::Superseded { .. } => None,
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
