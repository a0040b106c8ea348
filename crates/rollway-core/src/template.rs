//! Fills in `{{version}}` and the like; `{{{{` is a literal `{{`.
//!
//! A release is rendered twice: when it is made, everything but the port is known
//! ([`render`]); when an instance starts, its port is ([`render_last`]). What is filled in is
//! never looked at again, so that a value with braces in it stays what it is.

use std::collections::BTreeMap;

use crate::problem::{Problem, unknown};

/// What the arguments of an instance's command and of its probes may use.
pub const IN_COMMAND: &[&str] =
    &["artifact", "env.NAME", "instance", "port", "release", "service", "version"];
/// What the values of its environment may use; there `env.NAME` is only the deployer's, so that
/// nothing is circular.
pub const IN_ENVIRONMENT: &[&str] =
    &["artifact", "env.NAME", "instance", "port", "release", "service", "version"];
/// What the arguments of a hook may use: it runs for a release, not for an instance.
pub const IN_HOOK: &[&str] = &["artifact", "env.NAME", "release", "service", "version"];
/// What a path may use that is read when a release is made.
pub const IN_PATH: &[&str] = &["env.NAME", "service", "version"];

/// What the queries of a judgement's source may use: each is asked for either release.
pub const IN_QUERY: &[&str] = &["instance", "release", "service", "version"];

/// What each name means, for the reference.
pub const NAMES: &[(&str, &str)] = &[
    ("artifact", "the path of the kept copy of `run.artifact`"),
    ("env.NAME", "the value of NAME in `run.env`, else in the environment of who deploys"),
    ("instance", "the instance, such as `r3-0`; for a source a pattern of all: `r3-[0-9]+`"),
    ("port", "the port that the instance is to listen on"),
    ("release", "the number of the release, such as `3`"),
    ("service", "the name of the service"),
    ("version", "the label of the build"),
];

/// What there is to fill in; `None` is not known yet.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// The label of the build.
    pub version: Option<String>,
    /// The port that the instance is to listen on.
    pub port: Option<u16>,
    /// The instance, such as `r3-0`.
    pub instance: Option<String>,
    /// The number of the release.
    pub release: Option<String>,
    /// The name of the service.
    pub service: Option<String>,
    /// The path of the kept copy of the artifact.
    pub artifact: Option<String>,
    /// The variables of `run.env`, and those of who deploys.
    pub env: BTreeMap<String, String>,
}

impl Values {
    fn get(&self, name: &str) -> Option<String> {
        match name {
            "version" => self.version.clone(),
            "port" => self.port.map(|port| port.to_string()),
            "instance" => self.instance.clone(),
            "release" => self.release.clone(),
            "service" => self.service.clone(),
            "artifact" => self.artifact.clone(),
            _ => self.env.get(name.strip_prefix("env.")?).cloned(),
        }
    }
}

/// Fills in what is known; the rest stays a template, to be rendered again.
pub fn render(text: &str, values: &Values) -> Result<String, Problem> {
    let mut literal = String::new();
    let mut rendered = String::new();
    for part in parse(text, IN_COMMAND)? {
        match part {
            Part::Literal(part) => literal.push_str(&part),
            Part::Name(name) => match values.get(name) {
                Some(value) => literal.push_str(&value),
                None => {
                    escape(&literal, After::Name, &mut rendered);
                    literal.clear();
                    rendered.push_str(name);
                    rendered.push_str("}}");
                }
            },
        }
    }
    escape(&literal, After::Nothing, &mut rendered);
    Ok(rendered)
}

/// Fills in everything; a name without a value is a problem.
pub fn render_last(text: &str, values: &Values) -> Result<String, Problem> {
    let mut rendered = String::new();
    for part in parse(text, IN_COMMAND)? {
        match part {
            Part::Literal(part) => rendered.push_str(&part),
            Part::Name(name) => match values.get(name) {
                Some(value) => rendered.push_str(&value),
                None => {
                    let what = format!("there is no value for {{{{{name}}}}} here");
                    return Err(Problem::new("", what));
                }
            },
        }
    }
    Ok(rendered)
}

/// Checks a template against the names that its field may use, and lists those that it uses.
pub fn names<'a>(text: &'a str, known: &[&'static str]) -> Result<Vec<&'a str>, Problem> {
    let name = |part| match part {
        Part::Name(name) => Some(name),
        Part::Literal(_) => None,
    };
    Ok(parse(text, known)?.into_iter().filter_map(name).collect())
}

enum Part<'a> {
    Literal(String),
    Name(&'a str),
}

/// Splits a template. In a run of braces, four are a literal `{{`; of the rest, an odd one is
/// itself and the last two open a name: so `{"port":{{port}}}` and `{{{port}}}` mean what they
/// look like, and every text has exactly one reading.
fn parse<'a>(text: &'a str, known: &[&'static str]) -> Result<Vec<Part<'a>>, Problem> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let run = rest[start..].bytes().take_while(|byte| *byte == b'{').count();
        let literal = run / 4 * 2 + run % 2;
        let before = format!("{}{}", &rest[..start], "{".repeat(literal));
        parts.push(Part::Literal(before));
        rest = &rest[start + run..];
        if run % 4 < 2 {
            continue;
        }
        let Some((name, after)) = rest.split_once("}}") else {
            let problem = Problem::new("", "a `{{` is not closed with `}}`");
            return Err(problem.hint("write `{{{{` for a literal `{{`"));
        };
        let name = name.trim();
        check_name(name, known)?;
        parts.push(Part::Name(name));
        rest = after;
    }
    parts.push(Part::Literal(rest.to_owned()));
    Ok(parts)
}

fn check_name(name: &str, known: &[&'static str]) -> Result<(), Problem> {
    let variable = name.strip_prefix("env.").is_some_and(is_variable_name);
    if known.contains(&name) && name != "env.NAME" || variable && known.contains(&"env.NAME") {
        return Ok(());
    }
    let given: String = name.chars().take(60).collect();
    let problem = Problem::new("", unknown("template name", &given, known));
    Err(problem.hint("write `{{{{` for a literal `{{`"))
}

/// Whether a text can be the name of an environment variable.
#[must_use]
pub fn is_variable_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        && bytes.first().is_some_and(|b| !b.is_ascii_digit())
}

enum After {
    Name,
    Nothing,
}

/// Writes a literal so that `parse` reads it back, and opens the name that follows it.
fn escape(literal: &str, after: After, rendered: &mut String) {
    let mut rest = literal;
    while let Some(start) = rest.find('{') {
        let run = rest[start..].bytes().take_while(|byte| *byte == b'{').count();
        rendered.push_str(&rest[..start]);
        rendered.push_str(&"{".repeat(run / 2 * 4 + run % 2));
        rest = &rest[start + run..];
    }
    rendered.push_str(rest);
    if let After::Name = after {
        rendered.push_str("{{");
    }
}

#[cfg(test)]
mod tests;
