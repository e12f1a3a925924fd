//! The Identity service and what the services say about themselves.

use csi_proto::csi::{
    ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse, ControllerServiceCapability,
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeServiceCapability, PluginCapability, ProbeRequest, ProbeResponse,
    controller_service_capability::{self as controller, rpc::Type as ControllerType},
    node_service_capability as node,
    plugin_capability::{self as plugin, VolumeExpansion, volume_expansion},
};
use tonic::Status;

use super::{NAME, NODE, ReferenceDriver, state::topology};

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the methods are the RPCs of the specification")]
impl ReferenceDriver {
    pub fn get_plugin_info(&self, _: GetPluginInfoRequest) -> Result<GetPluginInfoResponse, Status> {
        let vendor_version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(GetPluginInfoResponse { name: NAME.to_owned(), vendor_version, ..GetPluginInfoResponse::default() })
    }

    pub fn get_plugin_capabilities(
        &self,
        _: GetPluginCapabilitiesRequest,
    ) -> Result<GetPluginCapabilitiesResponse, Status> {
        let mut kinds: Vec<plugin::Type> = self
            .features
            .plugin
            .iter()
            .map(|service| plugin::Type::Service(plugin::Service { r#type: (*service).into() }))
            .collect();
        if self.features.controller.contains(&ControllerType::ExpandVolume) {
            let r#type = volume_expansion::Type::Online.into();
            kinds.push(plugin::Type::VolumeExpansion(VolumeExpansion { r#type }));
        }
        let capabilities = kinds.into_iter().map(|kind| PluginCapability { r#type: Some(kind) }).collect();
        Ok(GetPluginCapabilitiesResponse { capabilities })
    }

    pub fn probe(&self, _: ProbeRequest) -> Result<ProbeResponse, Status> {
        Ok(ProbeResponse { ready: Some(true) })
    }

    pub fn controller_get_capabilities(
        &self,
        _: ControllerGetCapabilitiesRequest,
    ) -> Result<ControllerGetCapabilitiesResponse, Status> {
        let capability = |r#type: i32| ControllerServiceCapability {
            r#type: Some(controller::Type::Rpc(controller::Rpc { r#type })),
        };
        let capabilities = self.features.controller.iter().map(|kind| capability((*kind).into())).collect();
        Ok(ControllerGetCapabilitiesResponse { capabilities })
    }

    pub fn node_get_capabilities(&self, _: NodeGetCapabilitiesRequest) -> Result<NodeGetCapabilitiesResponse, Status> {
        let capability = |r#type: i32| NodeServiceCapability { r#type: Some(node::Type::Rpc(node::Rpc { r#type })) };
        let capabilities = self.features.node.iter().map(|kind| capability((*kind).into())).collect();
        Ok(NodeGetCapabilitiesResponse { capabilities })
    }

    pub fn node_get_info(&self, _: NodeGetInfoRequest) -> Result<NodeGetInfoResponse, Status> {
        Ok(NodeGetInfoResponse {
            node_id: NODE.to_owned(),
            max_volumes_per_node: self.features.max_volumes_per_node,
            accessible_topology: Some(topology()),
        })
    }
}
