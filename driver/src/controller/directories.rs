//! Volumes that are plain directories (`provisioningMode: efs-dir`), and the root directories of access points.

use std::sync::Arc;

use super::capacity::CapacityRange;
use super::parameters::CreateParameters;
use super::paths::{Root, sha256_hex, stable_uuid};
use super::root_dirs::{DirectoryRecord, Place, RootDirectories};
use super::{Controller, ControllerError};
use crate::efs::api::LARGEST_PAGE;
use crate::efs::{AccessPoint, EfsApi, MountTarget, Role};
use crate::volume::{FileSystemId, FileSystemKind, VolumeId};

/// Ends the handle of a directory volume. An empty last field is allowed by the handle's grammar and tells our directories
/// from those that people name in static volumes, which are never removed.
const DIRECTORY_MARK: char = ':';

/// The handle of a directory volume.
pub(super) fn directory_handle(file_system: FileSystemId, path: &str) -> String {
    format!("{}{DIRECTORY_MARK}", VolumeId::of_directory(file_system, path.to_owned()))
}

/// Whether a handle is that of a directory volume.
pub(super) fn is_directory_handle(handle: &str, volume: &VolumeId) -> bool {
    let parts = (volume.kind, volume.path.is_some(), volume.access_point.is_none());
    handle.starts_with("efs:") && handle.ends_with(DIRECTORY_MARK) && parts == (FileSystemKind::Efs, true, true)
}

/// What a CreateVolume call asks of a directory.
pub(super) struct WantedDirectory<'a> {
    pub(super) name: &'a str,
    pub(super) root: &'a Root,
    pub(super) parameters: &'a CreateParameters,
    pub(super) capacity: &'a CapacityRange,
}

impl Controller {
    pub(super) async fn reach(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<(Arc<RootDirectories>, Place, Vec<MountTarget>), ControllerError> {
        let Some(directories) = self.directories.clone() else {
            return Err(ControllerError::Invalid(
                "this controller has no way to make or remove directories".to_owned(),
            ));
        };
        let region = self.clients.region().await.map_err(ControllerError::efs("cannot find the region"))?;
        let targets = self.mount_targets.get(api, file_system, role).await;
        let targets =
            targets.map_err(ControllerError::efs(format!("cannot list the mount targets of {file_system}")))?;
        let port = self.config.mount_target_port;
        Ok((directories, Place { file_system: file_system.clone(), region, port }, targets))
    }

    /// Makes a directory volume, or finds it; gives its handle and capacity.
    pub(super) async fn create_directory(
        &self,
        api: &dyn EfsApi,
        file_system: &FileSystemId,
        role: Option<&Role>,
        wanted: WantedDirectory<'_>,
    ) -> Result<(String, i64), ControllerError> {
        let WantedDirectory { name, root, parameters, capacity } = wanted;
        if root.path.contains(':') {
            return Err(ControllerError::Invalid(format!(
                "volume {name:?}: directory {:?} must not contain a colon, which volume handles are divided by",
                root.path
            )));
        }
        let record = DirectoryRecord {
            name: name.to_owned(),
            path: root.path.clone(),
            uid: parameters.uid.unwrap_or(0),
            gid: parameters.gid.unwrap_or(0),
            permissions: parameters.permissions.clone(),
            capacity: capacity.required,
        };
        let (directories, place, targets) = self.reach(api, file_system, role).await?;
        let made = directories.create(&place, &targets, &record).await?;
        let octal = |text: &str| u32::from_str_radix(text, 8).ok();
        let difference = if made.name != record.name {
            Some(format!("the name {:?}, so the directory is taken", made.name))
        } else if made.path != record.path {
            Some(format!("directory {:?}, but {:?} is asked for", made.path, record.path))
        } else if (made.uid, made.gid) != (record.uid, record.gid) {
            let (has, wants) = ((made.uid, made.gid), (record.uid, record.gid));
            Some(format!("owner {}:{}, but {}:{} is asked for", has.0, has.1, wants.0, wants.1))
        } else if octal(&made.permissions) != octal(&record.permissions) {
            Some(format!("directoryPerms {}, but {} is asked for", made.permissions, record.permissions))
        } else if made.capacity > 0 && !capacity.allows(made.capacity) {
            Some(format!("capacity {}, but {capacity} is asked for", made.capacity))
        } else {
            None
        };
        match difference {
            None => Ok((directory_handle(file_system.clone(), &made.path), made.capacity)),
            Some(difference) => {
                let existing = format!("directory {:?}", made.path);
                Err(ControllerError::Conflict { name: name.to_owned(), existing, difference })
            }
        }
    }

    /// The note of a directory volume; nothing when this driver made none. A controller without a way to directories can't tell.
    pub(super) async fn directory(
        &self,
        api: &dyn EfsApi,
        volume: &VolumeId,
        role: Option<&Role>,
    ) -> Result<Option<DirectoryRecord>, ControllerError> {
        let (directories, place, targets) = self.reach(api, &volume.file_system, role).await?;
        directories.record(&place, &targets, &volume.subdirectory()).await
    }

    /// Notes another capacity for a directory volume.
    pub(super) async fn expand_directory(
        &self,
        api: &dyn EfsApi,
        volume: &VolumeId,
        role: Option<&Role>,
        capacity: i64,
    ) -> Result<(), ControllerError> {
        let (directories, place, targets) = self.reach(api, &volume.file_system, role).await?;
        match directories.set_capacity(&place, &targets, &volume.subdirectory(), capacity).await? {
            Some(_) => Ok(()),
            None => {
                Err(ControllerError::NotFound(volume.to_string(), "its directory was removed meanwhile".to_owned()))
            }
        }
    }

    /// Goes on with emptying the trash of every file system where an earlier process may have left some. What can't be reached is
    /// told in the log and tried again when the next directory is removed there.
    pub(super) async fn resume(&self) {
        if self.directories.is_none() {
            return;
        }
        if let Err(error) = self.survey().await {
            tracing::warn!(%error, "cannot ask the cluster where directories were being removed");
        }
        for (file_system, facts) in self.known.all() {
            if !facts.directories && !self.config.delete_root_directory {
                continue;
            }
            let reached = async {
                let api = self.efs(facts.role.as_ref()).await?;
                self.reach(api.as_ref(), &file_system, facts.role.as_ref()).await
            };
            match reached.await {
                Ok((directories, place, targets)) => directories.purge(place, targets),
                Err(error) => tracing::warn!(%error, %file_system, "cannot look for left-over directories"),
            }
        }
    }

    /// Removes a directory volume.
    pub(super) async fn delete_directory(&self, volume: &VolumeId, role: Option<&Role>) -> Result<(), ControllerError> {
        let api = self.efs(role).await?;
        match self.file_system(api.as_ref(), &volume.file_system).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(ControllerError::efs(format!("cannot look up {}", volume.file_system))(error)),
        }
        let path = volume.subdirectory();
        let (directories, place, targets) = self.reach(api.as_ref(), &volume.file_system, role).await?;
        if directories.record(&place, &targets, &path).await?.is_none() {
            tracing::warn!(%volume, "no directory that this driver made; nothing is removed");
            return Ok(());
        }
        directories.remove(&place, &targets, &path, &format!("dir-{}", sha256_hex(&path))).await
    }

    /// Moves the root directory of an access point to the trash, if the access point alone has it.
    pub(super) async fn delete_root(
        &self,
        api: &dyn EfsApi,
        access_point: &AccessPoint,
        role: Option<&Role>,
    ) -> Result<(), ControllerError> {
        let root = &access_point.root;
        if root.trim_matches('/').is_empty() {
            tracing::warn!(access_point = %access_point.id, "its root is the whole file system; nothing is removed");
            return Ok(());
        }
        if !named_after(access_point)
            && let Some(other) = neighbour(api, access_point).await?
        {
            tracing::warn!(access_point = %access_point.id, root, %other, "another access point shares the directory; it stays");
            return Ok(());
        }
        let (directories, place, targets) = self.reach(api, &access_point.file_system, role).await?;
        directories.remove(&place, &targets, root, access_point.id.as_str()).await
    }
}

/// Whether the directory bears the volume's own name or suffix, so that no other volume can have it.
fn named_after(access_point: &AccessPoint) -> bool {
    let token = &access_point.client_token;
    let last = access_point.root.rsplit('/').next().unwrap_or_default();
    !token.is_empty()
        && (last == token || sha256_hex(last) == *token || last.ends_with(&format!("-{}", stable_uuid(token))))
}

/// Another access point whose root is the same directory or inside it.
async fn neighbour(
    api: &dyn EfsApi,
    it: &AccessPoint,
) -> Result<Option<crate::volume::AccessPointId>, ControllerError> {
    let inside = |inner: &str, outer: &str| {
        let (inner, outer) = (inner.trim_matches('/'), outer.trim_matches('/'));
        inner == outer || inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
    };
    let mut token: Option<String> = None;
    loop {
        let page = api
            .access_points(Some(&it.file_system), LARGEST_PAGE, token.as_deref())
            .await
            .map_err(ControllerError::efs(format!("cannot see whether others use the directory {:?}", it.root)))?;
        if let Some(other) = page.access_points.iter().find(|other| other.id != it.id && inside(&other.root, &it.root))
        {
            return Ok(Some(other.id.clone()));
        }
        match page.next_token {
            Some(next) => token = Some(next),
            None => return Ok(None),
        }
    }
}
