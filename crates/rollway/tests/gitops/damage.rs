//! Copies that are damaged, calls that are killed, and control planes that are: no manual step.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::world::{Repo, World, is_slow, wait_for};

fn begun() -> (World, Repo) {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v0", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v0 serves");
    (world, repo)
}

#[test]
fn t11_a_damaged_copy_is_made_anew() {
    let (world, repo) = begun();
    let mirror = world.mirror();
    let damages: [(&str, &dyn Fn()); 5] = [
        ("garbage HEAD", &|| fs::write(mirror.join("HEAD"), "garbage").unwrap()),
        ("no folder", &|| fs::remove_dir_all(&mirror).unwrap()),
        ("empty objects", &|| empty_all(&mirror.join("objects"))),
        ("no objects", &|| fs::remove_dir_all(mirror.join("objects")).unwrap()),
        ("a link", &|| {
            fs::remove_dir_all(&mirror).unwrap();
            symlink("/etc", &mirror).unwrap();
        }),
    ];
    for (at, (name, damage)) in damages.iter().enumerate() {
        damage();
        let version = format!("v{}", at + 1);
        repo.service("web", &version, "");
        repo.push();
        world.sync();
        world.stands("web", "Synced", &format!("{version} serves"));
        assert!(fs::symlink_metadata(&mirror).unwrap().is_dir(), "{name}");
    }
    assert!(fs::metadata("/etc/passwd").is_ok());
}

/// Cuts every object to nothing.
fn empty_all(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            empty_all(&path);
        } else {
            fs::remove_file(&path).unwrap();
            fs::write(&path, "").unwrap();
        }
    }
}

#[test]
fn t10_locks_that_were_left_are_nobodys() {
    let (mut world, repo) = begun();
    let mirror = world.mirror();
    world.kill();
    fs::create_dir_all(mirror.join("refs/sync")).unwrap();
    for lock in ["HEAD.lock", "shallow.lock", "packed-refs.lock", "config.lock", "index.lock"] {
        fs::write(mirror.join(lock), "").unwrap();
    }
    fs::write(mirror.join("refs/sync/followed.lock"), "").unwrap();
    fs::create_dir_all(mirror.join("objects/pack")).unwrap();
    fs::write(mirror.join("objects/pack/tmp_pack_x"), "half").unwrap();
    repo.service("web", "v1", "");
    repo.push();
    world.start();
    world.stands("web", "Synced", "v1 serves");
    assert!(!mirror.join("objects/pack/tmp_pack_x").exists());
    assert!(!mirror.join("refs/sync/followed.lock").exists());
}

#[test]
fn a_copy_does_not_grow_for_ever() {
    let (world, repo) = begun();
    let mirror = world.mirror();
    let folder = world.root().join("blobs");
    fs::create_dir(&folder).unwrap();
    let paths: String = (0..7_500)
        .map(|at| {
            let path = folder.join(at.to_string());
            fs::write(&path, at.to_string()).unwrap();
            format!("{}\n", path.display())
        })
        .collect();
    fs::write(world.root().join("paths"), paths).unwrap();
    let made = Command::new("git")
        .arg("--git-dir")
        .arg(&mirror)
        .args(["hash-object", "-w", "--stdin-paths"])
        .stdin(fs::File::open(world.root().join("paths")).unwrap())
        .stdout(std::process::Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let loose = || fs::read_dir(mirror.join("objects/17")).map_or(0, Iterator::count);
    assert!(loose() > 10, "{}", loose());
    repo.service("web", "v1", "");
    repo.push();
    world.sync();
    world.stands("web", "Synced", "v1 serves");
    assert_eq!(loose(), 0, "what nothing refers to is dropped, and the rest packed");
    repo.service("web", "v2", "");
    repo.push();
    world.sync();
    world.stands("web", "Synced", "v2 serves");
}

/// The calls of git that run for this world.
fn calls(world: &World) -> Vec<i32> {
    let mark = format!("ROLLWAY_MIRROR={}", world.state().display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else { continue };
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&mark) {
            found.push(pid);
        }
    }
    found
}

fn kill(pid: i32) {
    // One that has ended meanwhile cannot be killed.
    let _ = Command::new("kill")
        .args(["-9", &pid.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
}

/// Some file to fetch, so that a call takes a while.
fn bulk(repo: &Repo, at: usize) {
    let bytes: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
    repo.write(&format!("bulk/{at}"), bytes);
}

#[test]
fn t24_a_full_disk_stops_nothing_and_is_recovered_from() {
    const DISK_BYTES: u64 = 16 << 20;
    let Some(world) = World::with_disk(DISK_BYTES) else { return };
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    let filler = world.disk().join("filler");
    // Full from the start, then at some point of the fetch or behind it.
    for (at, room) in [0, 16 << 10, 64 << 10, 256 << 10, 400 << 10].into_iter().enumerate() {
        fill(&filler, room);
        bulk(&repo, at);
        repo.service("web", &format!("v{}", at + 2), "");
        repo.push();
        let view = world.sync();
        assert_eq!(view["reason"], "DiskFull", "{room} free: {view:#}");
        assert_eq!(view["source"], "FetchFailed");
        assert_eq!(world.serves("web"), format!("v{}", at + 1));
        if room == 0 {
            world.refused(&["gitops", "suspend", "demo"], 1);
            assert!(world.show()["suspended"].is_null(), "what is refused is not done");
        }
        fs::remove_file(&filler).unwrap();
        world.sync();
        world.stands("web", "Synced", &format!("v{} serves", at + 2));
        assert_eq!(world.deployments("web"), at + 2, "each once");
    }
    let trees = fs::read_dir(world.disk().join("trees/demo")).unwrap();
    let halves: Vec<_> = trees
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert_eq!(halves, [""; 0]);
}

/// Fills a disk until so many bytes are free.
fn fill(filler: &Path, room: u64) {
    let mut file = fs::File::create(filler).unwrap();
    let mut written = 0;
    while let Ok(more @ 1..) = file.write(&[7; 4096]) {
        written += more as u64;
    }
    file.set_len(written.saturating_sub(room)).unwrap();
}

#[test]
fn t09_git_may_be_killed_at_any_time() {
    let (world, repo) = begun();
    let rounds = if is_slow() { 200 } else { 6 };
    let mut killed = 0;
    for at in 1..=rounds {
        bulk(&repo, at);
        repo.service("web", &format!("v{at}"), "");
        repo.push();
        std::thread::scope(|scope| {
            let sync = scope.spawn(|| world.sync());
            let pause = Duration::from_micros(fastrand::u64(0..30_000));
            let found = wait_for("a call of git, or an end", || {
                let found = calls(&world);
                (!found.is_empty() || sync.is_finished()).then_some(found)
            });
            std::thread::sleep(pause);
            killed += found.len();
            found.into_iter().for_each(kill);
            sync.join().unwrap();
        });
        world.sync();
        world.stands("web", "Synced", &format!("v{at} serves"));
    }
    assert!(killed > 0, "none was caught");
    println!("{killed} calls of git were killed in {rounds} rounds");
}

#[test]
fn t09_the_control_plane_may_be_killed_at_any_time() {
    let (mut world, repo) = begun();
    let rounds = if is_slow() { 200 } else { 5 };
    for at in 1..=rounds {
        repo.service("web", &format!("v{at}"), "");
        repo.push();
        // At any point between the look and the end of the deployment.
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..1_500_000)));
        world.kill();
        world.start();
        world.stands("web", "Synced", &format!("v{at} serves"));
        assert_eq!(world.deployments("web").min(20), (at + 1).min(20), "each once");
    }
    world.sync();
    wait_for("no call of git is left", || calls(&world).is_empty().then_some(()));
    assert!(world.run(&["history", "verify"]).status.success());
}
