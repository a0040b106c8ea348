//! Probes check one instance once, within a time limit, and say what they saw.

mod command;
pub mod disk;
mod grpc;
mod http;
pub mod memory;
mod tcp;
pub mod url;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rollway_core::spec::{Check, Probe, Room};
use tokio::net::TcpStream;

/// So much of what was seen is kept.
pub const EVIDENCE_BYTES_MAX: usize = 512;
/// A regular expression sees this much of a body or of output.
pub const MATCHED_BYTES_MAX: usize = 64 << 10;
/// A regular expression may take this much memory once compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// A command is killed with its tree within this much more than its time limit.
const KILL_MARGIN: Duration = Duration::from_secs(6);

/// What is checked.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Where it listens.
    pub address: Option<SocketAddr>,
    /// Its environment, for commands.
    pub env: &'a BTreeMap<String, String>,
    /// Its working folder, for commands.
    pub working_folder: &'a Path,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the check succeeded.
    pub ok: bool,
    /// Why, in a few words: `status 503, expected 200-299`, `connection refused`.
    pub reason: String,
    /// The beginning of what was seen, control characters escaped.
    pub evidence: String,
    /// How long it took.
    pub took_ms: u64,
}

/// What one kind of probe found.
struct Found {
    ok: bool,
    reason: String,
    evidence: Vec<u8>,
}

impl Found {
    fn good(reason: impl Into<String>) -> Self {
        Self { ok: true, reason: reason.into(), evidence: Vec::new() }
    }

    fn bad(reason: impl Into<String>) -> Self {
        Self { ok: false, reason: reason.into(), evidence: Vec::new() }
    }

    fn evidence(mut self, evidence: impl Into<Vec<u8>>) -> Self {
        self.evidence = evidence.into();
        self
    }
}

/// Checks once; takes no longer than the probe's timeout (a command: and a kill).
pub async fn check(probe: &Probe, subject: &Subject<'_>) -> Verdict {
    let began = Instant::now();
    let limit = probe.timeout.duration();
    // A command has to be killed when its time is over, and sees to that itself.
    let longest = match &probe.check {
        Check::Command(_) => limit + KILL_MARGIN,
        Check::Http(_) | Check::Tcp(_) | Check::Grpc(_) | Check::Disk(_) | Check::Memory(_) => {
            limit
        }
    };
    let found = tokio::time::timeout(longest, find(probe, subject)).await;
    let found = found.unwrap_or_else(|_| Found::bad(format!("no answer within {}", probe.timeout)));
    Verdict {
        ok: found.ok,
        reason: found.reason,
        evidence: escape(&found.evidence),
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

async fn find(probe: &Probe, subject: &Subject<'_>) -> Found {
    let at = |port: &Option<u16>| {
        let mut address = subject.address?;
        address.set_port(port.unwrap_or(address.port()));
        Some(address)
    };
    let no_address = || Found::bad("the instance has no address to check");
    match &probe.check {
        Check::Http(check) => match at(&check.port) {
            Some(address) => http::check(check, address).await,
            None => no_address(),
        },
        Check::Tcp(check) => match at(&check.port) {
            Some(address) => tcp::check(address).await,
            None => no_address(),
        },
        Check::Grpc(check) => match at(&check.port) {
            Some(address) => grpc::check(check, address).await,
            None => no_address(),
        },
        Check::Command(check) => command::check(check, probe.timeout, subject).await,
        Check::Disk(check) => disk::check(check, subject.working_folder).await,
        Check::Memory(check) => memory::check(check),
    }
}

/// A connection, or why there is none.
async fn connect(address: SocketAddr) -> Result<TcpStream, Found> {
    match TcpStream::connect(address).await {
        Ok(stream) => {
            // A probe is one small write: nothing is gained by waiting for more.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Err(error) => Err(Found::bad(said(&error))),
    }
}

/// What the usual failures of connections are called.
const SAID: [(ErrorKind, &str); 7] = [
    (ErrorKind::ConnectionRefused, "connection refused"),
    (ErrorKind::ConnectionReset, "connection reset"),
    (ErrorKind::ConnectionAborted, "connection aborted"),
    (ErrorKind::TimedOut, "connection timed out"),
    (ErrorKind::HostUnreachable, "host unreachable"),
    (ErrorKind::NetworkUnreachable, "network unreachable"),
    (ErrorKind::UnexpectedEof, "connection closed in the middle of the answer"),
];

fn said(error: &io::Error) -> String {
    let known = SAID.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.to_string(), |(_, said)| (*said).to_owned())
}

/// What hyper's failure is called: its cause where that says more.
fn said_by_hyper(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error);
    match cause.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => said(cause),
        None if error.is_incomplete_message() => "connection closed without an answer".into(),
        None if error.is_parse() => format!("no valid answer: {error}"),
        None => error.to_string(),
    }
}

/// Whether a text holds what the expression asks for; the error says what is wrong with that.
fn matches(expression: &str, text: &[u8]) -> Result<bool, Found> {
    let text = String::from_utf8_lossy(text);
    match regex::RegexBuilder::new(expression).size_limit(REGEX_BYTES_MAX).build() {
        Ok(regex) => Ok(regex.is_match(&text)),
        Err(error) => Err(Found::bad(format!("the regular expression is wrong: {error}"))),
    }
}

/// Whether there is room enough, with both figures.
fn room(wanted: Room, free: u64, total: u64, of: &str) -> Found {
    let percent = if total == 0 { 0.0 } else { free as f64 * 100.0 / total as f64 };
    let (ok, wanted) = match wanted {
        Room::Percent(wanted) => (percent >= f64::from(wanted), format!("{wanted}%")),
        Room::Bytes(wanted) => (free >= wanted.0, wanted.to_string()),
    };
    let mebibytes = |bytes: u64| bytes >> 20;
    let figures = format!("{} of {} MiB ({percent:.1}%)", mebibytes(free), mebibytes(total));
    if ok {
        Found::good(format!("{of}: {figures}"))
    } else {
        Found::bad(format!("{of}: {figures}, expected at least {wanted}"))
    }
}

/// At most [`EVIDENCE_BYTES_MAX`] bytes that can be printed anywhere; line ends stay.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(&bytes[..bytes.len().min(EVIDENCE_BYTES_MAX)]).chars() {
        let piece: String =
            if c.is_control() && c != '\n' { c.escape_default().collect() } else { c.to_string() };
        if text.len() + piece.len() > EVIDENCE_BYTES_MAX {
            break;
        }
        text.push_str(&piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollway_core::units::Bytes;

    #[test]
    fn evidence_is_short_and_harmless() {
        assert_eq!(escape(b"a\x1b[31mb\nc\0"), "a\\u{1b}[31mb\nc\\u{0}");
        assert_eq!(escape(&[0xff; 4000]).len() / 3, EVIDENCE_BYTES_MAX / 3);
        assert_eq!(escape(&[7; 4000]).len(), EVIDENCE_BYTES_MAX / 5 * 5);
    }

    #[test]
    fn room_is_told_with_both_figures() {
        let told = |wanted| room(wanted, 100 << 20, 1000 << 20, "free").reason;
        assert_eq!(told(Room::Percent(10)), "free: 100 of 1000 MiB (10.0%)");
        assert_eq!(
            told(Room::Bytes(Bytes(1 << 30))),
            "free: 100 of 1000 MiB (10.0%), expected at least 1GiB"
        );
    }
}
