//! What git complains of, as the reasons that people and back-off tell apart.

use std::time::Duration;

use rollway_core::gitops::state::Reason;
use rollway_core::problem::Problem;

use super::run::Said;

/// So much of a complaint is told.
const TOLD_CHARACTERS_MAX: usize = 400;

/// Why a repository could not be read or used.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// Which kind.
    pub reason: Reason,
    /// The particulars, in words.
    pub message: String,
    /// What is wrong in its files.
    pub problems: Vec<Problem>,
    /// How long the host asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    /// A trouble of this kind.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), problems: Vec::new(), retry_after: None }
    }

    /// What git said, understood as far as it can be.
    #[must_use]
    pub fn told(doing: &str, said: &Said) -> Self {
        if said.timed_out {
            return Self::new(Reason::Timeout, format!("{doing}: no end in time"));
        }
        if said.is_cut {
            return Self::new(Reason::TreeUnsafe, format!("{doing}: the answer is too large"));
        }
        let reason = reason(&said.complaint);
        Self::new(reason, format!("{doing}: {}", words(&said.complaint)))
    }
}

/// The first that is found, in this order: a host's key fails with a closed connection, too.
const SIGNS: [(&str, Reason); 44] = [
    ("No space left on device", Reason::DiskFull),
    ("Disk quota exceeded", Reason::DiskFull),
    ("Read-only file system", Reason::DiskFull),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Reason::HostKeyChanged),
    ("host key is known for", Reason::HostKeyUnknown),
    ("Host key verification failed", Reason::HostKeyUnknown),
    ("Permission denied (", Reason::AuthenticationFailed),
    ("Authentication failed", Reason::AuthenticationFailed),
    ("could not read Username", Reason::AuthenticationFailed),
    ("could not read Password", Reason::AuthenticationFailed),
    ("invalid credentials", Reason::AuthenticationFailed),
    ("returned error: 401", Reason::AuthenticationFailed),
    ("returned error: 403", Reason::AuthenticationFailed),
    ("returned error: 429", Reason::RateLimited),
    ("returned error: 404", Reason::RepoNotFound),
    ("returned error: 410", Reason::RepoNotFound),
    ("returned error: 5", Reason::ServerError),
    ("returned error: 3", Reason::ServerError),
    ("(non-fast-forward)", Reason::RefRejected),
    ("(fetch first)", Reason::RefRejected),
    ("not valid: is this a git repository", Reason::EmptyAdvertisement),
    ("Could not resolve host", Reason::DnsFailed),
    ("Name or service not known", Reason::DnsFailed),
    ("Temporary failure in name resolution", Reason::DnsFailed),
    ("gnutls_handshake", Reason::TlsFailed),
    ("server certificate", Reason::TlsFailed),
    ("SSL certificate", Reason::TlsFailed),
    ("SSL_", Reason::TlsFailed),
    ("Operation too slow", Reason::Timeout),
    ("Operation timed out", Reason::Timeout),
    ("Connection timed out", Reason::Timeout),
    ("fsck error", Reason::TreeUnsafe),
    ("hasDotdot", Reason::TreeUnsafe),
    ("hasDotgit", Reason::TreeUnsafe),
    ("couldn't find remote ref", Reason::RefNotFound),
    ("does not appear to be a git repository", Reason::RepoNotFound),
    ("not found", Reason::RepoNotFound),
    ("does not exist", Reason::RepoNotFound),
    ("dubious ownership", Reason::AuthenticationFailed),
    ("Failed to connect", Reason::ServerError),
    ("Connection refused", Reason::ServerError),
    ("Empty reply from server", Reason::ServerError),
    ("early EOF", Reason::ServerError),
    ("hung up", Reason::ServerError),
];

fn reason(complaint: &str) -> Reason {
    let found = SIGNS.iter().find(|(sign, _)| complaint.contains(sign));
    found.map_or(Reason::ServerError, |(_, reason)| *reason)
}

/// The lines that say something, on one line.
fn words(complaint: &str) -> String {
    let lines = complaint
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('@') && !line.starts_with("hint:"));
    let text = lines.collect::<Vec<_>>().join("; ");
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.is_empty() {
        return "git said nothing".to_owned();
    }
    match text.char_indices().nth(TOLD_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_apart() {
        // As git 2.47 and OpenSSH 10 write them.
        let cases = [
            (
                "fatal: unable to access 'https://h/': The requested URL returned error: 503",
                Reason::ServerError,
            ),
            (
                "fatal: unable to access 'https://h/': The requested URL returned error: 429",
                Reason::RateLimited,
            ),
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                Reason::AuthenticationFailed,
            ),
            ("fatal: repository 'https://h/r/' not found", Reason::RepoNotFound),
            ("fatal: couldn't find remote ref refs/heads/x", Reason::RefNotFound),
            (
                "No ED25519 host key is known for [127.0.0.1]:2222 and you have requested strict \
              checking.\nHost key verification failed.",
                Reason::HostKeyUnknown,
            ),
            (
                "@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                Reason::HostKeyChanged,
            ),
            (
                "error: object 1: hasDotgit: contains '.git'\nfatal: fsck error in packed object",
                Reason::TreeUnsafe,
            ),
            ("fatal: write error: No space left on device", Reason::DiskFull),
        ];
        for (complaint, expected) in cases {
            assert_eq!(reason(complaint), expected, "{complaint}");
        }
        assert_eq!(words("@@@@\nfatal: a\u{1b}[2J\nhint: b\n"), "fatal: a[2J");
    }
}
