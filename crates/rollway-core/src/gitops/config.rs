//! What a source is: which repository, which ref, how it is reached, and what is allowed.

use serde::{Deserialize, Serialize};

use super::address::{RepoUrl, Scheme};
use super::name::{RefName, RepoPath, SourceName};
use super::window::{WINDOWS_MAX, Window};
use crate::problem::{Problem, unknown};
use crate::units::Millis;

/// Where a branch is looked at this often, unless it is said otherwise.
pub const INTERVAL: Millis = Millis::seconds(60);
/// Nobody is asked more often than this.
pub const INTERVAL_MIN: Millis = Millis::seconds(1);
/// Nor less often.
pub const INTERVAL_MAX: Millis = Millis::seconds(24 * 3600);
/// What runs is compared with what is recorded this often.
pub const DRIFT_INTERVAL: Millis = Millis::seconds(30);

/// A followed ref of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Its name here.
    pub name: SourceName,
    /// The repository.
    pub url: RepoUrl,
    /// The branch or tag, in full.
    pub reference: RefName,
    /// The folder in it that is read.
    #[serde(default)]
    pub path: RepoPath,
    /// How often the ref is looked at; a tenth is added or taken by chance.
    #[serde(default = "interval")]
    pub interval: Millis,
    /// How often what runs is compared with what is wanted.
    #[serde(default = "drift_interval")]
    pub drift_interval: Millis,
    /// Which overlay is laid over the specs: `environments/NAME.yaml`.
    #[serde(default)]
    pub environment: Option<String>,
    /// Who we are to the repository.
    #[serde(default)]
    pub auth: Auth,
    /// Whose commits are believed.
    #[serde(default)]
    pub signatures: Signatures,
    /// Whether a service that is no longer in Git is stopped.
    #[serde(default)]
    pub prune: bool,
    /// Whether what was changed by hand is changed back.
    #[serde(default)]
    pub self_heal: bool,
    /// Whether a tag that points elsewhere is followed; a branch always is.
    #[serde(default)]
    pub follow_moved_tag: bool,
    /// When deployments may begin.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// The file with the secret of its webhook; without one, no webhook is believed.
    #[serde(default)]
    pub webhook_secret_file: Option<String>,
    /// Whether the repository is told of a rollback that nobody asked for.
    #[serde(default)]
    pub write_back: WriteBack,
}

/// What the repository is told of a rollback that nobody asked for; never on the branch that is
/// followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteBack {
    /// Nothing.
    #[default]
    None,
    /// A branch that reverts it, `rollway/revert-SERVICE-COMMIT`.
    Branch,
    /// A file that says so, on the branch `rollway/status-SOURCE`.
    Status,
}

impl WriteBack {
    /// Reads the word of a flag.
    pub fn parse(word: &str) -> Result<Self, String> {
        match word {
            "none" => Ok(Self::None),
            "branch" => Ok(Self::Branch),
            "status" => Ok(Self::Status),
            other => Err(unknown("way to write back", other, &["branch", "none", "status"])),
        }
    }
}

fn interval() -> Millis {
    INTERVAL
}

fn drift_interval() -> Millis {
    DRIFT_INTERVAL
}

/// Who we are to the repository. Secrets are named by their files, and read when they are needed,
/// so that a new one takes effect at once and none is kept anywhere else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// A user, and a file with a token or password.
    Token {
        /// The user; hosts that want a token alone take any.
        user: String,
        /// The file.
        file: String,
    },
    /// A private key, and the keys that the host may have.
    Ssh {
        /// The file with the private key.
        key: String,
        /// The file with the known keys of the host; a host may have several.
        known_hosts: String,
    },
}

/// Whose commits are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Signatures {
    /// Anybody's.
    #[default]
    None,
    /// Those signed with an SSH key of this list.
    Ssh {
        /// A file as ssh-keygen(1) has it under ALLOWED SIGNERS.
        allowed_signers: String,
        /// Whether every commit since the last one must be signed, not only the last.
        every_commit: bool,
    },
    /// Those signed with a key of this key ring.
    Gpg {
        /// The home folder of GnuPG that holds these keys and no others.
        keyring: String,
        /// Whether every commit since the last one must be signed, not only the last.
        every_commit: bool,
    },
}

impl SourceConfig {
    /// What is wrong with it beside what its parts have checked; `knows_zone` says whether there
    /// is such a time zone.
    #[must_use]
    pub fn problems(&self, knows_zone: &dyn Fn(&str) -> bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |path: &str, what: String| problems.push(Problem::new(path, what));
        if self.interval < INTERVAL_MIN || self.interval > INTERVAL_MAX {
            let what = format!("an interval is {INTERVAL_MIN} to {INTERVAL_MAX}");
            wrong("interval", format!("{what}, not {}", self.interval));
        }
        if self.drift_interval < INTERVAL_MIN || self.drift_interval > INTERVAL_MAX {
            let what = format!("an interval is {INTERVAL_MIN} to {INTERVAL_MAX}");
            wrong("drift_interval", format!("{what}, not {}", self.drift_interval));
        }
        if let Some(name) = &self.environment
            && let Err(what) = SourceName::parse(name)
        {
            wrong("environment", what.replacen("a source", "an environment", 1));
        }
        if self.windows.len() > WINDOWS_MAX {
            wrong("windows", format!("at most {WINDOWS_MAX} windows are allowed"));
        }
        for (at, window) in self.windows.iter().enumerate() {
            if let Err(what) = window.check() {
                wrong(&format!("windows[{at}]"), what);
            } else if !knows_zone(&window.time_zone) {
                let what = format!("there is no time zone {:?}", window.time_zone);
                wrong(&format!("windows[{at}].time_zone"), what);
            }
        }
        for (path, file) in self.files() {
            if !file.starts_with('/') {
                wrong(path, format!("the path {file:?} must begin with `/`"));
            }
        }
        match (&self.auth, self.url.scheme()) {
            (Auth::Ssh { .. }, Scheme::File | Scheme::Http | Scheme::Https) => {
                wrong("auth", "an SSH key is of no use for this address".to_owned());
            }
            (Auth::Token { .. }, Scheme::File | Scheme::Ssh) => {
                wrong("auth", "a token is of no use for this address".to_owned());
            }
            (Auth::None, Scheme::Ssh) => {
                let hint = "give --ssh-key FILE and --known-hosts FILE";
                let what = "an address over ssh needs a key and the host's known keys";
                problems.push(Problem::new("auth", what).hint(hint));
            }
            (Auth::None | Auth::Ssh { .. } | Auth::Token { .. }, _) => {}
        }
        problems
    }

    /// The files that it names, with what they are for.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &str)> {
        let mut files: Vec<(&'static str, &str)> = Vec::new();
        match &self.auth {
            Auth::None => {}
            Auth::Token { file, .. } => files.push(("auth.token.file", file)),
            Auth::Ssh { key, known_hosts } => {
                files.extend([
                    ("auth.ssh.key", key.as_str()),
                    ("auth.ssh.known_hosts", known_hosts),
                ]);
            }
        }
        match &self.signatures {
            Signatures::None => {}
            Signatures::Ssh { allowed_signers, .. } => {
                files.push(("signatures.ssh.allowed_signers", allowed_signers));
            }
            Signatures::Gpg { keyring, .. } => files.push(("signatures.gpg.keyring", keyring)),
        }
        files.extend(self.webhook_secret_file.iter().map(|file| {
            let name: (&'static str, &str) = ("webhook_secret_file", file);
            name
        }));
        files
    }
}
