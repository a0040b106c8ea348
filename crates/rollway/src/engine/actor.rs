//! One service's loop: hand on what comes in, ask the core, do what it says, ask again.
//!
//! It is dumb on purpose. What is to be done is decided by `rollway_core::engine`; here it is
//! written to the journal and carried out through driver and proxy, and what came of it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rollway_core::engine::{Engine as Loop, Input, Next, Ticket};
use rollway_core::ids::InstanceId;
use rollway_core::view::DeploymentView;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::Shared;
use super::command::Command;
use super::journal::Journal;
use crate::metrics::Memory;

/// Outcomes that wait for the loop; more make their tasks wait.
const OUTCOMES_MAX: usize = 4096;
/// Commands that wait for the loop; more make their callers wait.
pub(super) const COMMANDS_MAX: usize = 64;
/// Decisions in one round, before messages are looked at again.
const ROUND_MAX: usize = 64;

/// One service's loop, and what it holds of the world.
pub(super) struct Actor {
    pub shared: Arc<Shared>,
    pub journal: Journal,
    pub engine: Loop,
    pub outcomes: mpsc::Sender<Input>,
    /// The tasks that probe.
    pub probes: HashMap<InstanceId, AbortHandle>,
    /// The answers that wait for the core's word.
    pub answers: HashMap<Ticket, oneshot::Sender<Vec<String>>>,
    /// What the sources of judgements counted.
    pub memory: Memory,
    /// The last deployment as it was stored, for a control plane that has seen none yet.
    pub last_view: Option<DeploymentView>,
}

/// A loop that is ready to run, with the ends that others hold.
pub(super) struct Mailboxes {
    pub commands: mpsc::Receiver<Command>,
    pub outcomes: mpsc::Receiver<Input>,
}

impl Actor {
    pub fn new(
        shared: Arc<Shared>,
        journal: Journal,
        engine: Loop,
    ) -> (Self, mpsc::Receiver<Input>) {
        let (outcomes, receiver) = mpsc::channel(OUTCOMES_MAX);
        let (probes, answers) = (HashMap::new(), HashMap::new());
        let (memory, last_view) = (Memory::default(), None);
        (Self { shared, journal, engine, outcomes, probes, answers, memory, last_view }, receiver)
    }

    /// Runs until all handles are gone.
    pub async fn run(mut self, mut mail: Mailboxes) {
        let mut changes = self.shared.process.changes();
        let mut proxy_starts = self.shared.proxy.starts();
        loop {
            let wake = self.round().await;
            tokio::select! {
                command = mail.commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                Some(outcome) = mail.outcomes.recv() => self.tell(outcome).await,
                change = changes.recv() => match change {
                    Ok(change) if change.service != self.engine.service => {}
                    Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                        self.tell(Input::Changed).await;
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => {}
                },
                Ok(()) = proxy_starts.changed() => self.tell(Input::ProxyStarted).await,
                () = tokio::time::sleep(wake) => {}
            }
            // Whatever else has come in belongs to the same round: one decision, one write.
            while let Ok(outcome) = mail.outcomes.try_recv() {
                self.tell(outcome).await;
            }
        }
        self.probes.values().for_each(AbortHandle::abort);
    }

    async fn tell(&mut self, input: Input) {
        if let Input::Seen(Err(failed), _) = &input {
            tracing::warn!(service = %self.engine.service, "{}", failed.why);
        }
        self.engine.take(self.journal.clock.now(), input);
        let effects = self.engine.effects();
        self.perform_all(effects).await;
    }

    /// Decides and acts until there is nothing to do; says when to look again.
    async fn round(&mut self) -> Duration {
        for _ in 0..ROUND_MAX {
            let turn = self.engine.decide(self.journal.clock.now());
            self.perform_all(turn.effects).await;
            if let Next::At(time) = turn.next {
                let left = time.0.saturating_sub(self.journal.clock.now().0);
                return Duration::from_millis(left.max(1));
            }
        }
        Duration::ZERO
    }
}
