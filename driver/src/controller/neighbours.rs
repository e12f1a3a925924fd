//! Who else uses a directory: access points as AWS lists them now, and PersistentVolumes that name directories.
//!
//! Listings of EFS lag behind. What this controller has made itself counts at once, and what it has deleted no longer counts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use efs_directories::{DirectoryPath, Relation};

use super::afresh::Afresh;
use super::cluster::{Claimant, ClusterError};
use super::lately::Lately;
use super::tagging::{CLUSTER_TAG, clusters_of};
use super::uses::Used;
use super::{Controller, ControllerError};
use crate::efs::api::all_access_points;
use crate::efs::{AccessPoint, EfsApi, EfsError, LifeCycle};
use crate::volume::{AccessPointId, FileSystemId};

/// How long a listing of EFS may not show an access point that was just made, or still show one that was just deleted.
const LISTING_LAG: Duration = Duration::from_secs(60);

/// What is asked of an access point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) id: AccessPointId,
    /// Its root directory; nothing when that is the whole file system.
    root: Option<DirectoryPath>,
    /// Whether a driver made it.
    is_volume: bool,
    /// The user and group that it enforces.
    pub(super) ids: Option<(u32, u32)>,
    /// The clusters that its tag names.
    clusters: Vec<String>,
}

impl Point {
    fn of(it: &AccessPoint) -> Option<Self> {
        let is_leaving = matches!(it.state, LifeCycle::Deleting | LifeCycle::Deleted);
        let is_volume = it.may_have_tag(CLUSTER_TAG);
        (!is_leaving).then(|| Self {
            id: it.id.clone(),
            root: it.root.parse().ok(),
            is_volume,
            ids: it.posix_user.as_ref().map(|user| (user.uid, user.gid)),
            clusters: clusters_of(&it.tags).into_iter().map(str::to_owned).collect(),
        })
    }

    /// The directory that somebody uses who mounts `path` through it; nothing when that is the whole file system.
    fn below(&self, path: Option<&DirectoryPath>) -> Option<DirectoryPath> {
        match (&self.root, path) {
            (Some(root), Some(path)) => format!("{root}{path}").parse().ok(),
            (root, path) => root.as_ref().or(path).cloned(),
        }
    }

    /// Whether a driver made it that is not, as far as its tag tells, the cluster's of this id.
    pub(super) fn is_anothers(&self, own: Option<&str>) -> bool {
        self.is_volume && !own.is_some_and(|own| self.clusters.iter().any(|id| id == own))
    }
}

/// Somebody who uses a directory, or one around it or inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// An access point, with its root directory.
    AccessPoint(AccessPointId, DirectoryPath, Relation),
    /// A PersistentVolume.
    Volume {
        /// Its name.
        name: String,
        /// Where it is.
        at: DirectoryPath,
        relation: Relation,
    },
    /// A PersistentVolume of this name whose access point is gone, so that nobody knows any more where its directory is.
    Lost(String),
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lies = |relation| match relation {
            Relation::Inside => "inside it",
            Relation::Around => "around it",
            _ => "on it",
        };
        match self {
            Self::AccessPoint(id, root, relation) => {
                write!(f, "access point {id} has its root {root} {}", lies(*relation))
            }
            Self::Volume { name, at, relation } => {
                write!(f, "PersistentVolume {name:?} uses {at}, {}", lies(*relation))
            }
            Self::Lost(name) => write!(f, "PersistentVolume {name:?}, whose access point is gone, may have shared it"),
        }
    }
}

/// Listings, and what they may not show yet.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    points: Afresh<FileSystemId, Vec<Point>, EfsError>,
    volumes: Afresh<(), Option<Vec<Claimant>>, ClusterError>,
    unseen: Mutex<Unseen>,
}

/// What this controller has done itself, which listings may not show yet.
#[derive(Debug)]
struct Unseen {
    made: Lately<AccessPointId, (FileSystemId, Point)>,
    deleted: Lately<AccessPointId, ()>,
}

impl Default for Unseen {
    fn default() -> Self {
        Self { made: Lately::lasting(LISTING_LAG), deleted: Lately::lasting(LISTING_LAG) }
    }
}

impl Neighbours {
    fn unseen(&self) -> MutexGuard<'_, Unseen> {
        self.unseen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn made(&self, it: &AccessPoint) {
        if let Some(point) = Point::of(it) {
            self.unseen().made.note(it.id.clone(), (it.file_system.clone(), point));
        }
    }

    pub(super) fn deleted(&self, id: &AccessPointId) {
        let mut unseen = self.unseen();
        unseen.made.remove(id);
        unseen.deleted.note(id.clone(), ());
    }

    /// The access points of a file system, listed after this call.
    pub(super) async fn points(&self, api: &dyn EfsApi, file_system: &FileSystemId) -> Result<Vec<Point>, EfsError> {
        let listing = async {
            let listed = all_access_points(api, Some(file_system)).await?;
            Ok(listed.iter().filter_map(Point::of).collect())
        };
        let listed = self.points.ask(file_system, listing).await?;
        let unseen = self.unseen();
        let mut points: HashMap<&AccessPointId, &Point> =
            listed.iter().filter(|it| unseen.deleted.get(&it.id).is_none()).map(|point| (&point.id, point)).collect();
        for (id, (of, point)) in unseen.made.iter() {
            if of == file_system {
                points.insert(id, point);
            }
        }
        Ok(points.into_values().cloned().collect())
    }
}

/// Whose directory it is that is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose<'a> {
    /// That of the volume with this access point.
    AccessPoint(&'a AccessPointId),
    /// That of the directory volume with this handle.
    Directory(&'a str),
}

impl Controller {
    /// The PersistentVolumes, listed after this call; nothing outside a cluster.
    pub(super) async fn claimants_afresh(&self) -> Result<Arc<Option<Vec<Claimant>>>, ControllerError> {
        let listing = async {
            self.cluster.claimants().await.map_err(|error| match error {
                ControllerError::Cluster { source, .. } => ClusterError::Needed(Arc::new(source)),
                other => ClusterError::Needed(Arc::new(other)),
            })
        };
        self.neighbours
            .volumes
            .ask(&(), listing)
            .await
            .map_err(|source| ControllerError::Cluster { what: "PersistentVolumes".to_owned(), source })
    }

    /// The access points of a file system, to see whether others use a directory.
    async fn points_around(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        path: &DirectoryPath,
    ) -> Result<Vec<Point>, ControllerError> {
        let points = self.neighbours.points(api, file_system).await;
        points.map_err(ControllerError::efs(format!("cannot see whether others use the directory {path}")))
    }

    /// An access point that uses the directory, one inside it, or one around it, other than the volume's own.
    pub(super) async fn access_point_at(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        path: &DirectoryPath,
        whose: Whose<'_>,
    ) -> Result<Option<Neighbour>, ControllerError> {
        Ok(point_at(&self.points_around(api, file_system, path).await?, path, whose))
    }

    /// Whether a volume's access point, other than `own`, has its root at the directory.
    pub(super) async fn is_shared(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        path: &DirectoryPath,
        own: Option<&AccessPointId>,
    ) -> Result<bool, ControllerError> {
        let points = self.points_around(api, file_system, path).await?;
        let mut sharing =
            points.iter().filter(|it| Some(&it.id) != own && it.is_volume && it.root.as_ref() == Some(path));
        let Some(one) = sharing.next() else { return Ok(false) };
        if sharing.next().is_some() {
            return Ok(true);
        }
        // One that was just made counts before a listing shows it; somebody may have deleted it by hand since.
        match api.access_point(file_system, &one.id).await {
            Ok(found) => Ok(!matches!(found.state, LifeCycle::Deleting | LifeCycle::Deleted)),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(ControllerError::efs(format!("cannot look up access point {}", one.id))(error)),
        }
    }

    /// Somebody who would lose files if the root directory of a volume's access point were removed. One that volumes can share (`is_shareable`)
    /// may be that of a volume whose access point somebody has deleted by hand.
    pub(super) async fn user_of_root(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        path: &DirectoryPath,
        own: &AccessPointId,
        is_shareable: bool,
    ) -> Result<Option<Neighbour>, ControllerError> {
        let seen = self.look_around(api, file_system, path).await?;
        let user = seen.user(path, Whose::AccessPoint(own));
        Ok(if is_shareable { user.or_else(|| seen.lost(own)) } else { user })
    }

    /// Somebody who would lose files if the directory were removed.
    pub(super) async fn user_of(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        path: &DirectoryPath,
        whose: Whose<'_>,
    ) -> Result<Option<Neighbour>, ControllerError> {
        Ok(self.look_around(api, file_system, path).await?.user(path, whose))
    }

    async fn look_around(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        path: &DirectoryPath,
    ) -> Result<Seen, ControllerError> {
        // In this order: an access point is made before its PersistentVolume is stored, so that one which is missing is gone.
        let claimants = self.claimants_afresh().await?;
        let points = self.points_around(api, file_system, path).await?;
        Ok(Seen { file_system: file_system.clone(), claimants, points })
    }
}

/// The access points of a file system, and the PersistentVolumes.
struct Seen {
    file_system: FileSystemId,
    claimants: Arc<Option<Vec<Claimant>>>,
    points: Vec<Point>,
}

impl Seen {
    /// Those who use the file system, and what of it.
    fn users(&self) -> impl Iterator<Item = (&Claimant, &Used)> {
        let volumes = self.claimants.iter().flatten();
        volumes
            .filter_map(|volume| Some((volume, volume.uses.as_ref().filter(|it| it.file_system == self.file_system)?)))
    }

    fn user(&self, path: &DirectoryPath, whose: Whose<'_>) -> Option<Neighbour> {
        let volume = || self.users().find_map(|(volume, used)| volume_at(volume, used, &self.points, path, whose));
        point_at(&self.points, path, whose).or_else(volume)
    }

    /// A PersistentVolume whose access point is gone.
    fn lost(&self, own: &AccessPointId) -> Option<Neighbour> {
        let is_lost = |used: &Used| {
            let point = used.access_point.as_ref().filter(|id| *id != own);
            point.is_some_and(|id| self.points.iter().all(|point| point.id != *id))
        };
        let lost = self.users().find(|(volume, used)| !volume.is_leaving && is_lost(used));
        lost.map(|(volume, _)| Neighbour::Lost(volume.name.clone()))
    }
}

/// The whole file system is around everything and doesn't count; nor does an access point around the directory that no driver made: its owner
/// looks at what is inside.
fn point_at(points: &[Point], path: &DirectoryPath, whose: Whose<'_>) -> Option<Neighbour> {
    let other = points.iter().filter(|it| !matches!(whose, Whose::AccessPoint(own) if *own == it.id));
    other
        .filter_map(|it| {
            let root = it.root.as_ref()?;
            let relation = root.relation(path);
            let counts = match relation {
                Relation::Same | Relation::Inside => true,
                Relation::Around => it.is_volume,
                Relation::Apart => false,
            };
            counts.then(|| Neighbour::AccessPoint(it.id.clone(), root.clone(), relation))
        })
        .min_by_key(|it| it.to_string())
}

fn volume_at(
    volume: &Claimant,
    used: &Used,
    points: &[Point],
    path: &DirectoryPath,
    whose: Whose<'_>,
) -> Option<Neighbour> {
    let is_same = match whose {
        Whose::Directory(own) => volume.handle == own,
        Whose::AccessPoint(own) => used.access_point.as_ref() == Some(own),
    };
    let at = match &used.access_point {
        // The PersistentVolume that is deleted, as opposed to a copy of it.
        _ if is_same && volume.is_leaving => return None,
        _ if is_same => path.clone(),
        None => used.path.clone()?,
        // An access point on the directory or in it counts by itself; this is what lies below the root of one that is around it.
        Some(id) => points.iter().find(|point| point.id == *id)?.below(used.path.as_ref())?,
    };
    let relation = at.relation(path);
    matches!(relation, Relation::Same | Relation::Inside).then(|| Neighbour::Volume {
        name: volume.name.clone(),
        at,
        relation,
    })
}
