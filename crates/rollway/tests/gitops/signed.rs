//! Signatures: what is not signed by somebody who may is not even read.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::world::{Repo, World, git_ok};

fn key(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    path.display().to_string()
}

/// Commits a version, signed with a key.
fn signed(repo: &Repo, version: &str, key: &str) -> String {
    repo.service("web", version, "");
    git_ok(&repo.work, &["add", "-A"]);
    let key = format!("user.signingKey={key}");
    let commit = ["-c", "gpg.format=ssh", "-c", &key, "commit", "-q", "-S", "-m", "signed"];
    git_ok(&repo.work, &commit);
    repo.push_only()
}

fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(_) => true,
        Err(_) => {
            println!("skipped: {program} is not installed");
            false
        }
    }
}

#[test]
fn t16_only_commits_of_allowed_ssh_keys_are_read() {
    if !has("ssh-keygen") {
        return;
    }
    let world = World::new();
    let repo = Repo::new(world.root());
    let (ann, bob) = (key(world.root(), "ann"), key(world.root(), "bob"));
    let public = fs::read_to_string(format!("{ann}.pub")).unwrap();
    let signers = world.root().join("signers");
    fs::write(&signers, format!("ann@h {public}")).unwrap();
    signed(&repo, "v1", &ann);
    let signers_text = signers.display().to_string();
    world.add(&repo.url(), &["--verify-ssh", &signers_text, "--every-commit"]);
    world.stands("web", "Synced", "v1 serves");
    assert!(world.show()["signer"].as_str().unwrap().contains("ann@h"));
    // Broken on purpose: it would be a parse failure if it were read.
    repo.write("web/rollway.yaml", "::: not yaml [");
    repo.push();
    let good = git_ok(&repo.work, &["rev-parse", "HEAD~1"]);
    world.source_is("Stalled", "SignatureMissing");
    git_ok(&repo.work, &["reset", "-q", "--hard", &good]);
    signed(&repo, "v2", &bob);
    let view = world.sync();
    assert_eq!(view["reason"], "SignerNotAllowed", "{view:#}");
    // A good commit on top of a bad one: every commit counts.
    signed(&repo, "v3", &ann);
    let view = world.sync();
    assert_eq!(view["reason"], "SignerNotAllowed", "{view:#}");
    assert_eq!(world.serves("web"), "v1");
    let test = world.run(&["gitops", "test", "demo", "--json"]);
    // For a test there is no commit before: only the last one counts.
    assert_eq!(test.status.code(), Some(0), "{}", String::from_utf8_lossy(&test.stdout));
    git_ok(&repo.work, &["reset", "-q", "--hard", &good]);
    signed(&repo, "v4", &ann);
    world.sync();
    world.stands("web", "Synced", "v4 serves");
    // A key whose time is over.
    fs::write(&signers, format!("ann@h valid-before=\"20200101\" {public}")).unwrap();
    signed(&repo, "v5", &ann);
    let view = world.sync();
    assert_eq!(view["reason"], "SignerNotAllowed", "{view:#}");
    assert_eq!(world.serves("web"), "v4");
}

#[test]
fn t16_a_signature_of_another_commit_is_none() {
    if !has("ssh-keygen") {
        return;
    }
    let world = World::new();
    let repo = Repo::new(world.root());
    let ann = key(world.root(), "ann");
    let public = fs::read_to_string(format!("{ann}.pub")).unwrap();
    let signers = world.root().join("signers");
    fs::write(&signers, format!("ann@h {public}")).unwrap();
    let first = signed(&repo, "v1", &ann);
    world.add(&repo.url(), &["--verify-ssh", signers.to_str().unwrap()]);
    world.stands("web", "Synced", "v1 serves");
    // The same signature over another message.
    let text = git_ok(&repo.work, &["cat-file", "commit", &first]);
    let forged = text.replace("\n\nsigned", "\n\nforged");
    assert_ne!(text, forged);
    let file = world.root().join("forged");
    fs::write(&file, forged + "\n").unwrap();
    let arguments = ["hash-object", "-t", "commit", "-w", file.to_str().unwrap()];
    let forged = git_ok(&repo.bare, &arguments);
    git_ok(&repo.bare, &["update-ref", "refs/heads/main", &forged]);
    let view = world.ask(&["gitops", "sync", "demo", "--confirm"]);
    assert!(
        matches!(view["reason"].as_str(), Some("SignatureInvalid" | "SignerNotAllowed")),
        "{view:#}"
    );
    assert_eq!(view["source"], "Stalled");
}

#[test]
fn t16_only_commits_of_the_key_ring_are_read() {
    if !has("gpg") {
        return;
    }
    let world = World::new();
    let repo = Repo::new(world.root());
    let ring = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = world.root().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let arguments = ["--batch", "--quiet", "--passphrase", "", "--quick-generate-key"];
        let made = Command::new("gpg")
            .args(arguments)
            .args([&format!("{name} <{name}@h>"), "ed25519", "sign", "never"])
            .env("GNUPGHOME", &folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder
    };
    let (ann, bob) = (ring("ann"), ring("bob"));
    let commit = |version: &str, name: &str, ring: &Path| {
        repo.service("web", version, "");
        git_ok(&repo.work, &["add", "-A"]);
        let key = format!("user.signingKey={name}@h");
        let made = Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@h", "-c", &key])
            .args(["commit", "-q", "-S", "-m", "signed"])
            .current_dir(&repo.work)
            .env("GNUPGHOME", ring)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        repo.push_only()
    };
    let good = commit("v1", "ann", &ann);
    world.add(&repo.url(), &["--verify-gpg", ann.to_str().unwrap()]);
    world.stands("web", "Synced", "v1 serves");
    commit("v2", "bob", &bob);
    let view = world.sync();
    assert_eq!(view["reason"], "SignerNotAllowed", "{view:#}");
    git_ok(&repo.work, &["reset", "-q", "--hard", &good]);
    repo.service("web", "v3", "");
    repo.push();
    let view = world.sync();
    assert_eq!(view["reason"], "SignatureMissing", "{view:#}");
    assert_eq!(world.serves("web"), "v1");
    for folder in [&ann, &bob] {
        let mut end = Command::new("gpgconf");
        // Where it is missing, the agent ends with its folder.
        let _ = end.args(["--kill", "all"]).env("GNUPGHOME", folder).status();
    }
}
