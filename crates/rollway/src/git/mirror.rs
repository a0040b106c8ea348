//! A bare copy of one ref with its whole history: what it is now, what it was, and what is in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollway_core::gitops::address::{RepoUrl, Scheme};
use rollway_core::gitops::config::Auth;
use rollway_core::gitops::name::{Oid, RefName, RepoPath};
use rollway_core::gitops::state::Reason;

use super::complaint::Trouble;
use super::headers::Headers;
use super::run::{Call, Said, end_strays, git};
use crate::files;

/// The longest look at what a remote ref is.
const LOOK_WAIT_MAX: Duration = Duration::from_secs(60);
/// The longest fetch: the first one brings the whole history.
pub(super) const FETCH_WAIT_MAX: Duration = Duration::from_secs(600);
/// The longest call that stays on this machine.
const LOCAL_WAIT_MAX: Duration = Duration::from_secs(60);
/// A list of refs is read up to here; ours is among the first, as it is asked for.
const REFS_BYTES_MAX: usize = 1 << 20;
/// A list of files is read up to here.
const LIST_BYTES_MAX: usize = 64 << 20;
/// So many loose objects are packed together.
const LOOSE_MAX: usize = 6_000;
/// So many files of packs are; a pack has two or three.
const PACK_FILES_MAX: usize = 150;
/// Where the ref is kept, whatever its name there.
const KEPT: &str = "refs/sync/followed";
/// Folders are for their owner alone.
const FOLDER_MODE: u32 = 0o700;

/// What is followed, and who we are to it.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The repository.
    pub url: RepoUrl,
    /// The ref.
    pub reference: RefName,
    /// Who we are.
    pub auth: Auth,
}

/// How one commit stands to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It follows it.
    Ahead,
    /// The history between was rewritten.
    Rewritten,
    /// They have nothing in common, or the one before is not there any more.
    Unrelated,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `100644`, `100755`, `120000` for links, `160000` for submodules.
    pub mode: String,
    /// Its object.
    pub object: Oid,
    /// Its size in bytes; a submodule has none.
    pub size: u64,
    /// Where it is, from the folder that was asked for; bytes, as git has it.
    pub path: Vec<u8>,
}

/// A commit that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its id.
    pub commit: Oid,
    /// The object at the path that was asked for, and what it is.
    at_path: Option<(Oid, String)>,
}

impl Fetched {
    /// The folder at the path; nothing where nothing is there.
    pub fn folder(&self) -> Result<Option<Oid>, Trouble> {
        match &self.at_path {
            None => Ok(None),
            Some((oid, kind)) if kind == "tree" => Ok(Some(oid.clone())),
            Some((_, kind)) => {
                let what = format!("there is a {kind} at its path, and no folder");
                Err(Trouble::new(Reason::PathInvalid, what))
            }
        }
    }
}

/// The copy.
#[derive(Debug, Clone)]
pub struct Mirror {
    pub(super) folder: PathBuf,
    pub(super) remote: Remote,
    pub(super) askpass: PathBuf,
}

impl Mirror {
    /// Takes the copy at this place, and makes it if there is none. Nobody else uses the folder:
    /// what was left there by a call that was killed is cleared away. Blocking.
    pub fn open(folder: &Path, remote: Remote) -> io::Result<Self> {
        let above = files::folder_of(folder);
        files::create_folder(above, FOLDER_MODE)
            .map_err(|failure| io::Error::other(failure.chain()))?;
        end_strays(folder);
        if fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir()) {
            sweep(folder, 0)?;
        }
        let askpass = above.join("askpass");
        // The token is read from its file by this, and so is in no argument and no environment.
        let script = "#!/bin/sh\ncase \"$1\" in\nUsername*) printf '%s\\n' \"$ROLLWAY_GIT_USER\" \
                      ;;\n*) exec cat -- \"$ROLLWAY_GIT_TOKEN_FILE\" ;;\nesac\n";
        if fs::read(&askpass).ok().as_deref() != Some(script.as_bytes()) {
            files::atomic_write(&askpass, script.as_bytes(), 0o700)
                .map_err(|failure| io::Error::other(failure.chain()))?;
        }
        Ok(Self { folder: folder.to_owned(), remote, askpass })
    }

    /// The copy that was opened before.
    #[must_use]
    pub fn attach(folder: &Path, remote: Remote) -> Self {
        let askpass = files::folder_of(folder).join("askpass");
        Self { folder: folder.to_owned(), remote, askpass }
    }

    /// What the ref points at there, be it a commit or a tag.
    pub async fn tip(&self) -> Result<Oid, Trouble> {
        let doing = format!("could not ask {}", self.remote.url);
        let (url, reference) = (self.remote.url.as_str(), self.remote.reference.as_str());
        let arguments = ["ls-remote", "--exit-code", "--end-of-options", url, reference];
        let mut call = self.network(&arguments, LOOK_WAIT_MAX);
        call.output_bytes_max = REFS_BYTES_MAX;
        let headers = Headers::of(&mut call, &self.remote, &self.folder);
        let said = ran(&doing, &call).await?;
        match said.code {
            Some(0) => {}
            Some(2) => return Err(self.absent().await),
            Some(_) | None => {
                let retry_after = headers.retry_after();
                return Err(Trouble { retry_after, ..Trouble::told(&doing, &said) });
            }
        }
        let text = String::from_utf8_lossy(&said.output);
        // A pattern also fits the ends of longer names.
        let line =
            text.lines().find_map(|line| line.split_once('\t').filter(|(_, n)| *n == reference));
        match line.and_then(|(oid, _)| Oid::parse(oid).ok()) {
            Some(oid) => Ok(oid),
            None => Err(self.absent().await),
        }
    }

    /// Why the ref is not there: an answer without any ref may not be from a repository at all,
    /// and is never believed.
    async fn absent(&self) -> Trouble {
        let url = &self.remote.url;
        let doing = format!("could not ask {url}");
        let call = self.network(&["ls-remote", "--end-of-options", url.as_str()], LOOK_WAIT_MAX);
        let said = match ran(&doing, &call).await {
            Ok(said) => said,
            Err(trouble) => return trouble,
        };
        if said.code != Some(0) && !said.is_cut {
            return Trouble::told(&doing, &said);
        }
        let is_web = matches!(url.scheme(), Scheme::Http | Scheme::Https);
        match (said.output.is_empty(), is_web) {
            (false, _) => {
                let what = format!("there is no {} in {url}", self.remote.reference);
                Trouble::new(Reason::RefNotFound, what)
            }
            (true, true) => {
                let what = format!("the answer of {url} names no ref: is it from a repository?");
                Trouble::new(Reason::EmptyAdvertisement, what)
            }
            (true, false) => {
                Trouble::new(Reason::EmptyRepository, format!("{url} has no commit yet"))
            }
        }
    }

    /// Brings the ref here, and answers its commit and what is at a path of it. A copy that is
    /// damaged is put aside, and made anew once. `tip` is an object there: it says how long ids
    /// are.
    pub async fn fetch(&self, tip: &Oid, path: &RepoPath) -> Result<Fetched, Trouble> {
        match self.fetch_into(tip, path).await {
            Err(trouble) if trouble.reason == Reason::LocalStoreCorrupt => {
                self.quarantine()?;
                self.fetch_into(tip, path).await
            }
            other => other,
        }
    }

    async fn fetch_into(&self, tip: &Oid, path: &RepoPath) -> Result<Fetched, Trouble> {
        self.prepare(tip).await?;
        let doing = format!("could not fetch {}", self.remote.url);
        let refspec = format!("+{}:{KEPT}", self.remote.reference);
        let mut arguments = vec![
            "fetch",
            "-q",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--end-of-options",
        ];
        arguments.extend([self.remote.url.as_str(), refspec.as_str()]);
        let call = self.network(&arguments, FETCH_WAIT_MAX);
        let mut call = Call { mirror: Some(self.folder.clone()), ..call };
        let headers = Headers::of(&mut call, &self.remote, &self.folder);
        let said = ran(&doing, &call).await?;
        if said.code != Some(0) {
            let retry_after = headers.retry_after();
            let trouble = Trouble { retry_after, ..Trouble::told(&doing, &said) };
            return Err(if is_damage(&said.complaint) { damaged(&trouble) } else { trouble });
        }
        self.resolve(KEPT, path).await
    }

    /// Looks into a commit: one call, because a process is dear.
    async fn resolve(&self, name: &str, path: &RepoPath) -> Result<Fetched, Trouble> {
        let mut call = self.here(&["cat-file", "--batch-check"]);
        let at_path = match path.as_str() {
            "" => format!("{name}^{{tree}}"),
            path => format!("{name}:{path}"),
        };
        call.input = format!("{name}^{{commit}}\n{name}^{{tree}}\n{at_path}\n").into_bytes();
        let doing = "could not look into a commit";
        let said = ran(doing, &call).await?;
        if said.code != Some(0) {
            return Err(damaged(&Trouble::told(doing, &said)));
        }
        let text = String::from_utf8_lossy(&said.output);
        // `OID KIND SIZE`, or the name and `missing`.
        let mut found = text.lines().map(|line| {
            let mut words = line.split(' ');
            let oid = Oid::parse(words.next()?).ok()?;
            Some((oid, words.next()?.to_owned()))
        });
        let commit = found.next().flatten();
        // A commit whose tree cannot be read is damage, wherever in the copy it is.
        match (commit, found.next().flatten()) {
            (Some((commit, _)), Some(_)) => Ok(Fetched { commit, at_path: found.next().flatten() }),
            (Some(_) | None, _) => {
                let what = format!("{doing}: it is not whole");
                Err(Trouble::new(Reason::LocalStoreCorrupt, what))
            }
        }
    }

    /// Puts the copy aside, for whoever wants to know how it came to be so.
    pub fn quarantine(&self) -> Result<(), Trouble> {
        let aside = self.folder.with_extension("quarantine");
        let full = |error: io::Error| Trouble::new(Reason::LocalStoreCorrupt, error.to_string());
        tracing::warn!("the copy {} is damaged, and made anew", self.folder.display());
        remove(&aside).map_err(full)?;
        match fs::rename(&self.folder, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(full(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the copy where there is none.
    pub(super) async fn prepare(&self, tip: &Oid) -> Result<(), Trouble> {
        match fs::symlink_metadata(&self.folder) {
            Ok(found) if found.is_dir() && self.folder.join("HEAD").is_file() => return Ok(()),
            Ok(found) if found.is_dir() && is_empty(&self.folder) => {}
            Ok(_) => return Err(Trouble::new(Reason::LocalStoreCorrupt, "it is no repository")),
            Err(_) => {}
        }
        let place = self.folder.display().to_string();
        let format = if tip.as_str().len() == 64 { "sha256" } else { "sha1" };
        let format = format!("--object-format={format}");
        let arguments = ["init", "-q", "--bare", "--template=", &format, &place];
        let call = self.call(&arguments, LOCAL_WAIT_MAX);
        let said = ran("could not make a copy", &call).await?;
        match said.code {
            Some(0) => Ok(()),
            Some(_) | None => Err(Trouble::told("could not make a copy", &said)),
        }
    }

    /// Packs what has come together, and drops what nothing refers to any more, where there is
    /// much of it. Only whoever fetches may call it.
    pub async fn tidy(&self) -> Result<(), Trouble> {
        let objects = self.folder.join("objects");
        // As `git gc --auto` guesses it: names are digests, and so evenly spread.
        let loose = count(&objects.join("17")) * 256;
        if loose < LOOSE_MAX && count(&objects.join("pack")) < PACK_FILES_MAX {
            return Ok(());
        }
        let call = Call { longest: FETCH_WAIT_MAX, ..self.here(&["gc", "-q", "--prune=now"]) };
        let said = ran("could not tidy the copy", &call).await?;
        match said.code {
            Some(0) => Ok(()),
            Some(_) | None => Err(Trouble::told("could not tidy the copy", &said)),
        }
    }

    /// How `new` stands to `old`.
    pub async fn relation(&self, old: &Oid, new: &Oid) -> Result<Relation, Trouble> {
        let (old, new) = (old.as_str(), new.as_str());
        let ask = async |arguments: &[&str]| {
            let call = self.here(arguments);
            ran("could not compare two commits", &call).await.map(|said| said.code)
        };
        match ask(&["merge-base", "--is-ancestor", old, new]).await? {
            Some(0) => Ok(Relation::Ahead),
            Some(_) | None => match ask(&["merge-base", old, new]).await? {
                Some(0) => Ok(Relation::Rewritten),
                Some(_) | None => Ok(Relation::Unrelated),
            },
        }
    }

    /// The folder of a commit at a path; nothing where there is none.
    pub async fn tree(&self, commit: &Oid, path: &RepoPath) -> Result<Option<Oid>, Trouble> {
        self.resolve(commit.as_str(), path).await?.folder()
    }

    /// All files below a folder.
    pub async fn list(&self, tree: &Oid) -> Result<Vec<Entry>, Trouble> {
        let mut call = self.here(&["ls-tree", "-r", "-l", "-z", "--full-tree", tree.as_str()]);
        call.output_bytes_max = LIST_BYTES_MAX;
        let doing = "could not list the files";
        let said = ran(doing, &call).await?;
        if said.code != Some(0) {
            let trouble = Trouble::told(doing, &said);
            return Err(if said.is_cut { trouble } else { damaged(&trouble) });
        }
        let lines = said.output.split(|byte| *byte == 0).filter(|line| !line.is_empty());
        let strange = || Trouble::new(Reason::LocalStoreCorrupt, "git listed something strange");
        lines.map(|line| entry(line).ok_or_else(strange)).collect()
    }

    /// The contents of these objects, in this order; their sizes together are known to be small.
    pub async fn read(&self, objects: &[&Oid], bytes: usize) -> Result<Vec<Vec<u8>>, Trouble> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = self.here(&["cat-file", "--batch"]);
        call.input = objects.iter().flat_map(|oid| format!("{oid}\n").into_bytes()).collect();
        call.output_bytes_max = bytes + objects.len() * 128 + 1024;
        let doing = "could not read files";
        let said = ran(doing, &call).await?;
        if said.code != Some(0) {
            return Err(damaged(&Trouble::told(doing, &said)));
        }
        let damage = || Trouble::new(Reason::LocalStoreCorrupt, "an object is missing");
        let mut rest = said.output.as_slice();
        let mut contents = Vec::with_capacity(objects.len());
        for _ in objects {
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(damage)?;
            let head = String::from_utf8_lossy(&rest[..end]);
            let size = head.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
            let size = size.ok_or_else(damage)?;
            let body = rest.get(end + 1..end + 1 + size).ok_or_else(damage)?;
            contents.push(body.to_vec());
            rest = rest.get(end + 2 + size..).unwrap_or_default();
        }
        Ok(contents)
    }

    /// A call that cannot fail with a copy that is whole.
    pub(super) async fn local(&self, arguments: &[&str]) -> Result<Vec<u8>, Trouble> {
        let doing = "could not read the copy";
        let said = ran(doing, &self.here(arguments)).await?;
        match said.code {
            Some(0) => Ok(said.output),
            Some(_) | None => Err(damaged(&Trouble::told(doing, &said))),
        }
    }

    /// A call on the copy.
    pub(super) fn here(&self, arguments: &[&str]) -> Call {
        Call { mirror: Some(self.folder.clone()), ..self.call(arguments, LOCAL_WAIT_MAX) }
    }

    fn call(&self, arguments: &[&str], longest: Duration) -> Call {
        Call {
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            mirror: None,
            environment: Vec::new(),
            settings: Vec::new(),
            input: Vec::new(),
            longest,
            output_bytes_max: REFS_BYTES_MAX,
        }
    }

    /// A call that speaks to the remote.
    pub(super) fn network(&self, arguments: &[&str], longest: Duration) -> Call {
        let mut call = self.call(arguments, longest);
        let mut set = |name: &str, value: String| call.environment.push((name.to_owned(), value));
        match &self.remote.auth {
            Auth::None => {}
            Auth::Token { user, file } => {
                set("GIT_ASKPASS", self.askpass.display().to_string());
                set("ROLLWAY_GIT_USER", user.clone());
                set("ROLLWAY_GIT_TOKEN_FILE", file.clone());
            }
            Auth::Ssh { key, known_hosts } => set("GIT_SSH_COMMAND", ssh(key, known_hosts)),
        }
        // A call that was left behind is found by this, although it has no copy.
        set(super::run::MARK, self.folder.display().to_string());
        if self.remote.url.scheme() == Scheme::Http {
            call.settings.push(("protocol.http.allow".to_owned(), "always".to_owned()));
        }
        call
    }
}

/// The one line that git gives to a shell; what is in it is put in quotes.
fn ssh(key: &str, known_hosts: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    // ssh splits the value of this option at blanks, and knows double quotes.
    let hosts = quoted(&format!("UserKnownHostsFile=\"{known_hosts}\""));
    let fixed = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes \
                 -o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes -o IdentityAgent=none \
                 -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3 \
                 -o UpdateHostKeys=no";
    format!("{fixed} -o {hosts} -i {}", quoted(key))
}

/// Runs it; a git that cannot even be started is a trouble, too.
pub(super) async fn ran(doing: &str, call: &Call) -> Result<Said, Trouble> {
    git(call).await.map_err(|error| {
        let what = format!("{doing}: could not run git: {error}");
        Trouble::new(Reason::ServerError, what)
    })
}

fn damaged(trouble: &Trouble) -> Trouble {
    if matches!(trouble.reason, Reason::DiskFull | Reason::Timeout) {
        return trouble.clone();
    }
    Trouble::new(Reason::LocalStoreCorrupt, trouble.message.clone())
}

/// Whether a fetch failed for what is here, not there.
fn is_damage(complaint: &str) -> bool {
    let signs = [
        "not a git repository",
        "is corrupt",
        "is empty",
        "bad object",
        "inflate: ",
        "unable to read",
        "bad config",
        "invalid sha1 pointer",
        "did not send all necessary",
        "missing blob",
        "missing tree",
        "missing commit",
        "could not open pack",
        "packfile ",
    ];
    signs.iter().any(|sign| complaint.contains(sign))
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// `100644 blob OID    SIZE\tPATH`.
fn entry(line: &[u8]) -> Option<Entry> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let head = std::str::from_utf8(&line[..tab]).ok()?;
    let words: Vec<&str> = head.split_ascii_whitespace().collect();
    let [mode, _, object, size] = words.as_slice() else { return None };
    Some(Entry {
        mode: (*mode).to_owned(),
        object: Oid::parse(object).ok()?,
        size: size.parse().unwrap_or(0),
        path: line[tab + 1..].to_vec(),
    })
}

/// Removes the locks and the halves of packs that a killed git leaves. The copy is ours alone.
fn sweep(folder: &Path, depth: usize) -> io::Result<()> {
    const DEPTH_MAX: usize = 6;
    let halves = BTreeSet::from(["tmp_pack_", "tmp_idx_", "tmp_rev_", "tmp_mtimes_", "tmp_obj_"]);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_left = name.ends_with(".lock") || halves.iter().any(|half| name.starts_with(half));
        if entry.file_type()?.is_dir() {
            if depth < DEPTH_MAX {
                sweep(&entry.path(), depth + 1)?;
            }
        } else if is_left {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
