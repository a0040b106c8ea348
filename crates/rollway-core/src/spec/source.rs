//! Where the numbers of a judgement come from, as the spec says it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Millis;

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The proxy that Rollway runs.
    #[default]
    EmbeddedProxy,
    /// A server of Prometheus' interface.
    Prometheus(Box<Prometheus>),
    /// A JSON document of each release.
    Http(Box<HttpSource>),
    /// A service that is asked about both releases.
    Webhook(Box<Webhook>),
    /// A command that prints JSON.
    Command(CommandSource),
}

/// Instant queries to Prometheus, or to what answers like it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prometheus {
    /// `http://127.0.0.1:9090`, with the path before `/api` if there is one.
    pub address: String,
    /// The query of all requests: raw counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// The query of those that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<String>,
    /// The query of how long requests took: the buckets of a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<String>,
    /// The query of one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// How it is reached.
    #[serde(default)]
    pub access: Access,
    /// A query that takes longer has failed.
    #[serde(default = "timeout")]
    pub timeout: Millis,
}

/// A JSON document of each release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSource {
    /// Where it is.
    pub url: String,
    /// The place of the count of all requests: a JSON pointer (RFC 6901).
    #[serde(default = "total")]
    pub total: String,
    /// The place of the count of those that failed.
    #[serde(default = "bad")]
    pub bad: String,
    /// The place of one number; absent = `/value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How it is reached.
    #[serde(default)]
    pub access: Access,
    /// A request that takes longer has failed.
    #[serde(default = "timeout")]
    pub timeout: Millis,
}

/// A service that is asked about both releases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where the question is posted.
    pub url: String,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How it is reached.
    #[serde(default)]
    pub access: Access,
    /// A request that takes longer has failed.
    #[serde(default = "timeout")]
    pub timeout: Millis,
}

/// A command that prints the counters of a release as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSource {
    /// Program and arguments; never given to a shell.
    pub argv: Vec<String>,
    /// It is killed with its tree after this.
    #[serde(default = "timeout")]
    pub timeout: Millis,
}

/// How a server is reached. Secrets are in files: neither a release nor the history has them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// The file of a bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// The name for HTTP's basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The file of its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The file of the certificates that sign the server's; absent = the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

fn timeout() -> Millis {
    Millis::seconds(5)
}

fn total() -> String {
    "/total".to_owned()
}

fn bad() -> String {
    "/bad".to_owned()
}

impl Source {
    /// The name that users see.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::EmbeddedProxy => "embedded_proxy",
            Self::Prometheus(_) => "prometheus",
            Self::Http(_) => "http",
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
    }

    /// Whether it tells how long requests take, beside how many there were.
    #[must_use]
    pub fn has_latency(&self) -> bool {
        match self {
            Self::EmbeddedProxy => true,
            Self::Prometheus(source) => source.latency.is_some(),
            Self::Http(_) | Self::Webhook(_) | Self::Command(_) => false,
        }
    }

    /// Whether it gives a number as it is.
    #[must_use]
    pub fn has_value(&self) -> bool {
        match self {
            Self::EmbeddedProxy => false,
            Self::Prometheus(source) => source.value.is_some(),
            Self::Http(_) | Self::Webhook(_) | Self::Command(_) => true,
        }
    }

    /// How long an answer may take; nothing for our own proxy.
    #[must_use]
    pub fn timeout(&self) -> Option<Millis> {
        match self {
            Self::EmbeddedProxy => None,
            Self::Prometheus(source) => Some(source.timeout),
            Self::Http(source) => Some(source.timeout),
            Self::Webhook(source) => Some(source.timeout),
            Self::Command(source) => Some(source.timeout),
        }
    }

    /// How its server is reached, if it has one.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        match self {
            Self::EmbeddedProxy | Self::Command(_) => None,
            Self::Prometheus(source) => Some(&source.access),
            Self::Http(source) => Some(&source.access),
            Self::Webhook(source) => Some(&source.access),
        }
    }
}
