//! The load generator against servers that do what no server should.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const V1: &str = "HTTP/1.1 200 OK\r\nx-version: v1\r\ncontent-length: 2\r\n\r\nok";
const V2: &str = "HTTP/1.1 200 OK\r\nx-version: v2\r\ncontent-length: 2\r\n\r\nok";

/// What a server does once it has read a request.
#[derive(Clone)]
enum Does {
    /// Sends these bytes and reads on.
    Answer(&'static str),
    /// Sends these bytes and closes.
    Close(&'static str),
    /// Resets the connection.
    Reset,
    /// Nothing, for ever.
    Hang,
    /// Answers as v1, and as v2 once this is set.
    Switch(Arc<AtomicBool>),
}

async fn serve(does: Does) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, does.clone()));
        }
    });
    address
}

async fn answer(mut stream: TcpStream, does: Does) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                return;
            }
        }
        request.clear();
        let bytes = match &does {
            Does::Answer(bytes) => bytes,
            Does::Close(bytes) => return drop(stream.write_all(bytes.as_bytes()).await),
            Does::Reset => return stream.set_zero_linger().unwrap(),
            Does::Hang => return std::future::pending().await,
            Does::Switch(switch) if switch.load(Ordering::SeqCst) => V2,
            Does::Switch(_) => V1,
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn plan(target: SocketAddr, rate: u32, duration_ms: u64) -> LoadPlan {
    let duration = Some(Duration::from_millis(duration_ms));
    LoadPlan { rate, duration, timeout: Duration::from_secs(30), ..LoadPlan::to(target) }
}

/// Waits, within reason, until the load has seen what is asked for.
async fn wait_for(load: &Load, seen: impl Fn(&Tally) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !seen(&load.snapshot()) {
        assert!(Instant::now() < deadline, "not seen in time: {:?}", load.snapshot().outcomes);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn every_request_is_counted_once() {
    let target = serve(Does::Answer(V1)).await;
    let report = Load::start(plan(target, 1000, 300)).unwrap().finish().await;
    let summary = report.summary();
    assert_eq!((summary.requests, summary.failed), (300, 0), "{summary}");
    assert_eq!(summary.by_version, [("v1".to_owned(), 300)]);
    assert_eq!(summary.latency.count, 300);
    let mut numbers: Vec<u32> = report.answers().map(|answer| answer.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    assert!(report.is_complete());
    assert!(report.answers().all(|a| a.due <= a.sent && a.sent <= a.finished));
    // Half of them are fresh; of the others each connection's first is not `kept` either.
    let kept = report.answers().filter(|answer| answer.kept).count() as u64;
    assert_eq!(kept, 300 - summary.connections_opened, "{summary}");
    assert!(summary.connections_opened >= 150 + 16, "{summary}");
    assert_eq!(report.windows().len(), 1);
}

#[tokio::test]
async fn every_way_to_fail_has_its_name() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok";
    let extra = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nok";
    let refuses = "HTTP/1.1 503 No\r\nx-version: v2\r\ncontent-length: 0\r\n\r\n";
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
    for (does, outcome, why) in [
        (Does::Reset, Outcome::Reset, "reset by peer"),
        (Does::Close(""), Outcome::ClosedBeforeAnswer, "closed after 0 bytes of the head"),
        (Does::Close("HTTP/1.1 200"), Outcome::ClosedBeforeAnswer, "closed after 12 bytes"),
        (Does::Close(short), Outcome::ShortBody, "closed after 2 bytes of the body"),
        (Does::Close(chunks), Outcome::ShortBody, "closed after 7 bytes of the body"),
        (Does::Answer(extra), Outcome::BadAnswer, "1 bytes after the answer"),
        (Does::Answer("220 mail ready\r\n"), Outcome::BadAnswer, "no HTTP answer"),
        (Does::Answer(refuses), Outcome::Status5xx, "status 503 from v2"),
    ] {
        let target = serve(does).await;
        let report = Load::start(plan(target, 500, 100)).unwrap().finish().await;
        assert_eq!(report.tally.count(outcome), 50, "{outcome}: {}", report.summary());
        assert_eq!(report.failures.len(), 20);
        assert!(report.failures[0].why.contains(why), "{:?}", report.failures[0]);
    }
}

#[tokio::test]
async fn whole_answers_of_every_shape_are_ok() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let early = "HTTP/1.1 103 Early\r\nlink: </x>\r\n\r\nHTTP/1.1 204 None\r\n\r\n";
    for does in [
        Does::Answer(chunks),
        Does::Answer(early),
        Does::Close("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
        Does::Close("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"),
    ] {
        let target = serve(does).await;
        let report = Load::start(plan(target, 500, 100)).unwrap().finish().await;
        assert_eq!(report.tally.count(Outcome::Ok), 50, "{:?}", report.failures);
    }
}

#[tokio::test]
async fn nobody_listening_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let report = Load::start(plan(target, 500, 100)).unwrap().finish().await;
    assert_eq!(report.tally.count(Outcome::ConnectRefused), 50, "{:?}", report.failures);
    assert_eq!(report.latency().count, 0);
}

#[tokio::test]
async fn no_answer_in_time_is_a_timeout() {
    let target = serve(Does::Hang).await;
    let timeout = Duration::from_millis(50);
    let report = Load::start(LoadPlan { timeout, ..plan(target, 500, 100) }).unwrap();
    let report = report.finish().await;
    assert_eq!(report.tally.count(Outcome::Timeout), 50, "{:?}", report.failures);
    assert!(report.latency().p50_us >= 50_000, "{:?}", report.latency());
}

#[tokio::test]
async fn a_kept_connection_closed_while_idle_is_no_failure() {
    // It does not announce that it closes, and nothing is on the way when it does.
    let target = serve(Does::Close(V1)).await;
    let connections = Mix { keep_alive: 4, fresh_share: 0.0 };
    let report = Load::start(LoadPlan { connections, ..plan(target, 100, 300) }).unwrap();
    let report = report.finish().await;
    assert_eq!(report.tally.count(Outcome::Ok), 30, "{:?}", report.failures);
    assert!(report.tally.kept_closed_idle >= 20, "{}", report.tally.kept_closed_idle);
}

/// A server that stands still makes all requests late that fall due meanwhile, not just one.
#[tokio::test]
async fn latency_runs_from_when_a_request_was_due() {
    const STALL: Duration = Duration::from_millis(500);
    let (sender, address) = tokio::sync::oneshot::channel();
    let (over, ended) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own, as it stands still for real: nothing is accepted or read meanwhile.
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            sender.send(serve(Does::Answer(V1)).await).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            std::thread::sleep(STALL);
            drop(ended.await);
        });
    });
    // Slow enough that the connections of the stall fit into any listen queue (128): beyond that
    // the kernel drops them, and tries again after a second.
    let load = Load::start(plan(address.await.unwrap(), 200, 1000)).unwrap();
    let report = load.finish().await;
    drop(over);
    server.join().unwrap();
    assert_eq!(report.tally.count(Outcome::Ok), 200, "{:?}", report.failures);
    // 100 requests fell due in the stall, and waited 250 ms on average.
    let late = report.answers().filter(|a| a.latency() >= STALL / 5).count();
    assert!(late >= 75, "{late} late; {}", report.summary());
    assert!(report.latency().max_us >= 450_000, "{}", report.summary());
    assert!(report.longest_gap() >= STALL - Duration::from_millis(20), "{}", report.summary());
}

#[tokio::test]
async fn the_moment_of_a_switch_is_exact() {
    let switch = Arc::new(AtomicBool::new(false));
    let target = serve(Does::Switch(Arc::clone(&switch))).await;
    let load = Load::start(LoadPlan { duration: None, ..plan(target, 1000, 0) }).unwrap();
    wait_for(&load, |tally| tally.of_version("v1") >= 100).await;
    let before = load.snapshot();
    switch.store(true, Ordering::SeqCst);
    let switched = Instant::now();
    wait_for(&load, |tally| tally.of_version("v2") >= 100).await;
    assert!(load.snapshot().since(&before).of_version("v2") >= 100);
    let report = load.stop().await;
    assert_eq!(report.tally.failed(), 0, "{:?}", report.failures);
    assert_eq!(report.tally.in_flight(), 0);
    assert_eq!(report.answers_of("v1", switched), 0);
    assert_eq!(report.answers_of("v1", report.started), report.tally.of_version("v1"));
    let (last, first) = (report.last_answer_of("v1"), report.first_answer_of("v2"));
    assert!(last.unwrap() > report.started && first.unwrap() > switched);
    assert_eq!(report.first_answer_of("v3"), None);
    assert_eq!(report.failures_between(report.started, Instant::now()), 0);
    assert!(report.latency_between(switched, Instant::now()).count >= 100);
}

#[tokio::test]
async fn a_full_log_stops_growing_and_says_so() {
    let target = serve(Does::Answer(V1)).await;
    let report = Load::start(LoadPlan { log_max: 10, ..plan(target, 500, 100) }).unwrap();
    let report = report.finish().await;
    assert_eq!((report.answers().count(), report.is_complete()), (10, false));
    assert_eq!((report.tally.count(Outcome::Ok), report.latency().count), (50, 50));
}

#[tokio::test]
async fn a_dropped_load_ends_at_once() {
    let target = serve(Does::Hang).await;
    let load = Load::start(LoadPlan { duration: None, ..plan(target, 500, 0) }).unwrap();
    wait_for(&load, |tally| tally.in_flight() >= 10).await;
    let dropping = Instant::now();
    drop(load);
    assert!(dropping.elapsed() < Duration::from_secs(10), "{:?}", dropping.elapsed());
}

#[test]
fn a_plan_that_cannot_be_is_refused() {
    let target = "127.0.0.1:1".parse().unwrap();
    let with_path = |path: &str| LoadPlan { path: path.to_owned(), ..LoadPlan::to(target) };
    for (plan, expected) in [
        (LoadPlan { rate: 0, ..LoadPlan::to(target) }, "rate: is 0; expected 1 to 100000"),
        (with_path("/a b"), "path: is \"/a b\"; expected printable ASCII without spaces"),
        (with_path("/\r\nx: y"), "path: is"),
    ] {
        let failure = Load::start(plan).map(|_| ()).unwrap_err().chain();
        let expected = format!("could not start the load generator: {expected}");
        assert!(failure.starts_with(&expected), "{failure}");
    }
}

#[test]
fn fresh_requests_are_exactly_the_share() {
    let target = "127.0.0.1:1".parse().unwrap();
    for share in [0.0, 0.1, 0.25, 0.5, 1.0] {
        let connections = Mix { keep_alive: 1, fresh_share: share };
        let plan = LoadPlan { connections, ..LoadPlan::to(target) };
        let fresh = (0..1000).filter(|number| plan.is_fresh(*number)).count();
        assert_eq!(fresh as f64, 1000.0 * share);
    }
}
