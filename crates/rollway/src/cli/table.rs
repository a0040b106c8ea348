//! Tables for people: aligned columns, two spaces apart, no lines.

use super::out::{Out, Tone, one_line};

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}

impl Cell {
    /// A cell in a tone.
    #[must_use]
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: one_line(&text.into()), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// The rows under their headings, a line each.
#[must_use]
pub fn table(out: Out, headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let heading: Vec<Cell> = headings.iter().map(|text| Cell::toned(*text, Tone::Faint)).collect();
    let all: Vec<&Vec<Cell>> = std::iter::once(&heading).chain(rows).collect();
    let widths: Vec<usize> = (0..headings.len())
        .map(|column| all.iter().filter_map(|row| row.get(column)).map(width).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in all {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(&out.paint(cell.tone, &cell.text));
            if column + 1 < row.len() {
                line.push_str(&" ".repeat(widths[column] - width(cell) + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and versions are ASCII; what else there is stands in the last column.
fn width(cell: &Cell) -> usize {
    cell.text.chars().count()
}
