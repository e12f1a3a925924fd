//! Keeps the trash of file systems: empties what has been there for long enough, goes on with deletions that were cut off, and tells what
//! stays. One entry that can't be emptied holds up no other, and is tried again with the next round.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use efs_directories::Trash;
use efs_directories::trash::{Entry, Keeper, Noted, Notes, State};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Notify, Semaphore};

use super::sessions::Session;
use super::{Controller, ControllerError};
use crate::efs::{LifeCycle, Role};
use crate::metrics::TrashCount;
use crate::volume::{AccessPointId, FileSystemId};

/// Pause between two rounds over all file systems.
const ROUND: Duration = Duration::from_secs(5 * 60);

/// Entries that are emptied at once, of all file systems together.
const PURGES: usize = 4;

/// An intent that is younger may be that of a call that is still running somewhere, seconds.
const RUNNING: u64 = 10 * 60;

/// What a creation that was cut off has left in the ledger is removed after this long, and a deletion that nobody goes on with is given up,
/// seconds.
const LEFT_OVER: u64 = 24 * 60 * 60;

/// Who empties what.
#[derive(Debug)]
pub(super) struct TrashKeeper {
    purges: Semaphore,
    /// File systems whose trash is looked after, and how to have it looked at at once.
    busy: Mutex<HashMap<FileSystemId, Arc<Notify>>>,
    /// The controller itself, for what goes on in the background.
    this: Mutex<Weak<Controller>>,
}

impl Default for TrashKeeper {
    fn default() -> Self {
        Self { purges: Semaphore::new(PURGES), busy: Mutex::default(), this: Mutex::default() }
    }
}

impl TrashKeeper {
    fn busy(&self) -> std::sync::MutexGuard<'_, HashMap<FileSystemId, Arc<Notify>>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller {
    /// Lets work go on in the background after the call that began it.
    pub(super) fn work_in_background(self: &Arc<Self>) {
        *self.keeper.this.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(self);
    }

    /// Looks after the trash of all file systems that are known, now and from time to time.
    pub(super) async fn keep_all_trash(self: Arc<Self>) {
        if self.sessions.is_none() {
            return;
        }
        loop {
            if let Err(error) = self.survey().await {
                tracing::warn!(%error, "cannot ask the cluster where directories were being removed");
            }
            for (file_system, facts) in self.known.all() {
                if facts.directories || self.config.delete_root_directory {
                    self.keep_trash(&file_system, facts.role.as_ref());
                }
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Looks after the trash of one file system in the background, until it is empty. One looks at a time; where one does already, it looks
    /// at once, to find what came in meanwhile.
    pub(super) fn keep_trash(&self, file_system: &FileSystemId, role: Option<&Role>) {
        let wake = Arc::new(Notify::new());
        {
            let mut busy = self.keeper.busy();
            if let Some(wake) = busy.get(file_system) {
                // Kept for whoever waits next, if nobody does now.
                wake.notify_one();
                return;
            }
            busy.insert(file_system.clone(), Arc::clone(&wake));
        }
        let (file_system, role) = (file_system.clone(), role.cloned());
        let this = self.keeper.this.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::spawn(async move {
            // Between two looks the controller may go away.
            while let Some(controller) = this.upgrade() {
                let next = match controller.look_at_trash(&file_system, role.as_ref()).await {
                    Ok(next) => next,
                    // What can't be reached is told in the log and tried again.
                    Err(error) => {
                        tracing::warn!(%file_system, %error, "cannot look after the trash");
                        Some(ROUND)
                    }
                };
                if next.is_none() {
                    let mut busy = controller.keeper.busy();
                    if wake.notified().now_or_never().is_none() {
                        busy.remove(&file_system);
                        return;
                    }
                    continue;
                }
                drop(controller);
                let pause = next.unwrap_or(ROUND).min(ROUND);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = wake.notified() => {}
                }
            }
        });
    }

    /// One look at the trash of a file system; gives the pause until the next one, none when it is empty.
    async fn look_at_trash(
        &self,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<Option<Duration>, ControllerError> {
        let api = self.api(file_system, role).await?;
        let session = self.session(api.as_ref(), file_system, role).await?;
        let trash = session.trash();
        trash.migrate().await?;
        let mut notes = Notes::new();
        let entries = trash.entries_afresh(&mut notes).await?;
        if entries.is_empty() {
            self.metrics.trash(file_system.as_str(), TrashCount::default());
            return Ok(None);
        }
        let keeper = self.trash_keeper().await;
        let removed = self.empty_trash(file_system, role, &session, entries, &keeper).await?;
        if removed > 0 {
            tracing::info!(%file_system, removed, "emptied the trash");
        }
        let (entries, now) = (trash.entries_afresh(&mut notes).await?, trash.now().await?);
        self.metrics.trash(file_system.as_str(), count(&entries, now, &keeper));
        let until = |entry: &Entry| match entry.state {
            State::Waiting => entry.kept_until(&keeper).saturating_sub(now),
            _ => ROUND.as_secs(),
        };
        let left = entries.iter().filter(|entry| entry.state != State::Kept);
        // What is due by now could not be emptied, or came in meanwhile; neither is tried again at once.
        let next = left.map(until).map(|seconds| if seconds == 0 { ROUND.as_secs() } else { seconds + 1 }).min();
        Ok(next.map(Duration::from_secs))
    }

    /// Looks at what is not settled, and empties what is due; gives the number of files and directories that were removed.
    async fn empty_trash(
        &self,
        file_system: &FileSystemId,
        role: Option<&Role>,
        session: &Session,
        entries: Vec<Entry>,
        keeper: &Keeper,
    ) -> Result<u64, ControllerError> {
        let trash = session.trash();
        let now = trash.now().await?;
        for entry in entries.iter().filter(|entry| matches!(entry.state, State::Intended | State::Moved)) {
            let age = now.saturating_sub(entry.since);
            let seen = match entry.is_anothers(keeper) {
                _ if age <= RUNNING => Ok(()),
                false => self.look_at_unsettled(file_system, role, session, entry, age).await,
                // What another cluster has begun, it goes on with. If it is gone for good, its files stay.
                true if age <= LEFT_OVER => Ok(()),
                true => self.abandon(session, entry).await,
            };
            if let Err(error) = seen {
                tracing::warn!(%file_system, entry = entry.name, %error, "a deletion that was cut off can't be looked at yet");
            }
        }
        let due = entries.into_iter().filter(|entry| entry.is_due(now, keeper));
        let purges = due.map(|entry| self.purge(file_system, trash, entry).boxed());
        let removed = futures::stream::iter(purges).buffer_unordered(PURGES).fold(0, async |sum, one| sum + one).await;
        session.ledger().sweep(now, LEFT_OVER).await?;
        Ok(removed)
    }

    async fn purge(&self, file_system: &FileSystemId, trash: &Trash, entry: Entry) -> u64 {
        let Ok(_permit) = self.keeper.purges.acquire().await else { return 0 };
        trash.purge(&entry).await.unwrap_or_else(|error| {
            tracing::warn!(%file_system, entry = entry.name, %error, "an entry of the trash can't be emptied yet");
            0
        })
    }

    /// For whom this controller looks after the trash.
    pub(super) async fn trash_keeper(&self) -> Keeper {
        Keeper { cluster: self.cluster_id().await, retention: self.config.trash_retention.as_secs() }
    }

    /// Gives a deletion up that nobody goes on with. Its files stay, or come back.
    async fn abandon(&self, session: &Session, entry: &Entry) -> Result<(), ControllerError> {
        match noted(entry) {
            Some(noted) => Ok(session.trash().withdraw_unsettled(&noted).await?),
            None => Ok(()),
        }
    }

    /// A deletion that is not settled: of a call that still runs, of one that AWS refused, or of one that was cut off. Only DeleteVolume goes on
    /// with it, which is repeated until it is done: the volume may have been kept after all, and its access point deleted by somebody
    /// who wants the files to stay.
    async fn look_at_unsettled(
        &self,
        file_system: &FileSystemId,
        role: Option<&Role>,
        session: &Session,
        entry: &Entry,
        age: u64,
    ) -> Result<(), ControllerError> {
        let point = entry.intent.as_ref().and_then(|intent| intent.access_point.as_deref());
        let Some(id) = point.and_then(|id| id.parse::<AccessPointId>().ok()) else {
            // The claim of a directory volume is still there, and DeleteVolume begins anew.
            return self.abandon(session, entry).await;
        };
        let _lock = self.lock(id.as_str()).await?;
        if age > LEFT_OVER {
            return self.abandon(session, entry).await;
        }
        match self.api(file_system, role).await?.access_point(file_system, &id).await {
            Ok(found) if !matches!(found.state, LifeCycle::Deleting | LifeCycle::Deleted) => {
                self.abandon(session, entry).await
            }
            Err(error) if !error.is_not_found() => {
                Err(ControllerError::efs(format!("cannot look up access point {id}"))(error))
            }
            _ => Ok(()),
        }
    }
}

fn noted(entry: &Entry) -> Option<Noted> {
    entry.intent.clone().map(|intent| Noted { name: entry.name.clone(), intent })
}

/// What this cluster has in the trash; other clusters count theirs.
fn count(entries: &[Entry], now: u64, keeper: &Keeper) -> TrashCount {
    let own: Vec<&Entry> = entries.iter().filter(|entry| !entry.is_anothers(keeper)).collect();
    let is_overdue =
        |entry: &&&Entry| entry.is_due(now, keeper) || matches!(entry.state, State::Intended | State::Moved);
    TrashCount {
        waiting: own.iter().filter(|entry| matches!(entry.state, State::Waiting | State::Purging)).count(),
        kept: own.iter().filter(|entry| entry.state == State::Kept).count(),
        overdue_seconds: own
            .iter()
            .filter(is_overdue)
            .map(|entry| now.saturating_sub(entry.kept_until(keeper)))
            .max()
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's clock was set back.
    #[test]
    fn what_lies_in_the_future_is_not_overdue() {
        let entry = |state, since| Entry { name: "x".to_owned(), state, intent: None, since };
        let keeper = Keeper { cluster: None, retention: 10 };
        let entries = [entry(State::Moved, 2000), entry(State::Waiting, 2000), entry(State::Purging, 2000)];
        let future = count(&entries, 1000, &keeper);
        assert_eq!((future.waiting, future.overdue_seconds), (2, 0));
        assert_eq!(count(&entries, 2015, &keeper).overdue_seconds, 5);
    }
}
