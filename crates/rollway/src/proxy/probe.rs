//! Asks instances whether they are there: after a restart before they are used, and after a
//! connection could not be made, until one can.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::endpoint::Endpoint;
use super::service::{Service, VERIFY_HOLD};
use super::shared::Shared;
use super::table::Reprobe;

/// So many instances are asked at once.
const PROBES_MAX: usize = 64;
/// How much of an answer is read to find its status.
const STATUS_BYTES: usize = 12;

/// Probes whatever is sent, each until it answers or leaves.
pub async fn run(
    mut asked: mpsc::UnboundedReceiver<(Arc<Service>, Arc<Endpoint>)>,
    shared: Arc<Shared>,
) {
    let places = Arc::new(Semaphore::new(PROBES_MAX));
    #[expect(clippy::disallowed_methods, reason = "at most one note for each instance probed")]
    let (done, mut over) = mpsc::unbounded_channel();
    // One at a time for an instance, however often it is asked for.
    let mut busy = HashSet::new();
    loop {
        tokio::select! {
            next = asked.recv() => {
                let Some((service, endpoint)) = next else { return };
                if busy.insert(endpoint.id) {
                    let (places, done) = (Arc::clone(&places), done.clone());
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        until_well(&service, &endpoint, &places, &shared).await;
                        // The receiver is in the same task as the sender: it outlives this.
                        let _ = done.send(endpoint.id);
                    });
                }
            }
            Some(id) = over.recv() => {
                busy.remove(&id);
            }
        }
    }
}

async fn until_well(service: &Service, endpoint: &Endpoint, places: &Semaphore, shared: &Shared) {
    let restored = !endpoint.verified.load(SeqCst);
    let since = tokio::time::Instant::now();
    let alarm = format!("service {} {}", service.name, endpoint.instance);
    let mut alarmed = false;
    while !endpoint.retired.load(SeqCst) {
        let how = service.live.load().table.health.clone().unwrap_or_default();
        let well = {
            let _place = places.acquire().await.expect("the semaphore is never closed");
            check(endpoint, &how).await
        };
        if well {
            endpoint.ejected.store(false, SeqCst);
            endpoint.verified.store(true, SeqCst);
            // Requests may be held because nothing was verified.
            service.changed.send_modify(|_| {});
            break;
        }
        if restored && !alarmed && since.elapsed() >= VERIFY_HOLD {
            alarmed = true;
            shared.alarm(format!("{alarm} could not be verified after the restart"));
        }
        let pause = Duration::from_millis(how.interval_ms);
        let pause = if restored && !alarmed { pause.min(VERIFY_HOLD / 4) } else { pause };
        tokio::time::sleep(pause).await;
    }
    if alarmed {
        shared.calm(&alarm);
    }
}

async fn check(endpoint: &Endpoint, how: &Reprobe) -> bool {
    let limit = Duration::from_millis(how.timeout_ms);
    let attempt = async {
        let mut stream = TcpStream::connect(endpoint.address).await?;
        let Some(path) = &how.http else { return Ok(true) };
        let address = endpoint.address;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: rollway-proxy\r\n\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; STATUS_BYTES];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(status.starts_with(b"HTTP/1.") && matches!(status[9], b'2' | b'3'))
    };
    matches!(tokio::time::timeout(limit, attempt).await, Ok(Ok(true)))
}
