//! From what a user hands in to a release: read, check, render, keep.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rollway_core::ids::{ReleaseNumber, Version};
use rollway_core::problem::{Problem, unknown};
use rollway_core::release::{KeptArtifact, Release};
use rollway_core::spec::{self, BlueGreen, Canary, Check, Format, Hook, Spec, Strategy};
use rollway_core::template::{self, Values};
use rollway_core::view::DeployArgs;

use super::command::Refusal;
use crate::crash;
use crate::store;

/// The largest environment file, in bytes.
const ENV_FILE_MAX: u64 = 1 << 20;

/// What a user handed in, checked; only its number as a release is missing.
#[derive(Debug, Clone)]
pub struct Intake {
    /// The release, with number 0.
    pub release: Release,
    /// What the linter remarked.
    pub warnings: Vec<Problem>,
    /// Who asks.
    pub actor: String,
    /// The same key again is the same deployment.
    pub idempotency_key: Option<String>,
    /// A digest of the request, so that a key used for something else is noticed.
    pub request_digest: String,
}

/// Reads and checks; keeps the artifact and the environment file by digest. Blocking.
pub(super) fn take(state_dir: &Path, args: &DeployArgs) -> Result<Intake, Refusal> {
    let (mut spec, warnings) = read(args)?;
    let mut problems = Vec::new();
    if let Some(version) = &args.version {
        match Version::parse(version) {
            Ok(version) => spec.version = Some(version),
            Err(what) => problems.push(Problem::new("--version", what)),
        }
    }
    if let Some(name) = &args.strategy {
        match strategy_named(name, &spec.strategy) {
            Ok(strategy) => spec.strategy = strategy,
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(Refusal::Problems(problems));
    }
    let Some(version) = spec.version.clone() else {
        let hint = "add `version:` to the spec, or give --version";
        return Err(Problem::new("version", "no version is given").hint(hint).into());
    };
    let folder = PathBuf::from(&args.folder);
    let mut values = Values {
        version: Some(version.to_string()),
        service: Some(spec.service.to_string()),
        env: args.env.clone(),
        ..Values::default()
    };
    let paths = [
        ("run.env_file", &mut spec.run.env_file),
        ("run.working_folder", &mut spec.run.working_folder),
    ];
    for (name, path) in paths {
        if let Some(path) = path {
            *path = fill(path, &values, name)?;
        }
    }
    let artifact = keep_artifact(state_dir, &folder, &mut spec, &values)?;
    values.artifact = artifact.as_ref().map(|kept| kept.path.clone());
    render(&mut spec, &values)?;
    check_run(&mut spec, &folder, artifact.as_ref())?;
    let env_file_digest = keep_env_file(state_dir, &folder, &spec)?;
    let mut release = Release {
        service: spec.service.clone(),
        number: ReleaseNumber(0),
        version,
        digest: String::new(),
        folder: folder.display().to_string(),
        artifact,
        env_file_digest,
        spec,
    };
    release.digest = release.content_digest();
    crash::point("engine.intake.kept");
    Ok(Intake {
        request_digest: release.digest.clone(),
        release,
        warnings,
        actor: args.actor.clone(),
        idempotency_key: args.idempotency_key.clone(),
    })
}

fn read(args: &DeployArgs) -> Result<(Spec, Vec<Problem>), Refusal> {
    let format = match args.format.as_str() {
        "yaml" | "yml" | "" => Format::Yaml,
        "toml" => Format::Toml,
        "json" => Format::Json,
        other => {
            let what = unknown("format", other, &["json", "toml", "yaml"]);
            return Err(Problem::new("format", what).into());
        }
    };
    if !Path::new(&args.folder).is_absolute() {
        return Err(Problem::new("folder", "the folder must be an absolute path").into());
    }
    spec::read(&args.spec, format).map_err(|report| Refusal::Problems(report.problems))
}

fn strategy_named(name: &str, given: &Strategy) -> Result<Strategy, Problem> {
    if given.name() == name {
        return Ok(given.clone());
    }
    match name {
        "rolling" => Ok(Strategy::Rolling),
        "recreate" => Ok(Strategy::Recreate),
        "canary" => Ok(Strategy::Canary(Canary::default())),
        "blue_green" | "blue-green" => match given {
            Strategy::BlueGreen(_) => Ok(given.clone()),
            Strategy::Rolling | Strategy::Canary(_) | Strategy::Recreate => {
                Ok(Strategy::BlueGreen(BlueGreen::default()))
            }
        },
        other => {
            let known = ["blue_green", "canary", "recreate", "rolling"];
            Err(Problem::new("--strategy", unknown("strategy", other, &known)))
        }
    }
}

fn fill(text: &str, values: &Values, path: &str) -> Result<String, Problem> {
    let placed = |problem| Problem { path: path.to_owned(), ..problem };
    for name in template::names(text, template::IN_COMMAND).map_err(placed)? {
        let Some(variable) = name.strip_prefix("env.") else { continue };
        if !values.env.contains_key(variable) {
            let what =
                format!("there is no variable {variable} in run.env or in the environment here");
            let hint = format!("`export {variable}=...` before deploying, or add it to run.env");
            return Err(Problem::new(path, what).hint(hint));
        }
    }
    template::render(text, values).map_err(placed)
}

/// Fills in all that is known before an instance is launched.
fn render(spec: &mut Spec, values: &Values) -> Result<(), Problem> {
    for (name, value) in &mut spec.run.env {
        *value = fill(value, values, &format!("run.env.{name}"))?;
    }
    let mut values = values.clone();
    values.env.extend(spec.run.env.clone());
    let values = &values;
    for (index, word) in spec.run.command.iter_mut().enumerate() {
        *word = fill(word, values, &format!("run.command[{index}]"))?;
    }
    for (number, probe) in spec.health.iter_mut().enumerate() {
        let Check::Command(command) = &mut probe.check else { continue };
        for (index, word) in command.argv.iter_mut().enumerate() {
            *word = fill(word, values, &format!("health[{number}].command.argv[{index}]"))?;
        }
    }
    let hooks = &mut spec.hooks;
    let all: [(&str, &mut Option<Hook>); 5] = [
        ("before_deploy", &mut hooks.before_deploy),
        ("after_deploy", &mut hooks.after_deploy),
        ("before_switch", &mut hooks.before_switch),
        ("after_switch", &mut hooks.after_switch),
        ("on_rollback", &mut hooks.on_rollback),
    ];
    for (name, hook) in all {
        for word in hook.iter_mut().flat_map(|hook| &mut hook.command) {
            *word = fill(word, values, &format!("hooks.{name}.command"))?;
        }
    }
    Ok(())
}

fn keep_artifact(
    state_dir: &Path,
    folder: &Path,
    spec: &mut Spec,
    values: &Values,
) -> Result<Option<KeptArtifact>, Refusal> {
    let Some(artifact) = &mut spec.run.artifact else { return Ok(None) };
    artifact.path = fill(&artifact.path, values, "run.artifact.path")?;
    let path = folder.join(&artifact.path);
    if !path.is_file() {
        let what = format!("there is no file {}", path.display());
        let hint = "the path is relative to the folder of the spec";
        return Err(Problem::new("run.artifact.path", what).hint(hint).into());
    }
    let kept = store::keep_artifact(state_dir, &path)?;
    let digest = kept.digest.to_string();
    let digest = if digest.contains(':') { digest } else { format!("sha256:{digest}") };
    if let Some(wanted) = &artifact.digest
        && *wanted != digest
    {
        let what = format!("{} has the digest {digest}, not {wanted}", path.display());
        let hint = "build it again, or write the digest that it has";
        return Err(Problem::new("run.artifact.digest", what).hint(hint).into());
    }
    let path = kept.path.display().to_string();
    Ok(Some(KeptArtifact { digest, path, size: kept.size }))
}

/// The program must be there and executable before anything begins; its path is made absolute.
fn check_run(
    spec: &mut Spec,
    folder: &Path,
    artifact: Option<&KeptArtifact>,
) -> Result<(), Problem> {
    if spec.run.driver != "process" {
        return Ok(());
    }
    let working = folder.join(spec.run.working_folder.as_deref().unwrap_or("."));
    if !working.is_dir() {
        let what = format!("there is no folder {}", working.display());
        return Err(Problem::new("run.working_folder", what)
            .hint("the path is relative to the folder of the spec"));
    }
    let Some(program) = spec.run.command.first_mut() else {
        return Err(Problem::new("run.command", "a program is needed"));
    };
    let found = find_program(program, &working)?;
    // The artifact itself is run from the kept copy, so that a rollback runs exactly it.
    let is_artifact = |kept: &&KeptArtifact| {
        spec.run.artifact.as_ref().is_some_and(|artifact| {
            same_file(&folder.join(&artifact.path), &found) && Path::new(&kept.path).is_file()
        })
    };
    *program = match artifact.filter(is_artifact) {
        Some(kept) => kept.path.clone(),
        None => found.display().to_string(),
    };
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn find_program(program: &str, working: &Path) -> Result<PathBuf, Problem> {
    let path = "run.command[0]";
    if program.contains('/') {
        // `./shop` in `.` reads as the file that it is.
        let file: PathBuf = working.join(program).components().collect();
        let Ok(metadata) = std::fs::metadata(&file) else {
            return Err(Problem::new(path, format!("there is no file {}", file.display()))
                .hint("the path is relative to the working folder; has it been built?"));
        };
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return Err(Problem::new(path, format!("{} is not executable", file.display()))
                .hint(format!("chmod +x {}", file.display())));
        }
        return Ok(file);
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let executable = |file: &PathBuf| {
        std::fs::metadata(file)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(&search).map(|folder| folder.join(program)).find(executable).ok_or_else(
        || {
            Problem::new(path, format!("there is no program {program:?} in PATH"))
                .hint("write ./name for a file in the working folder")
        },
    )
}

fn keep_env_file(state_dir: &Path, folder: &Path, spec: &Spec) -> Result<Option<String>, Refusal> {
    let Some(file) = &spec.run.env_file else { return Ok(None) };
    let path = folder.join(file);
    let wrong = |what: String| Problem::new("run.env_file", what);
    let size = std::fs::metadata(&path).map(|metadata| metadata.len());
    if size.is_ok_and(|size| size > ENV_FILE_MAX) {
        let what = format!("{} is larger than {ENV_FILE_MAX} bytes", path.display());
        return Err(wrong(what).into());
    }
    let bytes = std::fs::read(&path)
        .map_err(|error| wrong(format!("could not read {}: {error}", path.display())))?;
    let text = String::from_utf8_lossy(&bytes);
    for (number, line) in text.lines().enumerate() {
        // The line itself may be a secret: only its number is told.
        if env_line(line).is_some_and(|line| line.is_err()) {
            let what = format!("{}:{}: expected NAME=value", path.display(), number + 1);
            return Err(wrong(what).into());
        }
    }
    let digest = store::keep_blob(state_dir, &bytes)?;
    Ok(Some(digest.to_string()))
}

/// The variables of an environment file, line by line; an `Err` is a line that is none.
pub(super) fn env_lines(text: &str) -> impl Iterator<Item = Result<(String, String), ()>> {
    text.lines().filter_map(env_line)
}

fn env_line(line: &str) -> Option<Result<(String, String), ()>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else { return Some(Err(())) };
    if !template::is_variable_name(name) {
        return Some(Err(()));
    }
    let quoted =
        |quote: char| value.len() >= 2 && value.starts_with(quote) && value.ends_with(quote);
    let bare = if quoted('"') || quoted('\'') { &value[1..value.len() - 1] } else { value };
    Some(Ok((name.to_owned(), bare.to_owned())))
}
