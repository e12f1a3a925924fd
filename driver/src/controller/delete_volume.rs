//! DeleteVolume: what is gone already counts as deleted, what others still use stays.
//!
//! One AWS call does it when this controller has seen the access point before. Otherwise it is looked at first, because the handle alone
//! doesn't prove that it is the file system's, nor that no other volume shares it.

use csi_proto::csi;

use super::directories::{directory_handle, is_directory_handle};
use super::paths::client_token;
use super::reuse::Use;
use super::secrets::CrossAccount;
use super::{Controller, ControllerError};
use crate::efs::{LifeCycle, Role};
use crate::volume::{AccessPointId, FileSystemId, VolumeId};

impl Controller {
    pub(crate) async fn delete_volume(
        &self,
        request: csi::DeleteVolumeRequest,
    ) -> Result<csi::DeleteVolumeResponse, ControllerError> {
        if request.volume_id.is_empty() {
            return Err(ControllerError::Invalid("volume_id: is missing".to_owned()));
        }
        let account = CrossAccount::read(&request.secrets)?;
        let done = csi::DeleteVolumeResponse {};
        let Ok(volume) = request.volume_id.parse::<VolumeId>() else {
            tracing::warn!(volume_id = request.volume_id, "not a handle of this driver; there is nothing to delete");
            return Ok(done);
        };
        let role = match account.role {
            Some(role) => Some(role),
            None => self.role_of(&volume.file_system).await?,
        };
        let role = role.as_ref();
        let is_ours = match &volume.access_point {
            Some(_) => volume.path.is_none(),
            None => {
                is_directory_handle(&request.volume_id, &volume)
                    && directory_handle(volume.file_system.clone(), &volume.subdirectory()) == request.volume_id
            }
        };
        if !is_ours {
            tracing::warn!(volume_id = request.volume_id, "not a handle that CreateVolume gives; nothing is deleted");
            return Ok(done);
        }
        if let Some(id) = &volume.access_point {
            let _lock = self.lock(id.as_str()).await?;
            let deleted = self.delete_access_point(&volume.file_system, id, role).await;
            self.forget_stale(&volume.file_system, deleted).await?;
        } else {
            let _lock = self.lock(&request.volume_id).await?;
            let deleted = self.delete_directory(&request.volume_id, &volume, role).await;
            self.forget_stale(&volume.file_system, deleted).await?;
            self.known.learn(&volume.file_system, role, true);
        }
        self.made.deleted(&request.volume_id);
        Ok(done)
    }

    async fn delete_access_point(
        &self,
        file_system: &FileSystemId,
        id: &AccessPointId,
        role: Option<&Role>,
    ) -> Result<(), ControllerError> {
        let api = self.api(file_system, role).await?;
        // A copy of the PersistentVolume shares the access point, as people do to use one volume in two namespaces.
        let claimants = self.claimants_afresh().await?;
        self.returned.settle(id, |name| claimants.iter().flatten().any(|volume| volume.name == name));
        if let Some(other) = claimants.iter().flatten().find(|volume| !volume.is_leaving && volume.has(id)) {
            tracing::info!(access_point = %id, volume = other.name, "another PersistentVolume uses the access point; it stays");
            return Ok(());
        }
        let mut user = None;
        let mut going = None;
        // Held until the end: a creation that takes the access point up must not come in between.
        let mut _taken_up = None;
        if self.config.delete_root_directory || !self.pools.is_sole(file_system, id) {
            let found = match api.access_point(file_system, id).await {
                Ok(found) if matches!(found.state, LifeCycle::Deleting | LifeCycle::Deleted) => None,
                Ok(found) => Some(found),
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(ControllerError::efs(format!("cannot look up access point {id}"))(error)),
            };
            let Some(mut found) = found else {
                self.pools.deleted(file_system, id, None);
                return self.finish_deletion(file_system, role, id).await;
            };
            // Where AWS doesn't tell the token, it is the one that the volume's name gives.
            if let (false, Some(volume)) = (found.tags_told, claimants.iter().flatten().find(|volume| volume.has(id))) {
                found.client_token = client_token(&volume.name);
            }
            if found.file_system != *file_system {
                let volume = VolumeId::of_access_point(file_system.clone(), id.clone());
                return Err(ControllerError::WrongFileSystem {
                    volume,
                    access_point: id.clone(),
                    actual: found.file_system,
                });
            }
            _taken_up = self.lock_reuse(&found).await?;
            match self.use_of(api.as_ref(), &found).await? {
                Use::None => {}
                Use::Others(who) => {
                    tracing::info!(access_point = %id, who, "others use the access point; it stays");
                    return Ok(());
                }
            }
            if self.config.delete_root_directory {
                going = self.intend_root(api.as_ref(), &found, role).await?;
            }
            user = found.posix_user;
        }
        match api.delete_access_point(id).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                // An answer that was lost may hide a deletion; then the intent is what the next call goes on from.
                if let Some(going) = &going
                    && error.kind.made_nothing()
                {
                    self.keep_root(going).await;
                }
                return Err(ControllerError::efs(format!("cannot delete access point {id} of {file_system}"))(error));
            }
        }
        self.pools.deleted(file_system, id, user.as_ref());
        self.neighbours.deleted(id);
        self.health.deleted(id);
        self.returned.forget(id);
        self.known.learn(file_system, role, false);
        match going {
            Some(going) => self.remove_root(api.as_ref(), file_system, role, id, &going).await,
            None => Ok(()),
        }
    }

    /// The access point is gone. Its directory may not be, if an earlier call was cut off.
    async fn finish_deletion(
        &self,
        file_system: &FileSystemId,
        role: Option<&Role>,
        id: &AccessPointId,
    ) -> Result<(), ControllerError> {
        if !self.config.delete_root_directory || self.sessions.is_none() {
            return Ok(());
        }
        let api = self.api(file_system, role).await?;
        match self.finish_root(api.as_ref(), file_system, role, id).await {
            // No file system or no mount target: nothing that could be reached by trying again.
            Err(ControllerError::MountTarget(_))
                if !self.has_mount_targets(api.as_ref(), file_system, role).await? =>
            {
                Ok(())
            }
            Err(ControllerError::Efs { source, .. }) if source.is_not_found() => Ok(()),
            other => other,
        }
    }
}
