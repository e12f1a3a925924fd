//! Attaching volumes to the node.

use csi_proto::csi::{
    ControllerPublishVolumeRequest, ControllerPublishVolumeResponse, ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse, controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Status;

use super::{NODE, ReferenceDriver, arguments, volumes::volume};

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the methods are the RPCs of the specification")]
impl ReferenceDriver {
    pub fn controller_publish_volume(
        &self,
        request: ControllerPublishVolumeRequest,
    ) -> Result<ControllerPublishVolumeResponse, Status> {
        self.controller_can(ControllerType::PublishUnpublishVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        arguments::given("node_id", &request.node_id)?;
        let wanted = (arguments::capability(request.volume_capability.as_ref())?, request.readonly);
        let mut state = self.state();
        let attached = volume(&state, &request.volume_id)?.attached.get(NODE).cloned();
        if request.node_id != NODE {
            return Err(Status::not_found(format!("no node {}", request.node_id)));
        }
        match attached {
            Some(attached) if attached != wanted => {
                return Err(Status::already_exists("the volume is attached in another way"));
            }
            Some(_) => {}
            None => {
                let limit = usize::try_from(self.features.max_volumes_per_node).unwrap_or(0);
                if limit > 0 && state.volumes.values().filter(|volume| !volume.attached.is_empty()).count() >= limit {
                    return Err(Status::resource_exhausted(format!("the node takes {limit} volumes")));
                }
                if let Some(volume) = state.volumes.get_mut(&request.volume_id) {
                    volume.attached.insert(NODE.to_owned(), wanted);
                }
            }
        }
        let publish_context = [("device".to_owned(), "/dev/reference".to_owned())].into();
        Ok(ControllerPublishVolumeResponse { publish_context })
    }

    pub fn controller_unpublish_volume(
        &self,
        request: ControllerUnpublishVolumeRequest,
    ) -> Result<ControllerUnpublishVolumeResponse, Status> {
        self.controller_can(ControllerType::PublishUnpublishVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        if let Some(volume) = self.state().volumes.get_mut(&request.volume_id) {
            if request.node_id.is_empty() {
                volume.attached.clear();
            } else {
                volume.attached.remove(&request.node_id);
            }
        }
        Ok(ControllerUnpublishVolumeResponse {})
    }
}
