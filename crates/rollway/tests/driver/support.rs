//! Launches, waiting, and looking at processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollway::driver::{
    Driver, Ended, Ensured, Fence, Launch, Life, SeenInstance, Setup, StopOrder, named,
};
use rollway_core::ids::{Generation, InstanceId, ReleaseNumber, ServiceName, Version};
use rollway_core::spec::{Limits, Log, Restart, RestartPolicy};
use rollway_core::units::Millis;
use tempfile::TempDir;

/// A condition that is not met after this long never will be.
const PATIENCE: Duration = Duration::from_secs(20);

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rollway");

/// A state folder, and a driver over it; what it started ends with it.
pub struct Bench {
    pub state: TempDir,
    pub driver: Arc<dyn Driver>,
    pub kind: String,
}

impl Bench {
    pub fn new(kind: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let driver = fresh(kind, state.path());
        Self { state, driver, kind: kind.into() }
    }

    pub fn process() -> Self {
        Self::new("process")
    }

    /// As if the control plane had been started again.
    pub fn restart(&mut self) {
        self.driver = fresh(&self.kind, self.state.path());
    }

    pub async fn start(&self, generation: u64, launch: &Launch) -> (Ensured, SeenInstance) {
        self.driver.start(&fence(generation), launch).await.map_err(|f| f.chain()).unwrap()
    }

    pub async fn stop(&self, generation: u64, slot: u32) -> Ensured {
        self.stop_with(generation, slot, Millis(5_000)).await
    }

    pub async fn stop_with(&self, generation: u64, slot: u32, timeout: Millis) -> Ensured {
        let order = StopOrder { signal: "SIGTERM".into(), timeout };
        let stopped = self.driver.stop(&fence(generation), instance(slot), &order).await;
        stopped.map_err(|f| f.chain()).unwrap()
    }

    pub async fn observe(&self) -> Vec<SeenInstance> {
        self.driver.observe(&service()).await.map_err(|f| f.chain()).unwrap()
    }

    pub async fn one(&self) -> SeenInstance {
        let mut seen = self.observe().await;
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    pub async fn until(&self, what: &str, met: impl Fn(&SeenInstance) -> bool) -> SeenInstance {
        let began = Instant::now();
        loop {
            let seen = self.one().await;
            if met(&seen) {
                return seen;
            }
            assert!(began.elapsed() < PATIENCE, "waited for {what}, saw {seen:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn folder(&self, slot: u32) -> PathBuf {
        self.state.path().join("instances/shop").join(instance(slot).to_string())
    }

    pub fn record(&self, slot: u32) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.folder(slot).join("shim.json")).unwrap()).unwrap()
    }

    pub fn shim_pid(&self, slot: u32) -> i64 {
        self.record(slot)["shim"]["pid"].as_i64().unwrap()
    }
}

impl Drop for Bench {
    /// Kills what a test leaves behind, shims first.
    fn drop(&mut self) {
        let Ok(found) = fs::read_dir(self.state.path().join("instances/shop")) else { return };
        for entry in found.filter_map(Result::ok) {
            let Ok(bytes) = fs::read(entry.path().join("shim.json")) else { continue };
            let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            for who in ["shim", "child"] {
                if let Some(pid) = record[who]["pid"].as_i64().filter(|pid| *pid > 1) {
                    kill(pid);
                }
            }
        }
    }
}

pub fn fresh(kind: &str, state: &Path) -> Arc<dyn Driver> {
    let setup = Setup { state: state.to_owned(), program: PROGRAM.into() };
    named(kind, &setup).unwrap()
}

pub fn service() -> ServiceName {
    ServiceName::parse("shop").unwrap()
}

pub fn instance(slot: u32) -> InstanceId {
    InstanceId { release: ReleaseNumber(1), slot }
}

pub fn fence(generation: u64) -> Fence {
    Fence { service: service(), generation: Generation(generation) }
}

/// An instance that runs a shell script.
pub fn script(text: &str) -> Launch {
    Launch {
        instance: instance(0),
        version: Version::parse("v1").unwrap(),
        command: ["/bin/sh", "-c", text].map(String::from).into(),
        env: BTreeMap::new(),
        working_folder: "/".into(),
        user: None,
        limits: Limits::default(),
        stop_signal: "SIGTERM".into(),
        restart: Restart { policy: RestartPolicy::Never, ..Restart::default() },
        log: Log::default(),
        port: true,
    }
}

/// An instance that runs until it is asked to end.
pub fn sleeper() -> Launch {
    Launch { command: vec!["sleep".into(), "600".into()], ..script("") }
}

pub fn pid_of(seen: &SeenInstance) -> i64 {
    seen.incarnation.split_once(':').unwrap().0.parse().unwrap()
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub fn kill(pid: i64) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// Waits for a condition, for a bounded time.
pub fn wait_for<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What a file holds once it holds a full line.
pub fn line_in(path: &Path) -> String {
    wait_for(&format!("a line in {}", path.display()), || {
        let text = fs::read_to_string(path).ok()?;
        text.ends_with('\n').then(|| text.trim_end().to_owned())
    })
}

pub fn ended(seen: &SeenInstance) -> Option<&Ended> {
    match &seen.life {
        Life::Ended(ended) => Some(ended),
        Life::Starting | Life::Running | Life::Restarting { .. } | Life::Stopping => None,
    }
}
