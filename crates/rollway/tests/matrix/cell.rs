//! What one cell of the matrix is: a place, a strategy, an operation.

use std::fmt;

use crate::shop::Shop;

/// So many instances: two that are replaced one by one are enough for every order of steps.
pub const INSTANCES: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    BlueGreen,
    Canary,
    Recreate,
    Rolling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Abort,
    Deploy,
    Down,
    Rollback,
}

/// What has to happen for a place to be passed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prelude {
    Nothing,
    /// The control plane is killed amid the operation, and dies again on its way back.
    Killed,
    /// Somebody holds the database for longer than a write waits.
    HeldStore,
    /// A shim has been killed before.
    LostShim,
    /// There is nothing yet: no store, no proxy, no service.
    Fresh,
}

#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub point: &'static str,
    pub strategy: Strategy,
    pub operation: Operation,
    /// The place is armed for this passing.
    pub nth: u64,
}

impl Strategy {
    pub const ALL: [Self; 4] = [Self::BlueGreen, Self::Canary, Self::Recreate, Self::Rolling];

    /// A shop that is deployed so, without a stop on the way.
    pub fn shop(self) -> Shop {
        let text = match self {
            Self::BlueGreen => "{blue_green: {scale_down_delay: 100ms}}",
            Self::Canary => "{canary: {steps: [{weight: 50}, {hold: 50ms}]}}",
            Self::Recreate => "recreate",
            Self::Rolling => "rolling",
        };
        let hooks = "hooks: {before_deploy: {command: [/bin/true]}, \
                     after_switch: {command: [/bin/true]}, on_rollback: {command: [/bin/true]}}";
        Shop::new(INSTANCES, text).update("healthy_deadline: 60s").rest(hooks)
    }

    /// The same, but it stops on the way until it is told to go on; `at_gate` says how.
    pub fn stopping(self) -> Shop {
        let shop = self.shop();
        match self {
            Self::BlueGreen => Shop {
                strategy: "{blue_green: {auto_promote: false, scale_down_delay: 100ms}}".into(),
                ..shop
            },
            Self::Canary => {
                let strategy = "{canary: {steps: [{weight: 50}, {approve: look}]}}".into();
                Shop { strategy, ..shop }
            }
            Self::Recreate | Self::Rolling => shop.flags("--never-healthy"),
        }
    }

    /// Whether the deployment stops at a gate, not for want of health.
    pub fn has_gate(self) -> bool {
        match self {
            Self::BlueGreen | Self::Canary => true,
            Self::Recreate | Self::Rolling => false,
        }
    }
}

impl Cell {
    pub fn prelude(&self) -> Prelude {
        match self.point {
            "engine.adopt.after" | "engine.adopt.before" => Prelude::Killed,
            point if point.starts_with("store.epoch.") => Prelude::Killed,
            point if point.starts_with("files.replace.") => Prelude::Killed,
            point if point.starts_with("store.create.") => Prelude::Fresh,
            point if point.starts_with("traffic.proxy.") => Prelude::Fresh,
            "engine.journal.retry" => Prelude::HeldStore,
            "driver.alone.ended" => Prelude::LostShim,
            _ => Prelude::Nothing,
        }
    }

    /// Whether the place is in the proxy.
    pub fn is_of_proxy(&self) -> bool {
        self.point.starts_with("proxy.")
    }

    /// Whether shims may be killed in it: then an instance may be started once more.
    pub fn kills_shims(&self) -> bool {
        self.point.starts_with("shim.") || self.prelude() == Prelude::LostShim
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { point, strategy, operation, nth } = self;
        write!(f, "{point}:{nth} {strategy:?} {operation:?}")
    }
}

/// All cells. Only `Down` ends a service, and so reaches what is about that; only a first
/// deployment meets a world in which nothing is there.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for point in rollway::crash::ALL {
        let any = Cell { point, strategy: Strategy::Rolling, operation: Operation::Deploy, nth: 1 };
        let operations: &[Operation] = if point.starts_with("proxy.remove.") {
            &[Operation::Down]
        } else if any.prelude() == Prelude::Fresh {
            &[Operation::Deploy]
        } else {
            &[Operation::Deploy, Operation::Rollback, Operation::Abort]
        };
        for strategy in Strategy::ALL {
            for operation in operations {
                cells.push(Cell { point, strategy, operation: *operation, nth: 1 });
            }
        }
    }
    cells
}
