//! The driver `process`: adoption, ends, trees, limits, logs.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use rollway::driver::{Ensured, Launch, Life};
use rollway_core::spec::{Limits, Log, Restart, RestartPolicy};
use rollway_core::units::{Bytes, Millis};

use super::support::{
    Bench, ended, fence, fresh, instance, kill, line_in, pid_of, runs, script, sleeper, wait_for,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_outlives_its_driver_and_its_exit_code_is_seen_by_the_next() {
    let mut bench = Bench::process();
    let file = bench.state.path().join("go");
    let text = format!("while ! [ -e {} ]; do sleep 0.01; done; echo bye; exit 7", file.display());
    let (_, started) = bench.start(1, &script(&text)).await;
    bench.restart();
    let adopted = bench.one().await;
    assert_eq!(adopted.life, Life::Running);
    assert_eq!((adopted.incarnation, adopted.address), (started.incarnation, started.address));
    fs::write(file, "").unwrap();
    let seen = bench.until("its end", |seen| ended(seen).is_some()).await;
    let end = ended(&seen).unwrap();
    assert_eq!((end.code, end.signal), (Some(7), None));
    assert_eq!(end.last_lines, ["bye"]);
    bench.restart();
    assert_eq!(ended(&bench.one().await).unwrap().code, Some(7), "also from the folder alone");
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
    let log = bench.driver.log(&fence(1).service, instance(0)).await;
    assert_eq!(fs::read_to_string(log.unwrap()).unwrap(), "bye\n", "the log is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_is_started_afresh() {
    let bench = Bench::process();
    bench.start(1, &script("exit 3")).await;
    bench.until("its end", |seen| ended(seen).is_some()).await;
    let (ensured, seen) = bench.start(1, &sleeper()).await;
    assert_eq!((ensured, seen.life), (Ensured::Updated, Life::Running));
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_ignores_the_signal_is_killed_when_its_time_is_over() {
    let bench = Bench::process();
    let ready = bench.state.path().join("ready");
    let text = format!("trap '' TERM; echo yes > {}; while :; do sleep 1; done", ready.display());
    let (_, seen) = bench.start(1, &script(&text)).await;
    line_in(&ready);
    let began = Instant::now();
    assert_eq!(bench.stop_with(1, 0, Millis(200)).await, Ensured::Updated);
    let took = began.elapsed().as_millis();
    assert!((200..3_000).contains(&took), "took {took} ms");
    assert!(!runs(pid_of(&seen)));
    assert!(!bench.folder(0).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grandchild_in_its_own_session_ends_too() {
    let bench = Bench::process();
    let file = bench.state.path().join("stray");
    let inner = format!("trap \"\" TERM HUP; echo $$ > {}; sleep 600; sleep 600", file.display());
    let text = format!("setsid setsid sh -c '{inner}' & exec sleep 600");
    bench.start(1, &script(&text)).await;
    let stray: i64 = line_in(&file).parse().unwrap();
    assert!(runs(stray));
    assert_eq!(bench.stop_with(1, 0, Millis(300)).await, Ensured::Updated);
    assert!(!runs(stray));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crashes_is_restarted_with_a_growing_wait_and_leaves_nothing_behind() {
    let bench = Bench::process();
    let file = bench.state.path().join("stray");
    let text = format!("setsid sleep 600 & echo $! > {}; echo oops; exit 9", file.display());
    let (backoff, backoff_max) = (Millis(20), Millis(100));
    let restart = Restart { policy: RestartPolicy::OnFailure, backoff, backoff_max };
    let began = Instant::now();
    let (_, first) = bench.start(1, &Launch { restart, ..script(&text) }).await;
    let seen = bench.until("three restarts", |seen| seen.restarts >= 3).await;
    assert!(began.elapsed().as_millis() >= 20 + 40 + 80);
    assert_eq!(seen.address, first.address, "the port stays");
    assert_ne!(seen.incarnation, first.incarnation);
    let seen = bench.until("a wait", |seen| matches!(seen.life, Life::Restarting { .. })).await;
    if let Life::Restarting { ended, wait_ms } = &seen.life {
        assert!(*wait_ms <= 100, "{wait_ms}");
        assert_eq!((ended.code, &ended.last_lines), (Some(9), &vec!["oops".to_owned()]));
        assert!(!runs(line_in(&file).parse().unwrap()), "the stray is gone before the restart");
    }
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_shim_leaves_an_instance_that_is_seen_and_can_be_stopped() {
    let bench = Bench::process();
    let file = bench.state.path().join("stray");
    let text = format!("setsid sleep 600 & echo $! > {}; exec sleep 600", file.display());
    let (_, started) = bench.start(1, &script(&text)).await;
    let stray: i64 = line_in(&file).parse().unwrap();
    let shim = bench.shim_pid(0);
    kill(shim);
    wait_for("the shim's end", || (!runs(shim)).then_some(()));
    let seen = bench.one().await;
    assert_eq!((seen.life, seen.incarnation), (Life::Running, started.incarnation.clone()));
    assert_eq!(bench.start(1, &sleeper()).await.0, Ensured::NotNeeded);
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
    assert!(!runs(pid_of(&started)) && !runs(stray));
    assert!(!bench.folder(0).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_before_a_reboot_is_an_end_and_harms_nobody() {
    let mut bench = Bench::process();
    let (_, started) = bench.start(1, &sleeper()).await;
    let mut record = bench.record(0);
    record["boot"] = "another".into();
    let shim = bench.shim_pid(0);
    kill(shim);
    wait_for("the shim's end", || (!runs(shim)).then_some(()));
    fs::write(bench.folder(0).join("shim.json"), record.to_string()).unwrap();
    bench.restart();
    let seen = bench.one().await;
    assert_eq!(ended(&seen).map(|end| (end.code, end.signal)), Some((None, None)), "{seen:?}");
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
    assert!(runs(pid_of(&started)), "its number means another process now");
    kill(pid_of(&started));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_says_why_and_leaves_nothing() {
    let bench = Bench::process();
    let wrong = Launch { command: vec!["no-such-program".into()], ..sleeper() };
    let failure = bench.driver.start(&fence(1), &wrong).await.unwrap_err();
    let told = failure.chain();
    assert!(told.starts_with("could not start shop r1-0: could not find the program"), "{told}");
    let wrong = Launch { user: Some("no-such-user".into()), ..sleeper() };
    let told = bench.driver.start(&fence(1), &wrong).await.unwrap_err().chain();
    assert!(told.contains("there is no user \"no-such-user\""), "{told}");
    assert!(bench.observe().await.is_empty());
    assert!(!bench.folder(0).exists());
}

/// Not a test by itself: the control plane that the next test kills.
#[tokio::test(flavor = "multi_thread")]
async fn control_plane_to_be_killed() {
    let Ok(state) = std::env::var("ROLLWAY_TEST_STATE") else { return };
    let driver = fresh("process", state.as_ref());
    let launch = Launch { restart: Restart::default(), ..sleeper() };
    driver.start(&fence(1), &launch).await.unwrap();
    fs::write(format!("{state}/started"), "yes\n").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_ends_no_instance_and_the_next_one_holds_it() {
    let bench = Bench::process();
    let mut plane = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::control_plane_to_be_killed"])
        .env("ROLLWAY_TEST_STATE", bench.state.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    line_in(&bench.state.path().join("started"));
    let before = bench.record(0);
    plane.kill().unwrap();
    plane.wait().unwrap();
    let seen = bench.one().await;
    assert_eq!(seen.life, Life::Running);
    assert_eq!(Some(pid_of(&seen)), before["child"]["pid"].as_i64());
    kill(pid_of(&seen));
    let again = bench.until("the restart", |seen| seen.restarts == 1).await;
    assert_eq!((&again.life, again.address), (&Life::Running, seen.address));
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
    assert!(!runs(pid_of(&again)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_the_environment_that_was_asked_for() {
    let bench = Bench::process();
    let file = bench.state.path().join("seen");
    let text = format!(
        "{{ env | sort; echo \"umask $(umask)\"; \
         grep -E 'NoNewPrivs|^Groups' /proc/self/status; ulimit -c; echo \"arg $0\"; }} > {}; \
         exec sleep 600",
        file.display()
    );
    let mut launch = script(&text);
    launch.env.insert("HOME".into(), "/home/shop".into());
    launch.env.insert("URL".into(), "http://h:{{port}}/".into());
    launch.command.push("at {{port}}".into());
    let (_, seen) = bench.start(1, &launch).await;
    let port = seen.address.unwrap().port();
    let text = wait_for("all lines", || {
        fs::read_to_string(&file).ok().filter(|text| text.contains("\narg "))
    });
    let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line:?} is not in {text}");
    has(&format!("PORT={port}"));
    has(&format!("URL=http://h:{port}/"));
    has(&format!("arg at {port}"));
    ["ROLLWAY_SERVICE=shop", "ROLLWAY_VERSION=v1", "ROLLWAY_RELEASE=1"].into_iter().for_each(has);
    ["ROLLWAY_INSTANCE=r1-0", "HOME=/home/shop", "umask 0027"].into_iter().for_each(has);
    ["NoNewPrivs:\t1", "0"].into_iter().for_each(has);
    assert!(!text.contains("CARGO"), "nothing else of our environment: {text}");
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_standard_files_is_inherited() {
    let bench = Bench::process();
    let (_, seen) = bench.start(1, &sleeper()).await;
    let folder = format!("/proc/{}/fd", pid_of(&seen));
    // The loader has libraries open for a moment.
    wait_for("three open files and no more", || {
        let links = fs::read_dir(&folder).ok()?;
        let mut names: Vec<_> = links.filter_map(|link| Some(link.ok()?.file_name())).collect();
        names.sort_unstable();
        (names == ["0", "1", "2"]).then_some(())
    });
    let shim = bench.shim_pid(0);
    match fs::read_to_string(format!("/proc/{shim}/environ")) {
        Ok(text) => assert!(!text.contains("CARGO"), "the shim has our environment: {text}"),
        // Only root may look into a shim at all.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_and_it_is_said_by_what() {
    let bench = Bench::process();
    let file = bench.state.path().join("seen");
    let text = format!("ulimit -n > {}; exec sleep 600", file.display());
    let limits = Limits {
        memory: Some(Bytes(64 << 20)),
        cpus: Some(0.5),
        open_files: Some(77),
        processes: Some(50),
        core: Bytes(0),
    };
    let (_, seen) = bench.start(1, &Launch { limits, ..script(&text) }).await;
    assert_eq!(line_in(&file), "77");
    let record = bench.record(0);
    let by = record["limited_by"].as_str().unwrap();
    assert!(by.contains("open_files") && by.contains("memory"), "{by}");
    let groups: Vec<&str> =
        record["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap()).collect();
    for group in &groups {
        let members = fs::read_to_string(format!("{group}/cgroup.procs")).unwrap();
        assert!(members.lines().any(|pid| pid == pid_of(&seen).to_string()), "{group}: {members}");
    }
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
    assert!(groups.iter().all(|group| !std::path::Path::new(group).exists()), "{groups:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_fills_no_disk() {
    let bench = Bench::process();
    let log = Log { max_size: Bytes(64 << 10), keep: 2 };
    let text = "seq 1 200000; echo done; exec sleep 600";
    bench.start(1, &Launch { log, ..script(text) }).await;
    let folder = bench.folder(0);
    wait_for("the end of the flood", || {
        let text = fs::read_to_string(folder.join("log")).ok()?;
        text.ends_with("done\n").then_some(())
    });
    let sizes: Vec<u64> =
        ["log", "log.1", "log.2"].map(|name| fs::metadata(folder.join(name)).unwrap().len()).into();
    assert!(sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
    assert!(!folder.join("log.3").exists());
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_that_user_alone() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become another.
        return;
    }
    let bench = Bench::process();
    let text = "grep -E '^(Uid|Gid|Groups|CapEff)' /proc/self/status; echo $HOME; exec sleep 600";
    let launch = Launch { user: Some("nobody".into()), ..script(text) };
    bench.start(1, &launch).await;
    let log = bench.folder(0).join("log");
    let text = wait_for("all lines", || {
        fs::read_to_string(&log).ok().filter(|text| text.lines().count() == 5)
    });
    let id = fs::read_to_string("/etc/passwd").unwrap();
    let id = id.lines().find(|l| l.starts_with("nobody:")).unwrap().split(':').nth(2).unwrap();
    assert!(text.starts_with(&format!("Uid:\t{id}\t{id}\t{id}\t{id}\n")), "{text}");
    assert!(
        text.contains("Groups:\t \n") && text.contains("CapEff:\t0000000000000000\n"),
        "{text}"
    );
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_with_a_long_path_is_no_trap() {
    let mut bench = Bench::process();
    let deep = bench.state.path().join("x".repeat(100)).join("y".repeat(100));
    bench.driver = fresh("process", &deep);
    bench.start(1, &sleeper()).await;
    bench.driver = fresh("process", &deep);
    assert_eq!(bench.one().await.life, Life::Running);
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_start_one_instance_and_no_shim_stays_as_a_zombie() {
    let bench = Bench::process();
    let other = fresh("process", bench.state.path());
    let (one, two) = (fence(1), sleeper());
    let (first, second) = tokio::join!(bench.driver.start(&one, &two), other.start(&one, &two));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.1.incarnation, second.1.incarnation);
    let mut both = [first.0, second.0];
    both.sort_by_key(|ensured| *ensured == Ensured::NotNeeded);
    assert_eq!(both, [Ensured::Added, Ensured::NotNeeded]);
    let shim = bench.shim_pid(0);
    assert_eq!(bench.stop(1, 0).await, Ensured::Updated);
    assert!(other.observe(&fence(1).service).await.unwrap().is_empty());
    wait_for("the shim to be waited for", || {
        (!std::path::Path::new(&format!("/proc/{shim}")).exists()).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_more_urgent_stop_is_obeyed() {
    let bench = Bench::process();
    let ready = bench.state.path().join("ready");
    let text = format!("trap '' TERM; echo yes > {}; while :; do sleep 1; done", ready.display());
    bench.start(1, &script(&text)).await;
    line_in(&ready);
    let began = Instant::now();
    let patient = bench.stop_with(1, 0, Millis(60_000));
    let urgent = async {
        bench.until("the stop", |seen| seen.life == Life::Stopping).await;
        bench.stop_with(1, 0, Millis(0)).await
    };
    assert_eq!(tokio::join!(patient, urgent), (Ensured::Updated, Ensured::Updated));
    assert!(began.elapsed().as_secs() < 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_is_stuck_does_not_keep_its_instance() {
    if std::env::var_os("RUN_SLOW_TESTS").is_none() {
        // It is waited for as long as a stop may take.
        return;
    }
    let bench = Bench::process();
    let (_, seen) = bench.start(1, &sleeper()).await;
    let shim = rustix::process::Pid::from_raw(i32::try_from(bench.shim_pid(0)).unwrap()).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::STOP).unwrap();
    assert_eq!(bench.stop_with(1, 0, Millis(100)).await, Ensured::Updated);
    assert!(!runs(pid_of(&seen)) && bench.observe().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_forks_all_end() {
    let bench = Bench::process();
    let file = bench.state.path().join("ready");
    let text = format!(
        "trap '' TERM; for n in 1 2 3 4 5 6; do \
         (trap '' TERM; while :; do sleep 0.01 & setsid sleep 0.05; done) & done; \
         echo yes > {}; wait",
        file.display()
    );
    bench.start(1, &script(&text)).await;
    line_in(&file);
    let port = bench.record(0)["port"].as_u64().unwrap();
    assert_eq!(bench.stop_with(1, 0, Millis(50)).await, Ensured::Updated);
    let left = rollway::os::proc::all().into_iter().filter(|stat| {
        rollway::os::proc::environment_holds(stat.identity.pid, &[format!("PORT={port}")])
    });
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_have_ports_of_their_own_and_are_all_found_again() {
    const MANY: u32 = 30;
    let mut bench = Bench::process();
    let launches: Vec<Launch> =
        (0..MANY).map(|slot| Launch { instance: instance(slot), ..sleeper() }).collect();
    let starts = launches.iter().map(|launch| bench.start(1, launch));
    for (ensured, _) in futures_util::future::join_all(starts).await {
        assert_eq!(ensured, Ensured::Added);
    }
    bench.restart();
    let seen = bench.observe().await;
    let ports: BTreeSet<_> = seen.iter().filter_map(|one| one.address).collect();
    assert_eq!((seen.len(), ports.len()), (MANY as usize, MANY as usize));
    assert!(seen.iter().all(|one| one.life == Life::Running));
    let stops = (0..MANY).map(|slot| bench.stop(1, slot));
    for ensured in futures_util::future::join_all(stops).await {
        assert_eq!(ensured, Ensured::Updated);
    }
    assert!(bench.observe().await.is_empty());
}
