//! Bytes as choices.

/// Takes choices from bytes; when they are over, every choice is the first.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The choices of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether no byte is left.
    pub fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        usize::from(*first) % n.max(1)
    }

    /// A number, small most often and now and then as large as they get.
    pub fn number(&mut self) -> u64 {
        match self.below(16) {
            0 => u64::MAX,
            1 => u64::from(u32::MAX),
            _ => self.below(256) as u64,
        }
    }
}
