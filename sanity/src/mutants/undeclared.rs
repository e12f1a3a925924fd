//! Drivers that do what they do not declare.

use csi_proto::csi::{
    controller_service_capability::{self as controller, rpc::Type as ControllerType},
    node_service_capability::{self as node, rpc::Type as NodeType},
};

use super::{Mutant, alter, mutant};
use crate::reference::ReferenceDriver as Driver;

fn hide_controller(answer: &mut csi_proto::csi::ControllerGetCapabilitiesResponse, hidden: ControllerType) {
    answer.capabilities.retain(|capability| match &capability.r#type {
        Some(controller::Type::Rpc(rpc)) => rpc.r#type() != hidden,
        None => true,
    });
}

fn hide_node(answer: &mut csi_proto::csi::NodeGetCapabilitiesResponse, hidden: NodeType) {
    answer.capabilities.retain(|capability| match &capability.r#type {
        Some(node::Type::Rpc(rpc)) => rpc.r#type() != hidden,
        None => true,
    });
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("undeclared-clones", "volumes are copied without CLONE_VOLUME", [169],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        hide_controller(answer, ControllerType::CloneVolume);
    })),
    mutant!("undeclared-modify", "mutable parameters are taken without MODIFY_VOLUME", [170, 181],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        hide_controller(answer, ControllerType::ModifyVolume);
    })),
    mutant!("undeclared-capacity", "GetCapacity answers without GET_CAPACITY", [181],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        hide_controller(answer, ControllerType::GetCapacity);
    })),
    mutant!("undeclared-list", "ListVolumes answers without LIST_VOLUMES", [181],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        hide_controller(answer, ControllerType::ListVolumes);
    })),
    mutant!("undeclared-list-health", "ControllerListVolumeHealth answers without LIST_VOLUME_HEALTH", [181],
    controller_get_capabilities => alter(Driver::controller_get_capabilities, |answer| {
        hide_controller(answer, ControllerType::ListVolumeHealth);
    })),
    mutant!("undeclared-node-health", "NodeGetVolumeHealth answers without GET_VOLUME_HEALTH", [182],
    node_get_capabilities => alter(Driver::node_get_capabilities, |answer| {
        hide_node(answer, NodeType::GetVolumeHealth);
    })),
    mutant!("undeclared-storage-health", "NodeGetStorageHealth answers without GET_STORAGE_HEALTH", [182],
    node_get_capabilities => alter(Driver::node_get_capabilities, |answer| {
        hide_node(answer, NodeType::GetStorageHealth);
    })),
    mutant!("undeclared-node-expand", "NodeExpandVolume answers without EXPAND_VOLUME", [182],
    node_get_capabilities => alter(Driver::node_get_capabilities, |answer| {
        hide_node(answer, NodeType::ExpandVolume);
    })),
    mutant!("undeclared-group", "group snapshots are taken without their capability", [183],
    group_controller_get_capabilities => alter(Driver::group_controller_get_capabilities, |answer| {
        answer.capabilities.clear();
    })),
];
