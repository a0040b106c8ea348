//! The probe `grpc`: `grpc.health.v1.Health/Check` answers `SERVING`.
//!
//! ```yaml
//! health:
//!   - grpc: {service: shop.Orders}
//! ```
//! The protocol is small enough to be spoken by hand: a message is five bytes of frame and one
//! field (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, TE};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rollway_core::spec::GrpcCheck;
use tokio_util::task::AbortOnDropHandle;

use super::{Found, connect, said_by_hyper};

/// An answer is a few bytes; whatever sends more does not speak this protocol.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// The bytes before a message: whether it is compressed, and its length.
const FRAME_BYTES: usize = 5;

/// Asks, and judges the answer.
pub(super) async fn check(check: &GrpcCheck, address: SocketAddr) -> Found {
    let stream = match connect(address).await {
        Ok(stream) => stream,
        Err(found) => return found,
    };
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = match handshake.await {
        Ok(both) => both,
        Err(error) => return Found::bad(said_by_hyper(&error)),
    };
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    match sender.send_request(request(check, address)).await {
        Ok(response) => judge(response).await,
        Err(error) => Found::bad(said_by_hyper(&error)),
    }
}

fn request(check: &GrpcCheck, address: SocketAddr) -> Request<Full<Bytes>> {
    let uri = format!("http://{address}/grpc.health.v1.Health/Check");
    let mut request = Request::new(Full::new(question(&check.service)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri.parse::<Uri>().expect("an address is a valid authority");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    headers.insert(TE, http::HeaderValue::from_static("trailers"));
    request
}

/// `HealthCheckRequest { string service = 1; }`; an empty field is left out.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length > 0x7f {
            message.put_u8(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).expect("seven bits"));
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(FRAME_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a spec is smaller"));
    frame.put(message);
    frame.freeze()
}

async fn judge(response: http::Response<Incoming>) -> Found {
    let (head, mut body) = response.into_parts();
    if head.status != http::StatusCode::OK {
        return Found::bad(format!("status {}, expected a gRPC answer", head.status.as_u16()));
    }
    let mut answer = Vec::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) if answer.len() + data.len() <= ANSWER_BYTES_MAX => answer.extend(data),
            Ok(Ok(_)) => return Found::bad("the answer is too long"),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(error) => return Found::bad(said_by_hyper(&error)),
        }
    }
    // An answer without a message has its status in the head.
    let code = trailers.as_ref().and_then(status).or_else(|| status(&head.headers));
    match code {
        Some((0, _)) => serving(&answer),
        Some((5, _)) => Found::bad("the server does not know this service"),
        Some((12, _)) => Found::bad("the server does not speak the gRPC health protocol"),
        Some((code, message)) => Found::bad(format!("gRPC status {code}")).evidence(message),
        None => Found::bad("the answer has no gRPC status"),
    }
}

fn status(headers: &HeaderMap) -> Option<(u32, Vec<u8>)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers.get("grpc-message").map(|m| m.as_bytes().to_vec());
    Some((code, message.unwrap_or_default()))
}

/// `HealthCheckResponse { ServingStatus status = 1; }`
fn serving(answer: &[u8]) -> Found {
    let Some(message) = answer.get(FRAME_BYTES..) else {
        return Found::bad("the answer has no message");
    };
    let status = match message {
        [] => 0,
        // Fields that are not known to this version of the protocol come after the first.
        [0x08, status, ..] => *status,
        _ => return Found::bad("the answer is not a health status"),
    };
    match status {
        0 => Found::bad("UNKNOWN"),
        1 => Found::good("SERVING"),
        2 => Found::bad("NOT_SERVING"),
        3 => Found::bad("SERVICE_UNKNOWN"),
        other => Found::bad(format!("health status {other}, expected SERVING")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_framed() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!(&long[..9], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1, b'x']);
    }

    #[test]
    fn answers_are_read() {
        assert!(serving(&[0, 0, 0, 0, 2, 8, 1]).ok);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 8, 2]).reason, "NOT_SERVING");
        assert_eq!(serving(&[0, 0, 0, 0, 0]).reason, "UNKNOWN");
        assert_eq!(serving(&[0]).reason, "the answer has no message");
        assert_eq!(serving(b"<html>").reason, "the answer is not a health status");
    }
}
