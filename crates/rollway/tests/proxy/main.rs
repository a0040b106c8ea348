//! The proxy as a process, between real clients and real instances.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod drain;
mod edge;
mod life;
mod routing;
mod streams;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rollway::proxy::table::{Arm, Member, ServiceTable};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;

/// Longest wait for anything that must happen.
const LIMIT: Duration = Duration::from_secs(20);

/// A proxy in a process of its own.
struct Proxy {
    child: Child,
    folder: tempfile::TempDir,
}

impl Proxy {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: tempfile::TempDir) -> Self {
        let child = Self::spawn(folder.path());
        let proxy = Self { child, folder };
        proxy.ready().await;
        proxy
    }

    fn spawn(folder: &Path) -> Child {
        Command::new(env!("CARGO_BIN_EXE_rollway"))
            .args(["proxy", "--workers", "2", "--state-dir"])
            .arg(folder)
            .arg("--access-log")
            .arg(folder.join("access.log"))
            .spawn()
            .unwrap()
    }

    async fn ready(&self) {
        let pid = u64::from(self.child.id());
        wait_for("the proxy is ready", async || {
            let answer = call(&self.socket(), "GET", "/v1/health", "").await.ok();
            answer.filter(|(_, health)| health["pid"] == pid).map(drop)
        })
        .await;
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it without a warning, and starts another in the same folder.
    async fn restart(&mut self) {
        self.kill();
        self.child = Self::spawn(self.folder.path());
        self.ready().await;
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn admin(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        call(&self.socket(), method, path, body).await.unwrap()
    }

    async fn apply(&self, table: &ServiceTable) -> (u16, Value) {
        let body = serde_json::to_string(table).unwrap();
        self.admin("PUT", &format!("/v1/services/{}", table.service), &body).await
    }

    async fn applied(&self, table: &ServiceTable) {
        let (status, answer) = self.apply(table).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn health(&self) -> Value {
        self.admin("GET", "/v1/health", "").await.1
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn call(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<(u16, Value)> {
    let folder = std::fs::File::open(socket.parent().unwrap())?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&folder);
    let mut stream = UnixStream::connect(format!("/proc/self/fd/{descriptor}/proxy.sock")).await?;
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let value = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, value))
}

/// Waits until `look` finds something; a condition that never comes is a failed test.
async fn wait_for<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An instance: answers with its name, and holds requests to `/hold` until it is told to let go.
struct Instance {
    name: String,
    address: SocketAddr,
    seen: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl Instance {
    async fn start(name: &str) -> Self {
        Self::start_at(name, "127.0.0.1:0".parse().unwrap()).await
    }

    async fn start_at(name: &str, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let (seen, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let served = (name.to_owned(), Arc::clone(&seen), Arc::clone(&gate));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let served = served.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(served.clone(), request));
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { name: name.to_owned(), address, seen, gate, task }
    }

    fn member(&self) -> Member {
        Member { instance: self.name.clone(), address: self.address }
    }

    fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }

    /// Ends it, with every connection.
    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn answer(
    (name, seen, gate): (String, Arc<AtomicU64>, Arc<Semaphore>),
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    seen.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    if path == "/hold" {
        gate.acquire().await.unwrap().forget();
    }
    let text = match path.as_str() {
        "/headers" => {
            let mut lines: Vec<String> = request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
                .collect();
            lines.sort();
            lines.join("\n")
        }
        "/length" => request.into_body().collect().await?.to_bytes().len().to_string(),
        _ => name,
    };
    Ok(Response::new(Full::new(text.into())))
}

fn arm(release: u64, weight: u32, members: &[&Instance]) -> Arm {
    let members = members.iter().map(|one| one.member()).collect();
    Arm { release, version: format!("v{release}"), weight, members }
}

fn table(listen: SocketAddr, arms: Vec<Arm>) -> ServiceTable {
    ServiceTable::new("shop", 1, vec![listen.to_string()], arms)
}

/// A client with one connection that is kept.
struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver.with_upgrades());
        Self { sender }
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Status and body of the answer to a `GET`, headers as `name: value`.
    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let response = self.send(get(path, headers)).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = Request::get(path).header("host", "shop.test");
    for (name, value) in headers {
        if *name == "host" {
            request.headers_mut().unwrap().remove("host");
        }
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

/// Status and body of the answer to a `GET` on a connection of its own.
async fn fetch(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    Client::connect(address).await.get(path, headers).await
}

/// Sends bytes as they are, and returns all that comes until the proxy closes.
async fn raw(address: SocketAddr, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await;
    // A reset after the answer is an end as well.
    let _ = read.expect("the proxy closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}
