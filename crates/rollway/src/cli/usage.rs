//! Reads the command line; what is wrong with it is said as any other problem is.

use std::ffi::OsString;

use clap::builder::Styles;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ColorChoice, Command, CommandFactory as _, FromArgMatches as _};
use rollway_core::problem::{Problem, unknown};

use super::args::Cli;
use super::out::Out;
use super::wrong::{DONE, USAGE, Wrong};

/// The command line, or what was asked for or wrong instead.
pub fn read(arguments: &[OsString], out: Out) -> Result<Cli, Wrong> {
    let command = command(out);
    let matches = command.try_get_matches_from(arguments);
    let read = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    read.map_err(|error| wrong(&error, arguments, out))
}

/// The whole command, for help and completions.
#[must_use]
pub fn command(out: Out) -> Command {
    let choice = if out.colour { ColorChoice::Auto } else { ColorChoice::Never };
    Cli::command().color(choice).styles(Styles::plain())
}

fn wrong(error: &clap::Error, arguments: &[OsString], out: Out) -> Wrong {
    let rendered = error.render().to_string();
    let kind = error.kind();
    if matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return out.data(&rendered).err().unwrap_or(Wrong::Said(DONE));
    }
    let mut root = command(out);
    let given = text(error, ContextKind::InvalidSubcommand);
    let given = given.or_else(|| text(error, ContextKind::InvalidArg));
    let (command, path) = command_at(&root, arguments, given);
    let is_bare = matches!(
        kind,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
    );
    if is_bare && path.len() == 1 {
        out.say(root.render_help().to_string().trim_end());
        return Wrong::Said(USAGE);
    }
    let what = said(error, command).unwrap_or_else(|| {
        let first = rendered.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").to_owned()
    });
    let help = format!("`{} --help` shows what there is", path.join(" "));
    Problem::new("", what).hint(help).into()
}

/// What is wrong, in our words; what we have none for is said in clap's.
fn said(error: &clap::Error, command: &Command) -> Option<String> {
    let kind = error.kind();
    let flag = text(error, ContextKind::InvalidArg);
    let given = text(error, ContextKind::InvalidValue);
    if kind == ErrorKind::InvalidSubcommand {
        let given = text(error, ContextKind::InvalidSubcommand)?;
        let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        return Some(unknown("verb", given, &known));
    }
    if kind == ErrorKind::MissingSubcommand {
        let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        return Some(format!("a verb is needed; known: {}", known.join(", ")));
    }
    if kind == ErrorKind::UnknownArgument {
        let given = flag?;
        if !given.starts_with('-') {
            return Some(format!("{given:?} is one argument too many"));
        }
        let flags = flags(command);
        let known: Vec<&str> = flags.iter().map(String::as_str).collect();
        return Some(unknown("flag", given, &known));
    }
    if kind == ErrorKind::InvalidValue {
        let (kind, given) = (flag?, given?);
        if given.is_empty() {
            return Some(format!("a value is needed for {kind}"));
        }
        let kind = kind.trim_matches(['<', '>', '[', ']']).to_lowercase();
        return Some(unknown(&kind, given, &texts(error, ContextKind::ValidValue)));
    }
    if kind == ErrorKind::ValueValidation {
        let why = std::error::Error::source(error).map(ToString::to_string);
        let why = why.unwrap_or_else(|| "it is not valid".to_owned());
        return Some(format!("{} cannot be {:?}: {why}", flag?, given?));
    }
    if kind == ErrorKind::MissingRequiredArgument {
        let missing: Vec<&str> = texts(error, ContextKind::InvalidArg)
            .into_iter()
            .map(|name| name.trim_matches(['<', '>', '[', ']', '.']))
            .collect();
        return Some(format!("missing: {}", missing.join(", ")));
    }
    None
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(_) | None => None,
    }
}

fn texts(error: &clap::Error, kind: ContextKind) -> Vec<&str> {
    match error.get(kind) {
        Some(ContextValue::Strings(texts)) => texts.iter().map(String::as_str).collect(),
        Some(_) | None => Vec::new(),
    }
}

/// The innermost command that the arguments name, up to `wrong`, and its name in full.
fn command_at<'a>(
    root: &'a Command,
    arguments: &[OsString],
    wrong: Option<&str>,
) -> (&'a Command, Vec<String>) {
    let (mut command, mut path) = (root, vec!["rollway".to_owned()]);
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        if Some(argument) == wrong {
            break;
        }
        if let Some(inner) = command.find_subcommand(argument) {
            command = inner;
            path.push(inner.get_name().to_owned());
        }
    }
    (command, path)
}

fn flags(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let mut flags: Vec<String> =
        own.filter_map(|flag| flag.get_long()).map(|long| format!("--{long}")).collect();
    for global in ["--help", "--json", "--no-color", "--quiet", "--state-dir"] {
        if !flags.iter().any(|flag| flag == global) {
            flags.push(global.to_owned());
        }
    }
    flags
}
