//! The main path: deployed, held, superseded, rolled back, pruned, ordered; never against the
//! operator.

use super::world::{Repo, World, one, wait_for};

#[test]
fn t18_a_bad_revision_is_held_and_a_fix_resumes_by_itself() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    repo.bad_service("web", "v2");
    let bad = repo.push();
    let held = world.stands("web", "Held", "rolled_back");
    assert_eq!(held["held"]["revision"], bad.as_str());
    assert_eq!(held["held"]["by"], "gitops demo");
    assert_eq!(world.serves("web"), "v1");
    // Another commit that leaves the service as it is does not try the bad one again.
    repo.write("README", "words");
    repo.push();
    world.sync();
    world.stands("web", "Held", "rolled_back");
    assert_eq!(world.deployments("web"), 2);
    repo.bad_service("web", "v3");
    repo.push();
    wait_for("a third try", || (world.deployments("web") == 3).then_some(()));
    world.stands("web", "Held", "deployment 3");
    repo.service("web", "v4", "");
    repo.push();
    world.stands("web", "Synced", "v4 serves");
    assert_eq!(world.serves("web"), "v4");
    // A revert to what served before is a deployment like any other.
    repo.service("web", "v1", "");
    repo.push();
    world.stands("web", "Synced", "v1 serves");
}

#[test]
fn t18_a_rollback_by_hand_holds_until_git_moves_on() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    repo.service("web", "v2", "");
    repo.push();
    world.stands("web", "Synced", "v2 serves");
    assert!(world.run(&["rollback", "web"]).status.success());
    let held = world.stands("web", "Held", "by hand");
    assert!(held["held"]["by"].as_str().unwrap().contains("uid:"), "{held}");
    world.sync();
    assert_eq!(world.serves("web"), "v1");
    // Letting it go is a wish, too.
    world.ask(&["gitops", "unhold", "demo", "web"]);
    world.stands("web", "OutOfSync", "not healed by itself");
    repo.service("web", "v3", "");
    repo.push();
    world.stands("web", "Synced", "v3 serves");
}

#[test]
fn t17_a_newer_commit_supersedes_what_is_under_way() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    repo.slow_service("web", "v2");
    repo.push();
    world.stands("web", "OutOfSync", "is being deployed");
    repo.service("web", "v3", "");
    repo.push();
    world.stands("web", "Synced", "v3 serves");
    let history = world.ask(&["history", "web"]);
    let states: Vec<&str> =
        history.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["completed", "rolled_back", "completed"], "newest first");
}

#[test]
fn t19_a_rollback_needs_no_git_and_what_serves_stays() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    repo.service("web", "v2", "");
    repo.push();
    world.stands("web", "Synced", "v2 serves");
    let away = repo.bare.with_extension("away");
    std::fs::rename(&repo.bare, &away).unwrap();
    world.source_is("FetchFailed", "RepoNotFound");
    assert!(world.run(&["rollback", "web"]).status.success());
    world.stands("web", "Held", "by hand");
    assert_eq!(world.serves("web"), "v1");
    std::fs::rename(&away, &repo.bare).unwrap();
    world.sync();
    world.source_is("Ready", "Succeeded");
    world.stands("web", "Held", "by hand");
}

#[test]
fn t20_nothing_is_stopped_without_being_wanted_confirmed_and_few() {
    let world = World::new();
    let repo = Repo::new(world.root());
    for at in 0..6 {
        repo.service(&format!("s{at}"), "v1", "");
    }
    repo.push();
    world.add(&repo.url(), &["--prune"]);
    for at in 0..6 {
        world.stands(&format!("s{at}"), "Synced", "v1 serves");
    }
    // One of six is few: stopped, but only after another look.
    std::fs::remove_dir_all(repo.work.join("s0")).unwrap();
    repo.push();
    world.stands("s0", "Synced", "it was stopped");
    let desired = |service: &str| world.ask(&["status", service]);
    assert!(desired("s0").to_string().contains(r#""desired":"down""#), "{}", desired("s0"));
    // Three of five are many.
    for at in 1..4 {
        std::fs::remove_dir_all(repo.work.join(format!("s{at}"))).unwrap();
    }
    repo.push();
    world.stands("s1", "OutOfSync", "3 of 5 services are gone");
    world.sync();
    world.sync();
    assert!(desired("s1").to_string().contains(r#""desired":"up""#));
    world.ask(&["gitops", "sync", "demo", "--confirm"]);
    world.stands("s1", "Synced", "it was stopped");
    // An empty set never stops anything, nor does a path that is not there.
    git_rm_all(&repo);
    repo.push();
    world.stands("s4", "OutOfSync", "no service at all");
    world.sync();
    assert!(desired("s4").to_string().contains(r#""desired":"up""#));
}

fn git_rm_all(repo: &Repo) {
    for at in 4..6 {
        std::fs::remove_dir_all(repo.work.join(format!("s{at}"))).unwrap();
    }
    repo.write("README", "nothing here");
}

#[test]
fn t20_a_vanished_path_or_a_broken_spec_leaves_everything_as_it_is() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.write("live/web/rollway.yaml", "service: web\nversion: v1\nrun: {driver: 'null'}\n");
    repo.push();
    world.add(&repo.url(), &["--prune", "--path", "live"]);
    world.stands("web", "Synced", "v1 serves");
    repo.write("live/web/rollway.yaml", "service: web\nversoin: v2\nrun: {driver: 'null'}\n");
    repo.push();
    let view = world.source_is("Stalled", "ParseFailed");
    let problem = view["problems"][0]["path"].as_str().unwrap();
    assert!(problem.starts_with("web/rollway.yaml:2"), "{view:#}");
    std::fs::rename(repo.work.join("live"), repo.work.join("dead")).unwrap();
    repo.push();
    world.source_is("Stalled", "PathMissing");
    world.sync();
    world.stands("web", "Synced", "v1 serves");
    assert_eq!(world.deployments("web"), 1);
}

#[test]
fn drift_is_told_and_healed_only_where_it_may_be() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    assert!(world.run(&["scale", "web", "3"]).status.success());
    world.stands("web", "OutOfSync", "scaled by hand to 3, not 1; it is not healed");
    let diff = world.ask(&["gitops", "diff", "demo"]);
    assert!(!diff[0]["plan"]["stages"].as_array().unwrap().is_empty(), "{diff:#}");
    world.ask(&["gitops", "remove", "demo"]);
    assert_eq!(world.serves("web"), "v1", "what was followed goes on");
    world.add(&repo.url(), &["--self-heal"]);
    world.stands("web", "Synced", "v1 serves");
    assert!(world.run(&["down", "web"]).status.success());
    let is_up = || world.ask(&["status", "web"]).to_string().contains(r#""desired":"up""#);
    wait_for("it is healed", || is_up().then_some(()));
    world.stands("web", "Synced", "v1 serves");
}

#[test]
fn suspended_held_and_shut_begin_nothing() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    world.ask(&["gitops", "suspend", "demo"]);
    repo.service("web", "v2", "");
    repo.push();
    world.sync();
    world.stands("web", "OutOfSync", "suspended by");
    assert_eq!(world.serves("web"), "v1");
    world.ask(&["gitops", "hold", "demo", "web", "--reason", "a fair", "--for", "1h"]);
    world.ask(&["gitops", "resume", "demo"]);
    world.stands("web", "Held", "a fair");
    assert_eq!(world.serves("web"), "v1");
    world.ask(&["gitops", "unhold", "demo", "web"]);
    world.stands("web", "Synced", "v2 serves");
    let said = world.refused(&["gitops", "unhold", "demo", "web"], 2);
    assert!(said.contains("web is not held"), "{said}");
    world.ask(&["gitops", "remove", "demo"]);
    world.add(&repo.url(), &["--window", "deny * * * * * for 1h in Europe/Berlin"]);
    repo.service("web", "v3", "");
    repo.push();
    world.sync();
    world.stands("web", "OutOfSync", "in the window");
    assert_eq!(world.serves("web"), "v2");
}

#[test]
fn services_come_in_order_and_overlays_go_before_specs() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("db", "v1", "");
    repo.service("web", "v1", "instances: 1\n");
    repo.write("web/environments/prod.yaml", "instances: 4\n");
    repo.write("rollway-app.yaml", "services: [{name: db}, {name: web, after: [db]}]\n");
    repo.push();
    world.add(&repo.url(), &["--environment", "prod"]);
    world.stands("web", "Synced", "v1 serves");
    let specs = world.ask(&["gitops", "render", "demo"]);
    assert_eq!(specs["web"]["instances"], 4);
    let began = |service: &str| {
        let history = world.ask(&["history", service]);
        let last = history.as_array().unwrap().last().unwrap().clone();
        (last["started_at_ms"].as_i64().unwrap(), last["ended_at_ms"].as_i64().unwrap())
    };
    assert!(began("web").0 >= began("db").1, "web waits for db");
    // What it waits for is not there: it is not deployed at all.
    repo.bad_service("db", "v2");
    repo.service("web", "v2", "");
    repo.push();
    world.stands("db", "Held", "rolled_back");
    world.stands("web", "OutOfSync", "waits for db");
    repo.service("db", "v3", "");
    repo.push();
    world.stands("web", "Synced", "v2 serves");
}

#[test]
fn t21_many_services_are_one_look() {
    let world = World::new();
    let repo = Repo::new(world.root());
    for at in 0..40 {
        repo.service(&format!("s{at}"), "v1", "");
    }
    repo.push();
    world.add(&repo.url(), &[]);
    for at in 0..40 {
        world.stands(&format!("s{at}"), "Synced", "v1 serves");
    }
    repo.service("s7", "v2", "");
    let revision = repo.push();
    world.stands("s7", "Synced", "v2 serves");
    let view = world.show();
    assert_eq!(view["revision"], revision.as_str());
    for at in (0..40).filter(|at| *at != 7) {
        assert_eq!(world.deployments(&format!("s{at}")), 1, "s{at} was not touched");
    }
    let two = ["gitops", "add", "other", &repo.url(), "--interval", "1s"];
    world.ask(&two);
    wait_for("what belongs to another is refused", || {
        let other = world.ask(&["gitops", "show", "other"]);
        other["message"].as_str().unwrap().contains("followed by the source demo").then_some(())
    });
    assert!(one(&world.ask(&["gitops", "show", "other"]), "s1").is_none());
}

#[test]
fn t23_one_control_plane_follows() {
    let world = World::new();
    let said = world.refused(&["serve"], 1);
    assert!(said.contains("is in use by process"), "{said}");
}

#[test]
fn mistakes_teach() {
    let world = World::new();
    let cases: [(&[&str], &str); 9] = [
        (&["x", "https://u:p@h/r"], "--token-file"),
        (&["x", "ext::sh -c id"], "URL"),
        (&["x", "git@h:r"], "--known-hosts"),
        (&["x", "file:///r", "--branch", "a..b"], "--branch"),
        (&["x", "file:///r", "--path", "../x"], "--path"),
        (&["x", "file:///r", "--window", "allow * * * * for 1h"], "five fields"),
        (&["x", "file:///r", "--window", "allow * * * * * for 1h in Mars/X"], "no time zone"),
        (&["x", "file:///r", "--verify-ssh", "/nonexistent"], "allowed_signers"),
        (&["X!", "file:///r"], "name of a source"),
    ];
    for (arguments, expected) in cases {
        let said = world.refused(&[&["gitops", "add"], arguments].concat(), 2);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("u:p@"), "{said}");
    }
    world.refused(&["gitops", "show", "nothing"], 2);
    assert!(world.refused(&["gitops", "snyc"], 2).contains("known: sync"));
}
