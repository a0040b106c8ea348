//! Names and numbers that are checked once, where they enter, and valid from there on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest service name, in bytes: it becomes part of host names and file names.
pub const SERVICE_NAME_LENGTH_MAX: usize = 40;
/// Longest version label, in bytes.
pub const VERSION_LENGTH_MAX: usize = 128;

/// The name of a service: `[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// Checks a service name; the error is a sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = !bytes.is_empty() && bytes.len() <= SERVICE_NAME_LENGTH_MAX;
        let body = bytes.iter().all(|b| plain(b) || *b == b'-');
        let ends = bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain);
        if fits && body && ends {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "a service name is 1 to {SERVICE_NAME_LENGTH_MAX} characters of a-z, 0-9 and '-', \
             and begins and ends with a letter or digit"
        ))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The user's label of a build: a tag, an image tag, a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// Checks a version label; the error is a sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let inner = |b: &u8| b.is_ascii_alphanumeric() || b"._-+/:@".contains(b);
        let fits = !bytes.is_empty() && bytes.len() <= VERSION_LENGTH_MAX;
        if fits && bytes[0].is_ascii_alphanumeric() && bytes.iter().all(inner) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "a version is 1 to {VERSION_LENGTH_MAX} characters of letters, digits and \
             . _ - + / : @, and begins with a letter or digit"
        ))
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_newtype!(ServiceName);
text_newtype!(Version);

/// The number of a release, counted per service from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ReleaseNumber(pub u64);

impl<'de> Deserialize<'de> for ReleaseNumber {
    /// A number, or one in quotes: as the key of a map it has to be text, and what reads a tagged
    /// event does not know any more that it was a key.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;
        impl serde::de::Visitor<'_> for NumberOrText {
            type Value = ReleaseNumber;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a release")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<ReleaseNumber, E> {
                Ok(ReleaseNumber(number))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ReleaseNumber, E> {
                text.parse().map(ReleaseNumber).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(NumberOrText)
    }
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// The fencing number of a service: grows with every deployment, abort and change of the acting
/// control plane. A target that has seen a newer one answers `Stale`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

/// One place for one instance of one release: a deterministic name, so that starting it twice is
/// starting it once. Written `r3-0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId {
    /// The release that the instance is a copy of.
    pub release: ReleaseNumber,
    /// The slot, counted from 0 within the release.
    pub slot: u32,
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}-{}", self.release.0, self.slot)
    }
}

impl InstanceId {
    /// Reads `r3-0`; neither `r03-0` nor `r+3-0`, so that no two texts are one instance.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.strip_prefix('r').and_then(|rest| rest.split_once('-'));
        let parsed = parts.and_then(|(r, s)| {
            Some(Self { release: ReleaseNumber(r.parse().ok()?), slot: s.parse().ok()? })
        });
        parsed
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| format!("an instance is written r3-0, not {text:?}"))
    }
}

impl TryFrom<String> for InstanceId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> String {
        id.to_string()
    }
}

/// One attempt to make a release the serving one, numbered per service. Written `shop-7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeploymentId {
    /// The service.
    pub service: ServiceName,
    /// The number, counted per service from 1.
    pub number: u64,
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.service, self.number)
    }
}
