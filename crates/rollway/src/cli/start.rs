//! Starts a control plane in the background where none runs.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rollway_core::problem::Problem;

use super::Context;
use super::client::Health;
use super::out::one_line;
use super::wrong::Wrong;
use crate::failure::{Failure, FailureKind};
use crate::store;

/// A start takes some tens of milliseconds; recovery of a long history may take seconds.
const START_WAIT: Duration = Duration::from_secs(10);
/// Another start at the same moment may have won: so long its answer is waited for.
const RIVAL_WAIT: Duration = Duration::from_secs(1);
/// The first look comes this soon, and each next one twice as late.
const BACKOFF_FIRST: Duration = Duration::from_millis(4);
/// So often a control plane is asked how it is before its silence is believed.
const HEALTH_TRIES_MAX: u32 = 5;
/// Looks are never further apart.
const BACKOFF_MAX: Duration = Duration::from_millis(100);
/// The log of starts is begun anew at this size; the previous one is kept.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// So much of the log is read to say why a start failed.
const LOG_TAIL_BYTES_MAX: u64 = 64 << 10;
/// So many of its last lines are shown.
const LOG_LINES_MAX: usize = 10;
/// The log's name in the state folder.
pub const LOG: &str = "serve.log";

/// Answers how the control plane is, which it starts if there is none.
pub async fn ensure_running(ctx: &Context) -> Result<Health, Wrong> {
    let mut tries = 1;
    loop {
        match ctx.client().health().await {
            Err(Wrong::Absent(_)) => return start(ctx).await,
            // One that is just ending takes connections and drops them.
            Err(Wrong::Failure(failure, _))
                if failure.kind == FailureKind::Unknown && tries < HEALTH_TRIES_MAX => {}
            Ok(health) => return Ok(health),
            Err(wrong) => return Err(wrong),
        }
        tries += 1;
        tokio::time::sleep(BACKOFF_MAX).await;
    }
}

/// The same, for a verb that needs something to have been deployed.
pub async fn ensure_running_if_used(ctx: &Context) -> Result<(), Wrong> {
    match ctx.client().health().await {
        // Without a database there is nothing that a control plane could know.
        Err(Wrong::Absent(_)) if ctx.state_dir.join("rollway.db").exists() => {
            ensure_running(ctx).await.map(|_| ())
        }
        Ok(_) => Ok(()),
        Err(wrong) => Err(wrong),
    }
}

async fn start(ctx: &Context) -> Result<Health, Wrong> {
    store::prepare_folder(&ctx.state_dir).map_err(|failure| unusable(&failure))?;
    let path = ctx.state_dir.join(LOG);
    let (log, begin) = open_log(&path).map_err(|error| {
        let doing = format!("could not write {}", path.display());
        Failure::because(FailureKind::NotDone, doing, error)
    })?;
    let could_not = |error: std::io::Error| {
        Failure::because(FailureKind::NotDone, "could not start the control plane", error)
    };
    let program = std::env::current_exe().map_err(could_not)?;
    let mut child = tokio::process::Command::new(program)
        .args(["serve", "--detached", "--state-dir"])
        .arg(&ctx.state_dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(could_not)?)
        .stderr(log)
        .current_dir("/")
        .spawn()
        .map_err(could_not)?;
    let until = Instant::now() + START_WAIT;
    let exited = tokio::select! {
        answered = answered(ctx, until) => {
            let health = answered?;
            ctx.out.note(&format!("control plane started (process {})", health.pid));
            return Ok(health);
        }
        exited = child.wait() => exited.map_err(could_not)?,
    };
    if let Ok(health) = answered(ctx, Instant::now() + RIVAL_WAIT).await {
        return Ok(health);
    }
    let last = last_lines(&path, begin);
    let what = match last.last() {
        Some(line) => line.trim_start_matches("error: ").to_owned(),
        None => format!("it ended with {exited} and said nothing"),
    };
    for line in last.iter().take(last.len().saturating_sub(1)) {
        ctx.out.say(&format!("  | {}", one_line(line)));
    }
    let doing = "the control plane did not start";
    let failure = Failure::because(FailureKind::NotDone, doing, what);
    Err(Wrong::failure(failure, format!("more is in {}", path.display())))
}

/// Which folder keeps the state is the user's choice.
fn unusable(failure: &Failure) -> Problem {
    let chain = failure.chain();
    match chain.split_once("; hint: ") {
        Some((what, hint)) => Problem::new("--state-dir", what).hint(hint),
        None => Problem::new("--state-dir", chain).hint("choose another folder"),
    }
}

async fn answered(ctx: &Context, until: Instant) -> Result<Health, Wrong> {
    let mut backoff = BACKOFF_FIRST;
    loop {
        match ctx.client().health().await {
            Err(Wrong::Absent(failure)) if Instant::now() >= until => {
                let hint = format!("see {}", ctx.state_dir.join(LOG).display());
                return Err(Wrong::failure(failure, hint));
            }
            Err(Wrong::Absent(_)) => {}
            answered => return answered,
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn open_log(path: &Path) -> std::io::Result<(File, u64)> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let begin = file.metadata()?.len();
    Ok((file, begin))
}

/// The last lines that were written after `begin`; as good as they can be read.
fn last_lines(path: &Path, begin: u64) -> Vec<String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(begin.max(length.saturating_sub(LOG_TAIL_BYTES_MAX))))?;
        file.take(LOG_TAIL_BYTES_MAX).read_to_end(&mut bytes)
    });
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let skipped = lines.len().saturating_sub(LOG_LINES_MAX);
    lines[skipped..].iter().map(|line| (*line).to_owned()).collect()
}
