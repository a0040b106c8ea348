//! One instance as the proxy sees it: how many requests it has, and whether it may get more.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Wake;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// Which of the two counts and graces an exchange belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request and its answer.
    Request,
    /// An upgraded connection, or an answer that is a stream of events.
    Stream,
}

/// An instance; the same one as long as release, name and address stay the same.
pub struct Endpoint {
    /// Unique within this process, never used again.
    pub id: u64,
    /// Its name.
    pub instance: String,
    /// Its release.
    pub release: u64,
    /// Where it listens.
    pub address: SocketAddr,
    /// A connection could not be made; it gets requests again when a probe succeeds.
    pub ejected: AtomicBool,
    /// It was healthy since this proxy started.
    pub verified: AtomicBool,
    /// It is in no table any more.
    pub retired: AtomicBool,
    requests: AtomicU64,
    streams: AtomicU64,
    waiters: AtomicU64,
    empty: Notify,
    exchanges: Mutex<Vec<Weak<Relay>>>,
}

impl Endpoint {
    /// An instance that has nothing in flight.
    pub fn new(id: u64, instance: &str, release: u64, address: SocketAddr) -> Self {
        Self {
            id,
            instance: instance.to_owned(),
            release,
            address,
            ejected: AtomicBool::new(false),
            verified: AtomicBool::new(true),
            retired: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            waiters: AtomicU64::new(0),
            empty: Notify::new(),
            exchanges: Mutex::new(Vec::new()),
        }
    }

    /// Whether it should get requests.
    pub fn usable(&self) -> bool {
        !self.ejected.load(Relaxed) && self.verified.load(Relaxed)
    }

    /// How many of one kind are in flight.
    pub fn in_flight(&self, kind: Kind) -> u64 {
        self.count(kind).load(SeqCst)
    }

    /// How much it has to do, for choosing the less busy of two.
    pub fn load(&self) -> u64 {
        self.requests.load(Relaxed) + self.streams.load(Relaxed)
    }

    fn count(&self, kind: Kind) -> &AtomicU64 {
        match kind {
            Kind::Request => &self.requests,
            Kind::Stream => &self.streams,
        }
    }

    /// Remembers a connection so that `cut` finds it.
    pub fn watch(&self, relay: &Arc<Relay>) {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        // The dead are swept whenever the list would have to grow.
        if exchanges.len() == exchanges.capacity() {
            exchanges.retain(|relay| relay.strong_count() > 0);
        }
        exchanges.push(Arc::downgrade(relay));
    }

    /// Waits until nothing of this kind is in flight; `false` when `grace` ended first.
    pub async fn wait_empty(&self, kind: Kind, grace: Duration) -> bool {
        let emptied = async {
            loop {
                let mut notified = std::pin::pin!(self.empty.notified());
                notified.as_mut().enable();
                if self.in_flight(kind) == 0 {
                    return;
                }
                notified.await;
            }
        };
        // Counted first, then looked: a lease that ends in between sees the waiter.
        self.waiters.fetch_add(1, SeqCst);
        let emptied = tokio::time::timeout(grace, emptied).await.is_ok();
        self.waiters.fetch_sub(1, SeqCst);
        emptied
    }

    /// Ends what is in flight of this kind; returns how many that were.
    pub fn cut(&self, kind: Kind) -> u64 {
        let count = self.in_flight(kind);
        let exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        for relay in exchanges.iter().filter_map(Weak::upgrade) {
            if relay.kind() == kind {
                relay.cut();
            }
        }
        count
    }
}

/// One exchange in flight on an endpoint; it is over when this is dropped.
pub struct Lease {
    /// On which.
    pub endpoint: Arc<Endpoint>,
    kind: Kind,
}

impl Lease {
    /// Counts a request on `endpoint`.
    pub fn take(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.requests.fetch_add(1, SeqCst);
        Self { endpoint: Arc::clone(endpoint), kind: Kind::Request }
    }

    /// From now on it counts as a stream.
    pub fn into_stream(mut self) -> Self {
        if self.kind == Kind::Request {
            // First up, then down: the sum never reads as "nothing in flight".
            self.endpoint.streams.fetch_add(1, SeqCst);
            self.release();
            self.kind = Kind::Stream;
        }
        self
    }

    fn release(&self) {
        if self.endpoint.count(self.kind).fetch_sub(1, SeqCst) == 1
            && self.endpoint.waiters.load(SeqCst) > 0
        {
            self.endpoint.empty.notify_waiters();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

/// Carries wake-ups from an upstream connection to whoever uses it at the moment, and lets a
/// drain cut what is in flight.
///
/// The connection and its user run in one task. While the user itself polls the connection
/// (`quiet`), wake-ups are only noted: the user looks again by itself, which saves the scheduler
/// a round for every request.
#[derive(Default)]
pub struct Relay {
    user: AtomicWaker,
    quiet: AtomicBool,
    woken: AtomicBool,
    cut: AtomicBool,
    stream: AtomicBool,
    answered: AtomicBool,
    /// For tunnels, which have several tasks' worth of waiting.
    cut_notice: Notify,
}

impl Relay {
    /// Begins a poll on behalf of `waker`: wake-ups are noted, not passed on.
    pub fn hush(&self, waker: &std::task::Waker) {
        self.user.register(waker);
        self.quiet.store(true, Release);
    }

    /// Ends a poll.
    pub fn speak(&self) {
        self.quiet.store(false, Release);
    }

    /// Forgets the user: an idle connection wakes nobody.
    pub fn forget(&self) {
        self.user.take();
        self.stream.store(false, Relaxed);
    }

    /// Registers a user that takes wake-ups as they come.
    pub fn register(&self, waker: &std::task::Waker) {
        self.user.register(waker);
    }

    /// Whether a wake-up came since the last call.
    pub fn take_woken(&self) -> bool {
        // A plain load first: the exchange would lock the bus for each poll.
        self.woken.load(Acquire) && self.woken.swap(false, AcqRel)
    }

    /// Marks the exchange as a stream.
    pub fn set_stream(&self) {
        self.stream.store(true, Relaxed);
    }

    fn kind(&self) -> Kind {
        if self.stream.load(Relaxed) { Kind::Stream } else { Kind::Request }
    }

    /// Ends the exchange from outside.
    pub fn cut(&self) {
        self.cut.store(true, SeqCst);
        self.user.wake();
        self.cut_notice.notify_waiters();
    }

    /// Whether it was ended from outside.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Acquire)
    }

    /// Waits until it is ended from outside.
    pub async fn cut_notified(&self) {
        let mut notified = std::pin::pin!(self.cut_notice.notified());
        notified.as_mut().enable();
        if !self.is_cut() {
            notified.await;
        }
    }

    /// Notes whether the other side has sent anything since the request was written.
    pub fn set_answered(&self, answered: bool) {
        self.answered.store(answered, Relaxed);
    }

    /// Whether the other side has sent anything since the request was written.
    pub fn answered(&self) -> bool {
        self.answered.load(Relaxed)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Release);
        if !self.quiet.load(Acquire) {
            self.user.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        Arc::new(Endpoint::new(1, "r1-0", 1, ([127, 0, 0, 1], 1).into()))
    }

    #[tokio::test]
    async fn a_drain_ends_with_the_last_lease() {
        let endpoint = endpoint();
        let lease = Lease::take(&endpoint);
        assert!(!endpoint.wait_empty(Kind::Request, Duration::ZERO).await);
        let stream = lease.into_stream();
        assert!(endpoint.wait_empty(Kind::Request, Duration::ZERO).await);
        let (emptied, ()) =
            tokio::join!(endpoint.wait_empty(Kind::Stream, Duration::from_secs(60)), async {
                drop(stream)
            });
        assert!(emptied);
    }

    #[test]
    fn a_cut_reaches_only_its_kind() {
        let endpoint = endpoint();
        let (request, stream) = (Arc::new(Relay::default()), Arc::new(Relay::default()));
        stream.set_stream();
        endpoint.watch(&request);
        endpoint.watch(&stream);
        endpoint.cut(Kind::Stream);
        assert!(stream.is_cut() && !request.is_cut());
    }
}
