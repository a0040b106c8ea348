//! What each kind of source learns from a server or a command, and what teaches it nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use rollway::metrics::{Found, Memory, Question, command, http, prometheus, webhook};
use rollway_core::analysis::Counters;
use rollway_core::spec::{Access, CommandSource, HttpSource, Prometheus, Wants, Webhook};
use rollway_core::units::Millis;
use rollway_core::verdict::histogram::bucket;

use crate::server::{Server, question};

const TIMEOUT: Millis = Millis::seconds(20);

/// `total` and `bad` of canary and baseline.
fn figures(found: Found) -> [u64; 4] {
    let both = found.unwrap();
    let two = |counters: &Counters| [counters.total, counters.bad];
    let ([a, b], [c, d]) = (two(&both.canary), two(&both.baseline));
    [a, b, c, d]
}

fn of_prometheus(server: &Server) -> Prometheus {
    Prometheus {
        address: server.url("/prom/"),
        total: Some(r#"requests{release="{{release}}"}"#.to_owned()),
        bad: Some(r#"failed{pod=~"{{instance}}"}"#.to_owned()),
        latency: Some(r#"took_bucket{release="{{release}}"}"#.to_owned()),
        value: Some(r#"queue{release="{{release}}"}"#.to_owned()),
        access: Access::default(),
        timeout: TIMEOUT,
    }
}

fn of_http(server: &Server) -> HttpSource {
    HttpSource {
        url: server.url("/stats?version={{version}}"),
        total: "/http/requests".to_owned(),
        bad: "/http/failed".to_owned(),
        value: None,
        headers: [("x-tenant".to_owned(), "shop".to_owned())].into(),
        access: Access::default(),
        timeout: TIMEOUT,
    }
}

fn of_webhook(server: &Server) -> Webhook {
    let (headers, access) = (Default::default(), Access::default());
    Webhook { url: server.url("/judge"), headers, access, timeout: TIMEOUT }
}

fn of_command(script: &str) -> CommandSource {
    let argv = ["/bin/sh", "-c", script, "counters", "{{release}}"].map(str::to_owned).to_vec();
    CommandSource { argv, timeout: Millis::seconds(10) }
}

/// What Prometheus says of a vector of such series.
fn vector(series: &[(&str, &str)]) -> String {
    let one = |(pod, value): &(&str, &str)| {
        format!(r#"{{"metric": {{"pod": "{pod}"}}, "value": [1700000000.5, "{value}"]}}"#)
    };
    let all: Vec<String> = series.iter().map(one).collect();
    let all = all.join(", ");
    format!(r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{all}]}}}}"#)
}

#[tokio::test]
async fn prometheus_is_asked_for_raw_counters_of_both_releases_at_one_moment() {
    let round = std::sync::Arc::new(AtomicU64::new(0));
    let now = std::sync::Arc::clone(&round);
    let server = Server::new(move |seen| {
        let is_later = now.load(Ordering::SeqCst) > 0;
        // `{`, `"` and the pattern of instances, as they are sent.
        let answer = match (seen.body.split('&').next().unwrap(), is_later) {
            ("query=requests%7Brelease%3D%222%22%7D", false) => vector(&[("a", "90"), ("b", "10")]),
            // `b` has begun anew, and `c` is new: 10, 3 and 7 more.
            ("query=requests%7Brelease%3D%222%22%7D", true) => {
                vector(&[("a", "100"), ("b", "3"), ("c", "7")])
            }
            ("query=failed%7Bpod%3D~%22r2-%5B0-9%5D%2B%22%7D", _) => vector(&[("a", "4")]),
            ("query=requests%7Brelease%3D%221%22%7D", _) => vector(&[("x", "2000")]),
            ("query=failed%7Bpod%3D~%22r1-%5B0-9%5D%2B%22%7D", _) => vector(&[("x", "0")]),
            (other, _) => panic!("{other}"),
        };
        (200, answer)
    })
    .await;
    let (source, memory) = (of_prometheus(&server), Memory::default());
    let found = prometheus::ask(&source, &question(), &memory).await;
    assert_eq!(figures(found), [100, 4, 2000, 0]);
    let moments: std::collections::BTreeSet<String> =
        server.seen().iter().map(|one| one.body.split("&time=").nth(1).unwrap().into()).collect();
    assert_eq!((moments.len(), server.seen().len()), (1, 4), "{moments:?}");
    assert!(server.seen().iter().all(|one| one.target == "/prom/api/v1/query"));
    round.store(1, Ordering::SeqCst);
    let found = prometheus::ask(&source, &question(), &memory).await;
    assert_eq!(figures(found), [120, 4, 2000, 0]);
}

#[tokio::test]
async fn what_prometheus_cannot_tell_teaches_nothing() {
    let data = |kind: &str, result: &str| {
        let data = format!(r#"{{"resultType": "{kind}", "result": {result}}}"#);
        format!(r#"{{"status": "success", "data": {data}}}"#)
    };
    for (status, answer, said) in [
        (200, vector(&[]), "nothing was found; where that is none, add `or vector(0)`"),
        (200, vector(&[("a", "NaN")]), "it is NaN; a counter is a whole number"),
        (200, vector(&[("a", "+Inf")]), "it is inf; a counter is"),
        (200, vector(&[("a", "0.5")]), "it is 0.5; a counter is a whole number"),
        (200, vector(&[("a", "many")]), "\"many\" is not a number"),
        (200, data("matrix", "[]"), "a range or a text was found"),
        (200, "<html>Sign in</html>".to_owned(), "HTML or XML, not JSON"),
        (200, "{}".to_owned(), "the answer is not Prometheus'"),
        (200, String::new(), "the answer is empty"),
        (503, "upstream is away".to_owned(), "status 503, expected 200: upstream is away"),
        (
            400,
            r#"{"status": "error", "errorType": "bad_data", "error": "parse error"}"#.to_owned(),
            "Prometheus refuses it: parse error",
        ),
    ] {
        let server = Server::new(move |_| (status, answer.clone())).await;
        let source = of_prometheus(&server);
        let why = prometheus::ask(&source, &question(), &Memory::default()).await.unwrap_err();
        assert!(why.contains(said), "{said}: {why}");
    }
}

#[tokio::test]
async fn a_document_of_each_release_is_read_at_its_places() {
    let server = Server::new(|seen| {
        let canary = seen.target == "/stats?version=v2%2Bb";
        let (total, bad) = if canary { (40, 3) } else { (960, 5) };
        (200, format!(r#"{{"http": {{"requests": {total}, "failed": {bad}}}}}"#))
    })
    .await;
    let source = of_http(&server);
    assert_eq!(figures(http::ask(&source, &question()).await), [40, 3, 960, 5]);
    assert!(server.seen().iter().all(|one| one.tenant.as_deref() == Some("shop")));
    let wrong = HttpSource { total: "/http/count".to_owned(), ..source };
    let why = http::ask(&wrong, &question()).await.unwrap_err();
    assert!(why.contains("there is no /http/count in the answer"), "{why}");
}

#[tokio::test]
async fn what_a_server_answers_instead_of_a_document_teaches_nothing() {
    for (status, answer, said) in [
        (404, "{}", "status 404, expected 2xx: {}"),
        (302, "", "status 302, expected 2xx"),
        (200, "<!DOCTYPE html>", "HTML or XML, not JSON"),
        (200, "", "the answer is empty"),
        (200, r#"{"http": {"requests": 1, "failed": 2}}"#, "2 requests failed, of 1"),
    ] {
        let server = Server::new(move |_| (status, answer.to_owned())).await;
        let why = http::ask(&of_http(&server), &question()).await.unwrap_err();
        assert!(why.contains(said), "{said}: {why}");
    }
    let mut source = {
        let server = Server::new(|_| (200, String::new())).await;
        of_http(&server)
    };
    // Nobody listens on port 1 of the loopback.
    source.url = "http://127.0.0.1:1/".to_owned();
    let why = http::ask(&source, &question()).await.unwrap_err();
    assert!(why.contains("could not connect to 127.0.0.1:1: Connection refused"), "{why}");
}

#[tokio::test]
async fn a_webhook_hears_of_both_releases() {
    let server = Server::new(|_| {
        let (canary, baseline) = (r#"{"total": 7, "bad": 1}"#, r#"{"total": 80, "bad": 0}"#);
        (200, format!(r#"{{"canary": {canary}, "baseline": {baseline}}}"#))
    })
    .await;
    assert_eq!(figures(webhook::ask(&of_webhook(&server), &question()).await), [7, 1, 80, 0]);
    let asked: serde_json::Value = serde_json::from_str(&server.seen()[0].body).unwrap();
    assert_eq!(asked["service"], "shop");
    assert_eq!(asked["canary"]["version"], "v2+b");
    assert_eq!(asked["baseline"]["release"], 1);
    let server = Server::new(|_| (200, r#"{"canary": {"total": 7, "bad": 1}}"#.to_owned())).await;
    let why = webhook::ask(&of_webhook(&server), &question()).await.unwrap_err();
    assert!(why.contains("there is no /baseline/total in the answer"), "{why}");
}

#[tokio::test]
async fn a_command_prints_the_counters_of_a_release() {
    let source = of_command(r#"echo "{\"total\": ${1}00, \"bad\": $ROLLWAY_RELEASE}""#);
    assert_eq!(figures(command::ask(&source, &question()).await), [200, 2, 100, 1]);
    for (script, said) in [
        ("exit 3", "exit code 3, expected 0"),
        ("true", "the answer is empty"),
        ("echo 7 errors", "the answer is not JSON"),
        ("kill -9 $$", "ended by signal 9"),
    ] {
        let why = command::ask(&of_command(script), &question()).await.unwrap_err();
        assert!(why.contains(said), "{said}: {why}");
    }
    let timeout = Millis(100);
    let slow = CommandSource { timeout, ..of_command("sleep 60") };
    let why = command::ask(&slow, &question()).await.unwrap_err();
    assert!(why.contains("killed, as it did not end within 100ms"), "{why}");
    let absent = CommandSource { argv: vec!["/no/such/program".to_owned()], ..slow };
    let why = command::ask(&absent, &question()).await.unwrap_err();
    assert!(why.contains("could not run it"), "{why}");
}

/// What Prometheus says of a histogram's buckets of one process.
fn buckets(edges: &[(&str, u64)]) -> String {
    let one = |(edge, count): &(&str, u64)| {
        let labels = format!(r#"{{"pod": "a", "le": "{edge}"}}"#);
        format!(r#"{{"metric": {labels}, "value": [1700000000.5, "{count}"]}}"#)
    };
    let all: Vec<String> = edges.iter().map(one).collect();
    let all = all.join(", ");
    format!(r#"{{"status": "success", "data": {{"resultType": "vector", "result": [{all}]}}}}"#)
}

/// Latencies of both releases where their buckets are these.
async fn latencies(canary: String, baseline: String) -> Found {
    let server = Server::new(move |seen| {
        let of_canary = seen.body.starts_with("query=took_bucket%7Brelease%3D%222%22%7D&");
        (200, if of_canary { canary.clone() } else { baseline.clone() })
    })
    .await;
    let wants = Wants { counts: false, latency: true, value: false, baseline: true };
    let question = Question { wants, ..question() };
    prometheus::ask(&of_prometheus(&server), &question, &Memory::default()).await
}

#[tokio::test]
async fn prometheus_tells_latencies_of_both_releases_by_the_same_buckets() {
    let usual = || buckets(&[("0.1", 90), ("0.50", 97), ("+Inf", 100)]);
    // The same edges are the same however they are written.
    let both = latencies(usual(), buckets(&[("+Inf", 7), ("0.10", 5), ("0.5", 7)])).await.unwrap();
    assert_eq!((both.canary.total, both.baseline.total), (0, 0), "nobody looks at requests");
    let counted = |of: &Counters, seconds: f64| of.latency.counts()[bucket(seconds)];
    let canary = [0.1, 0.5, 1.0].map(|seconds| counted(&both.canary, seconds));
    assert_eq!(canary, [90, 7, 3]);
    assert_eq!([0.1, 0.5, 1.0].map(|seconds| counted(&both.baseline, seconds)), [5, 2, 0]);
    for (baseline, said) in [
        (
            buckets(&[("0.2", 5), ("+Inf", 7)]),
            "other buckets: le 0.1, 0.5, inf of r2, and 0.2, inf",
        ),
        (buckets(&[("0.1", 5), ("0.5", 7)]), "the one without an end are needed"),
        (buckets(&[("0.1", 9), ("0.5", 7), ("+Inf", 9)]), "9 took up to 0.1 s, and 7 up to 0.5 s"),
        (
            vector(&[("a", "90")]),
            "there is no label `le`: ask for the series that end in `_bucket`",
        ),
        (vector(&[]), "nothing was found"),
    ] {
        let why = latencies(usual(), baseline).await.unwrap_err();
        assert!(why.contains(said), "{why}");
    }
}

#[tokio::test]
async fn a_value_is_asked_of_the_new_release_alone_where_nobody_looks_at_the_old_one() {
    let wants = Wants { counts: false, latency: false, value: true, baseline: false };
    let question = Question { wants, ..question() };
    let server = Server::new(|seen| {
        assert!(seen.body.starts_with("query=queue%7Brelease%3D%222%22%7D&"), "{}", seen.body);
        (200, vector(&[("a", "-2.5")]))
    })
    .await;
    let found = prometheus::ask(&of_prometheus(&server), &question, &Memory::default()).await;
    let both = found.unwrap();
    let expected = Counters { value: Some(-2.5), ..Counters::default() };
    assert_eq!((both.canary, both.baseline), (expected, Counters::default()));
    let many = Server::new(|_| (200, vector(&[("a", "1"), ("b", "2")]))).await;
    let found = prometheus::ask(&of_prometheus(&many), &question, &Memory::default()).await;
    let why = found.unwrap_err();
    assert!(why.contains("2 series were found, expected one: use `sum` or `avg`"), "{why}");
    let none = Server::new(|_| (200, vector(&[("a", "NaN")]))).await;
    let found = prometheus::ask(&of_prometheus(&none), &question, &Memory::default()).await;
    assert_eq!(found.unwrap().canary.value, None, "what is not a number is not known");
    let printed = of_command(r#"[ $1 = 2 ] && echo '{"value": 0.25}'"#);
    let found = command::ask(&printed, &question).await;
    assert_eq!(found.unwrap().canary.value, Some(0.25));
}
