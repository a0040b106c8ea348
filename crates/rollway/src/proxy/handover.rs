//! Hands the listening sockets over to a new process, so that an upgrade loses no connection.
//!
//! The new process gets one end of a socket pair as its standard input. Over it go: the number
//! of sockets and the sockets themselves, then the new one's "ready". The old one then stops
//! accepting and ends when it has finished; the new one sees that as the end of the stream.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::sync::watch;

use crate::failure::{Failure, FailureKind};

/// Sockets in one message; the kernel allows 253.
const BATCH: usize = 64;
/// Most sockets altogether.
const SOCKETS_MAX: usize = 4096;
/// The new process has so long to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(10);
/// The argument that tells a process to take sockets from its standard input.
pub const ARGUMENT: &str = "--inherit";

fn fail(doing: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::because(FailureKind::NotDone, doing, error)
}

/// Starts `program` with the arguments of this process, gives it the sockets, and waits until it
/// is ready. What is returned must be kept open until this process has finished its work.
pub fn hand_over(
    program: &Path,
    sockets: &[TcpListener],
    lock: &std::fs::File,
) -> Result<(u32, UnixStream), Failure> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| fail("no socket pair", error))?;
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if !arguments.iter().any(|argument| argument == ARGUMENT) {
        arguments.push(ARGUMENT.into());
    }
    let doing = format!("could not start {}", program.display());
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(|error| fail(&doing, error))?;
    let result = offer(&ours, sockets, lock);
    if let Err(error) = result {
        // It must not serve beside us: it is ended, and we go on as before.
        let _ = child.kill();
        let _ = child.wait();
        return Err(fail("the new process did not become ready", error));
    }
    Ok((child.id(), ours))
}

fn offer(ours: &UnixStream, sockets: &[TcpListener], lock: &std::fs::File) -> std::io::Result<()> {
    ours.set_read_timeout(Some(READY_WITHIN))?;
    ours.set_write_timeout(Some(READY_WITHIN))?;
    let count = u32::try_from(sockets.len()).map_err(std::io::Error::other)?;
    let mut all = vec![lock.as_fd()];
    all.extend(sockets.iter().map(AsFd::as_fd));
    (&*ours).write_all(&count.to_be_bytes())?;
    for batch in all.chunks(BATCH) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(batch)) {
            return Err(std::io::Error::other("no room for the sockets"));
        }
        // Descriptors travel with at least one byte; one a batch keeps batches apart.
        let byte = [IoSlice::new(b"s")];
        rustix::net::sendmsg(ours, &byte, &mut control, SendFlags::empty())?;
    }
    let mut ready = [0; 5];
    (&*ours).read_exact(&mut ready)?;
    if &ready == b"ready" { Ok(()) } else { Err(std::io::Error::other("an odd answer")) }
}

/// What a new process gets.
pub struct Inherited {
    /// The lock of the state directory.
    pub lock: std::fs::File,
    /// The listening sockets.
    pub sockets: Vec<TcpListener>,
    /// The other process.
    pub stream: UnixStream,
}

/// Takes what the old process offers on standard input.
pub fn inherit() -> Result<Inherited, Failure> {
    let attempt = || -> std::io::Result<Inherited> {
        let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        stream.set_read_timeout(Some(READY_WITHIN))?;
        let mut count = [0; 4];
        (&stream).read_exact(&mut count)?;
        let count = u32::from_be_bytes(count) as usize;
        if count > SOCKETS_MAX {
            return Err(std::io::Error::other("too many sockets"));
        }
        let mut all = Vec::new();
        while all.len() < count + 1 {
            let before = all.len();
            receive(&stream, &mut all)?;
            if all.len() == before {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut all = all.into_iter();
        let lock = all.next().map(std::fs::File::from);
        let lock = lock.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(Inherited { lock, sockets: all.map(TcpListener::from).collect(), stream })
    };
    attempt().map_err(|error| fail("could not take over the listening sockets", error))
}

fn receive(stream: &UnixStream, all: &mut Vec<OwnedFd>) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    Ok(())
}

/// The process before this one, while it finishes what it had begun.
pub struct Predecessor {
    there: watch::Receiver<bool>,
}

impl Predecessor {
    /// There was none.
    pub fn none() -> Self {
        Self { there: watch::channel(false).1 }
    }

    /// Tells the old process that this one is ready, and watches for its end.
    pub fn relieve(stream: UnixStream) -> Result<Self, Failure> {
        let doing = "could not tell the old process that this one is ready";
        (&stream).write_all(b"ready").map_err(|error| fail(doing, error))?;
        let (gone, there) = watch::channel(true);
        let watched = stream.set_read_timeout(None);
        watched.map_err(|error| fail(doing, error))?;
        let thread = std::thread::Builder::new().name("predecessor".into());
        let waiting = move || {
            // It says nothing more: the read ends with the process.
            let _ = (&stream).read(&mut [0]);
            gone.send_replace(false);
        };
        thread.spawn(waiting).map_err(|error| fail(doing, error))?;
        Ok(Self { there })
    }

    /// Whether it still runs.
    pub fn is_there(&self) -> bool {
        *self.there.borrow()
    }

    /// Waits until it has ended; `false` when it has not within `limit`.
    pub async fn gone(&self, limit: Duration) -> bool {
        let mut there = self.there.clone();
        let ended = there.wait_for(|there| !there);
        // The sender is dropped only after it has said so.
        tokio::time::timeout(limit, ended).await.is_ok()
    }
}

/// Keeps two hand-overs from happening at once.
#[derive(Default)]
pub struct Once(AtomicBool);

impl Once {
    /// Whether it is the first; `release` makes another possible.
    pub fn take(&self) -> bool {
        !self.0.swap(true, SeqCst)
    }

    /// It came to nothing.
    pub fn release(&self) {
        self.0.store(false, SeqCst);
    }
}
