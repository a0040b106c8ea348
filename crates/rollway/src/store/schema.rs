//! The tables, and the numbers by which a file is known to be ours.

/// In the header of every database of ours: the letters `Roll`.
pub(super) const APPLICATION_ID: i64 = 0x526F_6C6C;

/// One text for each version of the schema, the first one from nothing to version 1. A text that
/// was released is never edited: changes are further texts.
pub(super) const VERSIONS: [&str; 1] = [VERSION_1];

/// The version that this program writes.
pub(super) const VERSION: i64 = VERSIONS.len() as i64;

/// JSON is TEXT, times are milliseconds since 1970, hashes are BLOBs, so that only the types' names
/// differ from one SQL engine to the next.
const VERSION_1: &str = "
CREATE TABLE instance (
    id    TEXT    NOT NULL PRIMARY KEY,
    epoch INTEGER NOT NULL,
    sum   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE services (
    name       TEXT    NOT NULL PRIMARY KEY,
    last_seq   INTEGER NOT NULL,
    last_hash  BLOB    NOT NULL,
    generation INTEGER NOT NULL,
    desired    TEXT    NOT NULL,
    sum        BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE documents (
    service TEXT NOT NULL REFERENCES services (name),
    part    TEXT NOT NULL,
    body    TEXT NOT NULL,
    sum     BLOB NOT NULL,
    PRIMARY KEY (service, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    service    TEXT    NOT NULL REFERENCES services (name),
    seq        INTEGER NOT NULL,
    deployment INTEGER,
    at_ms      INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    body       TEXT    NOT NULL,
    prev_hash  BLOB    NOT NULL,
    hash       BLOB    NOT NULL,
    PRIMARY KEY (service, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_of ON events (service, deployment, seq) WHERE deployment IS NOT NULL;

CREATE TABLE releases (
    service TEXT    NOT NULL REFERENCES services (name),
    number  INTEGER NOT NULL,
    digest  TEXT    NOT NULL,
    version TEXT    NOT NULL,
    body    TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    sum     BLOB    NOT NULL,
    PRIMARY KEY (service, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE deployments (
    service TEXT    NOT NULL REFERENCES services (name),
    number  INTEGER NOT NULL,
    state   TEXT    NOT NULL,
    active  INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    sum     BLOB    NOT NULL,
    PRIMARY KEY (service, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_active_deployment ON deployments (service) WHERE active = 1;

CREATE TABLE idempotency (
    service    TEXT    NOT NULL REFERENCES services (name),
    key        TEXT    NOT NULL,
    deployment INTEGER NOT NULL,
    request    TEXT    NOT NULL,
    PRIMARY KEY (service, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (service, deployment);

CREATE TABLE audit (
    seq       INTEGER NOT NULL PRIMARY KEY,
    at_ms     INTEGER NOT NULL,
    actor     TEXT    NOT NULL,
    request   TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    object    TEXT    NOT NULL,
    verdict   TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    detail    TEXT    NOT NULL,
    prev_hash BLOB    NOT NULL,
    hash      BLOB    NOT NULL
) STRICT;

-- Where the audit ends, so that one that was cut off is noticed.
CREATE TABLE ends (
    chain TEXT    NOT NULL PRIMARY KEY,
    seq   INTEGER NOT NULL,
    hash  BLOB    NOT NULL,
    sum   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened is added to and never changed. Whoever means to can drop a trigger, and is then
-- found out by the chain; these are against our own mistakes.
CREATE TRIGGER events_stay BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'an event is never removed'); END;
CREATE TRIGGER releases_stay BEFORE UPDATE ON releases
BEGIN SELECT RAISE(ABORT, 'a release is never changed'); END;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'an audit record is never changed'); END;
CREATE TRIGGER audit_remains BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'an audit record is never removed'); END;
";
