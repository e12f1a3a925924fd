//! Checks 1 to 3: the Identity service, on both addresses if there are two.

use csi_proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginInfoRequest, ProbeRequest,
    plugin_capability::{self, service::Type as ServiceType, volume_expansion::Type as ExpansionType},
};
use regex_lite::Regex;

use crate::{
    case::Case,
    check::{Area, Check},
    client::Session,
    config::Spec,
    expect::{Expect, Outcome, Stop, ensure, fail},
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 1,
        area: Area::Identity,
        container: "Identity Service GetPluginCapabilities",
        title: "should return appropriate capabilities",
        rule: "Each PluginCapability is a Service or a VolumeExpansion of a type that CSI names (spec, GetPluginCapabilities).",
        body: body!(capabilities),
        ..Check::GO
    },
    Check {
        number: 2,
        area: Area::Identity,
        container: "Identity Service Probe",
        title: "should return appropriate information",
        rule: "A healthy plugin answers Probe with OK; ready may be absent, true or false (spec, Probe).",
        body: body!(probe),
        ..Check::GO
    },
    Check {
        number: 3,
        area: Area::Identity,
        container: "Identity Service GetPluginInfo",
        title: "should return appropriate information",
        rule: "The plugin's name follows domain name notation and has at most 63 characters (spec, GetPluginInfo).",
        body: body!(info),
        ..Check::GO
    },
];

/// The longest name of a plugin, in bytes.
const LONGEST_PLUGIN_NAME: usize = 63;

/// The sessions on which Identity is asked.
fn identities(case: &Case) -> Vec<Session> {
    let mut sessions = vec![case.session.clone()];
    if case.config.controller_endpoint.is_some() {
        sessions.push(case.session.identity_of_controller());
    }
    sessions
}

async fn capabilities(case: &Case) -> Outcome {
    for session in identities(case) {
        let answer = session.get_plugin_capabilities(GetPluginCapabilitiesRequest {}).await;
        for capability in answer.succeeds("GetPluginCapabilities")?.capabilities {
            match capability.r#type {
                Some(plugin_capability::Type::Service(service)) => {
                    let last = match case.config.selection.spec {
                        Spec::V1_12 => ServiceType::SnapshotMetadataService,
                        Spec::V1_13 => ServiceType::SnapshotAccessibilityConstraints,
                    };
                    let known = ServiceType::try_from(service.r#type)
                        .is_ok_and(|kind| kind != ServiceType::Unknown && service.r#type <= last as i32);
                    ensure(known, || format!("{} is not a type of a plugin service", service.r#type))?;
                }
                Some(plugin_capability::Type::VolumeExpansion(expansion)) => {
                    let known =
                        ExpansionType::try_from(expansion.r#type).is_ok_and(|kind| kind != ExpansionType::Unknown);
                    ensure(known, || format!("{} is not a type of volume expansion", expansion.r#type))?;
                }
                None => return fail("a plugin capability is neither a service nor a volume expansion"),
            }
        }
    }
    Ok(())
}

async fn probe(case: &Case) -> Outcome {
    for session in identities(case) {
        session.probe(ProbeRequest {}).await.succeeds("Probe")?;
    }
    Ok(())
}

async fn info(case: &Case) -> Outcome {
    let pattern = Regex::new(r"^[a-zA-Z][A-Za-z0-9\-\\._]{0,61}[a-zA-Z]$")
        .map_err(|error| Stop::Failed(format!("the pattern of plugin names is wrong: {error}")))?;
    for session in identities(case) {
        let name = session.get_plugin_info(GetPluginInfoRequest {}).await.succeeds("GetPluginInfo")?.name;
        ensure(!name.is_empty(), || "the plugin's name is empty".into())?;
        ensure(name.len() <= LONGEST_PLUGIN_NAME, || format!("the plugin's name has {} bytes: {name}", name.len()))?;
        ensure(pattern.is_match(&name), || format!("{name:?} is not in domain name notation"))?;
    }
    Ok(())
}
