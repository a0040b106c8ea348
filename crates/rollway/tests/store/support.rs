//! What the tests of the store share.

use std::path::Path;

use rollway::failure::{Failure, FailureKind};
use rollway::store::{
    AuditRecord, Batch, Committed, DeploymentRow, NewEvent, NewRelease, Store, Verdict,
};
use rollway_core::ids::{ReleaseNumber, ServiceName};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

pub fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("a good name")
}

pub fn event(deployment: Option<u64>, kind: &str) -> NewEvent {
    let body = json!({ "about": kind, "share": 0.1, "large": u64::MAX, "text": "größer\n" });
    NewEvent { deployment, kind: kind.to_owned(), body }
}

/// A step with one event per kind.
pub fn step(name: &str, expect_seq: u64, kinds: &[&str]) -> Batch {
    let mut batch = Batch::new(service(name), expect_seq, 1_700_000_000_000);
    batch.events = kinds.iter().map(|kind| event(Some(1), kind)).collect();
    batch
}

pub fn release(number: u64, version: &str) -> NewRelease {
    NewRelease {
        number: ReleaseNumber(number),
        digest: "sha256:00".to_owned(),
        version: version.to_owned(),
        body: json!({ "command": ["./shop", version] }),
    }
}

pub fn deployment(number: u64, state: &str, active: bool) -> DeploymentRow {
    DeploymentRow { number, state: state.to_owned(), active, body: json!({ "release": number }) }
}

pub fn audit(action: &str) -> AuditRecord {
    AuditRecord {
        at_ms: 1_700_000_000_000,
        actor: "uid:1000".to_owned(),
        request: "req-1".to_owned(),
        action: action.to_owned(),
        object: "service:shop".to_owned(),
        verdict: Verdict::Allowed,
        reason: "owner of the socket".to_owned(),
        detail: json!({ "address": "unix" }),
    }
}

/// A folder for a store that is gone with the value.
pub fn folder() -> tempfile::TempDir {
    let ours_alone = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().permissions(ours_alone).tempdir().expect("a temporary folder")
}

pub async fn open(folder: &Path) -> Store {
    Store::open(folder).await.unwrap_or_else(|failure| panic!("{}", failure.chain()))
}

pub async fn refused(folder: &Path) -> Failure {
    match Store::open(folder).await {
        Ok(_) => panic!("it was opened"),
        Err(failure) => failure,
    }
}

pub async fn commit(store: &Store, batch: Batch) -> Committed {
    store.commit(batch).await.unwrap_or_else(|failure| panic!("{}", failure.chain()))
}

pub async fn fails(store: &Store, batch: Batch, kind: FailureKind) -> String {
    let failure = store.commit(batch).await.expect_err("it should fail");
    assert_eq!(failure.kind, kind, "{}", failure.chain());
    failure.chain()
}

/// A store with a service `shop` that has a bit of everything and 60 events.
pub async fn furnished(folder: &Path) -> Store {
    let store = open(folder).await;
    store.next_epoch().await.expect("an epoch");
    let mut first = step("shop", 0, &["deployment_created"]);
    first.put_spec = Some(json!({ "name": "shop", "count": 3 }));
    first.put_state = Some(json!({ "serving": Value::Null }));
    first.new_release = Some(release(1, "v1"));
    first.put_deployment = Some(deployment(1, "in_progress", true));
    first.audit = Some(audit("deploy"));
    commit(&store, first).await;
    for seq in 1..60 {
        commit(&store, step("shop", seq, &["instance_started"])).await;
    }
    store
}

/// Another program's access to the database of a folder.
pub async fn intruder(folder: &Path) -> SqliteConnection {
    let path = folder.join("rollway.db");
    SqliteConnectOptions::new().filename(path).connect().await.expect("open as another program")
}

/// Changes the database behind the store's back.
pub async fn alter(folder: &Path, sql: &'static str) {
    let mut connection = intruder(folder).await;
    connection.execute(sqlx::raw_sql(sql)).await.expect("change");
    connection.close().await.expect("close");
}
