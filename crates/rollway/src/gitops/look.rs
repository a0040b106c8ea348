//! One look at a repository: what the ref is now, whether it may be believed, and what it wants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use rollway_core::gitops::config::SourceConfig;
use rollway_core::gitops::name::{Oid, RepoPath};
use rollway_core::gitops::set::{self, File};
use rollway_core::gitops::state::{Reason, Wish};
use rollway_core::ids::ServiceName;
use rollway_core::problem::Problem;

use super::trees::{self, Written};
use super::{Tested, mirror_path, remote};
use crate::git::{Entry, Mirror, Relation, Trouble};

/// The largest file of a service, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most files of a service.
const FILES_MAX: usize = 10_000;
/// The most that the files of a service come to, in bytes.
const TOTAL_BYTES_MAX: u64 = 64 << 20;
/// The most that is read at once, in bytes.
const BATCH_BYTES: u64 = 32 << 20;
/// How a file begins that only points to where its content is.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What was known before, and what is allowed.
#[derive(Debug, Clone)]
pub struct Before {
    /// What is followed.
    pub config: SourceConfig,
    /// What the ref was.
    pub tip: Option<Oid>,
    /// The commit that was last read.
    pub revision: Option<Oid>,
    /// Its folder.
    pub tree: Option<Oid>,
    /// Whether an operator takes unrelated history or a moved tag.
    pub confirm: bool,
    /// Where the files of services are written; nowhere for a test.
    pub trees: Option<PathBuf>,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq)]
pub enum Looked {
    /// What was known already.
    Same,
    /// It cannot be used.
    Trouble(Trouble),
    /// Something new.
    New(Box<New>),
}

/// A new revision.
#[derive(Debug, Clone, PartialEq)]
pub struct New {
    /// What the ref is.
    pub tip: Oid,
    /// The commit.
    pub revision: Oid,
    /// Its folder.
    pub tree: Oid,
    /// Who signed it.
    pub signer: Option<String>,
    /// Whether the history before it was rewritten.
    pub is_rewritten: bool,
    /// What it wants; nothing = the folder is the same as before.
    pub wishes: Option<BTreeMap<ServiceName, Wish>>,
}

/// Looks. A copy that turns out to be damaged is made anew once.
pub async fn look(mirror: &Mirror, before: &Before) -> Looked {
    match once(mirror, before).await {
        Err(trouble) if trouble.reason == Reason::LocalStoreCorrupt => {
            if let Err(trouble) = mirror.quarantine() {
                return Looked::Trouble(trouble);
            }
            once(mirror, before).await.unwrap_or_else(Looked::Trouble)
        }
        looked => looked.unwrap_or_else(Looked::Trouble),
    }
}

async fn once(mirror: &Mirror, before: &Before) -> Result<Looked, Trouble> {
    let config = &before.config;
    let tip = mirror.tip().await?;
    if before.tip.as_ref() == Some(&tip) {
        return Ok(Looked::Same);
    }
    let may_move = before.confirm || config.follow_moved_tag || !config.reference.is_tag();
    if before.tip.is_some() && !may_move {
        let what = format!(
            "the tag {} points elsewhere now; `rollway gitops sync {} --confirm` takes it",
            config.reference.short(),
            config.name
        );
        return Err(Trouble::new(Reason::TagMoved, what));
    }
    let fetched = mirror.fetch(&tip, &config.path).await?;
    let revision = fetched.commit.clone();
    let mut is_rewritten = false;
    if let Some(old) = &before.revision {
        match mirror.relation(old, &revision).await? {
            Relation::Ahead => {}
            Relation::Rewritten => is_rewritten = true,
            Relation::Unrelated if before.confirm => is_rewritten = true,
            Relation::Unrelated => {
                let what = format!(
                    "{} has no history in common with {}; `rollway gitops sync {} --confirm` \
                     takes it",
                    revision.short(),
                    old.short(),
                    config.name
                );
                return Err(Trouble::new(Reason::HistoryRewritten, what));
            }
        }
    }
    // Before anything of it is read.
    let since = before.revision.as_ref();
    let signer = mirror.verify(&config.signatures, since, &revision).await?;
    let Some(tree) = fetched.folder()? else {
        let what = format!("there is no folder {:?} in {}", config.path.as_str(), revision.short());
        return Err(Trouble::new(Reason::PathMissing, what));
    };
    let wishes = match before.tree.as_ref() == Some(&tree) {
        true => None,
        false => Some(read(mirror, before, &revision, &tree).await?),
    };
    if let Err(trouble) = mirror.tidy().await {
        tracing::warn!("source {}: {}", config.name, trouble.message);
    }
    Ok(Looked::New(Box::new(New { tip, revision, tree, signer, is_rewritten, wishes })))
}

/// The files of one service.
struct Home<'a> {
    folder: &'a str,
    files: Vec<(&'a str, &'a Entry)>,
}

async fn read(
    mirror: &Mirror,
    before: &Before,
    revision: &Oid,
    tree: &Oid,
) -> Result<BTreeMap<ServiceName, Wish>, Trouble> {
    let entries = mirror.list(tree).await?;
    let named: Vec<(&str, &Entry)> = entries
        .iter()
        .filter_map(|entry| Some((std::str::from_utf8(&entry.path).ok()?, entry)))
        .collect();
    let texts = texts(mirror, &named).await?;
    let wanted = set::read(&texts, before.config.environment.as_deref()).map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let message = match problems.len() {
            1 => first,
            count => format!("{first}; and {} more", count - 1),
        };
        Trouble { problems, ..Trouble::new(Reason::ParseFailed, message) }
    })?;
    let names: Vec<String> = wanted.iter().map(|one| one.folder.clone()).collect();
    let folders: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let homes = homes(&entries, &folders)?;
    let mut wishes = BTreeMap::new();
    let mut missing: Vec<(String, &Home<'_>)> = Vec::new();
    for one in wanted {
        let home = homes.get(one.folder.as_str()).expect("its spec is in it");
        let listed = home.files.iter().map(|(path, entry)| {
            ((*path).to_owned(), entry.mode.clone(), entry.object.to_string())
        });
        let content = set::content(&one, &listed.collect::<Vec<_>>());
        if before.trees.as_ref().is_some_and(|trees| !trees.join(&content).is_dir()) {
            missing.push((content.clone(), home));
        }
        let wish = Wish {
            revision: revision.clone(),
            content,
            folder: one.folder,
            spec: one.spec,
            version: one.version,
            instances: one.instances,
            after: one.after,
        };
        wishes.insert(one.service, wish);
    }
    if let Some(trees) = &before.trees {
        keep(mirror, trees, &missing).await?;
    }
    Ok(wishes)
}

/// What the specs, overlays and the order say.
async fn texts(mirror: &Mirror, named: &[(&str, &Entry)]) -> Result<Vec<File>, Trouble> {
    let wanted: Vec<&(&str, &Entry)> =
        named.iter().filter(|(path, _)| set::is_read(path)).collect();
    let mut total = 0;
    for (path, entry) in &wanted {
        check_file(path, entry)?;
        total += entry.size;
    }
    if total > TOTAL_BYTES_MAX {
        return Err(unsafe_tree(format!("the specs come to more than {TOTAL_BYTES_MAX} bytes")));
    }
    let objects: Vec<&Oid> = wanted.iter().map(|(_, entry)| &entry.object).collect();
    let contents = mirror.read(&objects, usize::try_from(total).unwrap_or(usize::MAX)).await?;
    let mut texts = Vec::with_capacity(contents.len());
    for ((path, _), bytes) in wanted.into_iter().zip(contents) {
        check_pointer(path, &bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let problems = vec![Problem::new(*path, "the file is not text in UTF-8")];
            let message = format!("{path}: the file is not text in UTF-8");
            Trouble { problems, ..Trouble::new(Reason::ParseFailed, message) }
        })?;
        texts.push(File { path: (*path).to_owned(), text });
    }
    Ok(texts)
}

/// Each file with the service whose folder it is in, the innermost where several are.
fn homes<'a>(
    entries: &'a [Entry],
    folders: &BTreeSet<&'a str>,
) -> Result<BTreeMap<&'a str, Home<'a>>, Trouble> {
    let mut homes: BTreeMap<&str, Home<'_>> =
        folders.iter().map(|folder| (*folder, Home { folder, files: Vec::new() })).collect();
    for entry in entries {
        let shown = String::from_utf8_lossy(&entry.path);
        let mut above = shown.as_ref();
        let folder = loop {
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
            if let Some(folder) = folders.get(above) {
                break Some(*folder);
            }
            if above.is_empty() {
                break None;
            }
        };
        let Some(home) = folder.and_then(|folder| homes.get_mut(folder)) else { continue };
        let Ok(path) = std::str::from_utf8(&entry.path) else {
            return Err(unsafe_tree(format!("{shown:?} is not a name in UTF-8")));
        };
        check_file(path, entry)?;
        let inner = path.strip_prefix(home.folder).unwrap_or(path).trim_start_matches('/');
        home.files.push((inner, entry));
    }
    homes.values().try_for_each(check_home)?;
    Ok(homes)
}

fn check_home(home: &Home<'_>) -> Result<(), Trouble> {
    let place = if home.folder.is_empty() { "the root" } else { home.folder };
    if home.files.len() > FILES_MAX {
        let what = format!("{place} has {} files, and at most {FILES_MAX}", home.files.len());
        return Err(unsafe_tree(format!("{what} are read; give the spec a folder of its own")));
    }
    let total: u64 = home.files.iter().map(|(_, entry)| entry.size).sum();
    if total > TOTAL_BYTES_MAX {
        let what = format!("{place} has {total} bytes, and at most {TOTAL_BYTES_MAX} are read");
        return Err(unsafe_tree(what));
    }
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (path, _) in &home.files {
        if let Some(other) = seen.insert(folded(path), path) {
            let what = format!(
                "{path:?} and {other:?} in {place} differ only in case, or in how the same \
                 characters are composed: some file systems take them for one"
            );
            return Err(unsafe_tree(what));
        }
    }
    Ok(())
}

/// A name as file systems compare it that tell neither case nor composition apart.
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let apart = DecomposingNormalizerBorrowed::new_nfd().normalize(name).to_lowercase();
    ComposingNormalizerBorrowed::new_nfc().normalize(&apart).into_owned()
}

fn check_file(path: &str, entry: &Entry) -> Result<(), Trouble> {
    if let Err(what) = RepoPath::parse(path) {
        return Err(unsafe_tree(format!("{path:?}: {what}")));
    }
    let refused = match entry.mode.as_str() {
        "100644" | "100755" | "100664" => None,
        "120000" => Some("is a symbolic link"),
        "160000" => Some("is a submodule"),
        _ => Some("is no plain file"),
    };
    if let Some(what) = refused {
        return Err(unsafe_tree(format!("{path:?} {what}; only plain files are taken")));
    }
    if entry.size > FILE_BYTES_MAX {
        let what = format!("{path:?} has {} bytes, and at most {FILE_BYTES_MAX}", entry.size);
        return Err(unsafe_tree(format!("{what} are read; name large files by `run.artifact`")));
    }
    Ok(())
}

fn check_pointer(path: &str, bytes: &[u8]) -> Result<(), Trouble> {
    match bytes.starts_with(LFS) {
        true => Err(unsafe_tree(format!("{path:?} is kept in Git LFS, which is not read"))),
        false => Ok(()),
    }
}

fn unsafe_tree(what: String) -> Trouble {
    Trouble::new(Reason::TreeUnsafe, what)
}

/// Writes out the folders that are not there yet, some at a time.
async fn keep(
    mirror: &Mirror,
    trees: &Path,
    missing: &[(String, &Home<'_>)],
) -> Result<(), Trouble> {
    let mut batch: Vec<(String, Vec<(&str, &Entry)>)> = Vec::new();
    let mut size = 0;
    let mut done = BTreeSet::new();
    for (at, (content, home)) in missing.iter().enumerate() {
        if done.insert(content) {
            size += home.files.iter().map(|(_, entry)| entry.size).sum::<u64>();
            batch.push((content.clone(), home.files.clone()));
        }
        if size >= BATCH_BYTES || at + 1 == missing.len() {
            keep_batch(mirror, trees, std::mem::take(&mut batch)).await?;
            size = 0;
        }
    }
    Ok(())
}

async fn keep_batch(
    mirror: &Mirror,
    trees: &Path,
    batch: Vec<(String, Vec<(&str, &Entry)>)>,
) -> Result<(), Trouble> {
    let files: Vec<(&str, &Entry)> = batch.iter().flat_map(|(_, files)| files.clone()).collect();
    let mut contents = read_all(mirror, &files).await?.into_iter();
    let mut written = Vec::with_capacity(batch.len());
    for (content, files) in &batch {
        written.push((content.clone(), contents.by_ref().take(files.len()).collect()));
    }
    let trees = trees.to_owned();
    let kept = tokio::task::spawn_blocking(move || trees::write(&trees, &written)).await;
    let full =
        |what: String| Trouble::new(Reason::DiskFull, format!("could not keep files: {what}"));
    match kept {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(full(error.to_string())),
        Err(error) => Err(full(error.to_string())),
    }
}

async fn read_all(mirror: &Mirror, files: &[(&str, &Entry)]) -> Result<Vec<Written>, Trouble> {
    let total: u64 = files.iter().map(|(_, entry)| entry.size).sum();
    let objects: Vec<&Oid> = files.iter().map(|(_, entry)| &entry.object).collect();
    let contents = mirror.read(&objects, usize::try_from(total).unwrap_or(usize::MAX)).await?;
    let mut written = Vec::with_capacity(files.len());
    for ((path, entry), bytes) in files.iter().zip(contents) {
        check_pointer(path, &bytes)?;
        let is_program = entry.mode == "100755";
        written.push(Written { path: (*path).to_owned(), is_program, bytes });
    }
    Ok(written)
}

/// All files of a folder, held to the same limits as a service's.
pub async fn whole(mirror: &Mirror, tree: &Oid) -> Result<Vec<Written>, Trouble> {
    let entries = mirror.list(tree).await?;
    let homes = homes(&entries, &BTreeSet::from([""]))?;
    let home = homes.get("").expect("it was asked for");
    read_all(mirror, &home.files).await
}

/// Reads a source into a copy that is thrown away.
pub async fn test(folder: &Path, config: &SourceConfig) -> Tested {
    let place = mirror_path(folder, config).with_extension("test");
    let before = Before {
        config: config.clone(),
        tip: None,
        revision: None,
        tree: None,
        confirm: false,
        trees: None,
    };
    let looked = match Mirror::open(&place, remote(config)) {
        Ok(mirror) => look(&mirror, &before).await,
        Err(error) => Looked::Trouble(Trouble::new(Reason::DiskFull, error.to_string())),
    };
    // It may never have been made.
    let _ = std::fs::remove_dir_all(&place);
    let tested = Tested {
        ok: false,
        reason: Reason::Succeeded,
        message: "it can be followed".to_owned(),
        problems: Vec::new(),
        revision: None,
        signer: None,
        services: Vec::new(),
    };
    match looked {
        // Nothing was known before, so nothing is the same.
        Looked::Same => tested,
        Looked::Trouble(Trouble { reason, message, problems, retry_after: _ }) => {
            Tested { reason, message, problems, ..tested }
        }
        Looked::New(new) => Tested {
            ok: true,
            revision: Some(new.revision.to_string()),
            signer: new.signer,
            services: new.wishes.iter().flatten().map(|(name, _)| name.to_string()).collect(),
            ..tested
        },
    }
}
