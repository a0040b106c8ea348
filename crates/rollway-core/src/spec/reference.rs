//! The reference pages, made from the shape: `rollway docs KIND`, and `docs/spec.md`.

use super::format::SPEC;
use super::shape::{Field, Need, Shape, Table, Tagged, Variant};
use crate::problem::{Problem, unknown};
use crate::template;

/// One page, as Markdown that reads well as plain text; an unknown kind lists the known ones.
pub fn docs(kind: &str) -> Result<String, Problem> {
    let pages = pages();
    if let Some((_, page)) = pages.iter().find(|(name, _)| *name == kind) {
        return Ok(page.clone());
    }
    // A key that leads to a page is a name for it, too: `health` is `probe`.
    let mut page = None;
    visit(&SPEC, &mut |table| {
        for field in table.fields.iter().filter(|field| field.key == kind) {
            if let Shape::List(Shape::Table(inner), _, _) = &field.shape {
                page = Some(table_page(inner));
            }
        }
    });
    page.ok_or_else(|| Problem::new("", unknown("kind of documentation", kind, &kinds())))
}

/// The names of all pages, in the order of the format.
#[must_use]
pub fn kinds() -> Vec<&'static str> {
    pages().into_iter().map(|(name, _)| name).collect()
}

/// All pages in one document.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(
        "# The spec\n\nA service is described by one file, `rollway.yaml` (or `.toml`, or \
         `.json`: the keys are the same). This page is made from the code; `rollway docs KIND` \
         prints its parts, and `rollway schema` the JSON Schema for editors.\n",
    );
    for (_, page) in pages() {
        // One level down, below the document's own title.
        text.push_str("\n#");
        text.push_str(&page);
    }
    text
}

fn pages() -> Vec<(&'static str, String)> {
    let mut pages: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name: &'static str, page: String| {
        if !pages.iter().any(|(known, _)| *known == name) {
            pages.push((name, page));
        }
    };
    visit(&SPEC, &mut |table| {
        add(table.name, table_page(table));
        for field in table.fields {
            if let Shape::Choice(words) = &field.shape
                && field.key == "driver"
            {
                add("driver", variants_page("driver", field.doc, words));
            }
            match &field.shape {
                Shape::Tagged(kinds) => {
                    add(field.key, variants_page(field.key, kinds.doc, kinds.variants));
                }
                Shape::List(Shape::Tagged(kinds), _, _) => {
                    add(kinds.name, variants_page(kinds.name, kinds.doc, kinds.variants));
                }
                Shape::List(..)
                | Shape::Table(_)
                | Shape::Texts(_)
                | Shape::Text(_)
                | Shape::Choice(_)
                | Shape::Bool
                | Shape::Integer(..)
                | Shape::Number(..)
                | Shape::Quantity(_) => {}
            }
        }
    });
    add("templates", templates_page());
    add("units", UNITS.to_owned());
    pages
}

/// Calls with every table of the format, outer ones first.
pub fn visit(table: &'static Table, call: &mut dyn FnMut(&'static Table)) {
    call(table);
    for field in table.fields {
        visit_shape(&field.shape, call);
    }
    if let Some(tagged) = table.one_of {
        visit_tagged(tagged, call);
    }
}

fn visit_tagged(tagged: &'static Tagged, call: &mut dyn FnMut(&'static Table)) {
    for variant in tagged.variants {
        if let Some(shape) = &variant.shape {
            visit_shape(shape, call);
        }
    }
}

fn visit_shape(shape: &'static Shape, call: &mut dyn FnMut(&'static Table)) {
    match shape {
        Shape::Table(table) => visit(table, call),
        Shape::Tagged(tagged) => visit_tagged(tagged, call),
        Shape::List(of, _, _) => visit_shape(of, call),
        Shape::Texts(_)
        | Shape::Text(_)
        | Shape::Choice(_)
        | Shape::Bool
        | Shape::Integer(..)
        | Shape::Number(..)
        | Shape::Quantity(_) => {}
    }
}

fn table_page(table: &Table) -> String {
    let mut page = format!("# {}\n\n{}\n\n", table.name, table.doc);
    if let Some(tagged) = table.one_of {
        page.push_str(&format!("Exactly one {} is given:\n\n", tagged.name));
        page.push_str(&variants(tagged.variants));
        page.push_str("\nand beside it:\n\n");
    }
    page.push_str("| key | what it is | default | meaning |\n|---|---|---|---|\n");
    for field in table.fields {
        let mut doc = field.doc.to_owned();
        if let Shape::Choice(words) = &field.shape {
            for word in *words {
                doc.push_str(&format!(" `{}`: {}", word.name, word.doc));
            }
        }
        let (what, default) = (describe(&field.shape), default(field));
        page.push_str(&format!("| `{}` | {what} | {default} | {doc} |\n", field.key));
    }
    page.push_str("\nFor example:\n\n```yaml\n");
    if let Some(tagged) = table.one_of {
        let kind = &tagged.variants[0];
        page.push_str(&format!("{}: {}\n", kind.name, kind.example));
    }
    for field in table.fields {
        page.push_str(&format!("{}: {}\n", field.key, field.example));
    }
    page.push_str("```\n");
    page
}

fn variants_page(name: &str, doc: &str, list: &[Variant]) -> String {
    format!("# {name}\n\n{doc}\n\n{}", variants(list))
}

fn variants(list: &[Variant]) -> String {
    let mut text = String::from("| kind | what comes with it | meaning |\n|---|---|---|\n");
    for variant in list {
        let with = match &variant.shape {
            None => "nothing".to_owned(),
            Some(Shape::Table(table)) if table.may_be_empty() => {
                format!("see `{}`; may be left out", table.name)
            }
            Some(shape) => describe(shape),
        };
        text.push_str(&format!("| `{}` | {with} | {} |\n", variant.name, variant.doc));
    }
    text
}

fn default(field: &Field) -> String {
    match field.need {
        Need::Required => "**required**".into(),
        Need::Optional => "none".into(),
        Need::Default(text) => format!("`{text}`"),
    }
}

fn describe(shape: &Shape) -> String {
    match shape {
        Shape::Table(table) => format!("see `{}`", table.name),
        Shape::Tagged(tagged) => {
            let names: Vec<String> =
                tagged.variants.iter().map(|variant| format!("`{}`", variant.name)).collect();
            names.join(", ")
        }
        Shape::Texts(_) => "names and texts".into(),
        Shape::List(of, _, _) => match of {
            Shape::Table(table) => format!("a list, see `{}`", table.name),
            Shape::Tagged(_) => format!("a list of {}", describe(of)),
            Shape::Text(_)
            | Shape::Texts(_)
            | Shape::List(..)
            | Shape::Choice(_)
            | Shape::Bool
            | Shape::Integer(..)
            | Shape::Number(..)
            | Shape::Quantity(_) => format!("a list; each {}", of.expected()),
        },
        Shape::Choice(words) => {
            let names: Vec<String> = words.iter().map(|word| format!("`{}`", word.name)).collect();
            names.join(", ")
        }
        Shape::Text(_)
        | Shape::Bool
        | Shape::Integer(..)
        | Shape::Number(..)
        | Shape::Quantity(_) => shape.expected(),
    }
}

fn templates_page() -> String {
    let mut page = String::from(
        "# templates\n\nSome texts may have names in double braces, which are filled in: \
         `\"--listen=127.0.0.1:{{port}}\"`. Two literal braces are written `{{{{`. Nothing else \
         is possible: no expressions, no files, and what is filled in is not looked at again.\n\n\
         | name | meaning | where |\n|---|---|---|\n",
    );
    let places = [
        ("`run.command`, `health[].command.argv`", template::IN_COMMAND),
        ("`run.env`", template::IN_ENVIRONMENT),
        ("`hooks`", template::IN_HOOK),
        ("queries, `url` and `argv` of a `source`", template::IN_QUERY),
        ("`run.working_folder`, `run.artifact.path`", template::IN_PATH),
    ];
    for (name, meaning) in template::NAMES {
        let allowed = places.iter().filter(|(_, names)| names.contains(name));
        let allowed: Vec<&str> = allowed.map(|(place, _)| *place).collect();
        page.push_str(&format!("| `{{{{{name}}}}}` | {meaning} | {} |\n", allowed.join(", ")));
    }
    page
}

const UNITS: &str = "# units

| what | written |
|---|---|
| a duration | `250ms`, `30s`, `1m30s`, `2h`, `7d`: units d, h, m, s, ms, the largest first; `0` |
| a size | `512`, `64KiB`, `256MiB`, `2GiB`; or `kB`, `MB`, `GB` in powers of ten |
| a count or percentage | `2`, `25%` |
| statuses | `200`, `2xx`, `200-399` |
";
