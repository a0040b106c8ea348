//! What is checked and changed about a request before an instance sees it, and about its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Response, StatusCode, Version};

use super::answer::Answer;
use super::client::Client;
use super::stats::Fault;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// An answer that is ours: why, and what the client is told.
#[derive(Debug)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// What is counted.
    pub fault: Fault,
    /// What the client reads: never what is known of other services or instances.
    pub text: &'static str,
}

impl Refusal {
    /// A refusal of this kind.
    pub fn new(fault: Fault) -> Self {
        let (status, text) = match fault {
            Fault::NoMember => (StatusCode::SERVICE_UNAVAILABLE, "no instance is ready\n"),
            Fault::Connect => (StatusCode::BAD_GATEWAY, "the service cannot be reached\n"),
            Fault::Timeout => (StatusCode::GATEWAY_TIMEOUT, "the service did not answer in time\n"),
            Fault::Broken => (StatusCode::BAD_GATEWAY, "the service gave no valid answer\n"),
            Fault::Cut | Fault::ClientGone => {
                (StatusCode::SERVICE_UNAVAILABLE, "the instance is leaving, try again\n")
            }
            Fault::PauseOverflow => (StatusCode::SERVICE_UNAVAILABLE, "the service is paused\n"),
            Fault::Maintenance => {
                (StatusCode::SERVICE_UNAVAILABLE, "the service is down for maintenance\n")
            }
            Fault::BadRequest => (StatusCode::BAD_REQUEST, "bad request\n"),
            Fault::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large\n"),
        };
        Self { status, fault, text }
    }

    /// Nobody serves this host and path here.
    pub fn nobody() -> Self {
        let (status, text) = (StatusCode::NOT_FOUND, "no service here\n");
        Self { status, fault: Fault::NoMember, text }
    }

    /// The answer.
    pub fn response(&self) -> Response<Answer> {
        let text = Bytes::from_static(self.text.as_bytes());
        let mut response = Response::new(Answer::Text(Some(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::BAD_REQUEST {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The one host that a request names; it must not name two (RFC 9112 3.2).
pub fn host(parts: &Parts) -> Result<HeaderValue, Refusal> {
    let bad = || Refusal::new(Fault::BadRequest);
    let mut given = parts.headers.get_all(header::HOST).iter();
    let first = given.next();
    if given.next().is_some() {
        return Err(bad());
    }
    let Some(authority) = parts.uri.authority() else {
        return match first {
            Some(host) if is_host(host.as_bytes()) => Ok(host.clone()),
            Some(_) => Err(bad()),
            // HTTP/1.0 clients need not say whom they mean.
            None if parts.version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
            None => Err(bad()),
        };
    };
    let authority = authority.as_str();
    let same = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
    if !is_host(authority.as_bytes()) || first.is_some_and(|host| !same(host)) {
        return Err(bad());
    }
    HeaderValue::try_from(authority).map_err(|_| bad())
}

fn is_host(host: &[u8]) -> bool {
    // No user information, no list, no spaces; an empty one is legal.
    host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(b))
}

/// Whether the client wants to leave HTTP on this connection.
pub fn wants_upgrade(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts.headers.contains_key(header::UPGRADE)
        && has_token(&parts.headers, "upgrade")
}

fn has_token(headers: &HeaderMap, wanted: &str) -> bool {
    connection_tokens(headers).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).into_iter();
    let texts = lines.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// Whether a request is gRPC, which needs HTTP/2 all the way.
pub fn is_grpc(parts: &Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    parts.version == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Removes what is meant for one hop only (RFC 9110 7.6.1).
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_tokens(headers)
            .filter_map(|token| HeaderName::try_from(token).ok())
            // Nobody may have the length or the addressee removed.
            .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
}

/// How a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over HTTP/1.
    Http1,
    /// Over HTTP/2: gRPC.
    Http2,
    /// Over HTTP/1, and away from HTTP if the instance agrees.
    Upgrade,
}

/// Makes a client's request one that an instance gets.
pub fn prepare(parts: &mut Parts, client: &Client, host: HeaderValue, way: Way) {
    let headers = &mut parts.headers;
    let upgrade = (way == Way::Upgrade).then(|| headers.get(header::UPGRADE).cloned()).flatten();
    strip_hop_by_hop(headers);
    let trailers = way == Way::Http2 && headers.contains_key(header::TE);
    headers.remove(header::TE);
    // We answer the expectation ourselves, as soon as the instance reads the body.
    headers.remove(header::EXPECT);
    headers.remove(X_FORWARDED_PORT);
    headers.remove(X_REAL_IP);
    headers.insert(X_FORWARDED_FOR, client.forwarded_for.clone());
    let proto = if client.listener.is_tls() { "https" } else { "http" };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(header::FORWARDED, client.forwarded.clone());
    match way {
        Way::Http2 => {
            parts.version = Version::HTTP_2;
            if trailers {
                headers.insert(header::TE, HeaderValue::from_static("trailers"));
            }
            headers.remove(header::HOST);
            let mut uri = std::mem::take(&mut parts.uri).into_parts();
            uri.scheme = Some(Scheme::HTTP);
            if uri.path_and_query.is_none() {
                uri.path_and_query = Some(PathAndQuery::from_static("/"));
            }
            parts.uri = Uri::from_parts(uri).unwrap_or_default();
        }
        Way::Http1 | Way::Upgrade => {
            if parts.version == Version::HTTP_2 {
                join_cookies(headers);
            }
            parts.version = Version::HTTP_11;
            if parts.uri.authority().is_some() {
                let path = parts.uri.path_and_query().cloned();
                parts.uri = path.map_or_else(Uri::default, Uri::from);
            }
            if !headers.contains_key(header::HOST) {
                headers.insert(header::HOST, host);
            }
            if let Some(protocol) = upgrade {
                headers.insert(header::UPGRADE, protocol);
                headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            }
        }
    }
}

/// HTTP/2 may split cookies over several fields; HTTP/1 may not (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Makes an instance's answer one that a client gets.
pub fn prepare_answer(parts: &mut http::response::Parts, upgraded: bool) {
    let upgrade = upgraded.then(|| parts.headers.get(header::UPGRADE).cloned()).flatten();
    strip_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = upgrade {
        parts.headers.insert(header::UPGRADE, protocol);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    parts.version = Version::HTTP_11;
}

/// Whether an answer has no foreseeable end, and so gets the longer grace.
pub fn is_stream(parts: &http::response::Parts) -> bool {
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| {
        value.starts_with(b"text/event-stream") || value.starts_with(b"application/grpc")
    })
}

/// Whether doing it twice is doing it once (RFC 9110 9.2.2).
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// Keeps a client busy until it is dropped.
pub struct Busy {
    /// Whom.
    pub client: Arc<Client>,
    /// How long the connection may be idle afterwards.
    pub idle_milliseconds: u64,
}

impl Busy {
    /// A request of this client has begun.
    pub fn begin(client: Arc<Client>) -> Self {
        client.begin();
        // Until a service is known: as long as services have it by default.
        Self { client, idle_milliseconds: 75_000 }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.client.end(self.idle_milliseconds);
    }
}
