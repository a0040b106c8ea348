//! A clean copy of the files of a revision, in a folder for people and other programs.

use std::path::Path;

use rollway_core::gitops::name::RepoPath;
use rollway_core::gitops::state::SourceView;
use rollway_core::problem::Problem;

use super::{look, mirror_path, remote, trees};
use crate::engine::Refusal;
use crate::failure::{Failure, FailureKind};
use crate::files;
use crate::git::Mirror;

/// The file that says that a folder is ours, and may be replaced.
const MARKER: &str = ".rollway-checkout";

/// Writes the files below the path of the source; answers the commit.
pub async fn checkout(base: &Path, view: &SourceView, folder: &Path) -> Result<String, Refusal> {
    if !folder.is_absolute() {
        return Err(Problem::new("folder", "the folder must be an absolute path").into());
    }
    let Some(revision) = &view.revision else {
        let what = format!("nothing was read of it yet: {}", view.message);
        return Err(Problem::new("source", what).into());
    };
    let is_free = !folder.exists()
        || folder.join(MARKER).is_file()
        || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if !is_free {
        let what = format!("{} is there and was not made by this verb", folder.display());
        return Err(Problem::new("folder", what).hint("name a new or an empty folder").into());
    }
    let failed = |what: String| {
        let doing = format!("could not check out {}", revision.short());
        Refusal::Failure(Failure::because(FailureKind::NotDone, doing, what))
    };
    let mirror = Mirror::attach(&mirror_path(base, &view.config), remote(&view.config));
    let path: &RepoPath = &view.config.path;
    let tree = mirror.tree(revision, path).await.map_err(|trouble| failed(trouble.message))?;
    let tree = tree.ok_or_else(|| failed("its folder is gone".to_owned()))?;
    let mut written =
        look::whole(&mirror, &tree).await.map_err(|trouble| failed(trouble.message))?;
    let marker = b"This folder is kept by Rollway; it may be replaced.\n".to_vec();
    written.push(trees::Written { path: MARKER.into(), is_program: false, bytes: marker });
    let folder = folder.to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let fresh = files::temporary_beside(&folder);
        trees::fill(&fresh, &written)?;
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::rename(&fresh, &folder)
    });
    match made.await {
        Ok(Ok(())) => Ok(revision.to_string()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(error) => Err(failed(error.to_string())),
    }
}
