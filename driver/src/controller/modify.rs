//! ControllerModifyVolume: a VolumeAttributesClass sets tags.

use csi_proto::csi;

use super::secrets::CrossAccount;
use super::tagging::mutable_tags;
use super::{Controller, ControllerError};

impl Controller {
    pub(crate) async fn modify_volume(
        &self,
        request: csi::ControllerModifyVolumeRequest,
    ) -> Result<csi::ControllerModifyVolumeResponse, ControllerError> {
        if request.volume_id.is_empty() {
            return Err(ControllerError::Invalid("volume_id: is missing".to_owned()));
        }
        let account = CrossAccount::read(&request.secrets)?;
        let _lock = self.lock(&request.volume_id).await?;
        let found = self.find(&request.volume_id, account.role.as_ref()).await?;
        let tags = mutable_tags(&request.mutable_parameters)?;
        if tags.is_empty() {
            return Ok(csi::ControllerModifyVolumeResponse {});
        }
        let Some(access_point) = found.access_point else {
            return Err(ControllerError::Invalid(format!("volume_id: {} has no access point to tag", found.id)));
        };
        let api = self.api(&found.id.file_system, found.role.as_ref()).await?;
        let doing = format!("cannot tag access point {}", access_point.id);
        api.tag(&access_point.id, &tags).await.map_err(ControllerError::efs(doing))?;
        Ok(csi::ControllerModifyVolumeResponse {})
    }
}
