//! Disks that are full: nothing is acknowledged that is not there, and work goes on afterwards.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use rollway::failure::{Failure, FailureKind};
use rollway::store::Store;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::*;

const LIMITED_FOLDER: &str = "ROLLWAY_TEST_STORE_LIMITED";
const FULL_FOLDER: &str = "ROLLWAY_TEST_STORE_FULL";
const UNSYNCED_FOLDER: &str = "ROLLWAY_TEST_STORE_UNSYNCED";
/// The size of the disk that is filled: the database, its log and a ballast.
const DISK_BYTES: u64 = 2 << 20;

/// Commits from `seq` on until it fails; gives the last acknowledged number and the failure.
async fn commit_until_it_fails(store: &Store, mut seq: u64) -> (u64, Failure) {
    loop {
        match store.commit(step("shop", seq, &["one", "two"])).await {
            Ok(committed) => seq = committed.last_seq,
            Err(failure) => return (seq, failure),
        }
    }
}

/// Once there is room again: work goes on, and what was acknowledged, no less, is there.
async fn goes_on(store: &Store, seq: u64, failure: &Failure) -> u64 {
    let next = store.commit(step("shop", seq, &["again"])).await;
    let unknown = failure.kind == FailureKind::Unknown;
    match next {
        Ok(committed) => committed.last_seq,
        // The step of unknown outcome turned out to have been recorded.
        Err(stale) if unknown && stale.kind == FailureKind::Stale => {
            commit(store, step("shop", seq + 2, &["again"])).await.last_seq
        }
        Err(other) => panic!("{} after {}", other.chain(), failure.chain()),
    }
}

/// Not a test of its own: the child of a test below, which sets limits on itself.
#[tokio::test]
async fn child_whose_files_cannot_grow() {
    let Ok(folder) = std::env::var(LIMITED_FOLDER) else { return };
    let store = furnished(Path::new(&folder)).await;
    let unlimited = getrlimit(Resource::Fsize);
    let log = Path::new(&folder).join("rollway.db-wal");
    let mut seq = 60;
    for round in 0..20 {
        let size = std::fs::metadata(&log).expect("the log").len();
        // Room for some frames, and then for a part of one.
        let limit = Rlimit { current: Some(size + 20_000 + round * 1000), ..unlimited };
        setrlimit(Resource::Fsize, limit).expect("limit");
        let (acknowledged, failure) = commit_until_it_fails(&store, seq).await;
        setrlimit(Resource::Fsize, unlimited).expect("no limit");
        seq = goes_on(&store, acknowledged, &failure).await;
    }
    assert!(store.verify().await.expect("verify").is_whole());
    assert_eq!(store.services().await.expect("services")[0].last_seq, seq);
    store.close().await;
}

/// Not a test of its own: the child of a test below, which has a small disk for itself.
#[tokio::test]
async fn child_whose_disk_is_full() {
    let Ok(folder) = std::env::var(FULL_FOLDER) else { return };
    let folder = Path::new(&folder).join("state");
    let store = furnished(&folder).await;
    let mut seq = 60;
    for round in 0..10 {
        let ballast = folder.join("ballast");
        let mut file = std::fs::File::create(&ballast).expect("ballast");
        while file.write_all(&[0; 4096]).is_ok() {}
        // A little room, so that it fails at another place each time.
        let size = file.metadata().expect("metadata").len();
        file.set_len(size.saturating_sub(round * 12_288)).expect("shrink");
        drop(file);
        let (acknowledged, failure) = commit_until_it_fails(&store, seq).await;
        // Emptying the log makes a little room by itself, which may be enough later on.
        if round == 0 {
            let again = store.commit(step("shop", acknowledged, &["too soon"])).await;
            assert!(again.is_err(), "there still is no room");
        }
        let known = store.services().await.expect("reading goes on").remove(0);
        assert!(known.last_seq >= acknowledged, "an acknowledged step is gone");
        std::fs::remove_file(&ballast).expect("make room");
        seq = goes_on(&store, acknowledged, &failure).await;
    }
    assert!(store.verify().await.expect("verify").is_whole());
    store.close().await;
}

/// Not a test of its own: the child of a test below, some of whose fsyncs fail.
#[tokio::test]
async fn child_whose_disk_fails_at_times() {
    let Ok(folder) = std::env::var(UNSYNCED_FOLDER) else { return };
    let store = open(Path::new(&folder)).await;
    let mut seq = store.services().await.expect("services").remove(0).last_seq;
    let mut failures = 0;
    for _ in 0..30 {
        seq = match store.commit(step("shop", seq, &["one", "two"])).await {
            Ok(committed) => committed.last_seq,
            Err(failure) => {
                failures += 1;
                goes_on(&store, seq, &failure).await
            }
        };
    }
    assert_eq!(store.services().await.expect("services")[0].last_seq, seq);
    assert!(store.verify().await.expect("verify").is_whole());
    assert!(failures > 0, "the fault was not met");
    store.close().await;
}

fn passed(child: &Output) -> bool {
    let said = String::from_utf8_lossy(&child.stdout);
    child.status.success() && said.contains("1 passed")
}

fn said(child: &Output) -> String {
    let text = [child.stdout.as_slice(), child.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_file_that_cannot_grow_loses_nothing_and_recovers() {
    let folder = folder();
    // The signal that comes with the limit is ignored by the shell and so by what it becomes.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact faults::child_whose_files_cannot_grow"])
        .arg(std::env::current_exe().expect("this program"))
        .env(LIMITED_FOLDER, folder.path())
        .output()
        .expect("start");
    assert!(passed(&child), "{}", said(&child));
    let store = open(folder.path()).await;
    assert!(store.verify().await.expect("verify").is_whole());
}

#[test]
fn a_full_disk_loses_nothing_and_recovers() {
    let folder = folder();
    let mount = "mount -t tmpfs -o size=\"$1\",mode=700 none \"$2\" || exit 77; \
                 exec \"$0\" --exact faults::child_whose_disk_is_full";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount])
        .arg(std::env::current_exe().expect("this program"))
        .arg(DISK_BYTES.to_string())
        .arg(folder.path())
        .env(FULL_FOLDER, folder.path())
        .output();
    // Where nobody may have a disk of their own, the test above has to do.
    let Ok(child) = child else { return };
    let not_allowed = child.status.code() == Some(77) || said(&child).contains("unshare:");
    assert!(not_allowed || passed(&child), "{}", said(&child));
}

#[tokio::test]
async fn a_disk_that_fails_at_times_loses_nothing_and_recovers() {
    let folder = folder();
    furnished(folder.path()).await.close().await;
    // The fault counts for each thread by itself, and so for each connection: finding out what a
    // failed commit led to takes a new one, and a few fsyncs before the next one that fails.
    for which in [7, 9, 12, 20] {
        let fault = format!("inject=fsync,fdatasync:error=EIO:when={which}");
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &fault])
            .arg(std::env::current_exe().expect("this program"))
            .args(["--exact", "faults::child_whose_disk_fails_at_times"])
            .env(UNSYNCED_FOLDER, folder.path())
            .output();
        // Where nobody may trace, the tests of full disks have to do.
        let Ok(child) = child else { return };
        let not_allowed = said(&child).contains("strace:");
        assert!(not_allowed || passed(&child), "fsync {which}: {}", said(&child));
    }
    let store = open(folder.path()).await;
    assert!(store.verify().await.expect("verify").is_whole());
}
