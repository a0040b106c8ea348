//! What is accepted, what is decided, and what never happens whatever is seen.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;

use super::address::{RepoUrl, Scheme};
use super::cron::{Civil, Cron};
use super::decide::{Seen, SeenDeployment, Step, Terms, backoff_ms, decide};
use super::guard::{Loss, refused};
use super::merge::merge;
use super::name::{Oid, RefName, RepoPath};
use super::set::{File, read};
use super::state::{Applied, Held, Operation, ServiceRecord, Sync, Wish};
use super::window::{Window, shut};
use crate::event::{DeploymentKind, DeploymentState};

#[test]
fn addresses() {
    let good = [
        ("https://git.example/org/repo.git", Scheme::Https),
        ("https://git.example:8443/~me/repo", Scheme::Https),
        ("http://127.0.0.1:3000/repo.git", Scheme::Http),
        ("http://[::1]:3000/repo.git", Scheme::Http),
        ("ssh://git@git.example:2222/org/repo.git", Scheme::Ssh),
        ("git@git.example:org/repo.git", Scheme::Ssh),
        ("file:///srv/repo.git", Scheme::File),
    ];
    for (text, scheme) in good {
        assert_eq!(RepoUrl::parse(text).map(|url| url.scheme()), Ok(scheme), "{text}");
    }
    let bad = [
        "",
        "--upload-pack=touch PWNED",
        "ext::sh -c id",
        "fd::17",
        "ext://x/y",
        "git://h/r",
        "http://git.example/r",
        "https://u:p@h/r",
        "https://u@h/r",
        "ssh://-oProxyCommand=x/y",
        "ssh://-Fcfg@h/x",
        "-Eerr@h:x",
        "ssh://u:p@h/x",
        "git@-h:x",
        "git@h:-x",
        "file://h/x",
        "file:///",
        "file:///a/../b",
        "https://h",
        "https:///x",
        "https://h:99999/x",
        "/srv/repo",
        "https://h/a b",
        "https://h/a\nb",
        "https://h/`id`",
        "https://h/x?y",
        "https://h/\u{202e}x",
        "https://[::1/x",
        "git@h::x",
        "file:////x",
    ];
    for text in bad {
        assert!(RepoUrl::parse(text).is_err(), "{text}");
    }
}

#[test]
fn refs_paths_and_ids() {
    for good in ["main", "release/1.0", "a-b_c.d", "größe", "x@y"] {
        assert!(RefName::branch(good).is_ok(), "{good}");
    }
    let bad = [
        "",
        "-u",
        "--output=/x",
        "a b",
        "a;id",
        "$(id)",
        "`id`",
        "a\nb",
        "../x",
        "@{-1}",
        "a..b",
        "a\0b",
        "a\u{202e}b",
        ".x",
        "x/.y",
        "x.lock",
        "x.lock/y",
        "a//b",
        "a/",
        "/a",
        "@",
        "a^",
        "a:b",
        "a~1",
        "a?",
        "a*",
        "[a]",
        "a\\b",
        "x.",
        "a/-b",
    ];
    for name in bad {
        assert!(RefName::branch(name).is_err(), "{name:?}");
    }
    assert!(RefName::branch(&"a".repeat(300)).is_err());
    assert!(RefName::parse("HEAD").is_err() && RefName::parse("main").is_err());
    assert!(RefName::tag("v1").is_ok_and(|tag| tag.is_tag() && tag.short() == "v1"));
    for (text, path) in [("", ""), (".", ""), ("./a/", "a"), ("a/b", "a/b"), ("größe", "größe")]
    {
        assert_eq!(RepoPath::parse(text).map(String::from), Ok(path.to_owned()));
    }
    for bad in [
        "..",
        "/a",
        "a/../b",
        "a//b",
        "a\\b",
        ".git",
        "a/.GIT/x",
        "a\0",
        "a/.gi\u{200c}t",
        "git~1",
        ".git.",
        "a/./b",
        ":/x",
    ] {
        assert!(RepoPath::parse(bad).is_err(), "{bad:?}");
    }
    assert!(Oid::parse(&"a".repeat(40)).is_ok() && Oid::parse(&"0".repeat(64)).is_ok());
    for bad in ["HEAD'; id #", "abc", &"A".repeat(40), &"g".repeat(40)] {
        assert!(Oid::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn patches_are_those_of_the_rfc() {
    // RFC 7396, appendix A.
    let cases = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];
    for (before, patch, after) in cases {
        let value = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(merge(value(before), &value(patch)), value(after), "{before} {patch}");
    }
}

#[test]
fn cron_fields() {
    // 2026-11-26 is a Thursday.
    let at = |hour, minute| Civil { minute, hour, day: 26, month: 11, weekday: 4 };
    let cases = [
        ("* * * * *", true),
        ("30 22 * * *", true),
        ("*/15 22 * * *", true),
        ("*/7 22 * * *", false),
        ("0-30 20-23 * nov thu", true),
        ("30 22 1 * *", false),
        ("30 22 1 * 4", true),
        ("30 22 26 * 1", true),
        ("30 22 * * 0,6", false),
        ("30 22 * * 1-5", true),
    ];
    for (text, expected) in cases {
        assert_eq!(Cron::parse(text).map(|cron| cron.matches(at(22, 30))), Ok(expected), "{text}");
    }
    for bad in [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "1, * * * *",
        "* * * * * *",
        "-1 * * * *",
    ] {
        assert!(Cron::parse(bad).is_err(), "{bad:?}");
    }
    let sunday = Civil { minute: 0, hour: 0, day: 1, month: 1, weekday: 0 };
    assert!(Cron::parse("0 0 * * 7").is_ok_and(|cron| cron.matches(sunday)));
    // 2000-02-29 12:34 UTC, a Tuesday.
    let leap = Civil { minute: 34, hour: 12, day: 29, month: 2, weekday: 2 };
    assert_eq!(Civil::at(951_827_640_000, 0), leap);
    assert_eq!(Civil::at(951_827_640_000, 3600).hour, 13);
}

#[test]
fn windows_open_and_shut() {
    let utc: super::window::Offset<'_> = &|_, _| 0;
    let allow = Window::parse("allow 0 22 * * * for 2h in Europe/Berlin").unwrap();
    // 1970-01-01 is a Thursday.
    let at = |hour: i64, minute: i64| (hour * 60 + minute) * 60_000;
    let open = |hour, minute| allow.is_open(at(hour, minute), utc);
    assert_eq!([open(21, 59), open(22, 0), open(23, 59), open(24, 0)], [false, true, true, false]);
    let deny = Window::parse("deny 30 22 * * thu for 30m").unwrap();
    let both = [allow, deny];
    let shut_at = |hour, minute| shut(&both, at(hour, minute), utc).is_some();
    assert_eq!([shut_at(22, 0), shut_at(22, 30), shut_at(23, 0)], [false, true, false]);
    assert!(shut_at(12, 0), "outside what is allowed");
    for bad in [
        "allow",
        "perhaps * * * * * for 1h",
        "allow * * * * * for 1s",
        "allow * * * for 1h",
        "allow * * * * * for 8d",
        "allow * * * * *",
    ] {
        assert!(Window::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn guards() {
    let loss = |managed, gone, wanted| Loss { managed, gone, wanted, unrelated: false };
    assert_eq!(refused(loss(10, 0, 10)), None);
    assert_eq!(refused(loss(10, 2, 8)), None);
    assert_eq!(refused(loss(10, 3, 7)), None);
    assert!(refused(loss(10, 4, 6)).is_some() && refused(loss(3, 3, 1)).is_some());
    assert!(refused(loss(1, 1, 0)).is_some(), "an empty set never stops anything");
    assert_eq!(refused(loss(3, 2, 1)), None);
    assert!(refused(Loss { unrelated: true, ..loss(10, 1, 9) }).is_some());
}

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}

fn spec(name: &str, more: &str) -> String {
    format!("service: {name}\nversion: v1\nrun: {{driver: 'null'}}\n{more}")
}

#[test]
fn a_set_is_whole_or_refused() {
    let good = [
        file("db/rollway.yaml", &spec("db", "")),
        file("web/rollway.yaml", &spec("web", "instances: 2\n")),
        file("web/environments/prod.yaml", "instances: 5\nversion: v2\n"),
        file("rollway-app.yaml", "services: [{name: db}, {name: web, after: [db]}]"),
    ];
    let wanted = read(&good, Some("prod")).unwrap();
    let lines: Vec<String> = wanted
        .iter()
        .map(|one| format!("{} {} x{} {:?}", one.service, one.version, one.instances, one.after))
        .collect();
    assert_eq!(lines, ["db v1 x1 []", r#"web v2 x5 [ServiceName("db")]"#]);
    let plain = read(&good, None).unwrap();
    assert_eq!((plain[1].instances, plain[1].version.as_str()), (2, "v1"));
    let problem = |files: &[File], environment| {
        let problems = read(files, environment).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    assert!(problem(&good, Some("prdo")).contains("known: prod"));
    let twice = [good[0].clone(), file("x/rollway.yaml", &spec("db", ""))];
    assert!(problem(&twice, None).contains("is in db/rollway.yaml already"));
    let bad =
        [good[0].clone(), file("x/rollway.yaml", "service: x\nversion: v1\nrun: {drvr: x}\n")];
    assert!(problem(&bad, None).starts_with("x/rollway.yaml:3"), "{}", problem(&bad, None));
    let none = [file("rollway.yaml", "service: x\nrun: {driver: 'null'}\n")];
    assert!(problem(&none, None).contains("needs a version"));
    let cycle = "services: [{name: db, after: [web]}, {name: web, after: [db]}]";
    let cycle = [good[0].clone(), good[1].clone(), file("rollway-app.yaml", cycle)];
    assert!(problem(&cycle, None).contains("wait for each other: db, web"));
    let typo = [good[0].clone(), file("rollway-app.yaml", "services: [{name: bd}]")];
    assert!(problem(&typo, None).contains("known: db"));
    let broken = [good[1].clone(), file("web/environments/prod.yaml", "a: [")];
    assert!(problem(&broken, Some("prod")).contains("web/environments/prod.yaml"));
    assert_eq!(read(&[], None).map(|set| set.len()), Ok(0));
}

fn oid(letter: &str) -> Oid {
    Oid::parse(&letter.repeat(40)).unwrap()
}

fn wish(letter: &str) -> Wish {
    Wish {
        revision: oid(letter),
        content: letter.into(),
        folder: String::new(),
        spec: "{}".into(),
        version: format!("v{letter}"),
        instances: 1,
        after: vec![],
    }
}

fn deployment(number: u64, kind: DeploymentKind, state: DeploymentState) -> SeenDeployment {
    let (actor, why) = ("gitops x".to_owned(), "it was bad".to_owned());
    SeenDeployment { number, kind, state, to: number, actor, why, is_undone: false }
}

fn terms() -> Terms {
    Terms { now_ms: 1000, actor: "gitops x".into(), stopped: None, self_heal: false }
}

/// A service at content `a`, release 1.
fn settled() -> (ServiceRecord, Seen) {
    let applied = Applied { revision: oid("a"), content: "a".into(), release: 1, at_ms: 0 };
    let record =
        ServiceRecord { applied: Some(applied), accounted: 1, attempts: 1, ..<_>::default() };
    let last = deployment(1, DeploymentKind::Deploy, DeploymentState::Completed);
    let seen = Seen {
        is_up: true,
        serving: Some(1),
        content: Some("a".into()),
        instances: 1,
        ready: 1,
        last: Some(last),
        ..Seen::default()
    };
    (record, seen)
}

#[test]
fn a_new_revision_is_deployed_and_a_bad_one_held_until_git_moves_on() {
    let (mut record, mut seen) = settled();
    let next = |record: &ServiceRecord, seen: &Seen, letter| {
        decide(Some(&wish(letter)), record, seen, &terms(), None)
    };
    assert_eq!(next(&record, &seen, "a").sync, Sync::Synced);
    assert_eq!(next(&record, &seen, "b").step, Step::Deploy("gitops-b-2".into()));
    record.operation =
        Some(Operation::Running { revision: oid("b"), content: "b".into(), deployment: 2 });
    seen.last = Some(deployment(2, DeploymentKind::Deploy, DeploymentState::InProgress));
    seen.ours = seen.last.clone();
    assert_eq!(next(&record, &seen, "b").step, Step::Watch(2));
    assert_eq!(next(&record, &seen, "c").step, Step::Abort(2, oid("c")));
    seen.last = Some(deployment(2, DeploymentKind::Deploy, DeploymentState::RolledBack));
    seen.ours = seen.last.clone();
    let Step::Settle(operation, None, Some(held), 2) = next(&record, &seen, "b").step else {
        panic!("it is held");
    };
    assert!(held.reason.contains("it was bad") && held.content.as_deref() == Some("b"));
    (record.operation, record.held, record.accounted) = (Some(operation), Some(held), 2);
    assert_eq!(next(&record, &seen, "b").sync, Sync::Held);
    assert_eq!(next(&record, &seen, "c").step, Step::Unhold);
    assert_eq!(next(&record, &seen, "a").step, Step::Unhold, "a revert ends it as well");
}

#[test]
fn a_rollback_by_hand_is_held_and_drift_is_told() {
    let (record, mut seen) = settled();
    let mut last = deployment(2, DeploymentKind::Rollback, DeploymentState::Completed);
    last.actor = "ann (uid:1000)".into();
    (seen.serving, seen.content, seen.last) = (Some(7), None, Some(last));
    let Step::Hold(held, 2) = decide(Some(&wish("a")), &record, &seen, &terms(), None).step else {
        panic!("it is held");
    };
    assert_eq!((held.by.as_str(), held.content.as_deref()), ("ann (uid:1000)", Some("a")));
    let (record, mut seen) = settled();
    seen.is_up = false;
    let drift = decide(Some(&wish("a")), &record, &seen, &terms(), None);
    assert_eq!((drift.step, drift.sync), (Step::Rest, Sync::OutOfSync));
    assert!(drift.reason.contains("taken down by hand"));
    let healing = Terms { self_heal: true, ..terms() };
    let step = decide(Some(&wish("a")), &record, &seen, &healing, None).step;
    assert_eq!(step, Step::Deploy("gitops-a-2".into()));
}

#[test]
fn t25_a_clock_that_jumps_makes_no_wait_longer_and_drops_no_hold() {
    let (mut record, seen) = settled();
    let decide = |record: &ServiceRecord, now_ms| {
        decide(Some(&wish("b")), record, &seen, &Terms { now_ms, ..terms() }, None)
    };
    record.operation = Some(Operation::WaitingRetry {
        revision: oid("b"),
        content: "b".into(),
        until_ms: 1_000_000_000,
        tries: 1,
        why: "x".into(),
    });
    assert_eq!(decide(&record, 1000).step, Step::WaitUntil(1000 + 600_000));
    assert_eq!(decide(&record, 2_000_000_000).step, Step::Deploy("gitops-b-2".into()));
    record.held = Some(Held {
        revision: Some(oid("b")),
        content: Some("b".into()),
        reason: "bad".into(),
        by: "gitops x".into(),
        since_ms: 500,
        until_ms: None,
    });
    for now_ms in [0, 1000, 2_000_000_000, i64::MAX] {
        assert_eq!(decide(&record, now_ms).sync, Sync::Held, "{now_ms}");
    }
}

#[test]
fn waits_grow_to_a_limit() {
    let waits: Vec<i64> = [1, 2, 3, 8, 9, 200].map(backoff_ms).into();
    assert_eq!(waits, [5_000, 10_000, 20_000, 600_000, 600_000, 600_000]);
}

fn any_operation() -> impl Strategy<Value = Option<Operation>> {
    let letter = prop::sample::select(vec!["a", "b", "c"]);
    (0..6u8, letter, 0..4000i64).prop_map(|(kind, letter, until_ms)| {
        let (revision, content) = (oid(letter), letter.to_owned());
        match kind {
            0 => None,
            1 => Some(Operation::Running { revision, content, deployment: 2 }),
            2 => Some(Operation::WaitingRetry {
                revision,
                content,
                until_ms,
                tries: 1,
                why: "x".into(),
            }),
            3 => Some(Operation::Succeeded { revision, deployment: 2 }),
            4 => Some(Operation::Terminating { revision, deployment: 2, by: oid("c") }),
            _ => Some(Operation::Failed { revision, deployment: 2, why: "x".into() }),
        }
    })
}

fn any_held() -> impl Strategy<Value = Option<Held>> {
    let content = prop::option::of(prop::sample::select(vec!["a", "b"]));
    let until_ms = prop::option::of(0..4000i64);
    prop::option::of((content, until_ms).prop_map(|(content, until_ms)| Held {
        revision: content.map(oid),
        content: content.map(str::to_owned),
        reason: "x".into(),
        by: "y".into(),
        since_ms: 0,
        until_ms,
    }))
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let state = prop::sample::select(vec![
        DeploymentState::InProgress,
        DeploymentState::Paused,
        DeploymentState::Completed,
        DeploymentState::RolledBack,
    ]);
    let kind = prop::sample::select(vec![DeploymentKind::Deploy, DeploymentKind::Rollback]);
    let content = prop::option::of(prop::sample::select(vec!["a", "b"]));
    (any::<bool>(), prop::option::of(1..3u64), content, 1..3u32, state, kind, 1..4u64).prop_map(
        |(is_up, serving, content, instances, state, kind, number)| {
            let last = Some(deployment(number, kind, state));
            let ours = Some(deployment(2, kind, state));
            let content = content.map(str::to_owned).filter(|_| serving.is_some());
            Seen { is_up, serving, content, instances, last, ours, ..Seen::default() }
        },
    )
}

proptest! {
    #[test]
    fn nothing_is_deployed_that_must_not_be(
        operation in any_operation(),
        held in any_held(),
        seen in any_seen(),
        letter in prop::option::of(prop::sample::select(vec!["a", "b", "c"])),
        now_ms in 0..4000i64,
        (stopped, self_heal, blocked) in any::<(bool, bool, bool)>(),
    ) {
        let (mut record, _) = settled();
        (record.operation, record.held) = (operation, held);
        let wish = letter.map(wish);
        let stopped = stopped.then(|| "suspended".to_owned());
        let terms = Terms { now_ms, actor: "gitops x".into(), stopped, self_heal };
        let blocked = blocked.then_some("db");
        let decision = decide(wish.as_ref(), &record, &seen, &terms, blocked);
        if let Step::Deploy(_) = decision.step {
            let wish = wish.as_ref().expect("what is not in Git is not deployed");
            prop_assert!(terms.stopped.is_none() && blocked.is_none());
            prop_assert!(record.held.is_none(), "what is held is first let go");
            let serves = seen.content.as_deref() == Some(&*wish.content);
            prop_assert!(!(serves && seen.is_up && seen.instances == wish.instances));
            let is_drift = wish.content == "a";
            prop_assert!(!is_drift || self_heal, "drift is healed only where it may be");
            prop_assert_eq!(decision.sync, Sync::OutOfSync);
        }
        if let (Step::Unhold, Some(held)) = (&decision.step, &record.held) {
            let moved = match (&held.content, &wish) {
                (Some(content), Some(wish)) => *content != wish.content,
                (Some(_) | None, _) => false,
            };
            prop_assert!(moved || held.until_ms.is_some_and(|until| until <= now_ms));
        }
        if let Step::Abort(number, by) = &decision.step {
            prop_assert_eq!(*number, 2);
            prop_assert!(record.held.is_none() && terms.stopped.is_none());
            let is_paused = |one: &SeenDeployment| one.state == DeploymentState::Paused;
            prop_assert!(!seen.ours.as_ref().is_some_and(is_paused));
            prop_assert_eq!(by, &wish.expect("only something newer aborts").revision);
        }
    }

    #[test]
    fn whatever_is_accepted_is_harmless(text in "\\PC{0,40}") {
        if let Ok(url) = RepoUrl::parse(&text) {
            prop_assert!(!url.as_str().starts_with('-') && !url.as_str().contains("::"));
        }
        if let Ok(name) = RefName::branch(&text) {
            prop_assert!(!name.short().starts_with('-') && !name.as_str().contains(".."));
            prop_assert!(!name.as_str().contains([' ', '~', '^', ':', '?', '*', '[', '\\', '$']));
        }
        if let Ok(path) = RepoPath::parse(&text) {
            prop_assert!(path.as_str().split('/').all(|part| part != ".." && part != ".git"));
        }
        let _ = (Cron::parse(&text), Window::parse(&text), Oid::parse(&text));
    }
}
