//! Faults in what the driver says about itself.

use csi_proto::csi::{
    NodeServiceCapability, node_service_capability as node,
    plugin_capability::{Service, Type, VolumeExpansion},
};
use tonic::Code;

use super::{Mutant, NO_TYPE, alter, controller_capability, mutant, plugin_capability, refuse};
use crate::reference::ReferenceDriver as Driver;

fn node_capability(r#type: i32) -> NodeServiceCapability {
    NodeServiceCapability { r#type: Some(node::Type::Rpc(node::Rpc { r#type })) }
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("plugin-capability-unknown", "GetPluginCapabilities lists UNKNOWN", [1],
    get_plugin_capabilities => alter(Driver::get_plugin_capabilities, |answer| {
        answer.capabilities.push(plugin_capability(Some(Type::Service(Service { r#type: 0 }))));
    })),
    mutant!("plugin-capability-99", "GetPluginCapabilities lists a service that CSI does not name", [1],
    get_plugin_capabilities => alter(Driver::get_plugin_capabilities, |answer| {
        answer.capabilities.push(plugin_capability(Some(Type::Service(Service { r#type: NO_TYPE }))));
    })),
    mutant!("plugin-capability-empty", "GetPluginCapabilities lists a capability without a type", [1],
    get_plugin_capabilities => alter(Driver::get_plugin_capabilities, |answer| {
        answer.capabilities.push(plugin_capability(None));
    })),
    mutant!("plugin-expansion-unknown", "GetPluginCapabilities lists an unknown volume expansion", [1],
    get_plugin_capabilities => alter(Driver::get_plugin_capabilities, |answer| {
        answer.capabilities.push(plugin_capability(Some(Type::VolumeExpansion(VolumeExpansion { r#type: 0 }))));
    })),
    mutant!("plugin-capabilities-fail", "GetPluginCapabilities fails", [1],
        get_plugin_capabilities => refuse(Driver::get_plugin_capabilities, |_| true, Code::Internal))
    .callers("GetPluginCapabilities"),
    mutant!("probe-unhealthy", "Probe answers FAILED_PRECONDITION", [2, 195, 196, 197],
        probe => refuse(Driver::probe, |_| true, Code::FailedPrecondition))
    .callers("Probe"),
    mutant!("plugin-name-empty", "the plugin's name is empty", [3],
        get_plugin_info => alter(Driver::get_plugin_info, |answer| answer.name.clear())),
    mutant!("plugin-name-too-long", "the plugin's name has 64 bytes", [3],
        get_plugin_info => alter(Driver::get_plugin_info, |answer| answer.name = "a".repeat(64))),
    mutant!("plugin-name-leading-digit", "the plugin's name begins with a digit", [3],
        get_plugin_info => alter(Driver::get_plugin_info, |answer| answer.name.insert(0, '1'))),
    mutant!("plugin-name-slash", "the plugin's name holds a slash", [3],
        get_plugin_info => alter(Driver::get_plugin_info, |answer| answer.name = "reference/csi".into())),
    mutant!("plugin-info-fails", "GetPluginInfo fails", [3],
        get_plugin_info => refuse(Driver::get_plugin_info, |_| true, Code::Internal))
    .callers("GetPluginInfo"),
    mutant!("controller-capability-unknown", "ControllerGetCapabilities lists UNKNOWN", [4],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        answer.capabilities.push(controller_capability(0));
    })),
    mutant!("controller-capability-99", "ControllerGetCapabilities lists a capability that CSI does not name", [4],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        answer.capabilities.push(controller_capability(NO_TYPE));
    })),
    mutant!("controller-capability-empty", "ControllerGetCapabilities lists a capability without an rpc", [4],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        answer.capabilities.push(Default::default());
    })),
    mutant!("node-capability-99", "NodeGetCapabilities lists a capability that CSI does not name", [67],
    node_get_capabilities => alter(Driver::node_get_capabilities, |answer| {
        answer.capabilities.push(node_capability(NO_TYPE));
    })),
    mutant!("node-capability-empty", "NodeGetCapabilities lists a capability without an rpc", [67],
    node_get_capabilities => alter(Driver::node_get_capabilities, |answer| {
        answer.capabilities.push(Default::default());
    })),
    mutant!("node-id-empty", "node_id is empty", [68],
        node_get_info => alter(Driver::node_get_info, |answer| answer.node_id.clear()))
    .callers("NodeGetInfo"),
    mutant!("node-limit-negative", "max_volumes_per_node is negative", [68],
        node_get_info => alter(Driver::node_get_info, |answer| answer.max_volumes_per_node = -1)),
    mutant!("node-nowhere", "the node has no topology, although volumes are not accessible everywhere", [68],
        node_get_info => alter(Driver::node_get_info, |answer| answer.accessible_topology = None)),
];
