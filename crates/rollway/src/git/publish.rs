//! Writing to a repository: commits on branches of ours, made in a repository of their own beside
//! the copy, so that whoever looks at the copy notices nothing of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use rollway_core::gitops::name::{Oid, RefName, RepoPath};
use rollway_core::gitops::state::Reason;

use super::complaint::Trouble;
use super::mirror::{Entry, FETCH_WAIT_MAX, Mirror, ran, remove};
use super::run::{Call, end_strays};

/// Who our commits are by.
const WHO: (&str, &str) = ("Rollway", "rollway@localhost");
/// Where the tip of a branch of ours is kept while it is written to.
const TIP: &str = "refs/sync/tip";

/// A commit that is to be made.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The branch that it goes to.
    pub branch: RefName,
    /// Its message.
    pub message: String,
    /// Its time, in seconds since 1970: the same letter is the same commit.
    pub at_seconds: i64,
}

impl Mirror {
    /// Makes a branch on top of `bad` on which a folder is what it was in `good`, but for the
    /// folders in it that are others'; nothing where they are the same.
    pub async fn push_revert(
        &self,
        letter: &Letter,
        (bad, good): (&Oid, &Oid),
        folder: &RepoPath,
        others: &[RepoPath],
    ) -> Result<Option<Oid>, Trouble> {
        let desk = self.desk(bad).await?;
        let before = desk.files(bad, folder).await?;
        let after = desk.files(good, folder).await?;
        let is_ours = |path: &Vec<u8>| {
            let inside = |other: &RepoPath| {
                let rest = path.strip_prefix(other.as_str().as_bytes());
                rest.is_some_and(|rest| rest.first() == Some(&b'/'))
            };
            !others.iter().any(inside)
        };
        let mut lines = Vec::new();
        for path in before.keys().filter(|path| !after.contains_key(*path) && is_ours(path)) {
            line(&mut lines, "0", &"0".repeat(bad.as_str().len()), path);
        }
        for (path, entry) in after.iter().filter(|(path, _)| is_ours(path)) {
            if before.get(path) != Some(entry) {
                line(&mut lines, &entry.mode, entry.object.as_str(), path);
            }
        }
        if lines.is_empty() {
            return Ok(None);
        }
        desk.indexed(&["read-tree", bad.as_str()], Vec::new()).await?;
        let commit = desk.commit(letter, Some(bad), lines).await?;
        desk.push(letter, &commit).await.map(|()| Some(commit))
    }

    /// Writes one file on a branch that has nothing but such files; `near` is a commit of the
    /// repository.
    pub async fn push_file(
        &self,
        letter: &Letter,
        near: &Oid,
        path: &str,
        text: &str,
    ) -> Result<Oid, Trouble> {
        let desk = self.desk(near).await?;
        let tip = desk.tip_of(&letter.branch).await?;
        if let Some(tip) = &tip {
            desk.indexed(&["read-tree", tip.as_str()], Vec::new()).await?;
        }
        let blob = ["hash-object", "-w", "--stdin"];
        let blob = desk.oid(&desk.indexed(&blob, text.as_bytes().to_vec()).await?)?;
        let mut lines = Vec::new();
        line(&mut lines, "100644", blob.as_str(), path.as_bytes());
        let commit = desk.commit(letter, tip.as_ref(), lines).await?;
        desk.push(letter, &commit).await.map(|()| commit)
    }

    /// A repository that has what the copy has, and is thrown away after the next letter.
    async fn desk(&self, near: &Oid) -> Result<Mirror, Trouble> {
        let full = |error: io::Error| Trouble::new(Reason::DiskFull, error.to_string());
        let desk = Mirror { folder: self.folder.with_extension("write"), ..self.clone() };
        let folder = desk.folder.clone();
        let cleared = tokio::task::spawn_blocking(move || {
            end_strays(&folder);
            remove(&folder)
        });
        cleared.await.map_err(|error| full(io::Error::other(error)))?.map_err(full)?;
        desk.prepare(near).await?;
        let borrowed = desk.folder.join("objects/info");
        fs::create_dir_all(&borrowed).map_err(full)?;
        let line = format!("{}\n", self.folder.join("objects").display());
        fs::write(borrowed.join("alternates"), line).map_err(full)?;
        Ok(desk)
    }

    /// Clears away what the letters have left.
    pub fn clear_desk(&self) -> io::Result<()> {
        remove(&self.folder.with_extension("write"))
    }

    /// The files below a folder of a commit, each with its path from the root.
    async fn files(
        &self,
        commit: &Oid,
        folder: &RepoPath,
    ) -> Result<BTreeMap<Vec<u8>, Entry>, Trouble> {
        let Some(tree) = self.tree(commit, folder).await? else { return Ok(BTreeMap::new()) };
        let above = match folder.as_str() {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let entries = self.list(&tree).await?.into_iter().map(|mut entry| {
            entry.path.splice(0..0, above.bytes());
            (entry.path.clone(), entry)
        });
        Ok(entries.collect())
    }

    /// The tip of a branch there, fetched; nothing where there is no such branch.
    async fn tip_of(&self, branch: &RefName) -> Result<Option<Oid>, Trouble> {
        let refspec = format!("+{branch}:{TIP}");
        let url = self.remote.url.as_str();
        let fixed = ["fetch", "-q", "--no-tags", "--no-write-fetch-head", "--end-of-options"];
        match self.speak(&[&fixed[..], &[url, &refspec]].concat()).await {
            Ok(()) => {}
            Err(trouble) if trouble.reason == Reason::RefNotFound => return Ok(None),
            Err(trouble) => return Err(trouble),
        }
        let tip = format!("{TIP}^{{commit}}");
        let said = self.local(&["rev-parse", "-q", "--verify", "--end-of-options", &tip]).await?;
        self.oid(&said).map(Some)
    }

    /// Makes a commit of what is indexed and these changes.
    async fn commit(
        &self,
        letter: &Letter,
        parent: Option<&Oid>,
        lines: Vec<u8>,
    ) -> Result<Oid, Trouble> {
        self.indexed(&["update-index", "-z", "--index-info"], lines).await?;
        let tree = self.oid(&self.indexed(&["write-tree"], Vec::new()).await?)?;
        let mut arguments = vec!["commit-tree", tree.as_str(), "-F", "-"];
        arguments.extend(parent.iter().flat_map(|parent| ["-p", parent.as_str()]));
        let mut call = self.here(&arguments);
        call.input = letter.message.clone().into_bytes();
        let date = format!("{} +0000", letter.at_seconds);
        for who in ["AUTHOR", "COMMITTER"] {
            let mut set = |what: &str, value: &str| {
                call.environment.push((format!("GIT_{who}_{what}"), value.to_owned()));
            };
            set("NAME", WHO.0);
            set("EMAIL", WHO.1);
            set("DATE", &date);
        }
        self.oid(&done("could not make a commit", &call).await?)
    }

    fn oid(&self, output: &[u8]) -> Result<Oid, Trouble> {
        let text = String::from_utf8_lossy(output);
        Oid::parse(text.trim()).map_err(|what| Trouble::new(Reason::LocalStoreCorrupt, what))
    }

    async fn push(&self, letter: &Letter, commit: &Oid) -> Result<(), Trouble> {
        // Never by force: whoever has changed a branch of ours meant to.
        let refspec = format!("{commit}:{}", letter.branch);
        let fixed = ["push", "-q", "--no-verify", "--no-signed", "--end-of-options"];
        self.speak(&[&fixed[..], &[self.remote.url.as_str(), &refspec]].concat()).await
    }

    /// A call that speaks to the remote.
    async fn speak(&self, arguments: &[&str]) -> Result<(), Trouble> {
        let call = self.network(arguments, FETCH_WAIT_MAX);
        let call = Call { mirror: Some(self.folder.clone()), ..call };
        done(&format!("could not write to {}", self.remote.url), &call).await.map(|_| ())
    }

    /// A call with an index of its own.
    async fn indexed(&self, arguments: &[&str], input: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let mut call = self.here(arguments);
        let index: PathBuf = self.folder.join("index");
        call.environment.push(("GIT_INDEX_FILE".to_owned(), index.display().to_string()));
        call.input = input;
        done("could not make a commit", &call).await
    }
}

async fn done(doing: &str, call: &Call) -> Result<Vec<u8>, Trouble> {
    let said = ran(doing, call).await?;
    match said.code {
        Some(0) => Ok(said.output),
        Some(_) | None => Err(Trouble::told(doing, &said)),
    }
}

/// A line for `update-index -z --index-info`.
fn line(lines: &mut Vec<u8>, mode: &str, object: &str, path: &[u8]) {
    lines.extend_from_slice(format!("{mode} {object}\t").as_bytes());
    lines.extend_from_slice(path);
    lines.push(0);
}
