//! The generator's thread: it sends what is due, and takes note of what comes of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio_util::task::TaskTracker;

use super::client::{Connection, Ended, Pool};
use super::pace::Pace;
use super::plan::LoadPlan;
use super::record::Outcome;
use super::report::{Report, Started};
use super::tally::{Sample, Seen, Tally};
use crate::failure::{Failure, FailureKind};

/// At most so many requests are in flight; what falls due beyond that is `unsent`. With 16 KiB
/// each that is 64 MiB.
pub const IN_FLIGHT_MAX: usize = 4096;

/// Connections that are opened before the start may take this long.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

/// After so many requests in a row, due because the machine was busy, the answers get a turn.
const BURST_MAX: u32 = 64;

/// A load that runs. Dropping it ends it at once.
pub struct Load {
    shared: Arc<Shared>,
    orders: watch::Sender<Order>,
    ended: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
    plan: LoadPlan,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    started: OnceLock<Started>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing that holds this lock can panic")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Go on.
    Run,
    /// Send no more, and wait for the answers.
    Finish,
    /// Drop everything.
    Abandon,
}

impl Load {
    /// Starts a load on a thread of its own.
    pub fn start(plan: LoadPlan) -> Result<Self, Failure> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            Failure::because(FailureKind::NotDone, "could not start the load generator", source)
        };
        plan.check().map_err(|problem| failed(problem.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(error.into()))?;
        let pace = {
            let _entered = runtime.enter();
            Pace::new().map_err(|error| failed(error.into()))?
        };
        let shared = Arc::new(Shared::default());
        shared.seen().log_max = plan.log_max;
        let (orders, order) = watch::channel(Order::Run);
        let (ending, ended) = oneshot::channel();
        let given = (plan.clone(), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("rollway-load".to_owned()).spawn(move || {
            let (plan, shared) = given;
            pin_to(plan.cpu);
            LocalSet::new().block_on(&runtime, drive(plan, shared, pace, order));
            // Nobody listens when the load was dropped.
            let _ = ending.send(());
        });
        let thread = Some(thread.map_err(|error| failed(error.into()))?);
        Ok(Self { shared, orders, ended: Some(ended), thread, plan })
    }

    /// What has happened so far.
    #[must_use]
    pub fn snapshot(&self) -> Tally {
        self.shared.seen().tally.clone()
    }

    /// Sends no more, waits for the answers that are due (at most the plan's `timeout`).
    pub async fn stop(self) -> Report {
        self.orders.send_replace(Order::Finish);
        self.finish().await
    }

    /// Waits for the end of the plan's `duration`; without one, for ever.
    pub async fn finish(mut self) -> Report {
        if let Some(ended) = self.ended.take() {
            // An error is a panic of the thread, which joining it passes on.
            drop(ended.await);
        }
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
        let seen = std::mem::take(&mut *self.shared.seen());
        let started = self.shared.started.get().copied().unwrap_or_else(Started::now);
        Report::new(self.plan.clone(), started, seen)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.orders.send_replace(Order::Abandon);
        if let Some(thread) = self.thread.take() {
            // It ends at the next turn of its loop; a panic in it has been printed.
            drop(thread.join());
        }
    }
}

/// Keeps this thread on a processor; where that cannot be, it runs anywhere.
#[cfg(target_os = "linux")]
fn pin_to(cpu: Option<usize>) {
    if let Some(cpu) = cpu.filter(|cpu| *cpu < rustix::thread::CpuSet::MAX_CPU) {
        let mut set = rustix::thread::CpuSet::new();
        set.set(cpu);
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
}

#[cfg(not(target_os = "linux"))]
fn pin_to(_: Option<usize>) {}

/// What the tasks of one load share; they are all on one thread.
struct Generator {
    plan: LoadPlan,
    shared: Arc<Shared>,
    started: Instant,
    kept_request: Vec<u8>,
    fresh_request: Vec<u8>,
    pool: RefCell<Pool>,
    in_flight: Cell<usize>,
}

async fn drive(plan: LoadPlan, shared: Arc<Shared>, pace: Pace, mut order: watch::Receiver<Order>) {
    let pool = tokio::select! {
        pool = warm_up(&plan, &shared) => pool,
        _ = order.changed() => return,
    };
    let started = *shared.started.get_or_init(Started::now);
    let generator = Rc::new(Generator {
        kept_request: plan.request(""),
        fresh_request: plan.request("connection: close\r\n"),
        plan,
        shared,
        started: started.at,
        pool: RefCell::new(pool),
        in_flight: Cell::new(0),
    });
    let tasks = TaskTracker::new();
    tokio::select! {
        () = generator.send_all(&tasks, &pace) => {}
        _ = order.changed() => {}
    }
    tasks.close();
    tokio::select! {
        () = tasks.wait() => {}
        _ = order.wait_for(|order| *order == Order::Abandon) => {}
    }
}

/// Opens the kept connections, so that the first requests do not measure that.
async fn warm_up(plan: &LoadPlan, shared: &Shared) -> Pool {
    let mut pool = Pool::new(plan.connections.keep_alive);
    let deadline = tokio::time::Instant::now() + WARM_UP_MAX;
    let wanted = match plan.connections.fresh_share < 1.0 {
        true => plan.connections.keep_alive,
        false => 0,
    };
    for _ in 0..wanted {
        match tokio::time::timeout_at(deadline, Connection::open(plan.target)).await {
            Ok(Ok(connection)) => pool.add_unused(connection),
            // A target that is not there yet shows in the requests.
            Ok(Err(_)) | Err(_) => break,
        }
        shared.seen().tally.connections_opened += 1;
    }
    pool
}

impl Generator {
    /// Starts every request when it is due, until the plan's duration is over.
    async fn send_all(self: &Rc<Self>, tasks: &TaskTracker, pace: &Pace) {
        let (mut number, mut burst) = (0, 0);
        loop {
            let due = self.plan.due(number);
            if self.plan.duration.is_some_and(|duration| due >= duration) {
                return;
            }
            if due > self.started.elapsed() {
                burst = 0;
                pace.until(self.started + due).await;
                continue;
            }
            self.shared.seen().tally.issued += 1;
            if self.in_flight.get() < IN_FLIGHT_MAX {
                self.in_flight.set(self.in_flight.get() + 1);
                tasks.spawn_local(Rc::clone(self).request(number, due));
            } else {
                let why = format!("{IN_FLIGHT_MAX} requests are in flight");
                let ended = Ended::without_answer(Outcome::Unsent, why);
                self.note(number, self.started.elapsed(), false, ended);
            }
            number += 1;
            burst += 1;
            if burst == BURST_MAX {
                burst = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Does one request from beginning to end.
    async fn request(self: Rc<Self>, number: u64, due: Duration) {
        let sent = self.started.elapsed().max(due);
        let kept = Cell::new(false);
        let exchange = async {
            match self.plan.is_fresh(number) {
                true => self.on_a_fresh_connection().await,
                false => self.on_a_kept_connection(&kept).await,
            }
        };
        let ended = match tokio::time::timeout(self.plan.timeout, exchange).await {
            Ok(Ok(ended) | Err(ended)) => ended,
            Err(_) => {
                let why = format!("no whole answer within {:?}", self.plan.timeout);
                Ended::without_answer(Outcome::Timeout, why)
            }
        };
        self.note(number, sent, kept.get(), ended);
        self.in_flight.set(self.in_flight.get() - 1);
    }

    async fn on_a_fresh_connection(&self) -> Result<Ended, Ended> {
        let mut connection = self.open().await?;
        Ok(connection.exchange(&self.plan, &self.fresh_request).await)
    }

    async fn on_a_kept_connection(&self, kept: &Cell<bool>) -> Result<Ended, Ended> {
        let (idle, spent) = self.pool.borrow_mut().take();
        if spent > 0 {
            self.shared.seen().tally.kept_closed_idle += spent;
        }
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.open().await?,
        };
        kept.set(connection.kept);
        let ended = connection.exchange(&self.plan, &self.kept_request).await;
        if ended.keeps {
            self.pool.borrow_mut().give_back(connection);
        }
        Ok(ended)
    }

    async fn open(&self) -> Result<Connection, Ended> {
        let connection = Connection::open(self.plan.target).await?;
        self.shared.seen().tally.connections_opened += 1;
        Ok(connection)
    }

    fn note(&self, number: u64, sent: Duration, kept: bool, ended: Ended) {
        let Ended { outcome, status, version, why, .. } = ended;
        let (due, finished) = (self.plan.due(number), self.started.elapsed());
        let sample = Sample { number, due, sent, finished, status, version, outcome, kept, why };
        self.shared.seen().add(sample);
    }
}
