//! `rollway doctor`: what would stop a deployment on this machine.

use std::path::Path;

use rollway_core::ids::ServiceName;
use serde::Serialize;

use super::Context;
use super::client::Health;
use super::out::{Out, Tone};
use super::table::{Cell, table};
use super::words;
use super::wrong::{FAILED, Wrong};

/// Less free space than this stops the history sooner or later.
const FREE_BYTES_WARN: u64 = 1 << 30;
/// With less than this nothing should be begun.
const FREE_BYTES_BAD: u64 = 64 << 20;
/// The proxy has two open files for each request; fewer than this are soon used up.
const OPEN_FILES_WARN: u64 = 4096;
/// Where instances get their ports.
const PORTS: std::ops::Range<u32> = 20_000..32_000;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, with a limit.
    Warn,
    /// A deployment would fail.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// How grave.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do.
    pub hint: Option<String>,
}

fn ok(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, grade: Grade::Ok, found: found.into(), hint: None }
}

fn warn(what: &'static str, found: impl Into<String>, hint: &str) -> Finding {
    Finding { what, grade: Grade::Warn, found: found.into(), hint: Some(hint.to_owned()) }
}

fn bad(what: &'static str, found: impl Into<String>, hint: &str) -> Finding {
    Finding { what, grade: Grade::Bad, found: found.into(), hint: Some(hint.to_owned()) }
}

/// `rollway doctor`.
pub async fn doctor(ctx: &Context) -> Result<(), Wrong> {
    let mut findings = state_folder(&ctx.state_dir);
    findings.extend(control_plane(ctx).await);
    findings.push(control_groups());
    findings.push(open_files());
    findings.push(ports());
    if ctx.out.json {
        ctx.out.value(&findings)?;
    } else {
        ctx.out.data(&text(ctx.out, &findings))?;
    }
    match findings.iter().any(|finding| finding.grade == Grade::Bad) {
        true => Err(Wrong::Said(FAILED)),
        false => Ok(()),
    }
}

/// The findings as a table.
#[must_use]
pub fn text(out: Out, findings: &[Finding]) -> String {
    let rows: Vec<Vec<Cell>> = findings
        .iter()
        .map(|finding| {
            let (word, tone) = match finding.grade {
                Grade::Ok => ("ok", Tone::Good),
                Grade::Warn => ("warn", Tone::Warn),
                Grade::Bad => ("bad", Tone::Bad),
            };
            let hint = finding.hint.as_ref().map(|hint| format!(" (hint: {hint})"));
            let found = format!("{}{}", finding.found, hint.unwrap_or_default());
            vec![Cell::toned(word, tone), Cell::from(finding.what), Cell::from(found)]
        })
        .collect();
    table(out, &["", "WHAT", "FOUND"], &rows)
}

fn state_folder(folder: &Path) -> Vec<Finding> {
    let what = "state folder";
    let shown = folder.display();
    if !folder.exists() {
        let parent = folder.ancestors().find(|parent| parent.exists()).unwrap_or(folder);
        let may = rustix::fs::access(parent, rustix::fs::Access::WRITE_OK);
        return vec![match may {
            Ok(()) => ok(what, format!("{shown} will be made by the first deployment")),
            Err(error) => bad(
                what,
                format!(
                    "{shown} cannot be made: {} is not ours to write: {error}",
                    parent.display()
                ),
                "give --state-dir, or set ROLLWAY_STATE_DIR",
            ),
        }];
    }
    let usable = match crate::store::prepare_folder(folder) {
        Ok(()) => ok(what, format!("{shown} is ours alone")),
        Err(failure) => bad(what, failure.chain(), "give --state-dir, or mend its owner and mode"),
    };
    let is_usable = usable.grade == Grade::Ok;
    let mut findings = vec![usable, free_space(folder)];
    if is_usable {
        findings.push(durable(folder));
    }
    findings
}

fn free_space(folder: &Path) -> Finding {
    let what = "free space";
    match rustix::fs::statvfs(folder) {
        Err(error) => warn(what, format!("could not be read: {error}"), "see `df`"),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let text = format!(
                "{} of {}",
                words::size(free),
                words::size(found.f_blocks * found.f_frsize)
            );
            match free {
                0..FREE_BYTES_BAD => bad(what, text, "make room: the history could not be written"),
                FREE_BYTES_BAD..FREE_BYTES_WARN => warn(what, text, "make room before it is full"),
                FREE_BYTES_WARN.. => ok(what, text),
            }
        }
    }
}

/// Writes a file as the state files are written, and takes it away.
fn durable(folder: &Path) -> Finding {
    let what = "durable writes";
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let begun = std::time::Instant::now();
    let written = crate::files::atomic_write(&path, b"a look by the doctor\n", 0o600);
    let took = begun.elapsed();
    let removed = std::fs::remove_file(&path);
    match (written, removed) {
        (Ok(()), Ok(())) => ok(what, format!("written and synced in {took:.1?}")),
        (Err(failure), _) => bad(what, failure.chain(), "is the disk full, read-only or broken?"),
        (Ok(()), Err(error)) => bad(
            what,
            format!("could not remove {}: {error}", path.display()),
            "see the folder's mode",
        ),
    }
}

async fn control_plane(ctx: &Context) -> Vec<Finding> {
    let what = "control plane";
    let health = match ctx.client().health().await {
        Ok(health) => health,
        Err(Wrong::Absent(_)) => {
            return vec![ok(what, "none runs; `rollway deploy` starts one")];
        }
        Err(Wrong::Failure(failure, _)) => {
            return vec![bad(what, failure.chain(), "look into serve.log in the state folder")];
        }
        Err(Wrong::Problems(problems, _)) => {
            let found = problems.first().map(ToString::to_string).unwrap_or_default();
            return vec![bad(what, found, "is it of another version?")];
        }
        Err(Wrong::Said(_)) => return Vec::new(),
    };
    let own = env!("CARGO_PKG_VERSION");
    let (pid, size) = (health.pid, words::size(health.rss_bytes.unwrap_or(0)));
    let up = words::duration(health.uptime_ms);
    let text = format!("{} (process {pid}), up {up}, {size} in memory", health.version);
    let mut findings = vec![match health.version == own {
        true => ok(what, text),
        false => warn(
            what,
            format!("{text}; this program is {own}"),
            "`rollway shutdown`, then any verb starts the new one; instances go on",
        ),
    }];
    findings.push(proxy(&health));
    findings.push(records(ctx).await);
    findings
}

fn proxy(health: &Health) -> Finding {
    let what = "proxy";
    let process = health.proxy.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    match (health.proxy.running, health.proxy.alarms.as_slice()) {
        (false, _) => warn(what, "none runs", "a service with traffic starts one"),
        (true, []) => ok(what, format!("runs{process}")),
        (true, alarms) => {
            let found = format!("runs{process}, and says: {}", alarms.join("; "));
            warn(what, found, "its files are in the state folder under proxy/")
        }
    }
}

async fn records(ctx: &Context) -> Finding {
    let what = "records";
    let services = match ctx.client().services().await {
        Ok(services) => services,
        Err(Wrong::Failure(failure, _) | Wrong::Absent(failure)) => {
            return bad(what, failure.chain(), "look into serve.log in the state folder");
        }
        Err(Wrong::Problems(..) | Wrong::Said(_)) => {
            return bad(what, "could not be read", "look into serve.log in the state folder");
        }
    };
    let stuck: Vec<&str> = services
        .iter()
        .filter(|view| view.needs_operator)
        .map(|view| view.service.as_str())
        .collect();
    let names = services.iter().filter(|view| ServiceName::parse(&view.service).is_ok()).count();
    match stuck.is_empty() {
        true => ok(what, format!("readable, {}", words::count(names as u64, "service"))),
        false => {
            let hint = "`rollway status SERVICE` says why; deploy or roll back";
            warn(what, format!("an undo failed for {}", stuck.join(", ")), hint)
        }
    }
}

/// Without control groups, limits are kept by the kernel's older means.
fn control_groups() -> Finding {
    let what = "control groups";
    let writable = |path: &str| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unified = own.lines().find_map(|line| line.strip_prefix("0::"));
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let group = format!("/sys/fs/cgroup{}", unified.unwrap_or("/"));
        return match writable(&group) {
            true => ok(what, "version 2, writable"),
            false => warn(what, "version 2, not ours to write", LIMITS),
        };
    }
    match writable("/sys/fs/cgroup/memory") {
        true => ok(what, "version 1, writable"),
        false => warn(what, "none that is ours to write", LIMITS),
    }
}

const LIMITS: &str = "`limits.memory` is kept by address space, and `limits.cpus` is not kept";

fn open_files() -> Finding {
    let what = "open files";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        None => ok(what, "no limit"),
        Some(most) if most < OPEN_FILES_WARN => {
            warn(what, format!("at most {most}"), "raise it: ulimit -Hn, or LimitNOFILE=")
        }
        Some(most) => ok(what, format!("at most {most}")),
    }
}

/// Outgoing connections may take a port that an instance was given, where the ranges overlap.
fn ports() -> Finding {
    let what = "ports";
    let file = "/proc/sys/net/ipv4/ip_local_port_range";
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let bounds: Vec<u32> =
        text.split_ascii_whitespace().filter_map(|bound| bound.parse().ok()).collect();
    let own = format!("instances get ports from {} to {}", PORTS.start, PORTS.end - 1);
    match bounds.as_slice() {
        [first, last] if *first < PORTS.end && *last >= PORTS.start => warn(
            what,
            format!("{own}, and outgoing connections {first} to {last}"),
            "set net.ipv4.ip_local_port_range to 32768 60999",
        ),
        _ => ok(what, own),
    }
}
