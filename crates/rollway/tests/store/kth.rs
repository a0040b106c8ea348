//! The k-th write or sync fails, for every k: nothing is acknowledged that a power cut takes back,
//! nothing is lost, and work goes on when the fault ends.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use rollway::failure::FailureKind;
use rollway::store::Store;

use crate::disk::{Disk, not_here};
use crate::support::*;

const FOLDER: &str = "ROLLWAY_TEST_STORE_KTH";
/// Commits of the child; with the opening they make every kind of write there is.
const COMMITS: usize = 10;
/// So many tries are made until a fault has ended: it lasts for at most three calls a thread.
const TRIES: usize = 30;
/// No run has more calls than this; beyond it the search for the last has gone wrong.
const CALLS_MAX: usize = 2000;
/// How many of all the faults an ordinary run tries.
const SAMPLE: usize = 6;

/// Not a test of its own: the child, some of whose calls fail.
#[tokio::test]
async fn child_whose_kth_call_fails() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let store = open_in_time(folder).await;
    let services = store.services().await.expect("reading goes on");
    let mut seq = services.first().map_or(0, |row| row.last_seq);
    for _ in 0..COMMITS {
        seq = commit_in_time(&store, seq).await;
        let mut out = std::io::stdout();
        writeln!(out, "ack {seq}").and_then(|()| out.flush()).expect("someone listens");
    }
    assert_eq!(store.services().await.expect("services")[0].last_seq, seq);
    store.close().await;
}

async fn open_in_time(folder: &Path) -> Store {
    for _ in 0..TRIES {
        let Ok(store) = Store::open(folder).await else { continue };
        if store.next_epoch().await.is_ok() {
            return store;
        }
        store.close().await;
    }
    panic!("the fault has ended, and it still cannot be opened");
}

/// Commits two events until that is acknowledged, whatever happens on the way; the last number.
async fn commit_in_time(store: &Store, seq: u64) -> u64 {
    let mut may_be_there = false;
    for _ in 0..TRIES {
        match store.commit(step("shop", seq, &["one", "two"])).await {
            Ok(committed) => return committed.last_seq,
            Err(failure) if failure.kind == FailureKind::Stale && may_be_there => return seq + 2,
            Err(failure) => may_be_there |= failure.kind == FailureKind::Unknown,
        }
    }
    panic!("the fault has ended, and it still cannot be written");
}

/// One fault: which calls, from which on, how many of them, and the error.
#[derive(Debug, Clone, Copy)]
struct Fault {
    calls: &'static str,
    from: usize,
    length: usize,
    error: &'static str,
}

/// Runs the child with a fault; what it said, and what strace saw.
fn run(folder: &Path, fault: Fault) -> Option<(Output, String)> {
    let seen = folder.with_extension("strace");
    let Fault { calls, from, length, error } = fault;
    let inject = format!("inject={calls}:error={error}:when={from}..{}", from + length - 1);
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={calls}"), "-e", &inject, "-o"])
        .arg(&seen)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "kth::child_whose_kth_call_fails", "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .ok()?;
    Some((output, std::fs::read_to_string(seen).unwrap_or_default()))
}

/// One fault and then a power cut: all that was acknowledged is there. False = there is no such
/// call any more.
async fn holds(disk: &Disk, folder: &Path, fault: Fault) -> Result<bool, String> {
    let plug = disk.plug()?;
    let Some((output, seen)) = run(folder, fault) else { return Err("there is no strace".into()) };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    if why.contains("ptrace") {
        return Err(why);
    }
    let acks = said.lines().filter_map(|line| line.rsplit_once("ack ")?.1.parse::<u64>().ok());
    let last = acks.max().unwrap_or(0);
    plug.pull()?;
    disk.unmount()?;
    disk.mount()?;
    assert!(output.status.success(), "{fault:?}: {said}\n{why}");
    let store = open(folder).await;
    let report = store.verify().await.expect("verify");
    assert!(report.is_whole(), "{fault:?}: {report:?}");
    let there = store.services().await.expect("services").first().map_or(0, |row| row.last_seq);
    store.close().await;
    assert!(there >= last && last > 0, "{fault:?}: acknowledged {last}, there {there}");
    Ok(seen.contains("(INJECTED)"))
}

const CALLS: [&str; 2] = ["fsync,fdatasync", "pwrite64"];
const ERRORS: [&str; 3] = ["EIO", "ENOSPC", "EROFS"];

#[expect(clippy::print_stderr, reason = "the figures are to be seen")]
#[tokio::test]
async fn whichever_write_fails_nothing_acknowledged_is_lost() {
    let what = "failing writes";
    let disk = match Disk::new() {
        Ok(disk) => disk,
        Err(why) => return not_here(what, &why),
    };
    let slow = std::env::var_os("RUN_SLOW_TESTS").is_some();
    let state = disk.folder.join("state");
    let mut tried = 0;
    for calls in CALLS {
        for error in ERRORS {
            let mut last = 0;
            for round in 1..=CALLS_MAX {
                let from = if slow { round } else { fastrand::usize(1..40) };
                let length = if round.is_multiple_of(2) { 3 } else { 1 };
                let fault = Fault { calls, from, length, error };
                match holds(&disk, &state, fault).await {
                    Ok(true) => (tried, last) = (tried + 1, from),
                    Ok(false) => break,
                    Err(why) => return not_here(what, &why),
                }
                if !slow && round * CALLS.len() * ERRORS.len() >= SAMPLE {
                    break;
                }
            }
            if slow {
                eprintln!("{error} at {calls}: every call from the 1st to number {last}");
            }
        }
    }
    eprintln!("{tried} faults, each followed by a power cut: 0 acknowledged commits lost");
    disk.unmount().expect("nobody has it open");
}
