//! Templates: filled in at once or in two steps they come to the same, and what is filled in is
//! never looked at again.

use std::collections::BTreeMap;

use rollway_core::template::{IN_COMMAND, Values, names, render, render_last};

use super::equal;
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "template",
    about: "templates: two steps come to what one step does, values are never read as templates",
    words: &[
        "{{",
        "}}",
        "{{{{",
        "}}}}",
        "{",
        "}",
        "{{version}}",
        "{{ port }}",
        "{{instance}}",
        "{{release}}",
        "{{service}}",
        "{{artifact}}",
        "{{env.A}}",
        "{{env.B}}",
        "{{env.}}",
        "{{{port}}}",
        "{{nothing}}",
        "é",
    ],
    bytes_max: 1 << 10,
    check,
};

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let known = names(&text, IN_COMMAND);
    let early = early();
    let all = Values { port: Some(8080), instance: Some("{{r1-0".into()), ..early.clone() };
    let once = render_last(&text, &all);
    let twice = render(&text, &early).and_then(|half| {
        // What an instance is launched with is not known to the first step, and nothing else.
        render_last(
            &half,
            &Values { port: all.port, instance: all.instance.clone(), ..all.clone() },
        )
    });
    match &known {
        Ok(used) => used.iter().for_each(|name| marks.mark(name)),
        Err(problem) => {
            marks.mark_words(&problem.what);
            equal("what is no template", &once.is_err(), &true)?;
        }
    }
    marks.mark((once.is_ok(), text.matches('{').count().min(40)));
    equal("one step and two", &once.is_ok(), &twice.is_ok())?;
    equal("one step and two", &once.ok(), &twice.ok())
}

/// What is known when a release is made; the values are full of braces.
fn early() -> Values {
    let env = [("A", "{{version}}"), ("B", "}}{{{{")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Values {
        version: Some("{{port}}".into()),
        port: None,
        instance: None,
        release: None,
        service: Some("a{".into()),
        artifact: Some("{{{".into()),
        env: BTreeMap::from(env),
    }
}
