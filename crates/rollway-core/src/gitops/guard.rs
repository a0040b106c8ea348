//! The guard before anything is stopped because it is no longer in Git.

/// So large a share of the services may vanish in one revision, in percent.
pub const GONE_PERCENT_MAX: usize = 30;
/// Fewer than this are never too many.
pub const GONE_MIN: usize = 3;

/// What a revision takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// How many services this source has made.
    pub managed: usize,
    /// How many of them are not in the revision.
    pub gone: usize,
    /// How many services are in the revision.
    pub wanted: usize,
    /// Whether the revision has no history in common with the one before.
    pub unrelated: bool,
}

/// Why services may not be stopped without being asked; nothing = they may.
#[must_use]
pub fn refused(loss: Loss) -> Option<String> {
    let Loss { managed, gone, wanted, unrelated } = loss;
    if gone == 0 {
        return None;
    }
    if wanted == 0 {
        return Some("the revision has no service at all".to_owned());
    }
    if unrelated {
        return Some("the revision has no history in common with the one before".to_owned());
    }
    if gone >= GONE_MIN && gone * 100 > managed * GONE_PERCENT_MAX {
        return Some(format!("{gone} of {managed} services are gone in one revision"));
    }
    None
}
