//! What load to make.

use std::net::SocketAddr;
use std::time::Duration;

use rollway_core::problem::Problem;

/// The highest rate; one thread cannot keep up with more, and would measure itself.
pub const RATE_MAX: u32 = 100_000;

/// What load to make; start from [`LoadPlan::to`].
#[derive(Debug, Clone, PartialEq)]
pub struct LoadPlan {
    /// Where the requests go.
    pub target: SocketAddr,
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `host` header; default: the target's address.
    pub host: Option<String>,
    /// The request's body.
    pub body: Vec<u8>,
    /// Requests per second.
    pub rate: u32,
    /// For how long; absent = until it is stopped.
    pub duration: Option<Duration>,
    /// How many connections, and how used.
    pub connections: Mix,
    /// A request that is not answered completely by then, from its sending, has failed.
    pub timeout: Duration,
    /// The header of an answer that says which version gave it.
    pub version_header: String,
    /// So many requests are remembered one by one, 24 bytes each.
    pub log_max: usize,
    /// The processor that the generator's thread stays on (Linux).
    pub cpu: Option<usize>,
}

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// So many connections are kept open and used in turn. More are opened when all are busy; of
    /// those as many again are kept. 0 = every request opens its own.
    pub keep_alive: usize,
    /// That share of the requests, 0 to 1, opens a connection of its own and closes it.
    pub fresh_share: f64,
}

impl LoadPlan {
    /// 100 `GET /` a second until stopped, half of them on fresh connections.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        Self {
            target,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            body: Vec::new(),
            rate: 100,
            duration: None,
            connections: Mix { keep_alive: 16, fresh_share: 0.5 },
            timeout: Duration::from_secs(5),
            version_header: "x-version".to_owned(),
            // 48 MB: a thousand seconds at 2,000 a second.
            log_max: 2_000_000,
            cpu: None,
        }
    }

    /// Finds what cannot be done.
    pub fn check(&self) -> Result<(), Problem> {
        if !(1..=RATE_MAX).contains(&self.rate) {
            let what = format!("is {}; expected 1 to {RATE_MAX} requests per second", self.rate);
            return Err(Problem::new("rate", what));
        }
        if !(0.0..=1.0).contains(&self.connections.fresh_share) {
            let what = format!("is {}; expected a share, 0 to 1", self.connections.fresh_share);
            return Err(Problem::new("connections.fresh_share", what));
        }
        let host = self.host.as_deref().unwrap_or("host");
        for (name, text) in [("method", self.method.as_str()), ("path", &self.path), ("host", host)]
        {
            if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
                let what = format!("is {text:?}; expected printable ASCII without spaces");
                return Err(Problem::new(name, what));
            }
        }
        if self.timeout.is_zero() {
            return Err(Problem::new("timeout", "is zero; no request could ever be answered"));
        }
        Ok(())
    }

    /// The bytes of a request; `connection` is a header line with its end, or nothing.
    pub(super) fn request(&self, connection: &str) -> Vec<u8> {
        let Self { method, path, body, .. } = self;
        let host = self.host.clone().unwrap_or_else(|| self.target.to_string());
        let length = match body.len() {
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: rollway-load\r\n\
             accept: */*\r\n{length}{connection}\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// When request `number` is due, after the start.
    pub(super) fn due(&self, number: u64) -> Duration {
        let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// Whether request `number` opens a connection of its own; exactly the share, evenly spread.
    pub(super) fn is_fresh(&self, number: u64) -> bool {
        let share = self.connections.fresh_share;
        let whole = |number: u64| (number as f64 * share).floor();
        self.connections.keep_alive == 0 || whole(number + 1) > whole(number)
    }
}
