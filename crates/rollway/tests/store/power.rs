//! Power cuts amid commits: what was acknowledged is there afterwards. A control run without
//! syncs shows that the method would see a loss.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rollway::store::Store;

use crate::crash::CHILD_FOLDER;
use crate::disk::{Disk, not_here};

/// Commits before a cut, at most: enough to fill and empty the write-ahead log at times.
const ACKS_MAX: usize = 60;

/// Cuts of the control run, at most; an ordinary run ends with the first that loses something.
const CONTROLS: usize = 10;

fn slow() -> bool {
    std::env::var_os("RUN_SLOW_TESTS").is_some()
}

fn cuts() -> usize {
    if slow() { 100 } else { 3 }
}

/// The child that commits, with or without syncs.
fn start(folder: &Path, synchronous: &str) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "crash::child_that_commits_until_it_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .env("ROLLWAY_STORE_SYNCHRONOUS", synchronous)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start")
}

/// What was acknowledged, by the child's own times and those of the cut.
#[derive(Default)]
struct Acknowledged {
    /// Before the cut began: these are promises.
    count: usize,
    /// The last event of them.
    last: u64,
    /// Amid the cut, which takes a while: a sync that is under way then may say that it was done
    /// though it was not, which no power cut does. They may be there or not.
    amid: Vec<u64>,
}

/// Cuts the power after so many commits; what was acknowledged.
fn commit_until_cut(disk: &Disk, synchronous: &str, acks: usize) -> Acknowledged {
    let mut plug = Some(disk.plug().expect("a hand on the plug"));
    let mut child = start(&disk.folder.join("state"), synchronous);
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (mut said, mut cut): (Vec<(u64, u64)>, _) = (Vec::new(), None);
    for line in lines.map_while(Result::ok) {
        let Some(words) = line.strip_prefix("ack ") else { continue };
        let (seq, at) = words.split_once(' ').expect("a number and a time");
        said.push((seq.parse().expect("a number"), at.parse().expect("a time")));
        if said.len() == acks {
            cut = plug.take().map(|plug| plug.pull().expect("a cut"));
        }
    }
    let status = child.wait().expect("it has ended");
    let cut = cut.unwrap_or_else(|| panic!("it ended by itself: {status}"));
    assert!(!status.success(), "it ended well without a disk");
    let mut acknowledged = Acknowledged::default();
    for (seq, at) in &said {
        if *at < cut.began_ns {
            acknowledged.count += 1;
            acknowledged.last = *seq;
        } else {
            acknowledged.amid.push(*seq);
        }
    }
    // The commit of one may have been done, and its time be read a little later.
    let late = said.iter().filter(|(_, at)| *at > cut.ended_ns).count();
    assert!(late <= 1, "{late} commits were acknowledged without a disk");
    acknowledged
}

/// What is there when the power is back: the last event, or why it cannot be said.
async fn after_the_cut(disk: &Disk) -> Result<u64, String> {
    disk.unmount().expect("nobody has it open");
    disk.mount().expect("a disk");
    let state = disk.folder.join("state");
    let store = Store::open(&state).await.map_err(|failure| failure.chain())?;
    let report = store.verify().await.map_err(|failure| failure.chain())?;
    let services = store.services().await.map_err(|failure| failure.chain())?;
    store.close().await;
    if !report.is_whole() {
        return Err(format!("{report:?}"));
    }
    Ok(services.first().map_or(0, |shop| shop.last_seq))
}

#[expect(clippy::print_stderr, reason = "the figures are to be seen")]
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_power_cut() {
    let disk = match Disk::new() {
        Ok(disk) => disk,
        Err(why) => return not_here("power cuts", &why),
    };
    let (mut before, mut amid, mut gone) = (0, 0, 0);
    for cut in 0..cuts() {
        let acks = fastrand::usize(1..=ACKS_MAX);
        let acknowledged = commit_until_cut(&disk, "full", acks);
        let there = after_the_cut(&disk).await.unwrap_or_else(|why| panic!("cut {cut}: {why}"));
        let last = acknowledged.last;
        assert!(there >= last, "cut {cut}: acknowledged {last}, there {there}");
        assert!(there.is_multiple_of(2), "cut {cut}: half a step");
        before += acknowledged.count;
        amid += acknowledged.amid.len();
        gone += acknowledged.amid.iter().filter(|seq| **seq > there).count();
    }
    disk.unmount().expect("nobody has it open");
    eprintln!("{} power cuts: {before} commits acknowledged before them, 0 lost", cuts());
    eprintln!("{amid} more were said while a cut was under way, and promise nothing: {gone} gone");
}

#[cfg(debug_assertions)]
#[expect(clippy::print_stderr, reason = "the figures are to be seen")]
#[tokio::test]
async fn without_syncs_a_power_cut_loses_what_was_acknowledged() {
    let (mut made, mut acknowledged, mut lost) = (0, 0, 0);
    while made < CONTROLS && (slow() || lost == 0) {
        let disk = match Disk::new() {
            Ok(disk) => disk,
            Err(why) => return not_here("the control run of power cuts", &why),
        };
        // A history that is on the disk, and then one that is not.
        commit_until_cut(&disk, "full", 5);
        after_the_cut(&disk).await.expect("with syncs it is there");
        let Acknowledged { count, last, .. } =
            commit_until_cut(&disk, "off", fastrand::usize(10..=ACKS_MAX));
        made += 1;
        acknowledged += count;
        lost += match after_the_cut(&disk).await {
            Ok(there) => last.saturating_sub(there) / 2,
            // What cannot be opened any more is lost as a whole.
            Err(_) => count as u64,
        };
        disk.unmount().expect("nobody has it open");
    }
    eprintln!("control run without syncs, {made} cuts: {lost} of {acknowledged} commits lost");
    assert!(lost > 0, "the cut lost nothing: the test above could not see a loss");
}
