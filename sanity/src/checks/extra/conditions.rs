//! 131 to 138: ControllerGetVolume, the condition of volumes, and the bounds of statistics.

use csi_proto::csi::{
    ControllerGetVolumeRequest, ControllerGetVolumeResponse, ListVolumesRequest, VolumeCondition, VolumeUsage,
    controller_service_capability::rpc::Type as ControllerType, node_service_capability::rpc::Type as NodeType,
    volume_usage::Unit,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Area, Check, Need},
    checks::node_stats::stats,
    client::Answer,
    expect::{Expect, Outcome, Stop, ensure, fail},
};

const CREATE: Need = Need::Controller(ControllerType::CreateDeleteVolume);
const GET_NEED: Need = Need::Controller(ControllerType::GetVolume);
const CONDITION: Need = Need::Controller(ControllerType::VolumeCondition);
const GET: Check = Check { container: "ControllerGetVolume", needs: &[GET_NEED, CREATE], ..Check::EXTRA };
const STATS: Check = Check {
    area: Area::Node,
    container: "NodeGetVolumeStats of a published volume",
    needs: &[Need::Node(NodeType::GetVolumeStats), CREATE],
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 131,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerGetVolume).",
        body: body!(get_nothing),
        ..GET
    },
    Check {
        number: 132,
        title: "should fail when the volume was deleted",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, ControllerGetVolume errors).",
        body: body!(get_deleted),
        ..GET
    },
    Check {
        number: 133,
        title: "should describe the volume that was created",
        rule: "volume and status are REQUIRED in the answer (spec, ControllerGetVolumeResponse).",
        body: body!(get_existing),
        ..GET
    },
    Check {
        number: 134,
        title: "should tell the condition of a healthy volume",
        needs: &[GET_NEED, CREATE, CONDITION],
        rule: "With VOLUME_CONDITION volume_condition MUST be specified, and its message is REQUIRED (spec, ControllerGetVolume).",
        body: body!(get_condition),
        ..GET
    },
    Check {
        number: 135,
        container: "ListVolumes",
        title: "should tell the condition of each volume",
        needs: &[Need::Controller(ControllerType::ListVolumes), CREATE, CONDITION],
        rule: "With VOLUME_CONDITION volume_condition MUST be specified for each entry (spec, ListVolumesResponse).",
        alone: true,
        body: body!(list_conditions),
        ..Check::EXTRA
    },
    Check {
        number: 136,
        title: "should keep within the bounds of its fields",
        rule: "total and unit are REQUIRED, and no number may be negative (spec, VolumeUsage).",
        body: body!(stats_bounds),
        ..STATS
    },
    Check {
        number: 137,
        title: "should tell the condition of a healthy volume",
        needs: &[Need::Node(NodeType::GetVolumeStats), Need::Node(NodeType::VolumeCondition), CREATE],
        rule: "With VOLUME_CONDITION volume_condition MUST be specified, and its message is REQUIRED (spec, NodeGetVolumeStats).",
        body: body!(stats_condition),
        ..STATS
    },
    Check {
        number: 138,
        title: "should fail after the volume was unpublished",
        rule: "A volume that is not at volume_path is refused with NOT_FOUND (spec, NodeGetVolumeStats errors).",
        body: body!(stats_unpublished),
        ..STATS
    },
];

async fn get(case: &Case, volume_id: &str) -> Answer<ControllerGetVolumeResponse> {
    case.session.controller_get_volume(ControllerGetVolumeRequest { volume_id: volume_id.to_owned() }).await
}

async fn get_nothing(case: &Case) -> Outcome {
    get(case, "").await.refused(Code::InvalidArgument, "ControllerGetVolume without a volume_id")
}

async fn get_deleted(case: &Case) -> Outcome {
    let volume = case.volume("sanity-get-deleted").await?;
    case.delete_volume(&volume.volume_id).await.succeeds("DeleteVolume")?;
    get(case, &volume.volume_id).await.refused(Code::NotFound, "ControllerGetVolume of a deleted volume")
}

async fn get_existing(case: &Case) -> Outcome {
    let created = case.volume("sanity-get-existing").await?;
    let response = get(case, &created.volume_id).await.succeeds("ControllerGetVolume")?;
    let Some(found) = response.volume else { return fail("the answer has no volume") };
    ensure(found.volume_id == created.volume_id, || {
        format!("volume {} was asked for, the answer describes {}", created.volume_id, found.volume_id)
    })?;
    let same =
        found.capacity_bytes == created.capacity_bytes || found.capacity_bytes == 0 || created.capacity_bytes == 0;
    ensure(same, || {
        format!("the volume was made with {} bytes and has {} now", created.capacity_bytes, found.capacity_bytes)
    })?;
    ensure(response.status.is_some(), || "the answer has no status".into())
}

fn healthy(condition: Option<VolumeCondition>) -> Outcome {
    let condition = condition.ok_or_else(|| Stop::Failed("there is no volume_condition".into()))?;
    ensure(!condition.message.is_empty(), || "the volume_condition has no message".into())?;
    ensure(!condition.abnormal, || format!("a new volume is said to be abnormal: {}", condition.message))
}

async fn get_condition(case: &Case) -> Outcome {
    let volume = case.volume("sanity-get-condition").await?;
    let response = get(case, &volume.volume_id).await.succeeds("ControllerGetVolume")?;
    healthy(response.status.and_then(|status| status.volume_condition))
}

async fn list_conditions(case: &Case) -> Outcome {
    let volume = case.volume("sanity-list-condition").await?;
    let mut token = String::new();
    loop {
        let request = ListVolumesRequest { starting_token: token, ..ListVolumesRequest::default() };
        let response = case.session.list_volumes(request).await.succeeds("ListVolumes")?;
        let ours = |id: &str| id == volume.volume_id;
        for entry in response.entries {
            if entry.volume.as_ref().is_some_and(|volume| ours(&volume.volume_id)) {
                return healthy(entry.status.and_then(|status| status.volume_condition));
            }
        }
        if response.next_token.is_empty() {
            return fail(format!("volume {} is not listed", volume.volume_id));
        }
        token = response.next_token;
    }
}

fn within_bounds(usage: &VolumeUsage) -> Outcome {
    let VolumeUsage { available, total, used, .. } = *usage;
    ensure(usage.unit() != Unit::Unknown, || format!("{} is not a unit", usage.unit))?;
    ensure(available >= 0 && total >= 0 && used >= 0, || {
        format!("available {available}, total {total}, used {used}: no number may be negative")
    })?;
    ensure(used <= total && available <= total, || {
        format!("available {available} or used {used} is above total {total}")
    })
}

async fn stats_bounds(case: &Case) -> Outcome {
    let ready = case.publish(case.volume("sanity-stats-bounds").await?).await?;
    let response = stats(case, &ready.volume.volume_id, &case.target()).await.succeeds("NodeGetVolumeStats")?;
    response.usage.iter().try_for_each(within_bounds)?;
    let bytes = response.usage.iter().filter(|usage| usage.unit() == Unit::Bytes).count();
    ensure(bytes == 1, || format!("the usage in bytes is told {bytes} times"))
}

async fn stats_condition(case: &Case) -> Outcome {
    let ready = case.publish(case.volume("sanity-stats-condition").await?).await?;
    let response = stats(case, &ready.volume.volume_id, &case.target()).await.succeeds("NodeGetVolumeStats")?;
    healthy(response.volume_condition)
}

async fn stats_unpublished(case: &Case) -> Outcome {
    let ready = case.publish(case.volume("sanity-stats-unpublished").await?).await?;
    let id = &ready.volume.volume_id;
    case.node_unpublish(id, case.target()).await.succeeds("NodeUnpublishVolume")?;
    stats(case, id, &case.target()).await.refused(Code::NotFound, "NodeGetVolumeStats of an unpublished volume")
}
