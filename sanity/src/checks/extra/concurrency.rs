//! 111 to 117: many callers at once. A call that meets another one for the same volume may be refused with ABORTED; what
//! is left at the end must be as if they had come one after the other.

use csi_proto::csi::{
    ListVolumesRequest, ProbeRequest, Volume, controller_service_capability::rpc::Type as ControllerType,
    volume_capability::access_mode::Mode,
};
use futures::future::join_all;
use tonic::Code;

use super::publish_table::{gone, ready};
use crate::{
    case::{Case, volume_of},
    check::{Area, Check, Need},
    client::{Answer, Cause, Refusal},
    directories::{Found, look_at},
    expect::{Expect, Outcome, ensure, fail},
};

const CHECK: Check = Check {
    area: Area::Whole,
    container: "Concurrency",
    needs: &[Need::Controller(ControllerType::CreateDeleteVolume)],
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 111,
        title: "should make one volume for many callers with the same name",
        rule: "CreateVolume is idempotent by name; a call for a volume that is being made may be refused with ABORTED \
               (spec, CreateVolume and Error Scheme).",
        alone: true,
        body: body!(same_name),
        ..CHECK
    },
    Check {
        number: 112,
        title: "should make a volume for each of many names",
        rule: "Calls for different volumes do not hinder each other (spec, Concurrency).",
        body: body!(many_names),
        ..CHECK
    },
    Check {
        number: 113,
        title: "should delete a volume once for many callers",
        rule: "DeleteVolume is idempotent; a call for a volume with a pending operation may be refused with ABORTED \
               (spec, DeleteVolume and Error Scheme).",
        body: body!(same_delete),
        ..CHECK
    },
    Check {
        number: 114,
        title: "should publish once at a target for many callers",
        rule: "NodePublishVolume is idempotent, so one NodeUnpublishVolume undoes any number of them (spec, NodePublishVolume).",
        body: body!(same_publish),
        ..CHECK
    },
    Check {
        number: 115,
        title: "should survive a race of publishing and unpublishing at a target",
        rule: "Both calls are idempotent and leave a target published or not, whatever their order (spec, NodePublishVolume and \
               NodeUnpublishVolume).",
        body: body!(race),
        ..CHECK
    },
    Check {
        number: 116,
        title: "should answer Probe while volumes come and go",
        rule: "A plugin that is healthy answers Probe with OK at any time (spec, Probe).",
        body: body!(probe_while_busy),
        ..CHECK
    },
    Check {
        number: 117,
        title: "should publish a MULTI_NODE volume at many targets at once",
        rule: "A MULTI_NODE volume can be published at several targets of a node (spec, NodePublishVolume).",
        body: body!(many_targets),
        ..CHECK
    },
];

/// Targets that are published at once in check 117.
const TARGETS: usize = 8;

/// Success, or `None` for a refusal that the specification allows while another call is at work.
fn unless_aborted<T>(answer: Answer<T>, call: &str) -> Outcome<Option<T>> {
    match answer {
        Err(Refusal { code: Code::Aborted, cause: Cause::Driver, .. }) => Ok(None),
        answer => answer.succeeds(call).map(Some),
    }
}

async fn same_name(case: &Case) -> Outcome {
    let count = async || -> Outcome<Option<usize>> {
        if !case.capabilities.controller(ControllerType::ListVolumes) {
            return Ok(None);
        }
        let answer = case.session.list_volumes(ListVolumesRequest::default()).await;
        Ok(Some(answer.succeeds("ListVolumes")?.entries.len()))
    };
    let before = count().await?;
    let request = case.request_named("sanity-concurrent-same-name");
    let answers = join_all((0..case.config.callers).map(|_| case.create_volume(request.clone()))).await;
    let last = case.must_create(request).await?;
    for answer in answers {
        if let Some(response) = unless_aborted(answer, "CreateVolume among callers with the same name")? {
            let volume = volume_of(response)?;
            ensure(volume.volume_id == last.volume_id, || {
                format!("one name gave two volumes: {} and {}", volume.volume_id, last.volume_id)
            })?;
        }
    }
    match (before, count().await?) {
        (Some(before), Some(after)) => ensure(after == before + 1, || {
            format!("{before} volumes were listed, and {after} after one name was asked for many times")
        }),
        _ => Ok(()),
    }
}

async fn many_volumes(case: &Case, prefix: &str, count: usize) -> Outcome<Vec<Volume>> {
    let requests = (0..count).map(|index| case.request_named(&format!("{prefix}-{index}")));
    let answers = join_all(requests.map(|request| case.create_volume(request))).await;
    answers
        .into_iter()
        .map(|answer| volume_of(answer.succeeds("CreateVolume among callers with other names")?))
        .collect()
}

async fn many_names(case: &Case) -> Outcome {
    let volumes = many_volumes(case, "sanity-concurrent-name", case.config.callers).await?;
    let mut ids: Vec<&str> = volumes.iter().map(|volume| volume.volume_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure(ids.len() == volumes.len(), || format!("{} names gave {} volumes", volumes.len(), ids.len()))
}

async fn same_delete(case: &Case) -> Outcome {
    let volume = case.volume("sanity-concurrent-delete").await?;
    let id = volume.volume_id.as_str();
    for answer in join_all((0..case.config.callers).map(|_| case.delete_volume(id))).await {
        unless_aborted(answer, "DeleteVolume among callers for the same volume")?;
    }
    case.delete_volume(id).await.succeeds("DeleteVolume of a deleted volume").map(|_| ())
}

async fn same_publish(case: &Case) -> Outcome {
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    let request = case.publish_request(&ready, case.target());
    for answer in join_all((0..case.config.callers).map(|_| case.node_publish(request.clone()))).await {
        unless_aborted(answer, "NodePublishVolume among callers for the same target")?;
    }
    case.node_publish(request).await.succeeds("NodePublishVolume")?;
    case.node_unpublish(&ready.volume.volume_id, case.target()).await.succeeds("NodeUnpublishVolume")?;
    gone(case, &case.target()).await
}

async fn race(case: &Case) -> Outcome {
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    let id = ready.volume.volume_id.as_str();
    let request = case.publish_request(&ready, case.target());
    let callers = (0..case.config.callers).map(|index| {
        let request = request.clone();
        async move {
            if index % 2 == 0 {
                unless_aborted(case.node_publish(request).await, "NodePublishVolume in a race").map(|_| ())
            } else {
                unless_aborted(case.node_unpublish(id, case.target()).await, "NodeUnpublishVolume in a race")
                    .map(|_| ())
            }
        }
    });
    join_all(callers).await.into_iter().collect::<Outcome<Vec<()>>>()?;
    case.node_publish(request).await.succeeds("NodePublishVolume after the race")?;
    let found = look_at(&case.target(), &case.config).await?;
    ensure(found != Found::Nothing, || format!("there is nothing at {} after the race", case.target()))?;
    case.node_unpublish(id, case.target()).await.succeeds("NodeUnpublishVolume after the race")?;
    gone(case, &case.target()).await
}

async fn probe_while_busy(case: &Case) -> Outcome {
    let work = many_volumes(case, "sanity-busy", case.config.callers);
    let probes = join_all((0..case.config.callers).map(|_| case.session.probe(ProbeRequest {})));
    let (volumes, probes) = futures::join!(work, probes);
    volumes?;
    let last = case.session.probe(ProbeRequest {}).await;
    for probe in probes.into_iter().chain([last]) {
        let ready = probe.succeeds("Probe while volumes are made")?.ready;
        if ready == Some(false) {
            return fail("Probe says that the plugin is not ready, although it is making volumes");
        }
    }
    Ok(())
}

async fn many_targets(case: &Case) -> Outcome {
    let ready = ready(case, Mode::MultiNodeMultiWriter).await?;
    let targets: Vec<String> =
        (0..TARGETS).map(|index| case.directories.below_target(&format!("target-{index}"))).collect();
    let publish = targets.iter().map(|target| case.node_publish(case.publish_request(&ready, target.clone())));
    for (answer, target) in join_all(publish).await.into_iter().zip(&targets) {
        if unless_aborted(answer, "NodePublishVolume among other targets")?.is_none() {
            case.node_publish(case.publish_request(&ready, target.clone()))
                .await
                .succeeds("NodePublishVolume again")?;
        }
    }
    for target in &targets {
        let found = look_at(target, &case.config).await?;
        ensure(found != Found::Nothing, || format!("there is nothing at {target} after NodePublishVolume"))?;
        case.node_unpublish(&ready.volume.volume_id, target.clone()).await.succeeds("NodeUnpublishVolume")?;
        gone(case, target).await?;
    }
    Ok(())
}
