//! ControllerGetVolume: a volume and whether it can be used.

use csi_proto::csi;

use super::{Controller, ControllerError};
use crate::efs::{AccessPoint, LifeCycle, Role};
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
        let mut condition = found.access_point.as_ref().map_or_else(healthy, access_point_condition);
        if let Some((_, trouble)) = found.directory.as_ref().and_then(|directory| directory.trouble.clone()) {
            condition = abnormal(trouble);
        }
        if !condition.abnormal {
            condition = self.file_system_condition(&found.id.file_system, found.role.as_ref()).await?;
        }
        Ok(csi::ControllerGetVolumeResponse {
            volume: Some(csi::Volume {
                volume_id: request.volume_id,
                capacity_bytes: found.capacity(),
                ..Default::default()
            }),
            status: Some(csi::controller_get_volume_response::VolumeStatus {
                volume_condition: Some(condition),
                ..Default::default()
            }),
        })
    }

    async fn file_system_condition(
        &self,
        id: &FileSystemId,
        role: Option<&Role>,
    ) -> Result<csi::VolumeCondition, ControllerError> {
        let api = self.efs(role).await?;
        let doing = || format!("cannot look up {id}");
        let file_system = self.file_system(api.as_ref(), id).await.map_err(ControllerError::efs(doing()))?;
        if !matches!(file_system.state, LifeCycle::Available | LifeCycle::Updating) {
            return Ok(abnormal(format!("file system {id} is {}", file_system.state.as_str())));
        }
        let targets = self.mount_targets.get(api.as_ref(), id, role).await.map_err(ControllerError::efs(doing()))?;
        if !targets.iter().any(|target| target.state == LifeCycle::Available) {
            return Ok(abnormal(format!("file system {id} has no available mount target")));
        }
        Ok(healthy())
    }
}

pub(super) fn healthy() -> csi::VolumeCondition {
    csi::VolumeCondition { abnormal: false, message: "available".to_owned() }
}

fn abnormal(message: String) -> csi::VolumeCondition {
    csi::VolumeCondition { abnormal: true, message }
}

/// The condition of a volume by the state of its access point alone.
pub(super) fn access_point_condition(access_point: &AccessPoint) -> csi::VolumeCondition {
    match access_point.state {
        LifeCycle::Available | LifeCycle::Updating => healthy(),
        state => abnormal(format!("access point {} is {}", access_point.id, state.as_str())),
    }
}
