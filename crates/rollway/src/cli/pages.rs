//! `lint`, `schema`, `docs` and `completions`: what needs nobody else.

use rollway_core::spec::{self, Report};
use serde_json::json;

use super::args::{CompletionsFlags, DocsFlags, LintFlags};
use super::out::Tone;
use super::wrong::{USAGE, Wrong, say_warnings};
use super::{Context, spec_file, usage, words};

/// `rollway lint`.
pub fn lint(ctx: &Context, flags: &LintFlags) -> Result<(), Wrong> {
    let read = spec_file::read(flags.file.as_deref());
    if ctx.out.json {
        let (report, code) = match &read {
            Ok(file) => (report(&[], &file.warnings), Ok(())),
            Err(Wrong::Problems(problems, _)) => (report(problems, &[]), Err(Wrong::Said(USAGE))),
            Err(_) => return read.map(|_| ()),
        };
        ctx.out.value(&report)?;
        return code;
    }
    let file = read?;
    say_warnings(ctx.out, &file.warnings, Some(&file.source));
    let remark = match file.warnings.len() as u64 {
        0 => String::new(),
        warnings => format!(", with {}", words::count(warnings, "warning")),
    };
    let (name, service) = (&file.source.name, &file.spec.service);
    ctx.out.line(&format!("{name} is a good spec of {service}{remark}"))
}

fn report(
    problems: &[rollway_core::problem::Problem],
    warnings: &[rollway_core::problem::Problem],
) -> serde_json::Value {
    let Report { problems, warnings } =
        Report { problems: problems.to_vec(), warnings: warnings.to_vec() };
    json!({"ok": problems.is_empty(), "problems": problems, "warnings": warnings})
}

/// `rollway schema`.
pub fn schema(ctx: &Context) -> Result<(), Wrong> {
    ctx.out.value(&spec::json_schema())
}

/// `rollway docs`.
pub fn docs(ctx: &Context, flags: &DocsFlags) -> Result<(), Wrong> {
    match &flags.kind {
        Some(kind) => ctx.out.line(spec::docs(kind)?.trim_end()),
        None => {
            for kind in spec::reference::kinds() {
                ctx.out.line(&ctx.out.paint(Tone::Strong, kind))?;
            }
            ctx.out.hint("`rollway docs KIND` prints one of these; begin with `spec`");
            Ok(())
        }
    }
}

/// `rollway completions`.
pub fn completions(ctx: &Context, flags: &CompletionsFlags) -> Result<(), Wrong> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut usage::command(ctx.out), "rollway", &mut script);
    ctx.out.bytes(&script)
}
