//! A small HTTP server on a free port of the loopback, and questions to ask.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rollway::metrics::{Arm, Question};
use rollway_core::ids::{ReleaseNumber, ServiceName};
use rollway_core::spec::Wants;
use rollway_core::verdict::eprocess::Pair;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    pub target: String,
    pub authorization: Option<String>,
    pub tenant: Option<String>,
    pub body: String,
}

type Handler = dyn Fn(&Seen) -> (u16, String) + Send + Sync;

/// A server that answers until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn new(answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::over(answer, async |stream| Some(stream)).await
    }

    /// One whose connections are made by `accept`: of TLS, or none at all.
    pub async fn over<S, F>(
        answer: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
        accept: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (kept, answer): (_, Arc<Handler>) = (Arc::clone(&seen), Arc::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                let accepted = accept(stream);
                tokio::spawn(async move {
                    let Some(stream) = accepted.await else { return };
                    let service = service_fn(|request| answered(request, &kept, &answer));
                    // A client that goes away has its reasons.
                    let _ =
                        pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service))
                            .await;
                });
            }
        });
        Self { address, seen, task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answered(
    request: Request<Incoming>,
    kept: &Mutex<Vec<Seen>>,
    answer: &Arc<Handler>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let header =
        |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let (authorization, tenant) = (header("authorization"), header("x-tenant"));
    let target = request.uri().to_string();
    let body = request.into_body().collect().await?.to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let seen = Seen { target, authorization, tenant, body };
    let (status, text) = answer(&seen);
    kept.lock().unwrap().push(seen);
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap())
}

/// A question about the second release of the shop beside the first.
pub fn question() -> Question {
    let arm = |release, version: &str| Arm {
        release: ReleaseNumber(release),
        version: version.to_owned(),
    };
    Question {
        service: ServiceName::parse("shop").unwrap(),
        deployment: 2,
        watch: 0,
        arms: Pair { canary: arm(2, "v2+b"), baseline: arm(1, "v1") },
        folder: std::env::temp_dir(),
        wants: Wants { counts: true, latency: false, value: false, baseline: true },
    }
}
