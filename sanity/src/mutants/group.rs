//! Faults in the GroupController service.

use csi_proto::csi::{GroupControllerServiceCapability, group_controller_service_capability as group};
use tonic::{Code, Status};

use super::{Mutant, NO_TYPE, accept, alter, forgive, mutant, recode, refuse};
use crate::reference::ReferenceDriver as Driver;

fn capability(r#type: i32) -> GroupControllerServiceCapability {
    GroupControllerServiceCapability { r#type: Some(group::Type::Rpc(group::Rpc { r#type })) }
}

fn own(id: &str) -> bool {
    id.starts_with("group-")
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("group-capability-unknown", "GroupControllerGetCapabilities lists UNKNOWN", [91],
    group_controller_get_capabilities => alter(Driver::group_controller_get_capabilities, |answer| {
        answer.capabilities.push(capability(0));
    })),
    mutant!("group-capability-99", "GroupControllerGetCapabilities lists a capability that CSI does not name", [91],
    group_controller_get_capabilities => alter(Driver::group_controller_get_capabilities, |answer| {
        answer.capabilities.push(capability(NO_TYPE));
    })),
    mutant!("group-capability-empty", "GroupControllerGetCapabilities lists a capability without an rpc", [91],
    group_controller_get_capabilities => alter(Driver::group_controller_get_capabilities, |answer| {
        answer.capabilities.push(Default::default());
    })),
    mutant!("group-nameless", "CreateVolumeGroupSnapshot takes a request without a name", [92],
        create_volume_group_snapshot => accept(Driver::create_volume_group_snapshot, |request| request.name.is_empty())),
    mutant!("group-nameless-wrong-code", "a missing name is refused with NOT_FOUND", [92],
        create_volume_group_snapshot => refuse(Driver::create_volume_group_snapshot, |request| {
            request.name.is_empty()
        }, Code::NotFound)),
    mutant!("group-get-nothing", "GetVolumeGroupSnapshot takes a request without an id", [93],
        get_volume_group_snapshot => accept(Driver::get_volume_group_snapshot, |request| request.group_snapshot_id.is_empty())),
    mutant!("group-get-nothing-wrong-code", "a missing id is refused with NOT_FOUND", [93],
        get_volume_group_snapshot => refuse(Driver::get_volume_group_snapshot, |request| {
            request.group_snapshot_id.is_empty()
        }, Code::NotFound)),
    mutant!("group-get-missing", "GetVolumeGroupSnapshot describes a group that does not exist", [94, 193],
        get_volume_group_snapshot => forgive(Driver::get_volume_group_snapshot, Code::NotFound)),
    mutant!("group-get-missing-wrong-code", "a missing group is refused with INVALID_ARGUMENT", [94, 193],
        get_volume_group_snapshot => recode(Driver::get_volume_group_snapshot, Code::NotFound, Code::InvalidArgument)),
    mutant!("group-get-deleted", "GetVolumeGroupSnapshot describes groups that were deleted", [193],
    get_volume_group_snapshot => Box::new(|driver, request| {
        let once = own(&request.group_snapshot_id);
        match driver.get_volume_group_snapshot(request) {
            Err(status) if once && status.code() == Code::NotFound => Ok(Default::default()),
            answer => answer,
        }
    })),
    mutant!("group-delete-nothing", "DeleteVolumeGroupSnapshot takes a request without an id", [95],
    delete_volume_group_snapshot => accept(Driver::delete_volume_group_snapshot, |request| {
        request.group_snapshot_id.is_empty()
    })),
    mutant!("group-delete-nothing-wrong-code", "a missing id is refused with NOT_FOUND", [95],
        delete_volume_group_snapshot => refuse(Driver::delete_volume_group_snapshot, |request| {
            request.group_snapshot_id.is_empty()
        }, Code::NotFound)),
    mutant!("group-delete-missing", "DeleteVolumeGroupSnapshot refuses ids that it never gave", [96],
        delete_volume_group_snapshot => refuse(Driver::delete_volume_group_snapshot, |request| {
            !request.group_snapshot_id.is_empty() && !own(&request.group_snapshot_id)
        }, Code::NotFound)),
    mutant!("group-incomplete", "a group lacks the snapshot of one volume", [191],
    create_volume_group_snapshot => alter(Driver::create_volume_group_snapshot, |answer| {
        if let Some(group) = &mut answer.group_snapshot { group.snapshots.pop(); }
    }))
    .callers("CreateVolumeGroupSnapshot"),
    mutant!("group-unnamed", "snapshots do not name their group", [191],
    create_volume_group_snapshot => alter(Driver::create_volume_group_snapshot, |answer| {
        for snapshot in answer.group_snapshot.iter_mut().flat_map(|group| &mut group.snapshots) {
            snapshot.group_snapshot_id.clear();
        }
    })),
    mutant!("group-other-volumes", "CreateVolumeGroupSnapshot takes an existing name for other volumes", [192],
    create_volume_group_snapshot => Box::new(|driver, request| match driver.create_volume_group_snapshot(request) {
        Err(status) if status.code() == Code::AlreadyExists => Ok(Default::default()),
        answer => answer,
    })),
    mutant!("group-other-volumes-wrong-code", "other volumes are refused with INTERNAL", [192],
    create_volume_group_snapshot => Box::new(|driver, request| {
        driver.create_volume_group_snapshot(request).map_err(|status| match status.code() {
            Code::AlreadyExists => Status::internal("a mutant's answer"),
            _ => status,
        })
    })),
];
