//! Ends whole trees of processes, children that went into another session included.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::proc::{self, Identity};

/// So long a killed process may take to be gone; only one stuck in the kernel takes longer than a
/// few milliseconds.
pub const KILL_WAIT_MS_MAX: u64 = 5_000;
/// So many processes are waited for at once; the rest is found in the next round.
const WAITED_MAX: usize = 256;
/// A round is not longer than this, so that processes that came in between are found.
const ROUND_MS_MAX: u64 = 50;

/// Kills all that `find` finds, again and again, until it finds nothing; false = something is left.
pub fn kill_all(groups: &[PathBuf], find: impl Fn() -> Vec<Identity>) -> bool {
    let until = proc::since_boot_ms() + KILL_WAIT_MS_MAX;
    loop {
        kill_groups(groups);
        let found = find();
        if found.is_empty() {
            return true;
        }
        found.iter().for_each(|one| one.signal(Signal::KILL));
        let now = proc::since_boot_ms();
        if now >= until {
            return false;
        }
        wait_for_any(&handles(&found), ROUND_MS_MAX.min(until - now));
    }
}

/// Waits until `find` finds nothing or the time is over, then kills; false = something is left.
pub fn end_all(groups: &[PathBuf], timeout_ms: u64, find: impl Fn() -> Vec<Identity>) -> bool {
    let until = proc::since_boot_ms().saturating_add(timeout_ms);
    loop {
        let found = find();
        let now = proc::since_boot_ms();
        if found.is_empty() {
            return true;
        }
        if now >= until {
            return kill_all(groups, find);
        }
        wait_for_any(&handles(&found), until - now);
    }
}

/// Handles to those that still live.
pub fn handles(of: &[Identity]) -> Vec<OwnedFd> {
    of.iter().take(WAITED_MAX).filter_map(|one| one.open()).collect()
}

fn wait_for_any(handles: &[OwnedFd], milliseconds: u64) {
    let mut fds: Vec<_> = handles.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // Interrupted or not: the caller looks again.
    let _ = rustix::event::poll(&mut fds, Some(&timespec(milliseconds)));
}

/// Milliseconds as the kernel wants them.
pub fn timespec(milliseconds: u64) -> Timespec {
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
    let nanos = i64::try_from(milliseconds % 1000 * 1_000_000).expect("less than a second");
    Timespec { tv_sec: seconds, tv_nsec: nanos }
}

/// One write ends everything in a control group of version 2; version 1 has no such file.
fn kill_groups(groups: &[PathBuf]) {
    for group in groups {
        let _ = std::fs::OpenOptions::new()
            .write(true)
            .open(group.join("cgroup.kill"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"1"));
    }
}
