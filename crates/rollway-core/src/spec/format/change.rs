//! The pace of a change, the strategies, the hooks and the way back.

use super::analysis::ANALYSIS;
use super::{ARGUMENTS_MAX, INSTANCES_MAX, defaulted, optional, required};
use crate::spec::shape::{Field, Shape, Table, Tagged, Variant};
use crate::spec::words;

/// Most steps of a canary.
const STEPS_MAX: usize = 200;

static ORDERS: [Variant; 2] = [
    Variant {
        name: "start_first",
        doc: "The new one first: needs room for one more.",
        shape: None,
        example: "",
    },
    Variant {
        name: "stop_first",
        doc: "The old one first: `max_unavailable` must allow it.",
        shape: None,
        example: "",
    },
];

/// The pace of a change.
pub static UPDATE: Table = Table {
    name: "update",
    doc: "The pace of a change.",
    one_of: None,
    fields: &[
        defaulted(
            "max_surge",
            Shape::amount(1000),
            ["25%", "1"],
            "So many instances more than `instances` may run; a percentage rounds up.",
        ),
        defaulted(
            "max_unavailable",
            Shape::amount(100),
            ["0", "1"],
            "So many instances fewer than `instances` may serve; a percentage rounds down. Both \
             0 means 1.",
        ),
        defaulted(
            "max_parallel",
            Shape::Integer(0, INSTANCES_MAX),
            ["0", "2"],
            "At most so many instances are being changed at once; 0 = as many as the two above \
             allow.",
        ),
        defaulted(
            "min_healthy_time",
            Shape::duration(0),
            ["0s", "5s"],
            "An instance must have been healthy this long before it counts.",
        ),
        defaulted(
            "healthy_deadline",
            Shape::duration(1),
            ["1m", "2m"],
            "An instance must be healthy this soon after its start.",
        ),
        defaulted(
            "progress_deadline",
            Shape::duration(1),
            ["10m", "5m"],
            "A deployment must make progress at least this often; holds and approvals do not \
             count.",
        ),
        defaulted(
            "max_failure_ratio",
            Shape::Number(0.0, 1.0),
            ["0", "0.1"],
            "So large a share of the started instances may fail before the deployment does: 0 \
             to 1.",
        ),
        defaulted(
            "order",
            Shape::Choice(&ORDERS),
            ["start_first", "start_first"],
            "Whether a new instance starts before its predecessor stops, or after.",
        ),
        defaulted(
            "revision_history_limit",
            Shape::Integer(0, 1000),
            ["10", "20"],
            "So many releases without instances are kept for `rollback --to`.",
        ),
    ],
};

/// The strategies.
pub static STRATEGY: Tagged = Tagged {
    name: "strategy",
    doc: "How a change goes: `strategy: rolling`, or with settings `strategy: {canary: {...}}`.",
    variants: &[
        Variant {
            name: "rolling",
            doc: "Instance by instance, within the pace.",
            shape: None,
            example: "",
        },
        Variant {
            name: "blue_green",
            doc: "All new instances beside the old ones, then one switch.",
            shape: Some(Shape::Table(&BLUE_GREEN)),
            example: "{auto_promote: false}",
        },
        Variant {
            name: "canary",
            doc: "A growing share of the traffic.",
            shape: Some(Shape::Table(&CANARY)),
            example: "{steps: [{weight: 10}, {hold: 1m}, {weight: 50}, {hold: 1m}]}",
        },
        Variant {
            name: "recreate",
            doc: "All old ones stop, then the new ones start; requests are held meanwhile.",
            shape: None,
            example: "",
        },
    ],
};

static BLUE_GREEN: Table = Table {
    name: "blue_green",
    doc: "All new instances beside the old ones, then one switch.",
    one_of: None,
    fields: &[
        optional(
            "preview",
            Shape::Text(&words::LISTEN),
            "127.0.0.1:8081",
            "An address where the new release answers before the switch.",
        ),
        defaulted(
            "auto_promote",
            Shape::Bool,
            ["true", "false"],
            "Whether the switch comes by itself, or waits for `rollway promote`.",
        ),
        defaulted(
            "scale_down_delay",
            Shape::duration(0),
            ["30s", "5m"],
            "The old release is kept running this long after the switch, for a rollback at once.",
        ),
    ],
};

static CANARY: Table = Table {
    name: "canary",
    doc: "A growing share of the traffic.",
    one_of: None,
    fields: &[
        defaulted(
            "steps",
            Shape::List(&Shape::Tagged(&STEP), 1, STEPS_MAX),
            [
                "[{weight: 10}, {hold: 30s}, {weight: 25}, {hold: 30s}, {weight: 50}, {hold: 30s}]",
                "[{weight: 5}, {approve: look at the error rate}, {weight: 50}, {hold: 10m}]",
            ],
            "The steps, in their order; full weight comes by itself after the last.",
        ),
        defaulted(
            "analysis",
            Shape::Table(&ANALYSIS),
            ["{}", "{interval: 5s, judge: {sequential: {metrics: [errors]}}}"],
            "The new release is judged like this beside the old one, over all steps; `judge: \
             none` leaves it.",
        ),
        defaulted(
            "bake",
            Shape::duration(0),
            ["0s", "10m"],
            "So long after the last step the old release keeps 5 % of the requests, so that \
             what shows late is found too.",
        ),
    ],
};

static STEP: Tagged = Tagged {
    name: "step",
    doc: "One step of a canary.",
    variants: &[
        Variant {
            name: "weight",
            doc: "That many of a hundred requests go to the new release; each more than the last.",
            shape: Some(Shape::Integer(1, 100)),
            example: "10",
        },
        Variant {
            name: "hold",
            doc: "Wait that long.",
            shape: Some(Shape::duration(1)),
            example: "1m",
        },
        Variant {
            name: "approve",
            doc: "Wait for `rollway promote`; the text says what to look at.",
            shape: Some(Shape::Text(&words::TEXT)),
            example: "look at the error rate",
        },
        Variant {
            name: "analyse",
            doc: "Wait until the new release is judged good enough; a worse one is rolled back.",
            shape: Some(Shape::Table(&ANALYSIS)),
            example: "{min_bake: 5m}",
        },
    ],
};

const fn hook(key: &'static str, doc: &'static str) -> Field {
    optional(key, Shape::Table(&HOOK), "{command: [./notify, '{{version}}']}", doc)
}

/// The hooks.
pub static HOOKS: Table = Table {
    name: "hooks",
    doc: "Commands at the turning points of a deployment.",
    one_of: None,
    fields: &[
        hook("before_deploy", "Before the first instance of the new release starts."),
        hook(
            "after_deploy",
            "After the deployment has completed; its failure is reported, nothing is undone.",
        ),
        hook("before_switch", "Before the new release gets all the traffic."),
        hook("after_switch", "After that; its failure rolls back."),
        hook("on_rollback", "After a rollback; its failure is reported."),
    ],
};

static HOOK: Table = Table {
    name: "hook",
    doc: "One command with its time limit.",
    one_of: None,
    fields: &[
        required(
            "command",
            Shape::List(&Shape::Text(&words::HOOK_ARGUMENT), 1, ARGUMENTS_MAX),
            "[./notify, '{{version}}']",
            "Program and arguments; never given to a shell. See `templates`.",
        ),
        defaulted(
            "timeout",
            Shape::duration(1),
            ["1m", "5m"],
            "It is killed, and has failed, after this.",
        ),
    ],
};

/// The way back.
pub static ROLLBACK: Table = Table {
    name: "rollback",
    doc: "When to go back without being asked.",
    one_of: None,
    fields: &[defaulted(
        "automatic",
        Shape::Bool,
        ["true", "false"],
        "Whether a failed deployment is undone by itself; otherwise it pauses for the operator.",
    )],
};
