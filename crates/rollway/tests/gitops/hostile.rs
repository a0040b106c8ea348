//! Trees that are made to harm: nothing of them is written or run, and what serves stays.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use super::world::{Repo, World, git_ok};

/// A followed service at v1.
fn begun() -> (World, Repo) {
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    world.add(&repo.url(), &[]);
    world.stands("web", "Synced", "v1 serves");
    (world, repo)
}

#[test]
fn t13_links_submodules_and_pointers_are_refused() {
    let (world, repo) = begun();
    let refused = |words: &str| {
        let view = world.source_is("Stalled", "TreeUnsafe");
        let message = view["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert_eq!(world.serves("web"), "v1");
        fs::remove_file(repo.work.join("web/x")).unwrap();
        repo.push();
        world.source_is("Ready", "Succeeded");
    };
    symlink("/etc/passwd", repo.work.join("web/x")).unwrap();
    repo.push();
    refused("symbolic link");
    repo.write("web/x", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    repo.push();
    refused("Git LFS");
    // Outside the folder of a service it is nobody's matter.
    symlink("/etc/passwd", repo.work.join("elsewhere")).unwrap();
    repo.service("web", "v2", "");
    let head = repo.push();
    world.stands("web", "Synced", "v2 serves");
    let entry = format!("160000,{head},web/x");
    git_ok(&repo.work, &["update-index", "--add", "--cacheinfo", &entry]);
    git_ok(&repo.work, &["commit", "-q", "-m", "a submodule"]);
    repo.push_only();
    let view = world.source_is("Stalled", "TreeUnsafe");
    assert!(view["message"].as_str().unwrap().contains("submodule"), "{view:#}");
    assert_eq!(world.serves("web"), "v2");
}

/// Writes an object that git would not write by itself.
fn object(repo: &Repo, kind: &str, bytes: &[u8]) -> String {
    let mut child = Command::new("git")
        .args(["hash-object", "-t", kind, "-w", "--stdin", "--literally"])
        .current_dir(&repo.bare)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn entry(mode: &str, name: &[u8], oid: &str) -> Vec<u8> {
    let digits = oid.as_bytes().chunks(2);
    let raw = digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap());
    [mode.as_bytes(), b" ", name, b"\0"].concat().into_iter().chain(raw).collect()
}

#[test]
fn t12_t15_hostile_names_never_leave_the_repository() {
    let (world, repo) = begun();
    let good = git_ok(&repo.bare, &["rev-parse", "refs/heads/main"]);
    let spec = "service: web\nversion: v9\nrun: {driver: 'null'}\n";
    let blob = object(&repo, "blob", spec.as_bytes());
    let names: [&[&[u8]]; 13] = [
        &[b".."],
        &[b".git"],
        &[b".GIT"],
        &[b".git "],
        &[b"git~1"],
        // With a character that HFS+ does not see.
        &[b".g\xe2\x80\x8cit"],
        &[b"a/../../b"],
        &[b"a\\b"],
        &[b"a\nb"],
        &[b"\xff\xfe"],
        &[b"ROLLWAY.yaml"],
        // One character, and a letter with an accent behind it; then in another case, too.
        &["caf\u{e9}".as_bytes(), "cafe\u{301}".as_bytes()],
        &["CAF\u{c9}".as_bytes(), "cafe\u{301}".as_bytes()],
    ];
    for name in names {
        // The names of a tree are sorted, or it is refused for that.
        let others = name.iter().map(|name| (*name, "100644"));
        let mut entries: Vec<_> = others.chain([(&b"rollway.yaml"[..], "100644")]).collect();
        entries.sort();
        let tree: Vec<u8> =
            entries.iter().flat_map(|(name, mode)| entry(mode, name, &blob)).collect();
        let tree = object(&repo, "tree", &tree);
        let root = object(&repo, "tree", &entry("40000", b"web", &tree));
        let text = format!(
            "tree {root}\nparent {good}\nauthor a <a@h> 1 +0000\ncommitter a <a@h> 1 +0000\n\nx\n"
        );
        let commit = object(&repo, "commit", text.as_bytes());
        git_ok(&repo.bare, &["update-ref", "refs/heads/main", &commit]);
        let view = world.sync();
        assert_eq!(view["reason"], "TreeUnsafe", "{name:?}: {view:#}");
        assert_eq!(world.serves("web"), "v1");
        git_ok(&repo.bare, &["update-ref", "refs/heads/main", &good]);
        let view = world.sync();
        assert_eq!(view["source"], "Ready", "{name:?}: {view:#}");
    }
    let trees = world.state().join("gitops/trees/demo");
    assert_eq!(fs::read_dir(trees).unwrap().count(), 1, "only v1 was ever written");
}

#[test]
fn t14_what_is_too_much_is_refused() {
    let (world, repo) = begun();
    repo.write("web/large", vec![b'x'; (1 << 20) + 1]);
    repo.push();
    let view = world.source_is("Stalled", "TreeUnsafe");
    assert!(view["message"].as_str().unwrap().contains("bytes, and at most"), "{view:#}");
    fs::remove_file(repo.work.join("web/large")).unwrap();
    for at in 0..10_001 {
        fs::write(repo.work.join(format!("web/f{at}")), "").unwrap();
    }
    repo.push();
    let view = world.sync();
    assert!(view["message"].as_str().unwrap().contains("10002 files"), "{view:#}");
    git_ok(&repo.work, &["rm", "-q", "-r", "web"]);
    // Beside the services there may be any number of files.
    for at in 0..10_001 {
        repo.write(&format!("other/f{at}"), "");
    }
    repo.service("web", "v2", "");
    repo.push();
    world.sync();
    world.stands("web", "Synced", "v2 serves");
    let deep = vec!["d"; 80].join("/");
    repo.write(&format!("web/{deep}/x"), "");
    repo.push();
    let view = world.sync();
    assert_eq!(view["reason"], "TreeUnsafe", "{view:#}");
    assert_eq!(world.serves("web"), "v2");
}

#[test]
fn nothing_of_a_repository_is_run() {
    let (world, repo) = begun();
    let witness = world.root().join("witness");
    let touch = format!("#!/bin/sh\ntouch {}\n", witness.display());
    for hook in ["post-checkout", "pre-commit", "post-merge", "reference-transaction"] {
        repo.write(&format!("web/hooks/{hook}"), &touch);
    }
    repo.write("web/.gitattributes", "* filter=evil\n");
    repo.write("web/.gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ./x\n\tupdate = none\n");
    repo.service("web", "v2", "");
    git_ok(&repo.bare, &["config", "filter.evil.smudge", &format!("touch {}", witness.display())]);
    repo.push();
    world.stands("web", "Synced", "v2 serves");
    let out = world.root().join("out");
    world.ask(&["gitops", "checkout", "demo", out.to_str().unwrap()]);
    assert!(out.join("web/.gitattributes").is_file());
    assert!(!out.join(".git").exists() && !witness.exists());
    let said = world.refused(&["gitops", "checkout", "demo", repo.work.to_str().unwrap()], 2);
    assert!(said.contains("was not made by this verb"), "{said}");
}
