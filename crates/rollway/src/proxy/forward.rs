//! Takes a request from a client to an instance, and the answer back.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::access_log::Line;
use super::answer::{Answer, Exchange, Outgoing, Source, Through};
use super::attempt::{self, Answered, Failed};
use super::client::Client;
use super::endpoint::{Endpoint, Lease};
use super::listener::{Found, Target};
use super::request::{self, Busy, Refusal, Way};
use super::service::{KeySource, Live, Picked, Service, Who};
use super::stats::{Fault, Stats};
use super::table::Mode;
use super::{tunnel, worker};

/// So many requests may be held by a paused service; each keeps a connection and its head.
const HELD_MAX: u64 = 10_000;

/// One request on its way.
struct Ask {
    client: Arc<Client>,
    /// Taken by the answer, which may last longer than this.
    busy: Option<Busy>,
    service: Arc<Service>,
    who: Who,
    way: Way,
    started: Instant,
    /// The cookie to give to a client that had none.
    cookie: Option<http::HeaderValue>,
    exceeded: Option<Arc<AtomicBool>>,
    line: Option<Box<Line>>,
    upgrade: Option<OnUpgrade>,
    /// Instances that could not be reached.
    tried: Vec<u64>,
    attempts: u32,
}

/// Answers one request.
pub async fn handle(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let http1 = request.version() <= http::Version::HTTP_11;
    let busy = Busy::begin(Arc::clone(&client));
    let mut response = match begin(busy, request) {
        Ok((mut ask, request)) => ask.run(&mut Some(request)).await,
        Err(refusal) => refusal.response(),
    };
    if http1 && client.is_finishing() && !client.is_upgraded() {
        response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Finds the service, and makes the request one for an instance.
fn begin(mut busy: Busy, request: Request<Incoming>) -> Result<(Ask, Request<Outgoing>), Refusal> {
    let started = Instant::now();
    let client = &*busy.client;
    let refused = |refusal: Refusal| {
        client.listener.shared.stats.fault(worker::index(), refusal.fault);
        refusal
    };
    let (mut parts, body) = request.into_parts();
    if parts.method == http::Method::CONNECT {
        return Err(refused(Refusal::new(Fault::BadRequest)));
    }
    let host = request::host(&parts).map_err(refused)?;
    let target = {
        let routes = client.listener.routes.load();
        match routes.find(host.to_str().unwrap_or(""), parts.uri.path()) {
            Found::Target(target) => target.clone(),
            Found::Nobody => return Err(refused(Refusal::nobody())),
            Found::Ambiguous => return Err(refused(Refusal::new(Fault::BadRequest))),
        }
    };
    let live = target.service.live.load();
    let idle_milliseconds = live.table.idle_timeout_ms;
    let (body, exceeded) = limit(body, &live).inspect_err(|refusal| {
        target.service.stats.fault(worker::index(), refusal.fault);
    })?;
    let way = match () {
        () if request::is_grpc(&parts) => Way::Http2,
        () if request::wants_upgrade(&parts) => Way::Upgrade,
        () => Way::Http1,
    };
    let upgrade = match way {
        Way::Upgrade => parts.extensions.remove::<OnUpgrade>(),
        Way::Http1 | Way::Http2 => None,
    };
    let (who, cookie) = who_asks(client, &target, &live, &parts);
    let line = client.listener.shared.access_log.as_ref().map(|_| line(&parts, client, &target));
    request::prepare(&mut parts, client, host, way);
    parts.extensions.clear();
    drop(live);
    busy.idle_milliseconds = idle_milliseconds;
    let (tried, attempts) = (Vec::new(), 0);
    let service = target.service;
    let ask = Ask {
        client: Arc::clone(&busy.client),
        busy: Some(busy),
        service,
        who,
        way,
        started,
        cookie,
        exceeded,
        line,
        upgrade,
        tried,
        attempts,
    };
    Ok((ask, Request::from_parts(parts, body)))
}

fn limit(body: Incoming, live: &Live) -> Result<(Outgoing, Option<Arc<AtomicBool>>), Refusal> {
    if body.is_end_stream() {
        return Ok((Outgoing::Empty, None));
    }
    let Some(most) = live.table.body_max else { return Ok((Outgoing::Through(body), None)) };
    if body.size_hint().lower() > most {
        return Err(Refusal::new(Fault::TooLarge));
    }
    let exceeded = Arc::new(AtomicBool::new(false));
    let body = Outgoing::Limited { body, left: most, exceeded: Arc::clone(&exceeded) };
    Ok((body, Some(exceeded)))
}

/// Where on the circle this client stands, and the cookie that will keep it there.
fn who_asks(
    client: &Client,
    target: &Target,
    live: &Live,
    parts: &Parts,
) -> (Who, Option<http::HeaderValue>) {
    if let Some(release) = target.release {
        return (Who::Preview(release), None);
    }
    let signer = &client.listener.shared.signer;
    let mut cookie = None;
    let point = match &live.key {
        KeySource::None => fastrand::u64(..),
        KeySource::Header(_) => {
            live.header_point(signer, &parts.headers).unwrap_or_else(|| fastrand::u64(..))
        }
        KeySource::Cookie(name) => {
            let service = &live.table.service;
            signer.cookie_point(service, name, &parts.headers).unwrap_or_else(|| {
                let fresh = fastrand::u64(..);
                let tls = client.listener.is_tls();
                cookie = Some(signer.set_cookie(service, name, fresh, tls));
                fresh
            })
        }
    };
    let who = if live.is_tester(&parts.headers) { Who::Tester(point) } else { Who::Point(point) };
    (who, cookie)
}

fn line(parts: &Parts, client: &Client, target: &Target) -> Box<Line> {
    Box::new(Line {
        time: jiff::Timestamp::UNIX_EPOCH,
        service: target.service.name.clone(),
        release: 0,
        instance: String::new(),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        status: 0,
        bytes: 0,
        ms: 0.0,
        client: client.address.to_string(),
        retried: 0,
    })
}

impl Ask {
    async fn run(&mut self, request: &mut Option<Request<Outgoing>>) -> Response<Answer> {
        match self.attempt_all(request).await {
            Ok((response, lease, live, arm)) => self.answer(response, lease, live, arm),
            Err(refusal) => {
                if let Some(mut line) = self.line.take() {
                    line.time = jiff::Timestamp::now();
                    line.status = refusal.status.as_u16();
                    line.ms = self.started.elapsed().as_secs_f64() * 1_000.0;
                    line.retried = self.attempts.saturating_sub(1);
                    if let Some(log) = &self.client.listener.shared.access_log {
                        log.add(*line);
                    }
                }
                refusal.response()
            }
        }
    }

    /// Tries instances until one answers.
    ///
    /// The request stays in its place until it is sent: it is large, and copying it at each step
    /// would show in every profile.
    async fn attempt_all(
        &mut self,
        request: &mut Option<Request<Outgoing>>,
    ) -> Result<(Answered, Lease, Arc<Live>, usize), Refusal> {
        let mut fault = Fault::NoMember;
        let mut blamed: Option<Arc<Stats>> = None;
        let fail = |stats: &Stats| stats.fail(worker::index());
        // What is sent again if the first attempt is lost without a sign.
        let mut spare = request.as_ref().filter(|one| self.may_repeat(one)).map(attempt::copy);
        loop {
            let (picked, live) = match self.service.pick(self.who, &self.tried) {
                Picked::One { arm, lease, live } if live.serves() => (Some((arm, lease)), live),
                // The lease ends here: who waits is not in flight.
                Picked::One { lease, live, .. } => {
                    drop(lease);
                    (None, live)
                }
                Picked::Nobody(live) => (None, live),
            };
            let Some((arm, lease)) = picked else {
                if self.tried.is_empty() && self.wait(&live).await? {
                    continue;
                }
                // Any other fault was counted when it happened.
                blamed.as_deref().inspect(|stats| fail(stats));
                let nobody = fault == Fault::NoMember;
                return Err(if nobody { self.refuse(fault) } else { Refusal::new(fault) });
            };
            self.attempts += 1;
            if self.attempts > 1 {
                live.arms[arm].stats.retry(worker::index());
            }
            match self.attempt(&lease, &live, request).await {
                Ok(answered) => return Ok((answered, lease, live, arm)),
                Err(Failed::Unsent) => {
                    live.arms[arm].stats.fault(worker::index(), Fault::Connect);
                    self.eject(&lease.endpoint);
                    self.tried.push(lease.endpoint.id);
                    fault = Fault::Connect;
                    blamed = Some(Arc::clone(&live.arms[arm].stats));
                    if self.tried.len() > live.table.retries as usize {
                        fail(&live.arms[arm].stats);
                        return Err(Refusal::new(fault));
                    }
                }
                Err(Failed::Sent { silent, reused, fault: how }) => {
                    live.arms[arm].stats.fault(worker::index(), how);
                    *request = spare.take().filter(|_| silent && how == Fault::Broken);
                    if request.is_none() {
                        let refusal = self.told(how);
                        if refusal.fault != Fault::TooLarge {
                            fail(&live.arms[arm].stats);
                        }
                        return Err(refusal);
                    }
                    blamed = Some(Arc::clone(&live.arms[arm].stats));
                    if !reused {
                        self.tried.push(lease.endpoint.id);
                    }
                    fault = how;
                }
            }
        }
    }

    fn may_repeat(&self, request: &Request<Outgoing>) -> bool {
        self.way == Way::Http1
            && matches!(request.body(), Outgoing::Empty)
            && request::is_idempotent(request.method())
    }

    /// A refusal that is counted for the service: no release is to blame.
    fn refuse(&self, fault: Fault) -> Refusal {
        self.service.stats.fault(worker::index(), fault);
        Refusal::new(fault)
    }

    /// A failure may be the client's own: a body that was too large ends in a broken connection.
    fn told(&self, fault: Fault) -> Refusal {
        let exceeded = self.exceeded.as_ref().is_some_and(|exceeded| exceeded.load(Relaxed));
        Refusal::new(if exceeded { Fault::TooLarge } else { fault })
    }

    fn eject(&self, endpoint: &Arc<Endpoint>) {
        if !endpoint.ejected.swap(true, SeqCst) {
            let probes = &self.client.listener.shared.probes;
            // Nobody listens only while the process ends.
            let _ = probes.send((Arc::clone(&self.service), Arc::clone(endpoint)));
        }
    }

    /// Waits while nobody may be asked; `true` when it is worth looking again.
    async fn wait(&self, live: &Live) -> Result<bool, Refusal> {
        if live.gone {
            return Err(Refusal::nobody());
        }
        let pause = Duration::from_millis(live.table.pause_max_ms);
        let until = match live.table.mode {
            Mode::Maintenance => return Err(self.refuse(Fault::Maintenance)),
            Mode::Pause => tokio::time::Instant::from_std(self.started) + pause,
            Mode::Serve => match live.hold_until {
                Some(until) if tokio::time::Instant::now() < until => until,
                Some(_) | None => return Ok(false),
            },
        };
        let mut changed = self.service.changed.subscribe();
        // The table may have changed before the subscription: that is no time to wait.
        if !std::ptr::eq(&**self.service.live.load(), live) {
            return Ok(true);
        }
        // So may the state of its instances.
        if live.serves() && matches!(self.service.pick(self.who, &[]), Picked::One { .. }) {
            return Ok(true);
        }
        let held = Held::begin(&self.service).ok_or_else(|| self.refuse(Fault::PauseOverflow))?;
        let woken = tokio::time::timeout_at(until, changed.changed()).await;
        drop(held);
        match live.table.mode {
            Mode::Pause if woken.is_err() => Err(self.refuse(Fault::PauseOverflow)),
            Mode::Pause | Mode::Serve | Mode::Maintenance => Ok(true),
        }
    }

    async fn attempt(
        &self,
        lease: &Lease,
        live: &Live,
        request: &mut Option<Request<Outgoing>>,
    ) -> Result<Answered, Failed> {
        let limit = live.table.response_timeout_ms;
        if limit == 0 && self.way == Way::Http1 && self.attempts == 1 {
            // The common case, without a timer.
            return attempt::http1(lease, live, request).await;
        }
        let sent = async {
            match self.way {
                Way::Http1 if self.attempts == 1 => attempt::http1(lease, live, request).await,
                Way::Http1 => attempt::http1_fresh(lease, live, request).await,
                Way::Http2 => attempt::http2(lease, live, request).await,
                Way::Upgrade => attempt::upgrade(lease, live, request).await,
            }
        };
        if limit == 0 {
            return sent.await;
        }
        let timed = tokio::time::timeout(Duration::from_millis(limit), sent).await;
        let fault = Fault::Timeout;
        timed.unwrap_or(Err(Failed::Sent { silent: false, reused: false, fault }))
    }

    /// Makes the instance's answer the client's.
    fn answer(
        &mut self,
        (response, mut source): Answered,
        mut lease: Lease,
        live: Arc<Live>,
        arm: usize,
    ) -> Response<Answer> {
        let (mut parts, body) = response.into_parts();
        let switched = parts.status == http::StatusCode::SWITCHING_PROTOCOLS;
        let upstream = parts.extensions.remove::<OnUpgrade>();
        request::prepare_answer(&mut parts, switched);
        parts.extensions.clear();
        if let Some(cookie) = self.cookie.take() {
            parts.headers.append(header::SET_COOKIE, cookie);
        }
        let mut took = None;
        if switched || request::is_stream(&parts) {
            lease = lease.into_stream();
            took = Some(self.started.elapsed());
            match &mut source {
                Source::Http1(Some(connection)) => connection.relay.set_stream(),
                Source::Http1(None) => {}
                Source::Http2(relay) => relay.set_stream(),
            }
        }
        let mut line = self.line.take();
        if let Some(line) = &mut line {
            line.release = live.arms[arm].release;
            line.instance.clone_from(&lease.endpoint.instance);
            line.retried = self.attempts.saturating_sub(1);
        }
        let (status, started) = (parts.status.as_u16(), self.started);
        let busy = self.busy.take().expect("a request is answered once");
        let bytes = 0;
        let exchange = Exchange { lease, busy, live, arm, started, took, status, bytes, line };
        if let (true, Some(client), Some(upstream), Source::Http2(relay)) =
            (switched, self.upgrade.take(), upstream, &source)
        {
            exchange.busy.client.upgrade();
            let protocol = parts.headers.get(header::UPGRADE);
            let websocket =
                protocol.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
            let relay = Arc::clone(relay);
            let tunnel = tunnel::Tunnel { relay, websocket, exchange };
            tokio::spawn(tunnel.run(client, upstream));
            return Response::from_parts(parts, Answer::Text(None));
        }
        let through = Through::new(body, source, exchange);
        Response::from_parts(parts, Answer::Through(through))
    }
}

/// A place among the requests that are held.
struct Held<'a>(&'a Service);

impl<'a> Held<'a> {
    fn begin(service: &'a Service) -> Option<Self> {
        let held = Self(service);
        // Dropping it takes the count back.
        (service.held.fetch_add(1, Relaxed) < HELD_MAX).then_some(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}
