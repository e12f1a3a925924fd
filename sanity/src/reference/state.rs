//! What the reference driver remembers.

use std::{collections::BTreeMap, time::SystemTime};

use csi_proto::csi::{Topology, Volume, VolumeCapability, VolumeContentSource, volume_capability::access_mode::Mode};

use super::NODE;
use crate::config::Pairs;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) volumes: BTreeMap<String, VolumeRecord>,
    pub(super) snapshots: BTreeMap<String, SnapshotRecord>,
    pub(super) groups: BTreeMap<String, GroupRecord>,
    /// By staging path.
    pub(super) staged: BTreeMap<String, Staged>,
    /// By target path.
    pub(super) published: BTreeMap<String, Published>,
    created: u64,
}

impl State {
    /// An identifier that was never given out and sorts after all before.
    pub(super) fn next_id(&mut self, kind: &str) -> String {
        self.created += 1;
        format!("{kind}-{:08}", self.created)
    }

    pub(super) fn volume_named(&self, name: &str) -> Option<(&String, &VolumeRecord)> {
        self.volumes.iter().find(|(_, volume)| volume.name == name)
    }
}

#[derive(Debug, Clone)]
pub(super) struct VolumeRecord {
    pub(super) name: String,
    pub(super) capacity: i64,
    pub(super) capabilities: Vec<VolumeCapability>,
    pub(super) parameters: Pairs,
    pub(super) mutable_parameters: Pairs,
    pub(super) source: Option<VolumeContentSource>,
    /// Read-only or not, by node.
    pub(super) attached: BTreeMap<String, (VolumeCapability, bool)>,
}

impl VolumeRecord {
    pub(super) fn describe(&self, id: &str) -> Volume {
        Volume {
            capacity_bytes: self.capacity,
            volume_id: id.to_owned(),
            volume_context: [("name".to_owned(), self.name.clone())].into(),
            content_source: self.source.clone(),
            accessible_topology: vec![topology()],
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct SnapshotRecord {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) size: i64,
    pub(super) made: SystemTime,
    pub(super) group: String,
}

#[derive(Debug, Clone)]
pub(super) struct GroupRecord {
    pub(super) name: String,
    pub(super) sources: Vec<String>,
    pub(super) snapshots: Vec<String>,
    pub(super) made: SystemTime,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Staged {
    pub(super) volume: String,
    pub(super) capability: VolumeCapability,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Published {
    pub(super) volume: String,
    pub(super) capability: VolumeCapability,
    pub(super) readonly: bool,
    pub(super) staging_path: String,
    pub(super) contexts: (Pairs, Pairs),
}

/// Where the only node is, and all volumes with it.
pub(super) fn topology() -> Topology {
    Topology { segments: [("reference.csi-sanity.io/node".to_owned(), NODE.to_owned())].into() }
}

pub(super) fn mode(capability: &VolumeCapability) -> Mode {
    capability.access_mode.as_ref().map_or(Mode::Unknown, csi_proto::csi::volume_capability::AccessMode::mode)
}
