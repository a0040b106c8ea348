//! The embedded proxy as seen by the control plane: it is started when needed, watched, started
//! again when it dies, and told what to do over its own socket.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use rollway_core::ids::{Generation, InstanceId, ServiceName};
use rollway_core::units::Millis;
use serde_json::Value;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Mutex, watch};

use crate::crash;
use crate::failure::{Failure, FailureKind};
use crate::proxy::table::ServiceTable;
use crate::unix_http;

/// The proxy's socket in the state directory.
pub const SOCKET: &str = "proxy.sock";
/// How long a proxy may take until it answers.
const START_WAIT: Duration = Duration::from_secs(10);
/// The wait between two looks while it starts.
const LOOK: Duration = Duration::from_millis(2);
/// The wait before a proxy that died at once is started again, first and at most.
const RESTART_MS: (u64, u64) = (5, 2000);

/// The proxy of one state directory.
pub struct EmbeddedProxy {
    state_dir: PathBuf,
    program: PathBuf,
    starting: Mutex<()>,
    starts: watch::Sender<()>,
    wanted: watch::Sender<bool>,
    /// For tables: a switch waits for no connection to be made.
    kept: unix_http::Kept,
}

impl EmbeddedProxy {
    /// The proxy that `program proxy --state-dir DIR` is.
    #[must_use]
    pub fn new(state_dir: &Path, program: &Path) -> Arc<Self> {
        let (starts, _) = watch::channel(());
        let (wanted, _) = watch::channel(false);
        let (state_dir, program) = (state_dir.to_owned(), program.to_owned());
        let (starting, kept) = (Mutex::new(()), unix_http::Kept::default());
        Arc::new(Self { state_dir, program, starting, starts, wanted, kept })
    }

    /// Tells when a proxy was started: what it was told before may be forgotten.
    pub fn starts(&self) -> watch::Receiver<()> {
        self.starts.subscribe()
    }

    /// What the proxy says of itself; nothing if none answers.
    pub async fn health(&self) -> Option<Value> {
        let (status, body) = self.ask(Method::GET, "/v1/health", Vec::new()).await.ok()?;
        (status == StatusCode::OK).then(|| serde_json::from_slice(&body).ok()).flatten()
    }

    async fn pid(&self) -> Option<i32> {
        let pid = self.health().await?.get("pid")?.as_i64()?;
        i32::try_from(pid).ok()
    }

    /// Ensures that a proxy answers, and that it is watched from now on.
    pub async fn ensure(&self) -> Result<(), Failure> {
        self.wanted.send_replace(true);
        if self.health().await.is_some() {
            return Ok(());
        }
        let _starting = self.starting.lock().await;
        if self.health().await.is_some() {
            return Ok(());
        }
        self.start().await
    }

    async fn start(&self) -> Result<(), Failure> {
        let doing = "could not start the proxy";
        let not_done = |error: std::io::Error| Failure::because(FailureKind::NotDone, doing, error);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.state_dir.join("proxy.log"))
            .map_err(not_done)?;
        crash::point("traffic.proxy.before");
        let mut child = tokio::process::Command::new(&self.program)
            .arg("proxy")
            .arg("--detached")
            .arg("--state-dir")
            .arg(&self.state_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(false)
            .spawn()
            .map_err(not_done)?;
        crash::point("traffic.proxy.spawned");
        let answers = async {
            while self.health().await.is_none() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = answers => {}
            ended = child.wait() => {
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                let log = self.state_dir.join("proxy.log").display().to_string();
                let cause = format!("it ended at once: {how}; its log is {log}");
                return Err(Failure::because(FailureKind::NotDone, doing, cause));
            }
            () = tokio::time::sleep(START_WAIT) => {
                let cause = "it did not answer within 10s";
                return Err(Failure::because(FailureKind::Unknown, doing, cause));
            }
        }
        // Whoever starts a process has to take note of its end.
        tokio::spawn(async move { child.wait().await });
        self.starts.send_replace(());
        Ok(())
    }

    /// Watches the proxy as long as one is wanted, and starts another when it dies.
    pub async fn supervise(self: Arc<Self>) {
        let mut wanted = self.wanted.subscribe();
        let mut wait = RESTART_MS.0;
        loop {
            if wanted.wait_for(|wanted| *wanted).await.is_err() {
                return;
            }
            let began = tokio::time::Instant::now();
            match self.pid().await {
                Some(pid) => ended(pid).await,
                None => match self.ensure().await {
                    Ok(()) => continue,
                    Err(failure) => tracing::error!("{}", failure.chain()),
                },
            }
            if began.elapsed() > Duration::from_secs(10) {
                wait = RESTART_MS.0;
            }
            tokio::time::sleep(Duration::from_millis(wait)).await;
            wait = (wait * 4).min(RESTART_MS.1);
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, bytes::Bytes), Failure> {
        unix_http::request((&self.state_dir, SOCKET), method, path, body).await
    }

    /// Ensures that the proxy uses a table; answers when every worker does.
    pub async fn apply(&self, table: &ServiceTable) -> Result<(), Failure> {
        self.wanted.send_replace(true);
        let path = format!("/v1/services/{}", table.service);
        let body = serde_json::to_vec(table).expect("a table is plain data");
        let place = (self.state_dir.as_path(), SOCKET);
        let mut answer = self.kept.request(place, Method::PUT, &path, body.clone()).await;
        if matches!(&answer, Err(failure) if failure.kind == FailureKind::NotDone) {
            self.ensure().await?;
            answer = self.ask(Method::PUT, &path, body).await;
        }
        let (status, answer) = answer?;
        refuse(status, &answer, &format!("could not route {}", table.service))
    }

    /// Ensures that the proxy knows nothing of a service.
    pub async fn remove(
        &self,
        service: &ServiceName,
        generation: Generation,
    ) -> Result<(), Failure> {
        let path = format!("/v1/services/{service}?generation={}", generation.0);
        match self.ask(Method::DELETE, &path, Vec::new()).await {
            Ok((StatusCode::NOT_FOUND, _)) => Ok(()),
            Ok((status, answer)) => {
                refuse(status, &answer, &format!("could not unroute {service}"))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Waits until an instance that gets no new requests has none left, at most for its graces;
    /// answers how many had to be cut. A proxy that is gone has cut what it had.
    pub async fn drain(
        &self,
        service: &ServiceName,
        instance: InstanceId,
        (grace, stream_grace): (Millis, Millis),
    ) -> Result<u64, Failure> {
        let path = format!("/v1/services/{service}/drain");
        let body = serde_json::json!({
            "instances": [instance.to_string()],
            "grace_ms": grace.0,
            "stream_grace_ms": stream_grace.0,
        });
        let body = body.to_string().into_bytes();
        let Ok((status, answer)) = self.ask(Method::POST, &path, body).await else { return Ok(0) };
        if status == StatusCode::NOT_FOUND {
            // It knows nothing of the service, so it has nothing in flight for it.
            return Ok(0);
        }
        refuse(status, &answer, &format!("could not drain {service} {instance}"))?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        Ok(cut_in(&answer))
    }

    /// What the proxy has counted of a service.
    pub async fn counts(&self, service: &ServiceName) -> Result<Value, Failure> {
        let path = format!("/v1/metrics?service={service}");
        let (status, body) = self.ask(Method::GET, &path, Vec::new()).await?;
        let doing = format!("could not read the counters of {service}");
        refuse(status, &body, &doing)?;
        let report = serde_json::from_slice(&body);
        report.map_err(|why| Failure::because(FailureKind::NotDone, doing, why))
    }

    /// What the proxy does for a service now.
    pub async fn table(&self, service: &ServiceName) -> Option<ServiceTable> {
        let path = format!("/v1/services/{service}");
        let (status, body) = self.ask(Method::GET, &path, Vec::new()).await.ok()?;
        if status != StatusCode::OK {
            return None;
        }
        let answer: Value = serde_json::from_slice(&body).ok()?;
        let table = answer.get("table").cloned().unwrap_or(answer);
        serde_json::from_value(table).ok()
    }
}

/// The numbers of cut requests and streams, wherever in the answer they are.
fn cut_in(answer: &Value) -> u64 {
    match answer {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("cut", Value::Object(cut)) => cut.values().filter_map(Value::as_u64).sum(),
                (_, value) => cut_in(value),
            })
            .sum(),
        Value::Array(items) => items.iter().map(cut_in).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn refuse(status: StatusCode, answer: &[u8], doing: &str) -> Result<(), Failure> {
    let kind = match status {
        status if status.is_success() => return Ok(()),
        StatusCode::CONFLICT => FailureKind::Stale,
        _ => FailureKind::NotDone,
    };
    let text = String::from_utf8_lossy(answer).into_owned();
    Err(Failure::because(kind, doing, format!("the proxy answered {status}: {text}")))
}

/// Waits for the end of a process that need not be our child.
async fn ended(pid: i32) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
    let flags = rustix::process::PidfdFlags::NONBLOCK;
    let Ok(descriptor) = rustix::process::pidfd_open(pid, flags) else { return };
    // A process descriptor is waited for like the reading end of a pipe; tokio has no safe type
    // that says so.
    let Ok(watched) = Receiver::from_owned_fd_unchecked(descriptor) else { return };
    // Readable = it has ended; an error means that there is nothing to wait for.
    let _ = watched.readable().await;
}
