//! A release: one immutable, content-addressed snapshot of what a version is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{ReleaseNumber, ServiceName, Version};
use crate::spec::{Probe, Run, Spec, Traffic};

/// One immutable snapshot: version, artifact digest, rendered command and environment, probes and
/// routes. `{{port}}`, `{{instance}}` and `{{release}}` stay in it until an instance is launched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The service.
    pub service: ServiceName,
    /// The number, counted per service from 1.
    pub number: ReleaseNumber,
    /// The user's label.
    pub version: Version,
    /// `sha256:` of the content; equal content has an equal digest whatever the number.
    pub digest: String,
    /// The spec as it was rendered.
    pub spec: Spec,
    /// The folder that relative paths in the spec start from.
    pub folder: String,
    /// The kept artifact, if the spec names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<KeptArtifact>,
    /// The digest of the kept environment file, if the spec names one. Its values are not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_file_digest: Option<String>,
}

/// An artifact in the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptArtifact {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Where the kept copy is.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
}

/// What makes two releases the same: everything that an instance or its route depends on. The
/// number of instances and the pace are not part of it.
#[derive(Serialize)]
struct Content<'a> {
    version: &'a Version,
    run: &'a Run,
    health: &'a [Probe],
    traffic: Option<&'a Traffic>,
    artifact: Option<&'a str>,
    env_file: Option<&'a str>,
    folder: &'a str,
}

impl Release {
    /// The digest of the content.
    #[must_use]
    pub fn content_digest(&self) -> String {
        let content = Content {
            version: &self.version,
            run: &self.spec.run,
            health: &self.spec.health,
            traffic: self.spec.traffic.as_ref(),
            artifact: self.artifact.as_ref().map(|kept| kept.digest.as_str()),
            env_file: self.env_file_digest.as_deref(),
            folder: &self.folder,
        };
        let text = serde_json::to_string(&content).expect("a release is plain data");
        sha256(text.as_bytes())
    }

    /// What differs between two releases: one line a changed value, as `path: before -> after`.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Change> {
        let (before, after) = (self.flat(), other.flat());
        let mut changes = Vec::new();
        for (path, old) in &before {
            match after.get(path) {
                Some(new) if new == old => {}
                new => changes.push(Change::new(path, Some(old.clone()), new.cloned())),
            }
        }
        for (path, new) in &after {
            if !before.contains_key(path) {
                changes.push(Change::new(path, None, Some(new.clone())));
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }

    fn flat(&self) -> BTreeMap<String, String> {
        let mut value = serde_json::to_value(self).expect("a release is plain data");
        if let Some(map) = value.as_object_mut() {
            map.remove("number");
            map.remove("digest");
        }
        let mut flat = BTreeMap::new();
        flatten(&value, String::new(), &mut flat);
        flat
    }
}

/// One value that differs between two releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which value: `spec.run.env.LOG`.
    pub path: String,
    /// What it was; absent = it was not there.
    pub before: Option<String>,
    /// What it is; absent = it is gone.
    pub after: Option<String>,
}

impl Change {
    fn new(path: &str, before: Option<String>, after: Option<String>) -> Self {
        Self { path: path.to_owned(), before, after }
    }
}

fn flatten(value: &serde_json::Value, path: String, flat: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(inner, path, flat);
            }
        }
        serde_json::Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                flatten(inner, format!("{path}[{index}]"), flat);
            }
        }
        serde_json::Value::String(text) => {
            flat.insert(path, text.clone());
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            flat.insert(path, value.to_string());
        }
    }
}

/// `sha256:` and 64 hex digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a String takes every write");
    }
    text
}
