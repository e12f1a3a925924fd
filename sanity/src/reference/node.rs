//! The Node service. A published volume is a directory (or a file for a block volume) at its target path.

use std::{fs, io, path::Path};

use csi_proto::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeStageVolumeRequest, NodeStageVolumeResponse,
    NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
    VolumeUsage,
    node_service_capability::rpc::Type as NodeType,
    volume_capability::{AccessType, access_mode::Mode},
    volume_usage::Unit,
};
use tonic::Status;

use super::{
    ReferenceDriver, arguments,
    state::{Published, Staged, State, mode},
    volumes::{healthy, volume},
};

/// How many files a volume is said to hold at most.
const INODES: i64 = 1 << 20;

fn local(error: io::Error) -> Status {
    Status::internal(error.to_string())
}

/// Whether a volume of this mode may be at one target of a node only.
fn exclusive(mode: Mode) -> bool {
    matches!(mode, Mode::SingleNodeWriter | Mode::SingleNodeReaderOnly | Mode::SingleNodeSingleWriter)
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the methods are the RPCs of the specification")]
impl ReferenceDriver {
    pub fn node_stage_volume(&self, request: NodeStageVolumeRequest) -> Result<NodeStageVolumeResponse, Status> {
        self.node_can(NodeType::StageUnstageVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        arguments::absolute("staging_target_path", &request.staging_target_path)?;
        let capability = arguments::capability(request.volume_capability.as_ref())?;
        let mut state = self.state();
        volume(&state, &request.volume_id)?;
        let staged = Staged { volume: request.volume_id, capability };
        match state.staged.get(&request.staging_target_path) {
            Some(present) if *present != staged => {
                return Err(Status::already_exists("something else is staged at staging_target_path"));
            }
            _ => state.staged.insert(request.staging_target_path, staged),
        };
        Ok(NodeStageVolumeResponse {})
    }

    pub fn node_unstage_volume(&self, request: NodeUnstageVolumeRequest) -> Result<NodeUnstageVolumeResponse, Status> {
        self.node_can(NodeType::StageUnstageVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        arguments::given("staging_target_path", &request.staging_target_path)?;
        let mut state = self.state();
        if state.staged.get(&request.staging_target_path).is_some_and(|staged| staged.volume == request.volume_id) {
            state.staged.remove(&request.staging_target_path);
        }
        Ok(NodeUnstageVolumeResponse {})
    }

    pub fn node_publish_volume(&self, request: NodePublishVolumeRequest) -> Result<NodePublishVolumeResponse, Status> {
        arguments::given("volume_id", &request.volume_id)?;
        arguments::absolute("target_path", &request.target_path)?;
        let capability = arguments::capability(request.volume_capability.as_ref())?;
        let mut state = self.state();
        volume(&state, &request.volume_id)?;
        if self.node_can(NodeType::StageUnstageVolume).is_ok() {
            let staged = state.staged.get(&request.staging_target_path);
            if staged.is_none_or(|staged| staged.volume != request.volume_id) {
                return Err(Status::failed_precondition("the volume is not staged at staging_target_path"));
            }
        }
        let published = Published {
            volume: request.volume_id,
            capability,
            readonly: request.readonly,
            staging_path: request.staging_target_path,
            contexts: (request.publish_context, request.volume_context),
        };
        if let Some(present) = state.published.get(&request.target_path) {
            if *present != published {
                return Err(Status::already_exists("something else is published at target_path"));
            }
            return Ok(NodePublishVolumeResponse {});
        }
        let elsewhere = state.published.values().any(|other| other.volume == published.volume);
        if elsewhere && exclusive(mode(&published.capability)) {
            return Err(Status::failed_precondition("the volume is published at another target_path"));
        }
        let target = Path::new(&request.target_path);
        match published.capability.access_type {
            Some(AccessType::Block(_)) => fs::write(target, "").map_err(local)?,
            _ => fs::create_dir_all(target).map_err(local)?,
        }
        state.published.insert(request.target_path, published);
        Ok(NodePublishVolumeResponse {})
    }

    pub fn node_unpublish_volume(
        &self,
        request: NodeUnpublishVolumeRequest,
    ) -> Result<NodeUnpublishVolumeResponse, Status> {
        arguments::given("volume_id", &request.volume_id)?;
        arguments::given("target_path", &request.target_path)?;
        let mut state = self.state();
        let Some(published) = state.published.get(&request.target_path) else {
            return Ok(NodeUnpublishVolumeResponse {});
        };
        if published.volume != request.volume_id {
            return Err(Status::not_found("another volume is published at target_path"));
        }
        let target = Path::new(&request.target_path);
        let removed = match published.capability.access_type {
            Some(AccessType::Block(_)) => fs::remove_file(target),
            _ => fs::remove_dir_all(target),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(local(error)),
            _ => state.published.remove(&request.target_path),
        };
        Ok(NodeUnpublishVolumeResponse {})
    }

    /// The size of the volume at a path, or why there is none.
    fn size_at(state: &State, id: &str, path: &str) -> Result<i64, Status> {
        let size = volume(state, id)?.capacity;
        let published = state.published.get(path).is_some_and(|published| published.volume == id);
        let staged = state.staged.get(path).is_some_and(|staged| staged.volume == id);
        if published || staged {
            return Ok(size);
        }
        Err(Status::not_found(format!("volume {id} is not at {path}")))
    }

    pub fn node_get_volume_stats(
        &self,
        request: NodeGetVolumeStatsRequest,
    ) -> Result<NodeGetVolumeStatsResponse, Status> {
        self.node_can(NodeType::GetVolumeStats)?;
        arguments::given("volume_id", &request.volume_id)?;
        arguments::given("volume_path", &request.volume_path)?;
        let total = Self::size_at(&self.state(), &request.volume_id, &request.volume_path)?;
        let usage = |total, unit: Unit| VolumeUsage { available: total, total, used: 0, unit: unit.into() };
        Ok(NodeGetVolumeStatsResponse {
            usage: vec![usage(total, Unit::Bytes), usage(INODES, Unit::Inodes)],
            volume_condition: self.node_can(NodeType::VolumeCondition).is_ok().then(healthy),
        })
    }

    pub fn node_expand_volume(&self, request: NodeExpandVolumeRequest) -> Result<NodeExpandVolumeResponse, Status> {
        self.node_can(NodeType::ExpandVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        arguments::given("volume_path", &request.volume_path)?;
        arguments::size(request.capacity_range.as_ref())?;
        let capacity_bytes = Self::size_at(&self.state(), &request.volume_id, &request.volume_path)?;
        Ok(NodeExpandVolumeResponse { capacity_bytes })
    }
}
