//! 165 to 177: errors that the specification names and the Go suite does not try.

use csi_proto::csi::{
    ControllerUnpublishVolumeRequest, NodeStageVolumeRequest, ValidateVolumeCapabilitiesRequest, VolumeCapability,
    VolumeContentSource,
    controller_service_capability::rpc::Type as ControllerType,
    node_service_capability::rpc::Type as NodeType,
    volume_capability::access_mode::Mode,
    volume_content_source::{SnapshotSource, Type as SourceType, VolumeSource},
};
use tonic::Code;

use super::publish_table::ready;
use crate::{
    case::{Case, pair},
    check::{Area, Check, Need},
    directories::{Found, look_at},
    expect::{Expect, Outcome, Stop, ensure},
    names,
};

const CREATE: Need = Need::Controller(ControllerType::CreateDeleteVolume);
const CONTROLLER: Check = Check { container: "Controller errors", needs: &[CREATE], ..Check::EXTRA };
const NODE: Check = Check { area: Area::Node, container: "Node errors", ..CONTROLLER };

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 165,
        title: "should refuse to publish a volume that was deleted",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, NodePublishVolume errors). A node that cannot ask \
               the storage which volumes exist may pass on that the storage refuses it (PERMISSION_DENIED, \
               FAILED_PRECONDITION). Nothing is left at target_path.",
        body: body!(publish_deleted),
        ..NODE
    },
    Check {
        number: 166,
        title: "should refuse to publish at a relative path",
        rule: "target_path MUST be an absolute path; an invalid field is INVALID_ARGUMENT (spec, NodePublishVolume).",
        body: body!(publish_relative),
        ..NODE
    },
    Check {
        number: 167,
        title: "should refuse to publish with an incomplete capability",
        rule: "access_type MUST be set and access_mode is REQUIRED; an invalid field is INVALID_ARGUMENT (spec, VolumeCapability).",
        body: body!(publish_incomplete),
        ..NODE
    },
    Check {
        number: 168,
        title: "should refuse to create a volume with an incomplete capability",
        rule: "access_type MUST be set and access_mode is REQUIRED; an invalid field is INVALID_ARGUMENT (spec, VolumeCapability).",
        body: body!(create_incomplete),
        ..CONTROLLER
    },
    Check {
        number: 169,
        title: "should refuse a content source that is not supported",
        rule: "A content source that the plugin does not support is refused with INVALID_ARGUMENT (spec, CreateVolume errors).",
        body: body!(unsupported_source),
        ..CONTROLLER
    },
    Check {
        number: 170,
        title: "should refuse mutable parameters without MODIFY_VOLUME",
        rule: "mutable_parameters are only allowed with MODIFY_VOLUME; an invalid field is INVALID_ARGUMENT (spec, CreateVolume).",
        body: body!(unsupported_mutable_parameters),
        ..CONTROLLER
    },
    Check {
        number: 171,
        title: "should refuse to validate a volume that was deleted",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, ValidateVolumeCapabilities errors).",
        body: body!(validate_deleted),
        ..CONTROLLER
    },
    Check {
        number: 172,
        title: "should confirm just the capabilities that were asked about",
        rule: "Confirmed capabilities are those of the request (spec, ValidateVolumeCapabilitiesResponse).",
        body: body!(validate_repeats),
        ..CONTROLLER
    },
    Check {
        number: 173,
        title: "should refuse an existing name with a larger required size",
        rule: "A name that exists with an incompatible capacity_range is refused with ALREADY_EXISTS (spec, CreateVolume errors).",
        body: body!(incompatible_name),
        ..CONTROLLER
    },
    Check {
        number: 174,
        title: "should accept unpublishing what was never published",
        rule: "NodeUnpublishVolume is idempotent; a volume that does not exist may be refused with NOT_FOUND (spec, \
               NodeUnpublishVolume).",
        body: body!(unpublish_unknown),
        ..NODE
    },
    Check {
        number: 175,
        title: "should refuse to stage a volume that does not exist",
        needs: &[CREATE, Need::Node(NodeType::StageUnstageVolume)],
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, NodeStageVolume errors).",
        body: body!(stage_unknown),
        ..NODE
    },
    Check {
        number: 176,
        title: "should refuse to publish what is not staged",
        needs: &[CREATE, Need::Node(NodeType::StageUnstageVolume)],
        rule: "With STAGE_UNSTAGE_VOLUME publishing without a staging path is refused with FAILED_PRECONDITION (spec, \
               NodePublishVolume errors).",
        body: body!(publish_unstaged),
        ..NODE
    },
    Check {
        number: 177,
        title: "should accept detaching twice",
        needs: &[CREATE, Need::Controller(ControllerType::PublishUnpublishVolume)],
        rule: "ControllerUnpublishVolume is idempotent (spec, ControllerUnpublishVolume).",
        body: body!(detach_twice),
        ..NODE
    },
];

/// A capability without its access type and one without its mode.
fn incomplete(case: &Case) -> [(&'static str, VolumeCapability); 2] {
    let whole = case.capability();
    [
        ("access_type", VolumeCapability { access_type: None, ..whole.clone() }),
        ("access_mode", VolumeCapability { access_mode: None, ..whole }),
    ]
}

async fn publish_deleted(case: &Case) -> Outcome {
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    let cleaner_needed = case.capabilities.controller(ControllerType::PublishUnpublishVolume)
        || case.capabilities.node(NodeType::StageUnstageVolume);
    if cleaner_needed {
        // A volume that is attached or staged cannot be deleted, so one that never existed stands in.
        let mut unknown = ready;
        unknown.volume.volume_id = names::unknown_volume_id();
        let answer = case.node_publish(case.publish_request(&unknown, case.target())).await;
        answer.refused_with_any(ABSENT, "NodePublishVolume of a volume that does not exist")?;
        return gone_again(case).await;
    }
    case.delete_volume(&ready.volume.volume_id).await.succeeds("DeleteVolume")?;
    let answer = case.node_publish(case.publish_request(&ready, case.target())).await;
    answer.refused_with_any(ABSENT, "NodePublishVolume of a deleted volume")?;
    gone_again(case).await
}

/// What a node may answer for a volume that does not exist.
const ABSENT: &[Code] = &[Code::NotFound, Code::PermissionDenied, Code::FailedPrecondition];

async fn gone_again(case: &Case) -> Outcome {
    let found = look_at(&case.target(), &case.config).await?;
    ensure(found == Found::Nothing, || format!("a refused NodePublishVolume left {} behind ({found:?})", case.target()))
}

async fn publish_relative(case: &Case) -> Outcome {
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    let answer = case.node_publish(case.publish_request(&ready, "sanity/relative/target".into())).await;
    answer.refused(Code::InvalidArgument, "NodePublishVolume with a relative target_path")
}

async fn publish_incomplete(case: &Case) -> Outcome {
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    for (missing, capability) in incomplete(case) {
        let mut request = case.publish_request(&ready, case.target());
        request.volume_capability = Some(capability);
        let call = format!("NodePublishVolume with a capability without {missing}");
        case.node_publish(request).await.refused(Code::InvalidArgument, &call)?;
    }
    Ok(())
}

async fn create_incomplete(case: &Case) -> Outcome {
    for (missing, capability) in incomplete(case) {
        let mut request = case.request_named(&format!("sanity-create-without-{missing}"));
        request.volume_capabilities = vec![capability];
        let call = format!("CreateVolume with a capability without {missing}");
        case.create_volume(request).await.refused(Code::InvalidArgument, &call)?;
    }
    Ok(())
}

async fn unsupported_source(case: &Case) -> Outcome {
    let snapshots = case.capabilities.controller(ControllerType::CreateDeleteSnapshot);
    let clones = case.capabilities.controller(ControllerType::CloneVolume);
    if snapshots && clones {
        return Err(Stop::Skipped("the driver supports every content source".into()));
    }
    let snapshot = SourceType::Snapshot(SnapshotSource { snapshot_id: "sanity-no-such-snapshot".into() });
    let volume = SourceType::Volume(VolumeSource { volume_id: names::unknown_volume_id() });
    for (supported, what, source) in [(snapshots, "snapshot", snapshot), (clones, "volume", volume)] {
        if supported {
            continue;
        }
        let mut request = case.request_named(&format!("sanity-create-from-{what}"));
        request.volume_content_source = Some(VolumeContentSource { r#type: Some(source) });
        let call = format!("CreateVolume from a {what}, which the driver does not support");
        case.create_volume(request).await.refused(Code::InvalidArgument, &call)?;
    }
    Ok(())
}

async fn unsupported_mutable_parameters(case: &Case) -> Outcome {
    if case.capabilities.controller(ControllerType::ModifyVolume) {
        return Err(Stop::Skipped("the driver supports mutable parameters".into()));
    }
    let mut request = case.request_named("sanity-create-mutable");
    request.mutable_parameters = match case.config.mutable_parameters.is_empty() {
        true => pair("sanity", "yes"),
        false => case.config.mutable_parameters.clone(),
    };
    let answer = case.create_volume(request).await;
    answer.refused(Code::InvalidArgument, "CreateVolume with mutable_parameters, which the driver does not support")
}

fn validation(case: &Case, volume_id: &str) -> ValidateVolumeCapabilitiesRequest {
    ValidateVolumeCapabilitiesRequest {
        volume_id: volume_id.to_owned(),
        volume_capabilities: vec![case.capability()],
        secrets: case.config.secrets.validate_volume_capabilities.clone(),
        ..ValidateVolumeCapabilitiesRequest::default()
    }
}

async fn validate_deleted(case: &Case) -> Outcome {
    let volume = case.volume("sanity-validate-deleted").await?;
    case.delete_volume(&volume.volume_id).await.succeeds("DeleteVolume")?;
    let answer = case.session.validate_volume_capabilities(validation(case, &volume.volume_id)).await;
    answer.refused(Code::NotFound, "ValidateVolumeCapabilities of a deleted volume")
}

async fn validate_repeats(case: &Case) -> Outcome {
    let volume = case.volume("sanity-validate-repeats").await?;
    let request = validation(case, &volume.volume_id);
    let asked = request.volume_capabilities.clone();
    let response = case.session.validate_volume_capabilities(request).await.succeeds("ValidateVolumeCapabilities")?;
    match response.confirmed {
        Some(confirmed) => ensure(confirmed.volume_capabilities == asked, || {
            format!("{asked:?} was asked about, {:?} is confirmed", confirmed.volume_capabilities)
        }),
        None => ensure(!response.message.is_empty(), || "the volume is not confirmed, and no message says why".into()),
    }
}

async fn incompatible_name(case: &Case) -> Outcome {
    let request = case.request_named("sanity-create-incompatible");
    case.must_create(request.clone()).await?;
    let mut other = request;
    other.capacity_range = other.capacity_range.map(|mut range| {
        range.required_bytes = range.required_bytes.saturating_mul(3);
        range
    });
    let grown = case.create_volume(other).await;
    match &grown {
        // A driver without sizes cannot tell the two requests apart.
        Ok(response) if response.volume.as_ref().is_some_and(|volume| volume.capacity_bytes == 0) => {
            Err(Stop::Skipped("the driver does not tell the capacity of its volumes (capacity_bytes is 0)".into()))
        }
        _ => grown.refused(Code::AlreadyExists, "CreateVolume of an existing name with a larger required size"),
    }
}

async fn unpublish_unknown(case: &Case) -> Outcome {
    let target = case.directories.below_target("never_published");
    match case.node_unpublish(&names::unknown_volume_id(), target).await {
        Err(refusal) if refusal.code == Code::NotFound => Ok(()),
        answer => answer.succeeds("NodeUnpublishVolume at a target that was never published").map(|_| ()),
    }
}

async fn stage_unknown(case: &Case) -> Outcome {
    let request = NodeStageVolumeRequest {
        volume_id: names::unknown_volume_id(),
        staging_target_path: case.directories.staging(),
        volume_capability: Some(case.capability()),
        secrets: case.config.secrets.node_stage_volume.clone(),
        ..NodeStageVolumeRequest::default()
    };
    let answer = case.session.node_stage_volume(request).await;
    answer.refused(Code::NotFound, "NodeStageVolume of a volume that does not exist")
}

async fn publish_unstaged(case: &Case) -> Outcome {
    let mut ready = ready(case, Mode::SingleNodeWriter).await?;
    ready.staging_target_path.clear();
    let answer = case.node_publish(case.publish_request(&ready, case.target())).await;
    answer.refused(Code::FailedPrecondition, "NodePublishVolume without a staging_target_path")
}

async fn detach_twice(case: &Case) -> Outcome {
    let volume = case.volume("sanity-detach-twice").await?;
    let info = case.node_info().await?;
    let ready = case.prepare(volume, case.capability(), 0).await?;
    let request = ControllerUnpublishVolumeRequest {
        volume_id: ready.volume.volume_id,
        node_id: info.node_id,
        secrets: case.config.secrets.controller_unpublish_volume.clone(),
    };
    for _ in 0..2 {
        let answer = case.session.controller_unpublish_volume(request.clone()).await;
        answer.succeeds("ControllerUnpublishVolume")?;
    }
    Ok(())
}
