//! The checks see what they are for: each is shown what must not be.

use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};

use crate::bench::{Bench, Ran};
use crate::cell::{Cell, Operation, Strategy};
use crate::check::{self, Expected};

const CELL: Cell = Cell {
    point: "engine.start.before",
    strategy: Strategy::Rolling,
    operation: Operation::Deploy,
    nth: 1,
};

/// Another instance of `v1`, that nobody asked for.
fn stray(bench: &Bench) -> Child {
    Command::new(bench.world.root().join("shop"))
        .args(["--port", "0", "--version", "v1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn panics(act: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(act)).is_err()
}

#[tokio::test]
async fn what_must_not_be_is_seen() {
    let bench = Bench::new().await;
    let expected = Expected { number: 1, version: "v1".into(), instead: None, up: true };
    let world = &bench.world;
    let unrest = async || check::unrest(world, &expected).await.unwrap_or_default();
    assert_eq!(unrest().await, "");

    let mut process = stray(&bench);
    assert!(unrest().await.starts_with("these run"), "an orphan is not seen");
    process.kill().unwrap();
    process.wait().unwrap();

    let folder = world.state().join("instances/shop/r9-9");
    fs::create_dir(&folder).unwrap();
    assert!(unrest().await.starts_with("these folders"), "an orphan's folder is not seen");
    fs::remove_dir(folder).unwrap();
    let left = world.state().join(".instance-id.1-0.tmp");
    fs::write(&left, "").unwrap();
    assert!(unrest().await.starts_with("these files"), "a file that was left is not seen");
    fs::remove_file(left).unwrap();
    assert_eq!(unrest().await, "");
    let other = Expected { version: "v2".into(), ..expected.clone() };
    assert!(check::unrest(world, &other).await.is_some(), "the wrong version is not seen");

    let before = check::Before::look(world);
    let starts = |before: &check::Before| check::starts(world, before, &CELL, &expected);
    assert!(!panics(|| starts(&before)));
    let line = world.witnessed().into_iter().find(|line| line.event == "start").unwrap();
    let again = format!(
        r#"{{"event":"start","version":"v1","instance":"{}","mono_ns":{}}}"#,
        line.instance,
        u64::MAX
    );
    let mut file = fs::OpenOptions::new().append(true).open(world.witness_file()).unwrap();
    writeln!(file, "{again}").unwrap();
    assert!(panics(|| starts(&before)), "a second start is not seen");

    check::history(world, &bench.acknowledged).await;
    let never = [(2, "v2".to_owned())];
    let lost = check::history(world, &never);
    let lost = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(lost)).await;
    assert!(lost.is_err(), "a lost deployment is not seen");

    // Nobody serves any more: every request from here on fails.
    let load = world.load(200);
    for process in world.shops() {
        let pid = rustix::process::Pid::from_raw(process.pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    world.wait_until("a failure", || load.snapshot().failed() > 0).await;
    let report = load.stop().await;
    let requests = |died| check::requests(&report, died, false, &mut Ran::default());
    assert!(panics(|| requests(None)), "a lost request is not seen");
    assert!(panics(|| requests(Some(report.started_mono_ns))), "it is laid to the proxy's death");
}
