//! One request over one connection, and the connections that are kept for the next.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::plan::LoadPlan;
use super::record::Outcome;
use super::wire::{self, Body, Head};

/// The longest head of an answer, and the size of each read.
const BUFFER_BYTES: usize = 16 << 10;

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    filled: usize,
    /// Whether a request has gone over it before.
    pub kept: bool,
}

/// How an exchange ended; status and version as far as they came.
pub(super) struct Ended {
    pub outcome: Outcome,
    pub status: u16,
    pub version: Option<String>,
    pub why: String,
    /// Whether the connection can be used again.
    pub keeps: bool,
}

impl Ended {
    /// An end without an answer.
    pub fn without_answer(outcome: Outcome, why: impl Into<String>) -> Self {
        Self { outcome, status: 0, version: None, why: why.into(), keeps: false }
    }
}

impl Connection {
    /// Opens a connection.
    pub async fn open(target: SocketAddr) -> Result<Self, Ended> {
        let stream = TcpStream::connect(target).await.map_err(|error| {
            let why = format!("could not connect: {error}");
            Ended::without_answer(outcome_of_connect(&error), why)
        })?;
        // Without it a request in two writes would wait for an acknowledgement (Nagle).
        drop(stream.set_nodelay(true));
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Ok(Self { stream, buffer, filled: 0, kept: false })
    }

    /// Whether the peer has closed it, or said something unasked, while it was idle.
    fn is_spent(&self) -> bool {
        let mut byte = [0];
        !matches!(self.stream.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a request and reads the whole answer.
    pub async fn exchange(&mut self, plan: &LoadPlan, request: &[u8]) -> Ended {
        // A peer may answer and close without reading all of a request: its answer counts.
        let written = self.stream.write_all(request).await;
        match self.read_head(plan).await {
            Ok(head) => self.read_body(head).await,
            Err(ended) => match written {
                Err(error) if ended.outcome == Outcome::ClosedBeforeAnswer => broken(&error),
                _ => ended,
            },
        }
    }

    async fn read_head(&mut self, plan: &LoadPlan) -> Result<Head, Ended> {
        self.filled = 0;
        loop {
            let bytes = &self.buffer[..self.filled];
            match wire::head(bytes, &plan.method, &plan.version_header) {
                // 100 and 103 announce the answer proper (RFC 9110, section 15.2).
                Ok(Some(head)) if (100..200).contains(&head.status) && head.status != 101 => {
                    self.buffer.copy_within(head.bytes..self.filled, 0);
                    self.filled -= head.bytes;
                    continue;
                }
                Ok(Some(head)) => return Ok(head),
                Ok(None) if self.filled == self.buffer.len() => {
                    let why = format!("a head of more than {BUFFER_BYTES} bytes");
                    return Err(Ended::without_answer(Outcome::BadAnswer, why));
                }
                Ok(None) => {}
                Err(wrong) => return Err(Ended::without_answer(Outcome::BadAnswer, wrong)),
            }
            match self.stream.read(&mut self.buffer[self.filled..]).await {
                Ok(0) => {
                    let why = format!("closed after {} bytes of the head", self.filled);
                    return Err(Ended::without_answer(Outcome::ClosedBeforeAnswer, why));
                }
                Ok(read) => self.filled += read,
                Err(error) => return Err(broken(&error)),
            }
        }
    }

    async fn read_body(&mut self, head: Head) -> Ended {
        let Head { status, keeps, version, mut body, bytes: mut at } = head;
        let mut body_bytes = 0;
        let end = loop {
            match body.take(&self.buffer[at..self.filled]) {
                Ok(taken) => {
                    at += taken;
                    body_bytes += taken;
                }
                Err(wrong) => break Err((Outcome::BadAnswer, wrong.to_owned())),
            }
            if body == Body::Done {
                break match self.filled - at {
                    0 => Ok(()),
                    more => Err((Outcome::BadAnswer, format!("{more} bytes after the answer"))),
                };
            }
            match self.stream.read(&mut self.buffer).await {
                Ok(0) if body == Body::UntilClose => break Ok(()),
                Ok(0) => {
                    let why = format!("closed after {body_bytes} bytes of the body");
                    break Err((Outcome::ShortBody, why));
                }
                Ok(read) => (self.filled, at) = (read, 0),
                Err(error) => break Err((broken(&error).outcome, format!("{error} in the body"))),
            }
        };
        match end {
            Ok(()) => {
                let outcome = Outcome::of_status(status);
                let why = match outcome == Outcome::Ok {
                    true => String::new(),
                    false => reason_of(status, version.as_ref()),
                };
                Ended { outcome, status, version, why, keeps }
            }
            Err((outcome, why)) => Ended { outcome, status, version, why, keeps: false },
        }
    }
}

fn reason_of(status: u16, version: Option<&String>) -> String {
    match version {
        Some(version) => format!("status {status} from {version}"),
        None => format!("status {status}"),
    }
}

/// What an error under a request is.
fn broken(error: &io::Error) -> Ended {
    let outcome = match Errno::from_io_error(error) {
        Some(Errno::TIMEDOUT) => Outcome::Timeout,
        _ => Outcome::Reset,
    };
    Ended::without_answer(outcome, error.to_string())
}

/// What an error of `connect` is: some are for want of something on our own side.
fn outcome_of_connect(error: &io::Error) -> Outcome {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM) => {
            Outcome::Unsent
        }
        Some(Errno::CONNRESET) => Outcome::Reset,
        Some(Errno::TIMEDOUT) => Outcome::Timeout,
        _ => Outcome::ConnectRefused,
    }
}

/// The idle connections, used in turn.
pub(super) struct Pool {
    idle: VecDeque<Connection>,
    idle_max: usize,
}

impl Pool {
    /// A pool for so many connections, and as many again for bursts.
    pub fn new(keep_alive: usize) -> Self {
        Self { idle: VecDeque::new(), idle_max: keep_alive.saturating_mul(2) }
    }

    /// The connection that has been idle longest; the number of spent ones that were thrown away.
    pub fn take(&mut self) -> (Option<Connection>, u64) {
        let mut spent = 0;
        while let Some(connection) = self.idle.pop_front() {
            if !connection.is_spent() {
                return (Some(connection), spent);
            }
            spent += 1;
        }
        (None, spent)
    }

    /// Keeps a connection for the next request.
    pub fn give_back(&mut self, mut connection: Connection) {
        if self.idle.len() < self.idle_max {
            connection.kept = true;
            self.idle.push_back(connection);
        }
    }

    /// Adds a connection that has not been used.
    pub fn add_unused(&mut self, connection: Connection) {
        self.idle.push_back(connection);
    }
}
