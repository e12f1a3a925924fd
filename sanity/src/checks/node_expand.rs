//! Checks 85 to 88: NodeExpandVolume.

use csi_proto::csi::{
    CapacityRange, NodeExpandVolumeRequest, controller_service_capability::rpc::Type as ControllerType,
    node_service_capability::rpc::Type as NodeType,
};
use tonic::Code;

use super::{expand, node_stats::SOME_PATH};
use crate::{
    case::Case,
    check::{Area, Check, Need},
    expect::{Expect, Outcome},
    names,
};

const CHECK: Check = Check {
    area: Area::Node,
    container: "Node Service NodeExpandVolume",
    needs: &[Need::Node(NodeType::ExpandVolume)],
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 85,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeExpandVolume).",
        body: body!(no_volume_id),
        ..CHECK
    },
    Check {
        number: 86,
        title: "should fail when no volume path is provided",
        rule: "volume_path is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeExpandVolume).",
        body: body!(no_volume_path),
        ..CHECK
    },
    Check {
        number: 87,
        title: "should fail when volume is not found",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, NodeExpandVolume errors).",
        body: body!(unknown_volume),
        ..CHECK
    },
    Check {
        number: 88,
        title: "should work if node-expand is called after node-publish",
        rule: "NodeExpandVolume works on a published volume (spec, NodeExpandVolume).",
        body: body!(works),
        ..CHECK
    },
];

fn request(volume_id: &str, volume_path: &str) -> NodeExpandVolumeRequest {
    NodeExpandVolumeRequest {
        volume_id: volume_id.to_owned(),
        volume_path: volume_path.to_owned(),
        ..NodeExpandVolumeRequest::default()
    }
}

async fn no_volume_id(case: &Case) -> Outcome {
    let answer = case.session.node_expand_volume(request("", SOME_PATH)).await;
    answer.refused(Code::InvalidArgument, "NodeExpandVolume without a volume_id")
}

async fn no_volume_path(case: &Case) -> Outcome {
    let volume = case.volume("sanity-node-expand-volume-no-path").await?;
    let answer = case.session.node_expand_volume(request(&volume.volume_id, "")).await;
    answer.refused(Code::InvalidArgument, "NodeExpandVolume without a volume_path")
}

async fn unknown_volume(case: &Case) -> Outcome {
    let answer = case.session.node_expand_volume(request(&names::unknown_volume_id(), SOME_PATH)).await;
    answer.refused(Code::NotFound, "NodeExpandVolume of a volume that does not exist")
}

async fn works(case: &Case) -> Outcome {
    let volume = case.volume("sanity-node-expand-volume").await?;
    if case.capabilities.controller(ControllerType::ExpandVolume) {
        expand::expand(case, &volume.volume_id).await?;
    }
    let ready = case.publish(volume).await?;
    let request = NodeExpandVolumeRequest {
        capacity_range: Some(CapacityRange { required_bytes: case.config.expanded_size(), limit_bytes: 0 }),
        staging_target_path: ready.staging_target_path.clone(),
        volume_capability: Some(ready.capability.clone()),
        ..request(&ready.volume.volume_id, &case.target())
    };
    case.session.node_expand_volume(request).await.succeeds("NodeExpandVolume").map(|_| ())
}
