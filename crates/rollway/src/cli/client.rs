//! The control plane's interface, as the command line uses it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use rollway_core::explain::Explanation;
use rollway_core::ids::ServiceName;
use rollway_core::release::Release;
use rollway_core::view::{
    DeployArgs, DeploymentView, ErrorBody, EventView, InstanceView, PlanView, ServiceView,
    VerbAnswer, VerbArgs,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::out::clean;
use super::wrong::Wrong;
use crate::failure::{Failure, FailureKind};
use crate::unix_http;

/// The socket's name in the state folder.
pub const SOCKET: &str = "control.sock";
/// A control plane that is well answers in milliseconds.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// Checking and keeping an artifact of gigabytes, or the whole history, takes its time.
pub(super) const WORK_WAIT: Duration = Duration::from_secs(300);
/// So many events at once.
pub const EVENTS_MAX: u64 = 500;

/// How the control plane is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How many control planes were started on its state.
    pub epoch: u64,
    /// How long it has run.
    pub uptime_ms: u64,
    /// What it has in memory.
    pub rss_bytes: Option<u64>,
    /// How the proxy is.
    pub proxy: ProxyHealth,
    /// Whatever else it says.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// How the proxy is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyHealth {
    /// Its process.
    pub pid: Option<u32>,
    /// Whether it answers.
    pub running: bool,
    /// What it complains of.
    pub alarms: Vec<String>,
    /// Whatever else it says.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

/// A page of events.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Events {
    /// The events, in order.
    pub events: Vec<EventView>,
    /// The number of the last one that there is.
    pub last_seq: u64,
}

/// Whether the records are whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    /// The records of each service.
    pub services: Vec<Chain>,
    /// The records of who asked for what.
    pub audit: Chain,
    /// Rows beside the records that were altered, the first few.
    pub rows: Vec<String>,
}

/// Records of which each is bound to the one before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chain {
    /// The service, or `audit`.
    pub name: String,
    /// How many are whole, from the first one on.
    pub whole: u64,
    /// What is wrong with the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fault {
    /// Where.
    pub seq: u64,
    /// What.
    pub what: String,
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mut chains = self.services.iter().chain([&self.audit]);
        self.rows.is_empty() && chains.all(|chain| chain.fault.is_none())
    }
}

/// Which events, and how long to wait for them.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Those after this one.
    pub after: u64,
    /// At most so many.
    pub limit: u64,
    /// Wait so long for the first.
    pub wait_ms: u64,
}

/// A client of the control plane of one state folder.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    state_dir: &'a Path,
    raw: bool,
}

impl<'a> Client<'a> {
    /// A client; `raw` leaves texts as they came, for output that is not read by people.
    #[must_use]
    pub fn new(state_dir: &'a Path, raw: bool) -> Self {
        Self { state_dir, raw }
    }

    /// How the control plane is.
    pub async fn health(&self) -> Result<Health, Wrong> {
        self.get("/v1/health", ANSWER_WAIT).await
    }

    /// What a deployment would do.
    pub async fn plan(&self, args: &DeployArgs) -> Result<PlanView, Wrong> {
        self.post("/v1/plan", args).await
    }

    /// Begins a deployment.
    pub async fn deploy(&self, args: &DeployArgs) -> Result<DeploymentView, Wrong> {
        self.post("/v1/deployments", args).await
    }

    /// All services.
    pub async fn services(&self) -> Result<Vec<ServiceView>, Wrong> {
        self.get("/v1/services", ANSWER_WAIT).await
    }

    /// One service.
    pub async fn service(&self, service: &ServiceName) -> Result<ServiceView, Wrong> {
        self.get(&format!("/v1/services/{service}"), ANSWER_WAIT).await
    }

    /// The instances of a service.
    pub async fn instances(&self, service: &ServiceName) -> Result<Vec<InstanceView>, Wrong> {
        self.get(&format!("/v1/services/{service}/instances"), ANSWER_WAIT).await
    }

    /// Some events of a service.
    pub async fn events(&self, service: &ServiceName, wanted: Wanted) -> Result<Events, Wrong> {
        let Wanted { after, limit, wait_ms } = wanted;
        let path =
            format!("/v1/services/{service}/events?after={after}&limit={limit}&wait_ms={wait_ms}");
        self.get(&path, ANSWER_WAIT + Duration::from_millis(wait_ms)).await
    }

    /// The last deployments of a service, the last one first.
    pub async fn deployments(
        &self,
        service: &ServiceName,
        limit: u64,
    ) -> Result<Vec<DeploymentView>, Wrong> {
        self.get(&format!("/v1/services/{service}/deployments?limit={limit}"), ANSWER_WAIT).await
    }

    /// One deployment.
    pub async fn deployment(
        &self,
        service: &ServiceName,
        number: u64,
    ) -> Result<DeploymentView, Wrong> {
        self.get(&format!("/v1/services/{service}/deployments/{number}"), ANSWER_WAIT).await
    }

    /// How the judgements of a deployment went.
    pub async fn explain(&self, service: &ServiceName, number: u64) -> Result<Explanation, Wrong> {
        let path = format!("/v1/services/{service}/deployments/{number}/analysis");
        self.get(&path, ANSWER_WAIT).await
    }

    /// The releases of a service.
    pub async fn releases(&self, service: &ServiceName) -> Result<Vec<Release>, Wrong> {
        self.get(&format!("/v1/services/{service}/releases"), ANSWER_WAIT).await
    }

    /// Does a verb to a service.
    pub async fn verb(
        &self,
        service: &ServiceName,
        verb: &str,
        args: &VerbArgs,
    ) -> Result<VerbAnswer, Wrong> {
        self.post(&format!("/v1/services/{service}/{verb}"), args).await
    }

    /// Whether the records are whole.
    pub async fn verify(&self) -> Result<Verified, Wrong> {
        self.get("/v1/history/verify", WORK_WAIT).await
    }

    /// The records of a service as JSON lines, byte for byte.
    pub async fn export(&self, service: &ServiceName) -> Result<Bytes, Wrong> {
        let path = format!("/v1/history/export?service={service}");
        self.ask(Method::GET, &path, Vec::new(), WORK_WAIT).await
    }

    /// Asks the control plane to end.
    pub async fn shutdown(&self) -> Result<(), Wrong> {
        self.ask(Method::POST, "/v1/shutdown", b"{}".to_vec(), ANSWER_WAIT).await.map(|_| ())
    }

    /// Asks the proxy to end; one that does not run has ended.
    pub async fn shutdown_proxy(&self) -> Result<(), Wrong> {
        let socket = (self.state_dir, crate::traffic::embedded::SOCKET);
        let asking = unix_http::request(socket, Method::POST, "/v1/shutdown", b"{}".to_vec());
        match tokio::time::timeout(ANSWER_WAIT, asking).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) if failure.kind == FailureKind::NotDone => Ok(()),
            Ok(Err(failure)) => Err(failure.into()),
            Err(_) => {
                let doing = format!("no answer from the proxy within {ANSWER_WAIT:?}");
                Err(Failure::new(FailureKind::Unknown, doing).into())
            }
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        wait: Duration,
    ) -> Result<T, Wrong> {
        let body = self.ask(Method::GET, path, Vec::new(), wait).await?;
        self.parse(path, &body)
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        args: &impl Serialize,
    ) -> Result<T, Wrong> {
        let body = serde_json::to_vec(args).expect("arguments are plain data");
        let body = self.ask(Method::POST, path, body, WORK_WAIT).await?;
        self.parse(path, &body)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Bytes, Wrong> {
        let asking = unix_http::request((self.state_dir, SOCKET), method, path, body);
        let answered = match tokio::time::timeout(wait, asking).await {
            Ok(answered) => answered.map_err(|failure| self.unanswered(failure))?,
            Err(_) => {
                let doing = format!("no answer from the control plane within {wait:?}");
                let hint = "`rollway doctor` looks into it";
                return Err(Wrong::failure(Failure::new(FailureKind::Unknown, doing), hint));
            }
        };
        let (status, body) = answered;
        match status.is_success() {
            true => Ok(body),
            false => Err(refused(status, &body)),
        }
    }

    /// Tells apart whether nobody is there, or nobody may ask.
    fn unanswered(&self, failure: Failure) -> Wrong {
        let socket = self.state_dir.join(SOCKET);
        let cause =
            failure.source.as_ref().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        match (failure.kind, cause.map(std::io::Error::kind)) {
            (FailureKind::NotDone, Some(std::io::ErrorKind::PermissionDenied)) => {
                let doing = format!("may not ask the control plane at {}", socket.display());
                let hint = "it belongs to another user: ask as that user, or give --state-dir";
                Wrong::failure(Failure::new(FailureKind::NotDone, doing), hint)
            }
            (FailureKind::NotDone, Some(_)) => {
                let doing = format!("no control plane answers at {}", socket.display());
                Wrong::Absent(Failure::new(FailureKind::NotDone, doing))
            }
            _ => Wrong::Failure(failure, None),
        }
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T, Wrong> {
        let strange = |error: serde_json::Error| {
            let doing = format!("could not understand the control plane's answer to {path}");
            let failure = Failure::because(FailureKind::Unknown, doing, error);
            Wrong::failure(failure, "is it of another version? `rollway doctor` tells")
        };
        if self.raw {
            return serde_json::from_slice(body).map_err(strange);
        }
        let mut value: Value = serde_json::from_slice(body).map_err(strange)?;
        clean_value(&mut value);
        serde_json::from_value(value).map_err(strange)
    }
}

/// Nothing that came from outside reaches the terminal as it is.
fn clean_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(items) => items.iter_mut().for_each(clean_value),
        Value::Object(map) => map.values_mut().for_each(clean_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Wrong {
    let said: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    if !said.problems.is_empty() {
        return Wrong::Problems(said.problems, None);
    }
    let what = said.failure.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        format!("the control plane answered {status}: {text}")
    });
    Failure::new(FailureKind::NotDone, what).into()
}
