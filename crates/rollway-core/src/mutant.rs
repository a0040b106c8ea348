//! Planted mutants: small wrong changes, one of which is switched on to see that some check fails.
//!
//! Only a build with `--cfg rollway_mutants` has them (`make mutants`); in every other one
//! [`is`] is `false` at compile time, and nothing of them is left.

/// A small wrong change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// An abort is acknowledged before the target was told.
    AbortAckedUnfenced,
    /// An abort does not name the target that could not be told.
    AbortHidesUnfenced,
    /// An abort is acknowledged while a route is under way.
    AbortIgnoresRoutes,
    /// Whoever takes over believes that the proxy uses what it was seen to use.
    AdoptedRouteBelieved,
    /// A gate for a person opens by itself.
    ApprovalSkipped,
    /// A gate that was opened leaves all later ones open.
    ApprovalStays,
    /// A deployment begins under the generation of the last one.
    BeginKeepsGeneration,
    /// After a deployment the old release serves.
    CompletedServesOld,
    /// Requests that a drain cuts are not told.
    CutUntold,
    /// A deployment without progress waits for ever.
    DeadlineForgotten,
    /// A route without an answer counts as not done.
    DoubtedRouteBelieved,
    /// A start without an answer is not looked at before anything else.
    DoubtedStartForgotten,
    /// A start without an answer counts as not done.
    DoubtedStartRemoved,
    /// A stop without an answer counts as done.
    DoubtedStopIsGone,
    /// A service that was taken down is to run all the same.
    DownStaysUp,
    /// Instances are stopped with requests in flight.
    DrainSkipped,
    /// However many instances fail, the deployment goes on.
    FailureBudgetForgotten,
    /// One failure more than allowed is let pass.
    FailureBudgetOffByOne,
    /// A failure is counted at every look.
    FailureCountedTwice,
    /// A start that failed is believed although the instance was started twice.
    FailedStartRemoves,
    /// The target lets older generations act.
    FenceDropped,
    /// An act does not raise the fence of the target.
    FenceNotRaised,
    /// Requests that are held are refused as soon as instances start.
    HeldLetGo,
    /// A hold ends at once.
    HoldSkipped,
    /// A hook that failed is taken for one that went well.
    HookSkipped,
    /// Actions begin before their intent is on disk.
    IntentNotWritten,
    /// What is kept until it can go gets requests anew.
    KeptGetsMore,
    /// When nobody is well, nobody is routed to.
    LastMembersDropped,
    /// A look undoes what was told after it was asked for.
    LateLookBelieved,
    /// An instance counts from its first success on.
    MinHealthyIgnored,
    /// Whoever has the name of what the proxy used is taken for it.
    NameIsProof,
    /// A look without an answer counts as one that saw nothing.
    NoAnswerIsEmpty,
    /// A look from before the fence counts as one after it.
    OldLookIsGrip,
    /// A verdict on an earlier run counts for the present one.
    OldVerdictHeard,
    /// A look is believed although a later one was heard.
    OlderLookBelieved,
    /// More than max_parallel instances change at once.
    ParallelIgnored,
    /// Time that was paused counts for a hold.
    PauseCountsForHold,
    /// A paused deployment goes on.
    PauseIgnored,
    /// The proxy takes routes that are older than the one it has.
    ProxyTakesStale,
    /// Who comes back gets all requests at once, however few they are.
    RecoveredGetsAll,
    /// What could not be stopped is taken for as healthy as it was before.
    RefusedStopTrusted,
    /// All that are too many go at once, whoever serves meanwhile.
    RetireUncounted,
    /// An instance is retired before the proxy has let go of it.
    RetiredWhileRouted,
    /// Two routes have one revision.
    RevisionKept,
    /// The snapshot does not tell what stands by.
    SnapshotForgetsStandby,
    /// The snapshot names one event too many.
    SnapshotOffByOne,
    /// What stands by goes before its time.
    StandbyEndsEarly,
    /// What stands by never goes.
    StandbyNeverEnds,
    /// A start of what runs starts it again.
    StartedTwice,
    /// An instance is stopped while its start is under way.
    StopOvertakesStart,
    /// The store acknowledges events that it does not keep.
    StoreLosesEvents,
    /// The store appends although somebody else has written meanwhile.
    StoreTakesAny,
    /// One instance more than the surge is started.
    SurgeExceeded,
    /// Whoever takes over acts under the generation of the one before.
    TakeOverKeepsGeneration,
    /// Whoever takes over acts before the target was told.
    TakeOverUnfenced,
    /// Whoever takes over acts without another look after the fence.
    TakeOverUnseen,
    /// Another run of an instance is taken for as healthy as the last one.
    TrustAfterRestart,
    /// A second deployment begins while one is under way.
    TwoDeployments,
    /// Instances are let go of below the least that must serve.
    UnavailableIgnored,
    /// The number of instances stays what the undone request wanted.
    UndoKeepsCount,
    /// The failures of a deployment count against its undo.
    UndoKeepsFailures,
    /// An undo acts under the generation of what it undoes.
    UndoKeepsGeneration,
    /// After an undo the release that failed serves.
    UndoServesNew,
    /// The old release gets all requests before it is whole again.
    UndoWithoutRestore,
    /// A new instance is taken for one that passed its probes before.
    UnprovenIsProven,
    /// Instances that are not well get requests beside those that are.
    UnreadyRouted,
    /// What a release cannot take goes to nobody.
    WeightLost,
    /// The new release gets its weight however few of it are ready.
    WeightUnbounded,
    /// A request that could not be written is carried out all the same.
    WithdrawForgotten,
}

impl Mutant {
    /// All by name, sorted, and what is wrong with each.
    pub const ALL: &[(&'static str, Self, &'static str)] = &[
        (
            "AbortAckedUnfenced",
            Self::AbortAckedUnfenced,
            "An abort is acknowledged before the target was told.",
        ),
        (
            "AbortHidesUnfenced",
            Self::AbortHidesUnfenced,
            "An abort does not name the target that could not be told.",
        ),
        (
            "AbortIgnoresRoutes",
            Self::AbortIgnoresRoutes,
            "An abort is acknowledged while a route is under way.",
        ),
        (
            "AdoptedRouteBelieved",
            Self::AdoptedRouteBelieved,
            "Whoever takes over believes that the proxy uses what it was seen to use.",
        ),
        ("ApprovalSkipped", Self::ApprovalSkipped, "A gate for a person opens by itself."),
        (
            "ApprovalStays",
            Self::ApprovalStays,
            "A gate that was opened leaves all later ones open.",
        ),
        (
            "BeginKeepsGeneration",
            Self::BeginKeepsGeneration,
            "A deployment begins under the generation of the last one.",
        ),
        (
            "CompletedServesOld",
            Self::CompletedServesOld,
            "After a deployment the old release serves.",
        ),
        ("CutUntold", Self::CutUntold, "Requests that a drain cuts are not told."),
        (
            "DeadlineForgotten",
            Self::DeadlineForgotten,
            "A deployment without progress waits for ever.",
        ),
        (
            "DoubtedRouteBelieved",
            Self::DoubtedRouteBelieved,
            "A route without an answer counts as not done.",
        ),
        (
            "DoubtedStartForgotten",
            Self::DoubtedStartForgotten,
            "A start without an answer is not looked at before anything else.",
        ),
        (
            "DoubtedStartRemoved",
            Self::DoubtedStartRemoved,
            "A start without an answer counts as not done.",
        ),
        ("DoubtedStopIsGone", Self::DoubtedStopIsGone, "A stop without an answer counts as done."),
        ("DownStaysUp", Self::DownStaysUp, "A service that was taken down is to run all the same."),
        ("DrainSkipped", Self::DrainSkipped, "Instances are stopped with requests in flight."),
        (
            "FailureBudgetForgotten",
            Self::FailureBudgetForgotten,
            "However many instances fail, the deployment goes on.",
        ),
        (
            "FailureBudgetOffByOne",
            Self::FailureBudgetOffByOne,
            "One failure more than allowed is let pass.",
        ),
        ("FailureCountedTwice", Self::FailureCountedTwice, "A failure is counted at every look."),
        (
            "FailedStartRemoves",
            Self::FailedStartRemoves,
            "A start that failed is believed although the instance was started twice.",
        ),
        ("FenceDropped", Self::FenceDropped, "The target lets older generations act."),
        ("FenceNotRaised", Self::FenceNotRaised, "An act does not raise the fence of the target."),
        (
            "HeldLetGo",
            Self::HeldLetGo,
            "Requests that are held are refused as soon as instances start.",
        ),
        ("HoldSkipped", Self::HoldSkipped, "A hold ends at once."),
        ("HookSkipped", Self::HookSkipped, "A hook that failed is taken for one that went well."),
        (
            "IntentNotWritten",
            Self::IntentNotWritten,
            "Actions begin before their intent is on disk.",
        ),
        ("KeptGetsMore", Self::KeptGetsMore, "What is kept until it can go gets requests anew."),
        (
            "LastMembersDropped",
            Self::LastMembersDropped,
            "When nobody is well, nobody is routed to.",
        ),
        (
            "LateLookBelieved",
            Self::LateLookBelieved,
            "A look undoes what was told after it was asked for.",
        ),
        (
            "MinHealthyIgnored",
            Self::MinHealthyIgnored,
            "An instance counts from its first success on.",
        ),
        (
            "NameIsProof",
            Self::NameIsProof,
            "Whoever has the name of what the proxy used is taken for it.",
        ),
        (
            "NoAnswerIsEmpty",
            Self::NoAnswerIsEmpty,
            "A look without an answer counts as one that saw nothing.",
        ),
        (
            "OldLookIsGrip",
            Self::OldLookIsGrip,
            "A look from before the fence counts as one after it.",
        ),
        (
            "OldVerdictHeard",
            Self::OldVerdictHeard,
            "A verdict on an earlier run counts for the present one.",
        ),
        (
            "OlderLookBelieved",
            Self::OlderLookBelieved,
            "A look is believed although a later one was heard.",
        ),
        (
            "ParallelIgnored",
            Self::ParallelIgnored,
            "More than max_parallel instances change at once.",
        ),
        ("PauseCountsForHold", Self::PauseCountsForHold, "Time that was paused counts for a hold."),
        ("PauseIgnored", Self::PauseIgnored, "A paused deployment goes on."),
        (
            "ProxyTakesStale",
            Self::ProxyTakesStale,
            "The proxy takes routes that are older than the one it has.",
        ),
        (
            "RecoveredGetsAll",
            Self::RecoveredGetsAll,
            "Who comes back gets all requests at once, however few they are.",
        ),
        (
            "RefusedStopTrusted",
            Self::RefusedStopTrusted,
            "What could not be stopped is taken for as healthy as it was before.",
        ),
        (
            "RetireUncounted",
            Self::RetireUncounted,
            "All that are too many go at once, whoever serves meanwhile.",
        ),
        (
            "RetiredWhileRouted",
            Self::RetiredWhileRouted,
            "An instance is retired before the proxy has let go of it.",
        ),
        ("RevisionKept", Self::RevisionKept, "Two routes have one revision."),
        (
            "SnapshotForgetsStandby",
            Self::SnapshotForgetsStandby,
            "The snapshot does not tell what stands by.",
        ),
        ("SnapshotOffByOne", Self::SnapshotOffByOne, "The snapshot names one event too many."),
        ("StandbyEndsEarly", Self::StandbyEndsEarly, "What stands by goes before its time."),
        ("StandbyNeverEnds", Self::StandbyNeverEnds, "What stands by never goes."),
        ("StartedTwice", Self::StartedTwice, "A start of what runs starts it again."),
        (
            "StopOvertakesStart",
            Self::StopOvertakesStart,
            "An instance is stopped while its start is under way.",
        ),
        (
            "StoreLosesEvents",
            Self::StoreLosesEvents,
            "The store acknowledges events that it does not keep.",
        ),
        (
            "StoreTakesAny",
            Self::StoreTakesAny,
            "The store appends although somebody else has written meanwhile.",
        ),
        ("SurgeExceeded", Self::SurgeExceeded, "One instance more than the surge is started."),
        (
            "TakeOverKeepsGeneration",
            Self::TakeOverKeepsGeneration,
            "Whoever takes over acts under the generation of the one before.",
        ),
        (
            "TakeOverUnfenced",
            Self::TakeOverUnfenced,
            "Whoever takes over acts before the target was told.",
        ),
        (
            "TakeOverUnseen",
            Self::TakeOverUnseen,
            "Whoever takes over acts without another look after the fence.",
        ),
        (
            "TrustAfterRestart",
            Self::TrustAfterRestart,
            "Another run of an instance is taken for as healthy as the last one.",
        ),
        (
            "TwoDeployments",
            Self::TwoDeployments,
            "A second deployment begins while one is under way.",
        ),
        (
            "UnavailableIgnored",
            Self::UnavailableIgnored,
            "Instances are let go of below the least that must serve.",
        ),
        (
            "UndoKeepsCount",
            Self::UndoKeepsCount,
            "The number of instances stays what the undone request wanted.",
        ),
        (
            "UndoKeepsFailures",
            Self::UndoKeepsFailures,
            "The failures of a deployment count against its undo.",
        ),
        (
            "UndoKeepsGeneration",
            Self::UndoKeepsGeneration,
            "An undo acts under the generation of what it undoes.",
        ),
        ("UndoServesNew", Self::UndoServesNew, "After an undo the release that failed serves."),
        (
            "UndoWithoutRestore",
            Self::UndoWithoutRestore,
            "The old release gets all requests before it is whole again.",
        ),
        (
            "UnprovenIsProven",
            Self::UnprovenIsProven,
            "A new instance is taken for one that passed its probes before.",
        ),
        (
            "UnreadyRouted",
            Self::UnreadyRouted,
            "Instances that are not well get requests beside those that are.",
        ),
        ("WeightLost", Self::WeightLost, "What a release cannot take goes to nobody."),
        (
            "WeightUnbounded",
            Self::WeightUnbounded,
            "The new release gets its weight however few of it are ready.",
        ),
        (
            "WithdrawForgotten",
            Self::WithdrawForgotten,
            "A request that could not be written is carried out all the same.",
        ),
    ];
}

/// Whether this wrong change is switched on: never in a build that is meant for use.
#[cfg(not(rollway_mutants))]
#[must_use]
pub const fn is(_mutant: Mutant) -> bool {
    false
}

/// Switches the wrong change of that name on, for good; an empty name is none. Without
/// `--cfg rollway_mutants` there is nothing to switch on.
#[cfg(not(rollway_mutants))]
pub const fn choose(_name: &str) {}

/// The wrong change that is switched on.
#[cfg(rollway_mutants)]
static CHOSEN: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();

/// Whether this wrong change is switched on.
#[cfg(rollway_mutants)]
#[must_use]
pub fn is(mutant: Mutant) -> bool {
    CHOSEN.get().is_some_and(|chosen| *chosen == Some(mutant))
}

/// Switches the wrong change of that name on, for good; an empty name is none.
///
/// # Panics
///
/// If no mutant has that name.
#[cfg(rollway_mutants)]
pub fn choose(name: &str) {
    CHOSEN.get_or_init(|| {
        let known = Mutant::ALL.iter().find(|(known, ..)| *known == name);
        assert!(known.is_some() || name.is_empty(), "{name:?} is no mutant");
        known.map(|(_, mutant, _)| *mutant)
    });
}
