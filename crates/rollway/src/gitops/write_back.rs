//! Tells the repository of rollbacks that nobody asked for, one at a time, beside everything else.

use std::time::Duration;

use rollway_core::gitops::config::{SourceConfig, WriteBack};
use rollway_core::gitops::name::{Oid, RepoPath};
use rollway_core::gitops::state::Reason;
use rollway_core::gitops::write_back::{Told, branch};
use rollway_core::ids::ServiceName;
use tokio::time::Instant;

use super::follow::{Ask, Follower};
use super::{mirror_path, now_ms, remote};
use crate::git::{Letter, Mirror, Trouble};

/// What became of telling.
#[derive(Debug)]
pub(super) struct WroteBack {
    pub service: ServiceName,
    /// The commit that was told of.
    pub revision: Oid,
    /// Where it was written, or why it never will be; or what to try again after.
    pub result: Result<String, Trouble>,
}

/// One thing to be told.
struct Task {
    config: SourceConfig,
    service: ServiceName,
    told: Told,
    /// The folder of the service in the repository, and those in it that are others'; nothing
    /// where Git has moved on without it.
    folder: Option<(RepoPath, Vec<RepoPath>)>,
}

impl Follower {
    /// Begins to tell what is due, if nothing is being told.
    pub fn write_back(&mut self) {
        if self.is_writing || self.record.config.write_back == WriteBack::None {
            return;
        }
        let now = now_ms();
        let mut due = self.record.services.iter().filter_map(|(name, one)| {
            Some((name, one.told.as_ref().filter(|told| told.is_due(now))?))
        });
        let Some((service, told)) = due.next() else { return };
        let task = Task {
            config: self.record.config.clone(),
            service: service.clone(),
            told: told.clone(),
            folder: self.folder_of(service),
        };
        self.is_writing = true;
        let (asks, place) = (self.asks.clone(), mirror_path(&self.folder, &task.config));
        tokio::spawn(async move {
            let mirror = Mirror::attach(&place, remote(&task.config));
            let result = tell(&mirror, &task).await;
            if let Err(error) = mirror.clear_desk() {
                tracing::warn!("could not clear away what a write to a repository left: {error}");
            }
            let wrote = WroteBack { service: task.service, revision: task.told.revision, result };
            // A loop that has ended wants to know nothing more.
            let _ = asks.send(Ask::WroteBack(Box::new(wrote))).await;
        });
    }

    fn folder_of(&self, service: &ServiceName) -> Option<(RepoPath, Vec<RepoPath>)> {
        let root = self.record.config.path.as_str();
        let full = |folder: &str| {
            let both = [root, folder].into_iter().filter(|part| !part.is_empty());
            RepoPath::parse(&both.collect::<Vec<_>>().join("/")).ok()
        };
        let own = full(&self.record.wishes.get(service)?.folder)?;
        let inside = |other: &RepoPath| {
            let other = other.as_str();
            other != own.as_str()
                && (own.as_str().is_empty() || other.starts_with(&format!("{own}/")))
        };
        let all = self.record.wishes.values().filter_map(|wish| full(&wish.folder));
        let others = all.filter(inside).collect();
        Some((own, others))
    }

    /// Records what became of it.
    pub fn wrote_back(&mut self, wrote: WroteBack) {
        self.is_writing = false;
        let source = self.record.config.name.clone();
        let WroteBack { service, revision, result } = wrote;
        let one = self.record.services.get_mut(&service);
        let told = one.and_then(|one| one.told.as_mut());
        // Another one may have come meanwhile.
        let Some(told) = told.filter(|told| told.revision == revision) else { return };
        match result {
            Ok(words) => {
                tracing::info!("source {source}: {service}: {words}");
                told.end(words);
            }
            Err(trouble) => {
                told.failed(&trouble.message, now_ms());
                tracing::warn!("source {source}: {service}: {}", told.words);
                let wait = u64::try_from(told.until_ms.saturating_sub(now_ms())).unwrap_or(0);
                let at = Instant::now() + Duration::from_millis(wait);
                self.timers.insert(service.clone(), at);
            }
        }
        self.is_unsaved = true;
        self.dirty.insert(service);
    }
}

/// Tells it; answers where it was written, or why it never will be.
async fn tell(mirror: &Mirror, task: &Task) -> Result<String, Trouble> {
    let Task { config, service, told, folder } = task;
    let followed = (&config.name, &config.reference);
    let branch = match branch(config.write_back, followed, service, &told.revision) {
        Ok(branch) => branch,
        Err(why) => return Ok(why),
    };
    let letter = Letter {
        branch: branch.clone(),
        message: told.message(service),
        at_seconds: told.since_ms / 1000,
    };
    let short = branch.short();
    let pushed = match config.write_back {
        WriteBack::None => return Ok("nothing is written back".to_owned()),
        WriteBack::Status => {
            let (path, text) = (format!("{service}.json"), told.status(service));
            let pushed = mirror.push_file(&letter, &told.revision, &path, &text);
            pushed.await.map(|_| format!("written to {path} on {short}"))
        }
        WriteBack::Branch => {
            let Some(good) = &told.back_to else {
                return Ok("nothing served before, so there is nothing to revert to".to_owned());
            };
            let Some((folder, others)) = folder else {
                return Ok("not in Git any more, so there is nothing to revert".to_owned());
            };
            let pushed = mirror.push_revert(&letter, (&told.revision, good), folder, others).await;
            match pushed {
                Ok(Some(_)) => Ok(format!("reverted on {short}")),
                Ok(None) => Ok("its files are what they were; there is no revert".to_owned()),
                Err(trouble) => Err(trouble),
            }
        }
    };
    match pushed {
        // A branch of that name that is somebody else's stays theirs.
        Err(trouble) if config.write_back == WriteBack::Branch && is_taken(&trouble) => {
            Ok(format!("{short} is there already, and is not what we would write"))
        }
        other => other,
    }
}

fn is_taken(trouble: &Trouble) -> bool {
    trouble.reason == Reason::RefRejected
}
