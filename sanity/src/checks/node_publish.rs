//! Checks 69 to 75: NodePublishVolume and NodeUnpublishVolume.

use csi_proto::csi::{
    NodePublishVolumeRequest, node_service_capability::rpc::Type as NodeType, volume_capability::access_mode::Mode,
};
use tonic::Code;

use crate::{
    case::Case,
    check::{Area, Check, Need},
    directories::{Found, look_at},
    expect::{Expect, Outcome, Stop, ensure},
    names,
};

const PUBLISH: Check = Check { area: Area::Node, container: "Node Service NodePublishVolume", ..Check::GO };
const UNPUBLISH: Check = Check { area: Area::Node, container: "Node Service NodeUnpublishVolume", ..Check::GO };

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 69,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodePublishVolume).",
        body: body!(no_volume_id),
        ..PUBLISH
    },
    Check {
        number: 70,
        title: "should fail when no target path is provided",
        rule: "target_path is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodePublishVolume).",
        body: body!(no_target_path),
        ..PUBLISH
    },
    Check {
        number: 71,
        title: "should fail when no volume capability is provided",
        rule: "volume_capability is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodePublishVolume).",
        body: body!(no_capability),
        ..PUBLISH
    },
    Check {
        number: 72,
        container: "Node Service NodePublishVolume with single node multi writer capability",
        title: "should fail when volume with single node single writer access mode is already mounted at a different target path",
        needs: &[Need::Node(NodeType::SingleNodeMultiWriter)],
        rule: "A SINGLE_NODE_SINGLE_WRITER volume is published at one target only; another is refused with \
               FAILED_PRECONDITION (spec, NodePublishVolume).",
        body: body!(single_writer_twice),
        ..PUBLISH
    },
    Check {
        number: 73,
        title: "should fail when no volume id is provided",
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeUnpublishVolume).",
        body: body!(unpublish_no_volume_id),
        ..UNPUBLISH
    },
    Check {
        number: 74,
        title: "should fail when no target path is provided",
        rule: "target_path is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, NodeUnpublishVolume).",
        body: body!(unpublish_no_target_path),
        ..UNPUBLISH
    },
    Check {
        number: 75,
        title: "should remove target path",
        rule: "The plugin deletes the file or directory that it created at target_path (spec, NodeUnpublishVolume).",
        body: body!(removes_target),
        ..UNPUBLISH
    },
];

fn empty_request(case: &Case) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        secrets: case.config.secrets.node_publish_volume.clone(),
        ..NodePublishVolumeRequest::default()
    }
}

async fn no_volume_id(case: &Case) -> Outcome {
    let answer = case.session.node_publish_volume(empty_request(case)).await;
    answer.refused(Code::InvalidArgument, "NodePublishVolume without a volume_id")
}

async fn no_target_path(case: &Case) -> Outcome {
    let request = NodePublishVolumeRequest { volume_id: names::unknown_volume_id(), ..empty_request(case) };
    let answer = case.session.node_publish_volume(request).await;
    answer.refused(Code::InvalidArgument, "NodePublishVolume without a target_path")
}

async fn no_capability(case: &Case) -> Outcome {
    let request = NodePublishVolumeRequest {
        volume_id: names::unknown_volume_id(),
        target_path: case.target(),
        ..empty_request(case)
    };
    let answer = case.session.node_publish_volume(request).await;
    answer.refused(Code::InvalidArgument, "NodePublishVolume without a volume_capability")
}

async fn single_writer_twice(case: &Case) -> Outcome {
    let capability = case.capability_with(Mode::SingleNodeSingleWriter);
    let mut request = case.request_named("sanity-node-publish-single-writer");
    request.volume_capabilities = vec![capability.clone()];
    let volume = case.must_create(request).await?;
    let ready = case.prepare(volume, capability, 1).await?;
    case.node_publish(case.publish_request(&ready, case.target())).await.succeeds("NodePublishVolume")?;
    let other = case.directories.below_target("other_target");
    let answer = case.node_publish(case.publish_request(&ready, other)).await;
    answer.refused(
        Code::FailedPrecondition,
        "NodePublishVolume of a SINGLE_NODE_SINGLE_WRITER volume at a second target path",
    )
}

async fn unpublish_no_volume_id(case: &Case) -> Outcome {
    let answer = case.node_unpublish("", String::new()).await;
    answer.refused(Code::InvalidArgument, "NodeUnpublishVolume without a volume_id")
}

async fn unpublish_no_target_path(case: &Case) -> Outcome {
    let answer = case.node_unpublish(&names::unknown_volume_id(), String::new()).await;
    answer.refused(Code::InvalidArgument, "NodeUnpublishVolume without a target_path")
}

async fn removes_target(case: &Case) -> Outcome {
    let commands = &case.config.path_commands;
    if commands.create_mount.is_some() && commands.check.is_none() {
        return Err(Stop::Skipped("paths are made by a program, but none is given to look at them".into()));
    }
    let volume = case.volume("sanity-node-unpublish-volume").await?;
    let ready = case.publish(volume).await?;
    let found = look_at(&case.target(), &case.config).await?;
    ensure(found != Found::Nothing, || format!("there is nothing at {} after NodePublishVolume", case.target()))?;
    case.node_unpublish(&ready.volume.volume_id, case.target()).await.succeeds("NodeUnpublishVolume")?;
    let found = look_at(&case.target(), &case.config).await?;
    ensure(found == Found::Nothing, || {
        format!("{} is still there after NodeUnpublishVolume ({found:?})", case.target())
    })
}
