//! One call of `git`, in an environment that has nothing of the user's and runs nothing of the
//! repository's, with limits on its time and its output.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// So much of what git complains of is kept.
const COMPLAINT_BYTES_MAX: usize = 16 << 10;
/// So much is read at once.
const READ_BYTES: usize = 64 << 10;
/// The entry of the environment by which the calls for one mirror are found.
pub const MARK: &str = "ROLLWAY_MIRROR";
/// What git has of our environment: how this machine reaches others.
const INHERITED: [&str; 7] = [
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
];
/// What is so whatever else is said: nothing is run, followed, repacked or asked.
const SETTINGS: [(&str, &str); 19] = [
    ("advice.fetchShowForcedUpdates", "false"),
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("gc.autoDetach", "false"),
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "20"),
    ("init.defaultBranch", "main"),
    ("maintenance.auto", "false"),
    ("protocol.allow", "never"),
    ("protocol.file.allow", "always"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("transfer.fsckObjects", "true"),
];

/// What is called.
#[derive(Debug, Clone)]
pub struct Call {
    /// The arguments behind `git`.
    pub arguments: Vec<String>,
    /// The repository, where there must be one.
    pub mirror: Option<PathBuf>,
    /// Entries of the environment beside those that every call has.
    pub environment: Vec<(String, String)>,
    /// Settings beside those that every call has.
    pub settings: Vec<(String, String)>,
    /// What it reads from standard input.
    pub input: Vec<u8>,
    /// It is killed after this.
    pub longest: Duration,
    /// It is killed when it prints more.
    pub output_bytes_max: usize,
}

/// How it went.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none = it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub output: Vec<u8>,
    /// The beginning of what it complained of.
    pub complaint: String,
    /// Whether its time was over.
    pub timed_out: bool,
    /// Whether it printed too much.
    pub is_cut: bool,
}

/// Ends what git has started with it, however the call ends.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself meanwhile.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Calls git. When the caller gives up, git and all that it started is killed.
pub async fn git(call: &Call) -> io::Result<Said> {
    let mut child = command(call).spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(pid);
    let talked = tokio::time::timeout(call.longest, talk(&mut child, call)).await;
    let timed_out = talked.is_err();
    let (output, complaint, is_cut) = match talked {
        Ok(talked) => talked?,
        Err(_) => (Vec::new(), Vec::new(), false),
    };
    if timed_out || is_cut {
        drop(group);
        child.wait().await?;
        let complaint = String::from_utf8_lossy(&complaint).into_owned();
        return Ok(Said { code: None, output, complaint, timed_out, is_cut });
    }
    let status = child.wait().await?;
    // Its number may be somebody else's from here on.
    group.0 = None;
    let complaint = String::from_utf8_lossy(&complaint).into_owned();
    Ok(Said { code: status.code(), output, complaint, timed_out, is_cut })
}

fn command(call: &Call) -> Command {
    let mut command = Command::new("git");
    command.env_clear();
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    command.env("PATH", path);
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let fixed = [
        ("HOME", "/nonexistent"),
        ("XDG_CONFIG_HOME", "/nonexistent"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("SSH_ASKPASS", "/bin/false"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_CEILING_DIRECTORIES", "/"),
        ("GIT_SSH_COMMAND", "/bin/false"),
    ];
    command.envs(fixed);
    let given = call.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(given).collect();
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (at, (name, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{at}"), name);
        command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    if let Some(mirror) = &call.mirror {
        command.arg("--git-dir").arg(mirror).env(MARK, mirror);
    }
    command.envs(call.environment.iter().map(|(name, value)| (name, value)));
    command.args(&call.arguments).current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn talk(child: &mut Child, call: &Call) -> io::Result<(Vec<u8>, Vec<u8>, bool)> {
    let mut input = child.stdin.take().expect("it was asked for");
    let output = child.stdout.take().expect("it was asked for");
    let complaint = child.stderr.take().expect("it was asked for");
    let writing = async {
        // One that reads no further has its reasons, and tells them.
        let _ = input.write_all(&call.input).await;
        drop(input);
    };
    let complaining = async {
        let (mut rest, mut kept) = (complaint, Vec::new());
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = rest.read(&mut buffer).await {
            let room = COMPLAINT_BYTES_MAX.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..length.min(room)]);
        }
        kept
    };
    let reading = read_up_to(output, call.output_bytes_max);
    tokio::pin!(complaining);
    let both = async { tokio::join!(writing, reading).1 };
    tokio::pin!(both);
    // Too much output ends the call at once: it goes on writing to nobody otherwise.
    let mut complained = None;
    let output = loop {
        tokio::select! {
            output = &mut both => break output?,
            kept = &mut complaining, if complained.is_none() => complained = Some(kept),
        }
    };
    if output.1 {
        return Ok((output.0, complained.unwrap_or_default(), true));
    }
    let complained = match complained {
        Some(kept) => kept,
        None => complaining.await,
    };
    Ok((output.0, complained, false))
}

async fn read_up_to(mut pipe: impl AsyncRead + Unpin, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match pipe.read(&mut buffer).await? {
            0 => return Ok((kept, false)),
            length if kept.len() + length > most => return Ok((kept, true)),
            length => kept.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Kills what an earlier control plane has left running for this mirror.
pub fn end_strays(mirror: &Path) {
    use crate::os::{proc, tree};
    let entry = format!("{MARK}={}", mirror.display());
    let entry = std::slice::from_ref(&entry);
    tree::kill_all(&[], || {
        let all = proc::all().into_iter().map(|stat| stat.identity);
        all.filter(|one| proc::environment_holds(one.pid, entry)).collect()
    });
}
