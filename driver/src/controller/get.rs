//! ControllerGetVolume: a volume and whether it can be used.

use csi_proto::csi;

use super::{Controller, ControllerError, health};
use crate::conditions::Condition;
use crate::efs::{LifeCycle, Role};
use crate::volume::FileSystemId;

impl Controller {
    pub(crate) async fn get_volume(
        &self,
        request: csi::ControllerGetVolumeRequest,
    ) -> Result<csi::ControllerGetVolumeResponse, ControllerError> {
        if request.volume_id.is_empty() {
            return Err(ControllerError::Invalid("volume_id: is missing".to_owned()));
        }
        let found = self.find(&request.volume_id, None).await?;
        let point = found.access_point.as_ref();
        let mut wrong = point.and_then(|it| health::access_point_wrong(&it.id, it.state));
        if let Some((reason, seen)) = found.directory.as_ref().and_then(|directory| directory.trouble.clone()) {
            wrong = Some(Condition::new(reason, seen));
        }
        if wrong.is_none() {
            wrong = self.file_system_trouble(&found.id.file_system, found.role.as_ref()).await?;
        }
        Ok(csi::ControllerGetVolumeResponse {
            volume: Some(csi::Volume {
                volume_id: request.volume_id,
                capacity_bytes: found.capacity(),
                ..Default::default()
            }),
            status: Some(csi::controller_get_volume_response::VolumeStatus {
                volume_condition: Some(condition(wrong)),
                ..Default::default()
            }),
        })
    }

    async fn file_system_trouble(
        &self,
        id: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<Option<Condition>, ControllerError> {
        let api = self.api(id, role).await?;
        let doing = || format!("cannot look up {id}");
        let file_system = self.file_system(api.as_ref(), id).await.map_err(ControllerError::efs(doing()))?;
        if let Some(wrong) = health::file_system_wrong(id, file_system.state) {
            return Ok(Some(wrong));
        }
        let targets = self.mount_targets.get(api.as_ref(), id, role).await.map_err(ControllerError::efs(doing()))?;
        Ok(health::no_mount_target(id, targets.iter().any(|target| target.state == LifeCycle::Available)))
    }
}

/// What is wrong, for callers of CSI 1.12.
pub(super) fn condition(wrong: Option<Condition>) -> csi::VolumeCondition {
    csi::VolumeCondition {
        abnormal: wrong.is_some(),
        message: wrong.map_or_else(|| "available".to_owned(), |wrong| wrong.seen),
    }
}
