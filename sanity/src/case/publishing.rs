//! Bringing a volume to a path on the node, with the steps that the driver declares.

use csi_proto::csi::{
    ControllerPublishVolumeRequest, NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeStageVolumeRequest, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    TopologyRequirement, Volume, VolumeCapability, controller_service_capability::rpc::Type as ControllerType,
    node_service_capability::rpc::Type as NodeType,
};

use super::Case;
use crate::{
    client::Answer,
    config::Pairs,
    expect::{Expect, Outcome},
    resources::Resource,
};

/// A volume that is ready to be published on the node.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) volume: Volume,
    pub(crate) capability: VolumeCapability,
    pub(crate) publish_context: Pairs,
    pub(crate) staging_target_path: String,
}

impl Case {
    pub(crate) async fn node_info(&self) -> Outcome<NodeGetInfoResponse> {
        self.session.node_get_info(NodeGetInfoRequest {}).await.succeeds("NodeGetInfo")
    }

    /// The topology requirement that asks for the node's own place, if it has one.
    pub(crate) fn near(info: &NodeGetInfoResponse) -> Option<TopologyRequirement> {
        let topology = info.accessible_topology.clone()?;
        Some(TopologyRequirement { requisite: vec![topology], preferred: vec![] })
    }

    /// Attaches and stages a volume where the driver has these steps; each staging call is repeated `times` times.
    pub(crate) async fn prepare(&self, volume: Volume, capability: VolumeCapability, times: u32) -> Outcome<Published> {
        let mut ready =
            Published { volume, capability, publish_context: Pairs::new(), staging_target_path: String::new() };
        if self.capabilities.controller(ControllerType::PublishUnpublishVolume) {
            let info = self.node_info().await?;
            let request = self.attach_request(&ready, &info.node_id);
            let response = self.controller_publish(request).await.succeeds("ControllerPublishVolume")?;
            ready.publish_context = response.publish_context;
        }
        if self.capabilities.node(NodeType::StageUnstageVolume) {
            ready.staging_target_path = self.directories.staging();
            for _ in 0..times {
                self.session.node_stage_volume(self.stage_request(&ready)).await.succeeds("NodeStageVolume")?;
            }
        }
        Ok(ready)
    }

    pub(crate) fn attach_request(&self, ready: &Published, node_id: &str) -> ControllerPublishVolumeRequest {
        ControllerPublishVolumeRequest {
            volume_id: ready.volume.volume_id.clone(),
            node_id: node_id.to_owned(),
            volume_capability: Some(ready.capability.clone()),
            readonly: false,
            secrets: self.config.secrets.controller_publish_volume.clone(),
            volume_context: ready.volume.volume_context.clone(),
        }
    }

    pub(crate) fn stage_request(&self, ready: &Published) -> NodeStageVolumeRequest {
        NodeStageVolumeRequest {
            volume_id: ready.volume.volume_id.clone(),
            publish_context: ready.publish_context.clone(),
            staging_target_path: ready.staging_target_path.clone(),
            volume_capability: Some(ready.capability.clone()),
            secrets: self.config.secrets.node_stage_volume.clone(),
            volume_context: ready.volume.volume_context.clone(),
        }
    }

    pub(crate) fn publish_request(&self, ready: &Published, target_path: String) -> NodePublishVolumeRequest {
        NodePublishVolumeRequest {
            volume_id: ready.volume.volume_id.clone(),
            publish_context: ready.publish_context.clone(),
            staging_target_path: ready.staging_target_path.clone(),
            target_path,
            volume_capability: Some(ready.capability.clone()),
            readonly: false,
            secrets: self.config.secrets.node_publish_volume.clone(),
            volume_context: ready.volume.volume_context.clone(),
        }
    }

    /// NodePublishVolume; when the target is not the Go suite's, a success is undone after the check.
    pub(crate) async fn node_publish(&self, request: NodePublishVolumeRequest) -> Answer<NodePublishVolumeResponse> {
        let (volume, path) = (request.volume_id.clone(), request.target_path.clone());
        let answer = self.session.node_publish_volume(request).await;
        if answer.is_ok() && !path.is_empty() && path != self.target() {
            self.resources.add(Resource::Target { volume, path });
        }
        answer
    }

    /// NodeUnpublishVolume; after a success the target need not be cleaned up any more.
    pub(crate) async fn node_unpublish(
        &self,
        volume: &str,
        target_path: String,
    ) -> Answer<NodeUnpublishVolumeResponse> {
        let request = NodeUnpublishVolumeRequest { volume_id: volume.to_owned(), target_path: target_path.clone() };
        let answer = self.session.node_unpublish_volume(request).await;
        if answer.is_ok() {
            self.resources.forget_target(&target_path);
        }
        answer
    }

    /// Attaches, stages and publishes a volume at the Go suite's target.
    pub(crate) async fn publish(&self, volume: Volume) -> Outcome<Published> {
        let capability = self.capability();
        let ready = self.prepare(volume, capability, 1).await?;
        let request = self.publish_request(&ready, self.target());
        self.node_publish(request).await.succeeds("NodePublishVolume")?;
        Ok(ready)
    }
}
