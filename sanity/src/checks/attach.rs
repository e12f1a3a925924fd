//! Checks 30 to 39: ControllerPublishVolume and ControllerUnpublishVolume.

use csi_proto::csi::{
    ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, Volume,
    controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Code;

use crate::{
    case::{Case, Published},
    check::{Check, Need},
    config::Pairs,
    expect::{Expect, Outcome, Stop},
    names,
};

const ATTACH: Need = Need::Controller(ControllerType::PublishUnpublishVolume);
const PUBLISH: Check = Check {
    container: "Controller Service [Controller Server] ControllerPublishVolume",
    needs: &[ATTACH],
    ..Check::GO
};
const LIFECYCLE: Check = Check { container: "Controller Service [Controller Server] volume lifecycle", ..PUBLISH };

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 30,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerPublishVolume).",
        body: body!(no_volume_id),
        ..PUBLISH
    },
    Check {
        number: 31,
        title: "should fail when no node id is provided",
        rule: "node_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerPublishVolume).",
        body: body!(no_node_id),
        ..PUBLISH
    },
    Check {
        number: 32,
        title: "should fail when no volume capability is provided",
        rule: "volume_capability is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerPublishVolume).",
        body: body!(no_capability),
        ..PUBLISH
    },
    Check {
        number: 33,
        title: "should fail when publishing more volumes than the node max attach limit",
        rule: "A node takes at most max_volumes_per_node volumes (spec, NodeGetInfo and ControllerPublishVolume errors).",
        alone: true,
        body: body!(attach_limit),
        ..PUBLISH
    },
    Check {
        number: 34,
        title: "should fail when the volume does not exist",
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, ControllerPublishVolume errors).",
        body: body!(unknown_volume),
        ..PUBLISH
    },
    Check {
        number: 35,
        title: "should fail when the node does not exist",
        rule: "A node that does not exist is refused with NOT_FOUND (spec, ControllerPublishVolume errors).",
        body: body!(unknown_node),
        ..PUBLISH
    },
    Check {
        number: 36,
        title: "should fail when the volume is already published but is incompatible",
        needs: &[ATTACH, Need::Controller(ControllerType::PublishReadonly)],
        rule: "A volume that is published at the node incompatibly is refused with ALREADY_EXISTS (spec, ControllerPublishVolume errors).",
        body: body!(incompatible),
        ..PUBLISH
    },
    Check {
        number: 37,
        title: "should work",
        rule: "A volume made near a node can be published to it (spec, ControllerPublishVolume).",
        body: body!(works),
        ..LIFECYCLE
    },
    Check {
        number: 38,
        title: "should be idempotent",
        rule: "ControllerPublishVolume is idempotent (spec, ControllerPublishVolume).",
        body: body!(idempotent),
        ..LIFECYCLE
    },
    Check {
        number: 39,
        container: "Controller Service [Controller Server] ControllerUnpublishVolume",
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerUnpublishVolume).",
        body: body!(unpublish_no_volume_id),
        ..PUBLISH
    },
];

fn empty_request(case: &Case) -> ControllerPublishVolumeRequest {
    ControllerPublishVolumeRequest {
        secrets: case.config.secrets.controller_publish_volume.clone(),
        ..ControllerPublishVolumeRequest::default()
    }
}

async fn no_volume_id(case: &Case) -> Outcome {
    let answer = case.controller_publish(empty_request(case)).await;
    answer.refused(Code::InvalidArgument, "ControllerPublishVolume without a volume_id")
}

async fn no_node_id(case: &Case) -> Outcome {
    let request = ControllerPublishVolumeRequest { volume_id: names::unknown_volume_id(), ..empty_request(case) };
    let answer = case.controller_publish(request).await;
    answer.refused(Code::InvalidArgument, "ControllerPublishVolume without a node_id")
}

async fn no_capability(case: &Case) -> Outcome {
    let request = ControllerPublishVolumeRequest {
        volume_id: names::unknown_volume_id(),
        node_id: names::unknown_node_id(),
        ..empty_request(case)
    };
    let answer = case.controller_publish(request).await;
    answer.refused(Code::InvalidArgument, "ControllerPublishVolume without a volume_capability")
}

fn attachable(case: &Case, volume: Volume) -> Published {
    let capability = case.capability();
    Published { volume, capability, publish_context: Pairs::new(), staging_target_path: String::new() }
}

async fn attach_limit(case: &Case) -> Outcome {
    if !case.config.test_attach_limit {
        return Err(Stop::Skipped("not asked for (--csi.testnodevolumeattachlimit)".into()));
    }
    let info = case.node_info().await?;
    if info.max_volumes_per_node <= 0 {
        return Err(Stop::Skipped("the node has no limit (max_volumes_per_node is 0)".into()));
    }
    for index in 0..info.max_volumes_per_node {
        let volume = case.volume(&format!("sanity-max-attach-limit-vol-{index}")).await?;
        let request = case.attach_request(&attachable(case, volume), &info.node_id);
        case.controller_publish(request).await.succeeds("ControllerPublishVolume within the node's limit")?;
    }
    let volume = case.volume("sanity-max-attach-limit-vol+1").await?;
    let request = case.attach_request(&attachable(case, volume), &info.node_id);
    case.controller_publish(request).await.fails("ControllerPublishVolume beyond the node's limit")
}

async fn unknown_volume(case: &Case) -> Outcome {
    let request = ControllerPublishVolumeRequest {
        volume_id: names::unknown_volume_id(),
        node_id: names::unknown_node_id(),
        volume_capability: Some(case.capability()),
        ..empty_request(case)
    };
    let answer = case.controller_publish(request).await;
    answer.refused(Code::NotFound, "ControllerPublishVolume of a volume that does not exist")
}

async fn unknown_node(case: &Case) -> Outcome {
    let volume = case.volume("sanity-controller-wrong-node").await?;
    let request = case.attach_request(&attachable(case, volume), &names::unknown_node_id());
    let answer = case.controller_publish(request).await;
    answer.refused(Code::NotFound, "ControllerPublishVolume to a node that does not exist")
}

async fn incompatible(case: &Case) -> Outcome {
    let volume = case.volume("sanity-controller-published-incompatible").await?;
    let info = case.node_info().await?;
    let mut request = case.attach_request(&attachable(case, volume), &info.node_id);
    case.controller_publish(request.clone()).await.succeeds("ControllerPublishVolume")?;
    request.readonly = true;
    let answer = case.controller_publish(request).await;
    answer.refused(Code::AlreadyExists, "ControllerPublishVolume again, now read-only")
}

async fn lifecycle(case: &Case, name: &str, times: u32) -> Outcome {
    let info = case.node_info().await?;
    let mut request = case.request_named(name);
    request.accessibility_requirements = Case::near(&info);
    let volume = case.must_create(request).await?;
    let request = case.attach_request(&attachable(case, volume), &info.node_id);
    for _ in 0..times {
        case.controller_publish(request.clone()).await.succeeds("ControllerPublishVolume")?;
    }
    Ok(())
}

async fn works(case: &Case) -> Outcome {
    lifecycle(case, "sanity-controller-publish", 1).await
}

async fn idempotent(case: &Case) -> Outcome {
    lifecycle(case, "sanity-controller-publish-idempotent", case.config.idempotent_count).await
}

async fn unpublish_no_volume_id(case: &Case) -> Outcome {
    let secrets = case.config.secrets.controller_unpublish_volume.clone();
    let request = ControllerUnpublishVolumeRequest { secrets, ..ControllerUnpublishVolumeRequest::default() };
    let answer = case.session.controller_unpublish_volume(request).await;
    answer.refused(Code::InvalidArgument, "ControllerUnpublishVolume without a volume_id")
}
