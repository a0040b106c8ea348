//! What an instance may use: by control groups where there are writable ones, else by rlimits.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rollway_core::spec::Limits;
use serde::{Deserialize, Serialize};

/// The period that a share of a processor is measured in; the kernel's own default.
const CPU_PERIOD_MICROS: u64 = 100_000;

/// Limits that a process sets on itself before it becomes the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Processes of the user.
    pub processes: Option<u64>,
}

/// How the limits of one instance are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Control groups that were made, and that the instance has to join.
    pub groups: Vec<PathBuf>,
    /// What is left to rlimits.
    pub rlimits: Rlimits,
    /// By what, in words.
    pub by: String,
}

/// Takes control groups away; they are empty by now.
pub fn remove(groups: &[PathBuf]) {
    for group in groups {
        let _ = fs::remove_dir(group);
    }
}

/// One limit, as the files of both versions of control groups want it.
struct Wanted {
    controller: &'static str,
    file_2: &'static str,
    text_2: String,
    files_1: Vec<(&'static str, String)>,
}

/// Makes what keeps the limits; `name` is unique on the machine.
pub fn keep(limits: &Limits, name: &str) -> Kept {
    let mut kept = Kept::default();
    kept.rlimits.open_files = limits.open_files;
    let wanted = wanted(limits);
    let mut done: Vec<&str> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    if !wanted.is_empty() {
        if let Some(group) = version_2(&wanted, name) {
            kept.groups.push(group);
            done = wanted.iter().map(|one| one.controller).collect();
            words.push(format!("cgroup v2: {}", done.join(", ")));
        } else {
            for one in &wanted {
                if let Some(group) = version_1(one, name) {
                    kept.groups.push(group);
                    done.push(one.controller);
                }
            }
            if !done.is_empty() {
                words.push(format!("cgroup v1: {}", done.join(", ")));
            }
        }
    }
    words.extend(fall_back(limits, &done, &mut kept.rlimits));
    kept.by = words.join("; ");
    kept
}

/// Leaves to rlimits what no control group keeps, and says so.
fn fall_back(limits: &Limits, done: &[&str], rlimits: &mut Rlimits) -> Vec<String> {
    let mut by_rlimit = Vec::new();
    if let Some(memory) = limits.memory.filter(|_| !done.contains(&"memory")) {
        rlimits.address_space = Some(memory.0);
        by_rlimit.push("memory");
    }
    if let Some(processes) = limits.processes.filter(|_| !done.contains(&"pids")) {
        rlimits.processes = Some(processes);
        by_rlimit.push("processes");
    }
    if rlimits.open_files.is_some() {
        by_rlimit.push("open_files");
    }
    let mut words = Vec::new();
    if !by_rlimit.is_empty() {
        words.push(format!("rlimit: {}", by_rlimit.join(", ")));
    }
    if limits.cpus.is_some() && !done.contains(&"cpu") {
        words.push("not kept: cpus, as there is no writable control group".into());
    }
    words
}

fn wanted(limits: &Limits) -> Vec<Wanted> {
    let memory = limits.memory.map(|memory| Wanted {
        controller: "memory",
        file_2: "memory.max",
        text_2: memory.0.to_string(),
        files_1: vec![("memory.limit_in_bytes", memory.0.to_string())],
    });
    let processes = limits.processes.map(|processes| Wanted {
        controller: "pids",
        file_2: "pids.max",
        text_2: processes.to_string(),
        files_1: vec![("pids.max", processes.to_string())],
    });
    let cpus = limits.cpus.map(|cpus| {
        let quota = (cpus * CPU_PERIOD_MICROS as f64).round().max(1_000.0) as u64;
        Wanted {
            controller: "cpu",
            file_2: "cpu.max",
            text_2: format!("{quota} {CPU_PERIOD_MICROS}"),
            files_1: vec![
                ("cpu.cfs_period_us", CPU_PERIOD_MICROS.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ],
        }
    });
    memory.into_iter().chain(processes).chain(cpus).collect()
}

/// A group with all that is wanted below the root of the hierarchy or our own group, whichever
/// lets us: a group with processes in it may have no groups with controllers, but for the root.
fn version_2(wanted: &[Wanted], name: &str) -> Option<PathBuf> {
    let mount = mounted("cgroup2", None)?;
    let own = own_group(None).map(|path| below(&mount, &path));
    let parents = [Some(mount), own];
    parents.into_iter().flatten().find_map(|parent| {
        let known = fs::read_to_string(parent.join("cgroup.controllers")).ok()?;
        let known: Vec<&str> = known.split_ascii_whitespace().collect();
        if !wanted.iter().all(|one| known.contains(&one.controller)) {
            return None;
        }
        let ours = parent.join("rollway");
        let _ = fs::create_dir(&ours);
        for folder in [&parent, &ours] {
            for one in wanted {
                let switch = folder.join("cgroup.subtree_control");
                fs::write(switch, format!("+{}", one.controller)).ok()?;
            }
        }
        let group = ours.join(name);
        fs::create_dir(&group).ok()?;
        let set = |one: &Wanted| fs::write(group.join(one.file_2), &one.text_2);
        or_removed(&group, wanted.iter().try_for_each(set))
    })
}

fn version_1(one: &Wanted, name: &str) -> Option<PathBuf> {
    let mount = mounted("cgroup", Some(one.controller))?;
    let own = own_group(Some(one.controller)).map(|path| below(&mount, &path));
    let parent = own.filter(|path| path.is_dir()).unwrap_or(mount);
    let group = parent.join(format!("rollway.{name}"));
    fs::create_dir(&group).ok()?;
    let set = |(file, text): &(&str, String)| fs::write(group.join(file), text);
    or_removed(&group, one.files_1.iter().try_for_each(set))
}

fn or_removed(group: &Path, set: io::Result<()>) -> Option<PathBuf> {
    if set.is_err() {
        let _ = fs::remove_dir(group);
        return None;
    }
    Some(group.to_owned())
}

fn below(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

/// Where a hierarchy is mounted: of version 2, or of version 1 with this controller.
fn mounted(kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    text.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let after: Vec<&str> = after.split_ascii_whitespace().collect();
        let holds = |c: &str| after.get(2).is_some_and(|opts| opts.split(',').any(|o| o == c));
        let fits = *after.first()? == kind && controller.is_none_or(holds);
        fits.then(|| before.split_ascii_whitespace().nth(4).map(PathBuf::from)).flatten()
    })
}

/// Our own group in a hierarchy.
fn own_group(controller: Option<&str>) -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let fits = match controller {
            Some(name) => controllers.split(',').any(|one| one == name),
            None => controllers.is_empty(),
        };
        fits.then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollway_core::units::Bytes;

    #[test]
    fn what_no_group_keeps_is_left_to_rlimits_and_said() {
        let limits = Limits {
            memory: Some(Bytes(1 << 20)),
            cpus: Some(0.5),
            open_files: Some(64),
            processes: Some(9),
            core: Bytes(0),
        };
        let mut rlimits = Rlimits { open_files: Some(64), ..Rlimits::default() };
        let words = fall_back(&limits, &["pids"], &mut rlimits).join("; ");
        assert_eq!(
            words,
            "rlimit: memory, open_files; not kept: cpus, as there is no writable control group"
        );
        assert_eq!((rlimits.address_space, rlimits.processes), (Some(1 << 20), None));
    }

    #[test]
    fn no_limits_need_nothing() {
        assert_eq!(keep(&Limits::default(), "nothing"), Kept::default());
    }
}
