//! The CSI identity service: who the driver is, what it can do, and whether it is up.

use csi_proto::csi;
use csi_proto::csi::identity_server::Identity;
use csi_proto::csi::plugin_capability::{Service, Type, VolumeExpansion, service, volume_expansion};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// The plugin's name, the same as the Go driver's.
pub const PLUGIN_NAME: &str = "efs.csi.aws.com";

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers the identity calls.
#[derive(Debug, Clone)]
pub struct IdentityService {
    ready: watch::Receiver<bool>,
}

impl IdentityService {
    /// `ready` turns true when the services have finished starting.
    pub fn new(ready: watch::Receiver<bool>) -> Self {
        Self { ready }
    }

    /// The capabilities of the plugin as a whole. The specification wants the same set from every instance, whichever
    /// services it serves; so the node names the controller too.
    pub fn capabilities() -> Vec<csi::PluginCapability> {
        let service = |kind: service::Type| csi::PluginCapability {
            r#type: Some(Type::Service(Service { r#type: kind.into() })),
        };
        let expansion = VolumeExpansion { r#type: volume_expansion::Type::Online.into() };
        vec![
            service(service::Type::ControllerService),
            service(service::Type::VolumeAccessibilityConstraints),
            csi::PluginCapability { r#type: Some(Type::VolumeExpansion(expansion)) },
        ]
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn get_plugin_info(
        &self,
        _: Request<csi::GetPluginInfoRequest>,
    ) -> Result<Response<csi::GetPluginInfoResponse>, Status> {
        Ok(Response::new(csi::GetPluginInfoResponse {
            name: PLUGIN_NAME.to_owned(),
            vendor_version: VERSION.to_owned(),
            ..Default::default()
        }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<csi::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<csi::GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(csi::GetPluginCapabilitiesResponse { capabilities: Self::capabilities() }))
    }

    async fn probe(&self, _: Request<csi::ProbeRequest>) -> Result<Response<csi::ProbeResponse>, Status> {
        Ok(Response::new(csi::ProbeResponse { ready: Some(*self.ready.borrow()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_that_is_still_starting_answers_and_is_not_ready() {
        let (starting, ready) = watch::channel(false);
        let service = IdentityService::new(ready);
        let asked = async || service.probe(Request::new(csi::ProbeRequest {})).await.expect("an answer").into_inner();
        assert_eq!(asked().await.ready, Some(false));
        starting.send_replace(true);
        assert_eq!(asked().await.ready, Some(true));
    }

    #[tokio::test]
    async fn the_plugin_tells_its_version_and_that_volumes_have_a_place() {
        let service = IdentityService::new(watch::channel(true).1);
        let info = service.get_plugin_info(Request::new(csi::GetPluginInfoRequest {})).await.expect("an answer");
        assert_eq!(info.into_inner().vendor_version, VERSION);
        assert!(!VERSION.is_empty());
        let placed = i32::from(service::Type::VolumeAccessibilityConstraints);
        let declared = |it: &csi::PluginCapability| matches!(&it.r#type, Some(Type::Service(s)) if s.r#type == placed);
        assert!(IdentityService::capabilities().iter().any(declared), "nodes and volumes tell their zone");
    }
}
