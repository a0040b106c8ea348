//! Tokens, passwords and certificates.

use std::sync::Arc;

use rollway::metrics::webhook;
use rollway_core::spec::{Access, Webhook};
use rollway_core::units::Millis;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::server::{Seen, Server, question};

fn counters(_: &Seen) -> (u16, String) {
    let one = r#"{"total": 7, "bad": 1}"#;
    (200, format!(r#"{{"canary": {one}, "baseline": {one}}}"#))
}

fn source(url: String, access: Access) -> Webhook {
    Webhook { url, headers: Default::default(), access, timeout: Millis::seconds(20) }
}

#[tokio::test]
async fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path.display().to_string())
    };
    let server = Server::new(counters).await;
    let token = Access { token_file: file("token", "abc\n"), ..Access::default() };
    webhook::ask(&source(server.url("/"), token), &question()).await.unwrap();
    let password = Access {
        username: Some("Aladdin".to_owned()),
        password_file: file("password", "open sesame\n"),
        ..Access::default()
    };
    webhook::ask(&source(server.url("/"), password), &question()).await.unwrap();
    let sent: Vec<_> = server.seen().into_iter().map(|one| one.authorization.unwrap()).collect();
    // The second is the example of RFC 7617, 2.
    assert_eq!(sent, ["Bearer abc", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
    let empty = Access { token_file: file("empty", "\n"), ..Access::default() };
    let why = webhook::ask(&source(server.url("/"), empty), &question()).await.unwrap_err();
    assert!(why.starts_with("there is nothing in "), "{why}");
    let absent = Access { token_file: Some("/no/such/token".to_owned()), ..Access::default() };
    let why = webhook::ask(&source(server.url("/"), absent), &question()).await.unwrap_err();
    assert!(why.starts_with("could not read /no/such/token"), "{why}");
    assert_eq!(server.seen().len(), 2, "nothing is sent without its secret");
}

#[tokio::test]
async fn a_server_must_have_a_certificate_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let accept = move |stream| {
        let acceptor = acceptor.clone();
        async move { acceptor.accept(stream).await.ok() }
    };
    let server = Server::over(counters, accept).await;
    let url = |host: &str| format!("https://{host}:{}/", server.address.port());
    let ca = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        Access { ca: Some(path.display().to_string()), ..Access::default() }
    };
    let trusted = ca("trusted.pem", made.cert.pem());
    let asked = source(url("localhost"), trusted.clone());
    assert_eq!(webhook::ask(&asked, &question()).await.unwrap().canary.total, 7);
    for (access, host, said) in [
        (trusted, "127.0.0.1", "no TLS with 127.0.0.1"),
        (ca("other.pem", other.cert.pem()), "localhost", "no TLS with localhost"),
        (ca("empty.pem", String::new()), "localhost", "there is no certificate in "),
    ] {
        let why = webhook::ask(&source(url(host), access), &question()).await.unwrap_err();
        assert!(why.starts_with(said), "{said}: {why}");
    }
    assert_eq!(server.seen().len(), 1, "nothing is sent to whom nobody trusts");
}
