//! What shop answers:
//!
//! | path | answer |
//! |---|---|
//! | `/` and any other | `{"service","version","instance","pid"}` |
//! | `/healthz` | 200 `ok`, or 503 and why not |
//! | `/slow?ms=3000` | the same as `/`, so much later |
//! | `/stream?n=10&every_ms=100` | that many chunks, that far apart |
//! | `/echo` | the request's body |
//! | `/ws` | a WebSocket that sends back what it gets |
//! | `/quit` | nothing: the process exits with 1 |
//!
//! Every answer says in `x-version` and `x-instance` who gave it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::server::{Shop, crash};
use crate::websocket;

/// One request in so many is one of the slow ones.
const TAIL_IN: u64 = 20;

/// The largest body that `/echo` keeps and sends back.
const ECHO_BYTES_MAX: usize = 16 << 20;

/// The longest `/slow` and the longest gap in a `/stream`: an hour.
const WAIT_MS_MAX: u64 = 3_600_000;

/// The most chunks in a `/stream`.
const CHUNKS_MAX: u64 = 1_000_000;

/// The body of an answer.
pub type Answered = Pin<Box<dyn Body<Data = Bytes, Error = Infallible> + Send>>;

/// Answers one request.
pub async fn answer(
    request: Request<Incoming>,
    shop: Arc<Shop>,
) -> Result<Response<Answered>, Infallible> {
    shop.witness.request(request.uri().path());
    let mut response = match request.uri().path() {
        "/healthz" => health(&shop),
        "/quit" => crash(&shop.witness, "quit"),
        _ if !shop.ready.load(Ordering::Acquire) => not_ready(),
        "/ws" => websocket::answer(request, &shop),
        _ => misbehave_or_answer(request, &shop).await,
    };
    for (name, value) in [("x-version", &shop.flags.version), ("x-instance", &shop.flags.instance)]
    {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A plain answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Answered> {
    let mut response = Response::new(Box::pin(Full::new(body.into())) as Answered);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn not_ready() -> Response<Answered> {
    text(StatusCode::SERVICE_UNAVAILABLE, "not ready yet\n")
}

fn health(shop: &Shop) -> Response<Answered> {
    let age = shop.born.elapsed();
    let flags = &shop.flags;
    if flags.never_healthy {
        return text(StatusCode::SERVICE_UNAVAILABLE, "never healthy, as told\n");
    }
    if !shop.ready.load(Ordering::Acquire) {
        return not_ready();
    }
    if flags.unhealthy_after.is_some_and(|after| age >= after) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "unhealthy, as told\n");
    }
    if let Some((errors, of)) = shop.too_many_errors() {
        let why = format!("{errors} of the last {of} requests failed\n");
        return text(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    text(StatusCode::OK, "ok\n")
}

async fn misbehave_or_answer(request: Request<Incoming>, shop: &Shop) -> Response<Answered> {
    let before = shop.served.fetch_add(1, Ordering::Relaxed);
    let is_slow = before % TAIL_IN == TAIL_IN - 1;
    let latency = shop.flags.latency + if is_slow { shop.flags.tail } else { Duration::ZERO };
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let failed = is_an_error(shop, before);
    shop.recent.lock().expect("nobody panics with it").add(failed);
    if failed {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "failed, as told\n");
    }
    match request.uri().path() {
        "/slow" => {
            sleep(Duration::from_millis(number(&request, "ms", 1000, WAIT_MS_MAX))).await;
            about(shop)
        }
        "/stream" => stream(&request),
        "/echo" => echo(request).await,
        _ => about(shop),
    }
}

/// Whether this request is one of those that fail: exactly the asked share, evenly spread.
fn is_an_error(shop: &Shop, before: u64) -> bool {
    const MILLION: u64 = 1_000_000;
    let before = before % MILLION;
    let share = shop.flags.errors_per_million;
    (before + 1) * share / MILLION > before * share / MILLION
}

fn about(shop: &Shop) -> Response<Answered> {
    let body = json!({
        "service": "shop",
        "version": shop.flags.version,
        "instance": shop.flags.instance,
        "pid": std::process::id(),
    });
    let mut response = text(StatusCode::OK, format!("{body}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn echo(request: Request<Incoming>) -> Response<Answered> {
    // The whole body is read before any of it is sent back: a client that only reads when it has
    // written everything would otherwise wait for us while we wait for it.
    match Limited::new(request.into_body(), ECHO_BYTES_MAX).collect().await {
        Ok(body) => text(StatusCode::OK, body.to_bytes()),
        Err(_) => text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or was cut off\n"),
    }
}

fn stream(request: &Request<Incoming>) -> Response<Answered> {
    let count = number(request, "n", 10, CHUNKS_MAX);
    let every = number(request, "every_ms", 100, WAIT_MS_MAX).max(1);
    let mut ticks = interval(Duration::from_millis(every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut response = text(StatusCode::OK, Bytes::new());
    *response.body_mut() = Box::pin(Chunks { count, next: 0, ticks });
    response
}

/// A number in the query, or its default; never more than `most`.
fn number(request: &Request<Incoming>, name: &str, default: u64, most: u64) -> u64 {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok());
    found.unwrap_or(default).min(most)
}

/// A body of lines that come one by one.
struct Chunks {
    count: u64,
    next: u64,
    ticks: Interval,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.next == self.count {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(context));
        let line = format!("chunk {}\n", self.next);
        self.next += 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(line)))))
    }
}
