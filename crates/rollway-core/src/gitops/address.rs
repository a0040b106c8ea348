//! Addresses of repositories: what git may be given, and nothing that it would run or leak.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest address, in bytes.
pub const ADDRESS_LENGTH_MAX: usize = 2048;

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A folder on this machine: `file:///srv/repo.git`.
    File,
    /// Without encryption, and so only on this machine: `http://127.0.0.1:8080/repo.git`.
    Http,
    /// `https://host/repo.git`.
    Https,
    /// `ssh://user@host/repo.git`, or `user@host:repo.git`.
    Ssh,
}

/// The address of a repository. It holds no password, no option and no program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoUrl {
    text: String,
    scheme: Scheme,
}

impl RepoUrl {
    /// Checks an address; the error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > ADDRESS_LENGTH_MAX {
            return Err(format!("an address has 1 to {ADDRESS_LENGTH_MAX} bytes"));
        }
        let plain = |b: u8| b.is_ascii_graphic() && !b"\\\"'`<>|;$(){}^*?#&!".contains(&b);
        if !text.bytes().all(plain) {
            return Err("an address is of letters, digits and - . _ ~ / : @ + % = , [ ]".into());
        }
        let scheme = match text.split_once("://") {
            Some(("https", rest)) => web(rest).map(|_| Scheme::Https)?,
            Some(("http", rest)) => local_web(rest)?,
            Some(("ssh", rest)) => shell(rest)?,
            Some(("file", rest)) => file(rest)?,
            Some((other, _)) => {
                let other = if other.contains("::") { "a helper" } else { other };
                return Err(format!("{other} is not allowed; known: file, https, ssh"));
            }
            None => short_shell(text)?,
        };
        Ok(Self { text: text.to_owned(), scheme })
    }

    /// The address as git is given it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whose answers it gets, with the port where it is written; nothing for a folder here.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        let authority = match (self.scheme, self.text.split_once("://")) {
            (Scheme::File, _) => return None,
            (_, Some((_, rest))) => rest.split('/').next(),
            (_, None) => self.text.split(':').next(),
        };
        authority.map(|text| text.rsplit_once('@').map_or(text, |(_, host)| host))
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for RepoUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<RepoUrl> for String {
    fn from(url: RepoUrl) -> String {
        url.text
    }
}

/// The host of an address over the web.
fn web(rest: &str) -> Result<&str, String> {
    let (authority, path) = split(rest)?;
    if authority.contains('@') {
        return Err("a user or password in the address would be shown to others; \
                    give --user and --token-file"
            .into());
    }
    let name = host(authority)?;
    repository(path)?;
    Ok(name)
}

fn local_web(rest: &str) -> Result<Scheme, String> {
    match web(rest)? {
        "localhost" | "127.0.0.1" | "[::1]" => Ok(Scheme::Http),
        _ => Err("http is not encrypted, and allowed only on this machine; use https".into()),
    }
}

fn shell(rest: &str) -> Result<Scheme, String> {
    let (authority, path) = split(rest)?;
    let name = authority.rsplit_once('@');
    if let Some((user, _)) = name {
        login(user)?;
    }
    host(name.map_or(authority, |(_, host)| host))?;
    repository(path).map(|()| Scheme::Ssh)
}

/// `git@host:org/repo.git`.
fn short_shell(text: &str) -> Result<Scheme, String> {
    let expected = || {
        "an address is https://host/repo.git, ssh://user@host/repo.git, user@host:repo.git or \
         file:///folder/repo.git"
            .to_owned()
    };
    let (front, path) = text.split_once(':').ok_or_else(expected)?;
    let (user, name) = front.split_once('@').ok_or_else(expected)?;
    login(user)?;
    host(name)?;
    if path.starts_with(['-', ':']) {
        return Err(expected());
    }
    repository(path).map(|()| Scheme::Ssh)
}

fn file(rest: &str) -> Result<Scheme, String> {
    if !rest.starts_with('/') || rest.starts_with("//") {
        return Err("a file address is file:///folder/repo.git, without a host".into());
    }
    repository(rest).map(|()| Scheme::File)
}

fn split(rest: &str) -> Result<(&str, &str), String> {
    let at = rest.find('/').ok_or("the address has no path behind the host")?;
    Ok(rest.split_at(at))
}

fn login(user: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(plain) {
        return Err("a user is of letters, digits and . _ -, without a password".into());
    }
    Ok(())
}

fn host(authority: &str) -> Result<&str, String> {
    let wrong = || "a host is a name or an address, perhaps with a port".to_owned();
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']').ok_or_else(wrong)?;
            let (name, port) = authority.split_at(end + 2);
            rest[..end].parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (name, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(wrong)?)
        }
        None => {
            let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
            if name.is_empty() || name.starts_with(['-', '.']) || !name.bytes().all(plain) {
                return Err(wrong());
            }
            (name, port)
        }
    };
    let is_port = port.is_empty()
        || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0));
    is_port.then_some(name).ok_or_else(wrong)
}

fn repository(path: &str) -> Result<(), String> {
    let bare = path.trim_matches('/');
    if bare.is_empty() {
        return Err("the address names no repository".into());
    }
    let up = bare.split('/').any(|part| matches!(part, "." | ".."));
    if up || bare.contains('@') || bare.contains("::") {
        return Err("the path of an address has no `..`, `@` or `::`".into());
    }
    Ok(())
}
