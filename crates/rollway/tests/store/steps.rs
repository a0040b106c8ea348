//! Steps: what is recorded together, what is refused, and what is read back.

use rollway::failure::FailureKind;
use rollway::store::{Desired, IDEMPOTENCY_KEYS_MAX, IdempotencyKey, KeyUse, Store, Verdict, lock};
use rollway_core::ids::{Generation, ReleaseNumber};
use serde_json::json;
use sqlx::{Executor as _, Row as _};

use crate::support::*;

#[tokio::test]
async fn a_step_is_recorded_as_a_whole_and_read_back_after_a_restart() {
    let folder = folder();
    let store = open(folder.path()).await;
    let mut first = step("shop", 0, &["deployment_created", "stage_started"]);
    first.put_spec = Some(json!({ "name": "shop" }));
    first.put_state = Some(json!({ "stage": 1 }));
    first.put_generation = Some(Generation(3));
    first.new_release = Some(release(1, "v1"));
    first.put_deployment = Some(deployment(1, "in_progress", true));
    let committed = commit(&store, first).await;
    assert_eq!(committed.last_seq, 2);
    let mut second = step("shop", 2, &["deployment_completed"]);
    second.put_state = Some(json!({ "stage": 2 }));
    second.put_deployment = Some(deployment(1, "completed", false));
    commit(&store, second).await;
    store.close().await;

    let store = open(folder.path()).await;
    let services = store.services().await.expect("services");
    let [shop] = services.as_slice() else { panic!("{services:?}") };
    assert_eq!(
        (shop.last_seq, shop.generation, shop.desired),
        (3, Generation(3), Desired::Present)
    );
    assert_eq!(shop.spec, Some(json!({ "name": "shop" })));
    assert_eq!(shop.state, Some(json!({ "stage": 2 })));
    let name = service("shop");
    let events = store.events(&name, 0, 100).await.expect("events");
    assert_eq!(events[..2], committed.events);
    assert_eq!(events[2].prev_hash, events[1].hash);
    assert_eq!(events[2].hash, shop.last_hash);
    assert_eq!(events[0].body, event(None, "deployment_created").body);
    assert_eq!(store.events(&name, 1, 1).await.expect("events"), events[1..2]);
    assert_eq!(store.events_of(&name, 1).await.expect("events"), events);
    assert_eq!(store.events_of(&name, 2).await.expect("events"), []);
    let kept = store.release(&name, ReleaseNumber(1)).await.expect("read").expect("there");
    assert_eq!((kept.version.as_str(), kept.body), ("v1", release(1, "v1").body));
    assert_eq!(store.releases(&name).await.expect("read").len(), 1);
    let ended = deployment(1, "completed", false);
    assert_eq!(store.deployment(&name, 1).await.expect("read"), Some(ended.clone()));
    assert_eq!(store.deployments(&name, 10).await.expect("read"), [ended]);
}

#[tokio::test]
async fn what_durability_rests_on_is_set() {
    let folder = folder();
    let _store = furnished(folder.path()).await;
    let mut other = intruder(folder.path()).await;
    for (pragma, wanted) in [("PRAGMA user_version", 1), ("PRAGMA application_id", 0x526F_6C6C)] {
        let row = other.fetch_one(pragma).await.expect(pragma);
        assert_eq!(row.get::<i64, _>(0), wanted, "{pragma}");
    }
    let row = other.fetch_one("PRAGMA journal_mode").await.expect("mode");
    assert_eq!(row.get::<String, _>(0), "wal");
    for name in ["rollway.db", "rollway.db-wal", "rollway.db-shm", "instance-id"] {
        let metadata = std::fs::metadata(folder.path().join(name)).expect(name);
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_step_from_an_older_view_is_stale_and_leaves_nothing() {
    let folder = folder();
    let store = open(folder.path()).await;
    commit(&store, step("shop", 0, &["one", "two"])).await;
    for expect_seq in [0, 1, 3, u64::MAX] {
        let mut late = step("shop", expect_seq, &["late"]);
        late.new_release = Some(release(1, "v1"));
        late.audit = Some(audit("deploy"));
        let text = fails(&store, late, FailureKind::Stale).await;
        assert!(text.starts_with("shop is at event 2, not at "), "{text}");
    }
    let absent = fails(&store, step("api", 4, &["late"]), FailureKind::Stale).await;
    assert_eq!(absent, "api is at event 0, not at 4: look again");
    assert_eq!(store.events(&service("shop"), 0, 10).await.expect("events").len(), 2);
    assert_eq!(store.audit_entries(0, 10).await.expect("audit"), []);
    assert_eq!(store.releases(&service("shop")).await.expect("releases"), []);
}

#[tokio::test]
async fn a_generation_never_falls() {
    let folder = folder();
    let store = open(folder.path()).await;
    let mut newer = step("shop", 0, &["aborted"]);
    newer.put_generation = Some(Generation(5));
    commit(&store, newer).await;
    let mut older = step("shop", 1, &["late"]);
    older.put_generation = Some(Generation(4));
    let text = fails(&store, older, FailureKind::Stale).await;
    assert_eq!(text, "shop is at g5, which does not fall: look again");
}

#[tokio::test]
async fn one_deployment_of_a_service_is_active() {
    let folder = folder();
    let store = open(folder.path()).await;
    let put = |seq, number, active| {
        let mut batch = step("shop", seq, &["deployment"]);
        batch.put_deployment = Some(deployment(number, "state", active));
        batch
    };
    commit(&store, put(0, 1, true)).await;
    let text = fails(&store, put(1, 2, true), FailureKind::NotDone).await;
    assert!(text.contains("could not record the step of shop"), "{text}");
    commit(&store, put(1, 1, false)).await;
    commit(&store, put(2, 2, true)).await;
    let numbers = store.deployments(&service("shop"), 10).await.expect("deployments");
    assert_eq!(
        numbers.iter().map(|row| (row.number, row.active)).collect::<Vec<_>>(),
        [(2, true), (1, false)]
    );
}

#[tokio::test]
async fn a_release_never_changes() {
    let folder = folder();
    let store = open(folder.path()).await;
    let with = |seq, version| {
        let mut batch = step("shop", seq, &["release"]);
        batch.new_release = Some(release(1, version));
        batch
    };
    commit(&store, with(0, "v1")).await;
    fails(&store, with(1, "v2"), FailureKind::NotDone).await;
    let kept = store.release(&service("shop"), ReleaseNumber(1)).await.expect("read");
    assert_eq!(kept.expect("there").version, "v1");
}

#[tokio::test]
async fn a_key_finds_the_deployment_of_its_first_use_until_it_is_old() {
    let folder = folder();
    let store = open(folder.path()).await;
    let name = service("shop");
    let with = |seq, number, key: &str| {
        let mut batch = step("shop", seq, &["deployment"]);
        batch.put_deployment = Some(deployment(number, "completed", false));
        let request = format!("digest of {key}");
        batch.idempotency = Some(IdempotencyKey { key: key.to_owned(), request });
        batch
    };
    commit(&store, with(0, 1, "first")).await;
    let used = KeyUse { deployment: 1, request: "digest of first".to_owned() };
    assert_eq!(store.key_use(&name, "first").await.expect("read"), Some(used));
    assert_eq!(store.key_use(&name, "other").await.expect("read"), None);
    assert_eq!(store.key_use(&service("api"), "first").await.expect("read"), None);
    fails(&store, with(1, 2, "first"), FailureKind::NotDone).await;
    commit(&store, with(1, IDEMPOTENCY_KEYS_MAX + 1, "later")).await;
    assert_eq!(store.key_use(&name, "first").await.expect("read"), None);
}

#[tokio::test]
async fn many_who_begin_the_same_step_are_one_who_does_it() {
    let folder = folder();
    let store = std::sync::Arc::new(open(folder.path()).await);
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let mut batch = step("shop", 0, &["deployment_created"]);
                batch.put_deployment = Some(deployment(number + 1, "pending", true));
                store.commit(batch).await.map_err(|failure| failure.kind)
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        match task.await.expect("a task") {
            Ok(_) => done += 1,
            Err(kind) => assert_eq!(kind, FailureKind::Stale),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(store.events(&service("shop"), 0, 100).await.expect("events").len(), 1);
}

#[tokio::test]
async fn a_step_that_breaks_a_rule_does_not_take_its_neighbours_with_it() {
    let folder = folder();
    let store = std::sync::Arc::new(open(folder.path()).await);
    let mut first = step("bad", 0, &["release"]);
    first.new_release = Some(release(1, "v1"));
    commit(&store, first).await;
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let mut batch = if number == 7 {
                    step("bad", 1, &["release"])
                } else {
                    step(&format!("good-{number}"), 0, &["release"])
                };
                batch.new_release = Some(release(1, "v1"));
                batch.audit = Some(audit("deploy"));
                (number, store.commit(batch).await.map_err(|failure| failure.kind))
            })
        })
        .collect();
    for task in tasks {
        let (number, outcome) = task.await.expect("a task");
        match number {
            7 => assert_eq!(outcome, Err(FailureKind::NotDone)),
            _ => assert_eq!(outcome.expect("a good one").last_seq, 1),
        }
    }
    assert_eq!(store.audit_entries(0, 100).await.expect("audit").len(), 19);
    assert!(store.verify().await.expect("verify").is_whole());
}

#[tokio::test]
async fn a_removed_service_keeps_its_history_and_can_come_back() {
    let folder = folder();
    let store = furnished(folder.path()).await;
    let name = service("shop");
    let removed = store.delete_service(&name, 60, 5, Some(audit("delete"))).await.expect("delete");
    assert_eq!(removed.events[0].kind, "service_removed");
    let row = store.services().await.expect("services").remove(0);
    assert_eq!((row.desired, row.last_seq), (Desired::Removed, 61));
    assert_eq!(store.events(&name, 0, 100).await.expect("events").len(), 61);
    let mut back = step("shop", 61, &["service_created"]);
    back.put_desired = Some(Desired::Present);
    commit(&store, back).await;
    assert_eq!(store.services().await.expect("services")[0].desired, Desired::Present);
}

#[tokio::test]
async fn requests_are_recorded_with_and_without_a_step() {
    let folder = folder();
    let store = open(folder.path()).await;
    let mut batch = step("shop", 0, &["deployment_created"]);
    batch.audit = Some(audit("deploy"));
    commit(&store, batch).await;
    let mut denied = audit("abort");
    denied.verdict = Verdict::Denied;
    let entry = store.audit(denied).await.expect("record");
    let entries = store.audit_entries(0, 10).await.expect("audit");
    assert_eq!(entries[1], entry);
    assert_eq!((entry.seq, entry.prev_hash), (2, entries[0].hash));
    assert_eq!(entries[0].record, audit("deploy"));
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_reaches_the_disk() {
    let folder = folder();
    let store = open(folder.path()).await;
    let mut large = step("shop", 0, &["event"]);
    large.events[0].body = json!("x".repeat(rollway::store::BODY_BYTES_MAX));
    let text = fails(&store, large, FailureKind::NotDone).await;
    assert!(text.contains("could not record an event: 4194306 bytes, at most 4194304"), "{text}");
    let many = step("shop", 0, &["event"; rollway::store::BATCH_EVENTS_MAX + 1]);
    fails(&store, many, FailureKind::NotDone).await;
    let most = step("shop", 0, &["event"; rollway::store::BATCH_EVENTS_MAX]);
    assert_eq!(commit(&store, most).await.last_seq, rollway::store::BATCH_EVENTS_MAX as u64);
}

#[tokio::test]
async fn every_start_has_a_number_of_its_own() {
    let folder = folder();
    let store = open(folder.path()).await;
    assert_eq!(store.next_epoch().await.expect("first"), 1);
    assert_eq!(store.next_epoch().await.expect("second"), 2);
    let instance = store.instance().to_owned();
    store.close().await;
    let store = open(folder.path()).await;
    assert_eq!(
        (store.next_epoch().await.expect("third"), store.instance()),
        (3, instance.as_str())
    );
}

#[tokio::test]
async fn two_stores_on_one_folder_never_write_over_each_other() {
    let folder = folder();
    let (one, two) = (open(folder.path()).await, open(folder.path()).await);
    commit(&one, step("shop", 0, &["one"])).await;
    fails(&two, step("shop", 0, &["two"]), FailureKind::Stale).await;
    commit(&two, step("shop", 1, &["two"])).await;
    fails(&one, step("shop", 1, &["one"]), FailureKind::Stale).await;
    let both = async |store: &Store| store.events(&service("shop"), 0, 9).await.expect("events");
    assert_eq!(both(&one).await, both(&two).await);
    assert!(one.verify().await.expect("verify").is_whole());
}

#[tokio::test]
async fn the_lock_and_the_store_live_together() {
    let folder = folder();
    let held = lock(folder.path()).expect("lock");
    open(folder.path()).await.close().await;
    drop(held);
    lock(folder.path()).expect("lock again");
}
