//! A folder of its own for each test, the binary to run in it, and an end for all that it started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// What one run of the binary said.
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// The rest.
    pub stderr: String,
}

/// A folder with a spec, and beside it the state folder.
pub struct World {
    folder: TempDir,
}

impl World {
    /// An empty folder; nothing runs.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rollway-cli-").tempdir().unwrap();
        fs::create_dir(folder.path().join("shop")).unwrap();
        Self { folder }
    }

    /// Where the spec is, and where the binary runs.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    /// Where the state is.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.folder().join(name), text).unwrap();
    }

    /// The binary with these arguments, not run yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollway"));
        command
            .args(arguments)
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TZ", "UTC")
            .env("HOME", self.folder())
            .env("ROLLWAY_STATE_DIR", self.state())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.said(&self.command(arguments).output().unwrap())
    }

    /// Runs it, and expects it to do well.
    pub fn done(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.stdout, said.stderr);
        said
    }

    /// What a run said, without what is different every time.
    pub fn said(&self, output: &Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: self.plain(&String::from_utf8_lossy(&output.stdout)),
            stderr: self.plain(&String::from_utf8_lossy(&output.stderr)),
        }
    }

    fn plain(&self, text: &str) -> String {
        let root = self.folder.path().to_str().unwrap();
        let text = text.replace(root, "[FOLDER]");
        let pattern = regex::Regex::new(r"process \d+").unwrap();
        pattern.replace_all(&text, "process [PID]").into_owned()
    }

    /// Everything that is in the folder and in the state, but for what a running control plane
    /// writes all the time.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.folder.path(), &mut files);
        files
    }

    /// Whether a control plane was ever started here.
    pub fn has_state(&self) -> bool {
        self.state().exists()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.state().join("rollway.db").exists() {
            return;
        }
        // Whatever state the test left it in: what runs is to end.
        let _ = self.command(&["abort"]).output();
        let _ = self.command(&["down"]).output();
        let _ = self.command(&["shutdown", "--proxy"]).output();
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            collect(&path, files);
        }
        let content = if kind.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        files.insert(path, content);
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The example service, built once for all tests.
pub fn shop() -> &'static Path {
    static SHOP: OnceLock<PathBuf> = OnceLock::new();
    SHOP.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_rollway")).with_file_name("shop");
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "shop"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the example service can be built");
        beside
    })
}

/// A spec of the example service; `more` is further lines.
pub fn spec(instances: u32, port: u16, more: &str) -> String {
    let shop = shop().display();
    format!(
        "service: shop
instances: {instances}
run:
  command: [\"{shop}\", \"--port\", \"{{{{port}}}}\", \"--version\", \"{{{{version}}}}\"]
  stop_timeout: 2s
health:
  - http: {{path: /healthz}}
    interval: 100ms
    timeout: 100ms
traffic:
  listen: [\"127.0.0.1:{port}\"]
  drain: 1s
{more}"
    )
}

/// Waits until a condition holds; a minute is far beyond any of them.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
