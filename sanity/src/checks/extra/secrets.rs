//! 161 and 162: what is secret stays so.

use csi_proto::csi::{
    CreateVolumeRequest, DeleteVolumeRequest, NodePublishVolumeRequest, ValidateVolumeCapabilitiesRequest,
    controller_service_capability::rpc::Type as ControllerType,
};

use crate::{
    case::Case,
    check::{Area, Check, Need},
    client::Answer,
    config::Pairs,
    expect::{Expect, Outcome, ensure},
    names,
};

const CHECK: Check =
    Check { container: "Secrets", needs: &[Need::Controller(ControllerType::CreateDeleteVolume)], ..Check::EXTRA };

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 161,
        title: "should not come back from the controller",
        rule: "The CO SHALL be able to keep secrets secret: no answer and no message repeats them (spec, Secrets Requirements).",
        body: body!(controller),
        ..CHECK
    },
    Check {
        number: 162,
        area: Area::Node,
        title: "should not come back from the node",
        rule: "The CO SHALL be able to keep secrets secret: no answer and no message repeats them (spec, Secrets Requirements).",
        body: body!(node),
        ..CHECK
    },
];

/// A secret that cannot be met by chance.
fn marked(case: &Case, secrets: &Pairs) -> (String, Pairs) {
    let mark = case.names.unique("never-show-this");
    let mut secrets = secrets.clone();
    secrets.insert("csi-sanity".into(), mark.clone());
    (mark, secrets)
}

fn hidden<T: std::fmt::Debug>(answer: &Answer<T>, mark: &str, call: &str) -> Outcome {
    let text = match answer {
        Ok(response) => format!("{response:?}"),
        Err(refusal) => refusal.message.clone(),
    };
    ensure(!text.contains(mark), || format!("the answer to {call} repeats a secret"))
}

async fn controller(case: &Case) -> Outcome {
    let (mark, secrets) = marked(case, &case.config.secrets.create_volume);
    let request = CreateVolumeRequest { secrets: secrets.clone(), ..case.request_named("sanity-secrets") };
    let answer = case.create_volume(request.clone()).await;
    hidden(&answer, &mark, "CreateVolume")?;
    let volume = crate::case::volume_of(answer.succeeds("CreateVolume with a secret that the driver does not know")?)?;
    let nameless = CreateVolumeRequest { name: String::new(), ..request };
    hidden(&case.create_volume(nameless).await, &mark, "CreateVolume without a name")?;
    let request = ValidateVolumeCapabilitiesRequest {
        volume_id: volume.volume_id,
        volume_capabilities: vec![case.capability()],
        secrets: marked(case, &case.config.secrets.validate_volume_capabilities).1,
        ..ValidateVolumeCapabilitiesRequest::default()
    };
    let answer = case.session.validate_volume_capabilities(request).await;
    hidden(&answer, &mark, "ValidateVolumeCapabilities")?;
    let secrets = marked(case, &case.config.secrets.delete_volume).1;
    let answer = case.session.delete_volume(DeleteVolumeRequest { volume_id: String::new(), secrets }).await;
    hidden(&answer, &mark, "DeleteVolume without a volume_id")
}

async fn node(case: &Case) -> Outcome {
    let (mark, secrets) = marked(case, &case.config.secrets.node_publish_volume);
    let request = NodePublishVolumeRequest {
        volume_id: names::unknown_volume_id(),
        target_path: case.target(),
        volume_capability: Some(case.capability()),
        secrets,
        ..NodePublishVolumeRequest::default()
    };
    let unknown = case.node_publish(request.clone()).await;
    hidden(&unknown, &mark, "NodePublishVolume of a volume that does not exist")?;
    let nowhere = NodePublishVolumeRequest { target_path: String::new(), ..request };
    hidden(&case.node_publish(nowhere).await, &mark, "NodePublishVolume without a target_path")
}
