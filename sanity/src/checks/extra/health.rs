//! 201 to 214: the health of volumes and of a node's storage backend, and where snapshots can be reached.

use std::{collections::BTreeSet, time::Duration};

use csi_proto::csi::{
    ControllerGetVolumeHealthRequest, ControllerGetVolumeHealthResponse, ControllerListVolumeHealthRequest,
    ControllerListVolumeHealthResponse, NodeGetStorageHealthRequest, NodeGetVolumeHealthRequest,
    StorageHealthErrorType, TopologyRequirement, VolumeHealth, VolumeHealthErrorType,
    controller_service_capability::rpc::Type as ControllerType, node_service_capability::rpc::Type as NodeType,
    plugin_capability::service::Type as ServiceType,
};
use futures::future::try_join_all;
use tonic::Code;

use crate::{
    case::Case,
    check::{Area, Check, Need},
    checks::node_health::health,
    client::Answer,
    config::Spec,
    expect::{Expect, Outcome, Stop, ensure, fail},
    names,
};

const CREATE: Need = Need::Controller(ControllerType::CreateDeleteVolume);
const SINCE: Check = Check { since: Spec::V1_13, ..Check::EXTRA };
const NODE: Check = Check {
    area: Area::Node,
    container: "Node Service NodeGetVolumeHealth",
    needs: &[Need::Node(NodeType::GetVolumeHealth), CREATE],
    ..SINCE
};
const GET: Check = Check {
    container: "Controller Service [Controller Server] ControllerGetVolumeHealth",
    needs: &[Need::Controller(ControllerType::GetVolumeHealth), CREATE],
    ..SINCE
};
const LIST: Check = Check {
    container: "Controller Service [Controller Server] ControllerListVolumeHealth",
    needs: &[Need::Controller(ControllerType::ListVolumeHealth)],
    ..SINCE
};

/// The longest reason and message that Kubernetes stores, in bytes.
const LONGEST: (usize, usize) = (256, 1024);
/// The kubelet asks for one volume after the other: an answer from memory is there within this time, on a busy machine, too.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Volumes on a page.
const PAGE: i32 = 1;
/// Pages after which a list that does not end is given up.
const MOST_PAGES: usize = 10_000;

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 201,
        title: "should fail for a volume that was never on the node",
        needs: &[Need::Node(NodeType::GetVolumeHealth)],
        rule: "A volume that the node does not know is refused with NOT_FOUND; an empty list would say that it is well (spec, NodeGetVolumeHealth).",
        body: body!(node_unknown),
        ..NODE
    },
    Check {
        number: 202,
        title: "should give statuses that CSI names, reasons that are words, and each pair of them once",
        rule: "Each entry has a status and a CamelCase reason, and their pair is unique in a volume (spec, VolumeHealth).",
        body: body!(node_entries),
        ..NODE
    },
    Check {
        number: 203,
        title: "should return health for the paths of a volume",
        rule: "volume_publish_path and staging_target_path are OPTIONAL, and narrow the question only (spec, NodeGetVolumeHealth).",
        body: body!(node_paths),
        ..NODE
    },
    Check {
        number: 204,
        title: "should answer many callers without waiting for the storage",
        rule: "A caller asks for one volume after the other, so that an answer that waits holds up all of them (spec, NodeGetVolumeHealth).",
        body: body!(node_at_once),
        ..NODE
    },
    Check {
        number: 205,
        container: "Node Service NodeGetStorageHealth",
        title: "should give each status, reason and capability once",
        needs: &[Need::Node(NodeType::GetStorageHealth)],
        rule: "Status and reason are REQUIRED and, with the capability, unique in an answer (spec, NodeGetStorageHealth).",
        body: body!(storage_entries),
        ..NODE
    },
    Check {
        number: 206,
        title: "should fail when no volume id is provided",
        needs: &[Need::Controller(ControllerType::GetVolumeHealth)],
        rule: "volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, ControllerGetVolumeHealth).",
        body: body!(get_nothing),
        ..GET
    },
    Check {
        number: 207,
        title: "should fail for a volume that does not exist",
        needs: &[Need::Controller(ControllerType::GetVolumeHealth)],
        rule: "A volume that does not exist is refused with NOT_FOUND (spec, ControllerGetVolumeHealth errors).",
        body: body!(get_unknown),
        ..GET
    },
    Check {
        number: 208,
        title: "should return health for a valid volume",
        rule: "volume_health is REQUIRED, for a well volume, too, and is that of the volume asked for (spec, ControllerGetVolumeHealth).",
        body: body!(get_existing),
        ..GET
    },
    Check {
        number: 209,
        title: "should not say that a deleted volume is well",
        rule: "An answer without entries says that nothing is wrong; what can't be told is an error (spec, VolumeHealth).",
        body: body!(get_deleted),
        ..GET
    },
    Check {
        number: 210,
        title: "should list each volume once, with what is wrong",
        rule: "An entry has a volume_id, and volumes are listed once (spec, ControllerListVolumeHealth).",
        body: body!(list_entries),
        ..LIST
    },
    Check {
        number: 211,
        title: "should come to an end page by page",
        rule: "max_entries is a hard upper limit, and next_token leads to the rest (spec, ControllerListVolumeHealth).",
        body: body!(list_pages),
        ..LIST
    },
    Check {
        number: 212,
        title: "should fail when an invalid starting_token is passed",
        rule: "A starting_token that is not valid is refused with ABORTED (spec, ControllerListVolumeHealth errors).",
        body: body!(list_wrong_token),
        ..LIST
    },
    Check {
        number: 213,
        title: "should be declared together with GET_VOLUME_HEALTH",
        rule: "A plugin with LIST_VOLUME_HEALTH has GET_VOLUME_HEALTH, too (spec, ControllerGetCapabilities).",
        body: body!(list_with_get),
        ..LIST
    },
    Check {
        number: 214,
        container: "CreateSnapshot [Controller Server]",
        title: "should make a snapshot that can be reached from the node",
        needs: &[
            Need::Plugin(ServiceType::SnapshotAccessibilityConstraints),
            Need::Controller(ControllerType::CreateDeleteSnapshot),
            CREATE,
        ],
        rule: "With SNAPSHOT_ACCESSIBILITY_CONSTRAINTS a snapshot tells its accessible_topology (spec, CreateSnapshot).",
        body: body!(snapshot_topology),
        ..SINCE
    },
];

/// The health of an answer, which must be that of this volume and well-formed.
fn of_volume(found: Option<VolumeHealth>, id: &str) -> Outcome<VolumeHealth> {
    let Some(found) = found else { return fail("the answer has no volume_health") };
    ensure(found.volume_id == id, || format!("volume {id} was asked for, the health is that of {}", found.volume_id))?;
    entries(&found)?;
    Ok(found)
}

fn entries(health: &VolumeHealth) -> Outcome {
    let mut seen = BTreeSet::new();
    for entry in &health.health_statuses {
        let known = VolumeHealthErrorType::try_from(entry.status)
            .is_ok_and(|status| status != VolumeHealthErrorType::UnknownVolumeHealthType);
        ensure(known, || format!("{} is not a status of a volume's health", entry.status))?;
        words(&entry.reason, &entry.message)?;
        ensure(seen.insert((entry.status, &entry.reason)), || {
            format!("status {} with reason {} is there twice", entry.status().as_str_name(), entry.reason)
        })?;
    }
    Ok(())
}

fn words(reason: &str, message: &str) -> Outcome {
    let camel =
        reason.starts_with(|c: char| c.is_ascii_uppercase()) && reason.chars().all(|c| c.is_ascii_alphanumeric());
    ensure(camel, || format!("the reason {reason:?} is not a CamelCase word"))?;
    ensure(reason.len() <= LONGEST.0, || {
        format!("a reason has {} bytes, Kubernetes stores {}", reason.len(), LONGEST.0)
    })?;
    ensure(message.len() <= LONGEST.1, || {
        format!("the message of {reason} has {} bytes, Kubernetes stores {}", message.len(), LONGEST.1)
    })
}

async fn node_unknown(case: &Case) -> Outcome {
    let answer = health(case, &names::unknown_volume_id()).await;
    answer.refused(Code::NotFound, "NodeGetVolumeHealth of a volume that was never on the node")
}

async fn node_entries(case: &Case) -> Outcome {
    let ready = case.publish(case.volume("sanity-health-entries").await?).await?;
    let id = &ready.volume.volume_id;
    of_volume(health(case, id).await.succeeds("NodeGetVolumeHealth")?.volume_health, id).map(|_| ())
}

async fn node_paths(case: &Case) -> Outcome {
    let ready = case.publish(case.volume("sanity-health-paths").await?).await?;
    let id = &ready.volume.volume_id;
    let request = NodeGetVolumeHealthRequest {
        volume_id: id.clone(),
        volume_publish_path: case.target(),
        staging_target_path: ready.staging_target_path.clone(),
    };
    let answer = case.session.node_get_volume_health(request).await.succeeds("NodeGetVolumeHealth with paths")?;
    of_volume(answer.volume_health, id).map(|_| ())
}

async fn node_at_once(case: &Case) -> Outcome {
    let ready = case.publish(case.volume("sanity-health-at-once").await?).await?;
    let session = case.session.with_deadline(AT_ONCE);
    let calls = (0..case.config.callers).map(async |_| {
        let request = NodeGetVolumeHealthRequest { volume_id: ready.volume.volume_id.clone(), ..Default::default() };
        session.node_get_volume_health(request).await.succeeds("NodeGetVolumeHealth beside others")
    });
    try_join_all(calls).await.map(|_| ())
}

async fn storage_entries(case: &Case) -> Outcome {
    let answer = case.session.node_get_storage_health(NodeGetStorageHealthRequest::default()).await;
    let mut seen = Vec::new();
    for entry in answer.succeeds("NodeGetStorageHealth")?.backend_health {
        let known = StorageHealthErrorType::try_from(entry.status)
            .is_ok_and(|status| status != StorageHealthErrorType::UnknownStorageHealthErrorType);
        ensure(known, || format!("{} is not a status of a backend's health", entry.status))?;
        words(&entry.reason, &entry.message)?;
        let key = (entry.status, entry.reason, entry.volume_capability);
        ensure(!seen.contains(&key), || format!("{key:?} is there twice"))?;
        seen.push(key);
    }
    Ok(())
}

async fn get(case: &Case, volume_id: &str) -> Answer<ControllerGetVolumeHealthResponse> {
    let request = ControllerGetVolumeHealthRequest { volume_id: volume_id.to_owned(), ..Default::default() };
    case.session.controller_get_volume_health(request).await
}

async fn get_nothing(case: &Case) -> Outcome {
    get(case, "").await.refused(Code::InvalidArgument, "ControllerGetVolumeHealth without a volume_id")
}

async fn get_unknown(case: &Case) -> Outcome {
    let answer = get(case, &names::unknown_volume_id()).await;
    answer.refused(Code::NotFound, "ControllerGetVolumeHealth of a volume that does not exist")
}

async fn get_existing(case: &Case) -> Outcome {
    let id = case.volume("sanity-get-health").await?.volume_id;
    of_volume(get(case, &id).await.succeeds("ControllerGetVolumeHealth")?.volume_health, &id).map(|_| ())
}

async fn get_deleted(case: &Case) -> Outcome {
    let id = case.volume("sanity-get-health-deleted").await?.volume_id;
    case.delete_volume(&id).await.succeeds("DeleteVolume")?;
    match get(case, &id).await {
        Ok(answer) => {
            let found = of_volume(answer.volume_health, &id)?;
            ensure(!found.health_statuses.is_empty(), || format!("the deleted volume {id} is said to be well"))
        }
        refused => refused.fails("ControllerGetVolumeHealth of a deleted volume"),
    }
}

async fn page(case: &Case, max_entries: i32, token: &str) -> Answer<ControllerListVolumeHealthResponse> {
    let request =
        ControllerListVolumeHealthRequest { max_entries, starting_token: token.to_owned(), ..Default::default() };
    case.session.controller_list_volume_health(request).await
}

/// Every volume that is listed, with entries that must be well-formed.
fn listed(seen: &mut BTreeSet<String>, response: ControllerListVolumeHealthResponse) -> Outcome {
    for found in response.entries {
        ensure(!found.volume_id.is_empty(), || "an entry has an empty volume_id".into())?;
        entries(&found)?;
        ensure(!seen.contains(&found.volume_id), || format!("volume {} is listed twice", found.volume_id))?;
        seen.insert(found.volume_id);
    }
    Ok(())
}

async fn list_entries(case: &Case) -> Outcome {
    listed(&mut BTreeSet::new(), page(case, 0, "").await.succeeds("ControllerListVolumeHealth")?)
}

async fn list_pages(case: &Case) -> Outcome {
    let (mut seen, mut token) = (BTreeSet::new(), String::new());
    for _ in 0..MOST_PAGES {
        let response = page(case, PAGE, &token).await.succeeds("ControllerListVolumeHealth")?;
        let count = response.entries.len();
        ensure(count <= PAGE as usize, || format!("max_entries was {PAGE}, {count} were listed"))?;
        token.clone_from(&response.next_token);
        listed(&mut seen, response)?;
        if token.is_empty() {
            return Ok(());
        }
    }
    fail(format!("the list did not end after {MOST_PAGES} pages"))
}

async fn list_wrong_token(case: &Case) -> Outcome {
    let token = &case.config.invalid_starting_token;
    let answer = page(case, 0, token).await;
    answer.refused(Code::Aborted, &format!("ControllerListVolumeHealth with starting_token {token:?}"))
}

async fn list_with_get(case: &Case) -> Outcome {
    let both = case.capabilities.controller(ControllerType::GetVolumeHealth);
    ensure(both, || "the controller declares LIST_VOLUME_HEALTH without GET_VOLUME_HEALTH".into())
}

async fn snapshot_topology(case: &Case) -> Outcome {
    let Some(topology) = case.node_info().await?.accessible_topology else {
        return Err(Stop::Skipped("the node does not report an accessible topology".into()));
    };
    let volume = case.volume("CreateSnapshot-topology-volume").await?;
    let mut request = case.snapshot_request(case.names.unique("CreateSnapshot-topology-snapshot"), &volume.volume_id);
    request.accessibility_requirements = Some(TopologyRequirement { requisite: vec![topology], preferred: vec![] });
    let snapshot = case.create_snapshot(request).await.succeeds("CreateSnapshot")?.snapshot;
    let told = snapshot.is_some_and(|snapshot| !snapshot.accessible_topology.is_empty());
    ensure(told, || "the snapshot has no accessible_topology".into())
}
