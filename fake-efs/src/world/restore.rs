//! Taking a world out of its archive, and keeping it there.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::archive::{Archive, ArchiveError, Row};
use super::ids::FileSystemId;
use super::lifecycle::Timer;
use super::model::{BackupStatus, LifeCycleState, MountTarget, ReplicationStatus};
use super::{Entity, State, World};

impl World {
    /// Takes what the archive in a folder holds, and keeps all further changes there. The world must be empty.
    pub fn restore(&self, folder: &Path) -> Result<(), ArchiveError> {
        let (archive, rows) = Archive::open(folder)?;
        self.step(|state, now| {
            for row in rows {
                self.take(state, now, row)?;
            }
            state.dirty.clear();
            state.archive = Some(archive);
            Ok(())
        })
    }

    /// Lets go of the archive, so that another world can have it. What changes from now on is kept in memory only.
    pub fn close(&self) {
        self.lock().archive = None;
    }

    /// Opens the addresses of restored mount targets. One that can't be had any more is replaced by the main address.
    pub fn reopen_doors(&self) {
        self.step(|state, _| {
            let owned: Vec<_> = state.owned_addresses.iter().map(|(address, id)| (*address, id.clone())).collect();
            for (address, id) in owned {
                if self.doors.open(address) {
                    continue;
                }
                state.owned_addresses.remove(&address);
                let main = state.addresses.main();
                if let Some(target) = state.mount_targets.get_mut(&id) {
                    target.address = Some(main);
                    target.owns_address = false;
                    state.dirty.insert(Entity::MountTarget(id));
                }
            }
        });
    }

    /// Puts one row into all indexes. What was on its way to another state gets there now.
    fn take(&self, state: &mut State, now: Timestamp, row: Row) -> Result<(), ArchiveError> {
        match row {
            Row::FileSystem(fs) => {
                let id = fs.id.clone();
                self.volumes.create(&id).map_err(|source| ArchiveError::Files { id: id.clone(), source })?;
                state.creation_tokens.insert((fs.scope.clone(), fs.creation_token.clone()), id.clone());
                state.system_revocations.insert(id.clone(), CancellationToken::new());
                match fs.state {
                    LifeCycleState::Creating | LifeCycleState::Updating => {
                        state.schedule(now, 0.0, Timer::FileSystemReady(id.clone()));
                    }
                    LifeCycleState::Deleting => state.schedule(now, 0.0, Timer::FileSystemGone(id.clone())),
                    LifeCycleState::Available | LifeCycleState::Error | LifeCycleState::Misconfigured => {}
                }
                if matches!(fs.backup, Some(BackupStatus::Enabling | BackupStatus::Disabling)) {
                    state.schedule(now, 0.0, Timer::BackupSettled(id.clone()));
                }
                state.file_systems.insert(id, fs);
            }
            Row::AccessPoint(point) => {
                let id = point.id.clone();
                state.client_tokens.insert((point.scope.clone(), point.client_token.clone()), id.clone());
                state.points_of.entry(point.file_system.clone()).or_default().insert(point.seq, id.clone());
                match point.state {
                    LifeCycleState::Deleting => state.schedule(now, 0.0, Timer::AccessPointGone(id.clone())),
                    LifeCycleState::Available | LifeCycleState::Error | LifeCycleState::Misconfigured => {}
                    _ => state.schedule(now, 0.0, Timer::AccessPointReady(id.clone())),
                }
                state.access_points.insert(id, point);
            }
            Row::MountTarget(target) => {
                let id = target.id.clone();
                let target = match target.state {
                    LifeCycleState::Deleting => {
                        state.schedule(now, 0.0, Timer::MountTargetGone(id));
                        MountTarget { owns_address: false, ..target }
                    }
                    LifeCycleState::Available | LifeCycleState::Error | LifeCycleState::Misconfigured => target,
                    _ => {
                        state.schedule(now, 0.0, Timer::MountTargetReady(id));
                        target
                    }
                };
                state.add_mount_target(target);
            }
            Row::Replication(replication) => {
                let id = replication.source.clone();
                state.replicated.insert(replication.destination.clone(), id.clone());
                match replication.status {
                    ReplicationStatus::Enabling => state.schedule(now, 0.0, Timer::ReplicationReady(id.clone())),
                    ReplicationStatus::Deleting => state.schedule(now, 0.0, Timer::ReplicationGone(id.clone())),
                    ReplicationStatus::Enabled => {}
                }
                state.replications.insert(id, replication);
            }
            Row::Preference(scope, preference) => {
                state.preferences.insert(scope, preference);
            }
        }
        Ok(())
    }

    /// Whether a file system of that id exists in any account, for the seed.
    pub fn knows(&self, id: &FileSystemId) -> bool {
        self.step(|state, _| state.file_systems.get(id).is_some())
    }
}

impl State {
    /// A row as it is now; `None` if it is gone.
    fn row(&self, entity: &Entity) -> Option<Row> {
        match entity {
            Entity::FileSystem(id) => self.file_systems.get(id).map(|row| Row::FileSystem((**row).clone())),
            Entity::AccessPoint(id) => self.access_points.get(id).map(|row| Row::AccessPoint((**row).clone())),
            Entity::MountTarget(id) => self.mount_targets.get(id).map(|row| Row::MountTarget((**row).clone())),
            Entity::Replication(id) => self.replications.get(id).map(|row| Row::Replication((**row).clone())),
            Entity::Preference(scope) => self.preferences.get(scope).map(|p| Row::Preference(scope.clone(), *p)),
        }
    }

    /// All that exists.
    fn entities(&self) -> BTreeSet<Entity> {
        let systems = self.file_systems.values().map(|row| Entity::FileSystem(row.id.clone()));
        let points = self.access_points.values().map(|row| Entity::AccessPoint(row.id.clone()));
        let targets = self.mount_targets.values().map(|row| Entity::MountTarget(row.id.clone()));
        let replications = self.replications.values().map(|row| Entity::Replication(row.source.clone()));
        let preferences = self.preferences.keys().cloned().map(Entity::Preference);
        systems.chain(points).chain(targets).chain(replications).chain(preferences).collect()
    }

    /// Tells the archive what changed. A full disk must not stop the fake: the world goes on in memory, and says so.
    pub(super) fn keep(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        let Some(mut archive) = self.archive.take() else { return };
        if !dirty.is_empty() {
            let changes = dirty.into_iter().map(|entity| {
                let row = self.row(&entity);
                (entity, row)
            });
            let mut kept = archive.append(changes);
            let rows = self.file_systems.len() + self.access_points.len() + self.mount_targets.len();
            if kept.is_ok() && archive.is_bloated(rows) {
                let all = self.entities();
                kept = archive.compact(all.into_iter().filter_map(|e| self.row(&e).map(|row| (e, row))));
            }
            if let Err(error) = kept {
                tracing::error!(%error, "can't keep what changed; it will be gone after a restart");
            }
        }
        self.archive = Some(archive);
    }
}
