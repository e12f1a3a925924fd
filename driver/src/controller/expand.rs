//! ControllerExpandVolume: EFS grows by itself, so only the remembered number changes: a tag of the access point, or the note of a
//! directory volume.

use std::collections::BTreeMap;

use csi_proto::csi;

use super::capacity::{CAPACITY_TAG, CapacityRange};
use super::secrets::CrossAccount;
use super::{Controller, ControllerError};
use crate::efs::EfsErrorKind;

impl Controller {
    pub(crate) async fn expand_volume(
        &self,
        request: csi::ControllerExpandVolumeRequest,
    ) -> Result<csi::ControllerExpandVolumeResponse, ControllerError> {
        if request.volume_id.is_empty() {
            return Err(ControllerError::Invalid("volume_id: is missing".to_owned()));
        }
        if request.capacity_range.is_none() {
            return Err(ControllerError::Invalid("capacity_range: is missing".to_owned()));
        }
        let range = CapacityRange::read(request.capacity_range.as_ref())?;
        let account = CrossAccount::read(&request.secrets)?;
        let _lock = self.lock(&request.volume_id).await?;
        let found = self.find(&request.volume_id, account.role.as_ref()).await?;
        let has = found.capacity();
        let capacity_bytes = range.required.max(has);
        if !range.allows(capacity_bytes) {
            return Err(ControllerError::OutOfRange(format!(
                "capacity_range: the volume has {has} bytes and can't shrink to {range}"
            )));
        }
        if let (Some(access_point), true) = (&found.access_point, capacity_bytes > has) {
            let api = self.api(&found.id.file_system, found.role.as_ref()).await?;
            let tags = BTreeMap::from([(CAPACITY_TAG.to_owned(), capacity_bytes.to_string())]);
            match api.tag(&access_point.id, &tags).await {
                Ok(()) => {}
                // The number is for information only; a policy without TagResource must not stand in the way of a claim.
                Err(error) if error.kind == EfsErrorKind::AccessDenied => self.tags.refused(),
                Err(error) => {
                    return Err(ControllerError::efs(format!("cannot note the new capacity of {}", found.id))(error));
                }
            }
        }
        if found.directory.is_some() && capacity_bytes > has {
            let api = self.api(&found.id.file_system, found.role.as_ref()).await?;
            self.expand_directory(api.as_ref(), &found.id, found.role.as_ref(), capacity_bytes).await?;
        }
        Ok(csi::ControllerExpandVolumeResponse { capacity_bytes, node_expansion_required: false })
    }
}
