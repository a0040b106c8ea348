//! The shop as a process: what it answers, how it misbehaves, how it stops.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rollway::load::{Load, LoadPlan, Mix, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// Far more than anything here takes, on however busy a machine.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A running shop; it is killed when the test ends.
struct Shop {
    child: Child,
    address: String,
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(flags: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.args(flags.split_whitespace());
    for name in ["PORT", "ROLLWAY_VERSION", "ROLLWAY_INSTANCE", "SHOP_WITNESS"] {
        command.env_remove(name);
    }
    command
}

impl Shop {
    fn start(flags: &str) -> Self {
        Self::spawn(command(&format!("--port 0 {flags}")))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("shop starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        Self { child, address }
    }

    /// One request on a connection of its own; the whole answer as text.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.expect("it accepts");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    async fn get(&self, path: &str) -> String {
        self.ask("GET", path, "").await
    }

    /// Asks until the answer begins as wanted.
    async fn wait_for(&self, path: &str, beginning: &str) {
        let deadline = Instant::now() + WAIT_MAX;
        while !self.get(path).await.starts_with(beginning) {
            assert!(Instant::now() < deadline, "{path} never answered {beginning}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it did not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 ";

#[tokio::test]
async fn it_says_who_it_is() {
    let mut command = command("--version v2");
    command.env("PORT", "0").env("ROLLWAY_VERSION", "v1").env("ROLLWAY_INSTANCE", "r1-0");
    let shop = Shop::spawn(command);
    let answer = shop.get("/").await;
    let pid = shop.child.id();
    let body =
        format!(r#"{{"service":"shop","version":"v2","instance":"r1-0","pid":{pid}}}"#) + "\n";
    assert!(answer.starts_with(OK) && answer.ends_with(&body), "{answer}");
    assert!(answer.contains("\r\nx-version: v2\r\nx-instance: r1-0\r\n"), "{answer}");
    assert!(shop.get("/healthz").await.ends_with("\r\n\r\nok\n"));
    assert!(shop.ask("POST", "/echo", "hello").await.ends_with("\r\n\r\nhello"));
    let streamed = shop.get("/stream?n=3&every_ms=1").await;
    assert!(streamed.contains("transfer-encoding: chunked"), "{streamed}");
    for chunk in ["chunk 0\n", "chunk 1\n", "chunk 2\n"] {
        assert!(streamed.contains(chunk), "{streamed}");
    }
    let asked = Instant::now();
    shop.get("/slow?ms=50").await;
    assert!(asked.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn its_health_is_as_told() {
    let never = Shop::start("--never-healthy");
    assert!(never.get("/healthz").await.starts_with(UNAVAILABLE));
    assert!(never.get("/").await.starts_with(OK));
    let unready = Shop::start("--ready-after 60m");
    for path in ["/healthz", "/"] {
        assert!(unready.get(path).await.starts_with(UNAVAILABLE), "{path}");
    }
    let late = Shop::start("--ready-after 100ms");
    late.wait_for("/healthz", OK).await;
    let failing = Shop::start("--unhealthy-after 100ms");
    failing.wait_for("/healthz", UNAVAILABLE).await;
    assert!(failing.get("/").await.starts_with(OK));
}

#[tokio::test]
async fn its_health_tells_of_its_own_errors() {
    let shop = Shop::start("--error-rate 5% --error-bound 2%");
    for _ in 0..59 {
        shop.get("/").await;
    }
    assert!(shop.get("/healthz").await.starts_with("HTTP/1.1 200"), "too few to say");
    shop.get("/").await;
    let answer = shop.get("/healthz").await;
    assert!(answer.ends_with("3 of the last 60 requests failed\n"), "{answer}");
}

#[tokio::test]
async fn it_crashes_as_told() {
    for (flags, path) in [("--crash-after 100ms", None), ("", Some("/quit"))] {
        let mut shop = Shop::start(flags);
        if let Some(path) = path {
            assert_eq!(shop.get(path).await, "");
        }
        assert_eq!(shop.ended().await.code(), Some(1), "{flags}");
    }
    let output = command("--port 0 --crash-at-start").output().expect("shop starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "shop: crashed at the start, as told\n");
}

#[test]
fn mistakes_end_with_2_and_a_reason() {
    for (flags, reason) in [
        ("--port 0 --latncy 1s", "shop: unknown flag \"--latncy\"; known: "),
        ("", "shop: --port is missing, and PORT is not set\n"),
    ] {
        let output = command(flags).output().expect("shop starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with(reason), "{text}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let output = command(&format!("--port {port}")).output().expect("shop starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with(&format!("shop: could not listen on 127.0.0.1:{port}: ")), "{text}");
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_closes_the_rest() {
    let mut shop = Shop::start("");
    let mut idle = TcpStream::connect(&shop.address).await.expect("it accepts");
    idle.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.expect("it reads");
    let mut begun = [0; 12];
    idle.read_exact(&mut begun).await.expect("it answers");
    // The first chunk has come when the signal does; the others come afterwards.
    let mut stream = TcpStream::connect(&shop.address).await.expect("it accepts");
    let request = b"GET /stream?n=4&every_ms=200 HTTP/1.1\r\nhost: shop\r\n\r\n";
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"chunk 0\n\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.expect("it answers"), 0);
    }
    shop.signal(Signal::TERM);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("an idle connection is closed, not reset");
    assert!(shop.child.try_wait().expect("it is our child").is_none(), "it left a stream");
    assert!(TcpStream::connect(&shop.address).await.is_err(), "it still listens");
    stream.read_to_end(&mut answer).await.expect("the stream goes on to its end");
    assert!(answer.ends_with(b"chunk 3\n\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(shop.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_idle_shop_stops_at_once_unless_told_to_ignore_it() {
    let mut shop = Shop::start("");
    shop.get("/").await;
    shop.signal(Signal::TERM);
    assert_eq!(shop.ended().await.code(), Some(0));
    let mut deaf = Shop::start("--ignore-term");
    deaf.signal(Signal::TERM);
    assert!(deaf.get("/slow?ms=100").await.starts_with(OK));
    deaf.signal(Signal::INT);
    assert_eq!(deaf.ended().await.code(), Some(0));
}

#[tokio::test]
async fn its_websocket_sends_back_what_it_gets() {
    let mut shop = Shop::start("");
    assert!(shop.get("/ws").await.starts_with("HTTP/1.1 426 "));
    let url = format!("ws://{}/ws", shop.address);
    let (mut socket, answer) = tokio_tungstenite::connect_async(url).await.expect("a handshake");
    assert!(answer.headers().contains_key("x-version"));
    for message in [
        Message::text("hello"),
        Message::binary(vec![7; 300]),
        Message::binary(vec![8; 70_000]),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.expect("it reads");
        assert_eq!(socket.next().await.expect("a frame").expect("a good one"), message);
    }
    socket.send(Message::Ping("x".into())).await.expect("it reads");
    let pong = socket.next().await.expect("a frame").expect("a good one");
    assert_eq!(pong, Message::Pong("x".into()));
    shop.signal(Signal::TERM);
    let close = socket.next().await.expect("a frame").expect("a good one");
    let Message::Close(Some(reason)) = close else { panic!("not a close: {close:?}") };
    assert_eq!(u16::from(reason.code), 1001);
    while socket.next().await.is_some() {}
    assert_eq!(shop.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_witness_log_has_every_turn_of_its_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("witness.jsonl");
    let mut command = command("--port 0 --version v3 --ready-after 20ms");
    command.env("SHOP_WITNESS", &log).env("SHOP_WITNESS_REQUESTS", "1");
    let mut shop = Shop::spawn(command);
    shop.wait_for("/healthz", OK).await;
    shop.signal(Signal::TERM);
    shop.ended().await;
    let text = std::fs::read_to_string(&log).expect("a log");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let mut events: Vec<&str> = lines.iter().filter_map(|l| l["event"].as_str()).collect();
    assert!(events.contains(&"request"), "{text}");
    events.retain(|event| *event != "request");
    assert_eq!(events, ["start", "ready", "stop"], "{text}");
    assert!(lines.iter().all(|l| l["version"] == "v3" && l["pid"] == shop.child.id()), "{text}");
    let times: Vec<u64> = lines.iter().filter_map(|l| l["mono_ns"].as_u64()).collect();
    assert!(times.len() == lines.len() && times.is_sorted(), "{text}");
}

#[tokio::test]
async fn a_load_counts_its_errors_exactly() {
    let shop = Shop::start("--version v2 --error-rate 5% --latency 2ms");
    let plan = LoadPlan {
        rate: 500,
        duration: Some(Duration::from_secs(1)),
        timeout: WAIT_MAX,
        connections: Mix { keep_alive: 8, fresh_share: 0.5 },
        ..LoadPlan::to(shop.address.parse().expect("an address"))
    };
    let report = Load::start(plan).expect("a plan that can be").finish().await;
    let summary = report.summary();
    assert_eq!(report.tally.count(Outcome::Status5xx), 25, "{summary}");
    assert_eq!(report.tally.count(Outcome::Ok), 475, "{summary}");
    assert_eq!(report.tally.of_version("v2"), 500, "{summary}");
    assert!(report.answers().all(|answer| answer.latency() >= Duration::from_millis(2)));
}

#[tokio::test]
async fn a_load_sees_a_crash_under_it() {
    let shop = Shop::start("--crash-after 300ms");
    let target = shop.address.parse().expect("an address");
    let (rate, duration) = (500, Some(Duration::from_secs(1)));
    let report = Load::start(LoadPlan { rate, duration, ..LoadPlan::to(target) });
    let report = report.expect("a plan that can be").finish().await;
    let summary = report.summary();
    assert_eq!(summary.requests, 500);
    assert_eq!(report.tally.count(Outcome::Ok) + report.tally.failed(), 500, "{summary}");
    assert!(report.tally.count(Outcome::ConnectRefused) > 100, "{summary}");
}
