//! The format of a spec: every key with what it may be, its default and what it means.

mod analysis;
mod change;
mod health;
mod judges;
mod run;
mod source;
mod traffic;

use super::shape::{Field, Need, Shape, Table};
use super::words;

/// Most instances of a service.
pub const INSTANCES_MAX: i64 = 10_000;
/// Most arguments of a command: far more than people write, far less than the system takes.
const ARGUMENTS_MAX: usize = 256;

const fn required(
    key: &'static str,
    shape: Shape,
    example: &'static str,
    doc: &'static str,
) -> Field {
    Field { key, shape, need: Need::Required, doc, example }
}

const fn optional(
    key: &'static str,
    shape: Shape,
    example: &'static str,
    doc: &'static str,
) -> Field {
    Field { key, shape, need: Need::Optional, doc, example }
}

/// A field with a default; `values` are the default and an example.
const fn defaulted(
    key: &'static str,
    shape: Shape,
    values: [&'static str; 2],
    doc: &'static str,
) -> Field {
    let [default, example] = values;
    Field { key, shape, need: Need::Default(default), doc, example }
}

/// The spec.
pub static SPEC: Table = Table {
    name: "spec",
    doc: "One service: what to run, how to know that it is well, how to change it, where its \
          traffic is.",
    one_of: None,
    fields: &[
        required(
            "service",
            Shape::Text(&words::SERVICE),
            "shop",
            "The name of the service: a-z, 0-9 and -, at most 40 characters.",
        ),
        optional(
            "version",
            Shape::Text(&words::VERSION),
            "v2.1.0",
            "The label of the build; `--version` on the command line goes before it.",
        ),
        defaulted(
            "instances",
            Shape::Integer(1, INSTANCES_MAX),
            ["1", "3"],
            "How many instances serve.",
        ),
        required("run", Shape::Table(&run::RUN), "{command: [./shop]}", "How an instance is run."),
        defaulted(
            "health",
            Shape::List(&Shape::Table(&health::PROBE), 0, 16),
            ["[]", "[{http: {path: /healthz}}]"],
            "The probes that an instance must pass to serve.",
        ),
        defaulted(
            "update",
            Shape::Table(&change::UPDATE),
            ["{}", "{max_surge: 1}"],
            "The pace of a change.",
        ),
        defaulted(
            "strategy",
            Shape::Tagged(&change::STRATEGY),
            ["rolling", "canary"],
            "How a change goes.",
        ),
        optional(
            "traffic",
            Shape::Table(&traffic::TRAFFIC),
            "{listen: [127.0.0.1:8080]}",
            "Where requests come in, and how they are spread; without it the service has no \
             traffic.",
        ),
        defaulted(
            "hooks",
            Shape::Table(&change::HOOKS),
            ["{}", "{before_switch: {command: [./smoke-test]}}"],
            "Commands at the turning points of a deployment.",
        ),
        defaulted(
            "rollback",
            Shape::Table(&change::ROLLBACK),
            ["{}", "{automatic: false}"],
            "When to go back without being asked.",
        ),
    ],
};
