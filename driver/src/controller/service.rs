//! The controller on gRPC: capabilities, logging, and errors as status.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use csi_proto::csi;
use csi_proto::csi::controller_server::Controller as Rpc;
use csi_proto::csi::controller_service_capability::{Rpc as RpcCapability, Type, rpc};
use tonic::{Request, Response, Status};

use super::Controller;
use crate::rpc::{blanked, observe, without_tokens};

/// The calls that the controller answers, by capability.
const CAPABILITIES: [rpc::Type; 10] = [
    rpc::Type::CreateDeleteVolume,
    rpc::Type::ListVolumes,
    rpc::Type::GetCapacity,
    rpc::Type::ExpandVolume,
    // 1.13 has retired it and its callers skip the number; external-health-monitor up to 0.18 does not start without.
    rpc::Type::VolumeCondition,
    rpc::Type::GetVolume,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::ModifyVolume,
    rpc::Type::GetVolumeHealth,
    rpc::Type::ListVolumeHealth,
];

/// Answers the CSI controller calls.
#[derive(Debug, Clone)]
pub struct ControllerService {
    controller: Arc<Controller>,
    /// Whether the trash is looked after already.
    keeping: Arc<AtomicBool>,
}

impl ControllerService {
    /// Serves this controller.
    pub fn new(controller: Arc<Controller>) -> Self {
        controller.work_in_background();
        Self { controller, keeping: Arc::default() }
    }
}

/// Makes a call's request printable without secrets.
macro_rules! shown {
    ($request:ident) => {{
        let mut shown = $request.clone();
        shown.secrets = blanked(&shown.secrets);
        shown
    }};
}

#[tonic::async_trait]
impl Rpc for ControllerService {
    async fn create_volume(
        &self,
        request: Request<csi::CreateVolumeRequest>,
    ) -> Result<Response<csi::CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        let (name, mut shown) = (request.name.clone(), shown!(request));
        shown.parameters = without_tokens(&shown.parameters);
        shown.mutable_parameters = without_tokens(&shown.mutable_parameters);
        observe("CreateVolume", &name, shown, async { Ok(self.controller.create_volume(request).await?) }).await
    }

    async fn delete_volume(
        &self,
        request: Request<csi::DeleteVolumeRequest>,
    ) -> Result<Response<csi::DeleteVolumeResponse>, Status> {
        let request = request.into_inner();
        let (id, shown) = (request.volume_id.clone(), shown!(request));
        observe("DeleteVolume", &id, shown, async { Ok(self.controller.delete_volume(request).await?) }).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<csi::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<csi::ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        let (id, mut shown) = (request.volume_id.clone(), shown!(request));
        shown.volume_context = without_tokens(&shown.volume_context);
        shown.parameters = without_tokens(&shown.parameters);
        shown.mutable_parameters = without_tokens(&shown.mutable_parameters);
        let call = async { Ok(self.controller.validate_volume_capabilities(request).await?) };
        observe("ValidateVolumeCapabilities", &id, shown, call).await
    }

    async fn list_volumes(
        &self,
        request: Request<csi::ListVolumesRequest>,
    ) -> Result<Response<csi::ListVolumesResponse>, Status> {
        let request = request.into_inner();
        let shown = request.clone();
        observe("ListVolumes", "", shown, async { Ok(self.controller.list_volumes(request).await?) }).await
    }

    async fn get_capacity(
        &self,
        request: Request<csi::GetCapacityRequest>,
    ) -> Result<Response<csi::GetCapacityResponse>, Status> {
        let request = request.into_inner();
        let mut shown = request.clone();
        shown.parameters = without_tokens(&shown.parameters);
        observe("GetCapacity", "", shown, async { Ok(self.controller.get_capacity(request).await?) }).await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<csi::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<csi::ControllerGetCapabilitiesResponse>, Status> {
        // csi-provisioner asks this first, and nobody asks it of a driver that serves a node only.
        if !self.keeping.swap(true, Ordering::Relaxed) {
            tokio::spawn(Arc::clone(&self.controller).keep_all_trash());
        }
        let capabilities = CAPABILITIES
            .map(|kind| csi::ControllerServiceCapability {
                r#type: Some(Type::Rpc(RpcCapability { r#type: kind.into() })),
            })
            .to_vec();
        Ok(Response::new(csi::ControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<csi::ControllerExpandVolumeRequest>,
    ) -> Result<Response<csi::ControllerExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let (id, shown) = (request.volume_id.clone(), shown!(request));
        observe("ControllerExpandVolume", &id, shown, async { Ok(self.controller.expand_volume(request).await?) }).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<csi::ControllerGetVolumeRequest>,
    ) -> Result<Response<csi::ControllerGetVolumeResponse>, Status> {
        let request = request.into_inner();
        let (id, shown) = (request.volume_id.clone(), request.clone());
        observe("ControllerGetVolume", &id, shown, async { Ok(self.controller.get_volume(request).await?) }).await
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<csi::ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<csi::ControllerGetVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        let (id, shown) = (request.volume_id.clone(), shown!(request));
        let call = async { Ok(self.controller.get_volume_health(request).await?) };
        observe("ControllerGetVolumeHealth", &id, shown, call).await
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<csi::ControllerListVolumeHealthRequest>,
    ) -> Result<Response<csi::ControllerListVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        let shown = shown!(request);
        let call = async { Ok(self.controller.list_volume_health(request).await?) };
        observe("ControllerListVolumeHealth", "", shown, call).await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<csi::ControllerModifyVolumeRequest>,
    ) -> Result<Response<csi::ControllerModifyVolumeResponse>, Status> {
        let request = request.into_inner();
        let (id, mut shown) = (request.volume_id.clone(), shown!(request));
        shown.mutable_parameters = without_tokens(&shown.mutable_parameters);
        observe("ControllerModifyVolume", &id, shown, async { Ok(self.controller.modify_volume(request).await?) }).await
    }

    async fn controller_publish_volume(
        &self,
        _: Request<csi::ControllerPublishVolumeRequest>,
    ) -> Result<Response<csi::ControllerPublishVolumeResponse>, Status> {
        Err(not_offered("ControllerPublishVolume", "EFS volumes need no attachment"))
    }

    async fn controller_unpublish_volume(
        &self,
        _: Request<csi::ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<csi::ControllerUnpublishVolumeResponse>, Status> {
        Err(not_offered("ControllerUnpublishVolume", "EFS volumes need no attachment"))
    }

    async fn create_snapshot(
        &self,
        _: Request<csi::CreateSnapshotRequest>,
    ) -> Result<Response<csi::CreateSnapshotResponse>, Status> {
        Err(not_offered("CreateSnapshot", "EFS has no snapshots of access points; use AWS Backup"))
    }

    async fn delete_snapshot(
        &self,
        _: Request<csi::DeleteSnapshotRequest>,
    ) -> Result<Response<csi::DeleteSnapshotResponse>, Status> {
        Err(not_offered("DeleteSnapshot", "EFS has no snapshots of access points; use AWS Backup"))
    }

    async fn list_snapshots(
        &self,
        _: Request<csi::ListSnapshotsRequest>,
    ) -> Result<Response<csi::ListSnapshotsResponse>, Status> {
        Err(not_offered("ListSnapshots", "EFS has no snapshots of access points; use AWS Backup"))
    }

    async fn get_snapshot(
        &self,
        _: Request<csi::GetSnapshotRequest>,
    ) -> Result<Response<csi::GetSnapshotResponse>, Status> {
        Err(not_offered("GetSnapshot", "EFS has no snapshots of access points; use AWS Backup"))
    }
}

fn not_offered(call: &str, why: &str) -> Status {
    Status::unimplemented(format!("{call} is not offered: {why}"))
}
