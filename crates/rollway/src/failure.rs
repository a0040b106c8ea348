//! What the world did to us: which kind of failure, while doing what, and its cause.

use std::fmt;

/// The kinds that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It certainly did not happen.
    NotDone,
    /// It may or may not have happened: observe before anything else.
    Unknown,
    /// The other side has seen a newer generation.
    Stale,
    /// There is no such thing.
    Missing,
    /// What we found is damaged, and was left as it is.
    Damaged,
}

/// A failure of the world, as opposed to a `Problem` of the user or a bug of ours.
#[derive(Debug)]
pub struct Failure {
    /// Which kind.
    pub kind: FailureKind,
    /// What was being done: `could not start shop r3-0`.
    pub doing: String,
    /// The cause.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure without a further cause.
    #[must_use]
    pub fn new(kind: FailureKind, doing: impl Into<String>) -> Self {
        Self { kind, doing: doing.into(), source: None }
    }

    /// A failure with its cause.
    #[must_use]
    pub fn because(
        kind: FailureKind,
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, doing: doing.into(), source: Some(source.into()) }
    }

    /// The message with all its causes, as `what: cause: cause`.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.doing.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}
