//! Alterations of the database that the hashes show, and exports that prove themselves.

use rollway::failure::FailureKind;
use rollway::store::{ChainReport, Fault, HistoryReport, Store, verify_export};

use crate::support::*;

async fn verified_after(sql: &'static str) -> HistoryReport {
    let folder = folder();
    let store = furnished(folder.path()).await;
    commit(&store, step("api", 0, &["one", "two"])).await;
    store.audit(audit("abort")).await.expect("audit");
    assert!(store.verify().await.expect("verify").is_whole());
    alter(folder.path(), sql).await;
    let report = store.verify().await.expect("verify");
    assert!(!report.is_whole(), "{sql}");
    report
}

fn fault(chain: &ChainReport) -> (u64, &str) {
    let Fault { seq, what } = chain.fault.as_ref().expect("a fault");
    (*seq, what)
}

#[tokio::test]
async fn a_changed_event_is_the_first_bad_one() {
    let report = verified_after(
        "DROP TRIGGER events_stay;
         UPDATE events SET kind = 'instance_healthy' WHERE service = 'shop' AND seq = 41",
    )
    .await;
    assert_eq!(report.services[0].fault, None, "api is whole");
    assert_eq!(fault(&report.services[1]), (41, "it was altered: its hash is another"));
    assert_eq!(report.services[1].whole, 40);
}

#[tokio::test]
async fn a_removed_event_is_missed() {
    let report = verified_after(
        "DROP TRIGGER events_remain; DELETE FROM events WHERE service = 'shop' AND seq = 12",
    )
    .await;
    assert_eq!(fault(&report.services[1]), (12, "it is missing: the next one is 13"));
}

#[tokio::test]
async fn a_cut_off_end_is_missed() {
    let report = verified_after(
        "DROP TRIGGER events_remain; DELETE FROM events WHERE service = 'shop' AND seq > 50",
    )
    .await;
    assert_eq!(fault(&report.services[1]), (51, "the history ends here, and should end with 60"));
}

#[tokio::test]
async fn a_changed_audit_record_is_found() {
    let report =
        verified_after("DROP TRIGGER audit_stays; UPDATE audit SET actor = 'uid:0' WHERE seq = 2")
            .await;
    assert_eq!(fault(&report.audit), (2, "it was altered: its hash is another"));
    let report = verified_after(
        "DROP TRIGGER audit_stays; UPDATE audit SET verdict = 'waved through' WHERE seq = 1",
    )
    .await;
    assert_eq!(fault(&report.audit).0, 1);
    let report =
        verified_after("DROP TRIGGER audit_remains; DELETE FROM audit WHERE seq = 2").await;
    assert_eq!(fault(&report.audit), (2, "the history ends here, and should end with 2"));
    let report = verified_after("UPDATE ends SET seq = 1").await;
    assert_eq!(fault(&report.audit), (1, "the end of the audit was altered"));
}

#[tokio::test]
async fn a_change_beside_the_chains_is_found_and_never_read() {
    for (sql, what) in [
        ("UPDATE services SET generation = 9 WHERE name = 'shop'", "the head of shop was altered"),
        ("UPDATE documents SET body = '{}' WHERE part = 'spec'", "the spec of shop was altered"),
        ("UPDATE deployments SET active = 0", "deployment shop-1 was altered"),
        (
            "DROP TRIGGER releases_stay; UPDATE releases SET version = 'v9'",
            "release r1 of shop was altered",
        ),
    ] {
        let report = verified_after(sql).await;
        assert!(report.rows[0].ends_with(what), "{:?}", report.rows);
    }
    let folder = folder();
    let store = furnished(folder.path()).await;
    alter(folder.path(), "UPDATE deployments SET active = 0").await;
    let failure = store.deployment(&service("shop"), 1).await.expect_err("altered");
    assert_eq!(failure.kind, FailureKind::Damaged);
    alter(folder.path(), "DROP TRIGGER events_stay; UPDATE events SET at_ms = 1 WHERE seq = 2")
        .await;
    let failure = store.events(&service("shop"), 0, 9).await.expect_err("altered");
    assert!(failure.chain().ends_with("event 2 of shop was altered"), "{}", failure.chain());
}

#[tokio::test]
async fn a_step_is_not_added_to_an_altered_head() {
    let folder = folder();
    let store = furnished(folder.path()).await;
    alter(folder.path(), "UPDATE services SET generation = 9").await;
    let text = fails(&store, step("shop", 60, &["next"]), FailureKind::Damaged).await;
    assert!(text.ends_with("the head of shop was altered"), "{text}");
    // Whether or not they are written together, the others go on.
    let (shop, api, web) = tokio::join!(
        store.commit(step("shop", 60, &["next"])),
        store.commit(step("api", 0, &["first"])),
        store.commit(step("web", 0, &["first"])),
    );
    assert_eq!(shop.expect_err("altered").kind, FailureKind::Damaged);
    assert_eq!((api.expect("whole").last_seq, web.expect("whole").last_seq), (1, 1));
}

#[tokio::test]
async fn events_and_audit_records_resist_a_slip_of_the_hand() {
    use sqlx::Executor as _;
    let folder = folder();
    let _store = furnished(folder.path()).await;
    let mut other = intruder(folder.path()).await;
    for sql in ["DELETE FROM events", "UPDATE events SET seq = 1", "DELETE FROM audit"] {
        let error = other.execute(sql).await.expect_err(sql);
        assert!(error.to_string().contains("is never"), "{error}");
    }
}

async fn exported(store: &Store) -> String {
    let mut out = Vec::new();
    assert_eq!(store.export(&service("shop"), &mut out).await.expect("export"), 60);
    String::from_utf8(out).expect("text")
}

fn check(text: &str) -> ChainReport {
    verify_export(text.as_bytes()).expect("an export")
}

#[tokio::test]
async fn an_export_proves_itself() {
    let folder = folder();
    let store = furnished(folder.path()).await;
    let text = exported(&store).await;
    assert_eq!(text.lines().count(), 61);
    assert_eq!(check(&text), ChainReport { name: "shop".to_owned(), whole: 60, fault: None });
    // One byte at a time would take minutes; a stride that shares no factor with a line meets all
    // kinds of places.
    for at in (0..text.len()).step_by(97) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let found = verify_export(bytes.as_slice());
        let whole = found.is_ok_and(|report| report.fault.is_none());
        assert!(!whole, "byte {at} of {:?}", &text[at.saturating_sub(20)..at + 1]);
    }
    let lines: Vec<&str> = text.lines().collect();
    let without = |seq: usize| [&lines[..seq], &lines[seq + 1..]].concat().join("\n");
    assert_eq!(fault(&check(&without(30))).0, 30);
    assert_eq!(fault(&check(&without(60))), (60, "the history ends here, and should end with 60"));
    let swapped = text.replacen("\"shop\"", "\"shoq\"", 1);
    assert_eq!(fault(&check(&swapped)), (1, "it does not follow the one before"));
}

#[tokio::test]
async fn what_is_no_export_is_said_so() {
    for text in ["", "{}", "hello", "{\"format\":\"rollway-history-9\"}"] {
        let failure = verify_export(text.as_bytes()).expect_err("no export");
        assert_eq!(failure.kind, FailureKind::Damaged, "{text:?}");
    }
    let folder = folder();
    let store = open(folder.path()).await;
    let failure = store.export(&service("absent"), &mut Vec::new()).await.expect_err("absent");
    assert_eq!(failure.kind, FailureKind::Missing);
}
