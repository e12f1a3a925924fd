//! Checks 40 to 46: ListSnapshots.

use csi_proto::csi::{
    ListSnapshotsRequest, ListSnapshotsResponse, Snapshot, controller_service_capability::rpc::Type as ControllerType,
};

use crate::{
    case::{Case, check_snapshot},
    check::{Check, Need},
    expect::{Expect, Outcome, Stop, ensure, fail},
    names,
};

const CHECK: Check = Check {
    container: "ListSnapshots [Controller Server]",
    needs: &[Need::Controller(ControllerType::ListSnapshots)],
    ..Check::GO
};

pub(super) const CHECKS: &[Check] = &[
    Check {
        number: 40,
        title: "should return appropriate values (no optional values added)",
        rule: "Each entry has a snapshot with snapshot_id, source_volume_id and creation_time (spec, ListSnapshots).",
        body: body!(entries),
        ..CHECK
    },
    Check {
        number: 41,
        title: "should return snapshots that match the specified snapshot id",
        rule: "With a snapshot_id the list holds that snapshot only (spec, ListSnapshots).",
        body: body!(by_snapshot),
        ..CHECK
    },
    Check {
        number: 42,
        title: "should return empty when the specified snapshot id does not exist",
        rule: "With a snapshot_id that does not exist the list is empty (spec, ListSnapshots).",
        body: body!(by_unknown_snapshot),
        ..CHECK
    },
    Check {
        number: 43,
        title: "should return snapshots that match the specified source volume id",
        rule: "With a source_volume_id the list holds that volume's snapshots only (spec, ListSnapshots).",
        body: body!(by_volume),
        ..CHECK
    },
    Check {
        number: 44,
        title: "should return empty when the specified source volume id does not exist",
        rule: "With a source_volume_id that does not exist the list is empty (spec, ListSnapshots).",
        body: body!(by_unknown_volume),
        ..CHECK
    },
    Check {
        number: 45,
        title: "check the presence of new snapshots in the snapshot list",
        rule: "The plugin lists all the snapshots that it knows about (spec, ListSnapshots).",
        alone: true,
        body: body!(comes_and_goes),
        ..CHECK
    },
    Check {
        number: 46,
        title: "should return next token when a limited number of entries are requested",
        rule: "No more than max_entries are returned, and next_token leads to the rest (spec, ListSnapshots).",
        alone: true,
        body: body!(pages),
        ..CHECK
    },
];

/// How many volumes with a snapshot each are made to choose one from.
const CHOICE: usize = 3;
/// Snapshots that paging needs, and the size of its first page.
const ENOUGH: usize = 5;
const PAGE: i32 = 2;

async fn list(case: &Case, request: ListSnapshotsRequest) -> Outcome<ListSnapshotsResponse> {
    let secrets = case.config.secrets.list_snapshots.clone();
    case.session.list_snapshots(ListSnapshotsRequest { secrets, ..request }).await.succeeds("ListSnapshots")
}

/// The snapshots of an answer, each of them sound.
fn snapshots(response: ListSnapshotsResponse) -> Outcome<Vec<Snapshot>> {
    response
        .entries
        .into_iter()
        .map(|entry| {
            let snapshot = entry.snapshot.ok_or_else(|| Stop::Failed("an entry has no snapshot".into()))?;
            check_snapshot(&snapshot)?;
            Ok(snapshot)
        })
        .collect()
}

/// Volumes with a snapshot each; the snapshot of the last.
pub(super) async fn several(case: &Case, prefix: &str) -> Outcome<Snapshot> {
    let mut last = None;
    for index in 1..=CHOICE {
        let volume = case.volume(&format!("{prefix}-volume-{index}")).await?;
        let name = case.names.unique(&format!("{prefix}-snapshot-{index}"));
        last = Some(case.must_snapshot(name, &volume.volume_id).await?);
    }
    last.ok_or_else(|| Stop::Failed("no snapshot was made".into()))
}

async fn entries(case: &Case) -> Outcome {
    snapshots(list(case, ListSnapshotsRequest::default()).await?).map(|_| ())
}

async fn by_snapshot(case: &Case) -> Outcome {
    let wanted = several(case, "listSnapshots-id").await?;
    let request = ListSnapshotsRequest { snapshot_id: wanted.snapshot_id.clone(), ..ListSnapshotsRequest::default() };
    match snapshots(list(case, request).await?)?.as_slice() {
        [only] => ensure(only.snapshot_id == wanted.snapshot_id, || {
            format!("snapshot {} was asked for, {} was listed", wanted.snapshot_id, only.snapshot_id)
        }),
        several => fail(format!("one snapshot was asked for, {} were listed", several.len())),
    }
}

async fn by_unknown_snapshot(case: &Case) -> Outcome {
    let request = ListSnapshotsRequest { snapshot_id: "none-exist-id".into(), ..ListSnapshotsRequest::default() };
    let listed = list(case, request).await?.entries.len();
    ensure(listed == 0, || format!("{listed} snapshots were listed for an id that does not exist"))
}

async fn by_volume(case: &Case) -> Outcome {
    let wanted = several(case, "listSnapshots-source").await?;
    let source_volume_id = wanted.source_volume_id.clone();
    let request = ListSnapshotsRequest { source_volume_id, ..ListSnapshotsRequest::default() };
    match snapshots(list(case, request).await?)?.as_slice() {
        [only] => ensure(only.source_volume_id == wanted.source_volume_id, || {
            format!(
                "snapshots of {} were asked for, one of {} was listed",
                wanted.source_volume_id, only.source_volume_id
            )
        }),
        several => fail(format!("a volume with one snapshot was asked for, {} snapshots were listed", several.len())),
    }
}

async fn by_unknown_volume(case: &Case) -> Outcome {
    let request =
        ListSnapshotsRequest { source_volume_id: names::unknown_volume_id(), ..ListSnapshotsRequest::default() };
    let listed = list(case, request).await?.entries.len();
    ensure(listed == 0, || format!("{listed} snapshots were listed for a volume that does not exist"))
}

async fn comes_and_goes(case: &Case) -> Outcome {
    let count = async || Ok(list(case, ListSnapshotsRequest::default()).await?.entries.len());
    let before = count().await?;
    let volume = case.volume("listSnapshots-newVol").await?;
    let snapshot = case.must_snapshot(case.names.unique("listSnapshots-newSnap"), &volume.volume_id).await?;
    let with = count().await?;
    ensure(with == before + 1, || format!("{before} snapshots were listed, and {with} after one was created"))?;
    case.delete_snapshot(&snapshot.snapshot_id).await.succeeds("DeleteSnapshot")?;
    let after = count().await?;
    ensure(after == before, || format!("{before} snapshots were listed, and {after} after one came and went"))
}

async fn pages(case: &Case) -> Outcome {
    let present = list(case, ListSnapshotsRequest::default()).await?.entries.len();
    for index in present..ENOUGH {
        let volume = case.volume(&format!("listSnapshots-page-volume-{index}")).await?;
        let name = case.names.unique(&format!("listSnapshots-page-snapshot-{index}"));
        case.must_snapshot(name, &volume.volume_id).await?;
    }
    let total = present.max(ENOUGH);
    let first = list(case, ListSnapshotsRequest { max_entries: PAGE, ..ListSnapshotsRequest::default() }).await?;
    let page = first.entries.len();
    ensure(page == PAGE as usize, || format!("max_entries was {PAGE} of {total} snapshots, {page} were listed"))?;
    let request = ListSnapshotsRequest { starting_token: first.next_token, ..ListSnapshotsRequest::default() };
    let rest = list(case, request).await?.entries.len();
    ensure(page + rest == total, || format!("a page of {page} and a rest of {rest} are not all {total} snapshots"))
}
