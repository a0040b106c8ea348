//! One client connection: who it is, what it is doing, and when it has done nothing for too long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use http::HeaderValue;

use super::listener::Listener;
use super::worker;

/// What a client connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Waiting for the next request.
    Idle = 0,
    /// A head has begun and not ended.
    Head = 1,
    /// A request is on its way.
    Busy = 2,
    /// Accepted, and nothing was read yet.
    Fresh = 3,
}

/// What its connection is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    None,
    /// Finish what is on its way, then close. A client that may be sending its next request just
    /// now gets that answered, too: closing under it would lose it.
    Finish,
    /// Close now.
    Close,
}

/// One client connection.
pub struct Client {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Its address as a header's value.
    pub forwarded_for: HeaderValue,
    /// Its address and protocol as RFC 7239 has it.
    pub forwarded: HeaderValue,
    phase: AtomicU8,
    since: AtomicU32,
    idle_seconds: AtomicU32,
    requests: AtomicU32,
    upgraded: AtomicBool,
    http2: AtomicBool,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// A client has this long from the first byte of a head to its last.
const HEAD_SECONDS_MAX: u32 = 10;
/// Idle connections are closed after this until a request has told which service they want.
const IDLE_SECONDS_FIRST: u32 = 75;
/// A connection that is to finish is closed when it has been quiet for longer than this: a request
/// that was sent before the client could know is read by then.
const LINGER_SECONDS: u32 = 1;

impl Client {
    /// A connection that was just accepted.
    pub fn new(address: SocketAddr, listener: Arc<Listener>) -> Self {
        let ip = address.ip().to_canonical();
        let plain = |text: String| HeaderValue::try_from(text).expect("an address is plain text");
        // Cloned once here so that all later clones share one allocation.
        let forwarded_for = plain(ip.to_string());
        let quoted = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        let proto = if listener.is_tls() { "https" } else { "http" };
        Self {
            address,
            listener,
            forwarded_for: forwarded_for.clone(),
            forwarded: plain(format!("for={quoted};proto={proto}")).clone(),
            phase: AtomicU8::new(Phase::Fresh as u8),
            since: AtomicU32::new(worker::now_seconds()),
            idle_seconds: AtomicU32::new(IDLE_SECONDS_FIRST),
            requests: AtomicU32::new(0),
            upgraded: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            order: AtomicU8::new(Order::None as u8),
            waker: AtomicWaker::new(),
        }
    }

    /// Notes what it does now. A head that goes on is no new head.
    pub fn enter(&self, phase: Phase) {
        if phase != Phase::Head || self.phase.load(Relaxed) != Phase::Head as u8 {
            self.phase.store(phase as u8, Relaxed);
            self.since.store(worker::now_seconds(), Relaxed);
        }
    }

    /// A request has begun.
    pub fn begin(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// A request has ended; the connection may be idle for so long now.
    pub fn end(&self, idle_milliseconds: u64) {
        let seconds = u32::try_from(idle_milliseconds.div_ceil(1_000)).unwrap_or(u32::MAX);
        self.idle_seconds.store(seconds.max(1), Relaxed);
        if self.requests.fetch_sub(1, Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    /// It speaks another protocol from now on.
    pub fn upgrade(&self) {
        self.upgraded.store(true, Relaxed);
    }

    /// Whether it speaks another protocol.
    pub fn is_upgraded(&self) -> bool {
        self.upgraded.load(Relaxed)
    }

    /// It speaks HTTP/2, which can say that it is about to close.
    pub fn speaks_http2(&self) {
        self.http2.store(true, Relaxed);
    }

    /// Whether a request is on its way.
    pub fn is_busy(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// Whether the next answer is to be the last.
    pub fn is_finishing(&self) -> bool {
        self.order.load(Acquire) >= Order::Finish as u8
    }

    /// Tells it to end if it has done nothing for too long.
    pub fn check_time(&self, now: u32) {
        if self.is_busy() || self.is_upgraded() {
            return;
        }
        let quiet = now.saturating_sub(self.since.load(Relaxed));
        let phase = self.phase.load(Relaxed);
        let in_head = phase == Phase::Head as u8;
        let quiet_max = match in_head || phase == Phase::Fresh as u8 {
            true => HEAD_SECONDS_MAX,
            false => self.idle_seconds.load(Relaxed),
        };
        let lingered = self.is_finishing() && !in_head && quiet > LINGER_SECONDS;
        if quiet <= quiet_max && !lingered {
            return;
        }
        match self.http2.load(Relaxed) {
            true => self.order(Order::Finish),
            false => self.order(Order::Close),
        }
    }

    /// Tells it what to do, and wakes it.
    pub fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Release);
        self.waker.wake();
    }

    /// What it was told to do; `waker` is woken by the next order.
    pub fn ordered(&self, waker: &Waker) -> Order {
        self.waker.register(waker);
        match self.order.load(Acquire) {
            0 => Order::None,
            1 => Order::Finish,
            _ => Order::Close,
        }
    }
}
