//! Checks 91 to 96: the GroupController service.

use csi_proto::csi::{
    CreateVolumeGroupSnapshotRequest, DeleteVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotRequest,
    GroupControllerGetCapabilitiesRequest, group_controller_service_capability,
    group_controller_service_capability::rpc::Type as GroupType, plugin_capability::service::Type as ServiceType,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Area, Check, Need},
    expect::{Expect, Outcome, ensure, fail},
    names::MALFORMED_VOLUME_ID,
};

const SERVICE: Need = Need::Plugin(ServiceType::GroupControllerService);
const CHECK: Check = Check {
    area: Area::Group,
    needs: &[SERVICE, Need::Group(GroupType::CreateDeleteGetVolumeGroupSnapshot)],
    ..Check::GO
};
const GET: Check = Check {
    container: "GroupController Service [GroupController VolumeGroupSnapshots] GetVolumeGroupSnapshot",
    ..CHECK
};
const DELETE: Check = Check {
    container: "GroupController Service [GroupController VolumeGroupSnapshots] DeleteVolumeGroupSnapshot",
    ..CHECK
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 91,
        container: "GroupController Service [GroupController Server] GroupControllerGetCapabilities",
        title: "should return appropriate capabilities",
        needs: &[SERVICE],
        rule: "Each GroupControllerServiceCapability has an rpc of a type that CSI names (spec, GroupControllerGetCapabilities).",
        body: body!(capabilities),
        ..CHECK
    },
    Check {
        number: 92,
        container: "GroupController Service [GroupController VolumeGroupSnapshots] CreateVolumeGroupSnapshot",
        title: "should fail when no name is provided",
        rule: "name is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, CreateVolumeGroupSnapshot).",
        body: body!(create_nameless),
        ..CHECK
    },
    Check {
        number: 93,
        title: "should fail when no volume id is provided",
        rule: "group_snapshot_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, GetVolumeGroupSnapshot).",
        body: body!(get_nothing),
        ..GET
    },
    Check {
        number: 94,
        title: "should fail when an invalid volume id is used",
        rule: "A group that does not exist is refused with NOT_FOUND (spec, GetVolumeGroupSnapshot errors).",
        body: body!(get_unknown),
        ..GET
    },
    Check {
        number: 95,
        title: "should fail when no volume id is provided",
        rule: "group_snapshot_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, DeleteVolumeGroupSnapshot).",
        body: body!(delete_nothing),
        ..DELETE
    },
    Check {
        number: 96,
        title: "should succeed when an invalid volume id is used",
        rule: "Deleting a group that does not exist succeeds (spec, DeleteVolumeGroupSnapshot).",
        body: body!(delete_unknown),
        ..DELETE
    },
];

async fn capabilities(case: &Case) -> Outcome {
    let answer = case.session.group_controller_get_capabilities(GroupControllerGetCapabilitiesRequest {}).await;
    for capability in answer.succeeds("GroupControllerGetCapabilities")?.capabilities {
        let Some(group_controller_service_capability::Type::Rpc(rpc)) = capability.r#type else {
            return fail("a group controller capability has no rpc");
        };
        let known = GroupType::try_from(rpc.r#type).is_ok_and(|kind| kind != GroupType::Unknown);
        ensure(known, || format!("{} is not a type of a group controller capability", rpc.r#type))?;
    }
    Ok(())
}

async fn create_nameless(case: &Case) -> Outcome {
    let request = CreateVolumeGroupSnapshotRequest {
        secrets: case.config.secrets.create_snapshot.clone(),
        parameters: case.config.snapshot_parameters.clone(),
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let answer = case.session.create_volume_group_snapshot(request).await;
    answer.refused(Code::InvalidArgument, "CreateVolumeGroupSnapshot without a name")
}

fn get_request(id: &str) -> GetVolumeGroupSnapshotRequest {
    GetVolumeGroupSnapshotRequest { group_snapshot_id: id.to_owned(), ..GetVolumeGroupSnapshotRequest::default() }
}

async fn get_nothing(case: &Case) -> Outcome {
    let answer = case.session.get_volume_group_snapshot(get_request("")).await;
    answer.refused(Code::InvalidArgument, "GetVolumeGroupSnapshot without a group_snapshot_id")
}

async fn get_unknown(case: &Case) -> Outcome {
    let answer = case.session.get_volume_group_snapshot(get_request(MALFORMED_VOLUME_ID)).await;
    answer.refused(Code::NotFound, "GetVolumeGroupSnapshot of a group that does not exist")
}

fn delete_request(id: &str) -> DeleteVolumeGroupSnapshotRequest {
    DeleteVolumeGroupSnapshotRequest { group_snapshot_id: id.to_owned(), ..DeleteVolumeGroupSnapshotRequest::default() }
}

async fn delete_nothing(case: &Case) -> Outcome {
    let answer = case.session.delete_volume_group_snapshot(delete_request("")).await;
    answer.refused(Code::InvalidArgument, "DeleteVolumeGroupSnapshot without a group_snapshot_id")
}

async fn delete_unknown(case: &Case) -> Outcome {
    let answer = case.session.delete_volume_group_snapshot(delete_request(MALFORMED_VOLUME_ID)).await;
    answer.succeeds("DeleteVolumeGroupSnapshot of a group that does not exist").map(|_| ())
}
