//! The spec of a service: its model, its shape (keys, kinds, defaults, docs), and reading it.
//!
//! [`read`] goes text -> [`node`] (a tree with places) -> [`check`] (against the [`shape`] of the
//! [`format`]) -> the model -> [`lint`] (what the shape cannot say). Every step reports all that
//! it finds.

pub mod analysis;
pub mod check;
pub mod format;
pub(crate) mod json;
pub mod judges;
pub mod lint;
mod model;
pub mod node;
mod quantities;
pub mod reference;
mod schema;
pub mod shape;
pub mod source;
pub mod starter;
pub mod text;
mod toml;
pub mod words;
mod yaml;

pub use analysis::{Analysis, Inconclusive, Judge, Measure, Sequential, Wants};
pub use model::*;
pub use quantities::{Room, StatusRange};
pub use reference::docs;
pub use schema::json_schema;
pub use source::{Access, CommandSource, HttpSource, Prometheus, Source, Webhook};
pub use starter::{ProgramFacts, ProgramKind, starter};

use self::text::Text;
use crate::problem::{Problem, unknown};

/// What a spec is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML 1.2.
    Yaml,
    /// TOML 1.1.
    Toml,
    /// JSON.
    Json,
}

impl Format {
    /// The format of a file, by the ending of its name.
    pub fn of(file_name: &str) -> Result<Self, Problem> {
        match file_name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("toml") => Ok(Self::Toml),
            Some("json") => Ok(Self::Json),
            Some(ending) => {
                Err(Problem::new(file_name, unknown("ending", ending, &["json", "toml", "yaml"])))
            }
            None => Err(Problem::new(file_name, "the file's name has no ending")
                .hint("name it .yaml, .toml or .json")),
        }
    }
}

/// What was found in a spec.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What must be mended.
    pub problems: Vec<Problem>,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<Problem>,
}

/// Reads a document as a tree of JSON, without any check of what it means.
pub fn tree(text: &str, format: Format) -> Result<serde_json::Value, Vec<Problem>> {
    node::refuse_oversize(text).map_err(|problem| vec![problem])?;
    let text = Text::new(text);
    let root = match format {
        Format::Yaml => yaml::read(&text),
        Format::Toml => toml::read(&text),
        Format::Json => json::read(&text),
    };
    Ok(root?.to_json())
}

/// Reads a spec: it and the warnings, or everything that is wrong with it.
pub fn read(text: &str, format: Format) -> Result<(Spec, Vec<Problem>), Report> {
    let failed = |problems| Report { problems, warnings: Vec::new() };
    node::refuse_oversize(text).map_err(|problem| failed(vec![problem]))?;
    let text = Text::new(text);
    let root = match format {
        Format::Yaml => yaml::read(&text),
        Format::Toml => toml::read(&text),
        Format::Json => json::read(&text),
    };
    let root = root.map_err(failed)?;
    let json = check::check(&root, &text).map_err(failed)?;
    let spec: Spec = serde_json::from_value(json).map_err(|error| {
        // The shape let something pass that the model refuses: a bug, said as such.
        let what = format!("the checks passed, and yet the spec cannot be used: {error}");
        failed(vec![Problem::new("", what).at(root.place).hint("please report this")])
    })?;
    let mut report = lint::lint(&spec);
    for problem in report.problems.iter_mut().chain(&mut report.warnings) {
        problem.place = Some(root.locate(&problem.path));
    }
    report.problems.sort_by_key(|problem| problem.place);
    report.warnings.sort_by_key(|problem| problem.place);
    match report.problems.is_empty() {
        true => Ok((spec, report.warnings)),
        false => Err(report),
    }
}

#[cfg(test)]
mod tests;
