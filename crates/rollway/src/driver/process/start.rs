//! Starts instances: a shim for each, which is told what to run over a socket.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;

use super::connection::{self, Handle, Line};
use super::shim::LAUNCH_ID;
use super::wire::{self, Order, Outcome, Record, Report, Request};
use super::{Key, Known, Shared, TRIES_MAX, folder, stop};
use crate::crash;
use crate::driver::{Ensured, Fence, Launch, Life, SeenInstance};
use crate::failure::{Failure, FailureKind};
use crate::os::fds;

/// A start takes milliseconds; on a machine that is out of memory it may take a while.
const START_WAIT_MAX: Duration = Duration::from_secs(10);
/// What a shim gets of our environment, and gives to its instance unless that has its own.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// What a new shim said.
enum Answer {
    Runs(Line, Box<Record>),
    Not(Outcome),
    Silent,
}

impl Shared {
    /// Ensures that an instance runs; nobody else starts it meanwhile.
    pub async fn start(
        self: &Arc<Self>,
        fence: &Fence,
        key: &Key,
        launch: &Launch,
    ) -> Result<(Ensured, SeenInstance), Failure> {
        let doing = || format!("could not start {} {}", key.0, key.1);
        for _ in 0..TRIES_MAX {
            self.adopt_if_there(key).await?;
            let known = self.known().get(key).cloned();
            match known {
                None => return self.start_new(fence, key, launch).await,
                Some(Known::Supervised(handle)) => {
                    if let Some(done) = self.touch(fence, key, &handle).await? {
                        return Ok((done, handle.record().seen()));
                    }
                }
                Some(Known::Alone(record)) => {
                    return self.start_over(fence, key, launch, &record).await;
                }
                Some(Known::Coming(seen)) => return Ok((Ensured::NotNeeded, *seen)),
            }
        }
        Err(Failure::because(FailureKind::Unknown, doing(), "its shim comes and goes"))
    }

    /// Asks a shim whether this generation may act; `None` = the shim has gone, look again.
    async fn touch(
        &self,
        fence: &Fence,
        key: &Key,
        handle: &Handle,
    ) -> Result<Option<Ensured>, Failure> {
        let doing = format!("could not start {} {}", key.0, key.1);
        let request = Request::Touch { id: self.request_id(), generation: fence.generation };
        let Ok(outcome) = timeout(START_WAIT_MAX, handle.ask(request)).await else {
            return Err(Failure::because(FailureKind::NotDone, doing, "its shim is silent"));
        };
        match outcome {
            Some(Outcome::Done | Outcome::NotNeeded) => Ok(Some(Ensured::NotNeeded)),
            Some(Outcome::Stale(seen)) => Ok(Some(Ensured::Stale { seen })),
            Some(Outcome::NotDone(why) | Outcome::Unfinished(why)) => {
                Err(Failure::because(FailureKind::NotDone, doing, why))
            }
            Some(Outcome::Stopping) | None => {
                // Its predecessor is on its way out, within the time that it was given.
                handle.gone_soon().await;
                Ok(None)
            }
        }
    }

    /// Starts what has a folder, but no shim.
    async fn start_over(
        self: &Arc<Self>,
        fence: &Fence,
        key: &Key,
        launch: &Launch,
        record: &Record,
    ) -> Result<(Ensured, SeenInstance), Failure> {
        let doing = format!("could not start {} {}", key.0, key.1);
        let failed = |error| Failure::because(FailureKind::NotDone, doing.clone(), error);
        let (shared, key_, generation) = (self.clone(), key.clone(), fence.generation);
        let runs = stop::runs(record).is_some();
        let cleared = tokio::task::spawn_blocking(move || {
            if runs {
                return match folder::enter(&folder::of_service(&shared.state, &key_.0), generation)?
                {
                    folder::Entry::Open(_) => Ok(Ensured::NotNeeded),
                    folder::Entry::Stale(seen) => Ok(Ensured::Stale { seen }),
                };
            }
            // What it left behind has had its time.
            shared.end_alone(&key_, generation, Signal::KILL, 0)
        });
        let cleared = cleared.await.map_err(|error| failed(io::Error::other(error)))?;
        match cleared.map_err(failed)? {
            Ensured::Stale { seen } => Ok((Ensured::Stale { seen }, stop::seen(record))),
            _ if runs => Ok((Ensured::NotNeeded, stop::seen(record))),
            Ensured::Added | Ensured::Updated | Ensured::NotNeeded => {
                let (ensured, seen) = self.start_new(fence, key, launch).await?;
                let fresh = ensured == Ensured::Added;
                Ok((if fresh { Ensured::Updated } else { ensured }, seen))
            }
        }
    }

    /// Starts a shim, and by it the instance.
    async fn start_new(
        self: &Arc<Self>,
        fence: &Fence,
        key: &Key,
        launch: &Launch,
    ) -> Result<(Ensured, SeenInstance), Failure> {
        let mut coming = launch.absent();
        (coming.life, coming.generation) = (Life::Starting, fence.generation);
        self.known().insert(key.clone(), Known::Coming(Box::new(coming)));
        let result = self.start_shim(fence, key, launch).await;
        let mut known = self.known();
        if matches!(known.get(key), Some(Known::Coming(_))) {
            known.remove(key);
        }
        drop(known);
        self.tell(key);
        result
    }

    async fn start_shim(
        self: &Arc<Self>,
        fence: &Fence,
        key: &Key,
        launch: &Launch,
    ) -> Result<(Ensured, SeenInstance), Failure> {
        let doing = || format!("could not start {} {}", key.0, key.1);
        let not_done = |why: String| Failure::because(FailureKind::NotDone, doing(), why);
        let order =
            Order { service: key.0.clone(), generation: fence.generation, launch: launch.clone() };
        let (shared, folder) = (self.clone(), self.folder(key));
        crash::point("driver.start.before_spawn");
        let spawned = tokio::task::spawn_blocking(move || spawn(&shared, &folder, order)).await;
        let spawned = spawned.map_err(|error| not_done(error.to_string()))?;
        let (mut child, stream) = spawned
            .and_then(|(child, stream)| Ok((child, tokio::net::UnixStream::from_std(stream)?)))
            .map_err(|error| not_done(format!("could not start a shim: {error}")))?;
        crash::point("driver.start.spawned");
        match timeout(START_WAIT_MAX, answer(Line::new(stream))).await.unwrap_or(Answer::Silent) {
            Answer::Runs(line, record) => {
                let seen = record.seen();
                self.supervise(key, line, *record, Some(child));
                Ok((Ensured::Added, seen))
            }
            Answer::Not(outcome) => {
                tokio::spawn(connection::reap(child));
                match outcome {
                    Outcome::Stale(seen) => Ok((Ensured::Stale { seen }, launch.absent())),
                    Outcome::NotDone(why) | Outcome::Unfinished(why) => Err(not_done(why)),
                    Outcome::Done | Outcome::NotNeeded | Outcome::Stopping => {
                        self.found_running(key, launch).await
                    }
                }
            }
            Answer::Silent => {
                // Ours, and not waited for yet: the number is its. What it may have started is
                // found by its folder.
                let _ = child.kill();
                tokio::spawn(connection::reap(child));
                let why = "its shim did not say that it runs";
                Err(Failure::because(FailureKind::Unknown, doing(), why))
            }
        }
    }

    /// Another control plane was faster.
    async fn found_running(
        self: &Arc<Self>,
        key: &Key,
        launch: &Launch,
    ) -> Result<(Ensured, SeenInstance), Failure> {
        self.known().remove(key);
        self.adopt_if_there(key).await?;
        let known = self.known().get(key).map(Known::seen);
        Ok((Ensured::NotNeeded, known.unwrap_or_else(|| launch.absent())))
    }
}

/// Blocks until the shim's program runs, about a millisecond.
fn spawn(shared: &Shared, folder: &Path, order: Order) -> io::Result<(Child, UnixStream)> {
    folder::make(folder.parent().expect("an instance's folder is in its service's"))?;
    let (ours, theirs) = UnixStream::pair()?;
    let (program, arguments) = shared.shim.split_first().expect("a command has a program");
    let mut command = fds::command_without(&shared.inherited, Path::new(program));
    command.args(arguments).arg(folder).env_clear();
    for name in PASSED_ON {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    if crash::is_armed() {
        command.envs(std::env::var_os(crash::VARIABLE).map(|value| (crash::VARIABLE, value)));
    }
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    // From now on the shim alone has the other end, so that its end is noticed.
    drop(command);
    ours.set_write_timeout(Some(START_WAIT_MAX))?;
    // A shim that is already dead does not answer, and that is told then.
    let _ = (&ours).write_all(&wire::line(&Request::Launch(Box::new(order))));
    ours.set_nonblocking(true)?;
    Ok((child, ours))
}

async fn answer(mut line: Line) -> Answer {
    let mut record = None;
    while let Some(report) = line.next().await {
        match (report, record.take()) {
            (Report::State(state), _) => record = Some(state),
            (Report::Reply { id: LAUNCH_ID, outcome: Outcome::Done }, Some(state)) => {
                return Answer::Runs(line, state);
            }
            (Report::Reply { outcome, .. }, _) => return Answer::Not(outcome),
        }
    }
    Answer::Silent
}
