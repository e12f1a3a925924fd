//! Checks 97 to 99, new in csi-test v5.6.0: NodeGetVolumeHealth and NodeGetStorageHealth.

use csi_proto::csi::{
    NodeGetStorageHealthRequest, NodeGetVolumeHealthRequest, NodeGetVolumeHealthResponse,
    node_service_capability::rpc::Type as NodeType,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Area, Check, Need},
    client::Answer,
    config::Spec,
    expect::{Expect, Outcome, ensure, fail},
};

const VOLUME: Check = Check {
    area: Area::Node,
    container: "Node Service NodeGetVolumeHealth",
    needs: &[Need::Node(NodeType::GetVolumeHealth)],
    since: Spec::V1_13,
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 97,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeGetVolumeHealth).",
        body: body!(no_volume_id),
        ..VOLUME
    },
    Check {
        number: 98,
        title: "should return health for a valid volume",
        rule: "volume_health is REQUIRED, for a well volume, too, and is that of the volume asked for (spec, NodeGetVolumeHealth).",
        body: body!(valid_volume),
        ..VOLUME
    },
    Check {
        number: 99,
        container: "Node Service NodeGetStorageHealth",
        title: "should return appropriate response",
        needs: &[Need::Node(NodeType::GetStorageHealth)],
        rule: "A node tells what is wrong with its storage backend; secrets are OPTIONAL (spec, NodeGetStorageHealth).",
        body: body!(storage),
        ..VOLUME
    },
];

/// NodeGetVolumeHealth without paths.
pub(super) async fn health(case: &Case, volume_id: &str) -> Answer<NodeGetVolumeHealthResponse> {
    let request = NodeGetVolumeHealthRequest { volume_id: volume_id.to_owned(), ..Default::default() };
    case.session.node_get_volume_health(request).await
}

async fn no_volume_id(case: &Case) -> Outcome {
    health(case, "").await.refused(Code::InvalidArgument, "NodeGetVolumeHealth without a volume_id")
}

async fn valid_volume(case: &Case) -> Outcome {
    let volume = case.volume("sanity-node-get-volume-health").await?;
    let info = case.node_info().await?;
    ensure(!info.node_id.is_empty(), || "node_id is empty".into())?;
    let ready = case.publish(volume).await?;
    let id = &ready.volume.volume_id;
    let Some(found) = health(case, id).await.succeeds("NodeGetVolumeHealth")?.volume_health else {
        return fail("the answer has no volume_health");
    };
    ensure(found.volume_id == *id, || format!("volume {id} was asked for, the health is that of {}", found.volume_id))
}

async fn storage(case: &Case) -> Outcome {
    let answer = case.session.node_get_storage_health(NodeGetStorageHealthRequest::default()).await;
    answer.succeeds("NodeGetStorageHealth").map(|_| ())
}
