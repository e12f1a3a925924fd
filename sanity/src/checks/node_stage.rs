//! Checks 76 to 80: NodeStageVolume and NodeUnstageVolume.

use csi_proto::csi::{
    NodeStageVolumeRequest, NodeUnstageVolumeRequest, node_service_capability::rpc::Type as NodeType,
};
use tonic::Code;

use crate::{
    case::{Case, pair},
    check::{Area, Check, Need},
    expect::{Expect, Outcome},
    names,
};

const STAGE: Check = Check {
    area: Area::Node,
    container: "Node Service NodeStageVolume",
    needs: &[Need::Node(NodeType::StageUnstageVolume)],
    ..Check::GO
};
const UNSTAGE: Check = Check { container: "Node Service NodeUnstageVolume", ..STAGE };

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 76,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeStageVolume).",
        body: body!(no_volume_id),
        ..STAGE
    },
    Check {
        number: 77,
        title: "should fail when no staging target path is provided",
        rule: "staging_target_path is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeStageVolume).",
        body: body!(no_staging_path),
        ..STAGE
    },
    Check {
        number: 78,
        title: "should fail when no volume capability is provided",
        rule: "volume_capability is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeStageVolume).",
        body: body!(no_capability),
        ..STAGE
    },
    Check {
        number: 79,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeUnstageVolume).",
        body: body!(unstage_no_volume_id),
        ..UNSTAGE
    },
    Check {
        number: 80,
        title: "should fail when no staging target path is provided",
        rule: "staging_target_path is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeUnstageVolume).",
        body: body!(unstage_no_staging_path),
        ..UNSTAGE
    },
];

fn request(case: &Case, volume_id: String) -> NodeStageVolumeRequest {
    NodeStageVolumeRequest {
        volume_id,
        publish_context: pair("device", "/dev/mock"),
        staging_target_path: case.directories.staging(),
        volume_capability: Some(case.capability()),
        secrets: case.config.secrets.node_stage_volume.clone(),
        ..NodeStageVolumeRequest::default()
    }
}

async fn no_volume_id(case: &Case) -> Outcome {
    let answer = case.session.node_stage_volume(request(case, String::new())).await;
    answer.refused(Code::InvalidArgument, "NodeStageVolume without a volume_id")
}

async fn no_staging_path(case: &Case) -> Outcome {
    let request =
        NodeStageVolumeRequest { staging_target_path: String::new(), ..request(case, names::unknown_volume_id()) };
    let answer = case.session.node_stage_volume(request).await;
    answer.refused(Code::InvalidArgument, "NodeStageVolume without a staging_target_path")
}

async fn no_capability(case: &Case) -> Outcome {
    let volume = case.volume("sanity-node-stage-nocaps").await?;
    let request = NodeStageVolumeRequest { volume_capability: None, ..request(case, volume.volume_id) };
    let answer = case.session.node_stage_volume(request).await;
    answer.refused(Code::InvalidArgument, "NodeStageVolume without a volume_capability")
}

async fn unstage_no_volume_id(case: &Case) -> Outcome {
    let staging_target_path = case.directories.staging();
    let request = NodeUnstageVolumeRequest { volume_id: String::new(), staging_target_path };
    let answer = case.session.node_unstage_volume(request).await;
    answer.refused(Code::InvalidArgument, "NodeUnstageVolume without a volume_id")
}

async fn unstage_no_staging_path(case: &Case) -> Outcome {
    let request =
        NodeUnstageVolumeRequest { volume_id: names::unknown_volume_id(), staging_target_path: String::new() };
    let answer = case.session.node_unstage_volume(request).await;
    answer.refused(Code::InvalidArgument, "NodeUnstageVolume without a staging_target_path")
}
