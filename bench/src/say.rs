//! What is printed: tables and JSON to stdout, progress and errors to stderr.

use serde_json::Value;

/// Prints a line.
#[expect(clippy::print_stdout, reason = "this is a program's own output")]
pub fn line(text: &str) {
    println!("{text}");
}

/// Says what is going on.
#[expect(clippy::print_stderr, reason = "this is a program's own output")]
pub fn note(text: &str) {
    eprintln!("  {text}");
}

/// Says what went wrong.
#[expect(clippy::print_stderr, reason = "this is a program's own output")]
pub fn error(text: &str) {
    eprintln!("error: {text}");
}

/// Prints rows in aligned columns, and the same facts as one line of JSON.
pub fn table(rows: &[(&str, String)], facts: &Value) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in rows {
        line(&format!("  {name:<width$}  {value}"));
    }
    line(&format!("  {facts}"));
}
