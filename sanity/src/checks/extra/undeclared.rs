//! 181 to 183: what a driver does not declare it does not do.

use csi_proto::csi::{
    CapacityRange, ControllerGetVolumeHealthRequest, ControllerGetVolumeRequest, ControllerListVolumeHealthRequest,
    ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, CreateVolumeGroupSnapshotRequest,
    DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest, GetCapacityRequest, GetSnapshotRequest,
    GetVolumeGroupSnapshotRequest, ListSnapshotsRequest, ListVolumesRequest, NodeExpandVolumeRequest,
    NodeGetStorageHealthRequest, NodeGetVolumeHealthRequest, NodeStageVolumeRequest, NodeUnstageVolumeRequest,
    controller_service_capability::rpc::Type as ControllerType,
    group_controller_service_capability::rpc::Type as GroupType, node_service_capability::rpc::Type as NodeType,
    plugin_capability::service::Type as ServiceType,
};
use tonic::Code;

use crate::{
    case::{Case, pair},
    check::{Area, Check},
    checks::{expand, node_stats::stats},
    client::Answer,
    config::Spec,
    expect::{Expect, Outcome, Stop},
    names,
};

const CHECK: Check = Check { area: Area::Whole, container: "Undeclared capabilities", ..Check::EXTRA };

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 181,
        title: "should be unimplemented in the controller",
        rule: "An RPC whose capability is not declared answers UNIMPLEMENTED (spec, Error Scheme and ControllerGetCapabilities).",
        body: body!(controller),
        ..CHECK
    },
    Check {
        number: 182,
        title: "should be unimplemented in the node",
        rule: "An RPC whose capability is not declared answers UNIMPLEMENTED (spec, Error Scheme and NodeGetCapabilities).",
        body: body!(node),
        ..CHECK
    },
    Check {
        number: 183,
        title: "should be unimplemented in the group controller",
        rule: "An RPC whose capability is not declared answers UNIMPLEMENTED (spec, Error Scheme and GetPluginCapabilities).",
        body: body!(group),
        ..CHECK
    },
];

/// Collects the RPCs that were tried.
#[derive(Default)]
struct Tried(usize);

impl Tried {
    fn answer<T>(&mut self, rpc: &str, answer: Answer<T>) -> Outcome {
        self.0 += 1;
        answer.refused(Code::Unimplemented, &format!("{rpc}, whose capability is not declared,"))
    }

    fn outcome(self) -> Outcome {
        match self.0 {
            0 => Err(Stop::Skipped("the driver declares every capability".into())),
            _ => Ok(()),
        }
    }
}

async fn controller(case: &Case) -> Outcome {
    let lacks = |capability| !case.capabilities.controller(capability);
    let (session, id) = (&case.session, names::unknown_volume_id());
    let mut tried = Tried::default();
    if lacks(ControllerType::CreateDeleteVolume) {
        tried.answer("CreateVolume", case.create_volume(case.request_named("sanity-undeclared")).await)?;
        tried.answer("DeleteVolume", case.delete_volume(&id).await)?;
    }
    if lacks(ControllerType::PublishUnpublishVolume) {
        let request = ControllerPublishVolumeRequest {
            volume_id: id.clone(),
            node_id: names::unknown_node_id(),
            volume_capability: Some(case.capability()),
            ..ControllerPublishVolumeRequest::default()
        };
        tried.answer("ControllerPublishVolume", case.controller_publish(request).await)?;
        let request = ControllerUnpublishVolumeRequest {
            volume_id: id.clone(),
            node_id: names::unknown_node_id(),
            ..ControllerUnpublishVolumeRequest::default()
        };
        tried.answer("ControllerUnpublishVolume", session.controller_unpublish_volume(request).await)?;
    }
    if lacks(ControllerType::ListVolumes) {
        tried.answer("ListVolumes", session.list_volumes(ListVolumesRequest::default()).await)?;
    }
    if lacks(ControllerType::GetCapacity) {
        tried.answer("GetCapacity", session.get_capacity(GetCapacityRequest::default()).await)?;
    }
    if lacks(ControllerType::CreateDeleteSnapshot) {
        let request = case.snapshot_request(case.names.unique("sanity-undeclared"), &id);
        tried.answer("CreateSnapshot", case.create_snapshot(request).await)?;
        let snapshot_id = "sanity-no-such-snapshot".to_owned();
        let request = DeleteSnapshotRequest { snapshot_id, ..DeleteSnapshotRequest::default() };
        tried.answer("DeleteSnapshot", session.delete_snapshot(request).await)?;
    }
    if lacks(ControllerType::ListSnapshots) {
        tried.answer("ListSnapshots", session.list_snapshots(ListSnapshotsRequest::default()).await)?;
    }
    if lacks(ControllerType::GetSnapshot) {
        let snapshot_id = "sanity-no-such-snapshot".to_owned();
        let request = GetSnapshotRequest { snapshot_id, ..GetSnapshotRequest::default() };
        tried.answer("GetSnapshot", session.get_snapshot(request).await)?;
    }
    if lacks(ControllerType::ExpandVolume) {
        let request = expand::request(case, &id);
        tried.answer("ControllerExpandVolume", session.controller_expand_volume(request).await)?;
    }
    let speaks_of_health = case.config.selection.spec >= Spec::V1_13;
    if speaks_of_health && lacks(ControllerType::GetVolumeHealth) {
        let request = ControllerGetVolumeHealthRequest { volume_id: id.clone(), ..Default::default() };
        tried.answer("ControllerGetVolumeHealth", session.controller_get_volume_health(request).await)?;
    }
    if speaks_of_health && lacks(ControllerType::ListVolumeHealth) {
        let request = ControllerListVolumeHealthRequest::default();
        tried.answer("ControllerListVolumeHealth", session.controller_list_volume_health(request).await)?;
    }
    if lacks(ControllerType::GetVolume) {
        let request = ControllerGetVolumeRequest { volume_id: id.clone() };
        tried.answer("ControllerGetVolume", session.controller_get_volume(request).await)?;
    }
    if lacks(ControllerType::ModifyVolume) {
        let request = csi_proto::csi::ControllerModifyVolumeRequest {
            volume_id: id,
            mutable_parameters: pair("sanity", "yes"),
            ..Default::default()
        };
        tried.answer("ControllerModifyVolume", session.controller_modify_volume(request).await)?;
    }
    tried.outcome()
}

async fn node(case: &Case) -> Outcome {
    let lacks = |capability| !case.capabilities.node(capability);
    let (session, id) = (&case.session, names::unknown_volume_id());
    let mut tried = Tried::default();
    if lacks(NodeType::StageUnstageVolume) {
        let request = NodeStageVolumeRequest {
            volume_id: id.clone(),
            staging_target_path: case.directories.staging(),
            volume_capability: Some(case.capability()),
            ..NodeStageVolumeRequest::default()
        };
        tried.answer("NodeStageVolume", session.node_stage_volume(request).await)?;
        let staging_target_path = case.directories.staging();
        let request = NodeUnstageVolumeRequest { volume_id: id.clone(), staging_target_path };
        tried.answer("NodeUnstageVolume", session.node_unstage_volume(request).await)?;
    }
    if lacks(NodeType::GetVolumeStats) && lacks(NodeType::VolumeCondition) {
        tried.answer("NodeGetVolumeStats", stats(case, &id, &case.target()).await)?;
    }
    let speaks_of_health = case.config.selection.spec >= Spec::V1_13;
    if speaks_of_health && lacks(NodeType::GetVolumeHealth) {
        let request = NodeGetVolumeHealthRequest { volume_id: id.clone(), ..Default::default() };
        tried.answer("NodeGetVolumeHealth", session.node_get_volume_health(request).await)?;
    }
    if speaks_of_health && lacks(NodeType::GetStorageHealth) {
        let request = NodeGetStorageHealthRequest::default();
        tried.answer("NodeGetStorageHealth", session.node_get_storage_health(request).await)?;
    }
    if lacks(NodeType::ExpandVolume) {
        let request = NodeExpandVolumeRequest {
            volume_id: id,
            volume_path: case.target(),
            capacity_range: Some(CapacityRange { required_bytes: case.config.expanded_size(), limit_bytes: 0 }),
            ..NodeExpandVolumeRequest::default()
        };
        tried.answer("NodeExpandVolume", session.node_expand_volume(request).await)?;
    }
    tried.outcome()
}

async fn group(case: &Case) -> Outcome {
    let has = case.capabilities.plugin(ServiceType::GroupControllerService)
        && case.capabilities.group(GroupType::CreateDeleteGetVolumeGroupSnapshot);
    let mut tried = Tried::default();
    if !has {
        let id = "sanity-no-such-group".to_owned();
        let request = CreateVolumeGroupSnapshotRequest {
            name: case.names.unique("sanity-undeclared"),
            source_volume_ids: vec![names::unknown_volume_id()],
            ..CreateVolumeGroupSnapshotRequest::default()
        };
        tried.answer("CreateVolumeGroupSnapshot", case.session.create_volume_group_snapshot(request).await)?;
        let request = GetVolumeGroupSnapshotRequest { group_snapshot_id: id.clone(), ..Default::default() };
        tried.answer("GetVolumeGroupSnapshot", case.session.get_volume_group_snapshot(request).await)?;
        let request = DeleteVolumeGroupSnapshotRequest { group_snapshot_id: id, ..Default::default() };
        tried.answer("DeleteVolumeGroupSnapshot", case.session.delete_volume_group_snapshot(request).await)?;
    }
    tried.outcome()
}
