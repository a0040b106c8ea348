//! One thread that accepts connections and serves them, with connections to instances of its own.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Order};
use super::forward;
use super::guard::Guarded;
use super::listener::Listener;
use super::shared::Shared;
use super::upstream;
use crate::failure::{Failure, FailureKind};

/// Largest head of a request, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Most header lines of a request.
const HEADERS_MAX: usize = 100;
/// The buffer of a client's connection.
const BUFFER_MAX: usize = 64 * 1024;
/// Most streams at once on an HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Streams that a client reset before they were accepted: beyond it the connection is closed.
const RESETS_MAX: usize = 20;
/// A TLS handshake may take so long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Accepting again after the system had no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(0) };
    static NOW: Cell<u32> = const { Cell::new(0) };
    static CLIENTS: RefCell<Vec<Weak<Client>>> = const { RefCell::new(Vec::new()) };
}

/// The number of the worker that runs this thread.
pub fn index() -> usize {
    INDEX.get()
}

/// Seconds since the worker began, as of its last tick: exact enough for idle connections.
pub fn now_seconds() -> u32 {
    NOW.get()
}

/// What a worker can be told.
pub enum Command {
    /// Accept connections there.
    Listen(Arc<Listener>),
    /// Accept no more, and finish what is there.
    Unlisten(Arc<Listener>),
    /// Close connections to instances that have left.
    Sweep,
    /// Accept nowhere any more, and close connections as they become idle.
    Finish,
    /// Close all connections and end.
    End,
}

/// A worker from outside.
pub struct Worker {
    commands: mpsc::UnboundedSender<(Command, oneshot::Sender<()>)>,
}

impl Worker {
    /// Starts the thread.
    pub fn start(number: usize, shared: Arc<Shared>) -> Result<Self, Failure> {
        #[expect(clippy::disallowed_methods, reason = "whoever tells waits for the answer")]
        let (commands, received) = mpsc::unbounded_channel();
        let fail =
            |error| Failure::because(FailureKind::NotDone, "could not start a worker", error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        thread
            .spawn(move || {
                INDEX.set(number);
                runtime.block_on(run(received, &shared));
            })
            .map_err(fail)?;
        Ok(Self { commands })
    }

    /// Tells it something, and waits until that is done.
    pub async fn tell(&self, command: Command) {
        let (done, told) = oneshot::channel();
        if self.commands.send((command, done)).is_ok() {
            // An error means that it has ended, and then there is nothing left to do.
            let _ = told.await;
        }
    }
}

struct Accepting {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn run(
    mut commands: mpsc::UnboundedReceiver<(Command, oneshot::Sender<()>)>,
    shared: &Arc<Shared>,
) {
    let mut accepting: HashMap<SocketAddr, Accepting> = HashMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let started = Instant::now();
    loop {
        let received = tokio::select! {
            received = commands.recv() => received,
            _ = tick.tick() => {
                NOW.set(u32::try_from(started.elapsed().as_secs()).unwrap_or(u32::MAX));
                check_clients();
                upstream::sweep();
                continue;
            }
        };
        let Some((command, done)) = received else { return };
        match command {
            Command::Listen(listener) => listen(&mut accepting, listener, shared),
            Command::Unlisten(listener) => {
                if let Some(one) = accepting.remove(&listener.address) {
                    stop(one).await;
                }
                tell_clients(Order::Finish, |client| Arc::ptr_eq(&client.listener, &listener));
            }
            Command::Sweep => upstream::sweep(),
            Command::Finish => {
                for (_, one) in accepting.drain() {
                    stop(one).await;
                }
                tell_clients(Order::Finish, |_| true);
            }
            Command::End => {
                tell_clients(Order::Close, |_| true);
                let _ = done.send(());
                return;
            }
        }
        let _ = done.send(());
    }
}

fn check_clients() {
    let now = now_seconds();
    CLIENTS.with_borrow_mut(|clients| {
        clients
            .retain(|client| client.upgrade().inspect(|client| client.check_time(now)).is_some());
    });
}

fn tell_clients(order: Order, meant: impl Fn(&Client) -> bool) {
    CLIENTS.with_borrow(|clients| {
        for client in clients.iter().filter_map(Weak::upgrade).filter(|client| meant(client)) {
            client.order(order);
        }
    });
}

async fn stop(one: Accepting) {
    one.stop.cancel();
    let _ = one.task.await;
}

fn listen(
    accepting: &mut HashMap<SocketAddr, Accepting>,
    listener: Arc<Listener>,
    shared: &Arc<Shared>,
) {
    let socket = listener.copy().and_then(TcpListener::from_std);
    let socket = match socket {
        Ok(socket) => socket,
        Err(error) => {
            shared.alarm(format!("could not listen on {}: {error}", listener.address));
            return;
        }
    };
    let stop = CancellationToken::new();
    let address = listener.address;
    let task = tokio::spawn(accept(socket, listener, stop.clone()));
    accepting.insert(address, Accepting { stop, task });
}

async fn accept(socket: TcpListener, listener: Arc<Listener>, stop: CancellationToken) {
    let acceptor = listener.certificates.as_ref().map(|certificates| certificates.acceptor());
    let begin = |stream: TcpStream, address: SocketAddr| {
        if let Some(place) = Place::take(&listener.shared) {
            let client = Arc::new(Client::new(address, Arc::clone(&listener)));
            CLIENTS.with_borrow_mut(|clients| clients.push(Arc::downgrade(&client)));
            tokio::spawn(serve(stream, client, acceptor.clone(), place));
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, address)) => begin(stream, address),
            Err(error) => {
                // A client that has gone already is nobody's trouble; anything else takes time.
                if error.kind() != std::io::ErrorKind::ConnectionAborted {
                    let text = format!("could not accept on {}: {error}", listener.address);
                    listener.shared.alarm(text);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    // Clients in the queue were promised a connection by the kernel: they are served.
    let queued = std::future::poll_fn(|cx| {
        while let Poll::Ready(Ok((stream, address))) = socket.poll_accept(cx) {
            begin(stream, address);
        }
        Poll::Ready(())
    });
    if !listener.shared.ending.load(Relaxed) {
        queued.await;
    }
}

/// A place among the connections that are allowed.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(Arc::clone(shared));
        if shared.connections.fetch_add(1, Relaxed) < shared.connections_max {
            return Some(place);
        }
        // Dropping the place takes the count back.
        shared.refused.fetch_add(1, Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

async fn serve(
    stream: TcpStream,
    client: Arc<Client>,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    _place: Place,
) {
    // Answers are written whole: waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = acceptor else {
        let mut stream = stream;
        let Some((first, is_http2)) = sniff(&mut stream, &client).await else { return };
        return serve_http(stream, first, is_http2, client).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await;
    let Ok(Ok(stream)) = handshake else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve_http(stream, Vec::new(), is_http2, client).await;
}

/// Reads enough to tell HTTP/2 with prior knowledge, which begins with "PRI", from HTTP/1.
async fn sniff(stream: &mut TcpStream, client: &Client) -> Option<(Vec<u8>, bool)> {
    let mut first = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        let mut piece = ReadBuf::new(&mut buffer);
        let read = std::future::poll_fn(|cx| {
            if client.ordered(cx.waker()) == Order::Close {
                return Poll::Ready(None);
            }
            std::pin::Pin::new(&mut *stream).poll_read(cx, &mut piece).map(Result::ok)
        });
        read.await?;
        if piece.filled().is_empty() {
            return None;
        }
        first.extend_from_slice(piece.filled());
        if first.len() >= 3 || !b"PRI".starts_with(&first) {
            let is_http2 = first.starts_with(b"PRI");
            return Some((first, is_http2));
        }
    }
}

async fn serve_http<T>(stream: T, first: Vec<u8>, is_http2: bool, client: Arc<Client>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = {
        let client = Arc::clone(&client);
        service_fn(move |request| forward::handle(Arc::clone(&client), request))
    };
    if is_http2 {
        client.speaks_http2();
        let io = TokioIo::new(Guarded::http2(stream, first, Arc::clone(&client)));
        let mut connection = std::pin::pin!(http2_settings().serve_connection(io, service));
        let mut told = false;
        return std::future::poll_fn(|cx| {
            match client.ordered(cx.waker()) {
                Order::Close => return Poll::Ready(()),
                Order::Finish if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                Order::Finish | Order::None => {}
            }
            connection.as_mut().poll(cx).map(drop)
        })
        .await;
    }
    let io = TokioIo::new(Guarded::http1(stream, first, Arc::clone(&client)));
    let connection = http1_settings().serve_connection(io, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut told = false;
    std::future::poll_fn(|cx| {
        match client.ordered(cx.waker()) {
            Order::Close => return Poll::Ready(()),
            // One that waits for its next request goes on waiting: see `Client::check_time`.
            Order::Finish if !told && client.is_busy() => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            Order::Finish | Order::None => {}
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

fn http1_settings() -> http1::Builder {
    let mut settings = http1::Builder::new();
    // Slow heads are found by the worker's tick, which costs nothing per request.
    settings.header_read_timeout(None);
    settings.max_header_size(HEAD_MAX).max_headers(HEADERS_MAX).max_buf_size(BUFFER_MAX);
    settings
}

fn http2_settings() -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX));
    settings
}
