//! The one list of CSI's unary RPCs. The client and the reference driver's server are both generated from it.

/// Calls `$callback!` with every service (field, module of its server, trait) and its unary RPCs: method, request,
/// response, name in the specification, and whether the request carries secrets (`secret`) or not (`open`).
macro_rules! every_rpc {
    ($callback:ident) => {
        $callback! {
            identity identity_server Identity {
                get_plugin_info(GetPluginInfoRequest) -> GetPluginInfoResponse, "GetPluginInfo", open;
                get_plugin_capabilities(GetPluginCapabilitiesRequest) -> GetPluginCapabilitiesResponse, "GetPluginCapabilities", open;
                probe(ProbeRequest) -> ProbeResponse, "Probe", open;
            }
            controller controller_server Controller {
                create_volume(CreateVolumeRequest) -> CreateVolumeResponse, "CreateVolume", secret;
                delete_volume(DeleteVolumeRequest) -> DeleteVolumeResponse, "DeleteVolume", secret;
                controller_publish_volume(ControllerPublishVolumeRequest) -> ControllerPublishVolumeResponse, "ControllerPublishVolume", secret;
                controller_unpublish_volume(ControllerUnpublishVolumeRequest) -> ControllerUnpublishVolumeResponse, "ControllerUnpublishVolume", secret;
                validate_volume_capabilities(ValidateVolumeCapabilitiesRequest) -> ValidateVolumeCapabilitiesResponse, "ValidateVolumeCapabilities", secret;
                list_volumes(ListVolumesRequest) -> ListVolumesResponse, "ListVolumes", open;
                get_capacity(GetCapacityRequest) -> GetCapacityResponse, "GetCapacity", open;
                controller_get_capabilities(ControllerGetCapabilitiesRequest) -> ControllerGetCapabilitiesResponse, "ControllerGetCapabilities", open;
                create_snapshot(CreateSnapshotRequest) -> CreateSnapshotResponse, "CreateSnapshot", secret;
                delete_snapshot(DeleteSnapshotRequest) -> DeleteSnapshotResponse, "DeleteSnapshot", secret;
                list_snapshots(ListSnapshotsRequest) -> ListSnapshotsResponse, "ListSnapshots", secret;
                controller_expand_volume(ControllerExpandVolumeRequest) -> ControllerExpandVolumeResponse, "ControllerExpandVolume", secret;
                controller_get_volume(ControllerGetVolumeRequest) -> ControllerGetVolumeResponse, "ControllerGetVolume", open;
                controller_modify_volume(ControllerModifyVolumeRequest) -> ControllerModifyVolumeResponse, "ControllerModifyVolume", secret;
                get_snapshot(GetSnapshotRequest) -> GetSnapshotResponse, "GetSnapshot", secret;
                controller_list_volume_health(ControllerListVolumeHealthRequest) -> ControllerListVolumeHealthResponse, "ControllerListVolumeHealth", secret;
                controller_get_volume_health(ControllerGetVolumeHealthRequest) -> ControllerGetVolumeHealthResponse, "ControllerGetVolumeHealth", secret;
            }
            group_controller group_controller_server GroupController {
                group_controller_get_capabilities(GroupControllerGetCapabilitiesRequest) -> GroupControllerGetCapabilitiesResponse, "GroupControllerGetCapabilities", open;
                create_volume_group_snapshot(CreateVolumeGroupSnapshotRequest) -> CreateVolumeGroupSnapshotResponse, "CreateVolumeGroupSnapshot", secret;
                delete_volume_group_snapshot(DeleteVolumeGroupSnapshotRequest) -> DeleteVolumeGroupSnapshotResponse, "DeleteVolumeGroupSnapshot", secret;
                get_volume_group_snapshot(GetVolumeGroupSnapshotRequest) -> GetVolumeGroupSnapshotResponse, "GetVolumeGroupSnapshot", secret;
            }
            node node_server Node {
                node_stage_volume(NodeStageVolumeRequest) -> NodeStageVolumeResponse, "NodeStageVolume", secret;
                node_unstage_volume(NodeUnstageVolumeRequest) -> NodeUnstageVolumeResponse, "NodeUnstageVolume", open;
                node_publish_volume(NodePublishVolumeRequest) -> NodePublishVolumeResponse, "NodePublishVolume", secret;
                node_unpublish_volume(NodeUnpublishVolumeRequest) -> NodeUnpublishVolumeResponse, "NodeUnpublishVolume", open;
                node_get_volume_stats(NodeGetVolumeStatsRequest) -> NodeGetVolumeStatsResponse, "NodeGetVolumeStats", open;
                node_expand_volume(NodeExpandVolumeRequest) -> NodeExpandVolumeResponse, "NodeExpandVolume", secret;
                node_get_capabilities(NodeGetCapabilitiesRequest) -> NodeGetCapabilitiesResponse, "NodeGetCapabilities", open;
                node_get_info(NodeGetInfoRequest) -> NodeGetInfoResponse, "NodeGetInfo", open;
                node_get_volume_health(NodeGetVolumeHealthRequest) -> NodeGetVolumeHealthResponse, "NodeGetVolumeHealth", open;
                node_get_storage_health(NodeGetStorageHealthRequest) -> NodeGetStorageHealthResponse, "NodeGetStorageHealth", secret;
            }
        }
    };
}
