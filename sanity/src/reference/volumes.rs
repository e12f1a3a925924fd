//! Volumes: the part of the Controller service that every driver with volumes has.

use csi_proto::csi::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetVolumeRequest,
    ControllerGetVolumeResponse, ControllerModifyVolumeRequest, ControllerModifyVolumeResponse, CreateVolumeRequest,
    CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse, GetCapacityRequest, GetCapacityResponse,
    ListVolumesRequest, ListVolumesResponse, ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse,
    VolumeCondition, VolumeContentSource, controller_get_volume_response,
    controller_service_capability::rpc::Type as ControllerType, list_volumes_response,
    validate_volume_capabilities_response::Confirmed, volume_content_source::Type as SourceType,
};
use tonic::Status;

use super::{
    LARGEST_VOLUME, ReferenceDriver, arguments,
    state::{State, VolumeRecord, topology},
};
use crate::config::GIB;

/// The size of a volume when none is asked for, in bytes.
const USUAL_SIZE: i64 = GIB;

#[allow(missing_docs, clippy::missing_errors_doc, reason = "the methods are the RPCs of the specification")]
impl ReferenceDriver {
    pub fn create_volume(&self, request: CreateVolumeRequest) -> Result<CreateVolumeResponse, Status> {
        self.controller_can(ControllerType::CreateDeleteVolume)?;
        arguments::name("name", &request.name)?;
        arguments::capabilities(&request.volume_capabilities)?;
        arguments::map("parameters", &request.parameters)?;
        let asked = arguments::size(request.capacity_range.as_ref())?;
        self.mutable_parameters(&request)?;
        if let Some(requirement) = &request.accessibility_requirements
            && !requirement.requisite.is_empty()
            && !requirement.requisite.contains(&topology())
        {
            return Err(Status::resource_exhausted("there is no storage in the topology asked for"));
        }
        let mut state = self.state();
        if let Some((id, volume)) = state.volume_named(&request.name) {
            let same = arguments::fits(request.capacity_range.as_ref(), volume.capacity)
                && volume.capabilities == request.volume_capabilities
                && volume.parameters == request.parameters
                && volume.source == request.volume_content_source;
            if !same {
                return Err(Status::already_exists(format!("volume {} exists and is another one", request.name)));
            }
            return Ok(CreateVolumeResponse { volume: Some(volume.describe(id)) });
        }
        let least = self.source_size(&state, request.volume_content_source.as_ref())?;
        let id = state.next_id("volume");
        let volume = VolumeRecord {
            name: request.name,
            capacity: asked.unwrap_or(USUAL_SIZE).max(least),
            capabilities: request.volume_capabilities,
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
            source: request.volume_content_source,
            attached: Default::default(),
        };
        let answer = CreateVolumeResponse { volume: Some(volume.describe(&id)) };
        state.volumes.insert(id, volume);
        Ok(answer)
    }

    fn mutable_parameters(&self, request: &CreateVolumeRequest) -> Result<(), Status> {
        if !request.mutable_parameters.is_empty() && self.controller_can(ControllerType::ModifyVolume).is_err() {
            return Err(Status::invalid_argument("mutable_parameters are not supported"));
        }
        arguments::mutable_parameters(&request.mutable_parameters)
    }

    fn source_size(&self, state: &State, source: Option<&VolumeContentSource>) -> Result<i64, Status> {
        let unsupported = |_| Status::invalid_argument("this content source is not supported");
        match source.map(|source| &source.r#type) {
            None => Ok(0),
            Some(None) => Err(Status::invalid_argument("volume_content_source has no type")),
            Some(Some(SourceType::Snapshot(source))) => {
                self.controller_can(ControllerType::CreateDeleteSnapshot).map_err(unsupported)?;
                let found = state.snapshots.get(&source.snapshot_id).map(|snapshot| snapshot.size);
                found.ok_or_else(|| Status::not_found(format!("no snapshot {}", source.snapshot_id)))
            }
            Some(Some(SourceType::Volume(source))) => {
                self.controller_can(ControllerType::CloneVolume).map_err(unsupported)?;
                let found = state.volumes.get(&source.volume_id).map(|volume| volume.capacity);
                found.ok_or_else(|| Status::not_found(format!("no volume {}", source.volume_id)))
            }
        }
    }

    pub fn delete_volume(&self, request: DeleteVolumeRequest) -> Result<DeleteVolumeResponse, Status> {
        self.controller_can(ControllerType::CreateDeleteVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        let mut state = self.state();
        let published = state.published.values().any(|published| published.volume == request.volume_id);
        let attached = state.volumes.get(&request.volume_id).is_some_and(|volume| !volume.attached.is_empty());
        if published || attached {
            return Err(Status::failed_precondition(format!("volume {} is in use", request.volume_id)));
        }
        state.volumes.remove(&request.volume_id);
        Ok(DeleteVolumeResponse {})
    }

    pub fn validate_volume_capabilities(
        &self,
        request: ValidateVolumeCapabilitiesRequest,
    ) -> Result<ValidateVolumeCapabilitiesResponse, Status> {
        arguments::given("volume_id", &request.volume_id)?;
        arguments::capabilities(&request.volume_capabilities)?;
        if !self.state().volumes.contains_key(&request.volume_id) {
            return Err(Status::not_found(format!("no volume {}", request.volume_id)));
        }
        let confirmed = Confirmed {
            volume_context: request.volume_context,
            volume_capabilities: request.volume_capabilities,
            parameters: request.parameters,
            mutable_parameters: request.mutable_parameters,
        };
        Ok(ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message: String::new() })
    }

    pub fn list_volumes(&self, request: ListVolumesRequest) -> Result<ListVolumesResponse, Status> {
        self.controller_can(ControllerType::ListVolumes)?;
        let state = self.state();
        let entries = state
            .volumes
            .iter()
            .map(|(id, volume)| {
                let status = list_volumes_response::VolumeStatus {
                    published_node_ids: volume.attached.keys().cloned().collect(),
                    volume_condition: Some(healthy()),
                };
                let entry = list_volumes_response::Entry { volume: Some(volume.describe(id)), status: Some(status) };
                (id.clone(), entry)
            })
            .collect();
        let (entries, next_token) = arguments::page(entries, request.max_entries, &request.starting_token)?;
        Ok(ListVolumesResponse { entries, next_token })
    }

    pub fn controller_get_volume(
        &self,
        request: ControllerGetVolumeRequest,
    ) -> Result<ControllerGetVolumeResponse, Status> {
        self.controller_can(ControllerType::GetVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        let state = self.state();
        let volume = volume(&state, &request.volume_id)?;
        let status = controller_get_volume_response::VolumeStatus {
            published_node_ids: volume.attached.keys().cloned().collect(),
            volume_condition: Some(healthy()),
        };
        Ok(ControllerGetVolumeResponse { volume: Some(volume.describe(&request.volume_id)), status: Some(status) })
    }

    pub fn get_capacity(&self, request: GetCapacityRequest) -> Result<GetCapacityResponse, Status> {
        self.controller_can(ControllerType::GetCapacity)?;
        let here = request.accessible_topology.is_none_or(|asked| asked == topology());
        Ok(GetCapacityResponse {
            available_capacity: if here { LARGEST_VOLUME } else { 0 },
            maximum_volume_size: Some(LARGEST_VOLUME),
            minimum_volume_size: Some(1),
        })
    }

    pub fn controller_expand_volume(
        &self,
        request: ControllerExpandVolumeRequest,
    ) -> Result<ControllerExpandVolumeResponse, Status> {
        self.controller_can(ControllerType::ExpandVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        let size = arguments::size(request.capacity_range.as_ref())?
            .ok_or_else(|| Status::invalid_argument("capacity_range is missing"))?;
        let mut state = self.state();
        let volume = state
            .volumes
            .get_mut(&request.volume_id)
            .ok_or_else(|| Status::not_found(format!("no volume {}", request.volume_id)))?;
        volume.capacity = volume.capacity.max(size);
        if !arguments::fits(request.capacity_range.as_ref(), volume.capacity) {
            return Err(Status::out_of_range("volumes do not shrink"));
        }
        Ok(ControllerExpandVolumeResponse { capacity_bytes: volume.capacity, node_expansion_required: true })
    }

    pub fn controller_modify_volume(
        &self,
        request: ControllerModifyVolumeRequest,
    ) -> Result<ControllerModifyVolumeResponse, Status> {
        self.controller_can(ControllerType::ModifyVolume)?;
        arguments::given("volume_id", &request.volume_id)?;
        let mut state = self.state();
        let volume = state
            .volumes
            .get_mut(&request.volume_id)
            .ok_or_else(|| Status::not_found(format!("no volume {}", request.volume_id)))?;
        arguments::mutable_parameters(&request.mutable_parameters)?;
        volume.mutable_parameters.extend(request.mutable_parameters);
        Ok(ControllerModifyVolumeResponse {})
    }
}

/// The volume with this id, or NOT_FOUND.
pub(super) fn volume<'a>(state: &'a State, id: &str) -> Result<&'a VolumeRecord, Status> {
    state.volumes.get(id).ok_or_else(|| Status::not_found(format!("no volume {id}")))
}

pub(super) fn healthy() -> VolumeCondition {
    VolumeCondition { abnormal: false, message: "the volume is well".into() }
}
