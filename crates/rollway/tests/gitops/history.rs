//! Branches and tags that do what they should not: rewritten, removed, renamed, moved, empty.

use super::world::{Repo, World, git_ok};

#[test]
fn t01_a_force_push_is_followed_and_unrelated_history_is_not() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    let first = repo.push();
    repo.service("web", "v2", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v2 serves");
    git_ok(&repo.work, &["reset", "-q", "--hard", &first]);
    repo.service("web", "v3", "");
    repo.push();
    world.stands("web", "Synced", "v3 serves");
    git_ok(&repo.work, &["checkout", "-q", "--orphan", "fresh"]);
    repo.service("web", "v4", "");
    let unrelated = repo.push();
    let view = world.source_is("Stalled", "HistoryRewritten");
    assert!(view["message"].as_str().unwrap().contains("--confirm"), "{view:#}");
    assert_eq!(world.serves("web"), "v3");
    let view = world.ask(&["gitops", "sync", "demo", "--confirm"]);
    assert_eq!(view["revision"], unrelated.as_str());
    world.stands("web", "Synced", "v4 serves");
}

#[test]
fn t02_a_branch_that_goes_and_comes_stops_nothing() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    let first = repo.push();
    git_ok(&repo.bare, &["branch", "other", &first]);
    git_ok(&repo.bare, &["branch", "rel", &first]);
    world.add(&repo.url(), &["--branch", "rel", "--prune"]);
    world.stands("web", "Synced", "v1 serves");
    git_ok(&repo.bare, &["branch", "-D", "rel"]);
    world.source_is("FetchFailed", "RefNotFound");
    world.stands("web", "Synced", "v1 serves");
    // A folder where the branch was, and back: names of refs are files.
    git_ok(&repo.bare, &["branch", "rel/1", &first]);
    world.sync();
    world.source_is("FetchFailed", "RefNotFound");
    git_ok(&repo.bare, &["branch", "-D", "rel/1"]);
    repo.service("web", "v2", "");
    let second = repo.push();
    git_ok(&repo.bare, &["branch", "rel", &second]);
    world.stands("web", "Synced", "v2 serves");
}

#[test]
fn t03_a_tag_that_moves_is_asked_about() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    let first = repo.push();
    git_ok(
        &repo.bare,
        &["-c", "user.name=a", "-c", "user.email=a@h", "tag", "-m", "x", "r1", &first],
    );
    // A branch of the same name is another thing.
    repo.service("web", "v2", "");
    let second = repo.push();
    git_ok(&repo.bare, &["branch", "r1", &second]);
    world.add(&repo.url(), &["--tag", "r1"]);
    let view = world.stands("web", "Synced", "v1 serves");
    assert_eq!(view["applied"]["revision"], first.as_str());
    git_ok(&repo.bare, &["tag", "-f", "r1", &second]);
    world.source_is("Stalled", "TagMoved");
    assert_eq!(world.serves("web"), "v1");
    world.ask(&["gitops", "sync", "demo", "--confirm"]);
    world.stands("web", "Synced", "v2 serves");
}

#[test]
fn t04_an_empty_repository_is_waited_for() {
    let world = World::new();
    let repo = Repo::new(world.root());
    world.add(&repo.url(), &[]);
    world.source_is("FetchFailed", "EmptyRepository");
    repo.service("web", "v1", "");
    repo.push();
    world.sync();
    world.stands("web", "Synced", "v1 serves");
}
