//! A world of its own for each test: a state directory, a control plane over it, a free port; all
//! that was started in it ends with it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use rollway::load::{Load, LoadPlan, Report};
use rollway::unix_http;
use rollway_core::event::DeploymentState;
use rollway_core::view::{
    DeployArgs, DeploymentView, ErrorBody, EventView, InstanceView, ServiceView, VerbAnswer,
    VerbArgs,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::shop::{self, Shop, Witnessed};

/// A condition that is not met after this long never will be, on however busy a machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The wait between two looks at something that tells nobody when it changes.
pub const LOOK: Duration = Duration::from_millis(5);
/// Where listeners look for ports: below those of instances and of outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// An answer that is not a success.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub body: ErrorBody,
}

impl Refused {
    /// Everything that it says, on one line.
    pub fn text(&self) -> String {
        let problems = self.body.problems.iter().map(|one| {
            format!("{}: {} ({})", one.path, one.what, one.hint.clone().unwrap_or_default())
        });
        let all: Vec<String> = problems.chain(self.body.failure.clone()).collect();
        all.join("; ")
    }
}

/// A port that no other test has.
struct Port {
    number: u16,
    _claim: UnixDatagram,
}

impl Port {
    fn claim() -> Self {
        loop {
            let number = fastrand::u16(PORTS);
            let name = format!("rollway-test-port-{number}");
            let name = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
            let Ok(claim) = UnixDatagram::bind_addr(&name) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _claim: claim };
            }
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.number))
    }
}

/// A process that belongs to a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub command: String,
}

/// One test's world.
pub struct World {
    root: TempDir,
    serve: Option<Child>,
    port: Port,
    preview: Port,
}

impl World {
    /// A control plane over an empty state directory.
    pub async fn new() -> Self {
        let mut world = Self::without_control_plane();
        world.start_control_plane().await;
        world
    }

    /// A world in which nothing runs yet.
    pub fn without_control_plane() -> Self {
        let root = tempfile::Builder::new().prefix("rollway-it-").tempdir().unwrap();
        std::os::unix::fs::symlink(shop::program(), root.path().join("shop")).unwrap();
        Self { root, serve: None, port: Port::claim(), preview: Port::claim() }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// Where the shop is served.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Another free address, for a preview.
    pub fn preview(&self) -> SocketAddr {
        self.preview.address()
    }

    // ---- the control plane ----

    /// `rollway serve` over the state directory, in whatever way it is started for now.
    pub fn serve_command(&self) -> Command {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root().join("serve.log"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollway"));
        command
            .args(["serve", "--state-dir"])
            .arg(self.state())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    /// Starts the control plane, and waits until it answers; how long that took.
    pub async fn start_control_plane(&mut self) -> Duration {
        let command = self.serve_command();
        self.start_control_plane_by(command).await
    }

    /// The same by another command.
    pub async fn start_control_plane_by(&mut self, command: Command) -> Duration {
        let began = Instant::now();
        if let Some(status) = self.try_start_control_plane(command).await {
            panic!("the control plane ended with {status}: {}", self.log());
        }
        began.elapsed()
    }

    /// Starts the control plane, and waits until it answers or has ended; how it ended.
    pub async fn try_start_control_plane(&mut self, mut command: Command) -> Option<ExitStatus> {
        assert!(self.serve.is_none(), "one runs already");
        let began = Instant::now();
        self.serve = Some(command.spawn().unwrap());
        let pid = self.control_plane_pid();
        loop {
            if let Ok(health) = self.get::<Value>("/v1/health").await
                && health["pid"].as_i64() == pid.map(i64::from)
            {
                return None;
            }
            if let Some(status) = self.control_plane_ended() {
                return Some(status);
            }
            assert!(began.elapsed() < PATIENCE, "the control plane does not answer");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The process of the control plane that was started here.
    pub fn control_plane_pid(&self) -> Option<i32> {
        self.serve.as_ref().map(|serve| serve.id().try_into().unwrap())
    }

    /// How the control plane ended, if it has; then another may be started.
    pub fn control_plane_ended(&mut self) -> Option<ExitStatus> {
        let status = self.serve.as_mut()?.try_wait().unwrap()?;
        self.serve = None;
        Some(status)
    }

    /// `kill -9` of the control plane.
    pub fn kill_control_plane(&mut self) {
        let mut serve = self.serve.take().expect("one runs");
        serve.kill().unwrap();
        serve.wait().unwrap();
    }

    /// What the control plane says of the proxy's process.
    pub async fn proxy_pid(&self) -> Option<i32> {
        let state = self.state();
        let socket = (state.as_path(), "proxy.sock");
        let answer = unix_http::request(socket, Method::GET, "/v1/health", vec![]).await;
        let health: Value = serde_json::from_slice(&answer.ok()?.1).ok()?;
        health["pid"].as_i64().and_then(|pid| pid.try_into().ok())
    }

    /// What the control planes of this world have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root().join("serve.log")).unwrap_or_default()
    }

    // ---- the interface ----

    /// One request to the control plane.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Refused> {
        let body = serde_json::to_vec(body).unwrap();
        let answer = unix_http::request((&self.state(), "control.sock"), method, path, body).await;
        let (status, body) = answer.map_err(|failure| Refused {
            status: StatusCode::BAD_GATEWAY,
            body: ErrorBody { failure: Some(failure.chain()), ..ErrorBody::default() },
        })?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&body).expect(path));
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        let unread = |_| ErrorBody { failure: Some(text), ..ErrorBody::default() };
        Err(Refused { status, body: serde_json::from_slice(&body).unwrap_or_else(unread) })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refused> {
        self.ask(Method::GET, path, &Value::Null).await
    }

    /// The body of a deployment request.
    pub fn deploy_args(&self, shop: &Shop, version: &str) -> DeployArgs {
        DeployArgs {
            spec: shop.yaml(&self.address().to_string(), &self.witness_file()),
            format: "yaml".into(),
            folder: self.root().display().to_string(),
            version: Some(version.into()),
            actor: "the test".into(),
            ..DeployArgs::default()
        }
    }

    pub async fn try_deploy(&self, shop: &Shop, version: &str) -> Result<DeploymentView, Refused> {
        let args = self.deploy_args(shop, version);
        self.ask(Method::POST, "/v1/deployments", &args).await
    }

    /// Begins a deployment; its number.
    pub async fn deploy(&self, shop: &Shop, version: &str) -> u64 {
        let begun = self.try_deploy(shop, version).await;
        begun.unwrap_or_else(|refused| panic!("deploy {version}: {}", refused.text())).number
    }

    /// Deploys to the end, which must be a good one.
    pub async fn roll_out(&self, shop: &Shop, version: &str) -> DeploymentView {
        let number = self.deploy(shop, version).await;
        self.completed(number).await
    }

    pub async fn try_verb(&self, verb: &str, args: VerbArgs) -> Result<VerbAnswer, Refused> {
        self.ask(Method::POST, &format!("/v1/services/shop/{verb}"), &args).await
    }

    /// Does a verb; the deployment that it is about.
    pub async fn verb(&self, verb: &str, args: VerbArgs) -> u64 {
        let done = self.try_verb(verb, args).await;
        let done = done.unwrap_or_else(|refused| panic!("{verb}: {}", refused.text()));
        done.deployment.unwrap_or_default()
    }

    pub async fn view(&self) -> ServiceView {
        self.get("/v1/services/shop").await.unwrap()
    }

    pub async fn instances(&self) -> Vec<InstanceView> {
        self.get("/v1/services/shop/instances").await.unwrap()
    }

    /// The processes of a release's instances, by name: `r1-0 4711`.
    pub async fn pids(&self, release: u64) -> Vec<String> {
        let mut of_release: Vec<String> = self
            .instances()
            .await
            .iter()
            .filter(|one| one.release.number == release && one.life == "running")
            .map(|one| format!("{} {}", one.instance, one.incarnation))
            .collect();
        of_release.sort();
        of_release
    }

    /// The whole history.
    pub async fn events(&self) -> Vec<EventView> {
        let mut all: Vec<EventView> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event.seq);
            let page = self.events_after(after, Duration::ZERO).await.unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// The history as text, with times in milliseconds after the first event.
    pub async fn story(&self) -> String {
        let events = self.events().await;
        let began = events.first().map_or(0, |event| event.at_ms);
        let line = |event: &EventView| format!("{:>7} {}", event.at_ms - began, event.text);
        events.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    async fn events_after(&self, after: u64, wait: Duration) -> Result<Vec<EventView>, Refused> {
        let path = format!("/v1/services/shop/events?after={after}&wait_ms={}", wait.as_millis());
        let page: Value = self.get(&path).await?;
        Ok(serde_json::from_value(page["events"].clone()).unwrap())
    }

    /// Waits until the service is as wanted, looking again after each event.
    pub async fn wait(&self, what: &str, holds: impl Fn(&ServiceView) -> bool) -> ServiceView {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            match self.get::<ServiceView>("/v1/services/shop").await {
                Ok(view) if holds(&view) => return view,
                Ok(view) => {
                    // Health changes without an event, so the wait is short.
                    let _ = self.events_after(view.last_seq, Duration::from_millis(200)).await;
                    last = Some(view);
                }
                // The control plane may be on its way back.
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
        panic!("waited in vain for {what}; it is {last:#?}\n{}", self.log());
    }

    /// Waits for the end of a deployment.
    pub async fn ended(&self, number: u64) -> DeploymentView {
        let of = |view: &ServiceView| view.deployment.clone();
        let ended = |view: &ServiceView| {
            of(view).is_some_and(|one| one.number == number && one.state.is_terminal())
        };
        of(&self.wait(&format!("the end of shop-{number}"), ended).await).unwrap()
    }

    /// Waits for the end of a deployment, which must be this one.
    pub async fn ended_as(&self, number: u64, state: DeploymentState) -> DeploymentView {
        let ended = self.ended(number).await;
        if ended.state != state {
            let story = self.story().await;
            panic!("it ended as {:?}: {:#?}\n{story}", ended.state, ended.reasons);
        }
        ended
    }

    pub async fn completed(&self, number: u64) -> DeploymentView {
        self.ended_as(number, DeploymentState::Completed).await
    }

    /// Waits until the deployment under way waits for a person.
    pub async fn at_gate(&self) -> ServiceView {
        self.waits_for("rollway promote").await
    }

    /// Waits until the deployment under way says that it waits for this.
    pub async fn waits_for(&self, what: &str) -> ServiceView {
        let waits = |view: &ServiceView| {
            let waiting = view.deployment.as_ref().and_then(|one| one.waiting.as_ref());
            waiting.is_some_and(|waiting| waiting.what.contains(what))
        };
        self.wait(&format!("the wait for {what:?}"), waits).await
    }

    /// The history must be whole.
    pub async fn verify_history(&self) {
        let report: Value = self.get("/v1/history/verify").await.unwrap();
        assert_eq!(report["ok"], true, "{report:#}");
        assert!(report["services"][0]["whole"].as_u64() > Some(0), "{report:#}");
    }

    // ---- requests to the shop ----

    /// Ends a load when it has made enough requests to say something; none may have failed.
    pub async fn none_lost(&self, load: Load) {
        let enough = || load.snapshot().finished >= REQUESTS_MIN;
        self.wait_until("the load has made some requests", enough).await;
        assert_none_lost(&load.stop().await);
    }

    /// Open-loop load on the shop until stopped.
    pub fn load(&self, rate: u32) -> Load {
        let timeout = Duration::from_secs(20);
        Load::start(LoadPlan { rate, timeout, ..LoadPlan::to(self.address()) }).unwrap()
    }

    // ---- what is there in truth ----

    pub fn witness_file(&self) -> PathBuf {
        self.root().join("witness.jsonl")
    }

    pub fn witnessed(&self) -> Vec<Witnessed> {
        shop::witnessed(&self.witness_file())
    }

    /// Nothing was started twice, by the words of those who were started.
    pub fn assert_started_once(&self) {
        let mut names: Vec<String> = self
            .witnessed()
            .into_iter()
            .filter(|line| line.event == "start")
            .map(|line| line.instance)
            .collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "something was started twice: {:#?}", self.witnessed());
    }

    /// All processes of this world: the control plane, the proxy, shims and instances.
    pub fn processes(&self) -> Vec<Process> {
        let root = self.root().display().to_string();
        let folders = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let found = folders.filter_map(|folder| {
            let pid: i32 = folder.file_name().to_str()?.parse().ok()?;
            let words = fs::read(folder.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&words).replace('\0', " ");
            command.contains(&root).then_some(Process { pid, command })
        });
        found.collect()
    }

    /// The processes of instances.
    pub fn shops(&self) -> Vec<Process> {
        let mut all = self.processes();
        all.retain(|one| one.command.contains("/shop --port"));
        all
    }

    /// Waits for something that can only be looked at.
    pub async fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {:#?}",
                self.processes()
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills everything at once, as a power cut does.
    pub fn kill_everything(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "these cannot be killed: {left:#?}");
            for pid in left.iter().filter_map(|one| Pid::from_raw(one.pid)) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(LOOK);
        }
        if let Some(mut serve) = self.serve.take() {
            serve.wait().unwrap();
        }
    }

    /// Stops the service and the control plane in the ordinary way: nothing may be left but the
    /// proxy, whose listener is closed.
    pub async fn ends_in_order(mut self) {
        if self.view().await.desired == "up" {
            let number = self.verb("down", VerbArgs::default()).await;
            self.completed(number).await;
        }
        assert_eq!(self.shops(), []);
        assert!(TcpListener::bind(self.address()).is_ok(), "somebody still listens");
        let stopping: Value = self.ask(Method::POST, "/v1/shutdown", &json!({})).await.unwrap();
        assert_eq!(stopping["stopping"], true);
        let mut serve = self.serve.take().unwrap();
        let status = tokio::task::spawn_blocking(move || serve.wait().unwrap()).await.unwrap();
        assert!(status.success(), "{status}: {}", self.log());
        // A shim says that its instance is gone just before it goes itself.
        let shims = || self.processes().iter().any(|one| one.command.contains(" shim "));
        self.wait_until("the last shim to go", || !shims()).await;
    }
}

impl Drop for World {
    #[expect(clippy::print_stderr, reason = "the log of the control plane helps after a failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the control plane's log ----\n{}", self.log());
        }
        self.kill_everything();
        if !std::thread::panicking() {
            // What does not carry the folder in its command line has no business to be there. A
            // process that was killed loses its command line before it loses its sockets.
            let until = Instant::now() + PATIENCE;
            while TcpListener::bind(self.address()).is_err() {
                assert!(Instant::now() < until, "somebody still listens");
                std::thread::sleep(LOOK);
            }
        }
    }
}

/// Fewer requests say nothing.
const REQUESTS_MIN: u64 = 20;

/// No request may have failed, and enough must have been made to say so.
pub fn assert_none_lost(report: &Report) {
    let (summary, failures) = (report.summary(), &report.failures);
    assert_eq!(report.tally.failed(), 0, "{summary}\n{failures:#?}");
    assert!(report.tally.finished >= REQUESTS_MIN, "too few requests to say anything: {summary}");
}

/// One request on a connection of its own: the status, and the body as text.
pub async fn fetch(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let wrong = || std::io::Error::other(format!("not an answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(wrong)?, body.to_owned()))
}
