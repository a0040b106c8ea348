//! Webhooks: who knows the secret makes a source look sooner; nobody else changes anything.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use ring::hmac;

use super::world::{Repo, World, wait_for};

const SECRET: &str = "a secret of enough bytes";

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Sends one; the status, or 0 where the connection was closed without one.
fn send(address: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    // One that refuses closes before it has read everything.
    let _ = stream.write_all(body);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn signature(body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, body);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn t22_webhooks_are_hints_of_who_knows_the_secret() {
    let address = free_address();
    let world = World::with_webhooks(&address);
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    let secret = world.root().join("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let url = repo.url();
    world.ask(&[
        "gitops",
        "add",
        "demo",
        &url,
        "--interval",
        "1h",
        "--webhook-secret-file",
        "secret",
    ]);
    world.ask(&["gitops", "add", "deaf", &url, "--interval", "1h", "--path", "nothing"]);
    world.stands("web", "Synced", "v1 serves");
    repo.service("web", "v2", "");
    repo.push();
    let body = br#"{"ref":"refs/heads/evil","repository":{"clone_url":"file:///etc"}}"#;
    let good = signature(body);
    let signed = format!("sha256={good}");
    // Nobody else is heard, and none learns which sources there are.
    let wrong = format!("sha256={}", signature(b"another body"));
    assert_eq!(send(&address, "/hooks/demo", &[], body), 401);
    assert_eq!(send(&address, "/hooks/demo", &[("X-Hub-Signature-256", &wrong)], body), 401);
    assert_eq!(send(&address, "/hooks/demo", &[("X-Gitlab-Token", "guess")], body), 401);
    assert_eq!(send(&address, "/hooks/none", &[("X-Hub-Signature-256", &signed)], body), 401);
    assert_eq!(send(&address, "/hooks/deaf", &[("X-Hub-Signature-256", &signed)], body), 401);
    assert_eq!(
        send(&address, "/hooks/demo", &[("X-Hub-Signature-256", &signed)], b"{nonsense"),
        401
    );
    let huge = vec![b'x'; 8 << 20];
    assert!(matches!(send(&address, "/hooks/demo", &[], &huge), 0 | 413));
    assert_eq!(world.serves("web"), "v1");
    let headers = [("X-Hub-Signature-256", signed.as_str()), ("X-GitHub-Delivery", "one")];
    let began = Instant::now();
    assert_eq!(send(&address, "/hooks/demo", &headers, body), 202);
    let deployed = || world.deployments("web") == 2;
    wait_for("a deployment", || deployed().then_some(()));
    println!("from the webhook to a deployment, fetch included: {:?}", began.elapsed());
    assert_eq!(send(&address, "/hooks/demo", &headers, body), 200, "the same again is nothing");
    world.stands("web", "Synced", "v2 serves");
    // A storm is at most one look a second, and each host has its own header.
    repo.service("web", "v3", "");
    repo.push();
    for at in 0..50 {
        let name = at.to_string();
        let headers = [("X-Gitea-Signature", good.as_str()), ("X-Gitea-Delivery", name.as_str())];
        assert_eq!(send(&address, "/hooks/demo", &headers, body), 202);
    }
    world.stands("web", "Synced", "v3 serves");
    let gitlab = [("X-Gitlab-Token", SECRET), ("X-Gitlab-Event-UUID", "two")];
    repo.service("web", "v4", "");
    repo.push();
    assert_eq!(send(&address, "/hooks/demo", &gitlab, body), 202);
    world.stands("web", "Synced", "v4 serves");
}

#[test]
fn webhooks_are_heard_on_this_machine_only() {
    let world = World::without_control_plane();
    let said = world.refused(&["serve", "--webhooks", "0.0.0.0:0"], 2);
    assert!(said.contains("127.0.0.1"), "{said}");
    // Not there any more: nothing was started.
    wait_for("no control plane", || (!world.state().join("control.sock").exists()).then_some(()));
}
