//! Damaged, foreign and missing databases: refused, and left as they are.

use std::fs;
use std::path::{Path, PathBuf};

use rollway::failure::FailureKind;

use crate::support::*;

const DATABASE: &str = "rollway.db";

/// A closed store and its folder.
async fn closed() -> tempfile::TempDir {
    let folder = folder();
    furnished(folder.path()).await.close().await;
    folder
}

/// Damages the database, checks that it is refused and untouched, and gives the message.
async fn refused_after(folder: &Path, damage: impl FnOnce(&Path)) -> String {
    let path = folder.join(DATABASE);
    damage(&path);
    let before = fs::read(&path).ok();
    let failure = refused(folder).await;
    assert_eq!(failure.kind, FailureKind::Damaged, "{}", failure.chain());
    assert_eq!(fs::read(&path).ok(), before, "it was touched");
    let start = format!("could not open the history in {}", path.display());
    let text = failure.chain();
    assert!(text.starts_with(&start), "{text}");
    text.replace(&start, "")
}

#[tokio::test]
async fn a_database_cut_short_is_refused() {
    for keep in [0, 50, 100, 4096, 8192, 20_000] {
        let folder = closed().await;
        refused_after(folder.path(), |path| {
            let bytes = fs::read(path).expect("read");
            assert!(bytes.len() > 20_000);
            fs::write(path, &bytes[..keep]).expect("cut");
        })
        .await;
    }
}

#[tokio::test]
async fn a_missing_database_is_not_made_anew() {
    let folder = closed().await;
    let text = refused_after(folder.path(), |path| fs::remove_file(path).expect("remove")).await;
    assert!(text.contains("it is missing, but this folder had one; hint: restore"), "{text}");
    assert!(!folder.path().join(DATABASE).exists());
}

#[tokio::test]
async fn a_missing_identity_is_not_made_anew() {
    let folder = closed().await;
    fs::remove_file(folder.path().join("instance-id")).expect("remove");
    let text = refused_after(folder.path(), |_| ()).await;
    assert!(text.contains("instance-id beside it is missing"), "{text}");
}

#[tokio::test]
async fn a_foreign_file_is_refused() {
    let folder = closed().await;
    let text = refused_after(folder.path(), |path| {
        fs::write(path, "name: shop\n".repeat(1000)).expect("write");
    })
    .await;
    assert!(text.contains("it is not a database; hint: move it away"), "{text}");
    let folder = closed().await;
    alter(folder.path(), "PRAGMA application_id = 7").await;
    let text = refused_after(folder.path(), |_| ()).await;
    assert!(text.contains("another program's database"), "{text}");
    let folder = closed().await;
    refused_after(folder.path(), |path| {
        fs::remove_file(path).expect("remove");
        fs::create_dir(path).expect("a folder in its place");
    })
    .await;
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = closed().await;
    alter(folder.path(), "PRAGMA user_version = 2").await;
    let text = refused_after(folder.path(), |_| ()).await;
    assert!(text.contains("a newer rollway wrote it (schema 2, this one knows 1)"), "{text}");
}

#[tokio::test]
async fn a_newer_schema_in_the_log_is_refused() {
    let folder = folder();
    let store = furnished(folder.path()).await;
    alter(folder.path(), "PRAGMA user_version = 2").await;
    let copy = copied(folder.path(), |_| true);
    drop(store);
    refused_after(copy.path(), |_| ()).await;
}

#[tokio::test]
async fn the_database_of_another_folder_is_refused() {
    let (one, two) = (closed().await, closed().await);
    let text = refused_after(one.path(), |path| {
        fs::copy(two.path().join(DATABASE), path).expect("copy");
    })
    .await;
    assert!(text.contains("but this folder belongs to"), "{text}");
}

#[tokio::test]
async fn an_older_copy_is_refused() {
    let folder = closed().await;
    let old = fs::read(folder.path().join(DATABASE)).expect("read");
    let store = open(folder.path()).await;
    store.next_epoch().await.expect("another start");
    store.close().await;
    let text = refused_after(folder.path(), |path| fs::write(path, &old).expect("restore")).await;
    assert!(text.contains("it is older than this folder (1 starts, not 2)"), "{text}");
}

/// A copy of the files of a folder in another one, as a crash would leave them.
fn copied(folder: &Path, wanted: impl Fn(&str) -> bool) -> tempfile::TempDir {
    let copy = crate::support::folder();
    for entry in fs::read_dir(folder).expect("list") {
        let path: PathBuf = entry.expect("entry").path();
        let name = path.file_name().expect("a name").to_str().expect("text").to_owned();
        if wanted(&name) && !name.ends_with("-shm") {
            fs::copy(&path, copy.path().join(name)).expect("copy");
        }
    }
    copy
}

#[tokio::test]
async fn a_log_without_its_database_is_refused() {
    let folder = folder();
    let store = furnished(folder.path()).await;
    let copy = copied(folder.path(), |name| name == "rollway.db-wal");
    drop(store);
    let failure = refused(copy.path()).await;
    assert!(failure.chain().contains("its write-ahead log is there"), "{}", failure.chain());
    assert!(!copy.path().join(DATABASE).exists());
}

#[tokio::test]
async fn the_log_of_another_database_is_refused() {
    let (one, two) = (folder(), folder());
    let (store, other) = (furnished(one.path()).await, furnished(two.path()).await);
    let whole = copied(one.path(), |_| true);
    let swapped = copied(one.path(), |_| true);
    let log = "rollway.db-wal";
    fs::copy(two.path().join(log), swapped.path().join(log)).expect("swap");
    drop((store, other));
    let events = open(whole.path()).await.events(&service("shop"), 0, 99).await.expect("events");
    assert_eq!(events.len(), 60, "with its own log it is whole");
    let text = refused_after(swapped.path(), |_| ()).await;
    assert!(text.contains("but this folder belongs to"), "{text}");
}

/// Whatever byte is flipped: refused, or found by `verify`, or in a place that holds nothing.
#[tokio::test]
async fn a_flipped_byte_changes_nothing_that_is_read() {
    let folder = closed().await;
    let path = folder.path().join(DATABASE);
    let original = fs::read(&path).expect("read");
    let store = open(folder.path()).await;
    let events = store.events(&service("shop"), 0, 99).await.expect("events");
    let services = store.services().await.expect("services");
    store.close().await;
    let (mut refused, mut found, mut harmless) = (0, 0, 0);
    // A stride that shares no factor with the page size; every place takes some milliseconds.
    for at in (0..original.len()).step_by(509) {
        let copy = crate::support::folder();
        let mut bytes = original.clone();
        bytes[at] ^= 0x10;
        fs::write(copy.path().join(DATABASE), bytes).expect("damage");
        fs::copy(folder.path().join("instance-id"), copy.path().join("instance-id")).expect("copy");
        let Ok(store) = rollway::store::Store::open(copy.path()).await else {
            refused += 1;
            continue;
        };
        if !store.verify().await.is_ok_and(|report| report.is_whole()) {
            found += 1;
            continue;
        }
        harmless += 1;
        assert_eq!(store.events(&service("shop"), 0, 99).await.expect("events"), events, "{at}");
        assert_eq!(store.services().await.expect("services"), services, "{at}");
        store.close().await;
    }
    assert!(refused > 0 && found > 0, "{refused} refused, {found} found, {harmless} harmless");
}

#[tokio::test]
async fn a_database_removed_while_it_is_open_takes_no_more_steps() {
    for name in [DATABASE, "rollway.db-wal"] {
        let folder = folder();
        let store = furnished(folder.path()).await;
        fs::remove_file(folder.path().join(name)).expect("remove");
        for _ in 0..2 {
            let text = fails(&store, step("shop", 60, &["lost"]), FailureKind::Damaged).await;
            assert!(text.contains("removed or replaced while it was open"), "{name}: {text}");
        }
    }
}
