//! The control plane's interface: HTTP/1.1 and JSON on the Unix socket in the state directory.

mod answer;
mod gitops;
mod hooks;
mod routes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::DefaultBodyLimit;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::engine::Engine;
use crate::failure::{Failure, FailureKind};
use crate::gitops::Gitops;
use crate::unix_http;

/// The socket in the state directory.
pub const SOCKET: &str = "control.sock";
/// The largest request body: a spec is far below it.
const BODY_MAX: usize = 4 << 20;
/// How long requests that are under way at the end may take.
const END_WAIT: Duration = Duration::from_secs(2);

/// The user at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub Option<u32>);

impl Peer {
    /// The actor of a request: the user that the kernel names, and what it calls itself.
    pub fn actor(self, called: &str) -> String {
        let uid = self.0.map_or_else(|| "uid:?".to_owned(), |uid| format!("uid:{uid}"));
        if called.is_empty() { uid } else { format!("{called} ({uid})") }
    }
}

/// What all requests share.
#[derive(Clone)]
pub(crate) struct Served {
    pub engine: Arc<Engine>,
    pub gitops: Arc<Gitops>,
    pub began: Instant,
    pub stop: watch::Sender<bool>,
}

/// Runs the control plane of a state directory until it is told to stop. Instances and the proxy
/// go on without it.
///
/// `webhooks` is where webhooks are heard, if anywhere.
pub async fn serve(
    state_dir: &Path,
    program: PathBuf,
    webhooks: Option<SocketAddr>,
) -> Result<(), Failure> {
    let (stop, _) = watch::channel(false);
    tokio::spawn(stop_on_signal(stop.clone()));
    host(state_dir, program, webhooks, stop).await
}

/// The same inside a program whose signals are its own business: it ends when `stop` says so.
pub async fn host(
    state_dir: &Path,
    program: PathBuf,
    webhooks: Option<SocketAddr>,
    stop: watch::Sender<bool>,
) -> Result<(), Failure> {
    let engine = Engine::open(state_dir, &program).await?;
    let listener = unix_http::bind(state_dir, SOCKET).map_err(|error| {
        let doing = format!("could not listen on {}", state_dir.join(SOCKET).display());
        Failure::because(FailureKind::NotDone, doing, error)
    })?;
    let gitops = Gitops::open(Arc::clone(&engine)).await?;
    if let Some(address) = webhooks {
        hooks::listen(address, Arc::clone(&gitops)).await?;
    }
    let stopped = stop.subscribe();
    let served = Served { engine, gitops, began: Instant::now(), stop };
    accept(listener, served, stopped).await;
    // The next control plane makes its own; a left-over socket only confuses.
    let _ = std::fs::remove_file(state_dir.join(SOCKET));
    Ok(())
}

async fn stop_on_signal(stop: watch::Sender<bool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    stop.send_replace(true);
}

async fn accept(listener: UnixListener, served: Served, mut stopped: watch::Receiver<bool>) {
    let router = routes::router(served).layer(DefaultBodyLimit::max(BODY_MAX));
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors: others must end before there is room.
                    tracing::warn!("could not accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        // Who asks is told by the kernel, not by the asker.
        let uid = stream.peer_cred().map(|peer| peer.uid()).ok();
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(uid));
            router.call(request)
        });
        connections.spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // A client that goes away is its own matter.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    }
    connections.close();
    // Long polls may go on for longer: their clients ask the next control plane.
    let _ = tokio::time::timeout(END_WAIT, connections.wait()).await;
}
