//! One connection of a shim: lines in, lines out, never waiting for the other side.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::wire::{self, LINE_BYTES_MAX, Report, Request};
use crate::os::tree::timespec;

/// A reader that leaves so much unread is dropped; it comes back and gets the current state.
const UNREAD_BYTES_MAX: usize = 8 << 20;
/// So long the last words may take when the shim ends.
const FLUSH_MS_MAX: u64 = 1_000;
/// So many bytes are read at once: a request is small, a launch a few kilobytes.
const READ_BYTES: usize = 16 << 10;

/// One connection.
pub struct Link {
    /// Its number, by which answers find it.
    pub number: u64,
    stream: UnixStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    closed: bool,
}

impl Link {
    /// A connection that is never waited for.
    pub fn new(number: u64, stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { number, stream, unread: Vec::new(), unsent: Vec::new(), closed: false })
    }

    /// What to wait on, and for what.
    pub fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let writing = if self.unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        (self.stream.as_fd(), PollFlags::IN | writing)
    }

    /// Whether the other side has gone, or was dropped.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits until there is something to read, or the other side has gone.
    pub fn wait(&self, longest: Duration) {
        let mut fds = [PollFd::new(&self.stream, PollFlags::IN)];
        let milliseconds = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let _ = rustix::event::poll(&mut fds, Some(&timespec(milliseconds)));
    }

    /// Says something.
    pub fn say(&mut self, report: &Report) {
        self.unsent.extend(wire::line(report));
        self.send();
        if self.unsent.len() > UNREAD_BYTES_MAX {
            self.close();
        }
    }

    /// Sends what is left to be sent.
    pub fn send(&mut self) {
        while !self.unsent.is_empty() && !self.closed {
            match self.stream.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.close(),
            }
        }
    }

    /// Reads what is there; complete lines become requests.
    pub fn receive(&mut self) -> Vec<Request> {
        let mut buffer = [0; READ_BYTES];
        while !self.closed {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.close(),
                Ok(length) => self.unread.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => self.close(),
            }
            if self.unread.len() > LINE_BYTES_MAX {
                self.close();
            }
        }
        let mut requests = Vec::new();
        while let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push(request),
                Err(_) => self.close(),
            }
        }
        requests
    }

    /// Sends the last words, for a bounded time.
    pub fn flush(&mut self) {
        self.send();
        if !self.unsent.is_empty() && !self.closed {
            let mut fds = [PollFd::new(&self.stream, PollFlags::OUT)];
            let _ = rustix::event::poll(&mut fds, Some(&timespec(FLUSH_MS_MAX)));
            self.send();
        }
    }

    fn close(&mut self) {
        // Our standard input is another handle to the first connection: dropping is not enough.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.closed = true;
    }
}
