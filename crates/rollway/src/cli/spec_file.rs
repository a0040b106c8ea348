//! Finds and reads the spec, and says everything that is wrong with it before anybody is asked.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rollway_core::ids::ServiceName;
use rollway_core::problem::Problem;
use rollway_core::spec::{self, Format, Spec};

use super::wrong::{Source, Wrong};

/// The names that a spec has when none is given.
const NAMES: [&str; 4] = ["rollway.yaml", "rollway.yml", "rollway.toml", "rollway.json"];

/// More is not read: the reader of specs says that it is too large.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// A spec that can be used.
#[derive(Debug)]
pub struct SpecFile {
    /// Its name and text.
    pub source: Source,
    /// `yaml`, `toml` or `json`.
    pub format: &'static str,
    /// The folder that it is in, in full.
    pub folder: PathBuf,
    /// What it says.
    pub spec: Spec,
    /// What is allowed, and probably not meant.
    pub warnings: Vec<Problem>,
}

/// Finds and reads a spec.
pub fn read(given: Option<&Path>) -> Result<SpecFile, Wrong> {
    let path = find(given)?;
    let name = path.display().to_string();
    let format = Format::of(&name)?;
    let text = text(&path, TEXT_BYTES_MAX)?;
    let source = Source { name, text };
    let (spec, warnings) = match spec::read(&source.text, format) {
        Ok(read) => read,
        Err(report) => return Err(Wrong::Problems(report.problems, Some(source))),
    };
    let folder = std::path::absolute(crate::files::folder_of(&path))
        .map_err(|error| Problem::new(source.name.clone(), format!("no such place: {error}")))?;
    let format = match format {
        Format::Yaml => "yaml",
        Format::Toml => "toml",
        Format::Json => "json",
    };
    Ok(SpecFile { source, format, folder, spec, warnings })
}

/// The service that the spec in a folder names, if there is a spec that can be read.
#[must_use]
pub fn service_here(folder: &Path) -> Option<ServiceName> {
    let path = in_folder(folder).ok()?;
    read(Some(&path)).ok().map(|file| file.spec.service)
}

fn find(given: Option<&Path>) -> Result<PathBuf, Problem> {
    match given {
        None => in_folder(Path::new(".")),
        Some(path) if path.is_dir() => in_folder(path),
        Some(path) => Ok(path.to_owned()),
    }
}

fn in_folder(folder: &Path) -> Result<PathBuf, Problem> {
    let here = |name: &str| match folder == Path::new(".") {
        true => PathBuf::from(name),
        false => folder.join(name),
    };
    let found: Vec<PathBuf> =
        NAMES.into_iter().map(here).filter(|path| path.symlink_metadata().is_ok()).collect();
    match found.as_slice() {
        [] => Err(Problem::new("", format!("there is no {} in {}", NAMES[0], shown(folder)))
            .hint("`rollway init` writes one, and `rollway deploy FILE` takes another")),
        [only] => Ok(only.clone()),
        several => {
            let names: Vec<String> =
                several.iter().map(|path| path.display().to_string()).collect();
            Err(Problem::new("", format!("which spec? there are {}", names.join(", ")))
                .hint("name the one that is meant, or remove the others"))
        }
    }
}

fn shown(folder: &Path) -> String {
    match folder == Path::new(".") {
        true => "this folder".to_owned(),
        false => folder.display().to_string(),
    }
}

/// The text of a file, up to so many bytes.
pub fn text(path: &Path, bytes_max: u64) -> Result<String, Problem> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        let problem = Problem::new(name.clone(), format!("could not read it: {error}"));
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            return problem.hint("see its owner and mode: ls -l");
        }
        problem
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Problem::new(name, "it is not a file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max).read_to_end(&mut bytes).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        Problem::new(name, format!("it is not text: line {line} has a byte that is not UTF-8"))
            .hint("save it as UTF-8")
    })
}
