//! Passing states: what is being made, changed or taken away, and when that is done.

use jiff::{SignedDuration, Timestamp};

use super::ids::{AccessPointId, FileSystemId, MountTargetId};
use super::model::{BackupStatus, LifeCycleState, Protection, ReplicationStatus};
use super::{Entity, State, World};

/// Something that is going to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    FileSystemReady(FileSystemId),
    FileSystemGone(FileSystemId),
    AccessPointReady(AccessPointId),
    AccessPointGone(AccessPointId),
    MountTargetReady(MountTargetId),
    MountTargetGone(MountTargetId),
    BackupSettled(FileSystemId),
    ReplicationReady(FileSystemId),
    ReplicationGone(FileSystemId),
}

impl State {
    /// Lets something happen `seconds` from now.
    pub(crate) fn schedule(&mut self, now: Timestamp, seconds: f64, timer: Timer) {
        let delay = SignedDuration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(SignedDuration::MAX);
        let due = now.checked_add(delay).unwrap_or(Timestamp::MAX);
        self.next_timer += 1;
        self.timers.insert((due, self.next_timer), timer);
    }

    /// A file system's passing state ends: creating or updating becomes available.
    fn ready<T>(state: &mut LifeCycleState, value: T) -> Option<T> {
        matches!(state, LifeCycleState::Creating | LifeCycleState::Updating).then(|| {
            *state = LifeCycleState::Available;
            value
        })
    }

    /// Takes an access point out of all indexes.
    fn forget_access_point(&mut self, id: &AccessPointId) {
        let Some(point) = self.access_points.remove(id) else { return };
        self.client_tokens.remove(&(point.scope.clone(), point.client_token.clone()));
        if let Some(index) = self.points_of.get_mut(&point.file_system) {
            index.remove(&point.seq);
        }
        self.dirty.insert(Entity::AccessPoint(id.clone()));
    }
}

impl World {
    /// Lets everything happen whose time has come.
    pub(super) fn settle(&self, state: &mut State, now: Timestamp) {
        while let Some(entry) = state.timers.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let timer = entry.remove();
            self.fire(state, timer);
        }
    }

    /// Lets one thing happen. What it is about may have gone on to another state meanwhile; then nothing happens.
    fn fire(&self, state: &mut State, timer: Timer) {
        match timer {
            Timer::FileSystemReady(id) => {
                if state.file_systems.get_mut(&id).and_then(|fs| State::ready(&mut fs.state, ())).is_some() {
                    state.dirty.insert(Entity::FileSystem(id));
                }
            }
            Timer::AccessPointReady(id) => {
                if state.access_points.get_mut(&id).and_then(|p| State::ready(&mut p.state, ())).is_some() {
                    state.dirty.insert(Entity::AccessPoint(id));
                }
            }
            Timer::MountTargetReady(id) => {
                if state.mount_targets.get_mut(&id).and_then(|t| State::ready(&mut t.state, ())).is_some() {
                    state.dirty.insert(Entity::MountTarget(id));
                }
            }
            Timer::FileSystemGone(id) => self.forget_file_system(state, &id),
            Timer::AccessPointGone(id) => state.forget_access_point(&id),
            Timer::MountTargetGone(id) => self.forget_mount_target(state, &id),
            Timer::BackupSettled(id) => state.change_file_system(&id, |fs| {
                fs.backup = fs.backup.map(|backup| match backup {
                    BackupStatus::Enabling | BackupStatus::Enabled => BackupStatus::Enabled,
                    BackupStatus::Disabling | BackupStatus::Disabled => BackupStatus::Disabled,
                });
            }),
            Timer::ReplicationReady(id) => {
                if let Some(replication) = state.replications.get_mut(&id)
                    && replication.status == ReplicationStatus::Enabling
                {
                    replication.status = ReplicationStatus::Enabled;
                    state.dirty.insert(Entity::Replication(id));
                }
            }
            Timer::ReplicationGone(id) => {
                if let Some(replication) = state.replications.remove(&id) {
                    state.replicated.remove(&replication.destination);
                    state.change_file_system(&replication.destination, |fs| fs.protection = Protection::Enabled);
                    state.dirty.insert(Entity::Replication(id));
                }
            }
        }
    }

    /// Takes a file system out of all indexes, its access points with it.
    fn forget_file_system(&self, state: &mut State, id: &FileSystemId) {
        let Some(fs) = state.file_systems.remove(id) else { return };
        state.creation_tokens.remove(&(fs.scope.clone(), fs.creation_token.clone()));
        for point in state.points_of.remove(id).unwrap_or_default().into_values() {
            state.forget_access_point(&point);
        }
        state.targets_of.remove(id);
        if let Some(revocation) = state.system_revocations.remove(id) {
            revocation.cancel();
        }
        self.bonds.remove(id);
        self.volumes.remove(id);
        state.dirty.insert(Entity::FileSystem(id.clone()));
    }

    /// Takes a mount target out of all indexes.
    fn forget_mount_target(&self, state: &mut State, id: &MountTargetId) {
        let Some(target) = state.mount_targets.remove(id) else { return };
        if let Some(index) = state.targets_of.get_mut(&target.file_system) {
            index.remove(&target.seq);
        }
        state.dirty.insert(Entity::MountTarget(id.clone()));
    }
}
