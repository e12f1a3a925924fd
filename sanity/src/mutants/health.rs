//! Faults in the health of volumes and of the backend.

use std::{thread, time::Duration};

use csi_proto::csi::{
    NodeGetVolumeHealthResponse, VolumeHealth,
    controller_service_capability::{self as controller, rpc::Type as ControllerType},
    node_get_storage_health_response::StorageBackendHealth,
    volume_health::VolumeHealthEntry,
};
use tonic::Code;

use super::{Mutant, accept, alter, forgive, mutant, recode, refuse, when};
use crate::reference::ReferenceDriver as Driver;

/// Longer than a check waits.
const SLOW: Duration = Duration::from_secs(3);

fn entry(status: i32, reason: &str) -> VolumeHealthEntry {
    VolumeHealthEntry { status, reason: reason.to_owned(), message: String::new() }
}

fn with(answer: &mut NodeGetVolumeHealthResponse, entries: impl IntoIterator<Item = VolumeHealthEntry>) {
    if let Some(health) = &mut answer.volume_health {
        health.health_statuses.extend(entries);
    }
}

fn backend(status: i32, reason: &str) -> StorageBackendHealth {
    StorageBackendHealth { status, reason: reason.to_owned(), ..Default::default() }
}

fn unwell(volume_id: &str) -> VolumeHealth {
    VolumeHealth { volume_id: volume_id.to_owned(), health_statuses: vec![entry(2, "ServerUnreachable")] }
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("health-of-nothing", "NodeGetVolumeHealth takes a request without a volume", [97],
        node_get_volume_health => accept(Driver::node_get_volume_health, |request| request.volume_id.is_empty())),
    mutant!("health-of-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [97],
        node_get_volume_health => recode(Driver::node_get_volume_health, Code::InvalidArgument, Code::NotFound)),
    mutant!("health-missing", "a well volume has no volume_health", [98, 202, 203],
        node_get_volume_health => alter(Driver::node_get_volume_health, |answer| answer.volume_health = None)),
    mutant!("health-of-another", "the health is that of another volume", [98, 202, 203],
    node_get_volume_health => alter(Driver::node_get_volume_health, |answer| {
        if let Some(health) = &mut answer.volume_health { health.volume_id.push('0'); }
    })),
    mutant!("health-needs-path", "NodeGetVolumeHealth insists on a path", [98, 202, 204],
        node_get_volume_health => refuse(Driver::node_get_volume_health, |request| {
            request.volume_id.starts_with("volume-") && request.volume_publish_path.is_empty()
        }, Code::InvalidArgument)),
    mutant!("storage-health-fails", "NodeGetStorageHealth fails", [99, 205],
        node_get_storage_health => refuse(Driver::node_get_storage_health, |_| true, Code::Internal)),
    mutant!("health-unknown-well", "a volume that was never on the node is said to be well", [201],
        node_get_volume_health => forgive(Driver::node_get_volume_health, Code::NotFound)),
    mutant!("health-unknown-wrong-code", "a volume that was never on the node is refused with INTERNAL", [201],
        node_get_volume_health => recode(Driver::node_get_volume_health, Code::NotFound, Code::Internal)),
    mutant!("health-statusless", "an entry has no status", [202, 203],
        node_get_volume_health => alter(Driver::node_get_volume_health, |answer| with(answer, [entry(0, "Broken")]))),
    mutant!("health-status-99", "an entry has a status that CSI does not name", [202, 203],
        node_get_volume_health => alter(Driver::node_get_volume_health, |answer| with(answer, [entry(99, "Broken")]))),
    mutant!("health-reasonless", "an entry has no reason", [202, 203],
        node_get_volume_health => alter(Driver::node_get_volume_health, |answer| with(answer, [entry(1, "")]))),
    mutant!("health-reason-sentence", "a reason is a sentence", [202, 203],
        node_get_volume_health => alter(Driver::node_get_volume_health, |answer| with(answer, [entry(1, "it is slow")]))),
    mutant!("health-reason-long", "a reason is longer than Kubernetes stores", [202, 203],
    node_get_volume_health => alter(Driver::node_get_volume_health, |answer| {
        with(answer, [entry(1, &"A".repeat(257))]);
    })),
    mutant!("health-message-long", "a message is longer than Kubernetes stores", [202, 203],
    node_get_volume_health => alter(Driver::node_get_volume_health, |answer| {
        with(answer, [VolumeHealthEntry { message: "m".repeat(1025), ..entry(1, "Slow") }]);
    })),
    mutant!("health-twice", "status and reason are there twice", [202, 203],
    node_get_volume_health => alter(Driver::node_get_volume_health, |answer| {
        with(answer, [entry(1, "Slow"), entry(1, "Slow")]);
    })),
    mutant!("health-paths-refused", "NodeGetVolumeHealth refuses a path", [203],
        node_get_volume_health => refuse(Driver::node_get_volume_health, |request| {
            !request.volume_publish_path.is_empty()
        }, Code::NotFound)),
    mutant!("health-hangs", "NodeGetVolumeHealth waits for the storage", [204],
    node_get_volume_health => Box::new(|driver, request| {
        // The other drivers of this process go on.
        if request.volume_id.starts_with("volume-") {
            tokio::task::block_in_place(|| thread::sleep(SLOW));
        }
        driver.node_get_volume_health(request)
    }))
    .callers("NodeGetVolumeHealth"),
    mutant!("storage-health-statusless", "an entry has no status", [205],
    node_get_storage_health => alter(Driver::node_get_storage_health, |answer| {
        answer.backend_health.push(backend(0, "Away"));
    })),
    mutant!("storage-health-reasonless", "an entry has no reason", [205],
        node_get_storage_health => alter(Driver::node_get_storage_health, |answer| answer.backend_health.push(backend(1, "")))),
    mutant!("storage-health-twice", "status, reason and capability are there twice", [205],
    node_get_storage_health => alter(Driver::node_get_storage_health, |answer| {
        answer.backend_health.extend([backend(2, "Away"), backend(2, "Away")]);
    })),
    mutant!("get-health-of-nothing", "ControllerGetVolumeHealth takes a request without a volume", [206],
        controller_get_volume_health => accept(Driver::controller_get_volume_health, |request| request.volume_id.is_empty())),
    mutant!("get-health-of-nothing-wrong-code", "a missing volume_id is refused with NOT_FOUND", [206],
        controller_get_volume_health => recode(Driver::controller_get_volume_health, Code::InvalidArgument, Code::NotFound)),
    mutant!("get-health-unknown-wrong-code", "a volume that does not exist is refused with INTERNAL", [207],
        controller_get_volume_health => recode(Driver::controller_get_volume_health, Code::NotFound, Code::Internal)),
    mutant!("get-health-missing", "a well volume has no volume_health", [208],
        controller_get_volume_health => alter(Driver::controller_get_volume_health, |answer| answer.volume_health = None)),
    mutant!("get-health-of-another", "the health is that of another volume", [208],
    controller_get_volume_health => alter(Driver::controller_get_volume_health, |answer| {
        if let Some(health) = &mut answer.volume_health { health.volume_id.push('0'); }
    })),
    mutant!("get-health-deleted-well", "a volume that is gone is said to be well", [207, 209],
    controller_get_volume_health => Box::new(|driver, request| {
        let well = VolumeHealth { volume_id: request.volume_id.clone(), health_statuses: vec![] };
        match driver.controller_get_volume_health(request) {
            Err(status) if status.code() == Code::NotFound => {
                Ok(csi_proto::csi::ControllerGetVolumeHealthResponse { volume_health: Some(well) })
            }
            answer => answer,
        }
    })),
    mutant!("list-health-nameless", "an entry has no volume_id", [210, 211],
    controller_list_volume_health => alter(Driver::controller_list_volume_health, |answer| {
        answer.entries.push(unwell(""));
    })),
    mutant!("list-health-twice", "a volume is listed twice", [210, 211],
    controller_list_volume_health => alter(Driver::controller_list_volume_health, |answer| {
        answer.entries.extend([unwell("volume-1"), unwell("volume-1")]);
    })),
    mutant!("list-health-unlimited", "ControllerListVolumeHealth ignores max_entries", [211],
    controller_list_volume_health => alter(Driver::controller_list_volume_health, |answer| {
        answer.entries.extend([unwell("volume-1"), unwell("volume-2")]);
    })),
    mutant!("list-health-any-token", "ControllerListVolumeHealth takes any token", [212],
        controller_list_volume_health => forgive(Driver::controller_list_volume_health, Code::Aborted)),
    mutant!("list-health-token-wrong-code", "a wrong token is refused with INVALID_ARGUMENT", [212],
        controller_list_volume_health => recode(Driver::controller_list_volume_health, Code::Aborted, Code::InvalidArgument)),
    mutant!("list-health-without-get", "LIST_VOLUME_HEALTH is declared without GET_VOLUME_HEALTH", [213, 181],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        answer.capabilities.retain(|capability| match &capability.r#type {
            Some(controller::Type::Rpc(rpc)) => rpc.r#type() != ControllerType::GetVolumeHealth,
            None => true,
        });
    })),
    mutant!("snapshot-nowhere", "a snapshot does not tell where it can be reached", [214],
    create_snapshot => alter(Driver::create_snapshot, |answer| {
        if let Some(snapshot) = &mut answer.snapshot { snapshot.accessible_topology.clear(); }
    })),
    mutant!("snapshot-place-refused", "CreateSnapshot refuses accessibility_requirements", [214],
    create_snapshot => when(
        Driver::create_snapshot,
        |_, request| request.accessibility_requirements.is_some(),
        |_, _| Err(tonic::Status::invalid_argument("a mutant's answer")),
    )),
];
