//! What is deployed, in which order and how.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rollway_core::event::DeploymentState;
use serde_json::{Value, json};

/// The service's name.
pub const SERVICE: &str = "shop";

/// One deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// The version.
    pub version: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// How it should end.
    pub should: DeploymentState,
    /// Whether the version answers 5 % of its requests with an error.
    pub fails: bool,
}

impl Act {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::good("v1", "the first deployment"),
        Self::good("v2", "canary, 10 % and 50 %"),
        Self {
            version: "v3",
            what: "canary of a version that fails 5 % of its requests",
            should: DeploymentState::RolledBack,
            fails: true,
        },
        Self::good("v4", "blue-green"),
        Self::good("v5", "rolling, one instance at a time"),
    ];

    const fn good(version: &'static str, what: &'static str) -> Self {
        Self { version, what, should: DeploymentState::Completed, fails: false }
    }
}

/// All that is given from outside.
#[derive(Debug, Clone)]
pub struct Script {
    /// The program that is deployed.
    pub shop: PathBuf,
    /// Where the proxy listens.
    pub listen: SocketAddr,
    /// Requests a second.
    pub rate: u32,
    /// With short waits.
    pub quick: bool,
}

impl Script {
    /// The spec of one deployment.
    pub fn spec(&self, act: Act) -> Value {
        let mut command = vec![
            self.shop.display().to_string(),
            "--port".to_owned(),
            "{{port}}".to_owned(),
            "--version={{version}}".to_owned(),
            "--latency=5ms".to_owned(),
        ];
        if act.fails {
            command.push("--error-rate=5%".to_owned());
        }
        json!({
            "service": SERVICE,
            "instances": 3,
            "run": { "command": command, "stop_timeout": "5s" },
            "health": [{ "http": { "path": "/healthz" }, "interval": "250ms" }],
            "update": {
                "max_surge": 1,
                "min_healthy_time": self.long_or_short("3s", "300ms"),
                "healthy_deadline": "20s",
            },
            "strategy": self.strategy(act),
            "traffic": { "listen": [self.listen.to_string()], "drain": "5s" },
        })
    }

    fn strategy(&self, act: Act) -> Value {
        let hold = self.long_or_short("9s", "1s");
        match act.version {
            "v2" => {
                let steps = json!([{"weight": 10}, {"hold": hold}, {"weight": 50}, {"hold": hold}]);
                json!({ "canary": { "steps": steps } })
            }
            "v3" => {
                // Long enough for the judge to see a handful of errors at the lowest rate.
                let hold = format!("{}s", 30 + 1200 / u64::from(self.rate));
                let analysis = json!({ "interval": "1s", "warmup": "1s" });
                let steps = json!([{"weight": 10}, {"hold": hold}]);
                json!({ "canary": { "steps": steps, "analysis": analysis } })
            }
            "v4" => {
                let delay = self.long_or_short("3s", "500ms");
                json!({ "blue_green": { "scale_down_delay": delay } })
            }
            _ => json!("rolling"),
        }
    }

    fn long_or_short<T>(&self, long: T, short: T) -> T {
        if self.quick { short } else { long }
    }

    /// How long requests go on after each deployment.
    pub fn pause(&self) -> Duration {
        Duration::from_millis(self.long_or_short(3000, 700))
    }

    /// A deployment that has not ended by then never will.
    pub fn wait_max(&self) -> Duration {
        Duration::from_secs(90 + 1200 / u64::from(self.rate))
    }
}
