//! DeleteVolume: what is gone already counts as deleted, what others still use stays.
//!
//! One AWS call does it when this controller has seen the access point before. Otherwise it is looked at first, because the handle alone
//! doesn't prove that it is the file system's, nor that no other volume shares it.

use csi_proto::csi;

use super::directories::is_directory_handle;
use super::paths::is_hashed;
use super::secrets::CrossAccount;
use super::{Controller, ControllerError};
use crate::efs::AccessPoint;
use crate::volume::{FileSystemKind, VolumeId};

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
        if volume.kind == FileSystemKind::S3Files {
            return Err(ControllerError::Invalid(format!(
                "volume_id: {volume} is an S3 Files volume, which this driver does not manage"
            )));
        }
        let role = match account.role {
            Some(role) => Some(role),
            None => self.role_of(&volume.file_system).await,
        };
        let role = role.as_ref();
        let Some(id) = volume.access_point.clone() else {
            if is_directory_handle(&request.volume_id, &volume) {
                let _lock = self.lock(&request.volume_id).await?;
                self.delete_directory(&volume, role).await?;
                self.known.learn(&volume.file_system, role, true);
            }
            return Ok(done);
        };
        let _lock = self.lock(id.as_str()).await?;
        let api = self.efs(role).await?;
        let mut user = None;
        if self.config.delete_root_directory || !self.pools.is_sole(&volume.file_system, &id) {
            let found = match api.access_point(&id).await {
                Ok(found) => found,
                Err(error) if error.is_not_found() => {
                    self.pools.deleted(&volume.file_system, &id, None);
                    return Ok(done);
                }
                Err(error) => return Err(ControllerError::efs(format!("cannot look up access point {id}"))(error)),
            };
            if found.file_system != volume.file_system {
                return Err(ControllerError::WrongFileSystem { volume, access_point: id, actual: found.file_system });
            }
            if self.is_shared(&found).await? {
                tracing::info!(access_point = %id, "other PersistentVolumes use the access point; it stays");
                return Ok(done);
            }
            if self.config.delete_root_directory {
                self.delete_root(api.as_ref(), &found, role).await?;
            }
            user = found.posix_user;
        }
        match api.delete_access_point(&id).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                return Err(
                    ControllerError::efs(format!("cannot delete access point {id} of {}", volume.file_system))(error),
                );
            }
        }
        self.pools.deleted(&volume.file_system, &id, user.as_ref());
        self.known.learn(&volume.file_system, role, false);
        Ok(done)
    }

    /// Whether a reused access point serves other volumes. Only a token that is a hash can be that of a reused one, so that
    /// other deletions need not ask Kubernetes.
    async fn is_shared(&self, access_point: &AccessPoint) -> Result<bool, ControllerError> {
        if !is_hashed(&access_point.client_token) {
            return Ok(false);
        }
        let Some(handles) = self.cluster.handles_in_use().await? else { return Ok(false) };
        let uses = |handle: &String| {
            handle.parse::<VolumeId>().is_ok_and(|volume| volume.access_point.as_ref() == Some(&access_point.id))
        };
        Ok(handles.iter().any(uses))
    }
}
