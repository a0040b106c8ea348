//! Reads a client's bytes before hyper does, and spoils requests whose length could be read in
//! two ways, so that they end in 400 and a closed connection (request smuggling, RFC 9112 11.2).
//!
//! hyper is lenient where it is safe for itself: it takes a bare line feed, and silently drops a
//! `Content-Length` beside a `Transfer-Encoding`. An instance may see that differently. So each
//! head is followed here, byte by byte; bodies are skipped by their length. What is refused:
//! a bare LF or CR, a folded line, white space before the colon, an unfinished or repeated
//! `Content-Length`, one beside `Transfer-Encoding`, any transfer coding but `chunked` alone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::{Client, Phase};

/// Longest line that is kept for inspection; longer ones are only followed.
const LINE_KEPT: usize = 64;
/// A NUL is never part of a head: hyper answers 400 whatever it is reading.
const SPOILER: u8 = 0;

/// A client's connection that is watched.
pub struct Guarded<T> {
    inner: T,
    first: Vec<u8>,
    watch: Option<Watch>,
    spoilt: bool,
    client: Arc<Client>,
}

impl<T> Guarded<T> {
    /// Watches HTTP/1; `first` was read already.
    pub fn http1(inner: T, first: Vec<u8>, client: Arc<Client>) -> Self {
        Self { inner, first, watch: Some(Watch::default()), spoilt: false, client }
    }

    /// Passes HTTP/2 through: its frames carry lengths, and h2 checks the rest.
    pub fn http2(inner: T, first: Vec<u8>, client: Arc<Client>) -> Self {
        Self { inner, first, watch: None, spoilt: false, client }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        if this.spoilt {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if this.first.is_empty() {
            std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        } else {
            let count = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..count]);
            this.first.drain(..count);
        }
        let fresh = &mut buf.filled_mut()[before..];
        if fresh.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let Some(watch) = &mut this.watch else {
            this.client.enter(Phase::Busy);
            return Poll::Ready(Ok(()));
        };
        if this.client.is_upgraded() {
            this.watch = None;
            return Poll::Ready(Ok(()));
        }
        if let Some(at) = watch.follow(fresh) {
            fresh[at] = SPOILER;
            buf.set_filled(before + at + 1);
            this.spoilt = true;
        }
        let phase = if watch.in_head() { Phase::Head } else { Phase::Busy };
        this.client.enter(phase);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Follows the messages of one connection.
#[derive(Default)]
pub struct Watch {
    state: State,
    /// The beginning of the current line, without its end.
    line: Vec<u8>,
    /// The whole length of the current line.
    length: usize,
    first_line: bool,
    tail: [u8; 3],
    http10: bool,
    content_length: Option<u64>,
    chunked: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between messages, or in an empty line before one.
    #[default]
    Between,
    /// After the CR of an empty line before a message.
    BetweenEnd,
    /// In a line of the head.
    Line,
    /// After the CR of a line of the head.
    LineEnd,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// In the line with a chunk's size.
    ChunkSize { size: u64, digits: bool },
    /// After its CR.
    ChunkSizeEnd(u64),
    /// In a chunk, its CR LF included.
    Chunk(u64),
    /// In the trailers; whether the line is empty so far.
    Trailer { empty: bool },
    /// After a CR in the trailers.
    TrailerEnd { empty: bool },
}

impl Watch {
    /// Whether a head has begun and not ended.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Line | State::LineEnd)
    }

    /// Follows fresh bytes; returns the place of the first one that must not go on.
    pub fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.state {
                State::Line => {
                    // The common case by the slice: everything up to the next CR or LF.
                    let rest = &bytes[at..];
                    let end = rest.iter().position(|b| *b == b'\r' || *b == b'\n');
                    let run = &rest[..end.unwrap_or(rest.len())];
                    self.keep(run);
                    at += run.len();
                    match rest.get(run.len()) {
                        Some(b'\r') => self.state = State::LineEnd,
                        Some(_) => return Some(at),
                        None => return None,
                    }
                    at += 1;
                }
                State::Body(left) | State::Chunk(left) => {
                    let here = (bytes.len() - at) as u64;
                    let taken = left.min(here);
                    at += usize::try_from(taken).unwrap_or(bytes.len() - at);
                    self.pass_body(left - taken);
                }
                State::Between
                | State::BetweenEnd
                | State::LineEnd
                | State::ChunkSize { .. }
                | State::ChunkSizeEnd(_)
                | State::Trailer { .. }
                | State::TrailerEnd { .. } => {
                    if !self.step(bytes[at]) {
                        return Some(at);
                    }
                    at += 1;
                }
            }
        }
        None
    }

    fn keep(&mut self, run: &[u8]) {
        self.length += run.len();
        let room = LINE_KEPT.saturating_sub(self.line.len()).min(run.len());
        self.line.extend_from_slice(&run[..room]);
        if self.first_line {
            // The version is the end of the first line, which may come in pieces.
            for byte in &run[run.len().saturating_sub(3)..] {
                self.tail = [self.tail[1], self.tail[2], *byte];
            }
        }
    }

    fn pass_body(&mut self, left: u64) {
        self.state = match self.state {
            State::Chunk(_) if left == 0 => State::ChunkSize { size: 0, digits: false },
            State::Chunk(_) => State::Chunk(left),
            State::Between
            | State::BetweenEnd
            | State::Line
            | State::LineEnd
            | State::Body(_)
            | State::ChunkSize { .. }
            | State::ChunkSizeEnd(_)
            | State::Trailer { .. }
            | State::TrailerEnd { .. } => {
                if left == 0 {
                    State::Between
                } else {
                    State::Body(left)
                }
            }
        };
    }

    fn step(&mut self, byte: u8) -> bool {
        self.state = match (self.state, byte) {
            // hyper skips empty lines before a request (RFC 9112 2.2); so do we, if they are whole:
            // after a body, a bare line feed is a length that somebody counted otherwise.
            (State::Between, b'\r') => State::BetweenEnd,
            (State::BetweenEnd, b'\n') => State::Between,
            (State::Between, b'\n') => return false,
            (State::Between, _) => {
                self.first_line = true;
                self.http10 = false;
                self.content_length = None;
                self.chunked = false;
                self.line.clear();
                self.line.push(byte);
                self.length = 1;
                State::Line
            }
            (State::LineEnd, b'\n') => return self.end_line(),
            (State::ChunkSize { size, .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                let Some(size) = size.checked_mul(16).and_then(|s| s.checked_add(digit.into()))
                else {
                    return false;
                };
                State::ChunkSize { size, digits: true }
            }
            (State::ChunkSize { size, digits: true }, b'\r') => State::ChunkSizeEnd(size),
            // Extensions are nobody's need and everybody's trouble: refused.
            (State::ChunkSizeEnd(0), b'\n') => State::Trailer { empty: true },
            (State::ChunkSizeEnd(size), b'\n') => match size.checked_add(2) {
                Some(size) => State::Chunk(size),
                None => return false,
            },
            (State::Trailer { empty }, b'\r') => State::TrailerEnd { empty },
            (State::Trailer { .. }, b'\n') => return false,
            (State::Trailer { .. }, _) => State::Trailer { empty: false },
            (State::TrailerEnd { empty: true }, b'\n') => State::Between,
            (State::TrailerEnd { empty: false }, b'\n') => State::Trailer { empty: true },
            _ => return false,
        };
        true
    }

    fn end_line(&mut self) -> bool {
        let empty = self.length == 0;
        let fine = if empty {
            self.end_head();
            return true;
        } else if self.first_line {
            self.first_line = false;
            self.http10 = self.tail == *b"1.0";
            true
        } else {
            self.header_line()
        };
        self.line.clear();
        self.length = 0;
        self.state = State::Line;
        fine
    }

    fn end_head(&mut self) {
        self.line.clear();
        self.state = match (self.chunked, self.content_length) {
            (true, _) => State::ChunkSize { size: 0, digits: false },
            (false, Some(length)) if length > 0 => State::Body(length),
            (false, _) => State::Between,
        };
    }

    fn header_line(&mut self) -> bool {
        // Most headers are told apart from the two by their first letter.
        match self.line[0] {
            b' ' | b'\t' => return false,
            b'c' | b'C' | b't' | b'T' => {}
            _ => return true,
        }
        let Some(colon) = self.line.iter().position(|b| *b == b':') else {
            // A name longer than what is kept is neither of the two; hyper judges the rest.
            return self.length > self.line.len();
        };
        let (name, value) = (&self.line[..colon], &self.line[colon + 1..]);
        if name.last().is_some_and(u8::is_ascii_whitespace) {
            return false;
        }
        let value = value.trim_ascii();
        let whole = self.length == self.line.len();
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            let fresh = self.content_length.is_none() && !self.chunked;
            self.content_length = length;
            return whole && digits && length.is_some() && fresh;
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let fresh = self.content_length.is_none() && !self.chunked && !self.http10;
            self.chunked = true;
            return whole && fresh && value.eq_ignore_ascii_case(b"chunked");
        }
        true
    }
}

#[cfg(test)]
mod tests;
