//! A control plane killed in the middle of its work: what it was told to be recorded is there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rollway::store::lock;

use crate::support::*;

/// Where the child works; its absence says that nobody asked for a child.
pub const CHILD_FOLDER: &str = "ROLLWAY_TEST_STORE_CHILD";

/// Not a test of its own: the child of the tests here. Commits, and says so, until it is killed.
#[tokio::test]
async fn child_that_commits_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let _lock = lock(Path::new(&folder)).expect("lock");
    let store = open(Path::new(&folder)).await;
    let epoch = store.next_epoch().await.expect("epoch");
    say(&format!("epoch {epoch}"));
    let known = store.services().await.expect("services");
    let mut seq = known.first().map_or(0, |row| row.last_seq);
    loop {
        let mut batch = step("shop", seq, &["one", "two"]);
        batch.put_state = Some(serde_json::json!({ "at": seq + 2 }));
        batch.audit = Some(audit("deploy"));
        seq = commit(&store, batch).await.last_seq;
        say(&format!("ack {seq} {}", monotonic_ns()));
    }
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).expect("since the start")
}

/// The print macros are captured by the test harness; this is not.
fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("someone listens");
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "crash::child_that_commits_until_it_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start")
}

/// Reads what the child says until it has said `acks` acknowledgements, kills it, reads the rest.
fn kill_after(mut child: Child, acks: usize) -> (u64, u64) {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (mut epoch, mut last, mut count) = (0, 0, 0);
    while let Some(Ok(line)) = lines.next() {
        // The harness begins with words of its own, on the same line as the first of ours.
        if let Some((_, number)) = line.split_once("epoch ") {
            epoch = number.parse().expect("a number");
        }
        if let Some(number) = line.strip_prefix("ack ") {
            // The last line may be cut short by the kill.
            let number = number.split(' ').next().unwrap_or_default();
            last = number.parse().unwrap_or(last);
            count += 1;
        }
        if count == acks {
            child.kill().expect("kill -9");
        }
    }
    child.wait().expect("it has ended");
    assert!(count >= acks, "the child ended by itself after {count}");
    (epoch, last)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let folder = folder();
    for round in 1..=12 {
        let (epoch, last) = kill_after(start(folder.path()), 1 + round * 7);
        assert_eq!(epoch, round as u64, "every start has its own number");
        let _lock = lock(folder.path()).expect("the lock went with the process");
        let store = open(folder.path()).await;
        let report = store.verify().await.expect("verify");
        assert!(report.is_whole(), "{report:?}");
        let shop = store.services().await.expect("services").remove(0);
        assert!(shop.last_seq >= last, "acknowledged {last}, there {}", shop.last_seq);
        assert!(shop.last_seq.is_multiple_of(2), "half a step");
        assert_eq!(shop.state, Some(serde_json::json!({ "at": shop.last_seq })));
        assert_eq!(report.audit.whole, shop.last_seq / 2, "one record for each step");
        store.close().await;
    }
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_folder() {
    let folder = folder();
    let mut child = start(folder.path());
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.starts_with("ack ")));
    assert!(ready, "it works");
    let failure = lock(folder.path()).expect_err("it is taken");
    let wanted = format!("is in use by process {}", child.id());
    assert!(failure.chain().contains(&wanted), "{}", failure.chain());
    child.kill().expect("kill -9");
    child.wait().expect("it has ended");
    lock(folder.path()).expect("it is free");
}
