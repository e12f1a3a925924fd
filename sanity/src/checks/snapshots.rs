//! Checks 47 to 57: GetSnapshot, DeleteSnapshot and CreateSnapshot.

use csi_proto::csi::{GetSnapshotRequest, controller_service_capability::rpc::Type as ControllerType};
use tonic::Code;

use super::list_snapshots::several;
use crate::{
    case::{Case, check_snapshot},
    check::{Check, Need},
    client::Answer,
    expect::{Expect, Outcome, Stop, ensure},
};

const GET: Check = Check {
    container: "GetSnapshot [Controller Server]",
    needs: &[Need::Controller(ControllerType::GetSnapshot)],
    ..Check::GO
};
const MAKE: &[Need] = &[Need::Controller(ControllerType::CreateDeleteSnapshot)];
const DELETE: Check = Check { container: "DeleteSnapshot [Controller Server]", needs: MAKE, ..Check::GO };
const CREATE: Check = Check { container: "CreateSnapshot [Controller Server]", needs: MAKE, ..Check::GO };

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 47,
        title: "should return an error",
        rule: "GetSnapshotRequest.snapshot_id is REQUIRED (spec, GetSnapshot).",
        body: body!(get_nothing),
        ..GET
    },
    Check {
        number: 48,
        title: "should return snapshot that match the specified snapshot id",
        rule: "GetSnapshot describes the snapshot that was asked for (spec, GetSnapshot).",
        body: body!(get),
        ..GET
    },
    Check {
        number: 49,
        title: "should return an error when the specified snapshot id does not exist",
        rule: "A snapshot that does not exist is refused (spec, GetSnapshot errors).",
        body: body!(get_unknown),
        ..GET
    },
    Check {
        number: 50,
        title: "should fail when no snapshot id is provided",
        rule: "DeleteSnapshotRequest.snapshot_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, DeleteSnapshot).",
        body: body!(delete_nothing),
        ..DELETE
    },
    Check {
        number: 51,
        title: "should succeed when an invalid snapshot id is used",
        rule: "Deleting a snapshot that does not exist succeeds (spec, DeleteSnapshot).",
        body: body!(delete_unknown),
        ..DELETE
    },
    Check {
        number: 52,
        title: "should return appropriate values (no optional values added)",
        rule: "A snapshot that was created can be deleted (spec, DeleteSnapshot).",
        body: body!(delete),
        ..DELETE
    },
    Check {
        number: 53,
        title: "should fail when no name is provided",
        rule: "CreateSnapshotRequest.name is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, CreateSnapshot).",
        body: body!(create_nameless),
        ..CREATE
    },
    Check {
        number: 54,
        title: "should fail when no source volume id is provided",
        rule: "source_volume_id is REQUIRED; without it the answer is INVALID_ARGUMENT (spec, CreateSnapshot).",
        body: body!(create_sourceless),
        ..CREATE
    },
    Check {
        number: 55,
        title: "should succeed when requesting to create a snapshot with already existing name and same source volume ID",
        rule: "CreateSnapshot is idempotent by name and source (spec, CreateSnapshot).",
        body: body!(create_twice),
        ..CREATE
    },
    Check {
        number: 56,
        title: "should fail when requesting to create a snapshot with already existing name and different source volume ID",
        rule: "A name that exists for another source is refused with ALREADY_EXISTS (spec, CreateSnapshot errors).",
        body: body!(create_other_source),
        ..CREATE
    },
    Check {
        number: 57,
        title: "should succeed when creating snapshot with maximum-length name",
        rule: "String fields hold up to 128 bytes, CreateSnapshotRequest.name among them (spec, Size Limits).",
        body: body!(create_longest_name),
        ..CREATE
    },
];

async fn get_snapshot(case: &Case, id: &str) -> Answer<csi_proto::csi::GetSnapshotResponse> {
    let secrets = case.config.secrets.get_snapshot.clone();
    case.session.get_snapshot(GetSnapshotRequest { snapshot_id: id.to_owned(), secrets }).await
}

async fn get_nothing(case: &Case) -> Outcome {
    get_snapshot(case, "").await.fails("GetSnapshot without a snapshot_id")
}

async fn get(case: &Case) -> Outcome {
    let wanted = several(case, "getSnapshot").await?;
    let response = get_snapshot(case, &wanted.snapshot_id).await.succeeds("GetSnapshot")?;
    let snapshot = response.snapshot.ok_or_else(|| Stop::Failed("GetSnapshot answered without a snapshot".into()))?;
    check_snapshot(&snapshot)?;
    ensure(snapshot.snapshot_id == wanted.snapshot_id, || {
        format!("snapshot {} was asked for, the answer describes {}", wanted.snapshot_id, snapshot.snapshot_id)
    })
}

async fn get_unknown(case: &Case) -> Outcome {
    get_snapshot(case, "none-exist-id").await.fails("GetSnapshot of a snapshot that does not exist")
}

async fn delete_nothing(case: &Case) -> Outcome {
    case.delete_snapshot("").await.refused(Code::InvalidArgument, "DeleteSnapshot without a snapshot_id")
}

async fn delete_unknown(case: &Case) -> Outcome {
    let answer = case.delete_snapshot("reallyfakesnapshotid").await;
    answer.succeeds("DeleteSnapshot of a snapshot that does not exist").map(|_| ())
}

async fn delete(case: &Case) -> Outcome {
    let volume = case.volume("DeleteSnapshot-volume-1").await?;
    // The deletion is part of cleaning up and has to succeed there.
    case.must_snapshot(case.names.unique("DeleteSnapshot-snapshot-1"), &volume.volume_id).await.map(|_| ())
}

async fn create_nameless(case: &Case) -> Outcome {
    let answer = case.create_snapshot(case.snapshot_request("", "testId")).await;
    answer.refused(Code::InvalidArgument, "CreateSnapshot without a name")
}

async fn create_sourceless(case: &Case) -> Outcome {
    let request = case.snapshot_request(case.names.unique("CreateSnapshot-no-source"), "");
    let answer = case.create_snapshot(request).await;
    answer.refused(Code::InvalidArgument, "CreateSnapshot without a source_volume_id")
}

async fn create_twice(case: &Case) -> Outcome {
    let volume = case.volume("CreateSnapshot-volume-1").await?;
    let name = case.names.unique("CreateSnapshot-snapshot-1");
    case.must_snapshot(name.clone(), &volume.volume_id).await?;
    case.must_snapshot(name, &volume.volume_id).await.map(|_| ())
}

async fn create_other_source(case: &Case) -> Outcome {
    let volume = case.volume("CreateSnapshot-volume-2").await?;
    let name = case.names.unique("CreateSnapshot-snapshot-2");
    case.must_snapshot(name.clone(), &volume.volume_id).await?;
    let other = case.volume("CreateSnapshot-volume-3").await?;
    let answer = case.create_snapshot(case.snapshot_request(name, &other.volume_id)).await;
    answer.refused(Code::AlreadyExists, "CreateSnapshot of an existing name from another volume")
}

async fn create_longest_name(case: &Case) -> Outcome {
    let volume = case.volume("CreateSnapshot-volume-4").await?;
    let name = case.names.longest("CreateSnapshot-snapshot-4");
    case.must_snapshot(name.clone(), &volume.volume_id).await?;
    case.must_snapshot(name, &volume.volume_id).await.map(|_| ())
}
