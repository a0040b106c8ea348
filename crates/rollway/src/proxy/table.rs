//! What one service wants of the proxy: where to listen, which instances serve, in which split.
//!
//! ```json
//! {"service": "shop", "generation": 3, "revision": 1, "listen": ["127.0.0.1:8080"],
//!  "arms": [{"release": 1, "version": "v1", "weight": 90,
//!            "members": [{"instance": "r1-0", "address": "127.0.0.1:9001"}]},
//!           {"release": 2, "version": "v2", "weight": 10,
//!            "members": [{"instance": "r2-0", "address": "127.0.0.1:9002"}]}],
//!  "newest": 2, "sticky": {"cookie": "shop-release"}}
//! ```

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderName, HeaderValue};
use rollway_core::ids::ServiceName;
use rollway_core::problem::Problem;
use serde::{Deserialize, Serialize};

/// Most arms of a service: old, new, and a few that still drain.
const ARMS_MAX: usize = 32;
/// Most members of a service; beyond that one proxy is the wrong place.
const MEMBERS_MAX: usize = 10_000;
/// Most addresses, rules and testers of a service.
const ENTRIES_MAX: usize = 256;

/// Everything that the proxy knows of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTable {
    /// Its name.
    pub service: String,
    /// The fencing number: a lower one than was seen is refused.
    pub generation: u64,
    /// Counts the changes within one generation.
    #[serde(default)]
    pub revision: u64,
    /// Addresses to listen on: `127.0.0.1:8080`, `[::1]:80`, `8080` for all addresses.
    pub listen: Vec<String>,
    /// Serve TLS with these files; they are read again when they change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Which requests are this service's; none = all. The longest host and path win.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// The releases that serve. Weights sum to 100, or are all 0: every member gets the same.
    pub arms: Vec<Arm>,
    /// The release that testers and growing weights are about.
    #[serde(default)]
    pub newest: Option<u64>,
    /// Requests that go to the newest release while it has members.
    #[serde(default)]
    pub testers: Vec<Tester>,
    /// A further address that always goes to one release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// Whether a client stays with its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Serve, hold, or refuse.
    #[serde(default)]
    pub mode: Mode,
    /// A held request is answered with 503 after this, in milliseconds.
    #[serde(default = "defaults::pause_max_ms")]
    pub pause_max_ms: u64,
    /// How many further instances are tried when a connection cannot be made.
    #[serde(default = "defaults::retries")]
    pub retries: u32,
    /// How long connecting to an instance may take, in milliseconds.
    #[serde(default = "defaults::connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// From the request to the head of the answer, in milliseconds; 0 = no limit.
    #[serde(default)]
    pub response_timeout_ms: u64,
    /// A client connection without a request is closed after this, in milliseconds.
    #[serde(default = "defaults::idle_timeout_ms")]
    pub idle_timeout_ms: u64,
    /// The largest request body in bytes; none = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_max: Option<u64>,
    /// How members are verified after a restart and after a connection failed; none = by TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Reprobe>,
}

/// A certificate chain and its key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Which requests are meant: all given parts must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A host name; `*.example.org` is every name under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// A path prefix of whole segments: `/api` is `/api` and `/api/x`, not `/apix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// One release and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// The release's number.
    pub release: u64,
    /// The user's name for it, for metrics and logs.
    #[serde(default)]
    pub version: String,
    /// Its share in percent.
    #[serde(default)]
    pub weight: u32,
    /// The instances that serve it.
    #[serde(default)]
    pub members: Vec<Member>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name: `r2-0`.
    pub instance: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Requests with exactly this header go to the newest release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tester {
    /// The header's name.
    pub header: String,
    /// Its value.
    pub value: String,
}

/// An address that always goes to one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// The address.
    pub listen: String,
    /// The release.
    pub release: u64,
}

/// By what a client is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sticky {
    /// A signed cookie of this name.
    Cookie(String),
    /// A hash of this header's value.
    Header(String),
}

/// What happens to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They are forwarded.
    #[default]
    Serve,
    /// They are held until the table changes, or `pause_max_ms` has passed.
    Pause,
    /// They are answered with 503 at once.
    Maintenance,
}

/// How a member is asked whether it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reprobe {
    /// `GET` this path, any 2xx or 3xx answer is good; none = a TCP connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// How often, in milliseconds.
    #[serde(default = "defaults::reprobe_interval_ms")]
    pub interval_ms: u64,
    /// How long one may take, in milliseconds.
    #[serde(default = "defaults::reprobe_timeout_ms")]
    pub timeout_ms: u64,
}

impl Default for Reprobe {
    fn default() -> Self {
        let (interval_ms, timeout_ms) =
            (defaults::reprobe_interval_ms(), defaults::reprobe_timeout_ms());
        Self { http: None, interval_ms, timeout_ms }
    }
}

mod defaults {
    pub fn pause_max_ms() -> u64 {
        30_000
    }
    pub fn retries() -> u32 {
        2
    }
    pub fn connect_timeout_ms() -> u64 {
        1_000
    }
    pub fn idle_timeout_ms() -> u64 {
        75_000
    }
    pub fn reprobe_interval_ms() -> u64 {
        500
    }
    pub fn reprobe_timeout_ms() -> u64 {
        1_000
    }
}

impl ServiceTable {
    /// A table with every setting at its default.
    #[must_use]
    pub fn new(service: &str, generation: u64, listen: Vec<String>, arms: Vec<Arm>) -> Self {
        Self {
            service: service.to_owned(),
            generation,
            revision: 0,
            listen,
            tls: None,
            rules: Vec::new(),
            arms,
            newest: None,
            testers: Vec::new(),
            preview: None,
            sticky: None,
            mode: Mode::Serve,
            pause_max_ms: defaults::pause_max_ms(),
            retries: defaults::retries(),
            connect_timeout_ms: defaults::connect_timeout_ms(),
            response_timeout_ms: 0,
            idle_timeout_ms: defaults::idle_timeout_ms(),
            body_max: None,
            health: None,
        }
    }

    /// Everything that is wrong with this table taken by itself.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if let Err(what) = ServiceName::parse(&self.service) {
            found.push(Problem::new("service", what));
        }
        if self.listen.is_empty() {
            found.push(
                Problem::new("listen", "no address to listen on")
                    .hint("give at least one, such as 127.0.0.1:8080"),
            );
        }
        for (at, text) in self.listen.iter().enumerate() {
            if let Err(what) = listen_address(text) {
                found.push(Problem::new(format!("listen[{at}]"), what));
            }
        }
        self.check_sizes(&mut found);
        self.check_arms(&mut found);
        self.check_rules(&mut found);
        self.check_clients(&mut found);
        found
    }

    fn check_sizes(&self, found: &mut Vec<Problem>) {
        let members = self.arms.iter().map(|arm| arm.members.len()).sum();
        let sizes = [
            ("listen", self.listen.len(), ENTRIES_MAX),
            ("rules", self.rules.len(), ENTRIES_MAX),
            ("testers", self.testers.len(), ENTRIES_MAX),
            ("arms", self.arms.len(), ARMS_MAX),
            ("arms.members", members, MEMBERS_MAX),
        ];
        for (path, count, most) in sizes {
            if count > most {
                found.push(Problem::new(path, format!("{count} entries, at most {most}")));
            }
        }
    }

    fn check_arms(&self, found: &mut Vec<Problem>) {
        let total: u64 = self.arms.iter().map(|arm| u64::from(arm.weight)).sum();
        if total != 0 && total != 100 {
            found.push(
                Problem::new("arms", format!("the weights sum to {total}, not to 100"))
                    .hint("or set all of them to 0 to split by the number of members"),
            );
        }
        // Sorted, so that the same table is told the same.
        let mut releases = BTreeSet::new();
        let mut instances = HashSet::new();
        for (at, arm) in self.arms.iter().enumerate() {
            let path = format!("arms[{at}]");
            if !releases.insert(arm.release) {
                let what = format!("release {} has two arms", arm.release);
                found.push(Problem::new(&path, what));
            }
            if arm.members.is_empty() && arm.weight > 0 {
                let what = format!("weight {} but no members", arm.weight);
                found.push(Problem::new(&path, what));
            }
            for member in &arm.members {
                if member.instance.is_empty() || !instances.insert(&member.instance) {
                    let what = format!("instance {:?} is empty or listed twice", member.instance);
                    found.push(Problem::new(format!("{path}.members"), what));
                }
                if member.address.port() == 0 {
                    let what = format!("instance {} has port 0", member.instance);
                    found.push(Problem::new(format!("{path}.members"), what));
                }
            }
        }
        let known: Vec<String> = releases.iter().map(u64::to_string).collect();
        let preview = self.preview.as_ref().map(|preview| preview.release);
        for (path, release) in [("newest", self.newest), ("preview.release", preview)] {
            if let Some(release) = release.filter(|release| !releases.contains(release)) {
                let what = format!("no arm has release {release}; known: {}", known.join(", "));
                found.push(Problem::new(path, what));
            }
        }
    }

    fn check_rules(&self, found: &mut Vec<Problem>) {
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.host.as_deref().is_some_and(|host| !is_host_rule(host)) {
                let what = "a host is a name such as shop.example.org or *.example.org";
                found.push(Problem::new(format!("rules[{at}].host"), what));
            }
            if rule.path.as_deref().is_some_and(|path| !is_path_rule(path)) {
                let what = "a path begins with '/' and has no '?', '#', '%', '.' or '..' segment";
                found.push(Problem::new(format!("rules[{at}].path"), what));
            }
        }
    }

    fn check_clients(&self, found: &mut Vec<Problem>) {
        for (at, tester) in self.testers.iter().enumerate() {
            if HeaderName::try_from(tester.header.as_str()).is_err() {
                let what = format!("{:?} is not a header name", tester.header);
                found.push(Problem::new(format!("testers[{at}].header"), what));
            }
            if HeaderValue::try_from(tester.value.as_str()).is_err() {
                found.push(Problem::new(format!("testers[{at}].value"), "not a header value"));
            }
        }
        match &self.sticky {
            // The characters of a cookie's name are those of a header's name (RFC 6265, 4.1.1).
            Some(Sticky::Cookie(name) | Sticky::Header(name))
                if HeaderName::try_from(name.as_str()).is_err() =>
            {
                found.push(Problem::new("sticky", format!("{name:?} is not a name")));
            }
            Some(_) | None => {}
        }
        if let Some(preview) = &self.preview {
            match listen_address(&preview.listen) {
                Err(what) => found.push(Problem::new("preview.listen", what)),
                Ok(address) => {
                    let same = |text: &String| listen_address(text) == Ok(address);
                    if self.listen.iter().any(same) {
                        let what = format!("{address} is also in listen");
                        found.push(Problem::new("preview.listen", what));
                    }
                }
            }
        }
        let path = self.health.as_ref().and_then(|health| health.http.as_deref());
        if path.is_some_and(|path| !path.starts_with('/') || path.parse::<http::Uri>().is_err()) {
            found.push(Problem::new("health.http", "a path begins with '/'"));
        }
        if self.health.as_ref().is_some_and(|h| h.interval_ms == 0 || h.timeout_ms == 0) {
            found.push(Problem::new("health", "interval_ms and timeout_ms must be above 0"));
        }
    }
}

fn is_host_rule(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(plain)
}

fn is_path_rule(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#%".contains(&b);
    let segments = path.split('/').all(|segment| segment != "." && segment != "..");
    path.starts_with('/') && path.bytes().all(plain) && segments
}

/// Reads an address to listen on; the error says what was expected.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let expected = || format!("{text:?} is not an address; write 127.0.0.1:8080, [::1]:80 or 8080");
    let address = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        // The unspecified IPv6 address takes IPv4 clients too.
        Ok(port) => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        Err(_) => text.parse().map_err(|_| expected())?,
    };
    if address.port() == 0 {
        return Err(format!("{text:?} has port 0, and nobody would know where to ask"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests;
