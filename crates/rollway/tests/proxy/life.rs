//! The life of the process: what it remembers, takes over, and gives up.

use rollway::proxy::table::{Mode, Reprobe, TlsFiles};
use tokio_rustls::rustls;

use super::*;

#[tokio::test]
async fn older_tables_are_refused_and_the_same_is_not_needed() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    (table.generation, table.revision) = (3, 2);
    assert_eq!(proxy.apply(&table).await.1["outcome"], "added");
    assert_eq!(proxy.apply(&table).await.1["outcome"], "not_needed");
    table.arms = vec![arm(2, 100, &[&b])];
    for (generation, revision) in [(3, 2), (3, 1), (2, 9)] {
        (table.generation, table.revision) = (generation, revision);
        let (status, answer) = proxy.apply(&table).await;
        assert_eq!((status, &answer["outcome"]), (409, &"stale".into()));
        assert_eq!(answer["seen"]["generation"], 3);
    }
    assert_eq!(fetch(address, "/", &[]).await.1, "a");
    assert_eq!(proxy.admin("DELETE", "/v1/services/shop?generation=2", "").await.0, 409);
    let (status, answer) = proxy.admin("DELETE", "/v1/services/shop?generation=4", "").await;
    assert_eq!((status, &answer["outcome"]), (200, &"removed".into()));
    table.generation = 3;
    assert_eq!(proxy.apply(&table).await.0, 409, "older than the deletion");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_address_that_is_taken_changes_nothing_and_says_whose_it_is() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    proxy.applied(&table).await;
    table.revision = 1;
    table.listen = vec![a.address.to_string()];
    let (status, answer) = proxy.apply(&table).await;
    assert_eq!(status, 422);
    let pid = std::process::id();
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains(&format!("could not listen on {}", a.address)), "{error}");
    assert!(error.contains(&format!("(pid {pid}) has it")), "{error}");
    assert_eq!(fetch(address, "/", &[]).await.1, "a");
}

#[tokio::test]
async fn a_paused_service_holds_and_one_in_maintenance_refuses() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    table.mode = Mode::Pause;
    proxy.applied(&table).await;
    let held = tokio::spawn(async move { fetch(address, "/", &[]).await });
    wait_for("it is held", async || {
        let (_, shown) = proxy.admin("GET", "/v1/services/shop", "").await;
        assert_eq!(shown["members"][0]["requests"], 0, "who waits is not in flight");
        (shown["held"] == 1).then_some(())
    })
    .await;
    table.revision = 1;
    table.mode = Mode::Serve;
    proxy.applied(&table).await;
    assert_eq!(held.await.unwrap(), (200, "a".to_owned()));
    (table.mode, table.revision, table.pause_max_ms) = (Mode::Pause, 2, 20);
    proxy.applied(&table).await;
    assert_eq!(fetch(address, "/", &[]).await, (503, "the service is paused\n".into()));
    (table.mode, table.revision) = (Mode::Maintenance, 3);
    proxy.applied(&table).await;
    let response = Client::connect(address).await.send(get("/", &[])).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["retry-after"].as_bytes()),
        (503, &b"1"[..])
    );
}

#[tokio::test]
async fn a_restart_serves_at_once_and_only_what_answers() {
    let (mut proxy, address) = (Proxy::start().await, free_address());
    let (a, b) = (Instance::start("a").await, Instance::start("b").await);
    let mut table = table(address, vec![arm(1, 100, &[&a, &b])]);
    table.health = Some(Reprobe { http: Some("/healthz".to_owned()), ..Reprobe::default() });
    proxy.applied(&table).await;
    proxy.kill();
    b.stop().await;
    proxy.restart().await;
    let mut client = Client::connect(address).await;
    for _ in 0..50 {
        assert_eq!(client.get("/", &[]).await, (200, "a".to_owned()));
    }
    let (_, metrics) = proxy.admin("GET", "/v1/metrics", "").await;
    let release = &metrics["services"]["shop"]["releases"]["1"];
    assert_eq!(release["faults"]["connect"], 0, "b was never used unverified");
    wait_for("the alarm about b", async || {
        let health = proxy.health().await;
        let text = health["alarms"][0].as_str()?.to_owned();
        text.starts_with("service shop b could not be verified").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_damaged_state_file_is_told_and_the_previous_one_serves() {
    let (mut proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    proxy.applied(&table).await;
    table.revision = 1;
    proxy.applied(&table).await;
    proxy.kill();
    let path = proxy.folder().join("proxy/table.json");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    proxy.restart().await;
    assert_eq!(fetch(address, "/", &[]).await.1, "a");
    let alarms = proxy.health().await["alarms"].to_string();
    assert!(alarms.contains("could not read") && alarms.contains("used instead"), "{alarms}");
}

/// Trusts whoever has this certificate, and nobody else.
fn connector(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

async fn fetch_tls(
    address: SocketAddr,
    certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
) -> Option<String> {
    let stream = TcpStream::connect(address).await.ok()?;
    let name = "shop.test".try_into().unwrap();
    let mut stream = connector(certificate).connect(name, stream).await.ok()?;
    let request = b"GET /headers HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    Some(answer)
}

#[tokio::test]
async fn certificates_are_read_again_unless_they_are_broken() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    let make = || rcgen::generate_simple_self_signed(vec!["shop.test".to_owned()]).unwrap();
    let (old, new) = (make(), make());
    let (certificate, key) = (proxy.folder().join("cert.pem"), proxy.folder().join("key.pem"));
    let write = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    };
    write(&old);
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    table.tls = Some(TlsFiles { certificate: text(&certificate), key: text(&key) });
    proxy.applied(&table).await;
    let answer = fetch_tls(address, &old).await.unwrap();
    assert!(answer.contains("x-forwarded-proto: https"), "{answer}");
    std::fs::write(&key, "broken").unwrap();
    wait_for("the alarm", async || {
        let alarms = proxy.health().await["alarms"].to_string();
        alarms.contains("the old ones stay").then_some(())
    })
    .await;
    assert!(fetch_tls(address, &old).await.is_some());
    write(&new);
    wait_for("the new one", async || fetch_tls(address, &new).await).await;
    assert!(fetch_tls(address, &old).await.is_none());
}

#[tokio::test]
async fn a_state_folder_may_have_a_very_long_name() {
    let outer = tempfile::tempdir().unwrap();
    let long = outer.path().join("x".repeat(150));
    std::fs::create_dir(&long).unwrap();
    let proxy = Proxy::start_in(tempfile::tempdir_in(&long).unwrap()).await;
    assert_eq!(proxy.health().await["workers"], 2);
}

#[tokio::test]
async fn an_upgrade_under_load_loses_nothing() {
    let (mut proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    let mut table = table(address, vec![arm(1, 100, &[&a])]);
    proxy.applied(&table).await;
    let held = tokio::spawn(async move { fetch(address, "/hold", &[]).await });
    wait_for("the request is at a", async || (a.seen() == 1).then_some(())).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(fetch(address, "/", &[]).await, (200, "a".to_owned()));
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let program = format!(r#"{{"program": "{}"}}"#, env!("CARGO_BIN_EXE_rollway"));
    let (status, answer) = proxy.admin("POST", "/v1/upgrade", &program).await;
    assert_eq!(status, 200, "{answer}");
    let pid = answer["pid"].as_u64().unwrap();
    assert_eq!(proxy.health().await["pid"], pid);
    assert_eq!(proxy.health().await["predecessor"], true);
    // The new process takes changes, and knows that the old one still has a request.
    table.revision = 1;
    table.retries = 3;
    proxy.applied(&table).await;
    let before = done.load(Ordering::SeqCst);
    wait_for("the new one serves", async || {
        (done.load(Ordering::SeqCst) > before + 100).then_some(())
    })
    .await;
    a.gate.add_permits(1);
    assert_eq!(held.await.unwrap(), (200, "a".to_owned()));
    wait_for("the old one ends", async || {
        (proxy.health().await["predecessor"] == false).then_some(())
    })
    .await;
    proxy.child.wait().unwrap();
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    proxy.admin("POST", "/v1/shutdown", "").await;
    wait_for("the new one ends", async || TcpStream::connect(address).await.err()).await;
}

#[tokio::test]
async fn the_end_waits_for_what_is_in_flight() {
    let (mut proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    proxy.applied(&table(address, vec![arm(1, 100, &[&a])])).await;
    let held = tokio::spawn(async move { fetch(address, "/hold", &[]).await });
    wait_for("the request is at a", async || (a.seen() == 1).then_some(())).await;
    proxy.admin("POST", "/v1/shutdown", "").await;
    wait_for("it accepts no more", async || TcpStream::connect(address).await.err()).await;
    a.gate.add_permits(1);
    assert_eq!(held.await.unwrap(), (200, "a".to_owned()));
    assert!(proxy.child.wait().unwrap().success());
}

#[tokio::test]
async fn requests_are_written_down() {
    let (proxy, address) = (Proxy::start().await, free_address());
    let a = Instance::start("a").await;
    proxy.applied(&table(address, vec![arm(1, 100, &[&a])])).await;
    fetch(address, "/x?secret=1", &[]).await;
    let line: Value = wait_for("the line", async || {
        let text = std::fs::read_to_string(proxy.folder().join("access.log")).ok()?;
        serde_json::from_str(text.lines().next()?).ok()
    })
    .await;
    assert_eq!((&line["path"], &line["instance"]), (&"/x".into(), &"a".into()));
    assert_eq!(
        (&line["status"], &line["bytes"], &line["release"]),
        (&200.into(), &1.into(), &1.into())
    );
}
