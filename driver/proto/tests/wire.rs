//! Pins what travels on the wire for everything that the vendored file adds to CSI v1.3.0: enum numbers and field tags.
//! Expected values are those of the published specification, v1.13.0.

#![expect(clippy::unwrap_used, reason = "a test may panic; the allowance for tests does not reach their helpers")]

use csi_proto::csi;
use prost::Message;

/// The field numbers at the top level of an encoded message.
fn tags(message: &impl Message) -> Vec<u32> {
    let bytes = message.encode_to_vec();
    let mut rest = bytes.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = prost::encoding::decode_varint(&mut rest).unwrap();
        found.push(u32::try_from(key >> 3).unwrap());
        match key & 7 {
            0 => drop(prost::encoding::decode_varint(&mut rest).unwrap()),
            2 => {
                let length = usize::try_from(prost::encoding::decode_varint(&mut rest).unwrap()).unwrap();
                rest = &rest[length..];
            }
            other => panic!("unexpected wire type {other}"),
        }
    }
    found
}

fn map() -> std::collections::HashMap<String, String> {
    [("k".to_owned(), "v".to_owned())].into()
}

#[test]
fn capability_numbers_are_those_of_the_specification() {
    use csi::controller_service_capability::rpc::Type as Controller;
    use csi::node_service_capability::rpc::Type as Node;
    use csi::plugin_capability::service::Type as Service;
    assert_eq!(
        [Controller::SingleNodeMultiWriter as i32, Controller::ModifyVolume as i32, Controller::GetSnapshot as i32],
        [13, 14, 15]
    );
    assert_eq!([Controller::GetVolumeHealth as i32, Controller::ListVolumeHealth as i32], [16, 17]);
    assert_eq!([Node::SingleNodeMultiWriter as i32, Node::VolumeMountGroup as i32], [5, 6]);
    assert_eq!([Node::GetVolumeHealth as i32, Node::GetStorageHealth as i32], [7, 8]);
    assert_eq!([Service::GroupControllerService as i32, Service::SnapshotMetadataService as i32], [3, 4]);
    assert_eq!(Service::SnapshotAccessibilityConstraints as i32, 5);
    assert_eq!(csi::group_controller_service_capability::rpc::Type::CreateDeleteGetVolumeGroupSnapshot as i32, 1);
}

#[test]
fn access_mode_numbers_are_those_of_the_specification() {
    use csi::volume_capability::access_mode::Mode;
    assert_eq!([Mode::SingleNodeSingleWriter as i32, Mode::SingleNodeMultiWriter as i32], [6, 7]);
}

#[test]
fn added_fields_have_the_numbers_of_the_specification() {
    assert_eq!(tags(&csi::CreateVolumeRequest { mutable_parameters: map(), ..Default::default() }), [8]);
    let mount = csi::volume_capability::MountVolume { volume_mount_group: "g".into(), ..Default::default() };
    assert_eq!(tags(&mount), [3]);
    assert_eq!(tags(&csi::ValidateVolumeCapabilitiesRequest { mutable_parameters: map(), ..Default::default() }), [6]);
    let confirmed =
        csi::validate_volume_capabilities_response::Confirmed { mutable_parameters: map(), ..Default::default() };
    assert_eq!(tags(&confirmed), [4]);
    let capacity =
        csi::GetCapacityResponse { maximum_volume_size: Some(1), minimum_volume_size: Some(1), ..Default::default() };
    assert_eq!(tags(&capacity), [2, 3]);
    assert_eq!(tags(&csi::Snapshot { group_snapshot_id: "g".into(), ..Default::default() }), [6]);
    assert_eq!(tags(&csi::NodeExpandVolumeRequest { secrets: map(), ..Default::default() }), [6]);
}

#[test]
fn added_messages_have_the_numbers_of_the_specification() {
    let modify =
        csi::ControllerModifyVolumeRequest { volume_id: "v".into(), secrets: map(), mutable_parameters: map() };
    assert_eq!(tags(&modify), [1, 2, 3]);
    assert_eq!(tags(&csi::GetSnapshotRequest { snapshot_id: "s".into(), secrets: map() }), [1, 2]);
    let create = csi::CreateVolumeGroupSnapshotRequest {
        name: "n".into(),
        source_volume_ids: vec!["v".into()],
        secrets: map(),
        parameters: map(),
    };
    assert_eq!(tags(&create), [1, 2, 3, 4]);
    let group = csi::VolumeGroupSnapshot {
        group_snapshot_id: "g".into(),
        snapshots: vec![csi::Snapshot::default()],
        creation_time: Some(prost_types::Timestamp::default()),
        ready_to_use: true,
    };
    assert_eq!(tags(&group), [1, 2, 3, 4]);
    let delta = csi::GetMetadataDeltaRequest {
        base_snapshot_id: "b".into(),
        target_snapshot_id: "t".into(),
        starting_offset: 1,
        max_results: 1,
        secrets: map(),
    };
    assert_eq!(tags(&delta), [1, 2, 3, 4, 5]);
    let allocated = csi::GetMetadataAllocatedResponse {
        block_metadata_type: 1,
        volume_capacity_bytes: 1,
        block_metadata: vec![csi::BlockMetadata { byte_offset: 1, size_bytes: 1 }],
    };
    assert_eq!(tags(&allocated), [1, 2, 3]);
}

#[test]
fn what_was_retired_keeps_its_numbers_for_callers_of_1_12() {
    use csi::controller_service_capability::rpc::Type as Controller;
    use csi::node_service_capability::rpc::Type as Node;
    assert_eq!([Controller::VolumeCondition as i32, Node::VolumeCondition as i32], [11, 4]);
    let condition = Some(csi::VolumeCondition { abnormal: true, message: "m".into() });
    assert_eq!(tags(condition.as_ref().unwrap()), [1, 2]);
    let stats = csi::NodeGetVolumeStatsResponse { volume_condition: condition.clone(), ..Default::default() };
    assert_eq!(tags(&stats), [2]);
    let got =
        csi::controller_get_volume_response::VolumeStatus { volume_condition: condition.clone(), ..Default::default() };
    assert_eq!(tags(&got), [2]);
    let listed = csi::list_volumes_response::VolumeStatus { volume_condition: condition, ..Default::default() };
    assert_eq!(tags(&listed), [2]);
}

#[test]
fn health_has_the_numbers_of_the_specification() {
    use csi::{StorageHealthErrorType as Storage, VolumeHealthErrorType as Volume};
    assert_eq!([Volume::Degraded as i32, Volume::Inaccessible as i32, Volume::DataLoss as i32], [1, 2, 3]);
    assert_eq!([Storage::StorageDegraded as i32, Storage::StorageUnreachable as i32], [1, 2]);
    let entry = csi::volume_health::VolumeHealthEntry { status: 1, reason: "R".into(), message: "m".into() };
    assert_eq!(tags(&entry), [1, 2, 3]);
    let health = csi::VolumeHealth { volume_id: "v".into(), health_statuses: vec![entry] };
    assert_eq!(tags(&health), [1, 2]);
    let list = csi::ControllerListVolumeHealthRequest { max_entries: 1, starting_token: "t".into(), secrets: map() };
    assert_eq!(tags(&list), [1, 2, 3]);
    let listed = csi::ControllerListVolumeHealthResponse { entries: vec![health.clone()], next_token: "t".into() };
    assert_eq!(tags(&listed), [1, 2]);
    assert_eq!(tags(&csi::ControllerGetVolumeHealthRequest { volume_id: "v".into(), secrets: map() }), [1, 2]);
    assert_eq!(tags(&csi::ControllerGetVolumeHealthResponse { volume_health: Some(health.clone()) }), [1]);
    let get = csi::NodeGetVolumeHealthRequest {
        volume_id: "v".into(),
        volume_publish_path: "/p".into(),
        staging_target_path: "/s".into(),
    };
    assert_eq!(tags(&get), [1, 2, 3]);
    assert_eq!(tags(&csi::NodeGetVolumeHealthResponse { volume_health: Some(health) }), [1]);
    assert_eq!(tags(&csi::NodeGetStorageHealthRequest { secrets: map() }), [1]);
    let backend = csi::node_get_storage_health_response::StorageBackendHealth {
        status: 1,
        reason: "R".into(),
        message: "m".into(),
        volume_capability: Some(csi::VolumeCapability::default()),
    };
    assert_eq!(tags(&backend), [1, 2, 3, 4]);
    assert_eq!(tags(&csi::NodeGetStorageHealthResponse { backend_health: vec![backend] }), [1]);
}

#[test]
fn snapshots_have_a_place_under_the_numbers_of_the_specification() {
    let requirements = Some(csi::TopologyRequirement::default());
    let request = csi::CreateSnapshotRequest { accessibility_requirements: requirements, ..Default::default() };
    assert_eq!(tags(&request), [5]);
    assert_eq!(tags(&csi::Snapshot { accessible_topology: vec![csi::Topology::default()], ..Default::default() }), [7]);
}
