//! What one check works with: the session, the configuration, the capabilities and directories of the moment, and the
//! calls that keep track of what they make.

use std::sync::Arc;

use csi_proto::csi::{
    CapacityRange, ControllerPublishVolumeRequest, ControllerPublishVolumeResponse, CreateSnapshotRequest,
    CreateSnapshotResponse, CreateVolumeRequest, CreateVolumeResponse, DeleteSnapshotRequest, DeleteSnapshotResponse,
    DeleteVolumeRequest, DeleteVolumeResponse, Snapshot, Volume, VolumeCapability,
    volume_capability::{AccessMode, AccessType as WireAccessType, BlockVolume, MountVolume, access_mode::Mode},
};

use crate::{
    capabilities::Capabilities,
    client::{Answer, Cause, Session},
    config::{AccessType, Config, Pairs},
    directories::Directories,
    expect::{Expect, Outcome, Stop, ensure},
    names::Names,
    resources::{Resource, Resources, TARGET},
};

mod publishing;

pub(crate) use publishing::Published;

/// One check's surroundings.
#[derive(Debug)]
pub(crate) struct Case {
    /// The number of the check.
    pub(crate) number: u16,
    pub(crate) session: Session,
    pub(crate) config: Arc<Config>,
    pub(crate) capabilities: Capabilities,
    pub(crate) directories: Directories,
    pub(crate) names: Names,
    pub(crate) resources: Resources,
}

impl Case {
    /// The capability that most checks ask for: SINGLE_NODE_WRITER with the configured access type.
    pub(crate) fn capability(&self) -> VolumeCapability {
        self.capability_with(Mode::SingleNodeWriter)
    }

    pub(crate) fn capability_with(&self, mode: Mode) -> VolumeCapability {
        let access_type = match self.config.access_type {
            AccessType::Mount => WireAccessType::Mount(MountVolume::default()),
            AccessType::Block => WireAccessType::Block(BlockVolume {}),
        };
        VolumeCapability { access_type: Some(access_type), access_mode: Some(AccessMode { mode: mode.into() }) }
    }

    /// The standard CreateVolume request, with a name that is used as it stands.
    pub(crate) fn volume_request(&self, name: impl Into<String>) -> CreateVolumeRequest {
        CreateVolumeRequest {
            name: name.into(),
            capacity_range: Some(CapacityRange { required_bytes: self.config.volume_size, limit_bytes: 0 }),
            volume_capabilities: vec![self.capability()],
            parameters: self.config.volume_parameters.clone(),
            secrets: self.config.secrets.create_volume.clone(),
            ..CreateVolumeRequest::default()
        }
    }

    /// The same with a name of this run.
    pub(crate) fn request_named(&self, prefix: &str) -> CreateVolumeRequest {
        self.volume_request(self.names.unique(prefix))
    }

    /// CreateVolume; what it makes is removed after the check.
    pub(crate) async fn create_volume(&self, request: CreateVolumeRequest) -> Answer<CreateVolumeResponse> {
        let name = request.name.clone();
        let answer = self.session.create_volume(request).await;
        self.doubt(&answer, || format!("a volume named {name}"));
        if let Ok(CreateVolumeResponse { volume: Some(volume) }) = &answer
            && !volume.volume_id.is_empty()
        {
            self.resources.add(Resource::Volume { id: volume.volume_id.clone(), node: None });
        }
        answer
    }

    /// Remembers what an unanswered call may have made.
    fn doubt<T>(&self, answer: &Answer<T>, what: impl FnOnce() -> String) {
        if answer.as_ref().is_err_and(|refusal| refusal.cause != Cause::Driver) {
            self.resources.add(Resource::Doubtful(what()));
        }
    }

    /// CreateVolume that must succeed and name a volume.
    pub(crate) async fn must_create(&self, request: CreateVolumeRequest) -> Outcome<Volume> {
        volume_of(self.create_volume(request).await.succeeds("CreateVolume")?)
    }

    /// A standard volume with a name of this run.
    pub(crate) async fn volume(&self, prefix: &str) -> Outcome<Volume> {
        self.must_create(self.request_named(prefix)).await
    }

    /// DeleteVolume; after a success the volume need not be removed any more.
    pub(crate) async fn delete_volume(&self, volume_id: &str) -> Answer<DeleteVolumeResponse> {
        let secrets = self.config.secrets.delete_volume.clone();
        let answer = self.session.delete_volume(DeleteVolumeRequest { volume_id: volume_id.to_owned(), secrets }).await;
        if answer.is_ok() {
            self.resources.forget_volume(volume_id);
        }
        answer
    }

    /// ControllerPublishVolume; a success is undone after the check.
    pub(crate) async fn controller_publish(
        &self,
        request: ControllerPublishVolumeRequest,
    ) -> Answer<ControllerPublishVolumeResponse> {
        let (id, node) = (request.volume_id.clone(), request.node_id.clone());
        let answer = self.session.controller_publish_volume(request).await;
        if answer.is_ok() && !id.is_empty() && !node.is_empty() {
            self.resources.add(Resource::Volume { id, node: Some(node) });
        }
        answer
    }

    /// CreateSnapshot; what it makes is removed after the check.
    pub(crate) async fn create_snapshot(&self, request: CreateSnapshotRequest) -> Answer<CreateSnapshotResponse> {
        let name = request.name.clone();
        let answer = self.session.create_snapshot(request).await;
        self.doubt(&answer, || format!("a snapshot named {name}"));
        if let Ok(CreateSnapshotResponse { snapshot: Some(snapshot) }) = &answer
            && !snapshot.snapshot_id.is_empty()
        {
            self.resources.add(Resource::Snapshot { id: snapshot.snapshot_id.clone() });
        }
        answer
    }

    /// CreateSnapshot that must succeed and describe a snapshot.
    pub(crate) async fn must_snapshot(&self, name: impl Into<String>, source_volume_id: &str) -> Outcome<Snapshot> {
        let request = self.snapshot_request(name, source_volume_id);
        let response = self.create_snapshot(request).await.succeeds("CreateSnapshot")?;
        let snapshot =
            response.snapshot.ok_or_else(|| Stop::Failed("CreateSnapshot answered without a snapshot".into()))?;
        check_snapshot(&snapshot)?;
        Ok(snapshot)
    }

    pub(crate) fn snapshot_request(&self, name: impl Into<String>, source_volume_id: &str) -> CreateSnapshotRequest {
        CreateSnapshotRequest {
            source_volume_id: source_volume_id.to_owned(),
            name: name.into(),
            secrets: self.config.secrets.create_snapshot.clone(),
            parameters: self.config.snapshot_parameters.clone(),
            accessibility_requirements: None,
        }
    }

    /// DeleteSnapshot; after a success the snapshot need not be removed any more.
    pub(crate) async fn delete_snapshot(&self, snapshot_id: &str) -> Answer<DeleteSnapshotResponse> {
        let secrets = self.config.secrets.delete_snapshot.clone();
        let request = DeleteSnapshotRequest { snapshot_id: snapshot_id.to_owned(), secrets };
        let answer = self.session.delete_snapshot(request).await;
        if answer.is_ok() {
            self.resources.forget_snapshot(snapshot_id);
        }
        answer
    }

    /// The publish target of the Go suite.
    pub(crate) fn target(&self) -> String {
        self.directories.below_target(TARGET)
    }
}

/// The volume of an answer, which must have an id.
pub(crate) fn volume_of(response: CreateVolumeResponse) -> Outcome<Volume> {
    let volume = response.volume.ok_or_else(|| Stop::Failed("CreateVolume answered without a volume".into()))?;
    ensure(!volume.volume_id.is_empty(), || "CreateVolume answered with an empty volume_id".into())?;
    Ok(volume)
}

/// What every description of a snapshot must hold.
pub(crate) fn check_snapshot(snapshot: &Snapshot) -> Outcome {
    ensure(!snapshot.snapshot_id.is_empty(), || "the snapshot has an empty snapshot_id".into())?;
    ensure(!snapshot.source_volume_id.is_empty(), || "the snapshot has an empty source_volume_id".into())?;
    let made = snapshot.creation_time.as_ref().is_some_and(|time| time.seconds != 0 || time.nanos != 0);
    ensure(made, || "the snapshot has no creation_time".into())
}

/// One pair as a map.
pub(crate) fn pair(key: &str, value: &str) -> Pairs {
    [(key.to_owned(), value.to_owned())].into()
}
