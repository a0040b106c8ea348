//! From the files of a revision to the services that it wants: all of them, or what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::merge::merge;
use crate::ids::ServiceName;
use crate::problem::{Problem, unknown};
use crate::release::sha256;
use crate::spec::{self, Format};

/// The name of a spec.
pub const SPEC: &str = "rollway.yaml";
/// The name of the file that puts services in order, at the root of the path.
pub const APP: &str = "rollway-app.yaml";
/// The folder of overlays beside a spec.
pub const OVERLAYS: &str = "environments";
/// Most services of one source.
pub const SERVICES_MAX: usize = 5_000;

/// A file of a revision that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it is, from the root of the path.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// One service that a revision wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The service.
    pub service: ServiceName,
    /// The folder of its spec, from the root of the path; empty = the root.
    pub folder: String,
    /// The resolved spec, as JSON.
    pub spec: String,
    /// The version.
    pub version: String,
    /// How many instances.
    pub instances: u32,
    /// Which services must be well before.
    pub after: Vec<ServiceName>,
}

/// `rollway-app.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct App {
    #[serde(default, rename = "app")]
    _name: Option<String>,
    services: Vec<Member>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    name: String,
    #[serde(default)]
    after: Vec<String>,
}

/// Whether a file of this name, from the root of the path, is read.
#[must_use]
pub fn is_read(path: &str) -> bool {
    path == APP || is_spec(path) || is_overlay(path)
}

/// Whether it is the spec of a service.
#[must_use]
pub fn is_spec(path: &str) -> bool {
    let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
    name == SPEC && !is_overlay(path)
}

fn is_overlay(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    (folder == OVERLAYS || folder.ends_with("/environments")) && name.ends_with(".yaml")
}

/// Reads all files of a revision as one set.
pub fn read(files: &[File], environment: Option<&str>) -> Result<Vec<Wanted>, Vec<Problem>> {
    let texts: BTreeMap<&str, &str> =
        files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    let mut problems = Vec::new();
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut homes: BTreeMap<ServiceName, String> = BTreeMap::new();
    check_environment(&texts, environment, &mut problems);
    for (path, text) in &texts {
        if !is_spec(path) {
            continue;
        }
        match one(path, text, &texts, environment) {
            Ok(service) => {
                if let Some(other) = homes.insert(service.service.clone(), (*path).to_owned()) {
                    let what = format!("the service {} is in {other} already", service.service);
                    problems.push(Problem::new(*path, what).hint("a service has one spec"));
                }
                wanted.push(service);
            }
            Err(found) => problems.extend(found),
        }
    }
    if wanted.len() > SERVICES_MAX {
        let what = format!("{} services, and at most {SERVICES_MAX} are read", wanted.len());
        problems.push(Problem::new("", what));
    }
    if let Some(text) = texts.get(APP) {
        // With a broken spec its service would be unknown here, which would only confuse.
        if problems.is_empty() {
            problems.extend(order(text, &mut wanted));
        }
    }
    wanted.sort_by(|a, b| a.service.cmp(&b.service));
    if problems.is_empty() { Ok(wanted) } else { Err(problems) }
}

/// An environment that no overlay knows is a slip of the pen.
fn check_environment(
    texts: &BTreeMap<&str, &str>,
    environment: Option<&str>,
    problems: &mut Vec<Problem>,
) {
    let Some(given) = environment else { return };
    let names: BTreeSet<&str> = texts
        .keys()
        .filter(|path| is_overlay(path))
        .filter_map(|path| path.rsplit('/').next()?.strip_suffix(".yaml"))
        .collect();
    if !names.is_empty() && !names.contains(given) {
        let known: Vec<&str> = names.into_iter().collect();
        problems.push(Problem::new("environment", unknown("environment", given, &known)));
    }
}

fn one(
    path: &str,
    text: &str,
    texts: &BTreeMap<&str, &str>,
    environment: Option<&str>,
) -> Result<Wanted, Vec<Problem>> {
    let within = |file: &str, problems: Vec<Problem>| -> Vec<Problem> {
        let named = |problem: Problem| {
            let inner = if problem.path.is_empty() { String::new() } else { problem.path };
            let line = problem.place.map_or(String::new(), |place| format!(":{}", place.line));
            let separator = if inner.is_empty() { "" } else { ": " };
            Problem { path: format!("{file}{line}{separator}{inner}"), place: None, ..problem }
        };
        problems.into_iter().map(named).collect()
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let below = |name: String| match folder {
        "" => format!("{OVERLAYS}/{name}.yaml"),
        folder => format!("{folder}/{OVERLAYS}/{name}.yaml"),
    };
    let overlay = environment.map(|name| below(name.to_owned()));
    let overlay = overlay.and_then(|path| texts.get_key_value(path.as_str()));
    let tree = spec::tree(text, Format::Yaml).map_err(|found| within(path, found))?;
    let (resolved, read) = match overlay {
        None => (tree, spec::read(text, Format::Yaml)),
        Some((overlay, patch)) => {
            let patch = spec::tree(patch, Format::Yaml).map_err(|found| within(overlay, found))?;
            let merged = merge(tree, &patch);
            let text = merged.to_string();
            let read = spec::read(&text, Format::Json);
            // Lines of what was merged are nobody's lines.
            let read = read.map_err(|mut report| {
                report.problems.iter_mut().for_each(|problem| problem.place = None);
                report
            });
            (merged, read)
        }
    };
    let (spec, _) = read.map_err(|report| within(path, report.problems))?;
    let Some(version) = &spec.version else {
        let problem = Problem::new("version", "a spec in Git needs a version")
            .hint("add `version:`; the commit that changes it is the deployment");
        return Err(within(path, vec![problem]));
    };
    Ok(Wanted {
        service: spec.service.clone(),
        folder: folder.to_owned(),
        version: version.to_string(),
        instances: spec.instances,
        spec: resolved.to_string(),
        after: Vec::new(),
    })
}

/// Puts the services in the order of `rollway-app.yaml`.
fn order(text: &str, wanted: &mut [Wanted]) -> Vec<Problem> {
    let tree = match spec::tree(text, Format::Yaml) {
        Ok(tree) => tree,
        Err(problems) => return problems,
    };
    let app: App = match serde_json::from_value(tree) {
        Ok(app) => app,
        Err(error) => {
            let hint = "services: [{name: db}, {name: web, after: [db]}]";
            return vec![Problem::new(APP, error.to_string()).hint(hint)];
        }
    };
    let names: Vec<String> = wanted.iter().map(|one| one.service.to_string()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut problems = Vec::new();
    for member in &app.services {
        for name in member.after.iter().chain([&member.name]) {
            if !known.contains(&name.as_str()) {
                problems.push(Problem::new(APP, unknown("service", name, &known)));
            }
        }
        let after = member.after.iter().filter_map(|name| ServiceName::parse(name).ok());
        let Some(one) = wanted.iter_mut().find(|one| one.service.as_str() == member.name) else {
            continue;
        };
        one.after.extend(after);
    }
    if problems.is_empty()
        && let Some(stuck) = cycle(wanted)
    {
        let what = format!("these wait for each other: {}", stuck.join(", "));
        problems.push(Problem::new(APP, what).hint("take one `after:` out"));
    }
    problems
}

/// The services that can never begin, because they wait for each other.
fn cycle(wanted: &[Wanted]) -> Option<Vec<String>> {
    let mut left: BTreeMap<&ServiceName, &[ServiceName]> =
        wanted.iter().map(|one| (&one.service, one.after.as_slice())).collect();
    loop {
        let free: Vec<&ServiceName> = left
            .iter()
            .filter(|(_, after)| !after.iter().any(|name| left.contains_key(name)))
            .map(|(name, _)| *name)
            .collect();
        if free.is_empty() {
            let names: Vec<String> = left.keys().map(ToString::to_string).collect();
            return (!names.is_empty()).then_some(names);
        }
        for name in free {
            left.remove(name);
        }
    }
}

/// A digest of all that a service is made of: its resolved spec, and the files beside it, each
/// with its path, mode and object.
#[must_use]
pub fn content(wanted: &Wanted, files: &[(String, String, String)]) -> String {
    let mut text = format!("{}\0{}\0", wanted.service, wanted.spec);
    for (path, mode, object) in files {
        text.push_str(&format!("{mode} {object} {path}\0"));
    }
    sha256(text.as_bytes()).trim_start_matches("sha256:").chars().take(40).collect()
}
