//! A control plane of its own in a temporary folder, with real processes: what the demonstration
//! and the benchmarks work on. Its end leaves no process, file or port behind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use rollway_core::view::{
    DeployArgs, DeploymentView, ErrorBody, EventView, InstanceView, VerbAnswer, VerbArgs,
};
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::process::Child;

use crate::failure::{Failure, FailureKind};
use crate::os::proc::{self, Identity};
use crate::os::tree;
use crate::{api, store, traffic, unix_http};

/// A control plane may take this long until it answers.
const START_WAIT: Duration = Duration::from_secs(10);
/// The wait between two looks at something that has no event of its own.
const LOOK: Duration = Duration::from_millis(2);
/// An answer may take this long.
const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// Everything that was asked to end may take this long before it is killed.
const END_WAIT_MS: u64 = 8_000;
/// One wait for events; the waiting itself goes on.
const EVENTS_WAIT_MS: u64 = 5_000;

/// A control plane in a folder of its own.
pub struct Trial {
    folder: PathBuf,
    program: PathBuf,
    child: Option<Child>,
}

impl Trial {
    /// Starts `program serve` in a fresh folder under the temporary one.
    pub async fn start(program: &Path, name: &str) -> Result<Self, Failure> {
        let unique = format!("rollway-{name}-{}-{}", std::process::id(), proc::since_boot_ms());
        let folder = std::env::temp_dir().join(unique);
        store::prepare_folder(&folder)?;
        let mut trial = Self { folder, program: program.to_owned(), child: None };
        trial.serve().await?;
        Ok(trial)
    }

    /// Starts the control plane, and waits until it answers.
    pub async fn serve(&mut self) -> Result<(), Failure> {
        let not_done = |error: std::io::Error| {
            Failure::because(FailureKind::NotDone, "could not start the control plane", error)
        };
        let log = self.folder.join("serve.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let log = log.map_err(not_done)?;
        let child = tokio::process::Command::new(&self.program)
            .args(["serve", "--detached", "--state-dir"])
            .arg(self.state_dir())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(not_done)?)
            .stderr(log)
            .spawn()
            .map_err(not_done)?;
        self.child = Some(child);
        let until = Instant::now() + START_WAIT;
        while let Err(failure) = self.get::<Value>("/v1/health").await {
            let ended = self.child.as_mut().is_some_and(|c| !matches!(c.try_wait(), Ok(None)));
            if ended || Instant::now() > until {
                return Err(self.with_log(failure));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn with_log(&self, failure: Failure) -> Failure {
        let log = std::fs::read_to_string(self.folder.join("serve.log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        let cause = format!("{}; it said: {}", failure.chain(), last.join(" | "));
        Failure::because(FailureKind::NotDone, "the control plane did not start", cause)
    }

    /// The folder that is removed at the end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The state directory.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The process of the control plane.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let id = self.child.as_ref().and_then(Child::id);
        id.and_then(|id| i32::try_from(id).ok()).unwrap_or(-1)
    }

    /// The process of the proxy, if one answers.
    pub async fn proxy_pid(&self) -> Option<i32> {
        let health = self.proxy(Method::GET, "/v1/health", Vec::new()).await.ok()?;
        i32::try_from(health.get("pid")?.as_i64()?).ok()
    }

    /// Kills the control plane, as a crash would.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill().await;
        }
    }

    /// Asks the control plane.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Vec::new()).await
    }

    /// Tells the control plane.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).expect("arguments are plain data");
        self.ask(Method::POST, path, body).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        let state_dir = self.state_dir();
        let asking = unix_http::request((&state_dir, api::SOCKET), method, path, body);
        let (status, body) = in_time(asking).await?;
        let doing = || format!("the control plane did not do {path}");
        if status.is_success() {
            let unread = |error| Failure::because(FailureKind::Unknown, doing(), error);
            return serde_json::from_slice(&body).map_err(unread);
        }
        let said: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
        let problems = said.problems.iter().map(ToString::to_string);
        let words: Vec<String> = problems.chain(said.failure.clone()).collect();
        let cause = format!("{status}: {}", words.join("; "));
        Err(Failure::because(FailureKind::NotDone, doing(), cause))
    }

    /// Asks the proxy.
    pub async fn proxy(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let (state_dir, socket) = (self.state_dir(), traffic::embedded::SOCKET);
        let (status, body) =
            in_time(unix_http::request((&state_dir, socket), method, path, body)).await?;
        match status {
            StatusCode::OK => Ok(serde_json::from_slice(&body).unwrap_or_default()),
            _ => Err(Failure::new(FailureKind::NotDone, format!("the proxy answered {status}"))),
        }
    }

    /// Begins to deploy a spec as a version; answers the deployment's number.
    pub async fn deploy(&self, spec: &Value, version: &str) -> Result<u64, Failure> {
        let args = DeployArgs {
            spec: spec.to_string(),
            format: "json".to_owned(),
            file: "rollway.json".to_owned(),
            folder: self.folder.display().to_string(),
            version: Some(version.to_owned()),
            actor: "trial".to_owned(),
            ..DeployArgs::default()
        };
        let view: DeploymentView = self.post("/v1/deployments", &args).await?;
        Ok(view.number)
    }

    /// Does a verb to a service.
    pub async fn verb(
        &self,
        service: &str,
        verb: &str,
        args: &VerbArgs,
    ) -> Result<VerbAnswer, Failure> {
        self.post(&format!("/v1/services/{service}/{verb}"), args).await
    }

    /// Waits for the end of a deployment.
    pub async fn ended(
        &self,
        service: &str,
        number: u64,
        wait: Duration,
    ) -> Result<DeploymentView, Failure> {
        let path = format!("/v1/services/{service}/deployments/{number}?wait_ms={EVENTS_WAIT_MS}");
        let until = Instant::now() + wait;
        loop {
            let view: DeploymentView = self.get(&path).await?;
            if view.state.is_terminal() {
                return Ok(view);
            }
            if Instant::now() > until {
                let waits = view.waiting.map_or("its next step".to_owned(), |w| w.what);
                let doing = format!("{service}-{number} did not end within {wait:?}");
                let cause = format!("it waits for {waits}");
                return Err(Failure::because(FailureKind::Unknown, doing, cause));
            }
        }
    }

    /// The events after a place; waits for the next one if there is none yet.
    pub async fn events(
        &self,
        service: &str,
        after: u64,
        wait_ms: u64,
    ) -> Result<(Vec<EventView>, u64), Failure> {
        let path = format!("/v1/services/{service}/events?after={after}&wait_ms={wait_ms}");
        let mut page: Value = self.get(&path).await?;
        let last = page.get("last_seq").and_then(Value::as_u64).unwrap_or(after);
        let events = page.get_mut("events").map(Value::take).unwrap_or_default();
        let unread =
            |error| Failure::because(FailureKind::Unknown, "could not read the events", error);
        Ok((serde_json::from_value(events).map_err(unread)?, last))
    }

    /// Waits for an event of a deployment that is as `wanted`.
    pub async fn event(
        &self,
        service: &str,
        wait: Duration,
        wanted: impl Fn(&EventView) -> bool,
    ) -> Result<EventView, Failure> {
        let (mut after, until) = (0, Instant::now() + wait);
        while Instant::now() < until {
            let (events, last) = self.events(service, after, EVENTS_WAIT_MS.min(1000)).await?;
            if let Some(event) = events.into_iter().find(&wanted) {
                return Ok(event);
            }
            after = last;
        }
        let doing = format!("the event that was waited for did not come within {wait:?}");
        Err(Failure::new(FailureKind::Unknown, doing))
    }

    /// The instances of a service.
    pub async fn instances(&self, service: &str) -> Result<Vec<InstanceView>, Failure> {
        self.get(&format!("/v1/services/{service}/instances")).await
    }

    /// Ends everything and removes the folder; answers what had to be killed or is left, in words.
    pub async fn end(mut self) -> Vec<String> {
        // Whatever does not end by itself is killed below; so answers do not matter here.
        if let Ok(services) = self.get::<Vec<Value>>("/v1/services").await {
            let names = services.iter().filter_map(|one| one.get("service")?.as_str());
            for name in names.map(str::to_owned).collect::<Vec<_>>() {
                self.take_down(&name).await;
            }
        }
        let _ = self.post::<Value>("/v1/shutdown", &serde_json::json!({})).await;
        if let Some(mut child) = self.child.take() {
            let wait = Duration::from_millis(END_WAIT_MS);
            let _ = tokio::time::timeout(wait, child.wait()).await;
        }
        // Only now: a control plane that runs starts another one at once.
        let _ = self.proxy(Method::POST, "/v1/shutdown", b"{}".to_vec()).await;
        let folder = self.folder.clone();
        let left = tokio::task::spawn_blocking(move || sweep(&folder)).await;
        let mut left = left.unwrap_or_else(|_| vec!["the sweep was cut short".to_owned()]);
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            left.push(format!("could not remove {}: {error}", self.folder.display()));
        }
        left
    }

    async fn take_down(&self, service: &str) {
        let args = VerbArgs { actor: "trial".to_owned(), ..VerbArgs::default() };
        let _ = self.verb(service, "abort", &args).await;
        let all = format!("/v1/services/{service}/deployments?limit=1");
        let wait = Duration::from_millis(END_WAIT_MS);
        for verb in ["", "down"] {
            if !verb.is_empty() && self.verb(service, verb, &args).await.is_err() {
                return;
            }
            let newest = self.get::<Vec<DeploymentView>>(&all).await.unwrap_or_default();
            if let Some(newest) = newest.first() {
                let _ = self.ended(service, newest.number, wait).await;
            }
        }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // A trial that was not ended, because of a panic or a failure, must not leave processes.
        if self.folder.exists() {
            sweep(&self.folder);
            // What cannot be removed here was named where it went wrong.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Waits for the end of every process that works in a folder, then kills it; says which.
fn sweep(folder: &Path) -> Vec<String> {
    let find = || working_in(folder);
    let until = Instant::now() + Duration::from_millis(END_WAIT_MS / 4);
    while Instant::now() < until && !find().is_empty() {
        std::thread::sleep(LOOK);
    }
    let left: Vec<String> = find()
        .iter()
        .map(|one| {
            let words = std::fs::read(format!("/proc/{}/cmdline", one.pid)).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            format!("killed process {}: {}", one.pid, words.trim_end())
        })
        .collect();
    if !tree::kill_all(&[], find) {
        tracing::error!("processes are left in {}", folder.display());
    }
    left
}

/// All processes that name the folder in their command line, or work in it.
fn working_in(folder: &Path) -> Vec<Identity> {
    let text = folder.display().to_string();
    let own = std::process::id();
    let names = |pid: i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let works_there = std::fs::read_link(format!("/proc/{pid}/cwd"));
        words.windows(text.len()).any(|window| window == text.as_bytes())
            || works_there.is_ok_and(|path| path.starts_with(folder))
    };
    let all = proc::all().into_iter().map(|stat| stat.identity.pid);
    let others = all.filter(|pid| u32::try_from(*pid) != Ok(own));
    others.filter(|pid| names(*pid)).filter_map(Identity::of).collect()
}

async fn in_time<T>(asking: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(ANSWER_WAIT, asking).await.unwrap_or_else(|_| {
        Err(Failure::new(FailureKind::Unknown, format!("no answer within {ANSWER_WAIT:?}")))
    })
}

/// An address of this machine where nobody listens at the moment.
pub fn free_address() -> Result<SocketAddr, Failure> {
    let bound = std::net::TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr());
    bound.map_err(|error| Failure::because(FailureKind::NotDone, "found no free port", error))
}

/// Sends a signal to a process.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(identity) = Identity::of(pid) {
        identity.signal(signal);
    }
}
