//! 191 to 193: group snapshots, of which the Go suite checks errors only.

use csi_proto::csi::{
    CreateVolumeGroupSnapshotRequest, DeleteVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotRequest,
    VolumeGroupSnapshot, controller_service_capability::rpc::Type as ControllerType,
    group_controller_service_capability::rpc::Type as GroupType, plugin_capability::service::Type as ServiceType,
};
use tonic::Code;

use crate::{
    case::{Case, check_snapshot},
    check::{Area, Check, Need},
    expect::{Expect, Outcome, Stop, ensure},
    resources::Resource,
};

const CHECK: Check = Check {
    area: Area::Whole,
    container: "Group snapshots",
    needs: &[
        Need::Plugin(ServiceType::GroupControllerService),
        Need::Group(GroupType::CreateDeleteGetVolumeGroupSnapshot),
        Need::Controller(ControllerType::CreateDeleteVolume),
    ],
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 191,
        title: "should describe a snapshot for each volume",
        rule: "A group has a snapshot of each source volume, and each names its group (spec, VolumeGroupSnapshot).",
        body: body!(describes),
        ..CHECK
    },
    Check {
        number: 192,
        title: "should be idempotent by name and refuse other volumes",
        rule: "The same name with the same volumes is the same group, with others it is refused with ALREADY_EXISTS \
               (spec, CreateVolumeGroupSnapshot).",
        body: body!(idempotent),
        ..CHECK
    },
    Check {
        number: 193,
        title: "should forget a deleted group",
        rule: "A group that does not exist is refused with NOT_FOUND (spec, GetVolumeGroupSnapshot errors).",
        body: body!(forgets),
        ..CHECK
    },
];

async fn create(case: &Case, name: &str, volumes: &[String]) -> Outcome<VolumeGroupSnapshot> {
    let request = CreateVolumeGroupSnapshotRequest {
        name: case.names.unique(name),
        source_volume_ids: volumes.to_vec(),
        secrets: case.config.secrets.create_snapshot.clone(),
        parameters: case.config.snapshot_parameters.clone(),
    };
    let response = case.session.create_volume_group_snapshot(request).await.succeeds("CreateVolumeGroupSnapshot")?;
    let group = response
        .group_snapshot
        .ok_or_else(|| Stop::Failed("CreateVolumeGroupSnapshot answered without a group".into()))?;
    ensure(!group.group_snapshot_id.is_empty(), || "the group has an empty group_snapshot_id".into())?;
    let snapshots = group.snapshots.iter().map(|snapshot| snapshot.snapshot_id.clone()).collect();
    case.resources.add(Resource::GroupSnapshot { id: group.group_snapshot_id.clone(), snapshots });
    Ok(group)
}

async fn volumes(case: &Case, prefix: &str) -> Outcome<Vec<String>> {
    let first = case.volume(&format!("{prefix}-1")).await?.volume_id;
    let second = case.volume(&format!("{prefix}-2")).await?.volume_id;
    Ok(vec![first, second])
}

async fn describes(case: &Case) -> Outcome {
    let volumes = volumes(case, "sanity-group-volume").await?;
    let group = create(case, "sanity-group", &volumes).await?;
    for snapshot in &group.snapshots {
        check_snapshot(snapshot)?;
        ensure(snapshot.group_snapshot_id == group.group_snapshot_id, || {
            format!("snapshot {} does not name its group", snapshot.snapshot_id)
        })?;
    }
    let mut sources: Vec<String> = group.snapshots.iter().map(|snapshot| snapshot.source_volume_id.clone()).collect();
    sources.sort();
    ensure(sources == volumes, || format!("the group of {volumes:?} has snapshots of {sources:?}"))
}

async fn idempotent(case: &Case) -> Outcome {
    let volumes = volumes(case, "sanity-group-twice").await?;
    let first = create(case, "sanity-group-twice", &volumes).await?;
    let second = create(case, "sanity-group-twice", &volumes).await?;
    ensure(first.group_snapshot_id == second.group_snapshot_id, || {
        format!("the same name gave two groups: {} and {}", first.group_snapshot_id, second.group_snapshot_id)
    })?;
    let request = CreateVolumeGroupSnapshotRequest {
        name: case.names.unique("sanity-group-twice"),
        source_volume_ids: volumes[..1].to_vec(),
        ..CreateVolumeGroupSnapshotRequest::default()
    };
    let answer = case.session.create_volume_group_snapshot(request).await;
    answer.refused(Code::AlreadyExists, "CreateVolumeGroupSnapshot of an existing name with other volumes")
}

async fn forgets(case: &Case) -> Outcome {
    let volumes = volumes(case, "sanity-group-deleted").await?;
    let group = create(case, "sanity-group-deleted", &volumes).await?;
    let id = group.group_snapshot_id;
    let snapshot_ids: Vec<String> = group.snapshots.into_iter().map(|snapshot| snapshot.snapshot_id).collect();
    let request = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: id.clone(),
        snapshot_ids: snapshot_ids.clone(),
        secrets: case.config.secrets.delete_snapshot.clone(),
    };
    case.session.delete_volume_group_snapshot(request).await.succeeds("DeleteVolumeGroupSnapshot")?;
    case.resources.forget_group_snapshot(&id);
    let request = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id,
        snapshot_ids,
        secrets: case.config.secrets.get_snapshot.clone(),
    };
    let answer = case.session.get_volume_group_snapshot(request).await;
    answer.refused(Code::NotFound, "GetVolumeGroupSnapshot of a deleted group")
}
