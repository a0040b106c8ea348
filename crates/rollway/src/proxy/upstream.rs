//! Connections to instances: made, kept, and polled by whoever uses them.
//!
//! An HTTP/1 connection has no task of its own. The task of the client's request polls it, so
//! that a request costs one wake-up for the answer instead of four between two tasks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::answer::Outgoing;
use super::endpoint::{Endpoint, Relay};
use super::worker;

/// Idle connections kept for an instance, per worker.
const IDLE_MAX: usize = 256;
/// An idle connection is closed after this: shorter than what servers commonly allow.
const IDLE_SECONDS_MAX: u32 = 30;
/// Rounds in one poll; what is not settled then waits for its turn like anybody else.
const ROUNDS_MAX: usize = 4;
/// Largest head of an answer, in bytes, and the buffer for it.
const HEAD_MAX: usize = 64 * 1024;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

#[derive(Default)]
struct Pool {
    http1: HashMap<u64, Idle, Plain>,
    http2: HashMap<u64, (Arc<Endpoint>, http2::SendRequest<Outgoing>), Plain>,
}

struct Idle {
    endpoint: Arc<Endpoint>,
    /// With the second since when they lie idle.
    connections: Vec<(Connection, u32)>,
}

/// Endpoints are numbered one after the other: the number is its own hash.
type Plain = std::hash::BuildHasherDefault<Identity>;

#[derive(Default)]
struct Identity(u64);

impl std::hash::Hasher for Identity {
    fn finish(&self) -> u64 {
        // The table takes its position from low bits and its tag from the top seven.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed here");
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// An HTTP/1 connection with an instance.
pub struct Connection {
    sender: http1::SendRequest<Outgoing>,
    driver: Driver,
    /// Brings wake-ups to the present user.
    pub relay: Arc<Relay>,
}

/// The part of a connection that reads and writes.
struct Driver {
    inner: Pin<Box<http1::Connection<TokioIo<Noted>, Outgoing>>>,
    over: bool,
    relay: Arc<Relay>,
    waker: Waker,
}

/// The socket of a connection; notes whether the instance has sent anything.
struct Noted {
    stream: TcpStream,
    relay: Arc<Relay>,
}

/// What came of sending; none when a drain cut it.
type Sent = Option<Result<Response<Incoming>, TrySendError<Request<Outgoing>>>>;

impl Connection {
    /// Connects.
    pub async fn open(endpoint: &Endpoint, limit: Duration) -> std::io::Result<Self> {
        let stream = connect(endpoint, limit).await?;
        let relay = Arc::new(Relay::default());
        endpoint.watch(&relay);
        let io = TokioIo::new(Noted { stream, relay: Arc::clone(&relay) });
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MAX.max(8192)).max_header_size(HEAD_MAX);
        let (sender, driver) = builder.handshake(io).await.map_err(std::io::Error::other)?;
        let waker = Waker::from(Arc::clone(&relay));
        let inner = Box::pin(driver);
        let driver = Driver { inner, over: false, relay: Arc::clone(&relay), waker };
        Ok(Self { sender, driver, relay })
    }

    /// Takes a connection that is known to be open as far as anybody can know.
    pub fn reuse(endpoint: &Endpoint) -> Option<Self> {
        loop {
            let popped =
                POOL.with_borrow_mut(|pool| pool.http1.get_mut(&endpoint.id)?.connections.pop());
            let mut connection = popped?.0;
            connection.driver.step();
            if !connection.driver.over && connection.sender.is_ready() {
                return Some(connection);
            }
        }
    }

    /// Gives the connection back, if it can take another request.
    pub fn keep(mut self, endpoint: &Arc<Endpoint>) {
        self.driver.step();
        let retired = endpoint.retired.load(Relaxed);
        if self.driver.over || retired || self.relay.is_cut() || !self.sender.is_ready() {
            return;
        }
        self.relay.forget();
        POOL.with_borrow_mut(|pool| {
            let idle = pool.http1.entry(endpoint.id).or_insert_with(|| Idle {
                endpoint: Arc::clone(endpoint),
                connections: Vec::new(),
            });
            if idle.connections.len() < IDLE_MAX {
                idle.connections.push((self, worker::now_seconds()));
            }
        });
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn send(&mut self, request: Request<Outgoing>) -> Sent {
        self.relay.set_answered(false);
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        std::future::poll_fn(move |cx| match driver.poll_with(cx, |cx| answer.as_mut().poll(cx)) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending if driver.relay.is_cut() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Polls something that this connection feeds.
    pub fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        feed: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.driver.poll_with(cx, feed)
    }
}

impl Driver {
    /// Polls the connection once, for nobody.
    fn step(&mut self) {
        self.relay.hush(Waker::noop());
        if !self.over {
            let mut cx = Context::from_waker(&self.waker);
            self.over = self.inner.as_mut().poll(&mut cx).is_ready();
        }
        self.relay.speak();
    }

    /// Polls `feed`, and the connection that feeds it, until neither has anything to do.
    ///
    /// The wake-ups that the two give each other are only noted meanwhile. `feed` itself
    /// registers nobody: all that can happen to it happens in the connection.
    fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut feed: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.relay.hush(cx.waker());
        let mut nobody = Context::from_waker(Waker::noop());
        let mut fed = feed(&mut nobody);
        let mut rounds = 0;
        while fed.is_pending() && !self.over {
            self.relay.take_woken();
            let mut driver_cx = Context::from_waker(&self.waker);
            self.over = self.inner.as_mut().poll(&mut driver_cx).is_ready();
            fed = feed(&mut nobody);
            if fed.is_ready() || !self.relay.take_woken() {
                break;
            }
            rounds += 1;
            if rounds == ROUNDS_MAX {
                cx.waker().wake_by_ref();
                break;
            }
        }
        self.relay.speak();
        fed
    }
}

async fn connect(endpoint: &Endpoint, limit: Duration) -> std::io::Result<TcpStream> {
    let stream = tokio::time::timeout(limit, TcpStream::connect(endpoint.address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection for a request that wants to leave HTTP: it runs in a task of its own.
pub async fn open_for_upgrade(
    endpoint: &Endpoint,
    limit: Duration,
) -> std::io::Result<http1::SendRequest<Outgoing>> {
    let stream = connect(endpoint, limit).await?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, driver) = handshake.map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        // Its failure reaches the request as that of the answer.
        let _ = driver.with_upgrades().await;
    });
    Ok(sender)
}

/// The worker's HTTP/2 connection with an instance.
pub async fn http2(
    endpoint: &Arc<Endpoint>,
    limit: Duration,
) -> std::io::Result<http2::SendRequest<Outgoing>> {
    let kept = POOL.with_borrow(|pool| pool.http2.get(&endpoint.id).cloned());
    if let Some((_, sender)) = kept.filter(|(_, sender)| !sender.is_closed()) {
        return Ok(sender);
    }
    let stream = connect(endpoint, limit).await?;
    let builder = http2::Builder::new(TokioExecutor::new());
    let handshake = builder.handshake(TokioIo::new(stream)).await;
    let (sender, driver) = handshake.map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        // Its failure reaches every stream on it.
        let _ = driver.await;
    });
    let kept = (Arc::clone(endpoint), sender.clone());
    POOL.with_borrow_mut(|pool| pool.http2.insert(endpoint.id, kept));
    Ok(sender)
}

/// Forgets an HTTP/2 connection that failed.
pub fn forget_http2(endpoint: &Endpoint) {
    POOL.with_borrow_mut(|pool| pool.http2.remove(&endpoint.id));
}

/// Closes what has been idle for too long, and everything with instances that have left.
pub fn sweep() {
    let now = worker::now_seconds();
    // Dropped after the pool is free again: closing a connection must not find it borrowed.
    let mut dropped = Vec::new();
    POOL.with_borrow_mut(|pool| {
        for idle in pool.http1.values_mut() {
            let left = idle.endpoint.retired.load(Relaxed);
            let old = |since: u32| left || now.saturating_sub(since) > IDLE_SECONDS_MAX;
            dropped.extend(idle.connections.extract_if(.., |(_, since)| old(*since)));
        }
        pool.http1.retain(|_, idle| !idle.connections.is_empty());
        // Streams on a dropped sender's connection go on to their end.
        let stays = |endpoint: &Endpoint| !endpoint.retired.load(Relaxed);
        pool.http2.retain(|_, (endpoint, sender)| stays(endpoint) && !sender.is_closed());
    });
}

impl AsyncRead for Noted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            this.relay.set_answered(true);
        }
        read
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
