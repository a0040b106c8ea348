//! Probes against real servers, and against what only looks like one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rollway::probe::{Subject, Verdict, check};
use rollway_core::spec::{
    Check, CommandCheck, DiskCheck, GrpcCheck, HttpCheck, MemoryCheck, Probe, Room, StatusRange,
    TcpCheck,
};
use rollway_core::units::{Bytes, Millis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub fn probe(check: Check) -> Probe {
    Probe {
        name: None,
        check,
        interval: Millis(1000),
        timeout: Millis(1000),
        success_threshold: 1,
        failure_threshold: 1,
        start_period: Millis(0),
    }
}

pub async fn ask(probe: &Probe, address: Option<SocketAddr>) -> Verdict {
    let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
    check(probe, &Subject { address, env: &env, working_folder: Path::new("/") }).await
}

async fn told(check: Check, address: SocketAddr) -> String {
    let verdict = ask(&probe(check), Some(address)).await;
    let word = if verdict.ok { "good" } else { "bad" };
    let evidence = if verdict.evidence.is_empty() { "" } else { " | " };
    format!("{word}: {}{evidence}{}", verdict.reason, verdict.evidence)
}

/// A server that answers each connection's first bytes with the same bytes.
pub async fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    address
}

/// A server that never stops answering.
async fn dripping(first: &'static str, every: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(first.as_bytes()).await;
                while stream.write_all(&[b'x'; 1024]).await.is_ok() {
                    tokio::time::sleep(every).await;
                }
            });
        }
    });
    address
}

async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub fn http(body: Option<&str>) -> Check {
    Check::Http(HttpCheck { body: body.map(str::to_owned), ..HttpCheck::default() })
}

pub const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"up\":true}";

#[tokio::test]
async fn http_looks_at_status_and_body() {
    let server = answering(GOOD).await;
    assert_eq!(told(http(None), server).await, "good: status 200");
    assert_eq!(told(http(Some("up.:true")), server).await, "good: status 200, the body matches");
    assert_eq!(
        told(http(Some("down")), server).await,
        "bad: status 200, but the body does not match \"down\" | {\"up\":true}"
    );
    let server = answering("HTTP/1.1 503 No\r\ncontent-length: 6\r\n\r\nno \x1b[m").await;
    assert_eq!(told(http(None), server).await, "bad: status 503, expected 200-299 | no \\u{1b}[m");
    let server = answering("HTTP/1.1 302 F\r\nlocation: http://127.0.0.1:1/\r\n\r\n").await;
    assert_eq!(told(http(None), server).await, "bad: status 302, expected 200-299");
    let expect = vec![StatusRange { first: 300, last: 399 }];
    let check = Check::Http(HttpCheck { expect, ..HttpCheck::default() });
    assert_eq!(told(check, server).await, "good: status 302");
}

#[tokio::test]
async fn connections_that_fail_are_told_apart() {
    let nobody = refusing().await;
    assert_eq!(told(http(None), nobody).await, "bad: connection refused");
    assert_eq!(told(Check::Tcp(TcpCheck::default()), nobody).await, "bad: connection refused");
    assert_eq!(told(Check::Grpc(GrpcCheck::default()), nobody).await, "bad: connection refused");
    let server = answering("").await;
    assert_eq!(told(http(None), server).await, "bad: connection closed without an answer");
    assert_eq!(told(Check::Tcp(TcpCheck::default()), server).await, "good: connected");
    let verdict = ask(&probe(http(None)), None).await;
    assert_eq!(verdict.reason, "the instance has no address to check");
    let other =
        Check::Http(HttpCheck { port: Some(answering(GOOD).await.port()), ..Default::default() });
    assert_eq!(told(other, nobody).await, "good: status 200");
}

#[tokio::test]
async fn answers_without_an_end_are_bounded() {
    let limited = |check| Probe { timeout: Millis(200), ..probe(check) };
    let began = Instant::now();
    let heads = dripping("HTTP/1.1 200 OK\r\nx-a: ", Duration::from_millis(10)).await;
    let verdict = ask(&limited(http(None)), Some(heads)).await;
    assert_eq!(verdict.reason, "no answer within 200ms");
    assert!((200..1_000).contains(&verdict.took_ms), "{verdict:?}");
    let heads = dripping("HTTP/1.1 200 OK\r\nx-a: ", Duration::ZERO).await;
    assert!(!ask(&limited(http(None)), Some(heads)).await.ok);
    let bodies = dripping("HTTP/1.1 200 OK\r\n\r\n", Duration::ZERO).await;
    let verdict = ask(&limited(http(Some("^x{1000}"))), Some(bodies)).await;
    assert_eq!(verdict.reason, "status 200, the body matches", "the first 64 KiB are enough");
    let bodies = dripping("HTTP/1.1 500 No\r\n\r\n", Duration::from_millis(50)).await;
    let verdict = ask(&probe(http(None)), Some(bodies)).await;
    assert_eq!(
        (verdict.reason.as_str(), verdict.evidence.len()),
        ("status 500, expected 200-299", 512)
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn grpc_asks_a_real_health_service() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop", tonic_health::ServingStatus::Serving).await;
    reporter.set_service_status("sick", tonic_health::ServingStatus::NotServing).await;
    let address = refusing().await;
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve(address));
    let grpc = |name: &str| Check::Grpc(GrpcCheck { service: name.into(), port: None });
    let began = Instant::now();
    while told(grpc(""), address).await != "good: SERVING" {
        assert!(began.elapsed() < Duration::from_secs(10), "the server did not come up");
        tokio::task::yield_now().await;
    }
    assert_eq!(told(grpc("shop"), address).await, "good: SERVING");
    assert_eq!(told(grpc("sick"), address).await, "bad: NOT_SERVING");
    let unknown = "bad: the server does not know this service";
    assert_eq!(told(grpc("nothing"), address).await, unknown);
    let not_grpc = told(grpc(""), answering(GOOD).await).await;
    assert!(not_grpc.starts_with("bad: "), "{not_grpc}");
}

#[tokio::test]
async fn commands_are_judged_by_code_and_output_and_killed_in_time() {
    let nobody = refusing().await;
    let command = |text: &str, output: Option<&str>| {
        Check::Command(CommandCheck {
            argv: ["/bin/sh", "-c", text].map(String::from).into(),
            exit_code: 0,
            output: output.map(str::to_owned),
        })
    };
    let port = nobody.port();
    assert_eq!(
        told(command("echo $PORT", None), nobody).await,
        format!("good: exit code 0 | {port}\n")
    );
    assert_eq!(
        told(command("echo $GREETING {{port}}", Some(&format!("^hello {port}"))), nobody).await,
        format!("good: exit code 0, the output matches | hello {port}\n")
    );
    let verdict = told(command("echo bad >&2; exit 4", None), nobody).await;
    assert_eq!(verdict, "bad: exit code 4, expected 0 | bad\n");
    let late = Probe { timeout: Millis(200), ..probe(command("echo a; sleep 60", None)) };
    let verdict = ask(&late, None).await;
    assert_eq!(verdict.reason, "killed, as it did not end within 200ms");
    let missing =
        Check::Command(CommandCheck { argv: vec!["/no/such".into()], exit_code: 0, output: None });
    let verdict = told(missing, nobody).await;
    assert!(verdict.starts_with("bad: could not run [\"/no/such\"]: No such file"), "{verdict}");
}

#[tokio::test]
async fn room_on_disk_and_in_memory_is_measured() {
    let disk = |path: &str, free| Check::Disk(DiskCheck { path: path.into(), free });
    let some = Room::Bytes(Bytes(1));
    assert!(ask(&probe(disk("/", some)), None).await.ok);
    let verdict = ask(&probe(disk("/", Room::Bytes(Bytes(u64::MAX)))), None).await;
    assert!(verdict.reason.starts_with("free on /: "), "{}", verdict.reason);
    let verdict = ask(&probe(disk("/no/such", some)), None).await;
    assert!(verdict.reason.starts_with("could not look at /no/such"), "{}", verdict.reason);
    let memory = |available| probe(Check::Memory(MemoryCheck { available }));
    assert!(ask(&memory(some), None).await.ok);
    let all = ask(&memory(Room::Percent(100)), None).await;
    assert!(!all.ok && all.reason.ends_with("expected at least 100%"), "{}", all.reason);
}
