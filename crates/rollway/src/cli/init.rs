//! `rollway init`: a spec to begin with, from what a program or a folder looks like.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rollway_core::problem::Problem;
use rollway_core::spec::{ProgramFacts, ProgramKind, starter};

use super::Context;
use super::args::InitFlags;
use super::wrong::Wrong;
use crate::failure::{Failure, FailureKind};

/// Where the spec goes.
const FILE: &str = "rollway.yaml";
/// The first line of a script is within these bytes.
const HEAD_BYTES_MAX: u64 = 256;
/// A project's description is within these bytes.
const PROJECT_BYTES_MAX: u64 = 1 << 20;

/// `rollway init`.
pub fn init(ctx: &Context, flags: &InitFlags) -> Result<(), Wrong> {
    let facts = match &flags.program {
        Some(program) => program_facts(program)?,
        None => folder_facts(Path::new(".")),
    };
    let text = starter(&facts);
    let mut file = match OpenOptions::new().write(true).create_new(true).open(FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let what = "there is one already, and it is left as it is";
            return Err(Problem::new(FILE, what).into());
        }
        Err(error) => return Err(unwritten(error).into()),
    };
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(unwritten)?;
    ctx.out.line(FILE)?;
    let is_known = facts.kind != ProgramKind::Unknown;
    let next = if is_known { "look it over" } else { "fill in `run.command`" };
    ctx.out.hint(&format!("{next}, then `rollway deploy --version v1`"));
    Ok(())
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::because(FailureKind::NotDone, format!("could not write {FILE}"), error)
}

fn program_facts(program: &Path) -> Result<ProgramFacts, Problem> {
    let shown = program.display().to_string();
    let metadata = std::fs::metadata(program)
        .map_err(|error| Problem::new(shown.clone(), format!("no such program: {error}")))?;
    if metadata.is_dir() {
        return Ok(folder_facts(program));
    }
    let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // A spec's paths begin at its folder, and a bare name would be looked for in PATH.
    let path = match shown.contains('/') {
        true => shown.clone(),
        false => format!("./{shown}"),
    };
    let kind = match interpreter(program) {
        Some(interpreter) => ProgramKind::Script { interpreter, path },
        None if metadata.permissions().mode() & 0o111 != 0 => ProgramKind::Binary(path),
        None => {
            let hint = format!("chmod +x {shown}, if it is a program");
            return Err(Problem::new(shown, "it is not executable").hint(hint));
        }
    };
    Ok(ProgramFacts { name, kind, port_flag: None, health_path: None })
}

/// What runs a script: by its ending, or by its first line.
fn interpreter(program: &Path) -> Option<String> {
    let by_ending = match program.extension().and_then(|ending| ending.to_str()) {
        Some("py") => Some("python3"),
        Some("js" | "mjs" | "cjs") => Some("node"),
        Some("rb") => Some("ruby"),
        Some("sh") => Some("sh"),
        Some(_) | None => None,
    };
    if let Some(interpreter) = by_ending {
        return Some(interpreter.to_owned());
    }
    let head = head(program, HEAD_BYTES_MAX)?;
    let line = head.strip_prefix("#!")?.lines().next()?;
    let mut words = line.split_whitespace();
    let first = words.next()?;
    match first.ends_with("/env") {
        true => words.find(|word| !word.starts_with('-')).map(str::to_owned),
        false => Some(first.to_owned()),
    }
}

fn folder_facts(folder: &Path) -> ProgramFacts {
    let full = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let cargo = head(&folder.join("Cargo.toml"), PROJECT_BYTES_MAX);
    let python = head(&folder.join("pyproject.toml"), PROJECT_BYTES_MAX);
    let (name, kind) = if let Some(project) = cargo.as_deref().and_then(named) {
        (project.clone(), ProgramKind::Cargo { binary: project })
    } else if folder.join("package.json").is_file() {
        (name, ProgramKind::Node)
    } else if let Some(project) = python.as_deref().and_then(named) {
        (project.clone(), ProgramKind::Python { module: project.replace('-', "_") })
    } else {
        (name, ProgramKind::Unknown)
    };
    ProgramFacts { name, kind, port_flag: None, health_path: None }
}

/// The `name` of a project in TOML: the first one, which is that of `[package]` or `[project]`.
fn named(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then(|| value.trim())
    })?;
    let name = line.trim_matches(|c| c == '"' || c == '\'');
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
}

fn head(path: &Path, bytes_max: u64) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
