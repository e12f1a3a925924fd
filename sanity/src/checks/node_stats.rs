//! Checks 81 to 84: NodeGetVolumeStats.

use csi_proto::csi::{
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, node_service_capability::rpc::Type as NodeType,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Area, Check, Need},
    client::Answer,
    expect::{Expect, Outcome},
    names,
};

const CHECK: Check = Check {
    area: Area::Node,
    container: "Node Service NodeGetVolumeStats",
    needs: &[Need::Node(NodeType::GetVolumeStats)],
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 81,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeGetVolumeStats).",
        body: body!(no_volume_id),
        ..CHECK
    },
    Check {
        number: 82,
        title: "should fail when no volume path is provided",
        rule: "volume_path is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeGetVolumeStats).",
        body: body!(no_volume_path),
        ..CHECK
    },
    Check {
        number: 83,
        title: "should fail when volume is not found",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, NodeGetVolumeStats errors).",
        body: body!(unknown_volume),
        ..CHECK
    },
    Check {
        number: 84,
        title: "should fail when volume does not exist on the specified path",
        rule: "A volume that is not at volume_path is refused with NOT_FOUND (spec, NodeGetVolumeStats errors).",
        body: body!(wrong_path),
        ..CHECK
    },
];

/// A path at which no volume is published; relative, as in the Go suite.
pub(super) const SOME_PATH: &str = "some/path";

/// NodeGetVolumeStats without a staging path.
pub(super) async fn stats(case: &Case, volume_id: &str, volume_path: &str) -> Answer<NodeGetVolumeStatsResponse> {
    let request = NodeGetVolumeStatsRequest {
        volume_id: volume_id.to_owned(),
        volume_path: volume_path.to_owned(),
        ..NodeGetVolumeStatsRequest::default()
    };
    case.session.node_get_volume_stats(request).await
}

async fn no_volume_id(case: &Case) -> Outcome {
    stats(case, "", SOME_PATH).await.refused(Code::InvalidArgument, "NodeGetVolumeStats without a volume_id")
}

async fn no_volume_path(case: &Case) -> Outcome {
    let answer = stats(case, &names::unknown_volume_id(), "").await;
    answer.refused(Code::InvalidArgument, "NodeGetVolumeStats without a volume_path")
}

async fn unknown_volume(case: &Case) -> Outcome {
    let answer = stats(case, &names::unknown_volume_id(), SOME_PATH).await;
    answer.refused(Code::NotFound, "NodeGetVolumeStats of a volume that does not exist")
}

async fn wrong_path(case: &Case) -> Outcome {
    let volume = case.volume("sanity-node-get-volume-stats").await?;
    let ready = case.publish(volume).await?;
    let answer = stats(case, &ready.volume.volume_id, SOME_PATH).await;
    answer.refused(Code::NotFound, "NodeGetVolumeStats with a path where the volume is not published")
}
