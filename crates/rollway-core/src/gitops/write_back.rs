//! What is told to the repository after a rollback that nobody asked for: a branch that reverts
//! it, or a file that says so; never on the branch that is followed.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::WriteBack;
use super::decide::{RETRY_MAX_MS, backoff_ms};
use super::name::{Oid, RefName, SourceName};
use super::state::{Applied, Held};
use crate::ids::ServiceName;

/// Branches of ours begin with this.
pub const BRANCHES: &str = "rollway";
/// So much of a reason is written, and only its first line: whoever reads the repository reads it.
const REASON_CHARACTERS_MAX: usize = 300;

/// What is to be told of one rollback, and how far that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The commit that was rejected.
    pub revision: Oid,
    /// The commit that the service went back to; none = nothing of Git served before.
    pub back_to: Option<Oid>,
    /// Why.
    pub reason: String,
    /// When it was rejected, in milliseconds since 1970.
    pub since_ms: i64,
    /// How often it was tried in vain.
    pub tries: u32,
    /// When it is tried again, in milliseconds since 1970.
    pub until_ms: i64,
    /// Whether nothing more is tried.
    pub is_over: bool,
    /// Where it was written, or why it was not.
    pub words: String,
}

impl Told {
    /// What is to be told of a service that is held because its deployment failed.
    #[must_use]
    pub fn new(held: &Held, applied: Option<&Applied>) -> Option<Self> {
        let first = held.reason.lines().next().unwrap_or_default();
        let plain = first.chars().filter(|c| !c.is_control());
        Some(Self {
            revision: held.revision.clone()?,
            back_to: applied.map(|applied| applied.revision.clone()),
            reason: plain.take(REASON_CHARACTERS_MAX).collect(),
            since_ms: held.since_ms,
            tries: 0,
            until_ms: held.since_ms,
            is_over: false,
            words: "not written back yet".to_owned(),
        })
    }

    /// Whether it is to be tried now. A clock that was set back makes no wait longer than it ever
    /// is.
    #[must_use]
    pub fn is_due(&self, now_ms: i64) -> bool {
        let is_early = self.until_ms > now_ms;
        !self.is_over && (!is_early || self.until_ms - now_ms > RETRY_MAX_MS)
    }

    /// It was written, or never will be.
    pub fn end(&mut self, words: impl Into<String>) {
        (self.is_over, self.words) = (true, words.into());
    }

    /// It could not be written this time.
    pub fn failed(&mut self, why: &str, now_ms: i64) {
        self.tries = self.tries.saturating_add(1);
        self.until_ms = now_ms.saturating_add(backoff_ms(self.tries));
        self.words = format!("not written back after {} tries: {why}", self.tries);
    }

    /// The message of the commit.
    #[must_use]
    pub fn message(&self, service: &ServiceName) -> String {
        let to = self.back_to.as_ref().map_or("what it was", Oid::short);
        let rejected = &self.revision;
        format!("Revert {service} to {to}\n\n{rejected} was rolled back: {}\n", self.reason)
    }

    /// The file that says how the service stands, as JSON.
    #[must_use]
    pub fn status(&self, service: &ServiceName) -> String {
        let status = json!({
            "service": service.to_string(),
            "rejected": self.revision,
            "serves": self.back_to,
            "reason": self.reason,
            "at_ms": self.since_ms,
        });
        format!("{status:#}\n")
    }
}

/// The branch that is written to; an error where it would be the one that is followed.
pub fn branch(
    mode: WriteBack,
    (source, followed): (&SourceName, &RefName),
    service: &ServiceName,
    revision: &Oid,
) -> Result<RefName, String> {
    let name = match mode {
        WriteBack::None => return Err("nothing is written back".to_owned()),
        WriteBack::Branch => format!("{BRANCHES}/revert-{service}-{}", revision.short()),
        WriteBack::Status => format!("{BRANCHES}/status-{source}"),
    };
    let branch = RefName::branch(&name)?;
    if branch == *followed {
        return Err(format!("{name} is followed, and never written to"));
    }
    Ok(branch)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn told() -> Told {
        let held = Held {
            revision: Some(Oid::parse(&"a".repeat(40)).unwrap()),
            content: None,
            reason: format!("deployment 2 rolled_back: \u{1b}[2J{}\nsecond line", "x".repeat(999)),
            by: "gitops demo".to_owned(),
            since_ms: 1_000,
            until_ms: None,
        };
        Told::new(&held, None).unwrap()
    }

    #[test]
    fn what_is_told_is_one_short_plain_line() {
        let told = told();
        assert_eq!(told.reason.chars().count(), REASON_CHARACTERS_MAX);
        assert!(!told.reason.contains('\u{1b}') && !told.reason.contains("second"));
    }

    #[test]
    fn a_failed_try_waits_longer_each_time_and_a_jump_of_the_clock_does_not() {
        let mut told = told();
        assert!(told.is_due(1_000));
        told.failed("no", 1_000);
        assert!(!told.is_due(1_000) && !told.is_due(5_999) && told.is_due(6_000));
        told.failed("no", 6_000);
        assert!(!told.is_due(15_999) && told.is_due(16_000));
        assert!(told.is_due(-RETRY_MAX_MS), "the clock was set back");
        told.end("written");
        assert!(!told.is_due(i64::MAX));
    }

    #[test]
    fn the_branch_that_is_followed_is_never_written_to() {
        let (source, service) =
            (SourceName::parse("demo").unwrap(), ServiceName::parse("web").unwrap());
        let revision = Oid::parse(&"b".repeat(40)).unwrap();
        let name = |mode, followed: &str| {
            let followed = RefName::branch(followed).unwrap();
            branch(mode, (&source, &followed), &service, &revision)
        };
        let reverts = name(WriteBack::Branch, "main").unwrap();
        assert!(reverts.as_str().starts_with("refs/heads/rollway/revert-web-bbbb"), "{reverts}");
        assert!(name(WriteBack::Branch, reverts.short()).is_err());
        assert!(name(WriteBack::Status, "rollway/status-demo").is_err());
        assert!(name(WriteBack::None, "main").is_err());
    }
}
