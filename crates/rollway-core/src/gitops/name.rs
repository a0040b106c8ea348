//! Names of refs, commits and paths in a repository, checked once where they enter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name of a ref, in bytes.
pub const REF_LENGTH_MAX: usize = 255;
/// Longest path in a repository, in bytes.
pub const PATH_LENGTH_MAX: usize = 1024;
/// Deepest path in a repository.
pub const PATH_DEPTH_MAX: usize = 64;

macro_rules! checked_text {
    ($name:ident) => {
        impl $name {
            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(checked: $name) -> String {
                checked.0
            }
        }
    };
}

/// A branch or a tag in full: `refs/heads/main`. Short names are ambiguous, and git takes some of
/// them for something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RefName(String);
checked_text!(RefName);

impl RefName {
    /// Checks a full name; narrower than `git check-ref-format`, so that it is safe everywhere.
    pub fn parse(text: &str) -> Result<Self, String> {
        let short = text.strip_prefix("refs/heads/").or_else(|| text.strip_prefix("refs/tags/"));
        let Some(short) = short else {
            return Err("a ref is refs/heads/BRANCH or refs/tags/TAG".into());
        };
        if text.len() > REF_LENGTH_MAX {
            return Err(format!("a ref has at most {REF_LENGTH_MAX} bytes"));
        }
        let plain = |c: char| c.is_alphanumeric() || "._-/+@#=%,".contains(c);
        let part = |part: &str| {
            !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with(".lock")
        };
        let fits = short.chars().all(plain)
            && short.split('/').all(part)
            && !short.ends_with('.')
            && !short.contains("..")
            && !short.starts_with('@');
        fits.then(|| Self(text.to_owned())).ok_or_else(|| {
            "a branch or tag is of letters, digits and . _ - / + @ # = % ,; no part is empty or \
             begins with . or -, or ends with .lock, and there is no `..`"
                .to_owned()
        })
    }

    /// The branch of this short name.
    pub fn branch(name: &str) -> Result<Self, String> {
        Self::parse(&format!("refs/heads/{name}"))
    }

    /// The tag of this short name.
    pub fn tag(name: &str) -> Result<Self, String> {
        Self::parse(&format!("refs/tags/{name}"))
    }

    /// Whether it is a tag, which is not expected to move.
    #[must_use]
    pub fn is_tag(&self) -> bool {
        self.0.starts_with("refs/tags/")
    }

    /// The short name, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.rsplit_once("heads/").or_else(|| self.0.split_once("tags/")).map_or(&self.0, |p| p.1)
    }
}

/// The id of an object in full: 40 hexadecimal digits, or 64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Oid(String);
checked_text!(Oid);

impl Oid {
    /// Checks an id.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let fits = matches!(text.len(), 40 | 64) && text.bytes().all(hex);
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| "a commit is 40 or 64 hexadecimal digits".to_owned())
    }

    /// Its beginning, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

/// A folder in a repository; empty is the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(String);
checked_text!(RepoPath);

impl RepoPath {
    /// Checks a path: relative, and nowhere up or into git's own.
    pub fn parse(text: &str) -> Result<Self, String> {
        if matches!(text, "" | ".") {
            return Ok(Self::default());
        }
        let text = text.strip_prefix("./").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.len() > PATH_LENGTH_MAX || text.split('/').count() > PATH_DEPTH_MAX {
            let limits = format!("{PATH_LENGTH_MAX} bytes and {PATH_DEPTH_MAX} folders");
            return Err(format!("a path has at most {limits}"));
        }
        let part = |part: &str| {
            !matches!(part, "" | "." | "..") && !is_git_folder(part) && !part.starts_with(':')
        };
        let fits = !text.contains('\\') && !text.chars().any(char::is_control);
        (fits && text.split('/').all(part)).then(|| Self(text.to_owned())).ok_or_else(|| {
            "a path is relative to the root of the repository, without `..`, `.git`, empty parts \
             or backslashes"
                .to_owned()
        })
    }
}

/// Whether a file system might take this name for `.git`.
#[must_use]
pub fn is_git_folder(part: &str) -> bool {
    // HFS+ ignores some invisible characters; NTFS ignores dots and spaces at the end.
    let invisible = |c: &char| {
        matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{206a}'..='\u{206f}' | '\u{feff}')
    };
    let seen: String = part.chars().filter(|c| !invisible(c)).collect();
    let seen = seen.trim_end_matches([' ', '.']).to_lowercase();
    seen == ".git" || seen == "git~1"
}

/// The name of a source: as a service's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceName(String);
checked_text!(SourceName);

impl SourceName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: String| what.replacen("a service name", "the name of a source", 1);
        crate::ids::ServiceName::parse(text).map_err(wrong)?;
        Ok(Self(text.to_owned()))
    }
}
