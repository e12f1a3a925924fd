//! What a driver says it can do, asked anew before each check.

use std::collections::BTreeSet;

use csi_proto::csi::{
    ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse, GetPluginCapabilitiesRequest,
    GroupControllerGetCapabilitiesRequest, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    controller_service_capability as controller, controller_service_capability::rpc::Type as ControllerType,
    group_controller_service_capability as group, group_controller_service_capability::rpc::Type as GroupType,
    node_service_capability as node, node_service_capability::rpc::Type as NodeType, plugin_capability as plugin,
    plugin_capability::service::Type as ServiceType,
};

use tonic::Code;

use crate::{
    check::{Area, Check, Group, Need},
    client::{Answer, Cause, Refusal, Session},
    expect::{Expect, Outcome},
};

/// Capability numbers by service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Capabilities {
    plugin: BTreeSet<i32>,
    controller: BTreeSet<i32>,
    /// `None` if nobody has asked.
    node: Option<BTreeSet<i32>>,
    group: BTreeSet<i32>,
}

impl Capabilities {
    /// Asks for those that a check depends on.
    pub(crate) async fn ask(session: &Session, check: &Check) -> Outcome<Self> {
        match check.group {
            Group::Go => Self::ask_as_go(session, check).await,
            Group::Extra => Self::ask_all(session).await,
        }
    }

    /// Asks every service that there is. A service that is not there has no capabilities.
    async fn ask_all(session: &Session) -> Outcome<Self> {
        let mut capabilities = Self::default();
        capabilities.ask_plugin(session).await?;
        let node = session.node_get_capabilities(NodeGetCapabilitiesRequest {}).await;
        capabilities.node = Some(node_types(if_there(node).succeeds("NodeGetCapabilities")?));
        let controller = session.controller_get_capabilities(ControllerGetCapabilitiesRequest {}).await;
        capabilities.controller = controller_types(if_there(controller).succeeds("ControllerGetCapabilities")?);
        if capabilities.plugin(ServiceType::GroupControllerService) {
            capabilities.ask_group(session).await?;
        }
        Ok(capabilities)
    }

    /// Asks those services that the Go suite asks before this check. In the controller's area these are only what the check
    /// may be skipped for: a driver that can't say what it can do still has its other calls checked.
    async fn ask_as_go(session: &Session, check: &Check) -> Outcome<Self> {
        let mut capabilities = Self::default();
        match check.area {
            Area::Identity => {}
            Area::Controller => {
                if check.needs.iter().any(|need| matches!(need, Need::Controller(_))) {
                    capabilities.ask_controller(session).await?;
                }
            }
            Area::Node => {
                capabilities.ask_plugin(session).await?;
                capabilities.ask_node(session).await?;
                if capabilities.plugin(ServiceType::ControllerService) {
                    capabilities.ask_controller(session).await?;
                }
            }
            Area::Group => {
                capabilities.ask_plugin(session).await?;
                if capabilities.plugin(ServiceType::GroupControllerService) {
                    capabilities.ask_group(session).await?;
                }
            }
            Area::Whole => return Self::ask_all(session).await,
        }
        Ok(capabilities)
    }

    async fn ask_plugin(&mut self, session: &Session) -> Outcome {
        let answer = session.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await;
        self.plugin = answer
            .succeeds("GetPluginCapabilities")?
            .capabilities
            .into_iter()
            .filter_map(|capability| match capability.r#type {
                Some(plugin::Type::Service(service)) => Some(service.r#type),
                _ => None,
            })
            .collect();
        Ok(())
    }

    async fn ask_controller(&mut self, session: &Session) -> Outcome {
        let answer = session.controller_get_capabilities(ControllerGetCapabilitiesRequest {}).await;
        self.controller = controller_types(answer.succeeds("ControllerGetCapabilities")?);
        Ok(())
    }

    async fn ask_node(&mut self, session: &Session) -> Outcome {
        self.node = Some(Self::ask_node_types(session).await?);
        Ok(())
    }

    async fn ask_node_types(session: &Session) -> Outcome<BTreeSet<i32>> {
        let answer = session.node_get_capabilities(NodeGetCapabilitiesRequest {}).await;
        Ok(node_types(answer.succeeds("NodeGetCapabilities")?))
    }

    /// Whether the node stages volumes; it is asked now if it was not before.
    pub(crate) async fn stages(&self, session: &Session) -> Outcome<bool> {
        let stage = NodeType::StageUnstageVolume as i32;
        match &self.node {
            Some(types) => Ok(types.contains(&stage)),
            None => Ok(Self::ask_node_types(session).await?.contains(&stage)),
        }
    }

    async fn ask_group(&mut self, session: &Session) -> Outcome {
        let answer = session.group_controller_get_capabilities(GroupControllerGetCapabilitiesRequest {}).await;
        self.group = answer
            .succeeds("GroupControllerGetCapabilities")?
            .capabilities
            .into_iter()
            .filter_map(|capability| capability.r#type.map(|group::Type::Rpc(rpc)| rpc.r#type))
            .collect();
        Ok(())
    }

    pub(crate) fn plugin(&self, service: ServiceType) -> bool {
        self.plugin.contains(&(service as i32))
    }

    pub(crate) fn controller(&self, rpc: ControllerType) -> bool {
        self.controller.contains(&(rpc as i32))
    }

    pub(crate) fn node(&self, rpc: NodeType) -> bool {
        self.node.as_ref().is_some_and(|types| types.contains(&(rpc as i32)))
    }

    pub(crate) fn group(&self, rpc: GroupType) -> bool {
        self.group.contains(&(rpc as i32))
    }

    /// The first of the needs that is not met, in words.
    pub(crate) fn missing(&self, needs: &[Need]) -> Option<String> {
        needs.iter().find(|need| !self.meets(**need)).map(|need| need.to_string())
    }

    fn meets(&self, need: Need) -> bool {
        match need {
            Need::Plugin(service) => self.plugin(service),
            Need::Controller(rpc) => self.controller(rpc),
            Need::Node(rpc) => self.node(rpc),
            Need::Group(rpc) => self.group(rpc),
        }
    }
}

fn controller_types(response: ControllerGetCapabilitiesResponse) -> BTreeSet<i32> {
    let types = response.capabilities.into_iter().filter_map(|capability| capability.r#type);
    types.map(|controller::Type::Rpc(rpc)| rpc.r#type).collect()
}

fn node_types(response: NodeGetCapabilitiesResponse) -> BTreeSet<i32> {
    let types = response.capabilities.into_iter().filter_map(|capability| capability.r#type);
    types.map(|node::Type::Rpc(rpc)| rpc.r#type).collect()
}

/// A service that is not there answers UNIMPLEMENTED; it has no capabilities.
fn if_there<T: Default>(answer: Answer<T>) -> Answer<T> {
    match answer {
        Err(Refusal { code: Code::Unimplemented, cause: Cause::Driver, .. }) => Ok(T::default()),
        answer => answer,
    }
}
