//! Forgetting what no release needs any more: kept artifacts and environment files.
//!
//! Of each service the releases that serve or stand by, and the newest `revision_history_limit`
//! besides, keep theirs. Releases themselves stay in the history; going back to one whose artifact
//! is gone is refused with a hint.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rollway_core::ids::ReleaseNumber;
use rollway_core::release::Release;
use tokio::sync::watch;

use super::Shared;
use crate::failure::Failure;
use crate::store::{Digest, UNREFERENCED_AGE_MIN, remove_unreferenced};

/// All releases of all services are read for it, so it rests so many times as long as it took.
const REST_TIMES: u32 = 20;
/// And at least so long.
const REST_MIN: Duration = Duration::from_millis(100);

/// Prunes after deployments have ended, once for all that end meanwhile, until the engine ends.
pub(super) async fn run(shared: Weak<Shared>, mut ended: watch::Receiver<()>) {
    while ended.changed().await.is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        let began = Instant::now();
        prune(shared).await;
        tokio::time::sleep((began.elapsed() * REST_TIMES).max(REST_MIN)).await;
    }
}

/// Removes what is not needed any more; a failure only means that it stays.
async fn prune(shared: Arc<Shared>) {
    let needed = match needed(&shared).await {
        Ok(needed) => needed,
        Err(failure) => {
            // What is needed is not known, so everything is.
            tracing::warn!("nothing was pruned: {}", failure.chain());
            return;
        }
    };
    let state_dir = shared.state_dir.clone();
    let pruned = tokio::task::spawn_blocking(move || {
        remove_unreferenced(&state_dir, &needed, UNREFERENCED_AGE_MIN)
    });
    match pruned.await {
        Ok(Ok(removed)) if removed.count > 0 => {
            tracing::info!("pruned {} files, {} bytes", removed.count, removed.bytes);
        }
        Ok(Ok(_)) | Err(_) => {}
        Ok(Err(failure)) => tracing::warn!("{}", failure.chain()),
    }
}

async fn needed(shared: &Shared) -> Result<BTreeSet<Digest>, Failure> {
    let mut needed = BTreeSet::new();
    for row in shared.store.services().await? {
        let acting = super::recover::acting(row.state.as_ref());
        let mut releases = Vec::new();
        for stored in shared.store.releases(&row.name).await? {
            let release: Release = serde_json::from_value(stored.body)
                .map_err(|error| super::recover::damaged(&row.name, error))?;
            releases.push(release);
        }
        releases.sort_by_key(|release| std::cmp::Reverse(release.number));
        let limit = releases.first().map_or(0, |newest| newest.spec.update.revision_history_limit);
        // The newest is on its way or serves; it does not count as history.
        let kept: BTreeSet<ReleaseNumber> =
            releases.iter().take(limit as usize + 1).map(|release| release.number).collect();
        for release in releases {
            if kept.contains(&release.number) || acting.contains(&release.number) {
                needed.extend(digests(&release));
            }
        }
    }
    Ok(needed)
}

fn digests(release: &Release) -> impl Iterator<Item = Digest> {
    let artifact = release.artifact.as_ref().map(|kept| kept.digest.as_str());
    let texts = artifact.into_iter().chain(release.env_file_digest.as_deref());
    texts.filter_map(|text| Digest::parse(text.trim_start_matches("sha256:")).ok())
}
