//! What `/proc` says about processes: identity, children, sessions, and who listens on a port.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process, not just its number: numbers are used again, a number with a start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The process number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub start: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.start)
    }
}

impl Identity {
    /// The living process with this number.
    pub fn of(pid: i32) -> Option<Self> {
        Stat::of(pid).filter(Stat::lives).map(|stat| stat.identity)
    }

    /// A handle to exactly this process, if it lives. The handle comes first and the check second:
    /// from then on the number cannot come to mean another process.
    pub fn open(self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        (Self::of(self.pid) == Some(self)).then_some(handle)
    }

    /// Whether exactly this process lives; a zombie does not.
    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal to exactly this process, and to no other that got its number.
    pub fn signal(self, signal: Signal) {
        if let Some(handle) = self.open() {
            // It may end in between, and that is what was wanted.
            let _ = rustix::process::pidfd_send_signal(handle, signal);
        }
    }
}

/// The few fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Who.
    pub identity: Identity,
    /// The letter of its state.
    pub state: char,
    /// Its parent.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
}

impl Stat {
    /// Reads it, unless there is no such process.
    pub fn of(pid: i32) -> Option<Self> {
        let mut bytes = [0u8; 1024];
        let mut file = fs::File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut bytes).ok()?;
        Self::parse(pid, &bytes[..length])
    }

    fn parse(pid: i32, bytes: &[u8]) -> Option<Self> {
        // The name is in parentheses and may hold any character but NUL: the last `)` ends it.
        let close = bytes.iter().rposition(|b| *b == b')')?;
        let rest = std::str::from_utf8(bytes.get(close + 2..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            identity: Identity { pid, start: fields.get(19)?.parse().ok()? },
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
        })
    }

    fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Returns when the process behind a handle has ended.
#[expect(deprecated, reason = "what replaces it is unsafe, and an owned handle is safe with it")]
pub async fn ended(handle: OwnedFd) {
    if let Ok(handle) = AsyncFd::with_interest(handle, Interest::READABLE) {
        // An error would mean that the runtime ends.
        let _ = handle.readable().await;
    }
}

/// Milliseconds since the machine started, time asleep included: no change of the wall clock
/// moves it, and all processes read the same.
pub fn since_boot_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Which boot of the machine this is.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// All living processes.
pub fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Stat::of)
        .filter(Stat::lives)
        .collect()
}

/// All living descendants of a process, itself not included.
pub fn descendants(root: i32) -> Vec<Identity> {
    let Some(mut found) = children(root) else { return descendants_by_parent(root) };
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]).unwrap_or_default());
        next += 1;
    }
    found.into_iter().filter_map(Identity::of).collect()
}

fn children(pid: i32) -> Option<Vec<i32>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        found.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Some(found)
}

/// The same where the kernel was built without `/proc/PID/task/TID/children`.
fn descendants_by_parent(root: i32) -> Vec<Identity> {
    let mut by_parent: HashMap<i32, Vec<Identity>> = HashMap::new();
    for stat in all() {
        by_parent.entry(stat.parent).or_default().push(stat.identity);
    }
    let mut found = by_parent.remove(&root).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        found.extend(by_parent.remove(&found[next].pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Whether a process's environment, as it was when it was started, holds all of these entries.
pub fn environment_holds(pid: i32, entries: &[String]) -> bool {
    let Ok(bytes) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let held: BTreeSet<&[u8]> = bytes.split(|b| *b == 0).collect();
    entries.iter().all(|entry| held.contains(entry.as_bytes()))
}

/// Whether what listens on this TCP port is the process or belongs to its instance; `None` where
/// nothing listens or it cannot be told.
#[must_use]
pub fn listener_belongs_to(port: u16, root_pid: i32) -> Option<bool> {
    let sockets = listening_sockets(port);
    if sockets.is_empty() {
        return None;
    }
    let mut readable = false;
    for pid in tree_of(root_pid) {
        let Ok(links) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        readable = true;
        let mut targets = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        if targets.any(|target| target.to_str().is_some_and(|name| sockets.contains(name))) {
            return Some(true);
        }
    }
    readable.then_some(false)
}

/// The process, its descendants, and what its shim has inherited of them: the shim leads the
/// session and is the parent.
fn tree_of(root: i32) -> Vec<i32> {
    let top = Stat::of(root).filter(|stat| stat.parent == stat.session).map(|stat| stat.parent);
    let mut pids = vec![root];
    pids.extend(descendants(top.unwrap_or(root)).into_iter().map(|one| one.pid));
    pids
}

fn listening_sockets(port: u16) -> BTreeSet<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts
        .flat_map(|text| text.lines().filter_map(|l| listening(l, port)).collect::<Vec<_>>())
        .collect()
}

/// The socket's name in `/proc/PID/fd`, if the line is a listener (state 0A) on the port.
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, hex) = fields.get(1)?.rsplit_once(':')?;
    let listens = *fields.get(3)? == "0A" && u16::from_str_radix(hex, 16) == Ok(port);
    listens.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_no_trap() {
        let line = b"42 (a) R 1 (b c) S 7 8 9 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        let stat = Stat::parse(42, line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.group, stat.session), ('S', 7, 8, 9));
        assert_eq!(stat.identity, Identity { pid: 42, start: 12345 });
    }

    #[test]
    fn another_process_with_the_same_number_is_not_touched() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let now = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        let earlier = Identity { start: now.start - 1, ..now };
        assert!(earlier.open().is_none());
        assert!(!earlier.lives());
        earlier.signal(Signal::KILL);
        assert!(child.try_wait().unwrap().is_none(), "the namesake was killed");
        now.signal(Signal::KILL);
        assert!(!child.wait().unwrap().success());
        assert!(!now.lives());
    }

    #[test]
    fn a_listener_is_told_from_a_foreign_one() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let us = i32::try_from(std::process::id()).unwrap();
        assert_eq!(listener_belongs_to(port, us), Some(true));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(listener_belongs_to(port, i32::try_from(child.id()).unwrap()), Some(false));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(listener);
        assert_eq!(listener_belongs_to(port, us), None);
    }

    #[test]
    fn both_ways_to_find_descendants_agree() {
        let script = "sleep 60 & sleep 60 & wait";
        let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let bound = since_boot_ms() + 5_000;
        while descendants(pid).len() < 2 && since_boot_ms() < bound {
            std::thread::yield_now();
        }
        let (mut one, mut other) = (descendants(pid), descendants_by_parent(pid));
        one.sort_unstable();
        other.sort_unstable();
        assert_eq!((one.len(), &one), (2, &other));
        one.iter().for_each(|child| child.signal(Signal::KILL));
        child.wait().unwrap();
    }
}
