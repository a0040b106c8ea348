//! Where webhooks come in: HTTP on an address of this machine, behind a proxy with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::failure::{Failure, FailureKind};
use crate::gitops::{Gitops, Hooked};

/// The largest body; hosts send some tens of kilobytes.
const BODY_MAX: usize = 1 << 20;
/// So many connections at once; others wait.
const CONNECTIONS_MAX: usize = 64;
/// A connection that takes longer than this has nothing to say.
const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// The longest wait for the head of a request.
const HEAD_WAIT: Duration = Duration::from_secs(10);

/// Hears webhooks at this address until the control plane ends.
pub(super) async fn listen(address: SocketAddr, gitops: Arc<Gitops>) -> Result<(), Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let doing = format!("could not listen for webhooks on {address}");
        Failure::because(FailureKind::NotDone, doing, error)
    })?;
    let router = Router::new()
        .route("/hooks/{source}", post(hook))
        .with_state(gitops)
        .layer(DefaultBodyLimit::max(BODY_MAX));
    tokio::spawn(accept(listener, router));
    Ok(())
}

async fn accept(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: others must end before there is room.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).keep_alive(false);
            let serving = server.serve_connection(TokioIo::new(stream), service);
            // A client that goes away, or says nothing, is its own matter.
            let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
        });
    }
}

/// Unknown sources and wrong signatures are one answer: nobody learns which sources there are.
async fn hook(
    State(gitops): State<Arc<Gitops>>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    match gitops.hook(&source, &headers, &body).await {
        Hooked::Taken => StatusCode::ACCEPTED,
        Hooked::Repeated => StatusCode::OK,
        Hooked::Refused => StatusCode::UNAUTHORIZED,
    }
}
