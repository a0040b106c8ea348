//! How a canary is judged: judges, and what they need.

use super::judges::{KAYENTA, MANN_WHITNEY, THRESHOLD};
use super::source::SOURCE;
use super::{defaulted, optional};
use crate::spec::shape::{Shape, Table, Tagged, Variant};

/// Shorter checks would only read the same counters again.
const INTERVAL_MIN_MS: u64 = 100;

/// One judgement.
pub static ANALYSIS: Table = Table {
    name: "analysis",
    doc: "How a canary is judged: who judges, by which numbers, how often and until when.",
    one_of: None,
    fields: &[
        defaulted(
            "judge",
            Shape::Tagged(&JUDGE),
            ["sequential", "{sequential: {alpha_rollback: 0.001}}"],
            "Who judges.",
        ),
        defaulted(
            "source",
            Shape::Tagged(&SOURCE),
            ["embedded_proxy", "{webhook: {url: \"http://127.0.0.1:9000/judge\"}}"],
            "Where the numbers come from.",
        ),
        defaulted(
            "interval",
            Shape::duration(INTERVAL_MIN_MS),
            ["10s", "5s"],
            "The time between two checks. The sequential judge loses nothing by looking often.",
        ),
        defaulted(
            "deadline",
            Shape::duration(1),
            ["1h", "30m"],
            "A judgement without a decision is over after this; `inconclusive` says what follows.",
        ),
        defaulted(
            "warmup",
            Shape::duration(0),
            ["30s", "0s"],
            "The new release is not looked at for this long after it has got its first traffic: \
             caches are cold.",
        ),
        defaulted(
            "min_bake",
            Shape::duration(0),
            ["2m", "10m"],
            "An `analyse` step lasts at least this long before its gate opens.",
        ),
        defaulted(
            "inconclusive",
            Shape::Tagged(&INCONCLUSIVE),
            ["promote_if_clean", "{extend: 30m}"],
            "What follows where the deadline finds no decision.",
        ),
    ],
};

static JUDGE: Tagged = Tagged {
    name: "judge",
    doc: "Who judges a canary.",
    variants: &[
        Variant {
            name: "none",
            doc: "Nobody; only health checks count.",
            shape: None,
            example: "",
        },
        Variant {
            name: "sequential",
            doc: "The test of both releases side by side; it may look as often as it likes.",
            shape: Some(Shape::Table(&SEQUENTIAL)),
            example: "{metrics: [errors], alpha_rollback: 0.001}",
        },
        Variant {
            name: "threshold",
            doc: "Argo Rollouts' conditions and limits, of the new release alone.",
            shape: Some(Shape::Table(&THRESHOLD)),
            example: "{metrics: [{measure: error_rate, success_condition: result < 0.05}]}",
        },
        Variant {
            name: "mann_whitney",
            doc: "One look with the rank test at the values of both releases.",
            shape: Some(Shape::Table(&MANN_WHITNEY)),
            example: "{metrics: [{measure: latency_p99}]}",
        },
        Variant {
            name: "kayenta",
            doc: "Kayenta's classes and scores of the values of both releases.",
            shape: Some(Shape::Table(&KAYENTA)),
            example: "{metrics: [{measure: error_rate, direction: increase}]}",
        },
    ],
};

static MEASURES: [Variant; 2] = [
    Variant {
        name: "errors",
        doc: "The share of requests that fail: 5xx, or no whole answer.",
        shape: None,
        example: "",
    },
    Variant { name: "latency", doc: "How long requests take.", shape: None, example: "" },
];

static SEQUENTIAL: Table = Table {
    name: "sequential",
    doc: "The settings of the sequential judge. Shares are of one: 0.05 is 5 %.",
    one_of: None,
    fields: &[
        defaulted(
            "metrics",
            Shape::List(&Shape::Choice(&MEASURES), 1, 2),
            ["[errors, latency]", "[errors]"],
            "What is looked at. A source that does not tell how long requests take needs \
             `[errors]`.",
        ),
        defaulted(
            "alpha_rollback",
            Shape::Number(1e-9, 0.5),
            ["0.01", "0.001"],
            "How likely a release that is no worse may be rolled back, over all metrics and \
             checks.",
        ),
        defaulted(
            "alpha_promote",
            Shape::Number(1e-9, 0.5),
            ["0.05", "0.01"],
            "How likely one that is not good enough may be certified.",
        ),
        defaulted(
            "error_ratio",
            Shape::Number(1.0, 100.0),
            ["1.25", "1.1"],
            "A certificate needs proof that errors are below so many times the old release's, \
             and `error_margin` more.",
        ),
        defaulted(
            "error_margin",
            Shape::Number(0.0, 0.5),
            ["0.002", "0.0005"],
            "So much of all requests may fail beside that.",
        ),
        defaulted(
            "error_floor",
            Shape::Number(0.0, 1.0),
            ["0.0005", "0.001"],
            "A release with more errors by less than this is never rolled back.",
        ),
        defaulted(
            "latency_margin",
            Shape::Number(0.0, 100.0),
            ["0.2", "0.1"],
            "A certificate needs proof that the latencies at 50, 90 and 99 % are within this.",
        ),
        defaulted(
            "latency_floor",
            Shape::Number(0.0, 100.0),
            ["0.05", "0.2"],
            "A release that is slower by less than this is never rolled back.",
        ),
        optional(
            "error_limit",
            Shape::Number(1e-6, 1.0),
            "0.05",
            "More errors than this roll back, whatever the old release does.",
        ),
        optional(
            "max_cluster",
            Shape::Number(1.0, 1e6),
            "10",
            "So many requests may fail together (retries, one session): evidence is divided by \
             this.",
        ),
    ],
};

static INCONCLUSIVE: Tagged = Tagged {
    name: "inconclusive",
    doc: "What follows where the deadline finds no decision.",
    variants: &[
        Variant {
            name: "promote_if_clean",
            doc: "Go on, recorded as not certified, where nothing speaks against it; wait for \
                  `rollway promote` otherwise.",
            shape: None,
            example: "",
        },
        Variant { name: "hold", doc: "Wait for `rollway promote`.", shape: None, example: "" },
        Variant { name: "rollback", doc: "Roll back.", shape: None, example: "" },
        Variant {
            name: "extend",
            doc: "Look for so much longer, then wait for `rollway promote`.",
            shape: Some(Shape::duration(1)),
            example: "30m",
        },
    ],
};
