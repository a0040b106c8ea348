//! What the repository is told of a rollback that nobody asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::world::{Repo, World, git, git_ok, one, wait_for};

fn told(world: &World) -> Value {
    one(&world.show(), "web").map_or(Value::Null, |one| one["told"].clone())
}

fn branches(repo: &Repo) -> Vec<String> {
    let all = git_ok(&repo.bare, &["for-each-ref", "--format=%(refname:short)", "refs/heads"]);
    all.lines().map(str::to_owned).collect()
}

/// The spec of a service in the folder of another.
fn inner(version: &str) -> String {
    format!("service: inner\nversion: {version}\nrun: {{driver: 'null'}}\n")
}

#[test]
fn a_rollback_is_reverted_on_a_branch_of_its_own() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.write("web/page.html", "one");
    repo.write("web/inner/rollway.yaml", inner("v1"));
    repo.push();
    world.add(&repo.url(), &["--write-back", "branch"]);
    world.stands("web", "Synced", "v1 serves");
    repo.bad_service("web", "v2");
    repo.write("web/page.html", "two");
    repo.write("web/new.html", "new");
    // What is not the service's is not reverted with it.
    repo.write("web/inner/rollway.yaml", inner("v2"));
    repo.write("README", "words");
    let bad = repo.push();
    world.stands("web", "Held", "rolled_back");
    let name = format!("rollway/revert-web-{}", &bad[..10]);
    wait_for("the branch", || branches(&repo).contains(&name).then_some(()));
    assert_eq!(git_ok(&repo.bare, &["rev-parse", &format!("{name}^")]), bad);
    let changed = git_ok(&repo.bare, &["diff", "--name-status", &bad, &name]);
    assert_eq!(changed, "D\tweb/new.html\nM\tweb/page.html\nM\tweb/rollway.yaml");
    assert_eq!(git_ok(&repo.bare, &["show", &format!("{name}:web/page.html")]), "one");
    let message = git_ok(&repo.bare, &["log", "-1", "--format=%an: %B", &name]);
    assert!(message.starts_with("Rollway: Revert web to "), "{message}");
    assert_eq!(git_ok(&repo.bare, &["rev-parse", "main"]), bad, "what is followed stays");
    wait_for("the end", || (told(&world)["is_over"] == true).then_some(()));
    let text = world.run(&["gitops", "show", "demo"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(&format!("web: reverted on {name}")), "{text}");
    // Merged, it is a deployment like any other.
    git_ok(&repo.bare, &["update-ref", "refs/heads/main", &name]);
    world.stands("web", "Synced", "v1 serves");
    assert!(git_ok(&repo.bare, &["fsck", "--strict"]).is_empty());
}

#[test]
fn a_rollback_is_told_in_a_file_on_a_branch_of_such_files() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &["--write-back", "status"]);
    world.stands("web", "Synced", "v1 serves");
    let mut before = None;
    for version in ["v2", "v3"] {
        repo.bad_service("web", version);
        let bad = repo.push();
        let status = wait_for("the status", || {
            let shown = git(&repo.bare, &["show", "rollway/status-demo:web.json"]);
            let status: Value = serde_json::from_slice(&shown.stdout).ok()?;
            (status["rejected"] == bad.as_str()).then_some(status)
        });
        assert!(status["reason"].as_str().unwrap().contains("rolled_back"), "{status}");
        let tip = git_ok(&repo.bare, &["rev-parse", "rollway/status-demo"]);
        if let Some(before) = before.replace(tip) {
            let parent = git_ok(&repo.bare, &["rev-parse", "rollway/status-demo^"]);
            assert_eq!(parent, before, "one after the other");
        }
    }
    let files = git_ok(&repo.bare, &["ls-tree", "-r", "--name-only", "rollway/status-demo"]);
    assert_eq!(files, "web.json");
}

#[test]
fn a_push_that_fails_is_told_tried_again_and_hinders_nothing() {
    let mut world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &["--write-back", "branch"]);
    world.stands("web", "Synced", "v1 serves");
    // The repository refuses whatever we bring.
    let hook = repo.bare.join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ngrep -q rollway/ && exit 1 || exit 0\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    repo.bad_service("web", "v2");
    let bad = repo.push();
    world.stands("web", "Held", "rolled_back");
    let failed = wait_for("a try in vain", || {
        let told = told(&world);
        (told["tries"].as_u64()? > 0).then_some(told)
    });
    assert!(failed["words"].as_str().unwrap().contains("not written back after"), "{failed}");
    assert_eq!(world.show()["source"], "Ready", "the source is well");
    assert!(world.log().contains("not written back after"), "it is in the log");
    // Nothing waits for it, and it outlives the control plane.
    repo.service("api", "v1", "");
    repo.push();
    world.stands("api", "Synced", "v1 serves");
    world.kill();
    fs::remove_file(&hook).unwrap();
    world.start();
    let name = format!("rollway/revert-web-{}", &bad[..10]);
    wait_for("the branch", || branches(&repo).contains(&name).then_some(()));
    wait_for("the end", || (told(&world)["is_over"] == true).then_some(()));
    assert!(!world.mirror().with_extension("write").exists(), "nothing is left of it");
}

#[test]
fn nothing_is_written_unless_it_is_wanted() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    repo.bad_service("web", "v2");
    repo.push();
    world.stands("web", "Held", "rolled_back");
    world.sync();
    assert_eq!(branches(&repo), ["main"]);
    assert_eq!(told(&world), Value::Null);
    let said = world.refused(&["gitops", "add", "two", &repo.url(), "--write-back", "brnch"], 2);
    assert!(said.contains("branch"), "{said}");
}
