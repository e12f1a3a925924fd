//! A small driver in memory that has every capability of CSI v1.13. It "mounts" by making directories, so it runs
//! anywhere without privileges. It is the yardstick of the suite: it must pass every check, and each of its
//! [mutants](crate::mutants) must fail one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use csi_proto::csi::{
    controller_service_capability::rpc::Type as ControllerType, node_service_capability::rpc::Type as NodeType,
    plugin_capability::service::Type as ServiceType,
};
use tonic::Status;

mod arguments;
mod attach;
mod groups;
mod health;
mod identity;
mod node;
pub mod server;
mod snapshots;
mod state;
mod volumes;

use state::State;

/// The driver's name.
pub const NAME: &str = "reference.csi-sanity.io";
/// The only node.
pub const NODE: &str = "reference-node";
/// The only mutable parameter that the driver knows.
pub const MUTABLE_PARAMETER: &str = "tier";
/// The largest volume, in bytes.
pub const LARGEST_VOLUME: i64 = 1 << 50;

/// What the driver declares and does. What is left out answers UNIMPLEMENTED.
#[derive(Debug, Clone)]
pub struct Features {
    /// Plugin capabilities.
    pub plugin: Vec<ServiceType>,
    /// Controller capabilities.
    pub controller: Vec<ControllerType>,
    /// Node capabilities.
    pub node: Vec<NodeType>,
    /// Whether volumes can be snapshotted as a group.
    pub group_snapshots: bool,
    /// How many volumes the node takes; 0 is no limit.
    pub max_volumes_per_node: i64,
}

impl Features {
    /// Every capability, and a node that takes three volumes.
    #[must_use]
    pub fn all() -> Self {
        use ControllerType as C;
        use NodeType as N;
        Self {
            plugin: vec![
                ServiceType::ControllerService,
                ServiceType::VolumeAccessibilityConstraints,
                ServiceType::GroupControllerService,
                ServiceType::SnapshotAccessibilityConstraints,
            ],
            controller: vec![
                C::CreateDeleteVolume,
                C::PublishUnpublishVolume,
                C::ListVolumes,
                C::GetCapacity,
                C::CreateDeleteSnapshot,
                C::ListSnapshots,
                C::CloneVolume,
                C::PublishReadonly,
                C::ExpandVolume,
                C::ListVolumesPublishedNodes,
                C::VolumeCondition,
                C::GetVolume,
                C::SingleNodeMultiWriter,
                C::ModifyVolume,
                C::GetSnapshot,
                C::GetVolumeHealth,
                C::ListVolumeHealth,
            ],
            node: vec![
                N::StageUnstageVolume,
                N::GetVolumeStats,
                N::ExpandVolume,
                N::VolumeCondition,
                N::SingleNodeMultiWriter,
                N::VolumeMountGroup,
                N::GetVolumeHealth,
                N::GetStorageHealth,
            ],
            group_snapshots: true,
            max_volumes_per_node: 3,
        }
    }

    /// The controller service alone, without any optional capability.
    #[must_use]
    pub fn least() -> Self {
        Self {
            plugin: vec![ServiceType::ControllerService],
            controller: vec![],
            node: vec![],
            group_snapshots: false,
            max_volumes_per_node: 0,
        }
    }

    /// These, and the controller capabilities given.
    #[must_use]
    pub fn with_controller(mut self, more: &[ControllerType]) -> Self {
        self.controller.extend_from_slice(more);
        self
    }

    /// These, and the node capabilities given.
    #[must_use]
    pub fn with_node(mut self, more: &[NodeType]) -> Self {
        self.node.extend_from_slice(more);
        self
    }
}

/// The driver. Its methods are the RPCs, one to one.
#[derive(Debug)]
pub struct ReferenceDriver {
    features: Features,
    state: Mutex<State>,
}

impl ReferenceDriver {
    /// A driver without volumes.
    #[must_use]
    pub fn new(features: Features) -> Self {
        Self { features, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn controller_can(&self, capability: ControllerType) -> Result<(), Status> {
        if self.features.controller.contains(&capability) {
            return Ok(());
        }
        Err(Status::unimplemented(format!("the controller does not have {}", capability.as_str_name())))
    }

    fn node_can(&self, capability: NodeType) -> Result<(), Status> {
        if self.features.node.contains(&capability) {
            return Ok(());
        }
        Err(Status::unimplemented(format!("the node does not have {}", capability.as_str_name())))
    }
}
