//! A repository and a control plane that follows it; both end with the test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A condition that is not met after this long never will be, on however busy a machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The wait between two looks at something that tells nobody when it changes.
pub const LOOK: Duration = Duration::from_millis(20);

/// Whether the long runs are asked for.
pub fn is_slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}

/// Waits until something is there.
#[track_caller]
pub fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Runs git as a person would, with no configuration but ours.
pub fn git(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ann").env(format!("GIT_{who}_EMAIL"), "ann@h");
    }
    command.output().unwrap()
}

/// The same where it must go well; what it printed.
#[track_caller]
pub fn git_ok(folder: &Path, arguments: &[&str]) -> String {
    let output = git(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository with a work tree beside it.
pub struct Repo {
    pub work: PathBuf,
    pub bare: PathBuf,
}

impl Repo {
    /// An empty one with the branch `main`.
    pub fn new(root: &Path) -> Self {
        let (work, bare) = (root.join("work"), root.join("repo.git"));
        git_ok(root, &["init", "-q", "-b", "main", "work"]);
        git_ok(root, &["init", "-q", "--bare", "-b", "main", "repo.git"]);
        git_ok(&work, &["remote", "add", "origin", &bare.display().to_string()]);
        Self { work, bare }
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.work.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Commits all that is there, and pushes; the commit.
    #[track_caller]
    pub fn push(&self) -> String {
        git_ok(&self.work, &["add", "-A"]);
        git_ok(&self.work, &["commit", "-q", "--allow-empty", "-m", "a commit"]);
        self.push_only()
    }

    #[track_caller]
    pub fn push_only(&self) -> String {
        git_ok(&self.work, &["push", "-q", "--force", "origin", "HEAD:refs/heads/main"]);
        git_ok(&self.work, &["rev-parse", "HEAD"])
    }

    /// Writes the spec of a service on targets that are only recorded.
    pub fn service(&self, name: &str, version: &str, more: &str) {
        let text = format!("service: {name}\nversion: {version}\nrun: {{driver: 'null'}}\n{more}");
        self.write(&format!("{name}/rollway.yaml"), text);
    }

    /// A service whose deployment fails.
    pub fn bad_service(&self, name: &str, version: &str) {
        self.service(name, version, "hooks: {before_deploy: {command: [/bin/false]}}\n");
    }

    /// A service whose deployment takes longer than any test.
    pub fn slow_service(&self, name: &str, version: &str) {
        self.service(
            name,
            version,
            "hooks: {before_deploy: {command: [/bin/sleep, '600'], timeout: 10m}}\n",
        );
    }
}

/// A control plane.
pub struct World {
    root: TempDir,
    serve: Option<Child>,
    webhooks: Option<String>,
    /// The size of the disk that all it keeps of Git is on, in bytes.
    disk: Option<u64>,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self::without_control_plane();
        world.start();
        world
    }

    pub fn without_control_plane() -> Self {
        let root = tempfile::Builder::new().prefix("rollway-gitops-").tempdir().unwrap();
        Self { root, serve: None, webhooks: None, disk: None }
    }

    /// One that hears webhooks there.
    pub fn with_webhooks(address: &str) -> Self {
        let mut world = Self::without_control_plane();
        world.webhooks = Some(address.to_owned());
        world.start();
        world
    }

    /// One that keeps what it has of Git on a disk of its own, where that can be had.
    pub fn with_disk(bytes: u64) -> Option<Self> {
        let mut world = Self::without_control_plane();
        fs::create_dir(world.state()).unwrap();
        fs::set_permissions(world.state(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::create_dir(world.state().join("gitops")).unwrap();
        world.disk = Some(bytes);
        let mut trial = world.on_disk(bytes, Path::new("/bin/true"));
        if !trial.output().is_ok_and(|trial| trial.status.success()) {
            println!("nobody may have a disk of their own here: not tested");
            return None;
        }
        world.start();
        Some(world)
    }

    /// What runs a program where the disk is.
    fn on_disk(&self, bytes: u64, program: &Path) -> Command {
        let mount = "mount -t tmpfs -o size=\"$1\",mode=700 none \"$2\" && shift 2 && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]);
        command.arg(bytes.to_string()).arg(self.state().join("gitops")).arg(program);
        command
    }

    /// Where the disk is seen from here.
    pub fn disk(&self) -> PathBuf {
        let seen = format!("/proc/{}/root", self.serve.as_ref().unwrap().id());
        let inside = self.state().join("gitops");
        Path::new(&seen).join(inside.strip_prefix("/").unwrap())
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    /// Where the only copy of a repository is.
    pub fn mirror(&self) -> PathBuf {
        let folder = self.state().join("gitops/mirrors");
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut mirrors = entries.filter(|path| path.extension().is_some_and(|end| end == "git"));
        mirrors.next().expect("there is one")
    }

    pub fn start(&mut self) {
        let program = Path::new(env!("CARGO_BIN_EXE_rollway"));
        let mut command = match self.disk {
            Some(bytes) => self.on_disk(bytes, program),
            None => Command::new(program),
        };
        self.furnish(command.arg("serve"));
        if let Some(address) = &self.webhooks {
            command.args(["--webhooks", address]);
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root().join("serve.log"))
            .unwrap();
        self.serve = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let state = self.state();
        wait_for("a control plane", || {
            let health = Command::new(env!("CARGO_BIN_EXE_rollway"))
                .args(["gitops", "list", "--json", "--state-dir"])
                .arg(&state)
                .output()
                .unwrap();
            health.status.success().then_some(())
        });
    }

    pub fn kill(&mut self) {
        let mut serve = self.serve.take().unwrap();
        serve.kill().unwrap();
        serve.wait().unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollway"));
        self.furnish(command.args(arguments));
        command
    }

    fn furnish(&self, command: &mut Command) {
        command
            .current_dir(self.root())
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin")
            .env("HOME", self.root())
            .env("ROLLWAY_STATE_DIR", self.state())
            .stdin(Stdio::null());
    }

    /// Runs the binary.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a verb answers.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a verb complains of, which ends with this code.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    /// Follows a repository by the name `demo`, looking often.
    #[track_caller]
    pub fn add(&self, url: &str, more: &[&str]) -> Value {
        let fixed = ["gitops", "add", "demo", url, "--interval", "1s", "--drift-interval", "1s"];
        self.ask(&[&fixed, more].concat())
    }

    pub fn show(&self) -> Value {
        self.ask(&["gitops", "show", "demo"])
    }

    /// Has it looked at now; what came of it.
    pub fn sync(&self) -> Value {
        self.ask(&["gitops", "sync", "demo"])
    }

    /// Waits until a service stands like this: sync and a part of its reason.
    #[track_caller]
    pub fn stands(&self, service: &str, sync: &str, reason: &str) -> Value {
        let mut last = Value::Null;
        let began = Instant::now();
        loop {
            let view = self.show();
            let found = one(&view, service);
            if let Some(found) = found
                && found["sync"] == sync
                && found["reason"].as_str().unwrap().contains(reason)
            {
                return found.clone();
            }
            last.clone_from(&view);
            assert!(
                began.elapsed() < PATIENCE,
                "{service} is not {sync} ({reason}): {last:#}\n{}",
                self.log()
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until the source stands like this.
    #[track_caller]
    pub fn source_is(&self, status: &str, reason: &str) -> Value {
        let mut last = Value::Null;
        let began = Instant::now();
        loop {
            let view = self.show();
            if view["source"] == status && view["reason"] == reason {
                return view;
            }
            last.clone_from(&view);
            assert!(began.elapsed() < PATIENCE, "not {status} ({reason}): {last:#}");
            std::thread::sleep(LOOK);
        }
    }

    /// The version that serves.
    pub fn serves(&self, service: &str) -> String {
        let view = self.ask(&["status", service]);
        let view = if view.is_array() { view[0].clone() } else { view };
        view["serving"]["version"].as_str().unwrap_or("none").to_owned()
    }

    /// How many deployments there were.
    pub fn deployments(&self, service: &str) -> usize {
        self.ask(&["history", service]).as_array().unwrap().len()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root().join("serve.log")).unwrap_or_default()
    }
}

/// The status of one service.
pub fn one<'a>(view: &'a Value, service: &str) -> Option<&'a Value> {
    view["services"].as_array()?.iter().find(|one| one["service"] == service)
}

impl Drop for World {
    fn drop(&mut self) {
        // Proxy and control plane; nothing else runs for services that are only recorded.
        let _ = self.run(&["shutdown", "--proxy"]);
        if let Some(mut serve) = self.serve.take() {
            let _ = serve.kill();
            let _ = serve.wait();
        }
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}
