//! The control plane's side of a shim: one task that reads its reports and passes on requests.

use std::collections::HashMap;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::folder;
use super::wire::{self, LINE_BYTES_MAX, Outcome, Record, Report, Request};
use crate::os::proc;

/// So many requests to one shim may wait to be sent.
const REQUESTS_MAX: usize = 16;
/// A shim whose connection ended is gone this soon, or it has only dropped us.
const GONE_WAIT_MAX: Duration = Duration::from_secs(2);
/// A shim that is being stopped may take its instance's time; whoever waits asks again after this.
const LEAVING_WAIT_MAX: Duration = Duration::from_secs(15);
/// A living shim says how things are this soon after it was connected to.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(1);

/// One request, and where its answer goes.
pub struct Ask {
    request: Request,
    answer: oneshot::Sender<Outcome>,
}

/// An instance with a shim that answers.
pub struct Handle {
    record: Mutex<Record>,
    asks: mpsc::Sender<Ask>,
    /// Cancelled when the shim is gone.
    gone: CancellationToken,
}

impl Handle {
    /// What the shim said last.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no thread panics while it holds a record")
    }

    /// Asks; `None` = the shim has gone without an answer.
    pub async fn ask(&self, request: Request) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { request, answer }).await.ok()?;
        answered.await.ok()
    }

    /// Tells those who wait that the shim is gone; said only when nobody finds this any more, or
    /// they would find it again and again.
    pub fn has_gone(&self) {
        self.gone.cancel();
    }

    /// Waits until a shim that is ending is gone, and not longer than that takes.
    pub async fn gone_soon(&self) {
        let _ = timeout(LEAVING_WAIT_MAX, self.gone.cancelled()).await;
    }
}

/// Both ends of a conversation with a shim.
pub struct Line {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    unread: BytesMut,
}

impl Line {
    /// Over this stream.
    pub fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer, unread: BytesMut::new() }
    }

    /// Connects to the shim of a folder and hears how things are; `None` = nobody answers.
    pub async fn open(folder: &Path) -> Option<(Self, Record)> {
        // By way of the folder's handle, as a path may be longer than a socket's name can be.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(folder, flags, Mode::empty()).ok()?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&handle);
        let path = format!("/proc/self/fd/{number}/{}", folder::SOCKET);
        let mut line = Self::new(UnixStream::connect(path).await.ok()?);
        match timeout(GREETING_WAIT_MAX, line.next()).await {
            Ok(Some(Report::State(record))) => Some((line, *record)),
            Ok(Some(Report::Reply { .. }) | None) | Err(_) => None,
        }
    }

    /// The next report; `None` = the other side has gone. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Report> {
        loop {
            if let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
                let report = serde_json::from_slice(&self.unread[..end]).ok();
                self.unread.advance(end + 1);
                return report;
            }
            if self.unread.len() > LINE_BYTES_MAX {
                return None;
            }
            self.reader.read_buf(&mut self.unread).await.ok().filter(|length| *length > 0)?;
        }
    }

    async fn say(&mut self, request: &Request) -> bool {
        self.writer.write_all(&wire::line(request)).await.is_ok()
    }
}

/// One connection, to be run as a task.
pub struct Connection {
    line: Line,
    asks: mpsc::Receiver<Ask>,
    handle: Arc<Handle>,
    pending: HashMap<u64, oneshot::Sender<Outcome>>,
    /// The shim, if we started it: it has to be waited for.
    child: Option<Child>,
}

impl Connection {
    /// The task's part and the callers' part.
    pub fn new(line: Line, record: Record, child: Option<Child>) -> (Self, Arc<Handle>) {
        let (sender, asks) = mpsc::channel(REQUESTS_MAX);
        let gone = CancellationToken::new();
        let handle = Arc::new(Handle { record: Mutex::new(record), asks: sender, gone });
        let pending = HashMap::new();
        (Self { line, asks, handle: handle.clone(), pending, child }, handle)
    }

    /// Passes on until the shim has gone; `tell` is called after each change.
    pub async fn run(mut self, folder: &Path, tell: impl Fn()) {
        loop {
            self.converse(&tell).await;
            // Whoever waits for an answer is told that none will come.
            self.pending.clear();
            if self.is_gone().await {
                break;
            }
            // It dropped us as too slow, and is still there.
            match Line::open(folder).await {
                Some((line, record)) => {
                    self.line = line;
                    *self.handle.record() = record;
                    tell();
                }
                None => break,
            }
        }
        if let Some(child) = self.child.take() {
            reap(child).await;
        }
    }

    async fn converse(&mut self, tell: &impl Fn()) {
        loop {
            tokio::select! {
                report = self.line.next() => match report {
                    Some(Report::State(record)) => {
                        *self.handle.record() = *record;
                        tell();
                    }
                    Some(Report::Reply { id, outcome }) => {
                        if let Some(answer) = self.pending.remove(&id) {
                            // Whoever asked may have given up.
                            let _ = answer.send(outcome);
                        }
                    }
                    None => return,
                },
                ask = self.asks.recv() => {
                    let Some(ask) = ask else { return };
                    self.pending.retain(|_, answer| !answer.is_closed());
                    self.pending.extend(ask.request.id().map(|id| (id, ask.answer)));
                    if !self.line.say(&ask.request).await {
                        return;
                    }
                }
            }
        }
    }

    async fn is_gone(&self) -> bool {
        let shim = self.handle.record().shim;
        match shim.open() {
            Some(handle) => timeout(GONE_WAIT_MAX, proc::ended(handle)).await.is_ok(),
            None => true,
        }
    }
}

/// Waits for a shim of ours that has ended or is about to, so that no zombie stays.
pub async fn reap(mut child: Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let handle = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    if let Some(handle) = handle {
        proc::ended(handle).await;
    }
    // At once, as it has ended.
    let _ = child.wait();
}
