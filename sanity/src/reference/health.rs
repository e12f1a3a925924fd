//! The health of volumes. All are well: what is in memory has nothing to be wrong with.

use csi_proto::csi::{
    ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse, ControllerListVolumeHealthRequest,
    ControllerListVolumeHealthResponse, NodeGetStorageHealthRequest, NodeGetStorageHealthResponse,
    NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse, VolumeHealth,
    controller_service_capability::rpc::Type as ControllerType, node_service_capability::rpc::Type as NodeType,
};
use tonic::Status;

use super::{ReferenceDriver, arguments, volumes::volume};

fn well(volume_id: String) -> VolumeHealth {
    VolumeHealth { volume_id, health_statuses: vec![] }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the methods are the RPCs of the specification")]
impl ReferenceDriver {
    pub fn controller_get_volume_health(
        &self,
        request: ControllerGetVolumeHealthRequest,
    ) -> Result<ControllerGetVolumeHealthResponse, Status> {
        self.controller_can(ControllerType::GetVolumeHealth)?;
        arguments::given("volume_id", &request.volume_id)?;
        volume(&self.state(), &request.volume_id)?;
        Ok(ControllerGetVolumeHealthResponse { volume_health: Some(well(request.volume_id)) })
    }

    /// Well volumes are left out, which are all.
    pub fn controller_list_volume_health(
        &self,
        request: ControllerListVolumeHealthRequest,
    ) -> Result<ControllerListVolumeHealthResponse, Status> {
        self.controller_can(ControllerType::ListVolumeHealth)?;
        let (entries, next_token) = arguments::page(vec![], request.max_entries, &request.starting_token)?;
        Ok(ControllerListVolumeHealthResponse { entries, next_token })
    }

    pub fn node_get_volume_health(
        &self,
        request: NodeGetVolumeHealthRequest,
    ) -> Result<NodeGetVolumeHealthResponse, Status> {
        self.node_can(NodeType::GetVolumeHealth)?;
        arguments::given("volume_id", &request.volume_id)?;
        for (field, path) in [
            ("volume_publish_path", &request.volume_publish_path),
            ("staging_target_path", &request.staging_target_path),
        ] {
            if !path.is_empty() {
                arguments::absolute(field, path)?;
            }
        }
        let state = self.state();
        let published = state.published.values().any(|published| published.volume == request.volume_id);
        let staged = state.staged.values().any(|staged| staged.volume == request.volume_id);
        if !published && !staged {
            return Err(Status::not_found(format!("volume {} is not on this node", request.volume_id)));
        }
        Ok(NodeGetVolumeHealthResponse { volume_health: Some(well(request.volume_id)) })
    }

    pub fn node_get_storage_health(
        &self,
        _: NodeGetStorageHealthRequest,
    ) -> Result<NodeGetStorageHealthResponse, Status> {
        self.node_can(NodeType::GetStorageHealth)?;
        Ok(NodeGetStorageHealthResponse::default())
    }
}
