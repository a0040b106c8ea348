//! A client's bytes: what passes the proxy's guard and its HTTP library is read by a strict reader
//! of RFC 9112 in the same way, request by request, so that no instance can see another request
//! than the one that was routed.

mod strict;

use std::cell::RefCell;
use std::convert::Infallible;
use std::io::Cursor;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rollway::proxy::Watch;
use tokio::runtime::{Builder, Runtime};

use super::equal;
use crate::{Marks, Target};
use strict::{End, Message};

/// The target.
pub static TARGET: Target = Target {
    name: "request",
    about: "a client's bytes: guard and HTTP library read what a strict reader does, or refuse",
    words: &[
        "GET / HTTP/1.1\r\n",
        "POST /a HTTP/1.1\r\n",
        "HEAD / HTTP/1.0\r\n",
        "Host: a\r\n",
        "Content-Length: ",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "chunked",
        "identity",
        "0\r\n\r\n",
        "5\r\nhello\r\n",
        "5;a=b\r\n",
        "\r\n",
        "\n",
        "\r",
        "\r\n ",
        "\t",
        " ",
        "\0",
        "\u{b}",
        "+5",
        "0x5",
        "5, 5",
        "18446744073709551616",
        "ffffffffffffffff\r\n",
        "Connection: close\r\n",
        "Connection: upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Expect: 100-continue\r\n",
        "Trailer: a\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/2.0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ":",
        "é",
    ],
    bytes_max: 2 << 10,
    check,
};

/// A head that hyper refuses would only be noise: these are the proxy's own limits.
const HEAD_MAX: usize = 16 << 10;
/// Most header lines, as the proxy has it.
const HEADERS_MAX: usize = 100;

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().build().expect("a runtime needs nothing but memory"),
    );
}

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let refused = Watch::default().follow(input);
    equal("the guard's place, in pieces or at once", &refused, &in_pieces(input))?;
    let (messages, end) = strict::read(input);
    marks.mark((messages.len().min(4), end, refused.is_some()));
    if end == End::Whole && refused.is_some() {
        return Err("the guard refuses what is right".to_owned());
    }
    let passed = match refused {
        // What the guard does: the byte goes on as a NUL, and nothing after it does.
        Some(at) => [&input[..at], b"\0"].concat(),
        None => input.to_vec(),
    };
    let served = RUNTIME.with_borrow(|runtime| runtime.block_on(serve(passed)));
    for (at, one) in served.iter().enumerate() {
        marks.mark((one.method.len().min(9), one.body.map(|body| body.min(9)), at.min(4)));
        let Some(strict) = messages.get(at) else {
            return Err(format!("request `{at}` is read, and strictly there is none: `{one:?}`"));
        };
        equal("the method", &one.method, &strict.method)?;
        equal("the target", &one.target, &strict.target)?;
        if let (Some(body), Some(strictly)) = (one.body, strict.body) {
            equal("the length of the body", &body, &strictly)?;
        }
        if one.body.is_some() && strict.body.is_none() {
            return Err(format!("request `{at}` ended, and strictly it did not"));
        }
    }
    Ok(())
}

/// The same bytes as they may come: first one, then ever more at once.
fn in_pieces(input: &[u8]) -> Option<usize> {
    let mut watch = Watch::default();
    let (mut at, mut size) = (0, 1);
    while at < input.len() {
        let piece = &input[at..(at + size).min(input.len())];
        if let Some(place) = watch.follow(piece) {
            return Some(at + place);
        }
        at += piece.len();
        size = size % 7 + 1;
    }
    None
}

/// What hyper makes of it, with the proxy's settings.
async fn serve(bytes: Vec<u8>) -> Vec<Message> {
    let seen = RefCell::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let at = seen.borrow().len();
        let (method, target) = (parts.method.to_string(), parts.uri.to_string());
        seen.borrow_mut().push(Message { method, target, body: None });
        if let Ok(body) = body.collect().await {
            seen.borrow_mut()[at].body = Some(body.to_bytes().len() as u64);
        }
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let stream = tokio::io::join(Cursor::new(bytes), tokio::io::sink());
    let mut settings = http1::Builder::new();
    settings.header_read_timeout(None).max_header_size(HEAD_MAX).max_headers(HEADERS_MAX);
    // All bytes are there at once, and then the end: what was sent is answered all the same.
    settings.half_close(true);
    // A connection that ends badly has served what it had served.
    let _ = settings.serve_connection(TokioIo::new(stream), service).await;
    seen.into_inner()
}
