//! The probe `http`: one request, whose answer has an expected status and body.
//!
//! ```yaml
//! health:
//!   - http: {path: /healthz, expect: [2xx], body: '"status": *"ok"'}
//! ```
//! Redirects are not followed: where they lead, another may answer. A connection is made for each
//! probe, as an instance that accepts none is not well.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rollway_core::spec::HttpCheck;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{EVIDENCE_BYTES_MAX, Found, MATCHED_BYTES_MAX, connect, matches, said_by_hyper};

/// An answer's head may be this large.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// So long is waited for the words that explain a bad status.
const EVIDENCE_WAIT_MAX: Duration = Duration::from_millis(200);

/// Sends the request, and judges the answer.
pub(super) async fn check(check: &HttpCheck, address: SocketAddr) -> Found {
    let request = match request(check, address) {
        Ok(request) => request,
        Err(why) => return Found::bad(why),
    };
    let stream = match connect(address).await {
        Ok(stream) => stream,
        Err(found) => return found,
    };
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) = match builder.handshake(TokioIo::new(stream)).await {
        Ok(both) => both,
        Err(error) => return Found::bad(said_by_hyper(&error)),
    };
    // Ends with us, answered or not.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    match sender.send_request(request).await {
        Ok(response) => judge(check, response).await,
        Err(error) => Found::bad(said_by_hyper(&error)),
    }
}

fn request(check: &HttpCheck, address: SocketAddr) -> Result<Request<Empty<Bytes>>, String> {
    let wrong = |what: &str, given: &str| format!("{given:?} is no valid {what}");
    let method =
        Method::from_bytes(check.method.as_bytes()).map_err(|_| wrong("method", &check.method))?;
    let uri: Uri = check.path.parse().map_err(|_| wrong("path", &check.path))?;
    if !check.path.starts_with('/') {
        return Err(wrong("path", &check.path));
    }
    let mut request = Request::new(Empty::new());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(&address.to_string()).expect("an address is plain text");
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static("rollway-probe"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &check.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("header", name))?;
        // The value may be a secret: it is not told.
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of header {name} is not valid"))?;
        headers.insert(key, value);
    }
    Ok(request)
}

async fn judge(check: &HttpCheck, response: http::Response<Incoming>) -> Found {
    let status = response.status().as_u16();
    let body = response.into_body();
    if !check.expect.iter().any(|range| range.holds(status)) {
        let mut seen = Vec::new();
        let _ = timeout(EVIDENCE_WAIT_MAX, read(body, EVIDENCE_BYTES_MAX, &mut seen)).await;
        let expected: Vec<String> =
            check.expect.iter().map(|range| format!("{}-{}", range.first, range.last)).collect();
        let reason = format!("status {status}, expected {}", expected.join(", "));
        return Found::bad(reason).evidence(seen);
    }
    let Some(expression) = &check.body else { return Found::good(format!("status {status}")) };
    let mut seen = Vec::new();
    if let Err(error) = read(body, MATCHED_BYTES_MAX, &mut seen).await {
        return Found::bad(said_by_hyper(&error)).evidence(seen);
    }
    match matches(expression, &seen) {
        Ok(true) => Found::good(format!("status {status}, the body matches")),
        Ok(false) => {
            Found::bad(format!("status {status}, but the body does not match {expression:?}"))
                .evidence(seen)
        }
        Err(found) => found,
    }
}

/// Reads up to `limit` bytes.
async fn read(mut body: Incoming, limit: usize, into: &mut Vec<u8>) -> Result<(), hyper::Error> {
    while into.len() < limit {
        let Some(frame) = body.frame().await else { return Ok(()) };
        if let Ok(data) = frame?.into_data() {
            let room = limit - into.len();
            into.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(())
}
