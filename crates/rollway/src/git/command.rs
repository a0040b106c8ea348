//! One call of the `git` program, in an environment that lets nothing of a repository run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::url::{self, Address};
use crate::failure::{Failure, FailureKind};
use crate::os::run::{Job, Ran, run_apart};

/// The most that one call may print: the list of a tree of some hundred thousand files.
const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// So much of what git complains of is told.
const COMPLAINT_CHARACTERS_MAX: usize = 400;
/// What git has of our environment.
const INHERITED: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// What is so whatever a configuration says. An empty filter is none.
const SETTINGS: [(&str, &str); 17] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.untrackedCache", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.fsckObjects", "true"),
    ("filter.lfs.smudge", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.required", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    ("protocol.ext.allow", "never"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "30"),
];

/// Whether the user's own and the machine's configuration count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserConfig {
    /// They do: proxies, credentials and rewritten addresses are found there.
    Read,
    /// They do not: whatever is needed is given by us.
    Ignored,
}

/// How `git` is called for one repository.
#[derive(Debug, Clone)]
pub struct Git {
    address: Address,
    config: UserConfig,
}

impl Git {
    /// For the repository at an address; nothing is asked yet.
    pub fn new(repository: &str, config: UserConfig) -> Result<Self, Failure> {
        Ok(Self { address: url::read(repository)?, config })
    }

    /// The address as git is given it: without a password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address.plain
    }

    /// Runs `git` in a folder; answers what it printed. `doing` is for the message of a failure.
    pub async fn run(
        &self,
        folder: &Path,
        arguments: &[&str],
        longest: Duration,
        doing: &str,
    ) -> Result<String, Failure> {
        let bytes = self.bytes(folder, arguments, longest, doing).await?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// The same with all bytes as they came.
    pub async fn bytes(
        &self,
        folder: &Path,
        arguments: &[&str],
        longest: Duration,
        doing: &str,
    ) -> Result<Vec<u8>, Failure> {
        let job = Job {
            argv: ["git"].iter().chain(arguments).map(|one| (*one).to_owned()).collect(),
            env: self.environment(folder),
            working_folder: PathBuf::from(folder),
            longest,
            output_bytes_max: OUTPUT_BYTES_MAX,
        };
        let failed = |kind, why: String| Failure::because(kind, doing.to_owned(), why);
        let (Ran { code, signal, timed_out, output }, errors) =
            run_apart(job).await.map_err(|error| {
                failed(FailureKind::NotDone, format!("could not run git in {folder:?}: {error}"))
            })?;
        if timed_out {
            return Err(failed(FailureKind::Unknown, format!("no end within {longest:?}")));
        }
        if output.len() >= OUTPUT_BYTES_MAX {
            return Err(failed(FailureKind::NotDone, "git printed too much".to_owned()));
        }
        match code {
            Some(0) => Ok(output),
            Some(code) => Err(failed(FailureKind::NotDone, complaint(code, &errors))),
            None => {
                let why = format!("git was ended by signal {}", signal.unwrap_or(0));
                Err(failed(FailureKind::Unknown, why))
            }
        }
    }

    fn environment(&self, folder: &Path) -> BTreeMap<String, String> {
        let inherited = INHERITED
            .iter()
            .filter_map(|name| std::env::var(name).ok().map(|value| ((*name).to_owned(), value)));
        let mut env: BTreeMap<String, String> = inherited.collect();
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        set("LC_ALL", "C".to_owned());
        set("GIT_TERMINAL_PROMPT", "0".to_owned());
        set("GIT_ASKPASS", "/bin/false".to_owned());
        set("SSH_ASKPASS", "/bin/false".to_owned());
        set("GIT_LFS_SKIP_SMUDGE", "1".to_owned());
        set("GIT_NO_REPLACE_OBJECTS", "1".to_owned());
        set("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh".to_owned());
        let ssh = "ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5";
        set("GIT_SSH_COMMAND", ssh.to_owned());
        // A folder that is no repository must not be taken for a part of one above it.
        let above = folder.parent().unwrap_or(folder);
        set("GIT_CEILING_DIRECTORIES", above.display().to_string());
        if self.config == UserConfig::Ignored {
            set("GIT_CONFIG_NOSYSTEM", "1".to_owned());
            set("GIT_CONFIG_GLOBAL", "/dev/null".to_owned());
        }
        let mut settings = SETTINGS.to_vec();
        if let Some(authorization) = &self.address.authorization {
            settings.push(("http.extraHeader", authorization));
        }
        set("GIT_CONFIG_COUNT", settings.len().to_string());
        for (index, (key, value)) in settings.iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{index}"), (*key).to_owned());
            set(&format!("GIT_CONFIG_VALUE_{index}"), (*value).to_owned());
        }
        env
    }
}

/// What git complains of, in one line.
fn complaint(code: i32, errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told: Vec<&str> = lines.filter(|line| !line.starts_with("hint:")).collect();
    let told: String = told.join("; ").chars().take(COMPLAINT_CHARACTERS_MAX).collect();
    if told.is_empty() { format!("git ended with exit code {code}") } else { told }
}
