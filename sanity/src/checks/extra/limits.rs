//! 185 to 187: sizes of fields.

use csi_proto::csi::{
    GetPluginInfoRequest, controller_service_capability::rpc::Type as ControllerType,
    volume_capability::access_mode::Mode,
};

use super::publish_table::{gone, ready};
use crate::{
    case::Case,
    check::{Area, Check, Need},
    config::Pairs,
    directories::{Found, look_at},
    expect::{Expect, Outcome, ensure},
};

const CHECK: Check = Check {
    area: Area::Whole,
    container: "Size limits",
    needs: &[Need::Controller(ControllerType::CreateDeleteVolume)],
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 185,
        title: "should be kept by the answers about a volume",
        rule: "A string has at most 128 bytes and a map of strings 4 KiB (spec, Size Limits).",
        body: body!(volume),
        ..CHECK
    },
    Check {
        number: 186,
        title: "should be kept by the answers about plugin and node",
        needs: &[],
        rule: "A string has at most 128 bytes, node_id 256, and a map of strings 4 KiB (spec, Size Limits and NodeGetInfo).",
        body: body!(plugin_and_node),
        ..CHECK
    },
    Check {
        number: 187,
        title: "should allow a target path of 128 bytes and more",
        rule: "The plugin supports target paths of at least 128 bytes (spec, Size Limits and NodePublishVolume).",
        body: body!(long_target),
        ..CHECK
    },
];

const STRING_LIMIT: usize = 128;
const NODE_ID_LIMIT: usize = 256;
const MAP_LIMIT: usize = 4096;

fn short_enough(field: &str, value: &str, limit: usize) -> Outcome {
    ensure(value.len() <= limit, || format!("{field} has {} bytes, the limit is {limit}", value.len()))
}

fn small_enough(field: &str, map: &Pairs) -> Outcome {
    let size: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    ensure(size <= MAP_LIMIT, || format!("{field} has {size} bytes, the limit is {MAP_LIMIT}"))
}

async fn volume(case: &Case) -> Outcome {
    let name = case.names.longest("sanity-limits");
    let volume = case.must_create(case.volume_request(name)).await?;
    short_enough("volume_id", &volume.volume_id, STRING_LIMIT)?;
    small_enough("volume_context", &volume.volume_context)?;
    volume.accessible_topology.iter().try_for_each(|topology| small_enough("accessible_topology", &topology.segments))
}

async fn plugin_and_node(case: &Case) -> Outcome {
    let plugin = case.session.get_plugin_info(GetPluginInfoRequest {}).await.succeeds("GetPluginInfo")?;
    short_enough("vendor_version", &plugin.vendor_version, STRING_LIMIT)?;
    small_enough("manifest", &plugin.manifest)?;
    let node = case.node_info().await?;
    short_enough("node_id", &node.node_id, NODE_ID_LIMIT)?;
    small_enough("accessible_topology", &node.accessible_topology.unwrap_or_default().segments)
}

async fn long_target(case: &Case) -> Outcome {
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    let target = case.directories.below_target(&"t".repeat(STRING_LIMIT));
    case.node_publish(case.publish_request(&ready, target.clone()))
        .await
        .succeeds("NodePublishVolume at a long path")?;
    let found = look_at(&target, &case.config).await?;
    ensure(found != Found::Nothing, || format!("there is nothing at {target} after NodePublishVolume"))?;
    case.node_unpublish(&ready.volume.volume_id, target.clone())
        .await
        .succeeds("NodeUnpublishVolume at a long path")?;
    gone(case, &target).await
}
