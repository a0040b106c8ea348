//! The judges of other systems, and what they need.

use super::{defaulted, optional, required};
use crate::spec::shape::{Field, Shape, Table, Variant};
use crate::spec::words;

/// Most metrics of a judge, most groups of a metric.
const METRICS_MAX: usize = 20;
/// Most measurements, failures, values: more than anybody waits for.
const COUNT_MAX: i64 = 1_000_000;
/// Fewer values a side than this never differ at any level that is used.
const SAMPLES_LEAST: i64 = 2;
/// Most values a side that may be asked for.
const SAMPLES_MOST: i64 = 1000;

const fn measure(name: &'static str, doc: &'static str) -> Variant {
    Variant { name, doc, shape: None, example: "" }
}

static MEASURED: [Variant; 9] = [
    measure("error_rate", "The share of requests that failed since the last check; 0.05 is 5 %."),
    measure("success_rate", "The share of requests that did not fail."),
    measure("latency_mean", "How long requests took on average, in seconds."),
    measure("latency_p50", "The latency of the middle request, in seconds."),
    measure("latency_p90", "The latency below which 90 % of requests were."),
    measure("latency_p95", "The latency below which 95 % of requests were."),
    measure("latency_p99", "The latency below which 99 % of requests were."),
    measure("requests", "How many requests there were since the last check."),
    measure("value", "A number that the source gives as it is: its `value`."),
];

static DIRECTION: [Variant; 3] = [
    measure("either", "Both."),
    measure("increase", "The new release above the old one."),
    measure("decrease", "The new release below the old one."),
];

const fn metrics(of: &'static Shape, example: &'static str) -> Field {
    required("metrics", Shape::List(of, 1, METRICS_MAX), example, "What is looked at.")
}

const fn name() -> Field {
    optional("name", Shape::Text(&words::LABEL), "errors", "Its name; default: its `measure`.")
}

const fn measured() -> Field {
    required("measure", Shape::Choice(&MEASURED), "error_rate", "What it is.")
}

const fn tolerance() -> Field {
    defaulted(
        "tolerance",
        Shape::Number(0.0, 100.0),
        ["0.25", "0"],
        "The interval of the shift must be beyond this part of its estimate.",
    )
}

const fn effect() -> Field {
    defaulted(
        "effect",
        Shape::Table(&EFFECT),
        ["{}", "{allowed_increase: 1.1}"],
        "How large a change must be to count.",
    )
}

const fn samples_min() -> Field {
    defaulted(
        "samples_min",
        Shape::Integer(SAMPLES_LEAST, SAMPLES_MOST),
        ["5", "20"],
        "Fewer values on a side are no data.",
    )
}

const fn lifetime() -> Field {
    defaulted(
        "lifetime",
        Shape::duration(1),
        ["10m", "30m"],
        "How long values are collected, after the warm-up; each check gives one.",
    )
}

const fn count(key: &'static str, values: [&'static str; 2], doc: &'static str) -> Field {
    defaulted(key, Shape::Integer(0, COUNT_MAX), values, doc)
}

/// Argo's thresholds.
pub static THRESHOLD: Table = Table {
    name: "threshold",
    doc: "Argo Rollouts' analysis: conditions of one number per check of the new release, and \
          limits of how often they may fail. There is no old release in it: an incident that \
          hits both is taken for a regression. A metric that has failed or could not be measured \
          too often rolls back; one with too many inconclusive measurements is `inconclusive`; \
          the worst metric decides.",
    one_of: None,
    fields: &[metrics(
        &Shape::Table(&THRESHOLD_METRIC),
        "[{measure: error_rate, success_condition: result < 0.05, count: 10}]",
    )],
};

static THRESHOLD_METRIC: Table = Table {
    name: "threshold_metric",
    doc: "A metric of `threshold`, with Argo's words. With a success condition alone what is not \
          good is bad, with a failure condition alone what is not bad is good, and with both what \
          is neither is inconclusive. No requests, no answer and a condition that cannot be told \
          are errors.",
    one_of: None,
    fields: &[
        name(),
        measured(),
        defaulted(
            "success_condition",
            Shape::Text(&words::CONDITION),
            ["\"\"", "\"result < 0.05\""],
            "Holds of a good `result`, which is the number.",
        ),
        defaulted(
            "failure_condition",
            Shape::Text(&words::CONDITION),
            ["\"\"", "\"result >= 0.2\""],
            "Holds of a bad one.",
        ),
        defaulted(
            "failure_limit",
            Shape::Integer(-1, COUNT_MAX),
            ["0", "3"],
            "How many bad ones are borne; -1 is any number.",
        ),
        count("inconclusive_limit", ["0", "3"], "How many inconclusive ones are borne."),
        count("consecutive_error_limit", ["4", "10"], "How many errors in a row are borne."),
        count(
            "consecutive_success_limit",
            ["0", "5"],
            "So many good ones in a row are enough; 0 is no such rule.",
        ),
        optional(
            "count",
            Shape::Integer(1, COUNT_MAX),
            "10",
            "How many measurements; default: without end, beside the steps, until the deadline. \
             In an `analyse` step there must be an end.",
        ),
        optional(
            "interval",
            Shape::duration(1),
            "30s",
            "From one measurement to the next; default: the analysis' `interval`, and not less.",
        ),
        optional(
            "initial_delay",
            Shape::duration(0),
            "1m",
            "What happens before this is not measured; default: the analysis' `warmup`.",
        ),
        defaulted("dry_run", Shape::Bool, ["false", "true"], "Measured and told, never counted."),
    ],
};

/// The rank test.
pub static MANN_WHITNEY: Table = Table {
    name: "mann_whitney",
    doc: "The rank test of Mann and Whitney of the values of both releases, one a check, as R's \
          `wilcox.test` has it: exact for fewer than 50 values a side without ties. It looks once, \
          when `lifetime` is over: a release that is worse is rolled back, and one that is not \
          goes on. Values of one release that depend on each other (memory, processor time) are \
          taken for different too easily.",
    one_of: None,
    fields: &[metrics(&Shape::Table(&RANK_METRIC), "[{measure: latency_p99}]"), lifetime()],
};

static RANK_METRIC: Table = Table {
    name: "rank_metric",
    doc: "A metric of `mann_whitney`. It is worse where `p` is at most `alpha`, the interval of \
          the shift at that level is beyond `tolerance` times its estimate, and the change is as \
          large as `effect` says.",
    one_of: None,
    fields: &[
        name(),
        measured(),
        defaulted(
            "direction",
            Shape::Choice(&DIRECTION),
            ["increase", "either"],
            "Which change is bad.",
        ),
        defaulted(
            "alpha",
            Shape::Number(1e-6, 0.2),
            ["0.01", "0.001"],
            "How likely this metric may roll back a release that is no worse.",
        ),
        tolerance(),
        effect(),
        samples_min(),
    ],
};

/// Kayenta's judge.
pub static KAYENTA: Table = Table {
    name: "kayenta",
    doc: "Kayenta's NetflixACAJudge: each metric is pass, high, low or without data, and the score \
          is the weighted share that passes. A judgement below `marginal` rolls back; the last one \
          goes on from `pass` on, and is `inconclusive` in between. Where Kayenta fails for want \
          of data, this waits for it until the deadline, and is `inconclusive` then.",
    one_of: None,
    fields: &[
        metrics(&Shape::Table(&KAYENTA_METRIC), "[{measure: error_rate, direction: increase}]"),
        defaulted("pass", Shape::Number(0.0, 100.0), ["95", "90"], "A score that passes."),
        defaulted(
            "marginal",
            Shape::Number(0.0, 100.0),
            ["75", "50"],
            "A score that does not fail.",
        ),
        defaulted(
            "group_weights",
            Shape::List(&Shape::Table(&GROUP_WEIGHT), 0, METRICS_MAX),
            ["[]", "[{name: errors, weight: 60}]"],
            "The weights of groups, in percent; those without one share the rest.",
        ),
        lifetime(),
        optional(
            "every",
            Shape::duration(1),
            "5m",
            "From one judgement to the next; default: one at the end. More of them are more \
             chances to be wrong.",
        ),
        optional(
            "lookback",
            Shape::duration(1),
            "10m",
            "How far back a judgement looks; default: to the beginning.",
        ),
        defaulted(
            "manner",
            Shape::Choice(&MANNER),
            ["mended", "faithful"],
            "Whether its known defects are mended.",
        ),
    ],
};

static MANNER: [Variant; 2] = [
    measure("faithful", "As Kayenta does it, with its defects."),
    measure("mended", "Without them: a least number of values, an interval in every unit."),
];

static NAN: [Variant; 2] =
    [measure("remove", "They are left out."), measure("replace", "They are 0.")];

static KAYENTA_METRIC: Table = Table {
    name: "kayenta_metric",
    doc: "A metric of `kayenta`, with Kayenta's words.",
    one_of: None,
    fields: &[
        name(),
        measured(),
        defaulted(
            "groups",
            Shape::List(&Shape::Text(&words::LABEL), 1, METRICS_MAX),
            ["[metrics]", "[errors]"],
            "The groups that it counts in.",
        ),
        defaulted(
            "direction",
            Shape::Choice(&DIRECTION),
            ["either", "increase"],
            "Which change counts.",
        ),
        defaulted(
            "nan_strategy",
            Shape::Choice(&NAN),
            ["remove", "replace"],
            "What becomes of checks without a value.",
        ),
        optional(
            "outlier_factor",
            Shape::Number(0.0, 1000.0),
            "3",
            "Values beyond so many quartile distances are left out; default: all are kept.",
        ),
        defaulted("critical", Shape::Bool, ["false", "true"], "It fails all by itself."),
        defaulted("must_have_data", Shape::Bool, ["false", "true"], "No data is a failure."),
        defaulted("muted", Shape::Bool, ["false", "true"], "Told, and not counted."),
        effect(),
        tolerance(),
        defaulted(
            "confidence",
            Shape::Number(0.5, 0.999_999),
            ["0.98", "0.99"],
            "The confidence of the interval of the shift.",
        ),
        samples_min(),
    ],
};

static GROUP_WEIGHT: Table = Table {
    name: "group_weight",
    doc: "The weight of a group of Kayenta's metrics.",
    one_of: None,
    fields: &[
        required("name", Shape::Text(&words::LABEL), "errors", "The group."),
        required("weight", Shape::Number(0.0, 100.0), "60", "Its weight, in percent."),
    ],
};

static EFFECT_MEASURE: [Variant; 2] = [
    measure("mean_ratio", "The new release's mean over the old one's."),
    measure("cles", "The chance that a value of the new release is above one of the old one."),
];

static EFFECT: Table = Table {
    name: "effect",
    doc: "How large a change must be to count; what is left out is any change (1 for a ratio of \
          means, 0.5 for `cles`).",
    one_of: None,
    fields: &[
        defaulted(
            "measure",
            Shape::Choice(&EFFECT_MEASURE),
            ["mean_ratio", "cles"],
            "How it is measured.",
        ),
        optional("allowed_increase", EFFECT_SIZE, "1.1", "From here on a rise counts."),
        optional("allowed_decrease", EFFECT_SIZE, "0.9", "Down from here a fall counts."),
        optional(
            "critical_increase",
            EFFECT_SIZE,
            "1.5",
            "From here on a rise of a critical metric fails all.",
        ),
        optional(
            "critical_decrease",
            EFFECT_SIZE,
            "0.5",
            "Down from here a fall of a critical metric fails all.",
        ),
    ],
};

const EFFECT_SIZE: Shape = Shape::Number(0.0, 1e6);
