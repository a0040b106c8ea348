//! Where a byte of the user's text is: its line and column, counted in characters from 1.

use crate::problem::Place;

/// An index over a text, so that every place is found in logarithmic time, however long its line.
pub struct Text<'a> {
    /// The text, without a byte order mark.
    pub body: &'a str,
    /// Bytes of the mark that was taken off; offsets count from before it.
    base: usize,
    line_starts: Vec<usize>,
    /// The offset of each character; empty where all are one byte long.
    characters: Vec<usize>,
}

impl<'a> Text<'a> {
    /// Indexes a text.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let newlines = body.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        let characters = match body.is_ascii() {
            true => Vec::new(),
            false => body.char_indices().map(|(at, _)| at).collect(),
        };
        Self { body, base: text.len() - body.len(), line_starts, characters }
    }

    /// The place of the bytes from `start` to before `end`; both are clipped to the text.
    #[must_use]
    pub fn place(&self, start: usize, end: usize) -> Place {
        let start = self.body.floor_char_boundary(start);
        let end = self.body.floor_char_boundary(end).max(start);
        let line = self.line_starts.partition_point(|first| *first <= start);
        let first = self.line_starts[line - 1];
        let column = self.character(start) - self.character(first) + 1;
        Place { line, column, offset: self.base + start, length: end - start }
    }

    /// The place of a line and a column that another reader gave, both from 1.
    #[must_use]
    pub fn line_and_column(&self, line: usize, column: usize) -> Place {
        let line = line.clamp(1, self.line_starts.len());
        let start = self.line_starts[line - 1];
        let rest = &self.body[start..];
        let length = rest.find('\n').unwrap_or(rest.len());
        let offset = rest[..length].char_indices().nth(column.max(1) - 1);
        let start = start + offset.map_or(length, |(at, _)| at);
        self.place(start, start + 1)
    }

    /// The offset of the character with this number; the end of the text for any beyond it.
    #[must_use]
    pub fn offset_of_character(&self, number: usize) -> usize {
        if self.characters.is_empty() {
            return number.min(self.body.len());
        }
        self.characters.get(number).copied().unwrap_or(self.body.len())
    }

    /// What is written at a place.
    #[must_use]
    pub fn written(&self, place: Place) -> &'a str {
        let start = place.offset.saturating_sub(self.base);
        self.body.get(start..start + place.length).unwrap_or_default()
    }

    fn character(&self, offset: usize) -> usize {
        if self.characters.is_empty() {
            return offset;
        }
        self.characters.partition_point(|at| *at < offset)
    }
}
