//! Repositories over ssh: the host's key must be a known one, and ours is the only one offered.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::world::{Repo, World, wait_for};

/// A server of our own; it ends with the test.
struct Sshd {
    child: Child,
    port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's program: it must be named in full.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join("sshd")).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: sshd is not installed");
    }
    found
}

fn key(path: &Path) -> String {
    // The one that was there is replaced.
    let _ = fs::remove_file(path);
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    let words: Vec<&str> = public.split(' ').take(2).collect();
    words.join(" ")
}

fn start(program: &Path, folder: &Path, port: Option<u16>) -> Sshd {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = port.unwrap_or_else(free);
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\n\
         AuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n\
         PermitRootLogin prohibit-password\n",
        folder.display()
    );
    fs::write(folder.join("sshd_config"), config).unwrap();
    let child = Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(folder.join("sshd_config"))
        .stdin(Stdio::null())
        .stderr(fs::File::create(folder.join("sshd.log")).unwrap())
        .spawn()
        .unwrap();
    let server = Sshd { child, port };
    wait_for("the server listens", || {
        std::net::TcpStream::connect(("127.0.0.1", server.port)).ok()
    });
    server
}

#[test]
fn t07_t08_the_host_must_be_who_it_was_and_we_must_be_let_in() {
    let Some(program) = program() else { return };
    let world = World::new();
    let repo = Repo::new(world.root());
    repo.service("web", "v1", "");
    repo.push();
    let folder = world.root().join("ssh");
    fs::create_dir(&folder).unwrap();
    let (host, ours) = (key(&folder.join("host")), key(&folder.join("ours")));
    fs::write(folder.join("authorized"), format!("{ours}\n")).unwrap();
    let server = start(&program, &folder, None);
    let known = |keys: &[&str]| {
        let lines = keys.iter().map(|key| format!("[127.0.0.1]:{} {key}\n", server.port));
        fs::write(folder.join("known"), lines.collect::<String>()).unwrap();
    };
    known(&[]);
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let url = format!("ssh://{}@127.0.0.1:{}{}", user.trim(), server.port, repo.bare.display());
    world.add(&url, &["--ssh-key", "ssh/ours", "--known-hosts", "ssh/known"]);
    world.source_is("FetchFailed", "HostKeyUnknown");
    let other = key(&folder.join("other"));
    known(&[&other]);
    assert_eq!(world.sync()["reason"], "HostKeyChanged");
    // Two keys: the one that it has, and the one that it will have.
    known(&[&host, &other]);
    let view = world.sync();
    assert_eq!(view["source"], "Ready", "{view:#}");
    world.stands("web", "Synced", "v1 serves");
    let port = server.port;
    drop(server);
    assert_eq!(world.sync()["reason"], "ServerError");
    fs::rename(folder.join("other"), folder.join("host")).unwrap();
    let server = start(&program, &folder, Some(port));
    let view = world.sync();
    assert_eq!(view["source"], "Ready", "rotated: {view:#}");
    fs::write(folder.join("authorized"), "").unwrap();
    assert_eq!(world.sync()["reason"], "AuthenticationFailed");
    fs::write(folder.join("authorized"), format!("{ours}\n")).unwrap();
    fs::set_permissions(folder.join("ours"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(world.sync()["reason"], "AuthenticationFailed", "others may read the key");
    let said = world.refused(&["gitops", "test", "demo"], 2);
    assert!(said.contains("chmod 600"), "{said}");
    fs::set_permissions(folder.join("ours"), fs::Permissions::from_mode(0o600)).unwrap();
    repo.service("web", "v2", "");
    repo.push();
    world.sync();
    world.stands("web", "Synced", "v2 serves");
    drop(server);
}
