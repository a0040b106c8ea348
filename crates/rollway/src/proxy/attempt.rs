//! One attempt to get an answer from one instance.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;

use super::answer::{Outgoing, Source};
use super::endpoint::{Lease, Relay};
use super::service::Live;
use super::stats::Fault;
use super::upstream::{self, Connection};

/// What came of an attempt that failed.
pub enum Failed {
    /// Nothing was sent: the request is back in its place, and the instance is not there.
    Unsent,
    /// It was sent, and perhaps acted on.
    Sent {
        /// Nothing of an answer came.
        silent: bool,
        /// The connection had been used before.
        reused: bool,
        /// What is counted.
        fault: Fault,
    },
}

/// An answer with what it comes from.
pub type Answered = (Response<Incoming>, Source);

fn take(request: &mut Option<Request<Outgoing>>) -> Request<Outgoing> {
    request.take().expect("a request that was not sent is in its place")
}

/// Over HTTP/1, on a connection that was used before if there is one.
pub async fn http1(
    lease: &Lease,
    live: &Live,
    request: &mut Option<Request<Outgoing>>,
) -> Result<Answered, Failed> {
    while let Some(connection) = Connection::reuse(&lease.endpoint) {
        match exchange(connection, request).await {
            // Closed while it lay idle: the next one, in the end a fresh one.
            Err(Failed::Unsent) => {}
            Err(Failed::Sent { silent, fault, .. }) => {
                return Err(Failed::Sent { silent, fault, reused: true });
            }
            Ok(answered) => return Ok(answered),
        }
    }
    http1_fresh(lease, live, request).await
}

/// Over HTTP/1, on a connection of its own: for a request that was lost once already. Where one
/// kept connection was closed under a request, others may be about to be.
pub async fn http1_fresh(
    lease: &Lease,
    live: &Live,
    request: &mut Option<Request<Outgoing>>,
) -> Result<Answered, Failed> {
    match Connection::open(&lease.endpoint, connect_timeout(live)).await {
        Ok(connection) => exchange(connection, request).await,
        Err(_) => Err(Failed::Unsent),
    }
}

async fn exchange(
    mut connection: Connection,
    request: &mut Option<Request<Outgoing>>,
) -> Result<Answered, Failed> {
    let fault = match connection.send(take(request)).await {
        Some(Ok(response)) => return Ok((response, Source::Http1(Some(connection)))),
        Some(Err(mut error)) => match error.take_message() {
            Some(message) => {
                *request = Some(message);
                return Err(Failed::Unsent);
            }
            None => Fault::Broken,
        },
        None => Fault::Cut,
    };
    let silent = !connection.relay.answered();
    Err(Failed::Sent { silent, reused: false, fault })
}

/// Over HTTP/2, for gRPC.
pub async fn http2(
    lease: &Lease,
    live: &Live,
    request: &mut Option<Request<Outgoing>>,
) -> Result<Answered, Failed> {
    // Twice: the connection that was kept may turn out to be closed.
    for _ in 0..2 {
        let Ok(mut sender) = upstream::http2(&lease.endpoint, connect_timeout(live)).await else {
            return Err(Failed::Unsent);
        };
        let relay = Arc::new(Relay::default());
        lease.endpoint.watch(&relay);
        let answer = sender.try_send_request(take(request));
        let Some(sent) = unless_cut(&relay, answer).await else {
            return Err(Failed::Sent { silent: false, reused: true, fault: Fault::Cut });
        };
        match sent {
            Ok(response) => return Ok((response, Source::Http2(relay))),
            Err(mut error) => {
                upstream::forget_http2(&lease.endpoint);
                match error.take_message() {
                    Some(message) => *request = Some(message),
                    None => {
                        let (silent, reused, fault) = (false, true, Fault::Broken);
                        return Err(Failed::Sent { silent, reused, fault });
                    }
                }
            }
        }
    }
    Err(Failed::Unsent)
}

/// Over HTTP/1, on a connection that may leave HTTP.
pub async fn upgrade(
    lease: &Lease,
    live: &Live,
    request: &mut Option<Request<Outgoing>>,
) -> Result<Answered, Failed> {
    let opened = upstream::open_for_upgrade(&lease.endpoint, connect_timeout(live)).await;
    let Ok(mut sender) = opened else { return Err(Failed::Unsent) };
    let relay = Arc::new(Relay::default());
    lease.endpoint.watch(&relay);
    let sent = unless_cut(&relay, sender.try_send_request(take(request))).await;
    let (silent, reused) = (false, false);
    match sent {
        Some(Ok(response)) => Ok((response, Source::Http2(relay))),
        Some(Err(mut error)) => Err(match error.take_message() {
            Some(message) => {
                *request = Some(message);
                Failed::Unsent
            }
            None => Failed::Sent { silent, reused, fault: Fault::Broken },
        }),
        None => Err(Failed::Sent { silent, reused, fault: Fault::Cut }),
    }
}

/// Waits for something; none when a drain cut it first.
async fn unless_cut<T>(relay: &Relay, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|cx| {
        relay.register(cx.waker());
        match work.as_mut().poll(cx) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending if relay.is_cut() => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}

fn connect_timeout(live: &Live) -> Duration {
    Duration::from_millis(live.table.connect_timeout_ms)
}

/// The same request, without a body.
pub fn copy(request: &Request<Outgoing>) -> Request<Outgoing> {
    let mut copy = Request::new(Outgoing::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
