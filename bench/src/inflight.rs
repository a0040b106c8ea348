//! What is in flight at a switch: a slow request gets its answer, a WebSocket keeps talking and is
//! then closed properly, and what is slower than the drain is cut, counted and reported.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rollway::trial::{Trial, free_address};
use rollway_core::event::DeploymentState;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Bench, end, say};

const SERVICE: &str = "shop";
const WAIT: Duration = Duration::from_secs(60);
/// The request is on its way when the deployment begins.
const HEAD_START: Duration = Duration::from_millis(300);
/// How long upgraded connections may go on.
const STREAM_DRAIN: Duration = Duration::from_secs(3);
/// The largest answer that is read.
const ANSWER_MAX: u64 = 64 << 10;

pub async fn run(bench: &Bench) -> Result<()> {
    let trial = bench.trial("bench").await?;
    let result = measure(bench, &trial).await;
    let ended = end(trial).await;
    result.and(ended)
}

async fn measure(bench: &Bench, trial: &Trial) -> Result<()> {
    let listen = free_address()?;
    deploy(trial, &spec(bench, listen, "30s"), "v1").await?;
    let slow = tokio::spawn(get(listen, "/slow?ms=3000"));
    tokio::time::sleep(HEAD_START).await;
    deploy(trial, &spec(bench, listen, "30s"), "v2").await?;
    let (slow, slow_took) = slow.await??;

    let talking = tokio::spawn(talk(listen));
    tokio::time::sleep(HEAD_START).await;
    let switched = Instant::now();
    deploy(trial, &spec(bench, listen, "1s"), "v3").await?;
    let talked = talking.await??;
    let last_echo = talked.last_echo.duration_since(switched).as_secs_f64();
    let closed = talked.closed.map(|at| at.duration_since(switched).as_secs_f64());

    let cut = tokio::spawn(get(listen, "/slow?ms=5000"));
    tokio::time::sleep(HEAD_START).await;
    deploy(trial, &spec(bench, listen, "1s"), "v4").await?;
    let cut = cut.await?;
    let cut_words = match &cut {
        Ok((answer, took)) => format!("{:?} after {took:.1?}", first_line(answer)),
        Err(error) => format!("{error:#}"),
    };
    // The old release is retired after its drain; that is when the cut is written down.
    let reported = trial
        .event(SERVICE, Duration::from_secs(5), |event| event.text.contains("were cut"))
        .await
        .map_or_else(|failure| failure.chain(), |event| event.text);

    let close = closed.map_or("none".to_owned(), |at| format!("{at:.2} s after the switch began"));
    let rows = [
        ("3 s request, drain 30 s", format!("{} after {slow_took:.2?}", first_line(&slow))),
        ("WebSocket, grace 3 s: last echo", format!("{last_echo:.2} s after the switch began")),
        ("WebSocket: close frame", close),
        ("5 s request, drain 1 s", cut_words.clone()),
        ("reported", reported.clone()),
    ];
    let facts = json!({
        "bench": "inflight", "slow": first_line(&slow), "slow_ms": slow_took.as_millis() as u64,
        "websocket_last_echo_s": last_echo, "websocket_close_s": closed,
        "cut": cut_words, "reported": reported,
    });
    say::table(&rows, &facts);
    Ok(())
}

fn spec(bench: &Bench, listen: SocketAddr, drain: &str) -> Value {
    let stream_drain = format!("{}s", STREAM_DRAIN.as_secs());
    json!({
        "service": SERVICE,
        "instances": 1,
        "run": { "command": bench.command(&[]) },
        "health": [{ "http": { "path": "/healthz" } }],
        "strategy": {"blue_green": {"scale_down_delay": "0s"}},
        "traffic": {
            "listen": [listen.to_string()], "drain": drain, "stream_drain": stream_drain,
        },
    })
}

async fn deploy(trial: &Trial, spec: &Value, version: &str) -> Result<()> {
    let number = trial.deploy(spec, version).await?;
    let view = trial.ended(SERVICE, number, WAIT).await?;
    if view.state != DeploymentState::Completed {
        bail!("{} ended {}: {}", view.id, view.state.name(), view.reasons.join(": "));
    }
    Ok(())
}

fn first_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or("no answer")
}

/// One request; the whole answer as text.
async fn get(target: SocketAddr, path: &str) -> Result<(String, Duration)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(target).await.context("could not connect")?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.context("could not send")?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_MAX).read_to_end(&mut answer).await;
    if let (Err(error), true) = (read, answer.is_empty()) {
        bail!("cut after {:.1?}: {error}", began.elapsed());
    }
    Ok((String::from_utf8_lossy(&answer).into_owned(), began.elapsed()))
}

/// How a WebSocket went.
struct Talked {
    last_echo: Instant,
    /// When the close frame came, if one did.
    closed: Option<Instant>,
}

/// Sends a word every 50 ms and takes note of the echoes, until the other side closes.
async fn talk(target: SocketAddr) -> Result<Talked> {
    const HELLO: &str = "GET /ws HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = TcpStream::connect(target).await.context("could not connect")?;
    stream.write_all(HELLO.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("no answer to the upgrade")?);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        bail!("the upgrade was answered {:?}", first_line(&String::from_utf8_lossy(&head)));
    }
    let (mut reader, mut writer) = stream.into_split();
    let words = tokio::spawn(async move {
        // A masked text frame of two letters; the mask is zero. It ends with the connection.
        while writer.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut talked = Talked { last_echo: Instant::now(), closed: None };
    while let Ok(first) = reader.read_u8().await {
        let length = usize::from(reader.read_u8().await.unwrap_or(0) & 0x7f);
        let mut body = vec![0; length];
        let whole = reader.read_exact(&mut body).await.is_ok();
        match first & 0x0f {
            0x8 => {
                talked.closed = Some(Instant::now());
                break;
            }
            _ if whole => talked.last_echo = Instant::now(),
            _ => break,
        }
    }
    words.abort();
    Ok(talked)
}
