//! Addresses of repositories: what is allowed, and how a password in one is kept out of sight.

use crate::failure::{Failure, FailureKind};

/// An address, with what was in front of its host taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// What git is given.
    pub plain: String,
    /// The header that says who we are, if the address did.
    pub authorization: Option<String>,
}

/// Protocols that run a program, or that nobody should speak any more, are not among them.
const PROTOCOLS: [&str; 6] = ["file", "git", "http", "https", "ssh", "git+ssh"];

/// Reads an address.
pub(super) fn read(url: &str) -> Result<Address, Failure> {
    let refused = |why: &str| {
        let doing = format!("cannot use the repository {:?}: {why}", hidden(url));
        Err(Failure::new(FailureKind::NotDone, doing))
    };
    if url.is_empty() {
        return refused("it is empty");
    }
    if url.starts_with('-') || url.contains(char::is_control) {
        return refused("it is no address");
    }
    let Some((protocol, rest)) = url.split_once("://") else {
        // `ext::sh -c ...` runs a program.
        let before = url.split(['/', '@']).next().unwrap_or_default();
        if before.contains("::") {
            return refused("helpers are not allowed");
        }
        return Ok(Address { plain: url.to_owned(), authorization: None });
    };
    if !PROTOCOLS.contains(&protocol) {
        return refused(&format!("known protocols: {}", PROTOCOLS.join(", ")));
    }
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((user, host)) if protocol.starts_with("http") => {
            let user = decoded(user);
            let user = if user.contains(':') { user } else { format!("{user}:") };
            let authorization = format!("Authorization: Basic {}", base64(user.as_bytes()));
            let plain = format!("{protocol}://{host}{path}");
            Ok(Address { plain, authorization: Some(authorization) })
        }
        Some(_) | None => Ok(Address { plain: url.to_owned(), authorization: None }),
    }
}

/// An address as it may be shown.
pub(super) fn hidden(url: &str) -> String {
    let Some((protocol, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) if protocol.starts_with("http") => format!("{protocol}://{host}{path}"),
        Some(_) | None => url.to_owned(),
    }
}

/// `%40` is `@`; what is no such sign stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let sign = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match sign.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() { '=' } else { char::from(sign) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_stay_in_the_address() {
        let read = read("https://ann:p%40ss@git.example/org/repo.git").expect("an address");
        assert_eq!(read.plain, "https://git.example/org/repo.git");
        // The sign for `ann:p@ss`.
        assert_eq!(read.authorization.as_deref(), Some("Authorization: Basic YW5uOnBAc3M="));
        assert_eq!(hidden("https://ann:pw@git.example/r"), "https://git.example/r");
    }

    #[test]
    fn what_would_run_a_program_is_refused() {
        for bad in ["", "--upload-pack=x", "ext::sh -c id", "ext://x", "a\nb"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        for good in ["/srv/repo", "git@host:org/repo.git", "ssh://git@host/r", "../repo"] {
            assert_eq!(read(good).map(|it| it.plain).ok().as_deref(), Some(good));
        }
    }

    #[test]
    fn signs_are_those_of_the_standard() {
        let of = |text: &str| base64(text.as_bytes());
        assert_eq!([of(""), of("f"), of("fo"), of("foo")], ["", "Zg==", "Zm8=", "Zm9v"]);
    }
}
