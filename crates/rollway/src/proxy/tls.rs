//! Certificates: one set per address, chosen by the name the client asks for, read again when
//! the files change; a broken new pair never replaces a working old one.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::table::TlsFiles;
use crate::failure::{Failure, FailureKind};

/// The certificates of one address.
#[derive(Debug)]
pub struct Certificates {
    entries: ArcSwap<Vec<Entry>>,
}

/// One pair with the names it is for.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Names as in rules; none = for whoever asks.
    pub hosts: Vec<String>,
    /// The files.
    pub files: TlsFiles,
    seen: Option<[(SystemTime, u64); 2]>,
    key: Arc<CertifiedKey>,
}

impl Entry {
    /// Reads a pair.
    pub fn read(hosts: Vec<String>, files: &TlsFiles) -> Result<Self, Failure> {
        let seen = look(files);
        let key = Arc::new(read_pair(files)?);
        Ok(Self { hosts, files: files.clone(), seen, key })
    }
}

fn read_pair(files: &TlsFiles) -> Result<CertifiedKey, Failure> {
    let doing = |path: &str| format!("could not read {path}");
    let fail = |path: &str, error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::because(FailureKind::NotDone, doing(path), error)
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fail(&files.certificate, error.into()))?;
    if chain.is_empty() {
        return Err(fail(&files.certificate, "it holds no certificate".into()));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fail(&files.key, error.into()))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map_err(|error| fail(&files.certificate, error.into()))
}

fn look(files: &TlsFiles) -> Option<[(SystemTime, u64); 2]> {
    let one = |path: &str| {
        let about = std::fs::metadata(Path::new(path)).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    Some([one(&files.certificate)?, one(&files.key)?])
}

impl Certificates {
    /// With these pairs.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self { entries: ArcSwap::from_pointee(entries) }
    }

    /// Replaces all pairs.
    pub fn set(&self, entries: Vec<Entry>) {
        self.entries.store(Arc::new(entries));
    }

    /// Reads again what has changed; the failures are those of pairs that were left as they were.
    pub fn reread(&self) -> Vec<Failure> {
        let mut entries = Vec::clone(&self.entries.load());
        let mut failures = Vec::new();
        let mut changed = false;
        for entry in &mut entries {
            let seen = look(&entry.files);
            if seen == entry.seen {
                continue;
            }
            match read_pair(&entry.files) {
                Ok(key) => {
                    entry.key = Arc::new(key);
                    entry.seen = seen;
                    changed = true;
                }
                Err(failure) => failures.push(failure),
            }
        }
        if changed {
            self.set(entries);
        }
        failures
    }

    /// What makes TLS of a connection.
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let entries = self.entries.load();
        let name = hello.server_name().unwrap_or("").to_ascii_lowercase();
        let fits = |host: &String| match host.strip_prefix('*') {
            Some(suffix) => name.ends_with(&suffix.to_ascii_lowercase()),
            None => host.eq_ignore_ascii_case(&name),
        };
        let named = entries.iter().find(|entry| entry.hosts.iter().any(fits));
        let any = || entries.iter().find(|entry| entry.hosts.is_empty());
        named.or_else(any).or_else(|| entries.first()).map(|entry| Arc::clone(&entry.key))
    }
}
