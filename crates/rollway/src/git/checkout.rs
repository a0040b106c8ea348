//! A folder that follows a branch of a repository, for people and programs that read its files.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::command::{Git, UserConfig};
use super::{LOCAL_WAIT_MAX, NETWORK_WAIT_MAX, branch};
use crate::failure::{Failure, FailureKind};
use crate::files;

/// The file in a folder that says that we made it: only such a folder is ever replaced.
pub const MARKER: &str = ".rollway-checkout";
/// Where the branch is kept as it was last fetched.
const REMOTE: &str = "refs/remotes/origin/";

/// A folder and the repository that it is a copy of.
#[derive(Debug, Clone)]
pub struct Checkout {
    git: Git,
    folder: PathBuf,
}

impl Checkout {
    /// Nothing is read or asked yet.
    pub fn new(repository: &str, folder: &Path) -> Result<Self, Failure> {
        let folder = std::path::absolute(folder)
            .map_err(|error| not_done(format!("{} is no place: {error}", folder.display())))?;
        // A folder behind a link is named by its own place: git looks no further up than that.
        let folder = folder.canonicalize().unwrap_or(folder);
        Ok(Self { git: Git::new(repository, UserConfig::Read)?, folder })
    }

    /// Makes the folder what the branch is now: fetches, and resets hard. Answers the commit.
    pub async fn sync(&self, name: &str) -> Result<String, Failure> {
        let name = branch(name)?;
        if !self.is_repository() {
            self.make(name).await?;
        }
        let _lock = self.lock().await?;
        self.clear_left_locks();
        self.fetch(&format!("+refs/heads/{name}:{REMOTE}{name}")).await?;
        let commit = self.commit(&format!("{REMOTE}{name}")).await?;
        self.check_links(&commit).await?;
        let doing = format!("could not reset {}", self.folder.display());
        let head = format!("refs/heads/{name}");
        self.local(&["symbolic-ref", "HEAD", &head], &doing).await?;
        self.local(&["reset", "-q", "--hard", "--end-of-options", &commit], &doing).await?;
        Ok(commit)
    }

    /// The commit that the folder is at; nothing where it is at none.
    pub async fn version(&self) -> Result<Option<String>, Failure> {
        if !self.is_repository() {
            return Ok(None);
        }
        self.commit("HEAD").await.map(Some)
    }

    /// Whether the folder differs from its commit: changed, new or missing files.
    pub async fn is_dirty(&self) -> Result<bool, Failure> {
        if !self.is_repository() {
            return Ok(false);
        }
        let doing = format!("could not look at {}", self.folder.display());
        let arguments = ["status", "--porcelain", "--untracked-files=normal", "--no-renames"];
        let changes = self.local(&arguments, &doing).await?;
        let ours = format!("?? {MARKER}");
        Ok(changes.lines().any(|line| line != ours))
    }

    /// Whether the folder is the tip of the branch as it was last fetched, without changes.
    pub async fn is_at(&self, name: &str) -> Result<bool, Failure> {
        let name = branch(name)?;
        if !self.is_repository() || self.is_dirty().await? {
            return Ok(false);
        }
        let tip = self.commit(&format!("{REMOTE}{name}")).await?;
        Ok(self.commit("HEAD").await? == tip)
    }

    /// Goes to a commit, tag or branch; one that is not here is fetched. Changes of the user's
    /// that would be lost are in the way.
    pub async fn checkout(&self, revision: &str) -> Result<String, Failure> {
        if !self.is_repository() {
            return Err(not_done(format!("{} is no repository", self.folder.display())));
        }
        if revision.is_empty() || revision.starts_with('-') || revision.contains(char::is_control) {
            return Err(not_done(format!("{revision:?} is no revision")));
        }
        let _lock = self.lock().await?;
        let commit = self.find(revision).await?;
        self.check_links(&commit).await?;
        let doing = format!("could not check out {revision:?}");
        self.local(&["checkout", "-q", "--detach", &commit, "--"], &doing).await?;
        Ok(commit)
    }

    async fn find(&self, revision: &str) -> Result<String, Failure> {
        let fetched = format!("{REMOTE}{revision}");
        for name in [fetched.as_str(), revision] {
            if let Ok(commit) = self.commit(name).await {
                return Ok(commit);
            }
        }
        if let Ok(name) = branch(revision) {
            let specs = [
                format!("+refs/heads/{name}:{REMOTE}{name}"),
                format!("+refs/tags/{name}:refs/tags/{name}"),
            ];
            for spec in specs {
                if self.fetch(&spec).await.is_ok() {
                    return self.commit(revision).await;
                }
            }
        }
        let is_commit = matches!(revision.len(), 40 | 64)
            && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit {
            self.fetch(revision).await?;
        }
        self.commit(revision).await
    }

    /// Whether the folder is a repository itself; being in one is not enough.
    fn is_repository(&self) -> bool {
        self.folder.join(".git/HEAD").is_file() || self.folder.join(".git").is_file()
    }

    /// Makes the repository beside its place, and moves it there when it is whole.
    async fn make(&self, name: &str) -> Result<(), Failure> {
        let place = &self.folder;
        if !self.may_replace()? {
            let what = format!("{} is there and is no repository of ours", place.display());
            return Err(Failure::because(FailureKind::NotDone, what, "move it away first"));
        }
        let above = files::folder_of(place);
        let failed = |error: std::io::Error| {
            not_done(format!("could not make {}: {error}", place.display()))
        };
        fs::create_dir_all(above).map_err(failed)?;
        let fresh = files::temporary_beside(place);
        fs::create_dir(&fresh).map_err(failed)?;
        let made = Self { git: self.git.clone(), folder: fresh.clone() }.fill(name).await;
        let moved = made.and_then(|()| {
            match fs::remove_dir_all(place) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
            fs::rename(&fresh, place).map_err(failed)
        });
        if moved.is_err() {
            // What is left of it is of no use, and in nobody's way.
            let _ = fs::remove_dir_all(&fresh);
        }
        moved
    }

    async fn fill(&self, name: &str) -> Result<(), Failure> {
        let doing = format!("could not clone {}", self.git.address());
        let head = format!("--initial-branch={name}");
        self.local(&["init", "-q", "--template=", &head, "."], &doing).await?;
        let address = self.git.address();
        self.local(&["config", "remote.origin.url", address], &doing).await?;
        let every = "+refs/heads/*:refs/remotes/origin/*";
        self.local(&["config", "remote.origin.fetch", every], &doing).await?;
        self.fetch(&format!("+refs/heads/{name}:{REMOTE}{name}")).await?;
        let write = |path: &str, text: &str| {
            let path = self.folder.join(path);
            files::create_folder(files::folder_of(&path), 0o755)?;
            files::atomic_write(&path, text.as_bytes(), 0o644)
        };
        write(".git/info/exclude", &format!("/{MARKER}\n"))?;
        write(MARKER, "This folder is kept by Rollway; it may be replaced.\n")
    }

    fn may_replace(&self) -> Result<bool, Failure> {
        let mut entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NotADirectory => return Ok(false),
            Err(error) => {
                return Err(not_done(format!("could not read {}: {error}", self.folder.display())));
            }
        };
        Ok(entries.next().is_none() || self.is_ours())
    }

    fn is_ours(&self) -> bool {
        self.folder.join(MARKER).is_file()
    }

    /// One of us at a time: between a fetch and its reset nobody else moves the folder.
    async fn lock(&self) -> Result<Option<File>, Failure> {
        let path = self.folder.join(".git/rollway.lock");
        if !self.folder.join(".git").is_dir() {
            return Ok(None);
        }
        let failed = |error: std::io::Error| {
            not_done(format!("could not lock {}: {error}", self.folder.display()))
        };
        let file = File::options().create(true).append(true).open(path).map_err(failed)?;
        let locked = tokio::task::spawn_blocking(move || {
            flock(&file, FlockOperation::LockExclusive).map(|()| file)
        });
        let locked = locked.await.map_err(|error| failed(error.into()))?;
        locked.map(Some).map_err(|error| failed(error.into()))
    }

    /// A git that was killed leaves its locks. In a folder of ours, while we hold it, they are
    /// nobody's.
    fn clear_left_locks(&self) {
        if self.is_ours() {
            for name in ["index.lock", "HEAD.lock", "shallow.lock"] {
                // Usually there is none.
                let _ = fs::remove_file(self.folder.join(".git").join(name));
            }
        }
    }

    async fn fetch(&self, refspec: &str) -> Result<(), Failure> {
        let address = self.git.address();
        let doing = format!("could not fetch from {address}");
        let arguments = [
            "fetch",
            "-q",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--no-write-fetch-head",
            "--end-of-options",
            address,
            refspec,
        ];
        self.git.run(&self.folder, &arguments, NETWORK_WAIT_MAX, &doing).await.map(|_| ())
    }

    async fn commit(&self, revision: &str) -> Result<String, Failure> {
        let doing = format!("there is no commit {revision:?} in {}", self.folder.display());
        let wanted = format!("{revision}^{{commit}}");
        self.local(&["rev-parse", "-q", "--verify", "--end-of-options", &wanted], &doing).await
    }

    async fn local(&self, arguments: &[&str], doing: &str) -> Result<String, Failure> {
        self.git.run(&self.folder, arguments, LOCAL_WAIT_MAX, doing).await
    }

    /// No symbolic link of the commit leads out of the folder.
    async fn check_links(&self, commit: &str) -> Result<(), Failure> {
        let doing = format!("could not read the tree of {commit}");
        let arguments = ["ls-tree", "-r", "-z", "--full-tree", "--end-of-options", commit];
        let list = self.git.bytes(&self.folder, &arguments, LOCAL_WAIT_MAX, &doing).await?;
        for entry in list.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((head, path)) = entry.split_once('\t') else { continue };
            let (Some("120000"), Some(id)) = (head.split(' ').next(), head.split(' ').nth(2))
            else {
                continue;
            };
            let target = self.local(&["cat-file", "blob", id], &doing).await?;
            if leads_out(Path::new(path), Path::new(&target)) {
                let what = format!("the link {path:?} leads out of the repository to {target:?}");
                let doing = format!("did not check out {commit}");
                return Err(Failure::because(FailureKind::NotDone, doing, what));
            }
        }
        Ok(())
    }
}

fn not_done(doing: String) -> Failure {
    Failure::new(FailureKind::NotDone, doing)
}

/// Whether a link leads out of the tree. It may go up only at its beginning, and not above the
/// root: then each link by itself stays inside, and so does any chain of them.
fn leads_out(link: &Path, target: &Path) -> bool {
    let mut room = link.components().count().saturating_sub(1);
    let mut goes_down = false;
    for component in target.components() {
        match component {
            Component::ParentDir if goes_down || room == 0 => return true,
            Component::ParentDir => room -= 1,
            Component::CurDir => {}
            Component::Normal(name) if name.eq_ignore_ascii_case(".git") => return true,
            Component::Normal(_) => goes_down = true,
            Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let out = |link: &str, target: &str| leads_out(Path::new(link), Path::new(target));
        for (link, target) in [("a", "b"), ("d/a", "../b"), ("d/e/a", "../../b/c"), ("a", "./b")] {
            assert!(!out(link, target), "{link} -> {target}");
        }
        let bad = [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("d/a", "../../x"),
            ("d/a", "b/../../../x"),
            ("a", "b/.."),
            ("a", ".git/config"),
        ];
        for (link, target) in bad {
            assert!(out(link, target), "{link} -> {target}");
        }
    }
}
