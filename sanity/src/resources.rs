//! What a check made in the driver, and how it is removed again.

use std::sync::{Mutex, PoisonError};

use csi_proto::csi::{
    ControllerUnpublishVolumeRequest, DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest, DeleteVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, controller_service_capability::rpc::Type as ControllerType,
};
use tonic::Code;

use crate::{
    capabilities::Capabilities,
    client::{Answer, Refusal, Session},
    config::Config,
    directories::Directories,
    expect::Stop,
};

/// The name of the publish target below the target's parent.
pub(crate) const TARGET: &str = "target";

/// One thing that has to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resource {
    Volume {
        id: String,
        node: Option<String>,
    },
    Snapshot {
        id: String,
    },
    GroupSnapshot {
        id: String,
        snapshots: Vec<String>,
    },
    /// Something that may or may not exist, because the call that makes it was not answered.
    Doubtful(String),
    /// A further place where a volume is published.
    Target {
        volume: String,
        path: String,
    },
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Volume { id, node: None } => write!(f, "volume {id}"),
            Self::Volume { id, node: Some(node) } => write!(f, "volume {id} (published to node {node})"),
            Self::Snapshot { id } => write!(f, "snapshot {id}"),
            Self::Doubtful(what) => write!(f, "perhaps {what}"),
            Self::GroupSnapshot { id, .. } => write!(f, "group snapshot {id}"),
            Self::Target { volume, path } => write!(f, "volume {volume} published at {path}"),
        }
    }
}

/// What a check made, in order. Something made twice is listed twice and removed twice, as in the Go suite: removing has
/// to be idempotent.
#[derive(Debug, Default)]
pub(crate) struct Resources(Mutex<Vec<Resource>>);

/// What cleaning up could not do.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// The calls that failed, in words.
    pub(crate) errors: Vec<String>,
    /// What is still there.
    pub(crate) resources: Vec<String>,
}

impl Resources {
    pub(crate) fn add(&self, resource: Resource) {
        self.list().push(resource);
    }

    /// Forgets the latest entry of a volume.
    pub(crate) fn forget_volume(&self, volume: &str) {
        self.forget(|resource| matches!(resource, Resource::Volume { id, .. } if id == volume));
    }

    /// Forgets the latest entry of a snapshot.
    pub(crate) fn forget_snapshot(&self, snapshot: &str) {
        self.forget(|resource| matches!(resource, Resource::Snapshot { id } if id == snapshot));
    }

    /// Forgets the latest entry of a group snapshot.
    pub(crate) fn forget_group_snapshot(&self, group: &str) {
        self.forget(|resource| matches!(resource, Resource::GroupSnapshot { id, .. } if id == group));
    }

    /// Forgets a further target.
    pub(crate) fn forget_target(&self, target: &str) {
        self.forget(|resource| matches!(resource, Resource::Target { path, .. } if path == target));
    }

    fn forget(&self, which: impl Fn(&Resource) -> bool) {
        let mut list = self.list();
        if let Some(index) = list.iter().rposition(which) {
            list.remove(index);
        }
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Resource>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes everything, the newest first.
    pub(crate) async fn clean_up(&self, cleaner: &Cleaner<'_>) -> Leftovers {
        let mut leftovers = Leftovers::default();
        loop {
            let Some(resource) = self.list().pop() else { return leftovers };
            let removed = match resource {
                Resource::Doubtful(_) => Err(vec![]),
                ref known => cleaner.remove(known).await,
            };
            if let Err(refusals) = removed {
                leftovers.errors.extend(refusals);
                let text = resource.to_string();
                if !leftovers.resources.contains(&text) {
                    leftovers.resources.push(text);
                }
            }
        }
    }
}

/// What removing needs to know.
pub(crate) struct Cleaner<'a> {
    pub(crate) session: &'a Session,
    pub(crate) config: &'a Config,
    pub(crate) capabilities: &'a Capabilities,
    pub(crate) directories: &'a Directories,
    pub(crate) node_calls: bool,
}

impl Cleaner<'_> {
    async fn remove(&self, resource: &Resource) -> Result<(), Vec<String>> {
        let mut errors = Vec::new();
        match resource {
            Resource::Volume { id, node } => self.remove_volume(id, node.as_deref(), &mut errors).await,
            Resource::Snapshot { id } => {
                let secrets = self.config.secrets.delete_snapshot.clone();
                let request = DeleteSnapshotRequest { snapshot_id: id.clone(), secrets };
                note("DeleteSnapshot", id, self.session.delete_snapshot(request).await, &mut errors);
            }
            Resource::GroupSnapshot { id, snapshots } => {
                let request = DeleteVolumeGroupSnapshotRequest {
                    group_snapshot_id: id.clone(),
                    snapshot_ids: snapshots.clone(),
                    secrets: self.config.secrets.delete_snapshot.clone(),
                };
                let answer = self.session.delete_volume_group_snapshot(request).await;
                note("DeleteVolumeGroupSnapshot", id, answer, &mut errors);
            }
            Resource::Doubtful(_) => {}
            Resource::Target { volume, path } => self.unpublish(volume, path.clone(), &mut errors).await,
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    async fn remove_volume(&self, id: &str, node: Option<&str>, errors: &mut Vec<String>) {
        let secrets = &self.config.secrets;
        if self.node_calls {
            self.unpublish(id, self.directories.below_target(TARGET), errors).await;
            let stages = self.capabilities.stages(self.session).await.unwrap_or_else(
                |(Stop::Failed(reason) | Stop::Skipped(reason))| {
                    errors.push(format!("cleaning up: {reason}"));
                    false
                },
            );
            if stages {
                let staging_target_path = self.directories.staging();
                let request = NodeUnstageVolumeRequest { volume_id: id.to_owned(), staging_target_path };
                note("NodeUnstageVolume", id, absent_is_fine(self.session.node_unstage_volume(request).await), errors);
            }
        }
        if let Some(node) = node
            && self.capabilities.controller(ControllerType::PublishUnpublishVolume)
        {
            let request = ControllerUnpublishVolumeRequest {
                volume_id: id.to_owned(),
                node_id: node.to_owned(),
                secrets: secrets.controller_unpublish_volume.clone(),
            };
            note("ControllerUnpublishVolume", id, self.session.controller_unpublish_volume(request).await, errors);
        }
        let request = DeleteVolumeRequest { volume_id: id.to_owned(), secrets: secrets.delete_volume.clone() };
        note("DeleteVolume", id, self.session.delete_volume(request).await, errors);
    }

    async fn unpublish(&self, volume: &str, target_path: String, errors: &mut Vec<String>) {
        let request = NodeUnpublishVolumeRequest { volume_id: volume.to_owned(), target_path };
        note("NodeUnpublishVolume", volume, absent_is_fine(self.session.node_unpublish_volume(request).await), errors);
    }
}

fn absent_is_fine<T: Default>(answer: Answer<T>) -> Answer<T> {
    match answer {
        Err(Refusal { code: Code::NotFound, .. }) => Ok(T::default()),
        answer => answer,
    }
}

fn note<T>(call: &str, object: &str, answer: Answer<T>, errors: &mut Vec<String>) {
    if let Err(refusal) = answer {
        errors.push(format!("cleaning up: {call} of {object} should succeed, but it ended with {refusal}"));
    }
}
