//! The commented spec that `rollway init` writes.

use super::words::RELEASE_PATH;
use crate::ids::{SERVICE_NAME_LENGTH_MAX, ServiceName};

/// What is known about a program that is to become a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFacts {
    /// A name for the service: a folder's or a program's; it is made into a valid one.
    pub name: String,
    /// What kind of program it is.
    pub kind: ProgramKind,
    /// How it takes its port, such as `--port` or `--listen=127.0.0.1:`; none = from `PORT`.
    pub port_flag: Option<String>,
    /// A path that answers when it is well; none = a TCP probe.
    pub health_path: Option<String>,
}

/// What kind of program becomes a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramKind {
    /// A program at this path.
    Binary(String),
    /// A script at this path that this interpreter runs.
    Script {
        /// The interpreter.
        interpreter: String,
        /// The script.
        path: String,
    },
    /// A Cargo project with this binary.
    Cargo {
        /// The binary.
        binary: String,
    },
    /// A folder with a `package.json`; its script `start` is run.
    Node,
    /// A folder with a `pyproject.toml`; this module is run.
    Python {
        /// The module.
        module: String,
    },
    /// Nothing is known: the command is to be filled in.
    Unknown,
}

/// A starter spec that can be deployed as it is, once the program is there.
#[must_use]
pub fn starter(program: &ProgramFacts) -> String {
    let name = service_name(&program.name);
    let (command, remark) = command(program);
    let command: Vec<String> = command.iter().map(|argument| quoted(argument)).collect();
    let command = command.join(", ");
    let port = match program.port_flag {
        Some(_) => "",
        None => "  # The port to listen on is in the environment variable PORT.\n",
    };
    let probe = match program.health_path.as_deref().filter(|path| path.starts_with('/')) {
        Some(path) => format!("  - http: {{path: {}}}", quoted(path)),
        None => "  - tcp               # or, better: http: {path: /healthz}".to_owned(),
    };
    let artifact = artifact(program);
    format!(
        "# What Rollway runs and how it changes it. All keys: `rollway docs spec`.
service: {name}
instances: 2

run:
{remark}{port}  command: [{command}]
{artifact}  # env: {{LOG_LEVEL: info}}
  # env_file: secrets.env          # NAME=value lines, kept out of the history
  stop_timeout: 10s

# An instance gets traffic once all of these have passed.
health:
{probe}

# How a new version comes: rolling, blue_green, canary or recreate.
strategy: rolling
# strategy:
#   canary:
#     steps: [{{weight: 10}}, {{hold: 1m}}, {{weight: 50}}, {{hold: 1m}}]

update:
  max_surge: 1                     # one more than `instances` while it changes
  max_unavailable: 0               # never one fewer

traffic:
  listen: [\"127.0.0.1:8080\"]       # requests come in here, and none is lost in a change
"
    )
}

/// The nearest valid name of a service.
#[must_use]
pub fn service_name(text: &str) -> String {
    let lower = text.chars().map(|c| c.to_ascii_lowercase());
    let kept = lower.map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' });
    let name: String = kept.take(SERVICE_NAME_LENGTH_MAX).collect();
    match name.trim_matches('-') {
        name if ServiceName::parse(name).is_ok() => name.to_owned(),
        _ => "service".to_owned(),
    }
}

fn command(program: &ProgramFacts) -> (Vec<String>, &'static str) {
    let (mut command, remark) = match &program.kind {
        ProgramKind::Binary(_) => (vec!["{{artifact}}".to_owned()], ""),
        ProgramKind::Script { interpreter, path } => (vec![interpreter.clone(), literal(path)], ""),
        ProgramKind::Cargo { .. } => {
            (vec!["{{artifact}}".to_owned()], "  # Build it first: cargo build --release\n")
        }
        ProgramKind::Node => (
            ["npm", "run", "start", "--silent"].map(str::to_owned).to_vec(),
            "  # The script `start` of package.json.\n",
        ),
        ProgramKind::Python { module } => {
            (vec!["python3".to_owned(), "-m".to_owned(), literal(module)], "")
        }
        ProgramKind::Unknown => (
            vec!["./program".to_owned()],
            "  # Program and arguments; fill in yours. It is not given to a shell.\n",
        ),
    };
    match program.port_flag.as_deref() {
        Some(flag) if flag.ends_with(['=', ':']) => {
            command.push(format!("{}{{{{port}}}}", literal(flag)));
        }
        Some(flag) => command.extend([literal(flag), "{{port}}".to_owned()]),
        None => {}
    }
    (command, remark)
}

fn artifact(program: &ProgramFacts) -> String {
    let path = match &program.kind {
        ProgramKind::Binary(path) => path.clone(),
        ProgramKind::Cargo { binary } => format!("target/release/{binary}"),
        ProgramKind::Script { .. }
        | ProgramKind::Node
        | ProgramKind::Python { .. }
        | ProgramKind::Unknown => return String::new(),
    };
    let path =
        if (RELEASE_PATH.check)(&path).is_ok() { literal(&path) } else { "./program".to_owned() };
    format!(
        "  # Each release keeps its own copy of this file: a rollback runs exactly what ran.\n  \
         artifact: {{path: {}}}\n",
        quoted(&path)
    )
}

/// A text of the world as a template that renders to it.
fn literal(text: &str) -> String {
    text.replace("{{", "{{{{")
}

/// A YAML text in quotes: JSON's escapes are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace('\0', "")).to_string()
}
