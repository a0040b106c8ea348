//! An address that is listened on, and which service a request that comes in there is for.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::service::Service;
use super::shared::Shared;
use super::tls::Certificates;

/// An address with its socket.
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    socket: Mutex<Option<TcpListener>>,
    /// Who is served here.
    pub routes: ArcSwap<Routes>,
    /// The certificates, if it serves TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// What the whole process shares.
    pub shared: Arc<Shared>,
}

impl Listener {
    /// With this socket.
    pub fn new(
        socket: TcpListener,
        address: SocketAddr,
        certificates: Option<Arc<Certificates>>,
        shared: Arc<Shared>,
    ) -> Self {
        let (socket, routes) = (Mutex::new(Some(socket)), ArcSwap::default());
        Self { address, socket, routes, certificates, shared }
    }

    /// A copy of the socket: all copies share one queue of connections.
    pub fn copy(&self) -> std::io::Result<TcpListener> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.as_ref().ok_or(std::io::ErrorKind::NotConnected)?.try_clone()
    }

    /// Closes the socket here; connections that came in over it do not need it.
    pub fn close(&self) {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether it serves TLS.
    pub fn is_tls(&self) -> bool {
        self.certificates.is_some()
    }
}

/// Which service is meant.
#[derive(Default)]
pub struct Routes {
    hosts: HashMap<String, Paths>,
    /// Suffixes with their dot, the longest first.
    under: Vec<(String, Paths)>,
    any: Paths,
    paths_matter: bool,
}

#[derive(Default)]
struct Paths(Vec<(String, Target)>);

/// Where a request goes.
#[derive(Clone)]
pub struct Target {
    /// To this service.
    pub service: Arc<Service>,
    /// Only to this release of it: the preview.
    pub release: Option<u64>,
}

/// The result of looking for a service.
pub enum Found<'a> {
    /// This one.
    Target(&'a Target),
    /// Nobody is here.
    Nobody,
    /// The path can be read in more than one way.
    Ambiguous,
}

impl Routes {
    /// Adds a rule. The first of two equal ones stays; tables with such are refused before.
    pub fn add(&mut self, host: Option<&str>, path: Option<&str>, target: Target) {
        let host = host.map(normal_host);
        let paths = match host {
            None => &mut self.any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => {
                    let at = self.under.iter().position(|(known, _)| known == suffix);
                    let at = at.unwrap_or_else(|| {
                        self.under.push((suffix.to_owned(), Paths::default()));
                        self.under.len() - 1
                    });
                    &mut self.under[at].1
                }
                None => self.hosts.entry(host).or_default(),
            },
        };
        let prefix = path.unwrap_or("").trim_end_matches('/').to_owned();
        self.paths_matter |= !prefix.is_empty();
        paths.0.push((prefix, target));
        paths.0.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self.under.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
    }

    /// Finds the service for a request; the longest host wins, then the longest path.
    pub fn find(&self, host: &str, path: &str) -> Found<'_> {
        if self.paths_matter && is_ambiguous(path) {
            return Found::Ambiguous;
        }
        if !self.hosts.is_empty() || !self.under.is_empty() {
            let host = normal_host(without_port(host));
            if let Some(target) = self.hosts.get(&host).and_then(|paths| paths.find(path)) {
                return Found::Target(target);
            }
            for (suffix, paths) in &self.under {
                // "*.x" is everything under x, not x itself.
                if host.len() > suffix.len()
                    && host.ends_with(suffix.as_str())
                    && let Some(target) = paths.find(path)
                {
                    return Found::Target(target);
                }
            }
        }
        self.any.find(path).map_or(Found::Nobody, Found::Target)
    }
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Target> {
        let within = |prefix: &str| {
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/') || prefix.is_empty()).then_some(())
        };
        self.0.iter().find(|(prefix, _)| within(prefix).is_some()).map(|(_, target)| target)
    }
}

/// Lower case, without the dot of a fully qualified name.
pub fn normal_host(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The host of an authority.
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether an instance may take this path for another one than we do, and so for one that a
/// longer rule keeps for another service: dot segments, and slashes and dots in disguise.
fn is_ambiguous(path: &str) -> bool {
    let disguised = |segment: &str| {
        let lower = segment.to_ascii_lowercase();
        ["%2e", "%2f", "%5c", "%252e", "%252f", "%255c"].iter().any(|code| lower.contains(code))
    };
    let odd = |segment: &str| {
        matches!(segment, "." | "..") || (segment.contains('%') && disguised(segment))
    };
    path.contains('\\') || path.split('/').any(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rule_wins_and_segments_are_whole() {
        let mut routes = Routes::default();
        let mut add = |name: &str, host: Option<&str>, path: Option<&str>| {
            let service = Arc::new(Service::new(name, 1));
            routes.add(host, path, Target { service, release: None });
        };
        add("any", None, None);
        add("api", None, Some("/api/"));
        add("shop", Some("shop.example"), None);
        add("cart", Some("shop.example"), Some("/cart"));
        add("stars", Some("*.example"), None);
        add("deep", Some("*.deep.example"), Some("/x"));
        let find = |host: &str, path: &str| match routes.find(host, path) {
            Found::Target(target) => target.service.name.clone(),
            Found::Nobody => "nobody".to_owned(),
            Found::Ambiguous => "ambiguous".to_owned(),
        };
        for (host, path, want) in [
            ("other", "/", "any"),
            ("other", "/api", "api"),
            ("other", "/api/x", "api"),
            ("other", "/apix", "any"),
            ("SHOP.example.:8080", "/api", "shop"),
            ("shop.example", "/cart/1", "cart"),
            ("a.example", "/cart", "stars"),
            ("example", "/", "any"),
            ("a.deep.example", "/x", "deep"),
            ("a.deep.example", "/y", "stars"),
            ("other", "/api/../secret", "ambiguous"),
            ("other", "/api/..%2Fsecret", "ambiguous"),
            ("other", "/%2e%2e/api", "ambiguous"),
            ("[::1]:80", "/", "any"),
        ] {
            assert_eq!(find(host, path), want, "{host} {path}");
        }
    }
}
