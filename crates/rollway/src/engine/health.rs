//! Probing instances: one task an instance, that tells the loop when the verdict changes.

use std::sync::Arc;

use rollway_core::engine::{Input, Trust};
use rollway_core::health::{Health as Fold, State};
use rollway_core::ids::InstanceId;
use rollway_core::observed::Health;
use rollway_core::release::Release;
use rollway_core::spec::{Check, Probe};
use rollway_core::template::{self, Values};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::actor::Actor;
use super::clock::Clock;
use super::perform::launch;
use crate::driver::Driver;
use crate::probe;

impl Actor {
    /// Begins to probe an instance; an earlier probing of it ends.
    pub fn probe(&mut self, id: InstanceId, number: u64, trust: Trust) {
        let Some(release) = self.engine.releases.get(&id.release).cloned() else { return };
        let task = Task {
            id,
            number,
            address: self.engine.details.get(&id).and_then(|detail| detail.address),
            release,
            clock: self.journal.clock.clone(),
            outcomes: self.outcomes.clone(),
            driver: Arc::clone(&self.shared.process),
        };
        let task = tokio::spawn(task.run(trust == Trust::Proven)).abort_handle();
        if let Some(earlier) = self.probes.insert(id, task) {
            earlier.abort();
        }
    }
}

struct Task {
    id: InstanceId,
    number: u64,
    address: Option<std::net::SocketAddr>,
    release: Arc<Release>,
    clock: Clock,
    outcomes: mpsc::Sender<Input>,
    driver: Arc<dyn Driver>,
}

/// So much of a log is looked at for its last lines, in bytes.
const LOG_TAIL_BYTES: u64 = 8192;
/// So many of its last lines are evidence.
const LOG_LINES: usize = 10;

/// One probe with its verdicts so far.
struct One {
    probe: Probe,
    fold: Fold,
    state: State,
    due: Instant,
    reason: String,
}

impl Task {
    async fn run(self, trusted: bool) {
        let launch = launch(&self.release, self.id, std::collections::BTreeMap::new());
        let subject = probe::Subject {
            address: self.address,
            env: &launch.env,
            working_folder: &launch.working_folder,
        };
        let began = Instant::now();
        let since = || rollway_core::units::Millis(began.elapsed().as_millis() as u64);
        let mut all: Vec<One> = self
            .release
            .spec
            .health
            .iter()
            .map(|probe| One::new(self.filled(probe), trusted, began))
            .collect();
        let mut told: Option<Health> =
            trusted.then_some(Health::Healthy(rollway_core::units::Millis::ZERO));
        let mut told_reason = String::new();
        loop {
            let Some(next) = all.iter_mut().min_by_key(|one| one.due) else { return };
            tokio::time::sleep_until(next.due).await;
            let verdict = probe::check(&next.probe, &subject).await;
            next.take(verdict, since());
            next.due = Instant::now() + next.fold.next_probe_in(since()).duration();
            let health = self.combined(&all);
            let reason = reason_of(&all, &health);
            let same = match (&told, &health) {
                (Some(Health::Healthy(_)), Health::Healthy(_)) => true,
                (told, health) => told.as_ref() == Some(health) && told_reason == reason,
            };
            if same {
                continue;
            }
            told = Some(health.clone());
            let evidence = match reason.is_empty() {
                true => Vec::new(),
                false => self.evidence(reason.clone()).await,
            };
            told_reason = reason;
            let outcome = Input::Health(self.id, self.number, health, evidence);
            if self.outcomes.send(outcome).await.is_err() {
                return;
            }
        }
    }

    /// The reason, and the last lines that the instance wrote.
    async fn evidence(&self, reason: String) -> Vec<String> {
        let mut lines = vec![reason];
        if let Ok(log) = self.driver.log(&self.release.service, self.id).await {
            lines.extend(last_lines(&log).await);
        }
        lines
    }

    /// The command of a probe may name the instance and its port.
    fn filled(&self, probe: &Probe) -> Probe {
        let mut probe = probe.clone();
        if let Check::Command(command) = &mut probe.check {
            let values = Values {
                port: self.address.map(|address| address.port()),
                instance: Some(self.id.to_string()),
                release: Some(self.release.number.0.to_string()),
                ..Values::default()
            };
            for word in &mut command.argv {
                // The texts were checked when the release was made.
                *word = template::render_last(word, &values).unwrap_or_else(|_| word.clone());
            }
        }
        probe
    }

    /// All probes must be healthy; one that is not speaks for all.
    fn combined(&self, all: &[One]) -> Health {
        if let Some(unwell) = all.iter().find(|one| matches!(one.state, State::Unhealthy { .. })) {
            return Health::Unhealthy(unwell.reason.clone());
        }
        match all.iter().all(|one| matches!(one.state, State::Healthy { .. })) {
            true => Health::Healthy(self.clock.now()),
            false => Health::Starting,
        }
    }
}

/// What the first probe that is not content says; nothing if all is well.
fn reason_of(all: &[One], health: &Health) -> String {
    if let Health::Healthy(_) = health {
        return String::new();
    }
    let unwell = all.iter().find(|one| !one.reason.is_empty());
    unwell.map(|one| one.reason.clone()).unwrap_or_default()
}

/// The last lines of a log file, as far as they are in its last few KiB.
async fn last_lines(path: &std::path::Path) -> Vec<String> {
    use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
    let read = async {
        let mut file = tokio::fs::File::open(path).await?;
        let length = file.metadata().await?.len();
        file.seek(std::io::SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES))).await?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes).await?;
        Ok::<_, std::io::Error>(bytes)
    };
    // An instance that has written nothing has no log to show.
    let bytes = read.await.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

impl One {
    fn new(probe: Probe, trusted: bool, began: Instant) -> Self {
        let mut fold = Fold::new(&probe);
        let mut state = State::Starting;
        if trusted {
            for _ in 0..probe.success_threshold {
                state = fold.observe(rollway_core::units::Millis::ZERO, true);
            }
        }
        Self { probe, fold, state, due: began, reason: String::new() }
    }

    fn take(&mut self, verdict: probe::Verdict, now: rollway_core::units::Millis) {
        self.state = self.fold.observe(now, verdict.ok);
        if verdict.ok {
            self.reason.clear();
            return;
        }
        self.reason = format!("probe {}: {}", self.probe.label(), verdict.reason);
        let evidence = verdict.evidence.trim();
        if !evidence.is_empty() && !verdict.reason.contains(evidence) {
            self.reason = format!("{}: {evidence}", self.reason);
        }
    }
}
