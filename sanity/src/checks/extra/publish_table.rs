//! 101 to 109: what a second NodePublishVolume of one volume on one node leads to, row by row of the specification's
//! table, and what unpublishing leads to.

use csi_proto::csi::{
    NodePublishVolumeRequest, controller_service_capability::rpc::Type as ControllerType,
    node_service_capability::rpc::Type as NodeType, volume_capability::access_mode::Mode,
};
use tonic::Code;

use crate::{
    case::{Case, Published},
    check::{Area, Check, Need},
    client::{Cause, Refusal},
    directories::{Found, look_at},
    expect::{Expect, Outcome, Stop, ensure},
};

const CREATE: Need = Need::Controller(ControllerType::CreateDeleteVolume);
const MODES: &[Need] = &[CREATE, Need::Node(NodeType::SingleNodeMultiWriter)];
const CHECK: Check = Check { area: Area::Node, container: "Second publish", needs: &[CREATE], ..Check::EXTRA };

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 101,
        title: "should refuse the same target with other arguments",
        rule: "A second NodePublishVolume at the same target with other arguments is refused with ALREADY_EXISTS (spec, NodePublishVolume).",
        body: body!(same_target_other_arguments),
        ..CHECK
    },
    Check {
        number: 102,
        title: "should refuse a second target for SINGLE_NODE_WRITER",
        rule: "A volume that is not MULTI_NODE is refused at a second target with FAILED_PRECONDITION (spec, NodePublishVolume).",
        body: body!(single_node_writer),
        ..CHECK
    },
    Check {
        number: 103,
        title: "should refuse a second target for SINGLE_NODE_READER_ONLY",
        rule: "A volume that is not MULTI_NODE is refused at a second target with FAILED_PRECONDITION (spec, NodePublishVolume).",
        body: body!(single_node_reader),
        ..CHECK
    },
    Check {
        number: 104,
        title: "should accept a second target for MULTI_NODE_MULTI_WRITER",
        rule: "A MULTI_NODE volume can be published at several targets of a node (spec, NodePublishVolume).",
        body: body!(multi_node),
        ..CHECK
    },
    Check {
        number: 105,
        title: "should accept a second target for SINGLE_NODE_MULTI_WRITER",
        needs: MODES,
        rule: "A SINGLE_NODE_MULTI_WRITER volume can be published at several targets of a node (spec, NodePublishVolume).",
        body: body!(single_node_multi_writer),
        ..CHECK
    },
    Check {
        number: 106,
        title: "should refuse the same target with other arguments for SINGLE_NODE_SINGLE_WRITER",
        needs: MODES,
        rule: "At the same target other arguments are refused with ALREADY_EXISTS in every access mode (spec, NodePublishVolume).",
        body: body!(single_writer_other_arguments),
        ..CHECK
    },
    Check {
        number: 107,
        title: "should leave one target alone when another is unpublished",
        rule: "NodeUnpublishVolume is the reverse of NodePublishVolume at one target_path (spec, NodeUnpublishVolume).",
        body: body!(targets_are_independent),
        ..CHECK
    },
    Check {
        number: 108,
        title: "should need one unpublish for many publishes",
        rule: "NodePublishVolume is idempotent, so one NodeUnpublishVolume undoes any number of them (spec, NodeUnpublishVolume).",
        body: body!(one_unpublish),
        ..CHECK
    },
    Check {
        number: 109,
        title: "should accept unpublishing twice",
        rule: "NodeUnpublishVolume is idempotent (spec, NodeUnpublishVolume).",
        body: body!(unpublish_twice),
        ..CHECK
    },
];

/// The name of the second target below the target's parent.
const SECOND: &str = "second_target";

/// A volume of this mode, ready to be published; skips where the controller makes none.
pub(super) async fn ready(case: &Case, mode: Mode) -> Outcome<Published> {
    let capability = case.capability_with(mode);
    let mut request = case.request_named(&format!("sanity-{}-{}", case.number, mode.as_str_name().to_lowercase()));
    request.volume_capabilities = vec![capability.clone()];
    match case.create_volume(request).await {
        Err(refusal @ Refusal { code: Code::InvalidArgument | Code::OutOfRange, cause: Cause::Driver, .. }) => {
            Err(Stop::Skipped(format!("the driver makes no volumes with {}: {refusal}", mode.as_str_name())))
        }
        answer => {
            let volume = crate::case::volume_of(answer.succeeds("CreateVolume")?)?;
            case.prepare(volume, capability, 1).await
        }
    }
}

/// The same, published at the Go suite's target.
async fn published(case: &Case, mode: Mode) -> Outcome<Published> {
    let ready = ready(case, mode).await?;
    case.node_publish(case.publish_request(&ready, case.target())).await.succeeds("NodePublishVolume")?;
    Ok(ready)
}

async fn other_arguments(case: &Case, mode: Mode) -> Outcome {
    let ready = published(case, mode).await?;
    let request = NodePublishVolumeRequest { readonly: true, ..case.publish_request(&ready, case.target()) };
    let answer = case.node_publish(request).await;
    answer.refused(Code::AlreadyExists, "NodePublishVolume at the same target, now read-only")
}

async fn second_target_refused(case: &Case, mode: Mode) -> Outcome {
    let ready = published(case, mode).await?;
    let request = case.publish_request(&ready, case.directories.below_target(SECOND));
    let call = format!("NodePublishVolume of a {} volume at a second target", mode.as_str_name());
    case.node_publish(request).await.refused(Code::FailedPrecondition, &call)
}

async fn second_target_accepted(case: &Case, mode: Mode) -> Outcome {
    let ready = published(case, mode).await?;
    let request = case.publish_request(&ready, case.directories.below_target(SECOND));
    let call = format!("NodePublishVolume of a {} volume at a second target", mode.as_str_name());
    case.node_publish(request).await.succeeds(&call).map(|_| ())
}

async fn same_target_other_arguments(case: &Case) -> Outcome {
    other_arguments(case, Mode::SingleNodeWriter).await
}

async fn single_node_writer(case: &Case) -> Outcome {
    second_target_refused(case, Mode::SingleNodeWriter).await
}

async fn single_node_reader(case: &Case) -> Outcome {
    second_target_refused(case, Mode::SingleNodeReaderOnly).await
}

async fn multi_node(case: &Case) -> Outcome {
    second_target_accepted(case, Mode::MultiNodeMultiWriter).await
}

async fn single_node_multi_writer(case: &Case) -> Outcome {
    second_target_accepted(case, Mode::SingleNodeMultiWriter).await
}

async fn single_writer_other_arguments(case: &Case) -> Outcome {
    other_arguments(case, Mode::SingleNodeSingleWriter).await
}

async fn targets_are_independent(case: &Case) -> Outcome {
    let ready = published(case, Mode::MultiNodeMultiWriter).await?;
    let second = case.directories.below_target(SECOND);
    case.node_publish(case.publish_request(&ready, second.clone())).await.succeeds("NodePublishVolume")?;
    case.node_unpublish(&ready.volume.volume_id, second.clone()).await.succeeds("NodeUnpublishVolume")?;
    gone(case, &second).await?;
    let found = look_at(&case.target(), &case.config).await?;
    ensure(found != Found::Nothing, || format!("{} went away with the second target", case.target()))
}

/// The path must not exist.
pub(super) async fn gone(case: &Case, path: &str) -> Outcome {
    let found = look_at(path, &case.config).await?;
    ensure(found == Found::Nothing, || format!("{path} is still there after NodeUnpublishVolume ({found:?})"))
}

async fn one_unpublish(case: &Case) -> Outcome {
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    let request = case.publish_request(&ready, case.target());
    for _ in 0..3 {
        case.node_publish(request.clone()).await.succeeds("NodePublishVolume")?;
    }
    case.node_unpublish(&ready.volume.volume_id, case.target()).await.succeeds("NodeUnpublishVolume")?;
    gone(case, &case.target()).await
}

async fn unpublish_twice(case: &Case) -> Outcome {
    let ready = published(case, Mode::SingleNodeWriter).await?;
    for _ in 0..2 {
        case.node_unpublish(&ready.volume.volume_id, case.target()).await.succeeds("NodeUnpublishVolume")?;
    }
    Ok(())
}
