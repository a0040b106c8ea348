//! The loop of one service, without its input and output: what comes in is taken note of, what is
//! to be done comes out as effects, in order. Production and the simulator run this same code.
//!
//! ```text
//! outcome, observation, verdict ── take ──> noted ─┐
//! verb, deployment ─────────────── ask ───> noted ─┼── decide ──> effects, and when to ask again
//! the time ────────────────────────────────────────┘
//! ```
//! Whoever performs the effects does it in their order, and nothing after an [`Effect::Append`]
//! before that is durable. Time is an argument, on the service's own clock.

mod ask;
mod decide;
mod observation;
mod outcome;
mod resume;
mod verb;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use ask::{By, Keyed, Wanted};
pub use decide::{Next, Turn};
pub use resume::Snapshot;
pub use verb::{Check, Verb};
pub use watch::Ask;

use crate::analysis::Sample;
use crate::event::{Event, What};
use crate::ids::{Generation, InstanceId, ReleaseNumber, ServiceName};
use crate::mutant::{self, Mutant};
use crate::observed::{Health, Observed};
use crate::plan::{HookPoint, Route, Split, Waiting};
use crate::progress::{Illegal, Progress};
use crate::release::Release;
use crate::seen::{Ensured, SeenInstance};
use crate::units::Millis;

/// The wait between two replacements of instances of a service that just serves.
const HEAL_MS: (u64, u64) = (1000, 30_000);
/// The wait before a route that failed is tried again, first and at most.
const ROUTE_MS: (u64, u64) = (100, 10_000);

/// What is known of an instance beyond what decisions need.
#[derive(Debug, Clone, Default)]
pub struct Detail {
    /// Where it answers.
    pub address: Option<std::net::SocketAddr>,
    /// Which run of it this is.
    pub incarnation: String,
    /// How often it was started again after it ended by itself.
    pub restarts: u32,
    /// Why it is not well, if it is not.
    pub reason: Option<String>,
    /// The number of the probing that is heard; an earlier one's verdicts are not.
    pub probing: Option<u64>,
}

/// An action that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Whether it may have been done all the same.
    pub how: Certainty,
    /// Why, with causes.
    pub why: String,
}

/// What is known of an action that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// It certainly was not done.
    NotDone,
    /// It may have been: observe before anything else.
    Unknown,
}

/// What came of a start.
pub type StartResult = Result<(Ensured, SeenInstance), Failed>;

/// What the loop is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// A start ended.
    Started(InstanceId, StartResult),
    /// Starts of instances that nothing runs for ended.
    Recorded(Vec<(InstanceId, StartResult)>),
    /// A drain and stop ended; so many requests were cut.
    Retired(InstanceId, u64, Result<Ensured, Failed>),
    /// Instances that nothing runs for were removed.
    Erased(Vec<InstanceId>),
    /// A route ended, with the proxy's revision.
    Routed(Route, Result<u64, Failed>),
    /// A hook ended; whether well, and its exit with its last lines.
    Hook(HookPoint, bool, String),
    /// An observation, and the turn at which it was asked for.
    Seen(Result<Vec<SeenInstance>, Failed>, u64),
    /// A verdict by the number of the probing that found it, with the evidence if it is not good.
    Health(InstanceId, u64, Health, Vec<String>),
    /// The target has seen a generation: nobody with an older one acts there any more.
    Fenced(Generation, Result<Ensured, Failed>),
    /// Something is different at the targets: look again.
    Changed,
    /// A proxy was started: what it was told before may be forgotten.
    ProxyStarted,
    /// What a source said when it was asked.
    Sampled(Ask, Sample),
}

/// The number of an answer that waits.
pub type Ticket = u64;

/// What is to be done, in this order.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Make these durable, before anything that follows.
    Append(Append),
    /// Start these; each is answered by [`Input::Started`] (or all by [`Input::Recorded`]).
    Start(Vec<InstanceId>, Generation),
    /// Drain, stop and remove these; each is answered by [`Input::Retired`].
    Retire(Vec<InstanceId>, Generation),
    /// Let the proxy use this, as this revision; answered by [`Input::Routed`].
    Route(Route, Generation, u64),
    /// Run a hook of that release; answered by [`Input::Hook`].
    Hook(HookPoint, ReleaseNumber, u64),
    /// Let the target see this generation; answered by [`Input::Fenced`].
    Fence(Generation),
    /// Ask the driver what there is; answered by [`Input::Seen`] with this turn.
    Observe(u64),
    /// Ask the source of a judgement; answered by [`Input::Sampled`].
    Sample(Ask),
    /// Begin to probe, under this number; a trusted one is taken for healthy until it fails.
    Probe(InstanceId, u64, Trust),
    /// Probe no more.
    StopProbing(InstanceId),
    /// Let the answer go that waits under this number; these targets could not be told.
    Answer(Ticket, Vec<String>),
    /// A deployment has ended: what no release needs any more may go.
    Ended,
    /// An event that cannot follow was dropped: a bug of ours.
    Complain(Illegal),
}

/// What a new probing begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Nothing: it must prove itself.
    Unproven,
    /// It passed its probes before, and the proxy uses it.
    Proven,
}

/// How far a control plane is that took over: it acts only when nobody else can any more, and when
/// it has seen what they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grip {
    /// The target is being told.
    Fencing,
    /// It was; an observation that is asked for at this turn or later will do.
    Looking,
    /// It is known what there is.
    Firm,
}

/// What is not known of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// Whether it was started.
    Start,
    /// Whether it is being stopped, or has been.
    Stop,
}

/// How hard an append is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tries {
    /// Once; if it fails, [`Engine::withdraw`] and refuse the request.
    Once,
    /// Until it is written; nothing else is done meanwhile.
    UntilWritten,
}

/// Events, with the number of the deployment that they belong to, and what goes with them.
#[derive(Debug, Clone)]
pub struct Append {
    /// The events, oldest first.
    pub events: Vec<(Option<u64>, Event)>,
    /// How hard it is tried.
    pub tries: Tries,
    /// The generation after them.
    pub generation: Generation,
    /// What goes into the store in the same transaction.
    pub extra: Extra,
}

/// What goes into the store together with events.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// What of the service's rows is renewed.
    pub rows: Rows,
    /// Who asked for it.
    pub audit: Option<Audited>,
    /// A new release.
    pub release: Option<Arc<Release>>,
    /// The release whose spec is the service's from now on.
    pub spec: Option<Arc<Release>>,
    /// The key of the request.
    pub key: Option<Keyed>,
}

/// Which rows are renewed with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rows {
    /// None.
    #[default]
    None,
    /// The engine's own state: clock and snapshot.
    State,
    /// That, and the row of the deployment.
    Deployment,
}

/// A request that changes something, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Who asked.
    pub actor: String,
    /// For what.
    pub action: String,
    /// The deployment that it is about.
    pub deployment: u64,
}

/// What is taken back if a request's append fails.
#[derive(Debug, Clone)]
struct Before {
    progress: Progress,
    seq: u64,
    snapshot: Option<Snapshot>,
    release: Option<ReleaseNumber>,
}

/// One service's loop and all that it knows.
#[derive(Debug)]
pub struct Engine {
    /// The service.
    pub service: ServiceName,
    /// What the events add up to.
    pub progress: Progress,
    /// What was last seen.
    pub observed: Observed,
    /// What is known of each instance beyond that.
    pub details: BTreeMap<InstanceId, Detail>,
    /// The releases by number.
    pub releases: BTreeMap<ReleaseNumber, Arc<Release>>,
    /// What the deployment under way waits for.
    pub waiting: Option<Waiting>,
    /// The progress at the end of the last deployment.
    pub snapshot: Option<Snapshot>,
    /// The number of the last event, noted or written.
    pub seq: u64,
    now: Millis,
    pending: Vec<(Option<u64>, Event)>,
    effects: Vec<Effect>,
    /// Who asked for what is pending.
    audit: Option<Audited>,
    before: Option<Box<Before>>,
    revision: u64,
    /// Starts under way: how many of each instance, and under which generation the last one.
    starting: BTreeMap<InstanceId, (u32, Generation)>,
    /// How many probings there have been.
    probings: u64,
    tickets: Ticket,
    /// Answers that wait until no start of an older generation is under way or can be.
    fenced: Vec<(Ticket, Generation)>,
    /// The newest generation that the target is known to have seen, or not to have been told.
    told: Generation,
    unfenced: bool,
    /// Answers that wait for a split to be in effect.
    switched: Vec<(Split, Ticket)>,
    /// Counts what was taken note of, so that an older observation does not undo it.
    turn: u64,
    /// The turn at which the latest observation that was heard was asked for.
    seen_asked: u64,
    /// When a start or an end of an instance was taken note of.
    touched: BTreeMap<InstanceId, u64>,
    grip: Grip,
    /// When the target was last told of a generation.
    fence_after: Millis,
    /// The turn at which the target was known to be ours.
    taken_over: u64,
    /// Calls that nobody knows the outcome of: nothing is done to these before they are observed.
    doubts: BTreeMap<InstanceId, Doubt>,
    look_after: Millis,
    /// Since when an observation is under way, and whether something has changed meanwhile.
    looking: Option<Millis>,
    look_again: bool,
    /// Whether the last look had no answer.
    unseen: bool,
    /// The deployment that the hook under way belongs to, and whether to its undo.
    hook_of: Option<(u64, bool)>,
    /// Routes that fail are tried again with growing waits.
    route_after: Millis,
    route_wait: u64,
    heal_after: Millis,
    heal_wait: u64,
    /// When the source of each judgement was asked, and whether the answer is still to come.
    asked: BTreeMap<usize, (Millis, bool)>,
}

impl Engine {
    /// A service that has no history yet.
    #[must_use]
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            progress: Progress::default(),
            observed: Observed::default(),
            details: BTreeMap::new(),
            releases: BTreeMap::new(),
            waiting: None,
            snapshot: None,
            seq: 0,
            now: Millis::ZERO,
            pending: Vec::new(),
            effects: Vec::new(),
            audit: None,
            before: None,
            revision: 0,
            starting: BTreeMap::new(),
            probings: 0,
            tickets: 0,
            fenced: Vec::new(),
            told: Generation::default(),
            unfenced: false,
            switched: Vec::new(),
            turn: 0,
            seen_asked: 0,
            touched: BTreeMap::new(),
            grip: Grip::Firm,
            fence_after: Millis::ZERO,
            taken_over: 0,
            doubts: BTreeMap::new(),
            look_after: Millis::ZERO,
            looking: None,
            look_again: false,
            unseen: false,
            hook_of: None,
            route_after: Millis::ZERO,
            route_wait: ROUTE_MS.0,
            heal_after: Millis::ZERO,
            heal_wait: HEAL_MS.0,
            asked: BTreeMap::new(),
        }
    }

    /// The effects that have come up since they were last taken, in order.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Notes an event; it is durable only after the next append.
    fn push(&mut self, what: What) {
        let event = Event { clock: self.now.max(self.progress.clock), what };
        let before = self.progress.active.as_ref().map(|active| active.number);
        if let Err(illegal) = self.progress.apply(&event) {
            // A decision that cannot follow is dropped, and said loudly: it is a bug of ours.
            self.effects.push(Effect::Complain(illegal));
            return;
        }
        let deployment = before.or_else(|| self.progress.active.as_ref().map(|a| a.number));
        self.seq += 1;
        self.pending.push((deployment, event));
    }

    /// Hands out what was noted, to be made durable.
    fn append(&mut self, tries: Tries, mut extra: Extra) {
        extra.audit = extra.audit.or_else(|| self.audit.take());
        let events = std::mem::take(&mut self.pending);
        let generation = self.progress.generation;
        self.effects.push(Effect::Append(Append { events, tries, generation, extra }));
    }

    /// The same, if anything was noted.
    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.append(Tries::UntilWritten, Extra::default());
        }
    }

    /// Takes back a request whose append failed: it never was.
    pub fn withdraw(&mut self) {
        let before = self.before.take().filter(|_| !mutant::is(Mutant::WithdrawForgotten));
        let Some(before) = before else { return };
        self.progress = before.progress;
        self.seq = before.seq;
        self.snapshot = before.snapshot;
        if let Some(release) = before.release {
            self.releases.remove(&release);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }

    fn has_driver(&self, release: ReleaseNumber, name: &str) -> bool {
        self.releases.get(&release).is_some_and(|release| release.spec.run.driver == name)
    }
}
