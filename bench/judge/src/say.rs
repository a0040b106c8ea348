//! What is printed: tables or JSON to stdout, progress to stderr.

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
