//! The probes.

use super::{ARGUMENTS_MAX, defaulted, optional, required};
use crate::spec::shape::{Field, Shape, Table, Tagged, Texts, Variant};
use crate::spec::words;

/// Most headers of a probe's request.
const HEADERS_MAX: usize = 50;

/// A probe.
pub static PROBE: Table = Table {
    name: "probe",
    doc: "One health check and when it counts: one of the kinds, and these keys beside it. An \
          instance serves once all its probes have passed.",
    one_of: Some(&CHECK),
    fields: &[
        optional(
            "name",
            Shape::Text(&words::LABEL),
            "ready",
            "A name for messages; default: the kind.",
        ),
        defaulted(
            "interval",
            Shape::duration(1),
            ["1s", "5s"],
            "Time between two probes. Until the first healthy verdict probes come faster.",
        ),
        defaulted(
            "timeout",
            Shape::duration(1),
            ["1s", "500ms"],
            "A probe that takes longer has failed.",
        ),
        defaulted(
            "success_threshold",
            Shape::Integer(1, 1000),
            ["2", "1"],
            "That many successes in a row make an instance healthy.",
        ),
        defaulted(
            "failure_threshold",
            Shape::Integer(1, 1000),
            ["3", "5"],
            "That many failures in a row (one an `interval`) make it unhealthy.",
        ),
        defaulted(
            "start_period",
            Shape::duration(0),
            ["0s", "20s"],
            "Failures this soon after the start do not count.",
        ),
    ],
};

static CHECK: Tagged = Tagged {
    name: "kind of probe",
    doc: "What a probe checks.",
    variants: &[
        Variant {
            name: "http",
            doc: "An HTTP request to the instance; redirects are not followed.",
            shape: Some(Shape::Table(&HTTP)),
            example: "{path: /healthz}",
        },
        Variant {
            name: "tcp",
            doc: "A TCP connection to the instance.",
            shape: Some(Shape::Table(&TCP)),
            example: "{}",
        },
        Variant {
            name: "grpc",
            doc: "The gRPC health protocol.",
            shape: Some(Shape::Table(&GRPC)),
            example: "{service: shop.Cart}",
        },
        Variant {
            name: "command",
            doc: "A command that ends well.",
            shape: Some(Shape::Table(&COMMAND)),
            example: "{argv: [./check]}",
        },
        Variant {
            name: "disk",
            doc: "Free space on a file system.",
            shape: Some(Shape::Table(&DISK)),
            example: "{path: /var/lib/shop, free: 10%}",
        },
        Variant {
            name: "memory",
            doc: "Free memory of the machine.",
            shape: Some(Shape::Table(&MEMORY)),
            example: "{available: 512MiB}",
        },
    ],
};

static HEADERS: Texts =
    Texts { key: &words::HEADER, value: &words::HEADER_VALUE, entries_max: HEADERS_MAX };

const fn port() -> Field {
    optional(
        "port",
        Shape::Integer(1, 65_535),
        "9090",
        "Another port of the instance; default: its `{{port}}`.",
    )
}

static HTTP: Table = Table {
    name: "http",
    doc: "An HTTP request to the instance; redirects are not followed.",
    one_of: None,
    fields: &[
        defaulted("method", Shape::Text(&words::METHOD), ["GET", "HEAD"], "The method."),
        defaulted("path", Shape::Text(&words::REQUEST_PATH), ["/", "/healthz"], "Path and query."),
        defaulted(
            "headers",
            Shape::Texts(&HEADERS),
            ["{}", "{host: shop.example.org}"],
            "Headers to send.",
        ),
        defaulted(
            "expect",
            Shape::List(&Shape::STATUSES, 1, 20),
            ["[2xx]", "[200, 204, 300-399]"],
            "Expected statuses: `200`, `2xx` or `200-399`.",
        ),
        optional(
            "body",
            Shape::Text(&words::REGEX),
            "ok|ready",
            "A regular expression that the first 64 KiB of the body must match.",
        ),
        port(),
    ],
};

static TCP: Table = Table {
    name: "tcp",
    doc: "A TCP connection to the instance.",
    one_of: None,
    fields: &[port()],
};

static GRPC: Table = Table {
    name: "grpc",
    doc: "`grpc.health.v1.Health/Check`; the answer must be `SERVING`.",
    one_of: None,
    fields: &[
        defaulted(
            "service",
            Shape::Text(&words::TEXT),
            [r#""""#, "shop.Cart"],
            "The service name to ask for; empty = the server as a whole.",
        ),
        port(),
    ],
};

static COMMAND: Table = Table {
    name: "command",
    doc: "A command on this machine, with the instance's environment and working folder.",
    one_of: None,
    fields: &[
        required(
            "argv",
            Shape::List(&Shape::Text(&words::ARGUMENT), 1, ARGUMENTS_MAX),
            r#"[./check, "{{port}}"]"#,
            "Program and arguments; never given to a shell.",
        ),
        defaulted(
            "exit_code",
            Shape::Integer(0, 255),
            ["0", "3"],
            "The exit code that is a success.",
        ),
        optional(
            "output",
            Shape::Text(&words::REGEX),
            "healthy",
            "A regular expression that the first 64 KiB of the output must match.",
        ),
    ],
};

static DISK: Table = Table {
    name: "disk",
    doc: "Free space on a file system.",
    one_of: None,
    fields: &[
        required("path", Shape::Text(&words::PATH), "/var/lib/shop", "Any path on it."),
        required("free", Shape::ROOM, "10%", "At least that much must be free: `10%` or `2GiB`."),
    ],
};

static MEMORY: Table = Table {
    name: "memory",
    doc: "Free memory of the machine (`MemAvailable`).",
    one_of: None,
    fields: &[required(
        "available",
        Shape::ROOM,
        "512MiB",
        "At least that much must be available: `10%` or `512MiB`.",
    )],
};
