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

fn cuts() -> usize {
    if std::env::var_os("RUN_SLOW_TESTS").is_some() { 100 } else { 3 }
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

/// Cuts the power after so many commits; how many there were, and the last that was acknowledged.
fn commit_until_cut(disk: &Disk, synchronous: &str, acks: usize) -> (usize, u64) {
    let mut plug = Some(disk.plug().expect("a hand on the plug"));
    let mut child = start(&disk.folder.join("state"), synchronous);
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (mut count, mut last) = (0, 0);
    // To the end: what is acknowledged after the cut is a lie that must be seen.
    for line in lines.map_while(Result::ok) {
        let Some(number) = line.strip_prefix("ack ") else { continue };
        last = number.parse().expect("a number");
        count += 1;
        if count == acks
            && let Some(plug) = plug.take()
        {
            plug.pull().expect("a cut");
        }
    }
    let status = child.wait().expect("it has ended");
    assert!(!status.success() && count >= acks, "it ended by itself after {count}");
    (count, last)
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
    let mut acknowledged = 0;
    for cut in 0..cuts() {
        let (count, last) = commit_until_cut(&disk, "full", fastrand::usize(1..=ACKS_MAX));
        acknowledged += count;
        let there = after_the_cut(&disk).await.unwrap_or_else(|why| panic!("cut {cut}: {why}"));
        assert!(there >= last, "cut {cut}: acknowledged {last}, there {there}");
        assert!(there.is_multiple_of(2), "cut {cut}: half a step");
    }
    disk.unmount().expect("nobody has it open");
    eprintln!("{} power cuts, {acknowledged} acknowledged commits, 0 lost", cuts());
}

#[cfg(debug_assertions)]
#[expect(clippy::print_stderr, reason = "the figures are to be seen")]
#[tokio::test]
async fn without_syncs_a_power_cut_loses_what_was_acknowledged() {
    let (mut cuts_made, mut acknowledged, mut lost) = (0, 0, 0);
    while lost == 0 && cuts_made < 10 {
        let disk = match Disk::new() {
            Ok(disk) => disk,
            Err(why) => return not_here("the control run of power cuts", &why),
        };
        // A history that is on the disk, and then one that is not.
        commit_until_cut(&disk, "full", 5);
        after_the_cut(&disk).await.expect("with syncs it is there");
        let (count, last) = commit_until_cut(&disk, "off", fastrand::usize(10..=ACKS_MAX));
        cuts_made += 1;
        acknowledged += count;
        lost += match after_the_cut(&disk).await {
            Ok(there) => last.saturating_sub(there) / 2,
            Err(_) => count as u64,
        };
        disk.unmount().expect("nobody has it open");
    }
    eprintln!("without syncs: {cuts_made} cuts, {acknowledged} acknowledged commits, {lost} lost");
    assert!(lost > 0, "the cut lost nothing: the test above could not see a loss");
}
