//! Who may know whom: the edges between crates and modules that ARCHITECTURE.md draws.

use crate::Wrong;
use crate::source::{PathSeen, Source, paths};

/// A module of the `rollway` crate, and what it may use beside `BASE`. The names are sorted.
const EDGES: [(&str, &[&str]); 14] = [
    ("api", &["engine"]),
    ("cli", &["api", "driver", "load", "proxy", "store", "traffic", "trial"]),
    ("driver", &[]),
    ("engine", &["driver", "metrics", "probe", "store", "traffic"]),
    ("git", &[]),
    ("gitops", &["engine", "git"]),
    ("load", &[]),
    ("metrics", &[]),
    ("probe", &[]),
    ("proxy", &[]),
    ("store", &[]),
    ("traffic", &["proxy"]),
    ("trial", &["api", "load", "store", "traffic"]),
    ("web", &["api"]),
];

/// Small modules that everybody may use and that use only each other.
const BASE: [&str; 4] = ["failure", "files", "os", "unix_http"];

/// Modules of the core that are about deployments: the proxy knows nothing of those.
const DEPLOYMENTS: [&str; 9] =
    ["converge", "event", "observed", "plan", "progress", "release", "spec", "strategy", "view"];

/// Modules whose parts are kinds of one thing, and know nothing of each other.
const KINDS: [(&str, &str); 3] = [
    ("crates/rollway/src/driver/", "driver"),
    ("crates/rollway/src/probe/", "probe"),
    ("crates/rollway-core/src/strategy/", "strategy"),
];

/// What the core does without: clock, disk, network, processes, threads, environment, chance.
const IMPURE: [&[&str]; 17] = [
    &["fastrand"],
    &["jiff", "Timestamp", "now"],
    &["jiff", "Zoned", "now"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
    &["rustix"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "UdpSocket"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["tokio"],
];

/// Every edge of this file that should not be.
pub fn check(source: &Source) -> Vec<Wrong> {
    if source.is_test {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    for path in paths(&source.tokens()) {
        let full = resolved(source, &path);
        let names: Vec<&str> = full.iter().map(String::as_str).collect();
        let found = impure(source, &names)
            .or_else(|| upward(source, &names))
            .or_else(|| across(source, &names))
            .or_else(|| deployments(source, &names));
        if let Some((what, mend)) = found {
            wrong.push(Wrong::new(source, path.line, &what, &mend));
        }
    }
    wrong.dedup();
    wrong
}

/// The path from the root of its crate: `super` and `self` put in full.
fn resolved(source: &Source, path: &PathSeen) -> Vec<String> {
    let mut module = module(&source.path);
    let mut rest = path.segments.as_slice();
    match rest[0].as_str() {
        "self" => rest = &rest[1..],
        "super" => {}
        _ => return rest.to_vec(),
    }
    while rest.first().is_some_and(|first| first == "super") {
        module.pop();
        rest = &rest[1..];
    }
    let mut full = vec!["crate".to_owned()];
    full.extend(module);
    full.extend_from_slice(rest);
    full
}

/// The module that a file is: `crates/rollway/src/probe/tcp.rs` is `probe`, `tcp`.
fn module(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let mut parts: Vec<String> =
        inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

type Found = Option<(String, String)>;

/// The core is pure.
fn impure(source: &Source, names: &[&str]) -> Found {
    if !source.path.starts_with("crates/rollway-core/src/") {
        return None;
    }
    let bad = IMPURE.iter().find(|bad| names.starts_with(bad))?;
    let what = format!("the core uses `{}`", bad.join("::"));
    Some((what, "take the value as an argument; the engine has it".to_owned()))
}

/// Inside `rollway`, modules use only those below them.
fn upward(source: &Source, names: &[&str]) -> Found {
    let inside = source.path.strip_prefix("crates/rollway/src/")?;
    let own = inside.split(['/', '.']).next()?;
    let ["crate", other, ..] = names else { return None };
    if ["lib", "main"].contains(&own) || own == *other || BASE.contains(other) {
        return None;
    }
    let is_module = |name: &str| EDGES.iter().any(|(known, _)| *known == name);
    if BASE.contains(&own) {
        let mend = format!("move what it needs into `{own}`, or the user of it into `{other}`");
        return is_module(other).then(|| (format!("`{own}` uses `{other}`"), mend));
    }
    let Some((_, below)) = EDGES.iter().find(|(known, _)| *known == own) else {
        let mend = "give it its line in EDGES, sorted, with what it may use".to_owned();
        return Some((format!("`{own}` is no module of EDGES"), mend));
    };
    let is_known = is_module(other) && !below.contains(other);
    let mend = if below.is_empty() {
        format!("`{own}` stands alone; let the engine pass what it needs")
    } else {
        format!("`{own}` may use {}; let one of them pass what it needs", below.join(", "))
    };
    is_known.then(|| (format!("`{own}` uses `{other}`"), mend))
}

/// One driver, probe or strategy knows nothing of another.
fn across(source: &Source, names: &[&str]) -> Found {
    let (folder, kind) = KINDS.iter().find(|(folder, _)| source.path.starts_with(folder))?;
    let own = source.path[folder.len()..].split(['/', '.']).next()?;
    let ["crate", parent, other, ..] = names else { return None };
    // Types and functions of the parent are for all; its modules begin with a small letter too, so
    // what ends a path is taken for a function.
    let is_module = names.len() > 3 && other.starts_with(|c: char| c.is_lowercase());
    let bad = parent == kind && own != "mod" && own != *other && is_module;
    let mend = format!("put what both need into {folder}mod.rs");
    bad.then(|| (format!("the {kind} `{own}` uses the {kind} `{other}`"), mend))
}

/// The proxy knows nothing of deployments.
fn deployments(source: &Source, names: &[&str]) -> Found {
    if !source.path.starts_with("crates/rollway/src/proxy/") {
        return None;
    }
    let ["rollway_core", module, ..] = names else { return None };
    let mend = "let `traffic` put it into the table that the proxy is given".to_owned();
    DEPLOYMENTS.contains(module).then(|| (format!("the proxy uses `{module}` of the core"), mend))
}
