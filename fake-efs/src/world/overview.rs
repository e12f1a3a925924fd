//! What exists, for people.

use std::sync::Arc;

use serde::Serialize;

use super::World;
use super::ids::{AccessPointId, FileSystemId};
use super::model::{AccessPoint, FileSystem, MountTarget};
use crate::store::Store;

/// Access points that are shown; a world may have ten thousands.
const MOST_SHOWN: usize = 500;

/// All accounts and regions together.
#[derive(Debug, Serialize)]
pub struct Overview {
    /// File systems, oldest first.
    pub file_systems: Vec<Shown<FileSystem>>,
    /// Mount targets, oldest first.
    pub mount_targets: Vec<MountTarget>,
    /// The newest access points, newest first.
    pub access_points: Vec<AccessPoint>,
    /// How many access points there are.
    pub access_points_total: usize,
}

/// A file system and its size.
#[derive(Debug, Serialize)]
pub struct Shown<T> {
    /// The row.
    #[serde(flatten)]
    pub row: T,
    /// Metered bytes.
    pub bytes: u64,
}

impl World {
    /// The newest access points, of one file system or of all, behind so many of them; and how many there are.
    pub fn newest_access_points(
        &self,
        of: Option<&FileSystemId>,
        behind: usize,
        most: usize,
    ) -> (Vec<AccessPoint>, usize) {
        self.step(|state, _| {
            let all = state.access_points.values();
            let mut points: Vec<_> = all.filter(|row| of.is_none_or(|id| row.file_system == *id)).collect();
            points.sort_by_key(|row| std::cmp::Reverse(row.seq));
            let shown = points.iter().skip(behind).take(most).map(|row| (***row).clone()).collect();
            (shown, points.len())
        })
    }

    /// One access point.
    pub fn access_point(&self, id: &AccessPointId) -> Option<AccessPoint> {
        self.step(|state, _| state.access_points.get(id).map(|row| (**row).clone()))
    }

    /// The files of a file system.
    pub fn files(&self, id: &FileSystemId) -> Option<Arc<dyn Store>> {
        self.step(|state, _| self.store_of(state, state.file_systems.get(id)?))
    }

    /// What exists.
    pub fn overview(&self) -> Overview {
        self.step(|state, _| {
            let mut file_systems: Vec<_> = state
                .file_systems
                .values()
                .map(|row| Shown { bytes: self.volumes.metered_bytes(&row.id), row: (**row).clone() })
                .collect();
            file_systems.sort_by_key(|shown| shown.row.seq);
            let mut mount_targets: Vec<_> = state.mount_targets.values().map(|row| (**row).clone()).collect();
            mount_targets.sort_by_key(|row| row.seq);
            let mut points: Vec<_> = state.access_points.values().collect();
            points.sort_by_key(|row| std::cmp::Reverse(row.seq));
            Overview {
                file_systems,
                mount_targets,
                access_points_total: points.len(),
                access_points: points.into_iter().take(MOST_SHOWN).map(|row| (**row).clone()).collect(),
            }
        })
    }
}
