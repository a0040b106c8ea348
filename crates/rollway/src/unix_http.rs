//! HTTP/1.1 and JSON over Unix sockets, for the control plane's and the proxy's own interfaces.
//!
//! State directories may have long paths; a socket's address may not. So sockets are reached by
//! the folder's descriptor: `/proc/self/fd/N/name`.

use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::PoisonError;

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
    let asked = Asked { name, method, path, body: Bytes::from(body) };
    let mut sender = asked.connect(folder).await?;
    asked.send(&mut sender).await
}

/// A connection to one socket that is kept from request to request, for requests that may be
/// made twice: an answer that was lost with the connection is asked for again on a fresh one.
#[derive(Default)]
pub struct Kept(std::sync::Mutex<Option<Sender>>);

impl Kept {
    /// One request, on the kept connection if nobody uses it. What refuses is asked again on a
    /// fresh connection: the kept one may lead to a process whose place another one has taken.
    pub async fn request(
        &self,
        (folder, name): (&Path, &str),
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let asked = Asked { name, method, path, body: Bytes::from(body) };
        if let Some(mut sender) = self.take()
            && let Ok(answer) = asked.send(&mut sender).await
            && answer.0.is_success()
        {
            self.keep(sender);
            return Ok(answer);
        }
        let mut sender = asked.connect(folder).await?;
        let answer = asked.send(&mut sender).await?;
        self.keep(sender);
        Ok(answer)
    }

    fn take(&self) -> Option<Sender> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, sender: Sender) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    }
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// A request before it has a connection.
struct Asked<'a> {
    name: &'a str,
    method: Method,
    path: &'a str,
    body: Bytes,
}

impl Asked<'_> {
    fn doing(&self) -> String {
        format!("could not ask {} for {} {}", self.name, self.method, self.path)
    }

    fn unknown(&self, error: impl std::fmt::Display) -> Failure {
        Failure::because(FailureKind::Unknown, self.doing(), error.to_string())
    }

    async fn connect(&self, folder: &Path) -> Result<Sender, Failure> {
        let stream = connect(folder, self.name)
            .await
            .map_err(|error| Failure::because(FailureKind::NotDone, self.doing(), error))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unknown(error))?;
        // It ends with its sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(&self, sender: &mut Sender) -> Result<(StatusCode, Bytes), Failure> {
        let request = Request::builder()
            .method(self.method.clone())
            .uri(self.path)
            .header(http::header::HOST, "localhost")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(self.body.clone()))
            .map_err(|error| Failure::because(FailureKind::NotDone, self.doing(), error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.unknown(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        Ok((status, body.map_err(|error| self.unknown(error))?.to_bytes()))
    }
}
