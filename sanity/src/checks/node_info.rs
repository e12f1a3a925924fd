//! Checks 67 and 68: what a node says about itself.

use csi_proto::csi::{
    NodeGetCapabilitiesRequest, node_service_capability, node_service_capability::rpc::Type as NodeType,
    plugin_capability::service::Type as ServiceType,
};

use crate::{
    case::Case,
    check::{Area, Check},
    config::Spec,
    expect::{Expect, Outcome, ensure, fail},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 67,
        area: Area::Node,
        container: "Node Service NodeGetCapabilities",
        title: "should return appropriate capabilities",
        rule: "Each NodeServiceCapability has an rpc of a type that CSI names (spec, NodeGetCapabilities).",
        body: body!(capabilities),
        ..Check::GO
    },
    Check {
        number: 68,
        area: Area::Node,
        container: "Node Service NodeGetInfo",
        title: "should return appropriate values",
        rule: "A node has an id, a limit that is not negative, and a topology where the plugin has \
               VOLUME_ACCESSIBILITY_CONSTRAINTS (spec, NodeGetInfo).",
        body: body!(info),
        ..Check::GO
    },
];

async fn capabilities(case: &Case) -> Outcome {
    let answer = case.session.node_get_capabilities(NodeGetCapabilitiesRequest {}).await;
    for capability in answer.succeeds("NodeGetCapabilities")?.capabilities {
        let Some(node_service_capability::Type::Rpc(rpc)) = capability.r#type else {
            return fail("a node capability has no rpc");
        };
        let last = match case.config.selection.spec {
            Spec::V1_12 => NodeType::VolumeMountGroup,
            Spec::V1_13 => NodeType::GetStorageHealth,
        };
        // The Go suite lets UNKNOWN pass here, unlike in the controller's list, and what 1.13 has retired (4).
        ensure(NodeType::try_from(rpc.r#type).is_ok() && rpc.r#type <= last as i32, || {
            format!("{} is not a type of a node capability", rpc.r#type)
        })?;
    }
    Ok(())
}

async fn info(case: &Case) -> Outcome {
    let info = case.node_info().await?;
    ensure(!info.node_id.is_empty(), || "node_id is empty".into())?;
    ensure(info.max_volumes_per_node >= 0, || format!("max_volumes_per_node is {}", info.max_volumes_per_node))?;
    let placed =
        !case.capabilities.plugin(ServiceType::VolumeAccessibilityConstraints) || info.accessible_topology.is_some();
    ensure(placed, || "the plugin has VOLUME_ACCESSIBILITY_CONSTRAINTS, but the node has no accessible_topology".into())
}
