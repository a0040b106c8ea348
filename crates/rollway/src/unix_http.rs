//! HTTP/1.1 and JSON over Unix sockets, for the control plane's and the proxy's own interfaces.
//!
//! State directories may have long paths; a socket's address may not. So sockets are reached by
//! the folder's descriptor: `/proc/self/fd/N/name`.

use std::os::fd::AsRawFd as _;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};

use crate::failure::{Failure, FailureKind};

/// The largest answer that is read, in bytes: the history in pages is far below it.
const ANSWER_MAX: usize = 256 << 20;

/// Connects to the socket `name` in `folder`.
pub async fn connect(folder: &Path, name: &str) -> std::io::Result<UnixStream> {
    let opened = std::fs::File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd())).await
}

/// Binds the socket `name` in `folder`, in the place of one that nobody listens on any more.
pub fn bind(folder: &Path, name: &str) -> std::io::Result<UnixListener> {
    let opened = std::fs::File::open(folder)?;
    match std::fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", opened.as_raw_fd()))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(folder.join(name), mode)?;
    Ok(listener)
}

/// One request on a connection of its own. A failure to connect is `NotDone`; after that the
/// outcome is `Unknown`.
pub async fn request(
    (folder, name): (&Path, &str),
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), Failure> {
    let doing = || format!("could not ask {name} for {method} {path}");
    let stream = connect(folder, name)
        .await
        .map_err(|error| Failure::because(FailureKind::NotDone, doing(), error))?;
    let unknown = |error: hyper::Error| Failure::because(FailureKind::Unknown, doing(), error);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unknown)?;
    let driving = tokio::spawn(connection);
    let request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failure::because(FailureKind::NotDone, doing(), error))?;
    let answer = sender.send_request(request).await.map_err(unknown)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    driving.abort();
    let body = body.map_err(|error| Failure::because(FailureKind::Unknown, doing(), error))?;
    Ok((status, body.to_bytes()))
}
