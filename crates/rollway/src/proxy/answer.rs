//! The bodies that pass through: the client's to the instance, and the answer back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::access_log::Line;
use super::endpoint::{Lease, Relay};
use super::request::Busy;
use super::service::{Live, LiveArm};
use super::stats::Fault;
use super::upstream::Connection;
use super::worker;

/// Why a body ended early.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request on its way to an instance.
pub enum Outgoing {
    /// None.
    Empty,
    /// As the client sends it.
    Through(Incoming),
    /// As the client sends it, up to a limit.
    Limited {
        /// The client's.
        body: Incoming,
        /// So many bytes may still come.
        left: u64,
        /// Set when more came.
        exceeded: Arc<AtomicBool>,
    },
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Through(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Limited { body, left, exceeded } => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                if let Some(Ok(frame)) = &frame {
                    let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                    match left.checked_sub(length) {
                        Some(rest) => *left = rest,
                        None => {
                            exceeded.store(true, Relaxed);
                            return Poll::Ready(Some(Err("the body is too large".into())));
                        }
                    }
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Through(body) | Self::Limited { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Through(body) | Self::Limited { body, .. } => body.size_hint(),
        }
    }
}

/// The body of an answer.
pub enum Answer {
    /// Ours.
    Text(Option<Bytes>),
    /// An instance's.
    Through(Through),
}

/// An instance's answer on its way to the client.
pub struct Through {
    body: Incoming,
    source: Source,
    /// What is to be noted when it ends; none when that is done.
    exchange: Option<Exchange>,
}

/// What the answer comes from.
pub enum Source {
    /// An HTTP/1 connection that we poll, and give back at the end.
    Http1(Option<Connection>),
    /// A stream of an HTTP/2 connection, which runs by itself.
    Http2(Arc<Relay>),
}

/// One exchange: what is noted about it, and when it is over.
pub struct Exchange {
    /// Counts it on the instance.
    pub lease: Lease,
    /// Whose request it is.
    pub busy: Busy,
    /// By which table.
    pub live: Arc<Live>,
    /// Which arm of it.
    pub arm: usize,
    /// When the request came.
    pub started: Instant,
    /// How long the answer took, when that is not how long it lasts: of a stream the head counts.
    pub took: Option<Duration>,
    /// The answer's status.
    pub status: u16,
    /// Bytes of the answer so far.
    pub bytes: u64,
    /// The line for the access log, if there is one.
    pub line: Option<Box<Line>>,
}

impl Exchange {
    /// The release that answers.
    pub fn arm(&self) -> &LiveArm {
        &self.live.arms[self.arm]
    }

    /// It came to its end.
    pub fn finish(&mut self) {
        let took = self.took.unwrap_or_else(|| self.started.elapsed());
        self.arm().stats.finish(worker::index(), self.status, took);
        self.log(self.started.elapsed());
    }

    /// It ended before its end.
    pub fn fail(&mut self, fault: Fault) {
        self.arm().stats.fault(worker::index(), fault);
        // A client that goes away is not the release's fault.
        if fault != Fault::ClientGone {
            self.arm().stats.fail(worker::index());
        }
        self.log(self.started.elapsed());
    }

    fn log(&mut self, took: Duration) {
        if let Some(mut line) = self.line.take() {
            line.time = jiff::Timestamp::now();
            line.status = self.status;
            line.bytes = self.bytes;
            line.ms = took.as_secs_f64() * 1_000.0;
            if let Some(log) = &self.busy.client.listener.shared.access_log {
                log.add(*line);
            }
        }
    }
}

impl Through {
    /// Sends on `body`.
    pub fn new(body: Incoming, source: Source, exchange: Exchange) -> Self {
        let mut through = Self { body, source, exchange: Some(exchange) };
        // No further poll may come for an empty body: it is over here and now.
        if through.body.is_end_stream() {
            through.finish();
        }
        through
    }

    fn finish(&mut self) {
        let Some(mut exchange) = self.exchange.take() else { return };
        exchange.finish();
        if let Source::Http1(connection) = &mut self.source
            && let Some(connection) = connection.take()
        {
            connection.keep(&exchange.lease.endpoint);
        }
    }

    fn fail(&mut self, fault: Fault) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.fail(fault);
        }
        self.source = Source::Http1(None);
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, source, .. } = self;
        let (frame, relay) = match source {
            Source::Http1(Some(connection)) => {
                let frame = connection.poll_with(cx, |cx| Pin::new(&mut *body).poll_frame(cx));
                (frame, &connection.relay)
            }
            Source::Http1(None) => return Poll::Ready(None),
            Source::Http2(relay) => {
                relay.register(cx.waker());
                (Pin::new(body).poll_frame(cx), &*relay)
            }
        };
        if relay.is_cut() {
            self.fail(Fault::Cut);
            return Poll::Ready(Some(Err("the instance is leaving".into())));
        }
        frame.map_err(Into::into)
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        // Dropped without its end: whoever it was for has gone.
        if self.exchange.is_some() {
            let cut = match &self.source {
                Source::Http1(Some(connection)) => connection.relay.is_cut(),
                Source::Http1(None) => false,
                Source::Http2(relay) => relay.is_cut(),
            };
            self.fail(if cut { Fault::Cut } else { Fault::ClientGone });
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let through = match self.get_mut() {
            Self::Text(text) => {
                return Poll::Ready(text.take().map(|text| Ok(Frame::data(text))));
            }
            Self::Through(through) => through,
        };
        let frame = std::task::ready!(through.poll_body(cx));
        match &frame {
            None => through.finish(),
            Some(Err(_)) => through.fail(Fault::Broken),
            Some(Ok(frame)) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), &mut through.exchange) {
                    exchange.bytes += data.len() as u64;
                }
                if through.body.is_end_stream() {
                    through.finish();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Through(through) => through.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Through(through) => through.body.size_hint(),
        }
    }
}
