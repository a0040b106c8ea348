//! The life of the service: start, listen, become ready, stop on a signal with nothing lost.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::flags::Flags;
use crate::routes;
use crate::witness::Witness;

/// What is in flight at a stop gets this long; whoever runs shop kills it much sooner.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// After a failed `accept` (no file handles left, say) the next try waits, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// So many connections may wait to be accepted. `TcpListener::bind` has 128; beyond that the kernel
/// drops them, and the client only tries again after a second.
const LISTEN_QUEUE: u32 = 4096;

/// What all connections share. The last one to go drops it, and with it `alive`.
pub struct Shop {
    /// What it was told.
    pub flags: Flags,
    /// When the process started.
    pub born: Instant,
    /// Whether it answers yet. The witness log has it first: nobody is served before that line.
    pub ready: Arc<AtomicBool>,
    /// Requests that count for the error rate.
    pub served: AtomicU64,
    /// How the last requests ended.
    pub recent: Mutex<Recent>,
    /// The witness log.
    pub witness: Witness,
    stop: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl Shop {
    /// Returns when the service is to stop.
    pub async fn stopped(&self) {
        // A sender that is gone has stopped too.
        drop(self.stop.clone().wait_for(|stop| *stop).await);
    }

    /// How many of the last requests failed, if that is more than the bound that was given.
    pub fn too_many_errors(&self) -> Option<(u64, u64)> {
        let bound = self.flags.error_bound_per_million?;
        let (errors, of) = self.recent.lock().expect("nobody panics with it").errors()?;
        (errors * 1_000_000 > bound * of).then_some((errors, of))
    }
}

/// So many requests are remembered for `--error-bound`.
const RECENT_MAX: usize = 200;

/// Fewer say nothing of a share.
const RECENT_MIN: usize = 60;

/// How the last requests ended.
#[derive(Debug, Default)]
pub struct Recent {
    failed: VecDeque<bool>,
}

impl Recent {
    /// Takes note of one more.
    pub fn add(&mut self, failed: bool) {
        if self.failed.len() == RECENT_MAX {
            self.failed.pop_front();
        }
        self.failed.push_back(failed);
    }

    /// How many failed, and of how many; nothing while they are too few.
    fn errors(&self) -> Option<(u64, u64)> {
        let errors = self.failed.iter().filter(|failed| **failed).count();
        (self.failed.len() >= RECENT_MIN).then_some((errors as u64, self.failed.len() as u64))
    }
}

/// Serves until a signal, or for ever.
pub fn run(flags: Flags) -> Result<(), String> {
    let born = Instant::now();
    let witness = Witness::open(&flags)?;
    witness.write("start", &[]);
    if flags.crash_at_start {
        witness.write("stop", &[("reason", Value::from("crash"))]);
        return Err("crashed at the start, as told".to_owned());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("could not start the runtime: {e}"))?;
    runtime.block_on(serve(flags, born, witness))
}

async fn serve(flags: Flags, born: Instant, witness: Witness) -> Result<(), String> {
    let mut stops = Stops::install(flags.ignore_term)?;
    if let Some(after) = flags.crash_after {
        tokio::spawn(crash_after(after, witness.clone()));
    }
    tokio::select! {
        () = sleep(flags.listen_after) => {}
        () = stops.next() => {
            witness.write("stop", &[("reason", Value::from("signal"))]);
            return Ok(());
        }
    }
    let listener = listen(&flags).await?;
    let ready = Arc::new(AtomicBool::new(false));
    become_ready(&flags, born, &witness, &ready).await;
    let (stop_sender, stop) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel(1);
    let served = AtomicU64::new(0);
    let recent = Mutex::new(Recent::default());
    let shop =
        Shop { flags, born, ready, served, recent, witness: witness.clone(), stop, _alive: alive };
    accept_until(&mut stops, &listener, &Arc::new(shop)).await;
    // The listener is closed before anything else: from here on nobody new is taken.
    drop(listener);
    witness.write("stop", &[("reason", Value::from("signal"))]);
    stop_sender.send_replace(true);
    match tokio::time::timeout(DRAIN_MAX, all_gone.recv()).await {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("requests were still in flight after {DRAIN_MAX:?}")),
    }
}

/// Takes connections until a signal says stop.
async fn accept_until(stops: &mut Stops, listener: &TcpListener, shop: &Arc<Shop>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(answer_all(stream, Arc::clone(shop)))),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            () = stops.next() => return,
        }
    }
}

async fn listen(flags: &Flags) -> Result<TcpListener, String> {
    let (host, port) = (flags.host.as_str(), flags.port);
    let listener = bind(host, port).await;
    let listener = listener.map_err(|e| format!("could not listen on {host}:{port}: {e}"))?;
    let address = listener.local_addr().map_err(|e| format!("could not read the port: {e}"))?;
    // Nobody may be reading, which must not end the service.
    drop(writeln!(std::io::stdout(), "shop {} listens on {address}", flags.version));
    Ok(listener)
}

async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut addresses = tokio::net::lookup_host((host, port)).await?;
    let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // An instance that takes the port over must not wait for the old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE)
}

/// Answers the requests of one connection.
async fn answer_all(stream: TcpStream, shop: Arc<Shop>) {
    // Small answers must not wait for the acknowledgement of earlier ones (Nagle).
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| routes::answer(request, Arc::clone(&shop)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    tokio::select! {
        _ = connection.as_mut() => return,
        () = shop.stopped() => {}
    }
    // Closes at once what is idle; otherwise the answer in flight is the last.
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
}

/// Answers requests from now on, or from the time that it was told.
async fn become_ready(flags: &Flags, born: Instant, witness: &Witness, ready: &Arc<AtomicBool>) {
    let (ready, witness) = (Arc::clone(ready), witness.clone());
    let (wait, healthy) = (flags.ready_after.saturating_sub(born.elapsed()), !flags.never_healthy);
    let becoming = async move {
        sleep(wait).await;
        if healthy {
            witness.write("ready", &[]);
        }
        ready.store(true, Ordering::Release);
    };
    if wait.is_zero() { becoming.await } else { drop(tokio::spawn(becoming)) }
}

async fn crash_after(after: Duration, witness: Witness) {
    sleep(after).await;
    crash(&witness, "crash");
}

/// Ends the process as a crash would: nothing in flight is finished.
#[expect(clippy::exit, reason = "a crash on request is what this is for")]
pub fn crash(witness: &Witness, reason: &str) -> ! {
    witness.write("stop", &[("reason", Value::from(reason))]);
    std::process::exit(1)
}

/// The signals that ask for a stop.
struct Stops {
    term: Signal,
    interrupt: Signal,
    ignore_term: bool,
}

impl Stops {
    fn install(ignore_term: bool) -> Result<Self, String> {
        let install = |kind| signal(kind).map_err(|e| format!("could not watch signals: {e}"));
        let term = install(SignalKind::terminate())?;
        Ok(Self { term, interrupt: install(SignalKind::interrupt())?, ignore_term })
    }

    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => if !self.ignore_term { return },
                _ = self.interrupt.recv() => return,
            }
        }
    }
}
