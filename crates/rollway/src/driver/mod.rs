//! Drivers start, stop and observe instances on one kind of target.
//!
//! Every call is an *ensure*: it may run twice, it carries the service's generation, and an
//! older generation than the target has seen is refused with [`Ensured::Stale`].

pub mod null;
pub mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rollway_core::ids::{Generation, InstanceId, ServiceName, Version};
use rollway_core::problem::{self, Problem};
pub use rollway_core::seen::{Ended, Ensured, Life, SeenInstance};
use rollway_core::spec::{Limits, Log, Restart};
use rollway_core::units::Millis;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::failure::Failure;

/// So many "look again" notes are kept for a slow reader; whoever misses some looks at everything.
pub const CHANGES_MAX: usize = 1024;

/// Who acts: an older generation than the target has seen is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The service that is acted for.
    pub service: ServiceName,
    /// The generation of the one who acts.
    pub generation: Generation,
}

/// Everything that is needed to run one instance; only `{{port}}` is left to fill in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Which instance; its name makes a start idempotent.
    pub instance: InstanceId,
    /// The label of the build.
    pub version: Version,
    /// Program and arguments; `{{port}}` is replaced by the instance's port.
    pub command: Vec<String>,
    /// The environment; `{{port}}` is replaced in values.
    pub env: BTreeMap<String, String>,
    /// The working folder.
    pub working_folder: PathBuf,
    /// The user that it runs as; absent = ours.
    pub user: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// The signal that asks it to end.
    pub stop_signal: String,
    /// What happens when it ends by itself.
    pub restart: Restart,
    /// How much of its output is kept.
    pub log: Log,
    /// Whether it needs a port.
    pub port: bool,
}

impl Launch {
    /// What is seen of it where it is not there.
    #[must_use]
    pub fn absent(&self) -> SeenInstance {
        SeenInstance::absent(self.instance, &self.version)
    }
}

/// How an instance is to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopOrder {
    /// The signal that asks it to end, such as `SIGTERM`.
    pub signal: String,
    /// How long it may take before it is killed with all its children.
    pub timeout: Millis,
}

/// "Look again": something about this instance is different now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceId,
}

/// Starts, stops and observes instances on one kind of target.
pub trait Driver: Send + Sync {
    /// Ensures that the instance runs; what ended is started afresh ([`Ensured::Updated`]).
    fn start<'a>(
        &'a self,
        fence: &'a Fence,
        launch: &'a Launch,
    ) -> BoxFuture<'a, Result<(Ensured, SeenInstance), Failure>>;

    /// Ensures that nothing of the instance is left, and answers when that is so.
    fn stop<'a>(
        &'a self,
        fence: &'a Fence,
        instance: InstanceId,
        order: &'a StopOrder,
    ) -> BoxFuture<'a, Result<Ensured, Failure>>;

    /// All instances of a service, in the order of their names.
    fn observe<'a>(
        &'a self,
        service: &'a ServiceName,
    ) -> BoxFuture<'a, Result<Vec<SeenInstance>, Failure>>;

    /// A note for each change that the driver notices by itself.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// The file with the instance's output.
    fn log<'a>(
        &'a self,
        service: &'a ServiceName,
        instance: InstanceId,
    ) -> BoxFuture<'a, Result<PathBuf, Failure>>;
}

/// What drivers are made from.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The state folder.
    pub state: PathBuf,
    /// The program that is run as `PROGRAM shim FOLDER`: this one.
    pub program: PathBuf,
}

/// Makes one driver.
pub type Make = fn(&Setup) -> Arc<dyn Driver>;

/// All drivers, by name.
pub const ALL: &[(&str, Make)] = &[("null", null::make), ("process", process::make)];

/// The names of all drivers.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|(name, _)| *name).collect()
}

/// The driver of this name.
pub fn named(name: &str, setup: &Setup) -> Result<Arc<dyn Driver>, Problem> {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, make)| make(setup))
        .ok_or_else(|| Problem::new("run.driver", problem::unknown("driver", name, &names())))
}
