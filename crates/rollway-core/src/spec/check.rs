//! Checks a tree against the shape: all problems at once, and the plain values for the model.

mod scalars;

use serde_json::{Map as JsonMap, Value as Json};

use super::format::SPEC;
use super::node::{Key, Node, PROBLEMS_MAX, Value, quoted};
use super::shape::{Need, Shape, Table, Tagged, Texts, Variant};
use super::text::Text;
use super::words::{Echo, Word};
use crate::problem::{Place, Problem, nearest, unknown};

/// Keys that people know from other tools, and ours.
const ELSEWHERE: [(&str, &str); 27] = [
    ("name", "service"),
    ("app", "service"),
    ("replicas", "instances"),
    ("count", "instances"),
    ("scale", "instances"),
    ("tag", "version"),
    ("healthcheck", "health"),
    ("health_check", "health"),
    ("probes", "health"),
    ("checks", "health"),
    ("cmd", "command"),
    ("args", "command"),
    ("entrypoint", "command"),
    ("environment", "env"),
    ("cwd", "working_folder"),
    ("workdir", "working_folder"),
    ("working_dir", "working_folder"),
    ("ports", "listen"),
    ("setweight", "weight"),
    ("pause", "hold"),
    ("retries", "failure_threshold"),
    ("exec", "command"),
    ("proxy", "traffic"),
    ("deploy", "update"),
    ("initial_delay", "start_period"),
    ("stop_grace_period", "stop_timeout"),
    ("min_ready_seconds", "min_healthy_time"),
];

/// Checks a whole document; the JSON is what the model is read from.
pub fn check(root: &Node, text: &Text<'_>) -> Result<Json, Vec<Problem>> {
    let mut checker = Checker { text, path: String::new(), problems: Vec::new() };
    let json = match root.value {
        Value::Null => {
            let problem = Problem::new("", "the spec is empty").at(root.place);
            checker.problems.push(problem.hint("`rollway init` writes one to begin with"));
            Json::Null
        }
        Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => checker.table(&SPEC, root, root.place),
    };
    let mut problems = checker.problems;
    if problems.is_empty() {
        return Ok(json);
    }
    problems.sort_by_key(|problem| problem.place.map(|place| place.offset));
    if problems.len() == PROBLEMS_MAX {
        let what = format!("these are {PROBLEMS_MAX} problems; there may be more after them");
        problems.push(Problem::new("", what));
    }
    Err(problems)
}

/// Checks one value against any shape: a part of a spec.
#[cfg(test)]
pub fn check_as(shape: &Shape, node: &Node, text: &Text<'_>) -> Result<Json, Vec<Problem>> {
    let mut checker = Checker { text, path: String::new(), problems: Vec::new() };
    let json = checker.value(shape, node, node.place);
    if checker.problems.is_empty() { Ok(json) } else { Err(checker.problems) }
}

struct Checker<'a> {
    text: &'a Text<'a>,
    path: String,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Checks one value; `at` is where its key is, for what is missing in it.
    fn value(&mut self, shape: &Shape, node: &Node, at: Place) -> Json {
        match shape {
            Shape::Table(table) => self.table(table, node, at),
            Shape::Tagged(tagged) => self.tagged(tagged, node, at),
            Shape::Texts(texts) => self.texts(texts, node),
            Shape::List(of, least, most) => self.list(of, [*least, *most], node, at),
            Shape::Text(word) => self.text(word, node),
            Shape::Choice(words) => self.choice(words, node),
            Shape::Bool => self.bool(node),
            Shape::Integer(least, most) => self.integer([*least, *most], node),
            Shape::Number(least, most) => self.number([*least, *most], node),
            Shape::Quantity(quantity) => self.quantity(*quantity, node),
        }
    }

    fn table(&mut self, table: &'static Table, node: &Node, at: Place) -> Json {
        // One word is a kind by its name alone: `health: [tcp]`.
        if let (Value::Text(word), Some(kinds)) = (&node.value, table.one_of)
            && !word.contains([' ', '=', '/'])
        {
            return self.tagged(kinds, node, at);
        }
        let entries: &[(Key, Node)] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => {
                let hint = format!("its keys are {}", table.keys().join(", "));
                return self.unexpected(&Shape::Table(table), node, Some(&hint));
            }
        };
        let mut json = JsonMap::new();
        let mut kinds: Vec<&Key> = Vec::new();
        for (key, value) in entries {
            let before = self.enter(&key.text);
            let variant = table.one_of.and_then(|tagged| tagged.variant(&key.text));
            if let Some(field) = table.field(&key.text) {
                json.insert(key.text.clone(), self.value(&field.shape, value, key.place));
            } else if let Some(variant) = variant {
                kinds.push(key);
                json.insert(key.text.clone(), self.variant(variant, value, key.place));
            } else {
                self.unknown_key(table, key);
            }
            self.path.truncate(before);
        }
        for field in table.fields {
            if field.need == Need::Required && node.get(field.key).is_none() {
                let example = format!("such as `{}: {}`", field.key, field.example);
                self.missing(&format!("`{}` is missing", field.key), &example, at);
            }
        }
        if let Some(tagged) = table.one_of {
            self.one_kind(tagged, &kinds, at);
        }
        Json::Object(json)
    }

    fn one_kind(&mut self, tagged: &Tagged, kinds: &[&Key], at: Place) {
        let names = tagged.names().join(", ");
        match kinds {
            [] => self.missing(
                &format!("the {} is missing: one of {names}", tagged.name),
                &format!("such as `{}: {}`", tagged.variants[0].name, tagged.variants[0].example),
                at,
            ),
            [_] => {}
            [first, more @ ..] => {
                for key in more {
                    let what = format!("there is already `{}` here", first.text);
                    let hint = format!("give one {}; make another entry for this", tagged.name);
                    self.problem(Problem::new("", what).at(key.place).hint(hint));
                }
            }
        }
    }

    /// A kind by its name alone, or as a map of one key. The model's form comes out of both.
    fn tagged(&mut self, tagged: &'static Tagged, node: &Node, at: Place) -> Json {
        match &node.value {
            Value::Text(name) => {
                let Some(variant) = tagged.variant(name) else {
                    let what = unknown(tagged.name, name, &tagged.names());
                    return self.problem(Problem::new("", what).at(node.place));
                };
                if variant.may_be_bare() {
                    return self.variant_alone(variant);
                }
                let hint = format!("such as `{name}: {}`", variant.example);
                let what = format!("`{name}` needs a value");
                self.problem(Problem::new("", what).at(node.place).hint(hint))
            }
            Value::Map(entries) if entries.len() == 1 => {
                let (key, value) = &entries[0];
                let Some(variant) = tagged.variant(&key.text) else {
                    let what = unknown(tagged.name, &key.text, &tagged.names());
                    let problem = Problem::new("", what).at(key.place);
                    return self.problem(match elsewhere(&key.text, &tagged.names()) {
                        Some(ours) => problem.hint(format!("`{ours}` is the word for it here")),
                        None => problem,
                    });
                };
                let before = self.enter(variant.name);
                let json = self.variant(variant, value, key.place);
                self.path.truncate(before);
                match &variant.shape {
                    None => Json::String(variant.name.into()),
                    Some(_) => Json::Object(JsonMap::from_iter([(variant.name.to_owned(), json)])),
                }
            }
            Value::Map(entries) if entries.len() > 1 => {
                let hint = "each is one key with its settings below it";
                let what = format!("expected one {}, found {} keys", tagged.name, entries.len());
                self.problem(Problem::new("", what).at(at).hint(hint))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::List(_)
            | Value::Map(_) => self.unexpected(&Shape::Tagged(tagged), node, None),
        }
    }

    fn variant_alone(&self, variant: &Variant) -> Json {
        match &variant.shape {
            None => Json::String(variant.name.into()),
            Some(_) => Json::Object(JsonMap::from_iter([(
                variant.name.to_owned(),
                Json::Object(JsonMap::new()),
            )])),
        }
    }

    fn variant(&mut self, variant: &'static Variant, value: &Node, at: Place) -> Json {
        let Some(shape) = &variant.shape else {
            let empty = match &value.value {
                Value::Null => true,
                Value::Map(entries) => entries.is_empty(),
                Value::Bool(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Text(_)
                | Value::List(_) => false,
            };
            if !empty {
                let what = format!("`{}` has no settings", variant.name);
                let hint = format!("write `{}` alone", variant.name);
                self.problem(Problem::new("", what).at(at).hint(hint));
            }
            return Json::Null;
        };
        self.value(shape, value, at)
    }

    fn texts(&mut self, texts: &Texts, node: &Node) -> Json {
        let entries: &[(Key, Node)] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_) => {
                let what = format!("expected a map, found {}", kind(node));
                let hint = "write `NAME: value` lines, without `-` before them";
                return self.problem(Problem::new("", what).at(node.place).hint(hint));
            }
        };
        if entries.len() > texts.entries_max {
            let what = format!("at most {} entries, found {}", texts.entries_max, entries.len());
            self.problem(Problem::new("", what).at(node.place));
        }
        let mut json = JsonMap::new();
        for (key, value) in entries {
            let before = self.enter(&key.text);
            if let Err(problem) = (texts.key.check)(&key.text) {
                self.problem(problem.at(key.place));
            }
            json.insert(key.text.clone(), self.text(texts.value, value));
            self.path.truncate(before);
        }
        Json::Object(json)
    }

    fn list(&mut self, of: &'static Shape, limits: [usize; 2], node: &Node, at: Place) -> Json {
        let [least, most] = limits;
        let Value::List(items) = &node.value else {
            let shape = Shape::List(of, least, most);
            let hint = match &node.value {
                Value::Text(text) => as_list(text),
                Value::Integer(_) | Value::Float(_) | Value::Bool(_) => {
                    Some(format!("write [{}]", self.text.written(node.place)))
                }
                Value::Map(_) => Some("begin each entry with `- `".to_owned()),
                Value::Null | Value::List(_) => Some("write [] for none".to_owned()),
            };
            return self.unexpected(&shape, node, hint.as_deref());
        };
        if !(least..=most).contains(&items.len()) {
            let what = match items.len() < least {
                true => format!("the list is empty, and at least {least} is needed"),
                false => format!("the list has {} entries, at most {most}", items.len()),
            };
            self.problem(Problem::new("", what).at(at));
        }
        let mut json = Vec::new();
        for (number, item) in items.iter().enumerate().take(most) {
            let before = self.path.len();
            self.path.push_str(&format!("[{number}]"));
            json.push(self.value(of, item, item.place));
            self.path.truncate(before);
        }
        Json::Array(json)
    }

    fn unknown_key(&mut self, table: &'static Table, key: &Key) {
        // Looking for the nearest name is dear, and nobody would read it.
        if self.problems.len() >= PROBLEMS_MAX {
            return;
        }
        let known = table.keys();
        let problem = Problem::new("", unknown("key", &key.text, &known)).at(key.place);
        let hint = match (nearest(&key.text, &known), elsewhere(&key.text, &known)) {
            (_, Some(ours)) => Some(format!("`{ours}` is the word for it here")),
            (Some(near), None) => Some(format!("did you mean `{near}`?")),
            (None, None) => home_of(&key.text).map(|home| format!("`{}` belongs {home}", key.text)),
        };
        self.problem(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }

    fn missing(&mut self, what: &str, hint: &str, at: Place) {
        self.problem(Problem::new("", what).at(at).hint(hint));
    }

    fn unexpected(&mut self, shape: &Shape, node: &Node, hint: Option<&str>) -> Json {
        let hidden = matches!(shape, Shape::Text(Word { echo: Echo::Hidden, .. }));
        let found = match &node.value {
            Value::Text(text) if !hidden => format!("the text {}", quoted(text)),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) if !hidden => {
                self.text.written(node.place).to_owned()
            }
            Value::Null
            | Value::Bool(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Map(_) => kind(node).to_owned(),
        };
        let what = format!("expected {}, found {found}", shape.expected());
        let problem = Problem::new("", what).at(node.place);
        let null = matches!(node.value, Value::Null).then_some("give it a value, or remove it");
        let hint = hint.or(null);
        self.problem(match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        })
    }

    fn problem(&mut self, mut problem: Problem) -> Json {
        problem.path.clone_from(&self.path);
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
        Json::Null
    }

    /// Goes into a key; the caller cuts the path back to what is returned.
    fn enter(&mut self, key: &str) -> usize {
        const KEY_CHARACTERS_MAX: usize = 60;
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.extend(key.chars().take(KEY_CHARACTERS_MAX));
        before
    }
}

fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a map",
    }
}

/// A command line or a single value as the list that was meant.
fn as_list(text: &str) -> Option<String> {
    const CHARACTERS_MAX: usize = 200;
    if text.len() > CHARACTERS_MAX || text.contains(['"', '\'', '\\', '\n']) {
        return None;
    }
    let quoted: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
    Some(format!("write [{}]", quoted.join(", ")))
}

fn elsewhere(given: &str, known: &[&'static str]) -> Option<&'static str> {
    let given = given.to_lowercase();
    let ours = ELSEWHERE.iter().filter(|(theirs, _)| *theirs == given).map(|(_, ours)| *ours);
    ours.into_iter().find(|ours| known.contains(ours))
}

/// Where in the format a key belongs, when it is only in one place: `under update`.
fn home_of(key: &str) -> Option<String> {
    let mut homes = Vec::new();
    super::reference::visit(&SPEC, &mut |table| {
        if table.keys().contains(&key) {
            homes.push(table.name);
        }
    });
    match homes.as_slice() {
        ["spec"] => Some("at the top of the file".into()),
        [home] => Some(format!("under `{home}`")),
        _ => None,
    }
}
