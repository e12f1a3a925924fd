//! Snapshots of several volumes at once.

use std::time::SystemTime;

use csi_proto::csi::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeGroupSnapshotResponse, DeleteVolumeGroupSnapshotRequest,
    DeleteVolumeGroupSnapshotResponse, GetVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest, GroupControllerGetCapabilitiesResponse, GroupControllerServiceCapability,
    VolumeGroupSnapshot, group_controller_service_capability as group, plugin_capability::service::Type as ServiceType,
};
use tonic::Status;

use super::{
    ReferenceDriver, arguments,
    state::{GroupRecord, SnapshotRecord, State},
    volumes::volume,
};

impl GroupRecord {
    fn describe(&self, id: &str, state: &State) -> VolumeGroupSnapshot {
        let snapshots = self
            .snapshots
            .iter()
            .filter_map(|id| state.snapshots.get(id).map(|snapshot| snapshot.describe(id)))
            .collect();
        VolumeGroupSnapshot {
            group_snapshot_id: id.to_owned(),
            snapshots,
            creation_time: Some(self.made.into()),
            ready_to_use: true,
        }
    }

    fn consists_of(&self, asked: &[String]) -> bool {
        asked.is_empty() || asked.len() == self.snapshots.len() && asked.iter().all(|id| self.snapshots.contains(id))
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the methods are the RPCs of the specification")]
impl ReferenceDriver {
    fn groups(&self) -> Result<(), Status> {
        if self.features.plugin.contains(&ServiceType::GroupControllerService) {
            return Ok(());
        }
        Err(Status::unimplemented("there is no group controller"))
    }

    fn group_snapshots(&self) -> Result<(), Status> {
        self.groups()?;
        if self.features.group_snapshots {
            return Ok(());
        }
        Err(Status::unimplemented("there are no group snapshots"))
    }

    pub fn group_controller_get_capabilities(
        &self,
        _: GroupControllerGetCapabilitiesRequest,
    ) -> Result<GroupControllerGetCapabilitiesResponse, Status> {
        self.groups()?;
        let capability = || {
            let r#type = group::rpc::Type::CreateDeleteGetVolumeGroupSnapshot.into();
            GroupControllerServiceCapability { r#type: Some(group::Type::Rpc(group::Rpc { r#type })) }
        };
        let capabilities = self.features.group_snapshots.then(capability).into_iter().collect();
        Ok(GroupControllerGetCapabilitiesResponse { capabilities })
    }

    pub fn create_volume_group_snapshot(
        &self,
        request: CreateVolumeGroupSnapshotRequest,
    ) -> Result<CreateVolumeGroupSnapshotResponse, Status> {
        self.group_snapshots()?;
        arguments::name("name", &request.name)?;
        if request.source_volume_ids.is_empty() {
            return Err(Status::invalid_argument("source_volume_ids is missing"));
        }
        let mut state = self.state();
        if let Some((id, group)) = state.groups.iter().find(|(_, group)| group.name == request.name) {
            if group.sources != request.source_volume_ids {
                return Err(Status::already_exists(format!("group {} is of other volumes", request.name)));
            }
            let group_snapshot = Some(group.describe(id, &state));
            return Ok(CreateVolumeGroupSnapshotResponse { group_snapshot });
        }
        let made = SystemTime::now();
        let group_id = state.next_id("group");
        let mut snapshots = Vec::new();
        for source in &request.source_volume_ids {
            let size = volume(&state, source)?.capacity;
            let id = state.next_id("snapshot");
            let name = format!("{group_id}/{id}");
            snapshots.push((id, SnapshotRecord { name, source: source.clone(), size, made, group: group_id.clone() }));
        }
        let group = GroupRecord {
            name: request.name,
            sources: request.source_volume_ids,
            snapshots: snapshots.iter().map(|(id, _)| id.clone()).collect(),
            made,
        };
        state.snapshots.extend(snapshots);
        let group_snapshot = Some(group.describe(&group_id, &state));
        state.groups.insert(group_id, group);
        Ok(CreateVolumeGroupSnapshotResponse { group_snapshot })
    }

    pub fn get_volume_group_snapshot(
        &self,
        request: GetVolumeGroupSnapshotRequest,
    ) -> Result<GetVolumeGroupSnapshotResponse, Status> {
        self.group_snapshots()?;
        arguments::given("group_snapshot_id", &request.group_snapshot_id)?;
        let state = self.state();
        let id = &request.group_snapshot_id;
        let group = state.groups.get(id).ok_or_else(|| Status::not_found(format!("no group {id}")))?;
        if !group.consists_of(&request.snapshot_ids) {
            return Err(Status::invalid_argument("the group does not consist of these snapshots"));
        }
        Ok(GetVolumeGroupSnapshotResponse { group_snapshot: Some(group.describe(id, &state)) })
    }

    pub fn delete_volume_group_snapshot(
        &self,
        request: DeleteVolumeGroupSnapshotRequest,
    ) -> Result<DeleteVolumeGroupSnapshotResponse, Status> {
        self.group_snapshots()?;
        arguments::given("group_snapshot_id", &request.group_snapshot_id)?;
        let mut state = self.state();
        let Some(group) = state.groups.get(&request.group_snapshot_id) else {
            return Ok(DeleteVolumeGroupSnapshotResponse {});
        };
        if !group.consists_of(&request.snapshot_ids) {
            return Err(Status::invalid_argument("the group does not consist of these snapshots"));
        }
        if let Some(group) = state.groups.remove(&request.group_snapshot_id) {
            for id in group.snapshots {
                state.snapshots.remove(&id);
            }
        }
        Ok(DeleteVolumeGroupSnapshotResponse {})
    }
}
