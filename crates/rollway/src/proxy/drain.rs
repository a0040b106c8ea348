//! Waits until instances that left the table have nothing in flight, and cuts what stays too long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, Kind};
use super::handover::Predecessor;
use super::service::Service;

/// What was cut needs a moment to be over: a close frame is sent, a connection closed.
const CUT_TAKES: Duration = Duration::from_secs(3);

/// Which instances are to be drained, and how long that may take.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Their names.
    pub instances: Vec<String>,
    /// Requests get this long, in milliseconds.
    #[serde(default = "grace")]
    pub grace_ms: u64,
    /// Streams and upgraded connections get this long, in milliseconds.
    #[serde(default = "grace")]
    pub stream_grace_ms: u64,
}

fn grace() -> u64 {
    30_000
}

/// What came of it for one instance.
#[derive(Debug, Default, Serialize)]
pub struct Drained {
    /// Nothing is in flight any more.
    pub drained: bool,
    /// What had to be cut.
    pub cut: Cut,
    /// How long it took.
    pub waited_ms: u64,
}

/// How many exchanges were cut.
#[derive(Debug, Default, Serialize)]
pub struct Cut {
    /// Requests.
    pub requests: u64,
    /// Streams and upgraded connections.
    pub streams: u64,
}

/// Drains instances side by side; the error is one that is still in the table.
pub async fn drain(
    service: &Service,
    wanted: &Drain,
    predecessor: &Predecessor,
) -> Result<BTreeMap<String, Drained>, String> {
    let known = service.endpoints();
    let meant = |endpoint: &&Arc<Endpoint>| wanted.instances.contains(&endpoint.instance);
    let serving = |endpoint: &&Arc<Endpoint>| !endpoint.retired.load(SeqCst);
    if let Some(endpoint) = known.iter().filter(meant).find(serving) {
        return Err(endpoint.instance.clone());
    }
    // The process before this one may still have requests on them: it ends when it has none.
    let grace = Duration::from_millis(wanted.grace_ms.max(wanted.stream_grace_ms));
    let alone = predecessor.gone(grace);
    let each = known.iter().filter(meant).map(|endpoint| drain_one(endpoint, wanted));
    let (alone, each) = tokio::join!(alone, futures_util::future::join_all(each));
    let forgotten = |name: &String| {
        // Nothing is known of it any more because nothing was in flight.
        (name.clone(), Drained { drained: true, ..Drained::default() })
    };
    let mut all: BTreeMap<String, Drained> = wanted.instances.iter().map(forgotten).collect();
    for (name, one) in each {
        all.insert(name, one);
    }
    for one in all.values_mut() {
        one.drained &= alone;
    }
    Ok(all)
}

async fn drain_one(endpoint: &Arc<Endpoint>, wanted: &Drain) -> (String, Drained) {
    let started = Instant::now();
    let (requests, streams) = tokio::join!(
        drain_kind(endpoint, Kind::Request, wanted.grace_ms),
        drain_kind(endpoint, Kind::Stream, wanted.stream_grace_ms),
    );
    let over = endpoint.in_flight(Kind::Request) + endpoint.in_flight(Kind::Stream) == 0;
    let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let cut = Cut { requests, streams };
    (endpoint.instance.clone(), Drained { drained: over, cut, waited_ms })
}

async fn drain_kind(endpoint: &Endpoint, kind: Kind, grace_ms: u64) -> u64 {
    if endpoint.wait_empty(kind, Duration::from_millis(grace_ms)).await {
        return 0;
    }
    let cut = endpoint.cut(kind);
    endpoint.wait_empty(kind, CUT_TAKES).await;
    cut
}
