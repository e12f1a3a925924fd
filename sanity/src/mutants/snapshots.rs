//! Faults with snapshots.

use csi_proto::csi::{CreateSnapshotRequest, ListSnapshotsRequest, Snapshot, list_snapshots_response::Entry};
use tonic::{Code, Status};

use super::{Mutant, accept, alter, change, forgive, mutant, recode, refuse, when};
use crate::reference::ReferenceDriver as Driver;

fn snapshots(driver: &Driver) -> Vec<Snapshot> {
    let answer = driver.list_snapshots(ListSnapshotsRequest::default());
    answer.map(|answer| answer.entries.into_iter().filter_map(|entry| entry.snapshot).collect()).unwrap_or_default()
}

/// Whether the volume has a snapshot. The checks give each snapshot a volume of its own.
fn taken(driver: &Driver, request: &CreateSnapshotRequest) -> bool {
    snapshots(driver).iter().any(|snapshot| snapshot.source_volume_id == request.source_volume_id)
}

fn own(id: &str) -> bool {
    id.starts_with("snapshot-")
}

pub(super) const MUTANTS: &[Mutant] = &[
    mutant!("snapshots-entry-empty", "ListSnapshots has an entry without a snapshot", [40, 46],
    list_snapshots => Box::new(|driver, request| {
        let whole = request.snapshot_id.is_empty() && request.source_volume_id.is_empty();
        let mut answer = driver.list_snapshots(request)?;
        if whole { answer.entries.push(Entry::default()); }
        Ok(answer)
    }))
    .callers("ListSnapshots"),
    mutant!("snapshots-timeless", "ListSnapshots leaves out the creation time", [41, 43],
    list_snapshots => alter(Driver::list_snapshots, |answer| {
        for snapshot in answer.entries.iter_mut().filter_map(|entry| entry.snapshot.as_mut()) {
            snapshot.creation_time = None;
        }
    }))
    .callers("ListSnapshots"),
    mutant!("snapshots-id-ignored", "ListSnapshots ignores snapshot_id", [41],
        list_snapshots => change(Driver::list_snapshots, |_, request| request.snapshot_id.clear())),
    mutant!("snapshots-unknown-id", "ListSnapshots refuses an id that does not exist", [42],
        list_snapshots => refuse(Driver::list_snapshots, |request| request.snapshot_id == "none-exist-id", Code::NotFound)),
    mutant!("snapshots-source-ignored", "ListSnapshots ignores source_volume_id", [43],
        list_snapshots => change(Driver::list_snapshots, |_, request| request.source_volume_id.clear())),
    mutant!("snapshots-unknown-source", "ListSnapshots refuses a volume that does not exist", [44],
        list_snapshots => refuse(Driver::list_snapshots, |request| request.source_volume_id.starts_with("fake"), Code::NotFound)),
    mutant!("snapshots-forget-newest", "ListSnapshots leaves out the newest snapshot", [45],
    list_snapshots => Box::new(|driver, request| {
        let whole = request.snapshot_id.is_empty() && request.source_volume_id.is_empty();
        let unpaged = request.max_entries == 0 && request.starting_token.is_empty();
        let mut answer = driver.list_snapshots(request)?;
        if whole && unpaged { answer.entries.pop(); }
        Ok(answer)
    })),
    mutant!("snapshots-unlimited", "ListSnapshots ignores max_entries", [46],
        list_snapshots => change(Driver::list_snapshots, |_, request| request.max_entries = 0)),
    mutant!("snapshots-no-token", "ListSnapshots gives no token", [46],
        list_snapshots => alter(Driver::list_snapshots, |answer| answer.next_token.clear())),
    mutant!("snapshot-get-nothing", "GetSnapshot takes a request without an id", [47],
        get_snapshot => accept(Driver::get_snapshot, |request| request.snapshot_id.is_empty())),
    mutant!("snapshot-get-other", "GetSnapshot describes another snapshot", [48],
    get_snapshot => alter(Driver::get_snapshot, |answer| {
        if let Some(snapshot) = &mut answer.snapshot { snapshot.snapshot_id.push('0'); }
    })),
    mutant!("snapshot-get-sourceless", "GetSnapshot does not tell the source", [48],
    get_snapshot => alter(Driver::get_snapshot, |answer| {
        if let Some(snapshot) = &mut answer.snapshot { snapshot.source_volume_id.clear(); }
    })),
    mutant!("snapshot-get-missing", "GetSnapshot describes a snapshot that does not exist", [49],
        get_snapshot => forgive(Driver::get_snapshot, Code::NotFound)),
    mutant!("snapshot-delete-nothing", "DeleteSnapshot takes a request without an id", [50],
        delete_snapshot => accept(Driver::delete_snapshot, |request| request.snapshot_id.is_empty())),
    mutant!("snapshot-delete-nothing-wrong-code", "a missing snapshot_id is refused with NOT_FOUND", [50],
        delete_snapshot => refuse(Driver::delete_snapshot, |request| request.snapshot_id.is_empty(), Code::NotFound)),
    mutant!("snapshot-delete-missing", "DeleteSnapshot refuses ids that it never gave", [51],
        delete_snapshot => refuse(Driver::delete_snapshot, |request| {
            !request.snapshot_id.is_empty() && !own(&request.snapshot_id)
        }, Code::NotFound)),
    mutant!("snapshot-delete-fails", "DeleteSnapshot fails", [52],
        delete_snapshot => refuse(Driver::delete_snapshot, |request| own(&request.snapshot_id), Code::Internal))
    .callers("DeleteSnapshot"),
    mutant!("snapshot-nameless", "CreateSnapshot takes a request without a name", [53],
        create_snapshot => accept(Driver::create_snapshot, |request| request.name.is_empty())),
    mutant!("snapshot-nameless-wrong-code", "a missing name is refused with NOT_FOUND", [53],
        create_snapshot => refuse(Driver::create_snapshot, |request| request.name.is_empty(), Code::NotFound)),
    mutant!("snapshot-sourceless", "CreateSnapshot takes a request without a source", [54],
        create_snapshot => accept(Driver::create_snapshot, |request| request.source_volume_id.is_empty())),
    mutant!("snapshot-sourceless-wrong-code", "a missing source is refused with NOT_FOUND", [54],
        create_snapshot => refuse(Driver::create_snapshot, |request| request.source_volume_id.is_empty(), Code::NotFound)),
    mutant!("snapshot-twice-refused", "CreateSnapshot refuses a name that exists", [55, 57],
        create_snapshot => when(Driver::create_snapshot, taken, |_, _| Err(Status::already_exists("a mutant's answer")))),
    mutant!("snapshot-other-source", "CreateSnapshot returns the snapshot of another volume", [56],
        create_snapshot => forgive(Driver::create_snapshot, Code::AlreadyExists)),
    mutant!("snapshot-other-source-wrong-code", "another source is refused with INVALID_ARGUMENT", [56],
        create_snapshot => recode(Driver::create_snapshot, Code::AlreadyExists, Code::InvalidArgument)),
    mutant!("snapshot-short-names", "CreateSnapshot takes names of 64 bytes at most", [57],
        create_snapshot => refuse(Driver::create_snapshot, |request| request.name.len() > 64, Code::InvalidArgument)),
];
