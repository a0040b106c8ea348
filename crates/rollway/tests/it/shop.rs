//! The service that the tests deploy: its program, its spec, and what its witness log says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;

/// The program, built once for all tests of this process, beside Rollway's own.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_rollway")).parent().unwrap();
        let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
            "debug" => "dev",
            other => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "shop", "--profile", profile])
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the shop could not be built");
        folder.join("shop")
    })
}

/// The spec of a shop, as far as tests differ in it; the fields are pieces of YAML.
#[derive(Debug, Clone)]
pub struct Shop {
    /// How many instances.
    pub instances: u32,
    /// Further flags of the program, separated by spaces.
    pub flags: String,
    /// The entries of `update`, as in `max_surge: 1, max_unavailable: 0`.
    pub update: String,
    /// The strategy, as in `rolling` or `{canary: {steps: [{weight: 10}]}}`.
    pub strategy: String,
    /// Further entries of the probe.
    pub health: String,
    /// Further entries of `traffic`.
    pub traffic: String,
    /// Further entries of `run`.
    pub run: String,
    /// Further top-level keys.
    pub rest: String,
}

impl Default for Shop {
    fn default() -> Self {
        Self {
            instances: 2,
            flags: String::new(),
            update: "healthy_deadline: 20s".into(),
            strategy: "rolling".into(),
            health: "interval: 200ms".into(),
            traffic: "drain: 10s".into(),
            run: "stop_timeout: 5s".into(),
            rest: String::new(),
        }
    }
}

impl Shop {
    /// So many, by this strategy.
    pub fn new(instances: u32, strategy: &str) -> Self {
        Self { instances, strategy: strategy.into(), ..Self::default() }
    }

    /// The same with other flags.
    pub fn flags(&self, flags: &str) -> Self {
        Self { flags: flags.into(), ..self.clone() }
    }

    /// The same with another pace.
    pub fn update(&self, update: &str) -> Self {
        Self { update: update.into(), ..self.clone() }
    }

    /// The same with further keys.
    pub fn rest(&self, rest: &str) -> Self {
        Self { rest: rest.into(), ..self.clone() }
    }

    /// The text of the spec.
    pub fn yaml(&self, listen: &str, witness: &Path) -> String {
        let Self { instances, update, strategy, health, traffic, run, rest, .. } = self;
        let mut words = vec!["./shop", "--port", "{{port}}", "--version", "{{version}}"];
        words.extend(self.flags.split_whitespace());
        let command: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        let (command, witness) = (command.join(", "), witness.display());
        format!(
            "service: shop\ninstances: {instances}\n\
             run: {{command: [{command}], env: {{SHOP_WITNESS: \"{witness}\"}}, {run}}}\n\
             health: [{{http: {{path: /healthz}}, {health}}}]\n\
             update: {{{update}}}\nstrategy: {strategy}\n\
             traffic: {{listen: [\"{listen}\"], {traffic}}}\n{rest}\n"
        )
    }
}

/// A line of the witness log: what a process of the shop says happened to it.
#[derive(Debug, Clone, Deserialize)]
pub struct Witnessed {
    pub event: String,
    pub version: String,
    pub instance: String,
    pub mono_ns: u64,
}

/// The witness log, in order of time; empty if nothing was started yet.
pub fn witnessed(file: &Path) -> Vec<Witnessed> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines: Vec<Witnessed> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line.mono_ns);
    lines
}
