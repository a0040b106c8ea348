//! Repositories over the web: answers that are none, hosts that fail, and tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::server::{Mood, Server};
use super::world::{Repo, World, wait_for};

fn says(head: &str, body: &str) -> Mood {
    Mood::Says(head.to_owned(), body.to_owned())
}

#[test]
fn t05_t06_no_answer_of_a_host_stops_anything() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    let server = Server::new(world.root().to_owned());
    world.add(&server.url(), &["--prune"]);
    world.stands("web", "Synced", "v1 serves");
    let elsewhere = format!("302 Found\r\nLocation: http://{}/other.git/info/refs", server.address);
    let cases = [
        (says("200 OK", "<html>login</html>"), "EmptyAdvertisement"),
        (says("200 OK", "{\"ok\":true}"), "EmptyAdvertisement"),
        (says("200 OK", ""), "EmptyAdvertisement"),
        (says("200 OK", "<html>\nlogin\n</html>\n"), "EmptyAdvertisement"),
        (says("401 No", ""), "AuthenticationFailed"),
        (says("403 No", ""), "AuthenticationFailed"),
        (says("404 No", ""), "RepoNotFound"),
        (says("500 Oh", ""), "ServerError"),
        (says("503 Oh", ""), "ServerError"),
        (says(&elsewhere, ""), "ServerError"),
        (Mood::Resets, "ServerError"),
        (says("429 Later\r\nRetry-After: 7", ""), "RateLimited"),
    ];
    for (mood, expected) in cases {
        server.feels(mood.clone());
        let view = world.sync();
        assert_eq!(view["reason"], expected, "{mood:?}: {view:#}");
        assert_eq!(view["source"], "FetchFailed");
        assert_eq!(world.serves("web"), "v1");
    }
    let followed = server.requests().iter().any(|line| line.contains("other.git"));
    assert!(!followed, "a redirect is not followed");
    server.feels(Mood::Well);
    repo.service("web", "v2", "");
    repo.push();
    world.sync();
    world.stands("web", "Synced", "v2 serves");
}

/// How many looks there were.
fn looks(server: &Server) -> usize {
    server.requests().iter().filter(|line| line.contains("info/refs")).count()
}

#[test]
fn t06_a_host_that_asks_for_patience_gets_it_from_all_its_sources() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    let server = Server::new(world.root().to_owned());
    world.add(&server.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    // A second source at the same host, and one at another host that goes on.
    let clock = Server::new(world.root().to_owned());
    for (name, url) in [("other", server.url()), ("clock", clock.url())] {
        let add = ["gitops", "add", name, &url, "--path", "none", "--interval", "1s"];
        world.ask(&add);
    }
    wait_for("looks of both", || (looks(&server) > 4).then_some(()));
    server.feels(says("429 Later\r\nRetry-After: 3600", ""));
    // Whichever asks first is told; the other may then not ask at all.
    let view = world.sync();
    assert_eq!(view["reason"], "RateLimited", "{view:#}");
    assert_eq!(view["services"][0]["reason"], "v1 serves", "{view:#}");
    let pass = || {
        let seen = looks(&clock);
        wait_for("looks elsewhere", || (looks(&clock) > seen + 3).then_some(()));
    };
    // A look of the other that was under way may still come.
    pass();
    let before = looks(&server);
    world.sync();
    assert_eq!(looks(&server), before + 1, "an operator may ask all the same");
    pass();
    assert_eq!(looks(&server), before + 1, "nobody else does");
}

#[test]
fn t06_a_short_wait_is_no_longer_than_asked_for() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    let server = Server::new(world.root().to_owned());
    world.add(&server.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    server.feels(says("429 Later\r\nRetry-After: 1", ""));
    world.source_is("FetchFailed", "RateLimited");
    server.feels(Mood::Well);
    world.source_is("Ready", "Succeeded");
}

#[test]
fn t21_a_look_is_one_question_whatever_the_number_of_services() {
    let world = World::new();
    let repo = Repo::new(world.root());
    for at in 0..20 {
        repo.service(&format!("s{at}"), "v1", "");
    }
    repo.push();
    let server = Server::new(world.root().to_owned());
    let add = ["gitops", "add", "demo", &server.url(), "--interval", "1h"];
    world.ask(&[&add[..], &["--drift-interval", "1s"]].concat());
    for at in 0..20 {
        world.stands(&format!("s{at}"), "Synced", "v1 serves");
    }
    let asked = || server.requests().iter().filter(|line| line.contains("info/refs")).count();
    assert_eq!(asked(), 2, "one for the ref, one for the fetch: {:?}", server.requests());
    world.sync();
    assert_eq!(asked(), 3, "nothing is new: one question");
    repo.service("s3", "v2", "");
    repo.push();
    world.sync();
    world.stands("s3", "Synced", "v2 serves");
    assert_eq!(asked(), 5);
}

#[test]
fn t06_a_host_that_says_nothing_more_is_given_up() {
    if !super::world::is_slow() {
        println!("skipped: it waits for half a minute; RUN_SLOW_TESTS runs it");
        return;
    }
    let world = World::new();
    let server = Server::new(world.root().to_owned());
    server.feels(Mood::Stalls);
    world.add(&server.url(), &[]);
    let view = wait_for("a time-out", || {
        let view = world.show();
        (view["reason"] == "Timeout").then_some(view)
    });
    assert_eq!(view["source"], "FetchFailed");
}

#[test]
fn t08_a_token_is_read_from_its_file_each_time_and_told_to_nobody() {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    let server = Server::new(world.root().to_owned());
    let file = world.root().join("token");
    fs::write(&file, "s3cret-t0ken").unwrap();
    let url = server.url();
    let add = ["gitops", "add", "demo", &url, "--interval", "1s", "--token-file", "token"];
    let said = world.refused(&[&add[..], &["--user", "ann"]].concat(), 2);
    assert!(said.contains("chmod 600"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    // "ann:s3cret-t0ken" in base 64.
    server.feels(Mood::Asks("Basic YW5uOnMzY3JldC10MGtlbg==".to_owned()));
    world.ask(&[&add[..], &["--user", "ann", "--drift-interval", "1s"]].concat());
    world.stands("web", "Synced", "v1 serves");
    fs::write(&file, "expired").unwrap();
    let view = world.sync();
    assert_eq!(view["reason"], "AuthenticationFailed", "{view:#}");
    fs::write(&file, "s3cret-t0ken\n").unwrap();
    let view = world.sync();
    assert_eq!(view["source"], "Ready", "{view:#}");
    let all = format!("{}{}{}", world.log(), view, world.ask(&["gitops", "test", "demo"]));
    assert!(!all.contains("s3cret"), "it is in no log and no answer");
    let record = fs::read_to_string(world.state().join("gitops/demo.source.json")).unwrap();
    assert!(!record.contains("s3cret"), "nor kept");
}
