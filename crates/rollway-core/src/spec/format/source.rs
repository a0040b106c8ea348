//! Where the numbers of a judgement come from: the kinds of sources, and what they need.

use super::{ARGUMENTS_MAX, defaulted, optional, required};
use crate::spec::shape::{Field, Shape, Table, Tagged, Texts, Variant};
use crate::spec::words;

/// Most headers of a request.
const HEADERS_MAX: usize = 50;

/// The kinds.
pub static SOURCE: Tagged = Tagged {
    name: "source",
    doc: "Where the numbers of a judgement come from. The embedded proxy tells how many requests \
          there were, how many failed and how long they took; Prometheus tells what it is asked \
          for; the others tell of requests, and give a `value`, but not how long requests took. \
          Whatever cannot be read in time teaches nothing: it is never a good sign.",
    variants: &[
        Variant {
            name: "embedded_proxy",
            doc: "The proxy that Rollway runs: every request, by release.",
            shape: None,
            example: "",
        },
        Variant {
            name: "prometheus",
            doc: "Prometheus, or what answers its instant queries.",
            shape: Some(Shape::Table(&PROMETHEUS)),
            example: "{address: \"http://127.0.0.1:9090\", \
                      total: 'requests_total{release=\"{{release}}\"}', \
                      bad: 'errors_total{release=\"{{release}}\"}'}",
        },
        Variant {
            name: "http",
            doc: "A JSON document of each release.",
            shape: Some(Shape::Table(&HTTP)),
            example: "{url: \"http://127.0.0.1:9000/stats?release={{release}}\"}",
        },
        Variant {
            name: "webhook",
            doc: "A service of yours that is asked about both releases.",
            shape: Some(Shape::Table(&WEBHOOK)),
            example: "{url: \"http://127.0.0.1:9000/judge\"}",
        },
        Variant {
            name: "command",
            doc: "A command that prints the counters of a release as JSON.",
            shape: Some(Shape::Table(&COMMAND)),
            example: "{argv: [./counters, \"{{release}}\"]}",
        },
    ],
};

static HEADERS: Texts =
    Texts { key: &words::HEADER, value: &words::HEADER_VALUE, entries_max: HEADERS_MAX };

const fn access() -> Field {
    defaulted(
        "access",
        Shape::Table(&ACCESS),
        ["{}", "{token_file: /etc/rollway/token}"],
        "How it is reached: token, password, certificates.",
    )
}

const fn headers() -> Field {
    defaulted("headers", Shape::Texts(&HEADERS), ["{}", "{x-tenant: shop}"], "Headers to send.")
}

const fn timeout() -> Field {
    defaulted(
        "timeout",
        Shape::duration(1),
        ["5s", "2s"],
        "An answer that takes longer teaches nothing; at most 20s.",
    )
}

static PROMETHEUS: Table = Table {
    name: "prometheus",
    doc: "Instant queries, all of a check for the same moment. They are to find raw counters, not \
          `rate()` or `increase()`: what was counted since the last check is found from them, \
          series by series, also where one begins anew. An empty answer teaches nothing; where no \
          failure is counted before the first, add `or vector(0)`. Only what the judge looks at \
          is asked for, and has to be here.",
    one_of: None,
    fields: &[
        required(
            "address",
            Shape::Text(&words::URL),
            "\"http://127.0.0.1:9090\"",
            "The server; a path before `/api` is kept.",
        ),
        optional(
            "total",
            Shape::Text(&words::QUERY),
            "'http_requests_total{release=\"{{release}}\"}'",
            "The query of all requests of a release.",
        ),
        optional(
            "bad",
            Shape::Text(&words::QUERY),
            "'http_requests_total{release=\"{{release}}\", code=~\"5..\"} or vector(0)'",
            "The query of those that failed.",
        ),
        optional(
            "latency",
            Shape::Text(&words::QUERY),
            "'http_request_duration_seconds_bucket{release=\"{{release}}\"}'",
            "The query of how long they took: all buckets of a classic histogram in seconds, with \
             `le`. Both releases need the same buckets. What is slower within one bucket is not \
             seen, so that narrow ones tell more; beyond the last finite edge requests count as \
             twice that.",
        ),
        optional(
            "value",
            Shape::Text(&words::QUERY),
            "'avg(queue_length{release=\"{{release}}\"})'",
            "The query of one number, for a `measure: value`; it is no counter.",
        ),
        access(),
        timeout(),
    ],
};

static HTTP: Table = Table {
    name: "http_source",
    doc: "A JSON document of each release, with the counters of all its requests and of those \
          that failed. Redirects are not followed.",
    one_of: None,
    fields: &[
        required(
            "url",
            Shape::Text(&words::QUERY_URL),
            "\"http://127.0.0.1:9000/stats?release={{release}}\"",
            "Where it is; asked once for each release.",
        ),
        defaulted(
            "total",
            Shape::Text(&words::POINTER),
            ["/total", "/http/requests"],
            "Where the counter of all requests is in it: a JSON pointer.",
        ),
        defaulted(
            "bad",
            Shape::Text(&words::POINTER),
            ["/bad", "/http/failed"],
            "Where the counter of those that failed is.",
        ),
        optional(
            "value",
            Shape::Text(&words::POINTER),
            "/queue/length",
            "Where the number for a `measure: value` is; default: `/value`.",
        ),
        headers(),
        access(),
        timeout(),
    ],
};

static WEBHOOK: Table = Table {
    name: "webhook",
    doc: "A service of yours. It gets a POST with `{\"service\": ..., \"canary\": {\"release\": \
          2, \"version\": ..., \"instance\": ...}, \"baseline\": {...}}`, and answers with \
          `{\"canary\": {\"total\": 480, \"bad\": 1}, \"baseline\": {...}}`: counters that rise. \
          For a `measure: value` it answers with `\"value\"` too, or alone. \
          An answer with `\"at\"`, in seconds since 1970, is refused when that is more than a \
          minute ago.",
    one_of: None,
    fields: &[
        required(
            "url",
            Shape::Text(&words::URL),
            "\"http://127.0.0.1:9000/judge\"",
            "Where the question is posted.",
        ),
        headers(),
        access(),
        timeout(),
    ],
};

static COMMAND: Table = Table {
    name: "command_source",
    doc: "A command on this machine. It runs once for each release, and prints `{\"total\": 480, \
          \"bad\": 1}`: counters that rise; for a `measure: value` with `\"value\"` too, or alone. \
          With `\"at\"`, in seconds since 1970, it is refused \
          when that is more than a minute ago.",
    one_of: None,
    fields: &[
        required(
            "argv",
            Shape::List(&Shape::Text(&words::QUERY), 1, ARGUMENTS_MAX),
            "[/usr/local/bin/counters, \"{{release}}\"]",
            "Program and arguments; never given to a shell.",
        ),
        timeout(),
    ],
};

static ACCESS: Table = Table {
    name: "access",
    doc: "How a server is reached. Secrets are in files on this machine, read at every check, so \
          that they are neither in a release nor in the history.",
    one_of: None,
    fields: &[
        optional(
            "token_file",
            Shape::Text(&words::PATH),
            "/etc/rollway/token",
            "The file of a bearer token.",
        ),
        optional(
            "username",
            Shape::Text(&words::LABEL),
            "rollway",
            "The name for basic authentication; with `password_file`.",
        ),
        optional(
            "password_file",
            Shape::Text(&words::PATH),
            "/etc/rollway/password",
            "The file of its password.",
        ),
        optional(
            "ca",
            Shape::Text(&words::PATH),
            "/etc/rollway/ca.pem",
            "The certificates, as PEM, that sign the server's; default: those of the system.",
        ),
    ],
};
