//! What a host asks for in the headers of its answer: git follows none of it, and tells nobody.
//! So it writes the headers, without what is secret in them, to a file that lives for one call.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use rollway_core::gitops::address::Scheme;

use super::mirror::Remote;
use super::run::Call;

/// No host is left alone for longer, whatever it asks for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// So much of the headers is read.
const BYTES_MAX: u64 = 256 << 10;
/// How git begins a line with a header that came.
const CAME: &str = "<= Recv header: ";

/// The headers of one call; the file goes with it.
pub(super) struct Headers(Option<PathBuf>);

impl Headers {
    /// Has git write them down beside a copy, where there are any.
    pub(super) fn of(call: &mut Call, remote: &Remote, folder: &Path) -> Self {
        if !matches!(remote.url.scheme(), Scheme::Http | Scheme::Https) {
            return Self(None);
        }
        let path = folder.with_extension("headers");
        // Git adds to what an earlier control plane may have left.
        let _ = std::fs::remove_file(&path);
        let mut set = |name: &str, value: String| call.environment.push((name.to_owned(), value));
        set("GIT_TRACE_CURL", path.display().to_string());
        set("GIT_TRACE_CURL_NO_DATA", "1".to_owned());
        set("GIT_TRACE_REDACT", "1".to_owned());
        Self(Some(path))
    }

    /// How long the host asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let mut bytes = Vec::new();
        File::open(self.0.as_ref()?).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
        retry_after(&String::from_utf8_lossy(&bytes), Timestamp::now())
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // A call that reached nobody has written none.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// `Retry-After` of the last answer that has one: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let mut values = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(CAME)?.1.split_once(':')?;
        name.eq_ignore_ascii_case("retry-after").then(|| value.trim())
    });
    let value = values.next_back()?;
    let wait = match value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long wait, too.
        true => Duration::from_secs(value.parse().unwrap_or(u64::MAX)),
        false => {
            let at = rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_both_of_its_forms() {
        let now: Timestamp = "2026-11-26T16:00:00Z".parse().expect("a time");
        let cases = [
            ("Retry-After: 7", Some(7)),
            ("retry-after:0", Some(0)),
            ("Retry-After: 99999999999999999999999", Some(3600)),
            ("Retry-After: Thu, 26 Nov 2026 16:02:03 GMT", Some(123)),
            ("Retry-After: Thu, 26 Nov 2026 15:00:00 GMT", Some(0)),
            ("Retry-After: soon", None),
            ("Retry-After: -3", None),
            ("Not-Retry-After: 5", None),
        ];
        for (line, seconds) in cases {
            let text =
                format!("16:00:00.1 http.c:2  <= Recv header: HTTP/1.1 429\n16 {CAME}{line}\n");
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(&text, now), expected, "{line}");
        }
        // What is no header that came is nobody's wish.
        assert_eq!(retry_after("=> Send header: Retry-After: 9\n", now), None);
        let twice = format!("{CAME}Retry-After: 3\n{CAME}Retry-After: 4\n");
        assert_eq!(retry_after(&twice, now), Some(Duration::from_secs(4)));
    }
}
