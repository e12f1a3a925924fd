//! Snapshots.

use std::time::SystemTime;

use csi_proto::csi::{
    CreateSnapshotRequest, CreateSnapshotResponse, DeleteSnapshotRequest, DeleteSnapshotResponse, GetSnapshotRequest,
    GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse, Snapshot,
    controller_service_capability::rpc::Type as ControllerType, list_snapshots_response,
};
use tonic::Status;

use super::{
    ReferenceDriver, arguments,
    state::{SnapshotRecord, topology},
    volumes::volume,
};

impl SnapshotRecord {
    pub(super) fn describe(&self, id: &str) -> Snapshot {
        Snapshot {
            size_bytes: self.size,
            snapshot_id: id.to_owned(),
            source_volume_id: self.source.clone(),
            creation_time: Some(self.made.into()),
            ready_to_use: true,
            group_snapshot_id: self.group.clone(),
            accessible_topology: vec![topology()],
        }
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the methods are the RPCs of the specification")]
impl ReferenceDriver {
    pub fn create_snapshot(&self, request: CreateSnapshotRequest) -> Result<CreateSnapshotResponse, Status> {
        self.controller_can(ControllerType::CreateDeleteSnapshot)?;
        arguments::name("name", &request.name)?;
        arguments::given("source_volume_id", &request.source_volume_id)?;
        let mut state = self.state();
        if let Some((id, snapshot)) = state.snapshots.iter().find(|(_, snapshot)| snapshot.name == request.name) {
            if snapshot.source != request.source_volume_id {
                return Err(Status::already_exists(format!("snapshot {} is of another volume", request.name)));
            }
            return Ok(CreateSnapshotResponse { snapshot: Some(snapshot.describe(id)) });
        }
        let size = volume(&state, &request.source_volume_id)?.capacity;
        let snapshot = SnapshotRecord {
            name: request.name,
            source: request.source_volume_id,
            size,
            made: SystemTime::now(),
            group: String::new(),
        };
        let id = state.next_id("snapshot");
        let answer = CreateSnapshotResponse { snapshot: Some(snapshot.describe(&id)) };
        state.snapshots.insert(id, snapshot);
        Ok(answer)
    }

    pub fn delete_snapshot(&self, request: DeleteSnapshotRequest) -> Result<DeleteSnapshotResponse, Status> {
        self.controller_can(ControllerType::CreateDeleteSnapshot)?;
        arguments::given("snapshot_id", &request.snapshot_id)?;
        let mut state = self.state();
        if state.snapshots.get(&request.snapshot_id).is_some_and(|snapshot| !snapshot.group.is_empty()) {
            return Err(Status::invalid_argument("the snapshot is part of a group"));
        }
        state.snapshots.remove(&request.snapshot_id);
        Ok(DeleteSnapshotResponse {})
    }

    pub fn list_snapshots(&self, request: ListSnapshotsRequest) -> Result<ListSnapshotsResponse, Status> {
        self.controller_can(ControllerType::ListSnapshots)?;
        let state = self.state();
        let wanted = |asked: &str, has: &str| asked.is_empty() || asked == has;
        let entries = state
            .snapshots
            .iter()
            .filter(|(id, snapshot)| {
                wanted(&request.snapshot_id, id) && wanted(&request.source_volume_id, &snapshot.source)
            })
            .map(|(id, snapshot)| {
                (id.clone(), list_snapshots_response::Entry { snapshot: Some(snapshot.describe(id)) })
            })
            .collect();
        let (entries, next_token) = arguments::page(entries, request.max_entries, &request.starting_token)?;
        Ok(ListSnapshotsResponse { entries, next_token })
    }

    pub fn get_snapshot(&self, request: GetSnapshotRequest) -> Result<GetSnapshotResponse, Status> {
        self.controller_can(ControllerType::GetSnapshot)?;
        arguments::given("snapshot_id", &request.snapshot_id)?;
        let state = self.state();
        let id = &request.snapshot_id;
        let snapshot = state.snapshots.get(id).ok_or_else(|| Status::not_found(format!("no snapshot {id}")))?;
        Ok(GetSnapshotResponse { snapshot: Some(snapshot.describe(id)) })
    }
}
