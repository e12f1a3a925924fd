//! Checks 89 and 90: a volume's whole life.

use csi_proto::csi::{node_service_capability::rpc::Type as NodeType, plugin_capability::service::Type as ServiceType};

use super::node_stats::stats;
use crate::{
    case::Case,
    check::{Area, Check, Need},
    expect::{Expect, Outcome, Stop, ensure},
};

const CHECK: Check = Check {
    area: Area::Node,
    container: "Node Service",
    needs: &[Need::Plugin(ServiceType::ControllerService)],
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 89,
        title: "should work",
        rule: "A volume can be created near the node, attached, staged, published and looked at (spec, Volume Lifecycle).",
        body: body!(works),
        ..CHECK
    },
    Check {
        number: 90,
        title: "should be idempotent",
        rule: "NodeStageVolume and NodePublishVolume are idempotent (spec, NodeStageVolume and NodePublishVolume).",
        body: body!(idempotent),
        ..CHECK
    },
];

async fn life(case: &Case, name: &str, times: u32) -> Outcome {
    let info = case.node_info().await?;
    let mut request = case.request_named(name);
    request.accessibility_requirements = Case::near(&info);
    let volume = case.must_create(request).await?;
    let ready = case.prepare(volume, case.capability(), times).await?;
    let request = case.publish_request(&ready, case.target());
    for _ in 0..times {
        case.node_publish(request.clone()).await.succeeds("NodePublishVolume")?;
    }
    if case.capabilities.node(NodeType::GetVolumeStats) {
        let answer = stats(case, &ready.volume.volume_id, &case.target()).await;
        let usage = answer.succeeds("NodeGetVolumeStats")?.usage;
        ensure(!usage.is_empty(), || "NodeGetVolumeStats answered without usage".into())?;
    }
    Ok(())
}

async fn works(case: &Case) -> Outcome {
    life(case, "sanity-node-full", 1).await
}

async fn idempotent(case: &Case) -> Outcome {
    match case.config.idempotent_count {
        0 => Err(Stop::Skipped("the idempotent count is 0".into())),
        times => life(case, "sanity-node-full-idempotent", times).await,
    }
}
