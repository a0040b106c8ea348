//! Where requests come in, and how they are spread.

use super::{defaulted, optional, required};
use crate::spec::shape::{Shape, Table, Tagged, Variant};
use crate::spec::words;

/// Traffic.
pub static TRAFFIC: Table = Table {
    name: "traffic",
    doc: "Where requests come in, and how they are spread.",
    one_of: None,
    fields: &[
        required(
            "listen",
            Shape::List(&Shape::Text(&words::LISTEN), 1, 32),
            "[127.0.0.1:8080]",
            "Addresses to listen on: `127.0.0.1:8080`, `[::1]:8080`, `8080` (all addresses).",
        ),
        optional(
            "tls",
            Shape::Table(&TLS),
            "{certificate: /etc/shop/chain.pem, key: /etc/shop/key.pem}",
            "Serve TLS with these files; they are read again when they change.",
        ),
        defaulted(
            "rules",
            Shape::List(&Shape::Table(&RULE), 0, 100),
            ["[]", "[{host: shop.example.org, path: /api}]"],
            "Which requests on a shared address are this service's; none = all.",
        ),
        defaulted(
            "drain",
            Shape::duration(0),
            ["30s", "1m"],
            "Requests in flight on an instance that leaves get this long.",
        ),
        defaulted(
            "stream_drain",
            Shape::duration(0),
            ["30s", "10m"],
            "Upgraded connections (WebSocket) and streams get this long instead.",
        ),
        optional(
            "sticky",
            Shape::Tagged(&STICKY),
            "{cookie: shop_release}",
            "Whether a client stays with the release that it met.",
        ),
        defaulted(
            "testers",
            Shape::List(&Shape::Table(&TESTER), 0, 20),
            ["[]", "[{header: x-tester, value: 'yes'}]"],
            "Requests that always go to the new release while one is being deployed.",
        ),
        defaulted(
            "retries",
            Shape::Integer(0, 10),
            ["2", "1"],
            "So many other instances are tried when a connection cannot be made.",
        ),
        defaulted(
            "timeouts",
            Shape::Table(&TIMEOUTS),
            ["{}", "{response: 30s}"],
            "How long the steps of a request may take.",
        ),
        optional(
            "body_max",
            Shape::size(0),
            "64MiB",
            "The largest request body; default no limit.",
        ),
        defaulted(
            "pause_max",
            Shape::duration(0),
            ["30s", "10s"],
            "New requests are held this long while a service is paused or being recreated.",
        ),
    ],
};

static TLS: Table = Table {
    name: "tls",
    doc: "A certificate chain and its key, PEM.",
    one_of: None,
    fields: &[
        required("certificate", Shape::Text(&words::PATH), "/etc/shop/chain.pem", "The chain."),
        required("key", Shape::Text(&words::PATH), "/etc/shop/key.pem", "The private key."),
    ],
};

static RULE: Table = Table {
    name: "rule",
    doc: "Which requests are meant: all given parts must match.",
    one_of: None,
    fields: &[
        optional(
            "host",
            Shape::Text(&words::HOST),
            "shop.example.org",
            "The host, exactly or as `*.example.org`.",
        ),
        optional(
            "path",
            Shape::Text(&words::PATH_PREFIX),
            "/api",
            "A path prefix of whole segments: `/api` is `/api` and `/api/x`, not `/apix`.",
        ),
    ],
};

static STICKY: Tagged = Tagged {
    name: "stickiness",
    doc: "By what a client stays with the release that it met.",
    variants: &[
        Variant {
            name: "cookie",
            doc: "A signed cookie of this name.",
            shape: Some(Shape::Text(&words::COOKIE)),
            example: "shop_release",
        },
        Variant {
            name: "header",
            doc: "A hash of this header's value.",
            shape: Some(Shape::Text(&words::HEADER)),
            example: "x-user-id",
        },
    ],
};

static TESTER: Table = Table {
    name: "tester",
    doc: "Requests with this header go to the new release.",
    one_of: None,
    fields: &[
        required("header", Shape::Text(&words::HEADER), "x-tester", "The header's name."),
        required("value", Shape::Text(&words::HEADER_VALUE), "'yes'", "Its exact value."),
    ],
};

static TIMEOUTS: Table = Table {
    name: "timeouts",
    doc: "How long the steps of a request may take.",
    one_of: None,
    fields: &[
        defaulted(
            "connect",
            Shape::duration(1),
            ["1s", "500ms"],
            "Until a connection to an instance is made.",
        ),
        defaulted(
            "response",
            Shape::duration(0),
            ["0s", "30s"],
            "From the request to the head of the answer; 0 = no limit.",
        ),
        defaulted(
            "idle",
            Shape::duration(1),
            ["75s", "2m"],
            "A client connection without a request is closed after this.",
        ),
    ],
};
