//! How an instance is run.

use super::{ARGUMENTS_MAX, defaulted, optional, required};
use crate::spec::shape::{Shape, Table, Texts, Variant};
use crate::spec::words;

/// Most environment variables of a service.
const VARIABLES_MAX: usize = 500;

/// The drivers by name.
static DRIVERS: [Variant; 2] = [
    Variant {
        name: "null",
        doc: "Nothing is run; the change is only recorded.",
        shape: None,
        example: "",
    },
    Variant {
        name: "process",
        doc: "A process on this machine, with its own supervisor, port and log.",
        shape: None,
        example: "",
    },
];

static RESTARTS: [Variant; 3] = [
    Variant { name: "always", doc: "Every end that was not asked for.", shape: None, example: "" },
    Variant {
        name: "on_failure",
        doc: "An exit code other than 0, or a signal.",
        shape: None,
        example: "",
    },
    Variant { name: "never", doc: "None.", shape: None, example: "" },
];

static ENVIRONMENT: Texts =
    Texts { key: &words::VARIABLE, value: &words::VARIABLE_VALUE, entries_max: VARIABLES_MAX };

/// How an instance is run.
pub static RUN: Table = Table {
    name: "run",
    doc: "How an instance is run.",
    one_of: None,
    fields: &[
        defaulted(
            "driver",
            Shape::Choice(&DRIVERS),
            ["process", "process"],
            "Which driver starts instances.",
        ),
        defaulted(
            "command",
            Shape::List(&Shape::Text(&words::ARGUMENT), 0, ARGUMENTS_MAX),
            ["[]", r#"[./shop, "--listen=127.0.0.1:{{port}}"]"#],
            "Program and arguments; never given to a shell. See `templates`.",
        ),
        defaulted(
            "env",
            Shape::Texts(&ENVIRONMENT),
            ["{}", "{LOG_LEVEL: info}"],
            "Environment variables, beside the few that Rollway sets (`PORT`, `ROLLWAY_*`).",
        ),
        optional(
            "env_file",
            Shape::Text(&words::PATH),
            "/etc/shop/secrets.env",
            "A file of `NAME=value` lines, read when a release is made and kept out of the \
             history.",
        ),
        optional(
            "working_folder",
            Shape::Text(&words::RELEASE_PATH),
            "'build/{{version}}'",
            "The working folder of an instance; relative to the spec's folder, which is the \
             default.",
        ),
        optional(
            "artifact",
            Shape::Table(&ARTIFACT),
            "{path: 'build/shop-{{version}}'}",
            "The file that this version is, kept by digest so that a rollback runs exactly it.",
        ),
        optional(
            "user",
            Shape::Text(&words::USER),
            "shop",
            "The user that an instance runs as; default: the one that Rollway runs as.",
        ),
        defaulted(
            "limits",
            Shape::Table(&LIMITS),
            ["{}", "{memory: 512MiB}"],
            "What an instance may use.",
        ),
        defaulted(
            "stop_signal",
            Shape::Text(&words::SIGNAL),
            ["SIGTERM", "SIGINT"],
            "The signal that asks an instance to end.",
        ),
        defaulted(
            "stop_timeout",
            Shape::duration(0),
            ["10s", "20s"],
            "How long it may take after that before it is killed with all its children.",
        ),
        defaulted(
            "restart",
            Shape::Table(&RESTART),
            ["{}", "{policy: on_failure}"],
            "What happens when an instance ends by itself.",
        ),
        defaulted("log", Shape::Table(&LOG), ["{}", "{keep: 5}"], "How much output is kept."),
    ],
};

static ARTIFACT: Table = Table {
    name: "artifact",
    doc: "A file with its digest.",
    one_of: None,
    fields: &[
        required(
            "path",
            Shape::Text(&words::RELEASE_PATH),
            "'build/shop-{{version}}'",
            "Where it is; relative to the spec's folder. `{{artifact}}` in `command` is the kept \
             copy.",
        ),
        optional(
            "digest",
            Shape::Text(&words::DIGEST),
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "`sha256:` and 64 hex digits; checked when a release is made.",
        ),
    ],
};

static LIMITS: Table = Table {
    name: "limits",
    doc: "What an instance may use; absent is no limit of Rollway's.",
    one_of: None,
    fields: &[
        optional(
            "memory",
            Shape::size(1 << 20),
            "512MiB",
            "Memory of the whole tree (cgroup) or address space (rlimit) where there is no \
             cgroup.",
        ),
        optional(
            "cpus",
            Shape::Number(0.01, 1024.0),
            "0.5",
            "Processors, such as 0.5; needs a cgroup.",
        ),
        optional("open_files", Shape::Integer(16, 1 << 30), "4096", "Open files."),
        optional("processes", Shape::Integer(1, 1 << 22), "64", "Processes and threads."),
        defaulted("core", Shape::size(0), ["0", "1GiB"], "Size of a core file."),
    ],
};

static RESTART: Table = Table {
    name: "restart",
    doc: "What happens when an instance ends by itself.",
    one_of: None,
    fields: &[
        defaulted(
            "policy",
            Shape::Choice(&RESTARTS),
            ["always", "on_failure"],
            "Which ends are followed by a new start.",
        ),
        defaulted(
            "backoff",
            Shape::duration(1),
            ["100ms", "1s"],
            "The wait before the first restart; doubles each time.",
        ),
        defaulted("backoff_max", Shape::duration(1), ["30s", "1m"], "The longest wait."),
    ],
};

static LOG: Table = Table {
    name: "log",
    doc: "How much of an instance's output is kept.",
    one_of: None,
    fields: &[
        defaulted(
            "max_size",
            Shape::size(4096),
            ["10MiB", "64MiB"],
            "A log file is rotated at this size.",
        ),
        defaulted("keep", Shape::Integer(0, 100), ["3", "5"], "That many rotated files are kept."),
    ],
};
