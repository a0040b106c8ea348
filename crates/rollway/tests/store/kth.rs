//! The k-th write or sync fails, for every k: nothing is acknowledged that a power cut takes back,
//! nothing is lost, and work goes on when the fault ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rollway::failure::FailureKind;
use rollway::store::Store;
use rustix::process::{Pid, Signal, kill_process};

use crate::disk::{Disk, not_here};
use crate::support::*;

const FOLDER: &str = "ROLLWAY_TEST_STORE_KTH";
/// Commits of the child; with the opening they make every kind of write there is.
const COMMITS: usize = 10;
/// So many tries are made; the fault ends long before.
const TRIES: usize = 200;
/// The fault ends when the child has failed so often.
const FAILS_MAX: usize = 3;
/// The wait between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// No run has more calls than this; beyond it the search for the last has gone wrong.
const CALLS_MAX: usize = 2000;
/// How many of all the faults an ordinary run tries.
const SAMPLE: usize = 6;

/// Not a test of its own: the child, some of whose calls fail.
#[tokio::test]
async fn child_whose_kth_call_fails() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    say("begins");
    let store = open_in_time(folder).await;
    let services = store.services().await.expect("reading goes on");
    let mut seq = services.first().map_or(0, |row| row.last_seq);
    for _ in 0..COMMITS {
        seq = commit_in_time(&store, seq).await;
        say(&format!("ack {seq}"));
    }
    assert_eq!(store.services().await.expect("services")[0].last_seq, seq);
    store.close().await;
}

/// The print macros are captured by the test harness; this is not.
fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("someone listens");
}

async fn open_in_time(folder: &Path) -> Store {
    let mut why = String::new();
    for _ in 0..TRIES {
        match Store::open(folder).await {
            Ok(store) => match store.next_epoch().await {
                Ok(_) => return store,
                Err(failure) => {
                    why = failure.chain();
                    store.close().await;
                }
            },
            Err(failure) => why = failure.chain(),
        }
        say("fails");
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the fault has ended, and it still cannot be opened: {why}");
}

/// Commits two events until that is acknowledged, whatever happens on the way; the last number.
async fn commit_in_time(store: &Store, seq: u64) -> u64 {
    let (mut may_be_there, mut why) = (false, String::new());
    for _ in 0..TRIES {
        match store.commit(step("shop", seq, &["one", "two"])).await {
            Ok(committed) => return committed.last_seq,
            Err(failure) if failure.kind == FailureKind::Stale && may_be_there => return seq + 2,
            Err(failure) => {
                may_be_there |= failure.kind == FailureKind::Unknown;
                why = failure.chain();
            }
        }
        say("fails");
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the fault has ended, and it still cannot be written: {why}");
}

/// One fault: which calls, from which on, and the error.
#[derive(Debug, Clone, Copy)]
struct Fault {
    calls: &'static str,
    from: usize,
    /// Every later call fails too, until the fault is taken away.
    lasts: bool,
    error: &'static str,
}

/// What the child said, and what its tracer saw.
struct Seen {
    success: bool,
    last_ack: u64,
    said: String,
    traced: String,
}

/// Runs the child with a fault. The calls of each thread are counted by themselves, and each
/// connection has a thread, so a fault meets every connection anew; it ends when the child has
/// failed some times, by taking the tracer away.
fn run(folder: &Path, fault: Fault) -> Result<Seen, String> {
    let log = folder.with_extension("strace");
    let Fault { calls, from, lasts, error } = fault;
    let inject =
        format!("inject={calls}:error={error}:when={from}{}", if lasts { "+" } else { "" });
    let mut child = Command::new("strace")
        // `-I2`: with an output file strace blocks the signal that takes it away.
        .args(["-D", "-f", "-qq", "-I2", "-e", &format!("trace={calls}"), "-e", &inject, "-o"])
        .arg(&log)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "kth::child_whose_kth_call_fails", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("strace: {error}"))?;
    let (mut fails, mut last_ack, mut tracer) = (0, 0, None);
    let mut said = String::new();
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    for line in lines.map_while(Result::ok) {
        if line.contains("begins") {
            tracer = tracer_of(child.id());
        }
        fails += usize::from(line.contains("fails"));
        if fails == FAILS_MAX {
            tracer.into_iter().for_each(end);
        }
        if let Some((_, number)) = line.split_once("ack ") {
            last_ack = number.parse().map_err(|_| format!("not a number: {line}"))?;
        }
        said.push_str(&line);
        said.push('\n');
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    let Some(tracer) = tracer else { return Err(format!("nobody may be traced: {said}")) };
    while rustix::process::test_kill_process(tracer).is_ok() {
        std::thread::sleep(PAUSE);
    }
    let traced = std::fs::read_to_string(log).unwrap_or_default();
    Ok(Seen { success: output.status.success(), last_ack, said, traced })
}

/// Who traces a process.
fn tracer_of(pid: u32) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?;
    Pid::from_raw(line.trim().parse().ok()?)
}

/// Ends a tracer: what it traced goes on without it.
fn end(tracer: Pid) {
    // It may have ended by itself.
    let _ = kill_process(tracer, Signal::TERM);
}

/// One fault and then a power cut: all that was acknowledged is there. False = there is no such
/// call any more.
async fn holds(disk: &Disk, folder: &Path, fault: Fault) -> Result<bool, String> {
    let plug = disk.plug()?;
    let seen = run(folder, fault)?;
    plug.pull()?;
    disk.unmount()?;
    disk.mount()?;
    assert!(seen.success, "{fault:?}: {}", seen.said);
    let store = open(folder).await;
    let report = store.verify().await.expect("verify");
    assert!(report.is_whole(), "{fault:?}: {report:?}");
    let there = store.services().await.expect("services").first().map_or(0, |row| row.last_seq);
    store.close().await;
    let last = seen.last_ack;
    assert!(there >= last && last > 0, "{fault:?}: acknowledged {last}, there {there}");
    Ok(seen.traced.contains("(INJECTED)"))
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
    // Half of a store that was being made is made anew from nothing: there is nothing to lose.
    furnished(&state).await.close().await;
    let mut tried = 0;
    for calls in CALLS {
        for error in ERRORS {
            let mut last = 0;
            for round in 1..=CALLS_MAX {
                let from = if slow { round } else { fastrand::usize(1..12) };
                let lasts = round.is_multiple_of(2);
                let fault = Fault { calls, from, lasts, error };
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
